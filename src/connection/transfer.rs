//! Sends a part of a file from disk: reads run ahead of the socket, within bounds.
//!
//! Invariant: a transfer holds at most [`WINDOW_SPANS`] spans, however large the file; beyond its
//! first, each needs a permit of the core.

use super::close::Close;
use super::outbox::Outbox;
use super::phase::Phase;
use super::roster::Place;
use crate::shard::{ReadAheadPermit, Shard};
use crate::socket::Stream;
use crate::storage::file::{OpenFile, ReadFault, SpanBytes};
use crate::storage::span::AlignedSpan;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Reads of one transfer in flight or waiting for the socket: at 128 KiB each, enough to keep a
/// disk busy while the socket takes the one before.
const WINDOW_SPANS: usize = 4;

/// Sends the bytes `range` of `file` behind what the outbox holds.
pub(super) async fn send_file(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    file: Rc<OpenFile>,
    range: Range<u64>,
) -> Result<(), Close> {
    let mut reads = Reads::new(file, range);
    loop {
        place.begin(Phase::Disk);
        let next = poll_fn(|cx| reads.poll_next(shard, true, cx));
        let Some(bytes) = place.guard(next).await?? else { return outbox.flush(stream, place).await };
        outbox.send_bulk(stream, place, &shard.bulk, &bytes).await?;
        reads.file.count_sent(bytes.len() as u64);
    }
}

/// Reads one span of `file`.
pub(super) async fn read(place: &Place, file: &Rc<OpenFile>, span: AlignedSpan) -> Result<SpanBytes, Close> {
    place.begin(Phase::Disk);
    place.guard(file.begin_read(span)).await?.map_err(|fault| cut_short(&fault))
}

/// The bytes of a part of a file, span by span, read ahead.
pub(super) struct Reads {
    pub(super) file: Rc<OpenFile>,
    /// What is to be read; the next span begins where it does.
    rest: Range<u64>,
    window: VecDeque<Reading>,
}

impl Reads {
    /// Of the bytes `range`; nothing is read yet.
    pub(super) fn new(file: Rc<OpenFile>, range: Range<u64>) -> Reads {
        Reads { file, rest: range, window: VecDeque::with_capacity(WINDOW_SPANS) }
    }

    /// The next span, once it is there; none behind the last. With `reads_ahead`, those behind it are begun meanwhile.
    pub(super) fn poll_next(
        &mut self,
        shard: &Rc<Shard>,
        reads_ahead: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<SpanBytes>, Close>> {
        while self.window.len() < WINDOW_SPANS && !self.rest.is_empty() {
            let permit = if self.window.is_empty() || !reads_ahead { None } else { shard.read_ahead.permit() };
            if permit.is_none() && !self.window.is_empty() {
                break;
            }
            let span = AlignedSpan::first_of(self.rest.start, self.rest.end);
            self.rest.start = span.wanted_end();
            self.window.push_back(Reading { task: self.file.begin_read(span), _permit: permit });
        }
        let Some(reading) = self.window.front_mut() else { return Poll::Ready(Ok(None)) };
        let Poll::Ready(read) = Pin::new(&mut reading.task).poll(cx) else { return Poll::Pending };
        self.window.pop_front();
        Poll::Ready(read.map(Some).map_err(|fault| cut_short(&fault)))
    }
}

/// One read in flight, and the leave to hold what it brings.
struct Reading {
    task: glommio::Task<Result<SpanBytes, ReadFault>>,
    _permit: Option<ReadAheadPermit>,
}

fn cut_short(fault: &ReadFault) -> Close {
    match fault {
        ReadFault::Changed => tracing::info!(reason = "changed", "a transfer was cut short: the file changed"),
        ReadFault::Failed(error) => {
            tracing::error!(reason = "disk", "a transfer was cut short: reading failed: {error}")
        }
    }
    Close::CutShort
}
