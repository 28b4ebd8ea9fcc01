//! What is known of an exchange when its answer's head is written, and what only its end shows.
//!
//! Order: the connection tells the [`Summary`] of an answer by [`answered`] · content that leaves with the head is as good as
//! sent, and nothing is left to tell · of other content an [`Unfinished`] remains, which the connection ends when the
//! last byte was sent, or none will be.
//!
//! Invariant: every answer is told of exactly once at its head, and each [`Unfinished`] once at its end.

use crate::http::request::RequestHead;
use crate::http::status::Status;
use std::net::IpAddr;
use std::time::Instant;

/// What there is to tell of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Who asked: the peer, or whom a trusted proxy names; none on a Unix socket.
    pub client: Option<IpAddr>,
    /// The status of the answer.
    pub status: Status,
    /// Bytes of the answer's head.
    pub head_bytes: u32,
    /// Bytes of content that the answer promises to send.
    pub content_bytes: u64,
}

/// An exchange whose content is still to be sent.
#[derive(Debug)]
pub struct Unfinished {
    summary: Summary,
    begun: Instant,
}

/// Tells of an answer whose request's first bytes came in when it had `begun`. There is no head where the bytes were no
/// request. `leaves_with_head` says whether the content is in the same buffer as the answer's head, or there is none.
pub fn answered(
    head: Option<&RequestHead<'_>>,
    summary: Summary,
    begun: Instant,
    leaves_with_head: bool,
) -> Option<Unfinished> {
    let (method, target) = head.map_or(("", ""), |head| (head.method_token, head.target));
    tracing::debug!(
        method = %method.escape_default(),
        target = %target.escape_default(),
        status = summary.status.code(),
        length = summary.content_bytes,
        "answered"
    );
    if leaves_with_head { None } else { Some(Unfinished { summary, begun }) }
}

impl Unfinished {
    /// Bytes of the answer's head.
    pub fn head_bytes(&self) -> u64 {
        self.summary.head_bytes.into()
    }

    /// Tells how it ended: `sent_bytes` of head and content were taken by the socket.
    pub fn end(self, sent_bytes: u64) {
        tracing::debug!(
            status = self.summary.status.code(),
            sent_bytes,
            promised_bytes = u64::from(self.summary.head_bytes) + self.summary.content_bytes,
            seconds = self.begun.elapsed().as_secs_f64(),
            "sent"
        );
    }
}
