//! Frames as bytes (RFC 9113 §4, §6): their head is read, and those that a server sends are written.
//!
//! Invariant: no frame is written whose payload is longer than [`PAYLOAD_BYTES_MAX`], which every peer takes.

use super::error::ErrorCode;

/// What a client sends before its first frame (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;

/// The longest payload that both sides send: the value of SETTINGS_MAX_FRAME_SIZE that need not be agreed upon.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// The largest a window may become, and the largest stream identifier (RFC 9113 §6.9.1, §5.1.1).
pub(super) const WINDOW_MAX: i64 = (1 << 31) - 1;

/// Windows begin with this (RFC 9113 §6.9.2).
pub(super) const WINDOW_BYTES: i64 = 65_535;

/// What a frame is for (RFC 9113 §6, RFC 9218 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Data = 0x0,
    Headers = 0x1,
    Priority = 0x2,
    ResetStream = 0x3,
    Settings = 0x4,
    PushPromise = 0x5,
    Ping = 0x6,
    GoAway = 0x7,
    WindowUpdate = 0x8,
    Continuation = 0x9,
    PriorityUpdate = 0x10,
    /// To be ignored (RFC 9113 §4.1); the number is that of none.
    Unknown = 0xff,
}

impl Kind {
    /// All that mean something.
    const KNOWN: [Kind; 11] = [
        Kind::Data,
        Kind::Headers,
        Kind::Priority,
        Kind::ResetStream,
        Kind::Settings,
        Kind::PushPromise,
        Kind::Ping,
        Kind::GoAway,
        Kind::WindowUpdate,
        Kind::Continuation,
        Kind::PriorityUpdate,
    ];

    fn from_byte(byte: u8) -> Kind {
        Kind::KNOWN.into_iter().find(|kind| *kind as u8 == byte).unwrap_or(Kind::Unknown)
    }
}

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    /// The head at the start of `bytes`; none before all of it is there.
    pub(super) fn parse(bytes: &[u8]) -> Option<FrameHead> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        Some(FrameHead {
            length: usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]),
            kind: Kind::from_byte(head[3]),
            flags: head[4],
            stream: number_of_31_bits(&head[5..]),
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The 32 bits at the start of `bytes`, which are there.
pub(super) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().expect("the caller has looked"))
}

/// The 31 bits behind the first of `bytes`, which is reserved and to be ignored (RFC 9113 §4.1, §6.9).
pub(super) fn number_of_31_bits(bytes: &[u8]) -> u32 {
    number(bytes) & 0x7fff_ffff
}

fn write_head(length: usize, kind: Kind, flags: u8, stream: u32, out: &mut Vec<u8>) {
    debug_assert!(length <= PAYLOAD_BYTES_MAX);
    let length = u32::try_from(length).expect("it is below 2^14").to_be_bytes();
    let stream = stream.to_be_bytes();
    out.extend_from_slice(&[
        length[1], length[2], length[3], kind as u8, flags, stream[0], stream[1], stream[2], stream[3],
    ]);
}

/// The head of a DATA frame; `length` bytes of content follow.
pub(super) fn write_data_head(stream: u32, length: usize, is_end: bool, out: &mut Vec<u8>) {
    write_head(length, Kind::Data, if is_end { END_STREAM } else { 0 }, stream, out);
}

/// A field block as HEADERS and as many CONTINUATION frames as it takes.
pub(super) fn write_headers(stream: u32, block: &[u8], is_end: bool, out: &mut Vec<u8>) {
    let end_stream = if is_end { END_STREAM } else { 0 };
    let (first, mut rest) = block.split_at(block.len().min(PAYLOAD_BYTES_MAX));
    let end_headers = if rest.is_empty() { END_HEADERS } else { 0 };
    write_head(first.len(), Kind::Headers, end_stream | end_headers, stream, out);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (next, behind) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
        write_head(next.len(), Kind::Continuation, if behind.is_empty() { END_HEADERS } else { 0 }, stream, out);
        out.extend_from_slice(next);
        rest = behind;
    }
}

/// RST_STREAM
pub(super) fn write_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    write_head(4, Kind::ResetStream, 0, stream, out);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// SETTINGS of these identifiers and values.
pub(super) fn write_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    write_head(6 * settings.len(), Kind::Settings, 0, 0, out);
    for (identifier, value) in settings {
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// The acknowledgement of the peer's SETTINGS.
pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write_head(0, Kind::Settings, ACK, 0, out);
}

/// PING, or the answer to one.
pub(super) fn write_ping(is_ack: bool, opaque: &[u8; 8], out: &mut Vec<u8>) {
    write_head(8, Kind::Ping, if is_ack { ACK } else { 0 }, 0, out);
    out.extend_from_slice(opaque);
}

/// GOAWAY; `words` are for whoever looks into the traffic.
pub(super) fn write_go_away(last_stream: u32, code: ErrorCode, words: &str, out: &mut Vec<u8>) {
    write_head(8 + words.len(), Kind::GoAway, 0, 0, out);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(words.as_bytes());
}

/// WINDOW_UPDATE
pub(super) fn write_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    write_head(4, Kind::WindowUpdate, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let mut out = Vec::new();
        write_data_head(0x7fff_fffe, 0x3fff, true, &mut out);
        assert_eq!(out, [0, 0x3f, 0xff, 0, 1, 0x7f, 0xff, 0xff, 0xfe]);
        let head = FrameHead { length: 0x3fff, kind: Kind::Data, flags: END_STREAM, stream: 0x7fff_fffe };
        assert_eq!(FrameHead::parse(&out), Some(head));
        assert_eq!(FrameHead::parse(&out[..8]), None);
        out[5] |= 0x80;
        assert_eq!(FrameHead::parse(&out), Some(head), "the reserved bit is ignored");
    }

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        let (block, mut out) = (vec![7; 2 * PAYLOAD_BYTES_MAX + 1], Vec::new());
        write_headers(5, &block, true, &mut out);
        let mut frames = Vec::new();
        let mut rest = &out[..];
        while let Some(head) = FrameHead::parse(rest) {
            frames.push((head.kind, head.length, head.flags, head.stream));
            rest = &rest[HEAD_BYTES + head.length..];
        }
        assert_eq!(
            frames,
            [
                (Kind::Headers, PAYLOAD_BYTES_MAX, END_STREAM, 5),
                (Kind::Continuation, PAYLOAD_BYTES_MAX, 0, 5),
                (Kind::Continuation, 1, END_HEADERS, 5),
            ]
        );
        assert!(rest.is_empty());
    }
}
