//! Gathers answers and sends them: heads and small content in one buffer, one send for all that
//! one read had asked for.
//!
//! Invariant: bytes leave in the order in which they were put in.

use super::close::Close;
use super::phase::Phase;
use super::roster::{Interrupt, Place};
use crate::counters;
use crate::exchange::COPIED_BYTES_MAX;
use crate::shard::Buffers;
use crate::socket::Stream;
use crate::socket::bulk::Bulk;
use crate::storage::shared::SharedContent;
use std::future::poll_fn;
use std::ops::Range;
use std::task::{Context, Poll};

/// The bytes of one connection that are to go out.
#[derive(Default)]
pub(super) struct Outbox {
    buffer: Vec<u8>,
}

/// Gathered bytes from which on an outbox wants to be sent.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

impl Outbox {
    /// The buffer to append a head to.
    pub(super) fn buffer(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take_outbound();
        }
        &mut self.buffer
    }

    /// The head that stands in the last `written_bytes` of what waits.
    pub(super) fn last_head(&self, written_bytes: u32, head_bytes: u32) -> &[u8] {
        let start = self.buffer.len().saturating_sub(written_bytes as usize);
        let written = &self.buffer[start..];
        &written[..written.len().min(head_bytes as usize)]
    }

    /// Bytes that wait in it.
    pub(super) fn gathered_bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Whether it is time to send.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= GATHERED_BYTES_MAX
    }

    /// Puts `content` behind what is there, and sends both unless they are small.
    pub(super) async fn send(&mut self, stream: &mut Stream, place: &Place, content: &[u8]) -> Result<(), Close> {
        if content.len() <= COPIED_BYTES_MAX {
            self.buffer.extend_from_slice(content);
            return Ok(());
        }
        self.send_both(stream, place, None, content).await
    }

    /// The same of a piece of bulk content.
    pub(super) async fn send_bulk(
        &mut self,
        stream: &mut Stream,
        place: &Place,
        bulk: &Bulk,
        content: &[u8],
    ) -> Result<(), Close> {
        if content.len() <= COPIED_BYTES_MAX {
            self.buffer.extend_from_slice(content);
            return Ok(());
        }
        self.send_both(stream, place, Some(bulk), content).await
    }

    /// Sends what is there and `content`, in one call if the socket takes both: a head that travels alone is a small
    /// packet that wakes the client for nothing.
    async fn send_both(
        &mut self,
        stream: &mut Stream,
        place: &Place,
        bulk: Option<&Bulk>,
        content: &[u8],
    ) -> Result<(), Close> {
        let head_bytes = self.buffer.len();
        let mut sent = 0;
        while sent < head_bytes + content.len() {
            place.begin(Phase::Send);
            taken(stream, place, Stream::poll_room).await?;
            let _turn = match bulk {
                Some(bulk) => Some(bulk.turn().await),
                None => None,
            };
            let pieces = [&self.buffer[sent.min(head_bytes)..], &content[sent.saturating_sub(head_bytes)..]];
            let count = stream.send_now(pieces)?;
            place.count_sent(count);
            sent += count;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Sends what is there, and behind it a part of shared content, which the kernel takes from where it lies.
    pub(super) async fn send_shared(
        &mut self,
        stream: &mut Stream,
        place: &Place,
        bulk: &Bulk,
        content: &SharedContent,
        range: Range<u64>,
    ) -> Result<(), Close> {
        if range.end - range.start <= COPIED_BYTES_MAX as u64 {
            return self.copy_shared(content, range);
        }
        let mut next = range.start;
        while next < range.end {
            place.begin(Phase::Send);
            taken(stream, place, Stream::poll_room).await?;
            let _turn = bulk.turn().await;
            if !self.buffer.is_empty() {
                // Held back until content follows, which is in this same turn if the socket takes the head whole.
                let sent = stream.send_more_now(&self.buffer)?;
                place.count_sent(sent);
                self.buffer.drain(..sent);
                if !self.buffer.is_empty() {
                    continue;
                }
            }
            let count = stream.send_file_now(content.descriptor(), next..range.end)?;
            place.count_sent(count);
            next += count as u64;
        }
        Ok(())
    }

    /// Puts a small part of shared content behind what is there.
    fn copy_shared(&mut self, content: &SharedContent, range: Range<u64>) -> Result<(), Close> {
        let count = usize::try_from(range.end - range.start).expect("at most COPIED_BYTES_MAX");
        Ok(content.append_to(&mut self.buffer, range.start, count)?)
    }

    /// Sends what is there.
    pub(super) async fn flush(&mut self, stream: &mut Stream, place: &Place) -> Result<(), Close> {
        if !self.buffer.is_empty() {
            send_all(stream, place, &self.buffer).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Gives the buffer back; what it held is gone.
    pub(super) fn give_back(&mut self, buffers: &Buffers) {
        buffers.give_outbound(std::mem::take(&mut self.buffer));
    }
}

/// Sends `bytes`, waiting for the peer to take them; the deadline is for each time it takes some.
async fn send_all(stream: &mut Stream, place: &Place, mut bytes: &[u8]) -> Result<(), Close> {
    while !bytes.is_empty() {
        place.begin(Phase::Send);
        let count = taken(stream, place, |stream, cx| stream.poll_write(cx, bytes)).await??;
        place.count_sent(count);
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Waits for the peer, for as long as it takes something. One future, so that connections carry little of it.
pub(super) fn taken<T>(
    stream: &mut Stream,
    place: &Place,
    mut attempt: impl FnMut(&mut Stream, &mut Context<'_>) -> Poll<T>,
) -> impl Future<Output = Result<T, Close>> {
    poll_fn(move |cx| {
        loop {
            if let Poll::Ready(output) = attempt(stream, cx) {
                return Poll::Ready(Ok(output));
            }
            match place.interrupted(cx) {
                Poll::Ready(interrupt) => go_on(stream, place, interrupt)?,
                Poll::Pending => return Poll::Pending,
            }
        }
    })
}

/// After an interrupted wait: a socket with a large buffer takes nothing for long, although its peer reads steadily.
pub(super) fn go_on(stream: &Stream, place: &Place, interrupt: Interrupt) -> Result<(), Close> {
    let Interrupt::TimedOut(Phase::Send) = interrupt else { return Err(interrupt.into()) };
    let looked = place.look(stream.record_bytes(), stream.unacknowledged_bytes()?);
    if looked.is_err() {
        counters::here().slow_peers_cut.add(1);
        // It would be minutes until the kernel gives up on what this peer does not take.
        stream.reset_at_close()?;
    }
    Ok(looked?)
}
