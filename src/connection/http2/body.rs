//! The content of one answer, frame by frame.
//!
//! Invariant: what is said to be available is there, and stays until it is copied.

use crate::connection::close::Close;
use crate::connection::transfer::Reads;
use crate::defence::pace::{Pace, Rate};
use crate::exchange::{Outgoing, Paced, Piece};
use crate::shard::Shard;
use crate::storage::file::SpanBytes;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Content that is being sent.
pub(super) struct Body {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that were sent, where it is a text.
    text_sent: usize,
    /// The first piece, where it is read from the disk.
    reads: Option<Reads>,
    /// What was read of it and is not yet sent, from this position on.
    span: Option<(SpanBytes, usize)>,
    /// Bytes that are still to be sent.
    left: u64,
    speed: Speed,
}

/// How fast content may be sent.
enum Speed {
    /// As its client takes it.
    Free,
    /// So many bytes as it is taken, and the others at a rate.
    AtOnce(u64, Rate),
    /// At a rate.
    Paced(Pace),
}

impl Speed {
    fn of(rate: Rate) -> Speed {
        Speed::AtOnce(rate.after_bytes, rate).after(0)
    }

    /// What it is when so many more bytes were sent.
    fn after(self, bytes: u64) -> Speed {
        match self {
            Speed::Free => Speed::Free,
            Speed::AtOnce(left, rate) if left <= bytes => Speed::Paced(Pace::new(&rate, Instant::now())),
            Speed::AtOnce(left, rate) => Speed::AtOnce(left - bytes, rate),
            Speed::Paced(mut pace) => {
                pace.sent(bytes, Instant::now());
                Speed::Paced(pace)
            }
        }
    }

    /// Bytes that may be sent in one piece.
    fn piece_bytes(&self) -> u64 {
        match self {
            Speed::Free => u64::MAX,
            Speed::AtOnce(left, _) => *left,
            Speed::Paced(pace) => pace.piece_bytes(),
        }
    }
}

impl Body {
    /// Of this content.
    pub(super) fn new(content: Outgoing) -> Body {
        let (pieces, speed) = match content {
            Outgoing::Nothing => (VecDeque::new(), Speed::Free),
            Outgoing::Fixed(text) => (VecDeque::from([Piece::Text(text.as_bytes().to_vec())]), Speed::Free),
            Outgoing::Piece(piece) => (VecDeque::from([piece]), Speed::Free),
            Outgoing::Pieces(pieces) => (VecDeque::from(pieces), Speed::Free),
            Outgoing::Paced(paced) => {
                let Paced { rate, pieces } = *paced;
                (VecDeque::from(pieces), Speed::of(rate))
            }
            Outgoing::Followed(_) => unreachable!("the end of content is told of by this connection itself"),
        };
        let left = pieces.iter().map(Piece::length).sum();
        Body { pieces, text_sent: 0, reads: None, span: None, left, speed }
    }

    /// Bytes that are still to be sent.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// How long until some may be sent; nothing when it may be now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if let Speed::Paced(pace) = &self.speed { pace.wait(now) } else { Duration::ZERO }
    }

    /// Whether it is read from the disk.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::File(..)))
    }

    /// Whether some of it was read, or is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.reads.is_some()
    }

    /// Lets go of what was read and not sent; it is read again when it can be.
    pub(super) fn put_away(&mut self) {
        self.reads = None;
        self.span = None;
    }

    /// Whether more can be sent at once, behind what was just copied: of a file, the next part may have to be read.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.speed, Speed::Paced(_)) && (!self.is_read() || self.span.is_some())
    }

    /// Waits until some is there. With `reads_ahead`, more than that is read meanwhile.
    pub(super) fn poll_ready(
        &mut self,
        shard: &Rc<Shard>,
        reads_ahead: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Close>> {
        let Some(Piece::File(file, range)) = self.pieces.front() else { return Poll::Ready(Ok(())) };
        if self.span.is_some() {
            return Poll::Ready(Ok(()));
        }
        let reads = self.reads.get_or_insert_with(|| Reads::new(file.clone(), range.clone()));
        match reads.poll_next(shard, reads_ahead, cx) {
            Poll::Ready(Ok(span)) => {
                self.span = span.map(|span| (span, 0));
                Poll::Ready(if self.span.is_some() { Ok(()) } else { Err(Close::CutShort) })
            }
            Poll::Ready(Err(close)) => Poll::Ready(Err(close)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Bytes that can be sent now, at most `bytes_max`.
    pub(super) fn available(&self, bytes_max: usize) -> usize {
        let there = match self.pieces.front() {
            None => 0,
            Some(Piece::Text(text)) => text.len() - self.text_sent,
            Some(Piece::Held(_, range)) => range.len(),
            Some(Piece::Shared(_, range)) => usize::try_from(range.end - range.start).unwrap_or(usize::MAX),
            Some(Piece::File(..)) => self.span.as_ref().map_or(0, |(span, at)| span.len() - at),
        };
        let paced = usize::try_from(self.speed.piece_bytes()).unwrap_or(usize::MAX);
        there.min(bytes_max).min(paced)
    }

    /// Appends the next `count` bytes, which are available.
    pub(super) fn copy(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Close> {
        self.speed = std::mem::replace(&mut self.speed, Speed::Free).after(count as u64);
        self.left -= count as u64;
        let Some(piece) = self.pieces.front_mut() else { return Ok(()) };
        let is_done = match piece {
            Piece::Text(text) => {
                out.extend_from_slice(&text[self.text_sent..self.text_sent + count]);
                self.text_sent += count;
                self.text_sent == text.len()
            }
            Piece::Held(bytes, range) => {
                out.extend_from_slice(&bytes[range.start..range.start + count]);
                range.start += count;
                range.start == range.end
            }
            Piece::Shared(content, range) => {
                content.append_to(out, range.start, count)?;
                range.start += count as u64;
                range.is_empty()
            }
            Piece::File(file, range) => {
                let (span, at) = self.span.as_mut().expect("it is available");
                out.extend_from_slice(&span[*at..*at + count]);
                *at += count;
                if *at == span.len() {
                    self.span = None;
                }
                file.count_sent(count as u64);
                range.start += count as u64;
                range.is_empty()
            }
        };
        if is_done {
            self.pieces.pop_front();
            self.text_sent = 0;
            self.reads = None;
        }
        Ok(())
    }
}
