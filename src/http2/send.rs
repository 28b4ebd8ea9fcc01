//! What is sent: heads, content within the windows, in the order that the client wants (RFC 9113 §5.2, RFC 9218 §10), and the end.
//!
//! Invariant: no byte of content is sent that a window does not allow, and each stream that may be sent something is sent something
//! before any stream of its urgency has been sent more than `ALONE_BYTES_MAX` meanwhile.

use super::connection::{Connection, Event, Going, NOTICE};
use super::control::{MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE, NO_RFC7540_PRIORITIES};
use super::error::{ConnectionError, ErrorCode};
use super::frame::{self, HEAD_BYTES, PAYLOAD_BYTES_MAX, WINDOW_MAX};
use super::streams::{Progress, Stream, StreamKey};

/// Content of one frame: with its head, it fills a TLS record.
pub const CONTENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - HEAD_BYTES;

/// Content that a stream which is not incremental is sent alone; one that goes on for longer has turns as others have. Else a
/// download would keep a page waiting that was asked for behind it.
const ALONE_BYTES_MAX: u64 = 1024 * 1024;

impl Connection {
    /// Begins: our settings.
    pub fn start(&self, out: &mut Vec<u8>) {
        let head_bytes_max = u32::try_from(self.limits.head.head_bytes_max).unwrap_or(u32::MAX);
        frame::write_settings(
            &[
                (MAX_CONCURRENT_STREAMS, self.limits.streams_max),
                (MAX_HEADER_LIST_SIZE, head_bytes_max),
                (NO_RFC7540_PRIORITIES, 1),
            ],
            out,
        );
    }

    /// Sends the head of an answer. With `is_end` it has no content, and the stream ends.
    pub fn send_head(&mut self, key: StreamKey, block: &[u8], is_end: bool, out: &mut Vec<u8>) {
        let stream = self.streams.get_mut(key);
        frame::write_headers(stream.id, block, is_end, out);
        stream.progress = Progress::new(self.now);
        stream.is_sending = !is_end;
        if is_end {
            self.end(key);
        }
    }

    /// Bytes of content that may be sent now on a stream.
    pub fn window(&self, key: StreamKey) -> u64 {
        u64::try_from(self.streams.get(key).send_window.min(self.send_window)).unwrap_or(0)
    }

    /// Bytes of content that may be sent now on a stream, in one frame.
    pub fn allowance(&self, key: StreamKey) -> usize {
        usize::try_from(self.window(key)).unwrap_or(usize::MAX).min(CONTENT_BYTES_MAX)
    }

    /// Sends the head of a frame of content, behind which the caller puts the content: `length` bytes, as many as the
    /// windows allow at most. With `is_end` it is the last, and the stream ends.
    pub fn send_content(&mut self, key: StreamKey, length: usize, is_end: bool, out: &mut Vec<u8>) {
        debug_assert!(length <= self.allowance(key));
        self.turn += 1;
        let stream = self.streams.get_mut(key);
        frame::write_data_head(stream.id, length, is_end, out);
        stream.send_window -= length as i64;
        stream.sent_bytes += length as u64;
        stream.turn = self.turn;
        self.send_window -= length as i64;
        let bytes_per_second_min = self.limits.send_bytes_per_second_min;
        if stream.send_window > 0 && self.send_window > 0 {
            // It was not its client that it has waited for.
            stream.progress = Progress::new(self.now);
        } else {
            stream.progress.sent(length, bytes_per_second_min, self.now);
        }
        self.progress.sent(length, bytes_per_second_min, self.now);
        self.flood.sent(length, is_end);
    }

    /// Ends a stream whose answer was sent whole. What is still to come of its request is not wanted, and its client may reset the
    /// stream itself: one that is reset at once may throw the answer away, as curl 7.88 does.
    pub fn end(&mut self, key: StreamKey) {
        let stream = self.streams.get_mut(key);
        if stream.is_receiving {
            stream.is_answered = true;
            stream.is_sending = false;
            stream.progress = Progress::new(self.now);
        } else {
            self.streams.end(key, false);
        }
    }

    /// Resets the streams whose answer was sent by the second `until`, and whose request does not end; gives whether there were some.
    pub fn reset_answered(&mut self, until: u32, out: &mut Vec<u8>) -> bool {
        let answered = self.streams.iter().filter(|(_, stream)| stream.is_answered && stream.progress.moved <= until);
        let answered: Vec<StreamKey> = answered.map(|(key, _)| key).collect();
        answered.iter().for_each(|key| self.reset(*key, ErrorCode::NoError, out));
        !answered.is_empty()
    }

    /// Ends a stream whose answer cannot be sent whole.
    pub fn reset(&mut self, key: StreamKey, code: ErrorCode, out: &mut Vec<u8>) {
        let stream = self.streams.end(key, true);
        frame::write_reset(stream.id, code, out);
    }

    /// Whose turn it is, of the streams that wait with content, may be sent some, and are `ready`.
    pub fn next(&self, ready: impl Fn(StreamKey) -> bool) -> Option<StreamKey> {
        if self.send_window <= 0 {
            return None;
        }
        let waiting = self.streams.iter().filter(|(_, stream)| stream.is_sending && stream.send_window > 0);
        waiting.filter(|(key, _)| ready(*key)).min_by_key(|(_, stream)| rank(stream)).map(|(key, _)| key)
    }

    /// Whether a stream waits with content that no window allows.
    pub fn is_stalled(&self) -> bool {
        self.streams.iter().any(|(_, stream)| is_stalled(stream, self.send_window))
    }

    /// Looks after streams that do not move on: content that was waited for long enough need not come any more, and an answer that is
    /// not taken is ended. To be called again until there is none.
    pub fn overdue(&mut self, now: u32, receive_seconds: u32, send_seconds: u32, out: &mut Vec<u8>) -> Option<Event> {
        self.now = now;
        if !self.is_stalled() {
            self.progress = Progress::new(now);
        }
        let is_overdue = |stream: &Stream| {
            let own = stream.progress.moved;
            // Who only waits for the window that all share is not to blame, as long as others get on.
            let is_own = stream.send_window <= 0;
            let moved = if is_own { own } else { own.max(self.progress.moved) };
            stream.request.is_some() && now.saturating_sub(own) > receive_seconds
                || is_stalled(stream, self.send_window) && now.saturating_sub(moved) > send_seconds
        };
        let (key, _) = self.streams.iter().find(|(_, stream)| is_overdue(stream))?;
        Some(self.wait_no_more(key, out))
    }

    /// Of a peer that sends nothing any more: what it would have to open a window for, or to send content for, waits in vain. To be
    /// called again until there is none.
    pub fn give_up(&mut self, out: &mut Vec<u8>) -> Option<Event> {
        let waits = |stream: &Stream| stream.request.is_some() || is_stalled(stream, self.send_window);
        let (key, _) = self.streams.iter().find(|(_, stream)| waits(stream))?;
        Some(self.wait_no_more(key, out))
    }

    /// Answers a request whose content does not come, or ends a stream whose answer is not taken.
    fn wait_no_more(&mut self, key: StreamKey, out: &mut Vec<u8>) -> Event {
        if let Some(request) = self.streams.get_mut(key).request.take() {
            return Event::Request(key, request);
        }
        self.reset(key, ErrorCode::Cancel, out);
        Event::Ended(key)
    }

    /// Tells the peer that the connection will end, and asks it to say when it has heard that.
    pub fn notice(&mut self, out: &mut Vec<u8>) {
        if self.going == Going::No {
            self.going = Going::Noticed;
            frame::write_go_away(u32::try_from(WINDOW_MAX).expect("31 bits"), ErrorCode::NoError, "", out);
            frame::write_ping(false, &NOTICE, out);
        }
    }

    /// Whether [`Connection::notice`] was called.
    pub fn is_going(&self) -> bool {
        self.going != Going::No
    }

    /// Tells the peer that no streams will be answered but those that it has begun.
    pub fn settle(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.going, Going::Settled(_)) {
            self.going = Going::Settled(self.streams.last);
            frame::write_go_away(self.streams.last, ErrorCode::NoError, "", out);
        }
    }

    /// Whether [`Connection::settle`] was called.
    pub fn is_settled(&self) -> bool {
        matches!(self.going, Going::Settled(_))
    }

    /// Tells the peer what it has done wrong; nothing more is sent.
    pub fn fail(&self, error: &ConnectionError, out: &mut Vec<u8>) {
        // One that was told before must not grow (RFC 9113 §6.8).
        let last = if let Going::Settled(last) = self.going { last } else { self.streams.last };
        frame::write_go_away(last, error.code, error.why, out);
    }
}

/// Whether a stream has content that its window does not allow, or the one that all share.
fn is_stalled(stream: &Stream, shared_window: i64) -> bool {
    stream.is_sending && stream.send_window.min(shared_window) <= 0
}

/// The order in which streams are sent content: the lowest first.
fn rank(stream: &Stream) -> (u8, bool, u64, u32) {
    let has_turns = stream.priority.is_incremental || stream.sent_bytes >= ALONE_BYTES_MAX;
    (stream.priority.urgency, has_turns, if has_turns { stream.turn } else { 0 }, stream.id)
}
