//! What is known of an exchange when its answer's head is written, and what only its end shows.
//!
//! Order: the connection tells the [`Summary`] of an answer by [`answered`] · content that leaves with the head is as good as
//! sent, and nothing is left to tell · of other content an [`Unfinished`] remains, which the connection ends when the
//! last byte was sent, or none will be.
//!
//! Invariant: every answer is told of exactly once at its head, and each [`Unfinished`] once at its end.

use super::access::{Ending, Logs, Pending};
use crate::http::request::RequestHead;
use crate::http::status::Status;
use crate::tls::session::TlsFacts;
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// What there is to tell of an answer.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Who asked: the peer, or whom a trusted proxy names; none on a Unix socket.
    pub client: Option<IpAddr>,
    /// The status of the answer.
    pub status: Status,
    /// Bytes of the answer's head.
    pub head_bytes: u32,
    /// Bytes of the head and of the fixed text that was written with it.
    pub written_bytes: u32,
    /// Bytes of content that the answer promises to send.
    pub content_bytes: u64,
    /// Where the content came from.
    pub cache_status: CacheStatus,
    /// Where the exchange is logged.
    pub logs: Option<Rc<Logs>>,
    /// The fields of the answer as text, where the logs tell some of them and the head is none.
    pub fields_text: Option<Box<[u8]>>,
}

/// Where the content of an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// There is no file behind it.
    None,
    /// The memory of this core.
    Hit,
    /// It was fetched for this answer: from the disk, the page cache, or another core.
    Miss,
}

/// An exchange, as the connection knows it when the answer's head is written.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The request; none where the bytes were none.
    pub head: Option<&'a RequestHead<'a>>,
    /// The bytes that were no request.
    pub unparsed: &'a [u8],
    /// The head of the answer as it is sent; of no use where `summary` has its fields as text.
    pub answer_head: &'a [u8],
    /// What there is to tell of the answer.
    pub summary: &'a Summary,
    /// When the first bytes of the request came in.
    pub begun: Instant,
    /// Which listener the connection came in by.
    pub listener: u16,
    /// The number of the connection.
    pub connection: u64,
    /// Requests on it so far.
    pub connection_requests: u32,
    /// Its identifier, once a log has asked for it.
    pub request_id: Cell<Option<[u64; 2]>>,
    /// What is known of the connection's TLS; none without.
    pub tls: Option<&'a TlsFacts>,
}

/// An exchange whose content is still to be sent.
#[derive(Debug)]
pub struct Unfinished {
    status: Status,
    ending: Ending,
    pending: Option<Pending>,
}

/// Tells of an answer. `leaves_with_head` says whether the content is in the same buffer as the answer's head, or there
/// is none.
pub fn answered(told: &Told<'_>, leaves_with_head: bool) -> Option<Unfinished> {
    let summary = told.summary;
    let (method, target) = told.head.map_or(("", ""), |head| (head.method_token, head.target));
    tracing::debug!(
        method = %method.escape_default(),
        target = %target.escape_default(),
        status = summary.status.code(),
        length = summary.content_bytes,
        "answered"
    );
    if leaves_with_head {
        if let Some(logs) = &summary.logs {
            logs.tell(told);
        }
        return None;
    }
    let ending = Ending {
        begun: told.begun,
        head_bytes: summary.head_bytes,
        content_bytes: summary.content_bytes,
        sent_bytes: 0,
    };
    let pending = summary.logs.as_ref().and_then(|logs| logs.begin(told));
    Some(Unfinished { status: summary.status, ending, pending })
}

impl Unfinished {
    /// When its request's first bytes came in.
    pub fn begun(&self) -> Instant {
        self.ending.begun
    }

    /// Bytes of the answer's head.
    pub fn head_bytes(&self) -> u64 {
        self.ending.head_bytes.into()
    }

    /// Tells how it ended: `sent_bytes` of head and content were taken by the socket.
    pub fn end(mut self, sent_bytes: u64) {
        self.ending.sent_bytes = sent_bytes;
        tracing::debug!(
            status = self.status.code(),
            sent_bytes,
            promised_bytes = u64::from(self.ending.head_bytes) + self.ending.content_bytes,
            seconds = self.ending.begun.elapsed().as_secs_f64(),
            "sent"
        );
        if let Some(pending) = self.pending.take() {
            pending.end(&self.ending);
        }
    }
}
