//! What is told of an exchange, whichever version it is spoken in: of its answer at once, and of its end where content goes on behind
//! the head.
//!
//! Invariant: each answer is told of once, and each that [`Telling::tell`] leaves unfinished is ended once.

use super::roster::Place;
use crate::http::request::RequestHead;
use crate::observe::exchanged::{self, Summary, Told, Unfinished};
use crate::observe::live::{self, Asked};
use crate::shard::Peer;
use std::cell::Cell;
use std::time::Instant;

/// An answer that was made.
pub(super) struct Telling<'a> {
    /// What it answers; none where that is no request.
    pub(super) head: Option<&'a RequestHead<'a>>,
    /// What came in the place of a request.
    pub(super) unparsed: &'a [u8],
    /// Its head, as it is sent.
    pub(super) answer_head: &'a [u8],
    pub(super) summary: &'a Summary,
    /// When the request came.
    pub(super) begun: Instant,
    /// When it was answered.
    pub(super) answered: Instant,
    /// Whether it is all sent with its head.
    pub(super) leaves_with_head: bool,
}

impl Telling<'_> {
    /// Tells of it; gives what is to be told of at its end.
    pub(super) fn tell(&self, peer: &Peer, place: &Place) -> Option<Unfinished> {
        let elapsed = self.answered.saturating_duration_since(self.begun);
        live::answered(self.head, self.summary, elapsed, self.leaves_with_head);
        let told = Told {
            head: self.head,
            unparsed: self.unparsed,
            answer_head: self.answer_head,
            summary: self.summary,
            begun: self.begun,
            listener: peer.listener,
            tls: place.tls(),
            connection: if self.summary.logs.is_some() { place.number() } else { 0 },
            connection_requests: place.count_request(),
            request_id: Cell::new(None),
        };
        exchanged::answered(&told, self.leaves_with_head)
    }
}

/// Tells how an exchange ended of which so much was sent; what it was is known where somebody looks in.
pub(super) fn end(unfinished: Unfinished, asked: Option<Asked<'_>>, sent_bytes: u64) {
    live::ended(asked, unfinished.begun().elapsed(), sent_bytes);
    unfinished.end(sent_bytes);
}
