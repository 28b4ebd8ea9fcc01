//! HTTP/2 (RFC 9113) as pure functions and state: bytes in, events and bytes out; no socket, no clock.

pub mod hpack;
pub mod huffman;

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether it is understood on connections without TLS too, where the client begins with its preface (RFC 9113 §3.3).
    pub in_plain_text: bool,
    /// Streams that a client may have open at a time (RFC 9113 §6.5.2, SETTINGS_MAX_CONCURRENT_STREAMS).
    pub streams_max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { in_plain_text: false, streams_max: 128 }
    }
}
