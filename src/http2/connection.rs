//! One connection as a server sees it: frames that come in become events (RFC 9113 §3.4, §5, §6).
//!
//! Order of a request: HEADERS and its CONTINUATION frames · the field block, decoded · content, counted and thrown away ·
//! [`Event::Request`]. What is sent is in [`send`](super::send).
//!
//! Invariant: after a [`ConnectionError`] nothing more is received. What a peer can make this hold is bounded by [`Limits`].

use super::control::depends_on_another;
use super::error::{ConnectionError, ErrorCode};
use super::flood::{Flood, Nuisance};
use super::frame::{self, FrameHead, HEAD_BYTES, Kind, PAYLOAD_BYTES_MAX, PREFACE, WINDOW_BYTES};
use super::hpack::{Decoder, ENTRY_OVERHEAD_BYTES, TABLE_BYTES_DEFAULT};
use super::priority::Priority;
use super::request::{Assembled, Assembler, Bad, is_trailer};
use super::streams::{Named, Progress, Stream, StreamKey, Streams};
use crate::http::fields::FieldName;
use crate::http::request::{BadRequest, HeadLimits};

/// What a peer may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that are open at a time.
    pub streams_max: u32,
    /// Limits on request heads.
    pub head: HeadLimits,
    /// Bytes a second of an answer that must be taken for it to count as moving on.
    pub send_bytes_per_second_min: u32,
}

/// What came in.
#[derive(Debug)]
pub enum Event {
    /// A request, to be answered.
    Request(StreamKey, Assembled),
    /// Something that is no request, to be answered with what is wrong with it.
    Refused(Refused),
    /// The stream has ended: what was being done for it is not wanted any more.
    Ended(StreamKey),
    /// The peer has seen what was sent before [`Connection::notice`].
    NoticeSeen,
}

/// Something that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its stream.
    pub key: StreamKey,
    /// What is wrong with it.
    pub bad: BadRequest,
    /// Whether its method is HEAD: the answer has no content.
    pub is_head: bool,
}

/// One connection.
pub struct Connection {
    pub(super) limits: Limits,
    /// Bytes of the preface that have come.
    preface: usize,
    pub(super) has_settings: bool,
    decoder: Decoder,
    assembler: Assembler,
    /// A field block that came in parts.
    block: Vec<u8>,
    continued: Option<Continued>,
    /// Bytes of content that are still to come of the frame that is under way.
    discarding: usize,
    pub(super) streams: Streams,
    /// Bytes that may be sent on all streams together.
    pub(super) send_window: i64,
    receive_window: i64,
    pub(super) flood: Flood,
    pub(super) turn: u64,
    pub(super) now: u32,
    /// What became of the window that all streams share.
    pub(super) progress: Progress,
    pub(super) going: Going,
    /// The size of the table that the peer wants field blocks to be made with, until somebody has asked.
    pub(super) table_bytes_max: Option<TableSizes>,
}

/// What a peer has said of the size of the table since it was last asked: a smaller size that stood in between has cost it entries
/// (RFC 7541 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// The smallest.
    pub smallest: u32,
    /// The last.
    pub last: u32,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Going {
    /// It goes on.
    No,
    /// The peer was told that it will end.
    Noticed,
    /// The peer was told which stream is the last that is answered.
    Settled(u32),
}

/// A field block of which a part has come.
#[derive(Clone, Copy, Debug)]
struct Continued {
    stream: u32,
    is_end: bool,
    frames: u32,
}

/// Frames that a field block may come in: any that is within our limit fits into four (CVE-2024-27316).
const BLOCK_FRAMES_MAX: u32 = 32;

/// A `priority` that is looked at: `u=0, i` and what others may add.
const PRIORITY_BYTES_MAX: usize = 64;

/// Bytes of content of one request that are thrown away before it is answered. The rest is not waited for.
const CONTENT_BYTES_MAX: i64 = 32 * 1024;

/// Bytes of the heads of those requests whose content is waited for.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What our pings say.
pub(super) const NOTICE: [u8; 8] = *b"goingoff";

pub(super) type Received = Result<Option<Event>, ConnectionError>;

impl Connection {
    /// A connection of which nothing has come yet.
    pub fn new(limits: Limits) -> Connection {
        Connection {
            limits,
            preface: 0,
            has_settings: false,
            decoder: Decoder::new(TABLE_BYTES_DEFAULT),
            assembler: Assembler::new(&limits.head),
            block: Vec::new(),
            continued: None,
            discarding: 0,
            streams: Streams::default(),
            send_window: WINDOW_BYTES,
            receive_window: WINDOW_BYTES,
            flood: Flood::default(),
            turn: 0,
            now: 0,
            progress: Progress::default(),
            going: Going::No,
            table_bytes_max: None,
        }
    }

    /// Takes what has come, up to the first event. `now` counts seconds. Gives how many bytes it took: it wants to see the rest
    /// again, with more behind it where it has not made an event of it; at most [`INPUT_BYTES_MAX`] at a time.
    pub fn receive(
        &mut self,
        input: &[u8],
        now: u32,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Event>), ConnectionError> {
        self.now = now;
        let mut taken = self.take_preface(input)?;
        loop {
            let skipped = self.discarding.min(input.len() - taken);
            self.discarding -= skipped;
            taken += skipped;
            let rest = &input[taken..];
            let Some(head) = FrameHead::parse(rest).filter(|_| self.preface == PREFACE.len()) else {
                return Ok((taken, None));
            };
            if head.length > PAYLOAD_BYTES_MAX {
                return Err(ConnectionError::size("a frame is longer than was agreed"));
            }
            let needed = if head.kind == Kind::Data { usize::from(head.has(frame::PADDED)) } else { head.length };
            let Some(payload) = rest[HEAD_BYTES..].get(..needed) else { return Ok((taken, None)) };
            taken += HEAD_BYTES + needed;
            if let Some(event) = self.take_frame(head, payload, out)? {
                return Ok((taken, Some(event)));
            }
        }
    }

    /// Bytes that came of the preface or of a field block that is under way; none where neither is.
    pub fn amid_bytes(&self) -> Option<usize> {
        let is_amid = self.preface < PREFACE.len() || self.continued.is_some();
        is_amid.then_some(self.preface % PREFACE.len() + self.block.len())
    }

    /// Whether a stream is open that is still to be answered.
    pub fn has_streams(&self) -> bool {
        self.streams.iter().any(|(_, stream)| !stream.is_answered)
    }

    /// Whether a stream was answered whose request has not ended.
    pub fn has_answered(&self) -> bool {
        self.streams.iter().any(|(_, stream)| stream.is_answered)
    }

    /// Takes back a request that was answered: its memory serves the next.
    pub fn take_back(&mut self, request: Assembled) {
        self.assembler.take_back(request);
    }

    /// The sizes of the table that the peer wants field blocks to be made with from now on, if it has said so since the last time.
    pub fn take_table_bytes_max(&mut self) -> Option<TableSizes> {
        self.table_bytes_max.take()
    }

    fn take_preface(&mut self, input: &[u8]) -> Result<usize, ConnectionError> {
        let missing = &PREFACE[self.preface..];
        let came = missing.len().min(input.len());
        if input[..came] != missing[..came] {
            return Err(ConnectionError::protocol("the connection preface is missing"));
        }
        self.preface += came;
        Ok(came)
    }

    fn take_frame(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        if !self.has_settings && (head.kind != Kind::Settings || head.has(frame::ACK)) {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
        }
        if let Some(continued) = self.continued {
            if head.kind != Kind::Continuation || head.stream != continued.stream {
                return Err(ConnectionError::protocol("another frame within a field block"));
            }
            return self.take_continuation(head, continued, payload, out);
        }
        match head.kind {
            Kind::Data => self.take_data(head, payload, out),
            Kind::Headers => self.take_headers(head, payload, out),
            Kind::Priority => self.take_priority(head, payload),
            Kind::ResetStream => self.take_reset(head, payload),
            Kind::Settings => self.take_settings(head, payload, out),
            Kind::PushPromise => Err(ConnectionError::protocol("a client that pushes")),
            Kind::Ping => self.take_ping(head, payload, out),
            Kind::GoAway if head.stream != 0 => Err(ConnectionError::protocol("GOAWAY on a stream")),
            Kind::GoAway if head.length < 8 => Err(ConnectionError::size("GOAWAY is too short")),
            // It begins no more streams, and closes when it has what it asked for.
            Kind::GoAway => Ok(None),
            Kind::WindowUpdate => self.take_window_update(head, payload, out),
            Kind::Continuation => Err(ConnectionError::protocol("CONTINUATION without HEADERS")),
            Kind::PriorityUpdate => self.take_priority_update(head, payload),
            Kind::Unknown => self.flood.count(Nuisance::Unknown, self.now).map(|()| None),
        }
    }

    fn take_headers(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        if head.stream % 2 == 0 {
            return Err(ConnectionError::protocol("HEADERS on a stream that is not a client's"));
        }
        let mut block = unpadded(head, payload)?;
        if head.has(frame::PRIORITY) {
            let Some(dependency) = block.first_chunk::<5>() else {
                return Err(ConnectionError::size("HEADERS is too short for its priority"));
            };
            depends_on_another(head.stream, dependency)?;
            block = &block[5..];
        }
        match self.streams.find(head.stream) {
            Named::Open(key) if !self.streams.get(key).is_receiving => {
                return Err(ConnectionError::new(ErrorCode::StreamClosed, "HEADERS behind the end of a request"));
            }
            Named::Ended => {
                return Err(ConnectionError::new(ErrorCode::StreamClosed, "HEADERS on a stream that has ended"));
            }
            Named::Forgotten => return Err(ConnectionError::protocol("HEADERS on a stream that was passed over")),
            Named::Open(_) | Named::Reset | Named::Idle => {}
        }
        let is_end = head.has(frame::END_STREAM);
        if head.has(frame::END_HEADERS) {
            return self.take_block(head.stream, is_end, block, out);
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.continued = Some(Continued { stream: head.stream, is_end, frames: 1 });
        Ok(None)
    }

    fn take_continuation(
        &mut self,
        head: FrameHead,
        continued: Continued,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Received {
        let frames = continued.frames + 1;
        // A decoder that is not shown a block to its end is of no use any more, so that there is nobody to answer 431 to.
        if frames > BLOCK_FRAMES_MAX || self.block.len() + payload.len() > 2 * self.limits.head.head_bytes_max {
            return Err(ConnectionError::calm("a field block that has no end"));
        }
        self.block.extend_from_slice(payload);
        if !head.has(frame::END_HEADERS) {
            self.continued = Some(Continued { frames, ..continued });
            return Ok(None);
        }
        self.continued = None;
        let block = std::mem::take(&mut self.block);
        let event = self.take_block(continued.stream, continued.is_end, &block, out);
        // Few clients send blocks in parts: what it takes is not kept for the others.
        drop(block);
        event
    }

    /// Takes a whole field block: a request, or the trailers behind its content.
    fn take_block(&mut self, id: u32, is_end: bool, block: &[u8], out: &mut Vec<u8>) -> Received {
        let named = self.streams.find(id);
        let (mut priority, mut is_trailers, mut listed_bytes) = (Priority::UNSAID, true, 0usize);
        let list_bytes_max = self.limits.head.head_bytes_max;
        self.assembler.begin(&self.limits.head);
        let assembler = &mut self.assembler;
        let decoded = self.decoder.decode(block, |name: &[u8], value: &[u8]| {
            // One that says more than this says nothing that is understood; and a block may hold thousands of them.
            if name == b"priority" && value.len() <= PRIORITY_BYTES_MAX {
                priority = Priority::parse(value);
            }
            if named == Named::Idle {
                return assembler.field(name, value);
            }
            // Not looked at further than it may be long: a few bytes can say much again and again.
            listed_bytes = listed_bytes.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD_BYTES);
            is_trailers = is_trailers && listed_bytes <= list_bytes_max && is_trailer(name, value);
        });
        decoded
            .map_err(|_| ConnectionError::new(ErrorCode::CompressionError, "a field block that cannot be decoded"))?;
        match named {
            Named::Idle => self.begin(id, is_end, priority, out),
            Named::Open(key) => {
                let is_whole = self.streams.get(key).content_left.is_none_or(|left| left == 0);
                if !is_end || !is_whole || !is_trailers {
                    return self.break_off(key, ErrorCode::ProtocolError, out);
                }
                Ok(self.end_content(key))
            }
            // Sent before the peer knew of our reset.
            Named::Reset | Named::Ended | Named::Forgotten => self.pass_over(),
        }
    }

    /// A field block that nothing comes of has cost something all the same.
    fn pass_over(&mut self) -> Received {
        self.flood.count(Nuisance::IgnoredBlock, self.now).map(|()| None)
    }

    /// Begins a stream with the request that was assembled.
    fn begin(&mut self, id: u32, is_end: bool, priority: Priority, out: &mut Vec<u8>) -> Received {
        self.streams.last = id;
        // A frame counts for more than the field, also where it came first (RFC 9218 §7.1).
        let priority = self.streams.take_ahead(id).unwrap_or(priority);
        if matches!(self.going, Going::Settled(last) if id > last) {
            // The peer was told that it would not be answered.
            self.streams.remember(id, true);
            return self.pass_over();
        }
        if self.streams.len() >= self.limits.streams_max as usize {
            // Who has not seen our settings yet may open many more than it is allowed to.
            frame::write_reset(id, ErrorCode::RefusedStream, out);
            self.streams.remember(id, true);
            return self.pass_over();
        }
        let window = self.streams.initial_window;
        let stream = Stream::new(id, !is_end, priority, window, self.turn, self.now);
        let key = self.streams.enter(stream);
        match self.assembler.finish(!is_end) {
            Err(Bad::Malformed(_)) => self.break_off(key, ErrorCode::ProtocolError, out),
            Err(Bad::Refused(bad)) => {
                let is_head = self.assembler.is_head();
                Ok(Some(Event::Refused(Refused { key, bad, is_head })))
            }
            Ok(request) if is_end => Ok(Some(Event::Request(key, request))),
            Ok(request) => {
                self.streams.get_mut(key).content_left = request.content_length();
                // Who wants to be told before it sends content is told by the answer.
                let is_asked = request.head().fields.has(FieldName::Expect);
                // Nor is content waited for where too many requests do already: each holds its head.
                if is_asked || self.streams.waiting_bytes() + request.bytes() > WAITING_BYTES_MAX {
                    return Ok(Some(Event::Request(key, request)));
                }
                self.streams.get_mut(key).request = Some(request);
                Ok(None)
            }
        }
    }

    fn take_data(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("DATA on no stream"));
        }
        let padding = if let [padding] = payload { usize::from(*padding) + 1 } else { 0 };
        if padding > head.length {
            return Err(ConnectionError::protocol("padding that is longer than its frame"));
        }
        let content = head.length - padding;
        self.discarding = head.length - payload.len();
        let is_end = head.has(frame::END_STREAM);
        if content == 0 && !is_end {
            self.flood.count(Nuisance::EmptyData, self.now)?;
        }
        self.take_from_window(head.length, out)?;
        let key = match self.streams.find(head.stream) {
            Named::Open(key) => key,
            Named::Idle => return Err(ConnectionError::protocol("DATA on a stream that was not begun")),
            Named::Reset => return Ok(None),
            Named::Ended | Named::Forgotten => {
                self.flood.count(Nuisance::Reset, self.now)?;
                frame::write_reset(head.stream, ErrorCode::StreamClosed, out);
                self.streams.remember(head.stream, true);
                return Ok(None);
            }
        };
        let stream = self.streams.get_mut(key);
        if !stream.is_receiving {
            return self.break_off(key, ErrorCode::StreamClosed, out);
        }
        stream.receive_window -= head.length as i64;
        if stream.receive_window < 0 {
            return self.break_off(key, ErrorCode::FlowControlError, out);
        }
        if let Some(left) = &mut stream.content_left {
            match left.checked_sub(content as u64) {
                Some(less) if !is_end || less == 0 => *left = less,
                _ => return self.break_off(key, ErrorCode::ProtocolError, out),
            }
        }
        if is_end {
            return Ok(self.end_content(key));
        }
        // Enough is thrown away: the answer comes now, and the reset behind it.
        let is_enough = WINDOW_BYTES - stream.receive_window > CONTENT_BYTES_MAX;
        let request = if is_enough { stream.request.take() } else { None };
        Ok(request.map(|request| Event::Request(key, request)))
    }

    /// Counts bytes against the window of the connection, and opens it again.
    fn take_from_window(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), ConnectionError> {
        self.receive_window -= length as i64;
        if self.receive_window < 0 {
            return Err(ConnectionError::new(ErrorCode::FlowControlError, "more content than the window allows"));
        }
        // Thrown away at once, and so there is room for as much again.
        if self.receive_window < WINDOW_BYTES / 2 {
            let increment = u32::try_from(WINDOW_BYTES - self.receive_window).expect("it is below the window");
            frame::write_window_update(0, increment, out);
            self.receive_window = WINDOW_BYTES;
        }
        Ok(())
    }

    /// The content of a request has ended: it can be answered, unless that was done before.
    fn end_content(&mut self, key: StreamKey) -> Option<Event> {
        let stream = self.streams.get_mut(key);
        stream.is_receiving = false;
        if stream.is_answered {
            self.streams.end(key, false);
            return None;
        }
        stream.request.take().map(|request| Event::Request(key, request))
    }

    /// Ends a stream for what the peer did on it.
    pub(super) fn break_off(&mut self, key: StreamKey, code: ErrorCode, out: &mut Vec<u8>) -> Received {
        self.flood.count(Nuisance::Reset, self.now)?;
        self.reset(key, code, out);
        Ok(Some(Event::Ended(key)))
    }
}

/// What [`Connection::receive`] may have to see at a time: a whole frame.
pub const INPUT_BYTES_MAX: usize = HEAD_BYTES + PAYLOAD_BYTES_MAX;

/// The payload of HEADERS without its padding (RFC 9113 §6.2).
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(frame::PADDED) {
        return Ok(payload);
    }
    let Some((padding, rest)) = payload.split_first() else {
        return Err(ConnectionError::size("HEADERS is too short for its padding"));
    };
    let length = rest.len().checked_sub(usize::from(*padding));
    Ok(&rest[..length.ok_or(ConnectionError::protocol("padding that is longer than its frame"))?])
}
