//! Sends a part of a file from disk: reads run ahead of the socket, within bounds.
//!
//! Invariant: a transfer holds at most [`WINDOW_SPANS`] spans, however large the file; beyond its
//! first, each needs a permit of the core.

use super::close::Close;
use super::outbox::Outbox;
use super::roster::{Phase, Place};
use crate::shard::{ReadAheadPermit, Shard};
use crate::socket::Stream;
use crate::storage::file::{OpenFile, ReadFault, SpanBytes};
use crate::storage::span::{self, AlignedSpan};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

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
    let mut spans = span::spans(range);
    let mut window: VecDeque<Reading> = VecDeque::with_capacity(WINDOW_SPANS);
    loop {
        while window.len() < WINDOW_SPANS {
            let permit = if window.is_empty() { None } else { shard.read_ahead.permit() };
            if permit.is_none() && !window.is_empty() {
                break;
            }
            let Some(span) = spans.next() else { break };
            window.push_back(Reading::start(&file, span, permit));
        }
        let Some(reading) = window.pop_front() else { return outbox.flush(stream, place).await };
        let bytes = reading.end(place).await?;
        outbox.send_bulk(stream, place, &shard.bulk, &bytes).await?;
        file.count_sent(bytes.len() as u64);
    }
}

/// Reads one span of `file`.
pub(super) async fn read(place: &Place, file: &Rc<OpenFile>, span: AlignedSpan) -> Result<SpanBytes, Close> {
    Reading::start(file, span, None).end(place).await
}

/// One read in flight, and the leave to hold what it brings.
struct Reading {
    task: glommio::Task<Result<SpanBytes, ReadFault>>,
    _permit: Option<ReadAheadPermit>,
}

impl Reading {
    fn start(file: &Rc<OpenFile>, span: AlignedSpan, permit: Option<ReadAheadPermit>) -> Reading {
        Reading { task: file.begin_read(span), _permit: permit }
    }

    async fn end(self, place: &Place) -> Result<SpanBytes, Close> {
        place.begin(Phase::Disk);
        place.guard(self.task).await?.map_err(|fault| cut_short(&fault))
    }
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
