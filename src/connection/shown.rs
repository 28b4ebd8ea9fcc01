//! Transfers that are shown to whoever looks in.
//!
//! A connection of HTTP/1.1 has one at a time, and keeps it; those of HTTP/2 are [`Listed`], each for itself.
//!
//! Invariant: nothing of this is there while nobody may look in.

use crate::http::request::RequestHead;
use crate::http::status::Status;
use crate::observe::exchanged::Summary;
use crate::observe::live::{self, Asked, Transfer};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// A transfer under way, as its connection knows it.
pub(super) struct Shown {
    path: Box<str>,
    client: Option<IpAddr>,
    status: Status,
    promised_bytes: u64,
    /// What the connection had sent before it; of a stream, nothing.
    sent_before_bytes: u64,
    begun: Instant,
    /// What the connection had sent when it was last published, and when that was.
    last: Cell<(u64, Instant)>,
}

/// What is kept of a path.
const PATH_BYTES_MAX: usize = 256;

/// Transfers of a core that are published one by one.
const PUBLISHED_MAX: usize = 32;

impl Shown {
    /// The transfer of an answer whose request began then, on a connection that has sent `sent_before_bytes`.
    pub(super) fn new(head: &RequestHead<'_>, summary: &Summary, begun: Instant, sent_before_bytes: u64) -> Shown {
        let path = live::path_of(head.target);
        let end = (0..=path.len().min(PATH_BYTES_MAX)).rev().find(|end| path.is_char_boundary(*end));
        Shown {
            path: Box::from(&path[..end.unwrap_or(0)]),
            client: summary.client,
            status: summary.status,
            promised_bytes: u64::from(summary.head_bytes) + summary.content_bytes,
            sent_before_bytes,
            begun,
            last: Cell::new((sent_before_bytes, Instant::now())),
        }
    }

    /// What was asked for.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { path: &self.path, client: self.client, status: self.status }
    }

    fn transfer(&self, sent_bytes: u64) -> Transfer {
        let (last_bytes, last) = self.last.replace((sent_bytes, Instant::now()));
        let milliseconds = last.elapsed().as_millis().max(1);
        let rate = u128::from(sent_bytes - last_bytes) * 1000 / milliseconds;
        Transfer {
            path: self.path.to_string(),
            client: self.client,
            sent_bytes: (sent_bytes - self.sent_before_bytes).min(self.promised_bytes),
            promised_bytes: self.promised_bytes,
            bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
            begun: self.begun,
        }
    }

    fn left_bytes(&self, sent_bytes: u64) -> u64 {
        self.promised_bytes.saturating_sub(sent_bytes - self.sent_before_bytes)
    }
}

/// The transfers of a core's streams.
#[derive(Default)]
pub(super) struct Streams {
    listed: RefCell<Slab<Rc<Stream>>>,
}

struct Stream {
    shown: Shown,
    sent_bytes: Cell<u64>,
}

/// The transfer of a stream, which is among those of its core as long as this is there.
pub(super) struct Listed {
    streams: Rc<Streams>,
    key: usize,
    stream: Rc<Stream>,
}

impl Listed {
    /// Puts it among these.
    pub(super) fn new(streams: &Rc<Streams>, shown: Shown) -> Listed {
        let stream = Rc::new(Stream { shown, sent_bytes: Cell::new(0) });
        let key = streams.listed.borrow_mut().insert(stream.clone());
        Listed { streams: streams.clone(), key, stream }
    }

    /// So much of it was sent so far, the head included.
    pub(super) fn note_sent(&self, bytes: u64) {
        self.stream.sent_bytes.set(bytes);
    }

    /// What was asked for.
    pub(super) fn asked(&self) -> Asked<'_> {
        self.stream.shown.asked()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.streams.listed.borrow_mut().remove(self.key);
    }
}

/// Publishes those of a core's connections, each with the bytes that its connection has sent, and those of its streams.
pub(super) fn publish<'a>(connections: impl Iterator<Item = (&'a Cell<Option<Box<Shown>>>, u64)>, streams: &Streams) {
    let mut published = Published::default();
    for (cell, sent_bytes) in connections {
        let Some(shown) = cell.take() else { continue };
        published.add(&shown, sent_bytes);
        cell.set(Some(shown));
    }
    for (_, stream) in streams.listed.borrow().iter() {
        published.add(&stream.shown, stream.sent_bytes.get());
    }
    live::publish(published.transfers.into_iter().map(|(_, transfer)| transfer).collect(), published.count);
}

/// Those that have most left, and how many there are.
#[derive(Default)]
struct Published {
    transfers: Vec<(u64, Transfer)>,
    count: usize,
}

impl Published {
    fn add(&mut self, shown: &Shown, sent_bytes: u64) {
        self.count += 1;
        let left_bytes = shown.left_bytes(sent_bytes);
        if self.transfers.len() < PUBLISHED_MAX {
            self.transfers.push((left_bytes, shown.transfer(sent_bytes)));
        } else if let Some(least) = self.transfers.iter_mut().min_by_key(|(left, _)| *left) {
            if left_bytes > least.0 {
                *least = (left_bytes, shown.transfer(sent_bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{HeadLimits, Parse, parse};
    use crate::observe::exchanged::CacheStatus;

    #[test]
    fn a_transfer_is_told_by_what_was_sent_of_it() {
        let limits = HeadLimits { head_bytes_max: 1024, target_bytes_max: 512, field_lines_max: 10 };
        let Ok(Parse::Complete(head)) = parse(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n", &limits) else {
            panic!("a request")
        };
        let summary = Summary {
            client: None,
            status: Status::OK,
            head_bytes: 100,
            written_bytes: 100,
            content_bytes: 900,
            cache_status: CacheStatus::None,
            logs: None,
            fields_text: None,
        };
        let shown = Shown::new(&head, &summary, Instant::now(), 50);
        let transfer = shown.transfer(350);
        assert_eq!((transfer.path.as_str(), transfer.sent_bytes, transfer.promised_bytes), ("/a", 300, 1000));
        assert_eq!(shown.left_bytes(350), 700);
    }
}
