//! Collects request heads: a buffer that is there only while it holds something.
//!
//! Invariant: `parsed <= filled <= buffer.len()`, and without a buffer both are zero.

use super::close::Close;
use super::roster::Place;
use crate::shard::{BUFFER_BYTES, Buffers, Shard};
use crate::socket::Stream;
use std::future::poll_fn;
use std::ops::Range;
use std::task::{Context, Poll};

/// The bytes of one connection that came in and are not yet answered.
#[derive(Default)]
pub(super) struct Inbox {
    buffer: Option<Box<[u8]>>,
    /// Narrow, as thousands of idle connections carry them.
    parsed: u32,
    filled: u32,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// At least one byte.
    Some,
    /// The peer will send no more.
    End,
}

impl Inbox {
    /// The bytes that are not yet answered.
    pub(super) fn unread(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.range()],
            None => &[],
        }
    }

    fn range(&self) -> Range<usize> {
        self.parsed as usize..self.filled as usize
    }

    /// Marks `count` bytes as answered.
    pub(super) fn consume(&mut self, count: usize) {
        self.parsed += narrow(count);
        assert!(self.parsed <= self.filled);
    }

    /// Waits for more bytes. There is always room: a head above its limit was refused before.
    pub(super) async fn fill(&mut self, stream: &mut Stream, shard: &Shard, place: &Place) -> Result<Fill, Close> {
        // Two more than the limit: an empty line may stand before the head.
        self.make_room(shard.head_limits.get().head_bytes_max + 2);
        Ok(place.guard(poll_fn(|cx| self.poll_read(cx, stream, shard))).await??)
    }

    /// More bytes, once some have come. A buffer that is full grows, up to `bytes_max`.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        shard: &Shard,
        bytes_max: usize,
    ) -> Poll<std::io::Result<Fill>> {
        self.make_room(bytes_max);
        self.poll_read(cx, stream, shard)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut Stream, shard: &Shard) -> Poll<std::io::Result<Fill>> {
        // The buffer is taken for the moment of the read only: while nothing comes, it serves
        // other connections.
        let buffer = self.buffer.get_or_insert_with(|| shard.buffers.take_inbound());
        let filled = self.filled as usize;
        debug_assert!(filled < buffer.len());
        let read = stream.poll_read(cx, &mut buffer[filled..]);
        if read.is_pending() && self.filled == 0 {
            self.give_back(&shard.buffers);
        }
        read.map_ok(|count| {
            self.filled += narrow(count);
            if count == 0 { Fill::End } else { Fill::Some }
        })
    }

    /// Moves what is unread to the front, or to a larger buffer.
    fn make_room(&mut self, bytes_max: usize) {
        let unread = self.range();
        let Some(buffer) = &mut self.buffer else { return };
        if unread.len() == buffer.len() {
            // A head above its limit was refused before, unless the limit was lowered a moment ago; then it is refused next.
            let length = (buffer.len() * 2).min(bytes_max).max(buffer.len() + 1);
            let mut larger = vec![0; length].into_boxed_slice();
            larger[..unread.len()].copy_from_slice(&buffer[unread.clone()]);
            *buffer = larger;
        } else if unread.start > 0 {
            buffer.copy_within(unread.clone(), 0);
        }
        self.parsed = 0;
        self.filled = narrow(unread.len());
    }

    /// Gives the buffer back; what it held is gone.
    pub(super) fn give_back(&mut self, buffers: &Buffers) {
        if let Some(buffer) = self.buffer.take() {
            buffers.give_inbound(buffer);
        }
        self.parsed = 0;
        self.filled = 0;
    }
}

/// Bytes of a buffer in a number that is narrow, as thousands of connections carry it.
pub(super) fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a buffer is as long as the longest head")
}

// A buffer must be able to grow, and the largest head's offsets fit in 16 bits.
const _: () = assert!(BUFFER_BYTES < crate::http::request::HEAD_BYTES_CEILING);
const _: () = assert!(crate::http::request::HEAD_BYTES_CEILING < u16::MAX as usize);
