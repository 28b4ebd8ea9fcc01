//! The streams of one connection that are open, and what is remembered of those that are not (RFC 9113 §5.1).
//!
//! Invariant: a stream is in the table from the head of its request until request and answer have both ended or one side resets it, and its
//! identifier in no other place meanwhile.

use super::frame::WINDOW_BYTES;
use super::priority::Priority;
use super::request::Assembled;
use slab::Slab;

/// The key of a stream among those of its connection. Another stream has it once this one has ended.
pub type StreamKey = usize;

/// One that is open.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// Whether more of the request is to come.
    pub(super) is_receiving: bool,
    /// Bytes of content that the request's Content-Length still promises.
    pub(super) content_left: Option<u64>,
    /// Bytes that may still come.
    pub(super) receive_window: i64,
    /// Bytes that may still be sent; below zero where the peer has taken back what it had granted.
    pub(super) send_window: i64,
    pub(super) priority: Priority,
    /// When it was last sent something; those that wait for longest have their turn.
    pub(super) turn: u64,
    /// Bytes of content that were sent.
    pub(super) sent_bytes: u64,
    /// Whether its answer was sent whole, and the end of its request is all that is missing.
    pub(super) is_answered: bool,
    /// Whether there is content that waits to be sent.
    pub(super) is_sending: bool,
    pub(super) progress: Progress,
    /// The request, while its content is waited for.
    pub(super) request: Option<Assembled>,
}

impl Stream {
    /// One that begins, with the request still to be made of what has come.
    pub(super) fn new(
        id: u32,
        is_receiving: bool,
        priority: Priority,
        send_window: i64,
        turn: u64,
        now: u32,
    ) -> Stream {
        Stream {
            id,
            is_receiving,
            content_left: None,
            receive_window: WINDOW_BYTES,
            send_window,
            priority,
            turn,
            sent_bytes: 0,
            is_answered: false,
            is_sending: false,
            progress: Progress::new(now),
            request: None,
        }
    }
}

/// Since when something does not move on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The second in which it last did.
    pub(super) moved: u32,
    /// Bytes of content that were sent since, too few to say that it did.
    unmoved_bytes: u64,
}

impl Progress {
    /// Of what moves on in the second `now`.
    pub(super) fn new(now: u32) -> Progress {
        Progress { moved: now, unmoved_bytes: 0 }
    }

    /// So much was sent; a window that is opened byte by byte is no progress.
    pub(super) fn sent(&mut self, length: usize, bytes_per_second_min: u32, now: u32) {
        self.unmoved_bytes += length as u64;
        if self.unmoved_bytes >= u64::from(bytes_per_second_min) * u64::from(now.saturating_sub(self.moved)) {
            *self = Progress::new(now);
        }
    }
}

/// Streams that have ended and are still known.
const RECENT: usize = 64;

/// The streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    open: Slab<Stream>,
    /// The highest identifier that the peer has used.
    pub(super) last: u32,
    /// What the send window of a new stream is.
    pub(super) initial_window: i64,
    recent: [Ended; RECENT],
    recent_at: usize,
    /// Priorities that came ahead of their requests.
    ahead: Vec<(u32, Priority)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    id: u32,
    /// We ended it while the peer might still have been sending.
    was_reset: bool,
}

/// What is known of an identifier that a frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It is open.
    Open(StreamKey),
    /// It was never used, and still may be.
    Idle,
    /// It was reset by us: what the peer sent before it knew is to be ignored.
    Reset,
    /// It has ended.
    Ended,
    /// It was passed over, or ended long ago.
    Forgotten,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams {
            open: Slab::new(),
            last: 0,
            initial_window: WINDOW_BYTES,
            recent: [Ended::default(); RECENT],
            recent_at: 0,
            ahead: Vec::new(),
        }
    }
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn find(&self, id: u32) -> Named {
        if id > self.last {
            return Named::Idle;
        }
        if let Some((key, _)) = self.open.iter().find(|(_, stream)| stream.id == id) {
            return Named::Open(key);
        }
        match self.recent.iter().find(|ended| ended.id == id) {
            Some(ended) if ended.was_reset => Named::Reset,
            Some(_) => Named::Ended,
            None => Named::Forgotten,
        }
    }

    pub(super) fn get(&self, key: StreamKey) -> &Stream {
        &self.open[key]
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> &mut Stream {
        &mut self.open[key]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamKey, &Stream)> {
        self.open.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        self.open.iter_mut()
    }

    /// Bytes of the requests whose content is waited for.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.iter().filter_map(|(_, stream)| stream.request.as_ref()).map(Assembled::bytes).sum()
    }

    pub(super) fn enter(&mut self, stream: Stream) -> StreamKey {
        self.open.insert(stream)
    }

    /// Ends one that is open. `was_reset`: what the peer still sends on it is to be ignored.
    pub(super) fn end(&mut self, key: StreamKey, was_reset: bool) -> Stream {
        let stream = self.open.remove(key);
        self.remember(stream.id, was_reset);
        stream
    }

    pub(super) fn remember(&mut self, id: u32, was_reset: bool) {
        self.recent[self.recent_at % RECENT] = Ended { id, was_reset };
        self.recent_at = (self.recent_at + 1) % RECENT;
    }

    /// Keeps the priority of a stream that is still to begin; gives whether there is room. Those that wait and those that are
    /// open are at most `streams_max` (RFC 9218 §7.1).
    pub(super) fn put_ahead(&mut self, id: u32, priority: Priority, streams_max: usize) -> bool {
        if let Some(known) = self.ahead.iter_mut().find(|(other, _)| *other == id) {
            known.1 = priority;
            return true;
        }
        let has_room = self.open.len() + self.ahead.len() < streams_max;
        if has_room {
            self.ahead.push((id, priority));
        }
        has_room
    }

    /// The priority of a stream that begins, where it came ahead. Streams before this one can begin no more.
    pub(super) fn take_ahead(&mut self, id: u32) -> Option<Priority> {
        let own = self.ahead.iter().find(|(other, _)| *other == id).map(|(_, priority)| *priority);
        self.ahead.retain(|(other, _)| *other > id);
        own
    }
}
