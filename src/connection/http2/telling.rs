//! What is told of the exchanges of one connection: of each at its head, and of those whose content goes on behind it, at its end.
//!
//! Invariant: an exchange has ended when the socket has taken its last byte, and not when that was put into a buffer.

use crate::connection::roster::Place;
use crate::connection::shown::Listed;
use crate::exchange::Answer;
use crate::http::request::RequestHead;
use crate::observe::exchanged::{self, Told, Unfinished};
use crate::observe::live;
use crate::shard::Peer;
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Instant;

/// When a request came, and when it was answered.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) begun: Instant,
    pub(super) answered: Instant,
}

/// Tells of an answer whose head is this block; gives what is to be told of at its end.
pub(super) fn tell(
    head: Option<&RequestHead<'_>>,
    answer: &Answer,
    block: &[u8],
    times: Times,
    peer: &Peer,
    place: &Place,
    leaves_with_head: bool,
) -> Option<Unfinished> {
    let summary = &answer.summary;
    live::answered(head, summary, times.answered.saturating_duration_since(times.begun), leaves_with_head);
    let told = Told {
        head,
        unparsed: &[],
        answer_head: block,
        summary,
        begun: times.begun,
        listener: peer.listener,
        tls: place.tls(),
        connection: if summary.logs.is_some() { place.number() } else { 0 },
        connection_requests: place.count_request(),
        request_id: Cell::new(None),
    };
    exchanged::answered(&told, leaves_with_head)
}

/// Exchanges whose last byte is in the buffer, in order.
#[derive(Default)]
pub(super) struct Endings {
    waiting: VecDeque<Ending>,
}

struct Ending {
    unfinished: Unfinished,
    /// What was asked for, where somebody may look in.
    shown: Option<Listed>,
    /// Bytes of head and content that were put into the buffer.
    sent_bytes: u64,
    /// Bytes that the socket has taken of the connection when the last of them is gone.
    at: u64,
}

impl Endings {
    /// All of an exchange was put into the buffer, of which the socket has taken all when it has taken the connection's first `at` bytes.
    pub(super) fn put(&mut self, unfinished: Unfinished, shown: Option<Listed>, sent_bytes: u64, at: u64) {
        self.waiting.push_back(Ending { unfinished, shown, sent_bytes, at });
    }

    /// The socket has taken so many bytes of the connection.
    pub(super) fn taken(&mut self, bytes: u64) {
        while self.waiting.front().is_some_and(|ending| ending.at <= bytes) {
            if let Some(ending) = self.waiting.pop_front() {
                end(ending.unfinished, ending.shown.as_ref(), ending.sent_bytes);
            }
        }
    }

    /// Nothing more will be taken.
    pub(super) fn break_off(&mut self, bytes: u64) {
        for ending in self.waiting.drain(..) {
            let unsent = ending.at.saturating_sub(bytes);
            end(ending.unfinished, ending.shown.as_ref(), ending.sent_bytes.saturating_sub(unsent));
        }
    }
}

/// Tells how an exchange ended of which so much was sent.
pub(super) fn end(unfinished: Unfinished, shown: Option<&Listed>, sent_bytes: u64) {
    live::ended(shown.map(Listed::asked), unfinished.begun().elapsed(), sent_bytes);
    unfinished.end(sent_bytes);
}
