//! Sends content no faster than at a rate, piece by piece.
//!
//! Order: what may go as fast as it can goes as other content does · of the rest, a piece is looked for when its time has come, and not
//! before: a transfer that waits holds no turn, and of a file no more than [`READ_BYTES_MIN`] or a second's worth.
//!
//! Invariant: while it waits for its time, the clock of the peer stands still.

use super::close::Close;
use super::outbox::Outbox;
use super::phase::Phase;
use super::roster::Place;
use super::{send_piece, transfer};
use crate::defence::pace::Pace;
use crate::exchange::{Paced, Piece};
use crate::shard::Shard;
use crate::socket::Stream;
use crate::storage::file::OpenFile;
use crate::storage::span::{SPAN_BYTES_MAX, spans};
use glommio::timer::sleep;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

/// The least that is read of a file at a time, though it be sent in smaller pieces.
const READ_BYTES_MIN: u64 = 16 * 1024;

/// Sends all of it.
pub(super) async fn send(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    paced: Box<Paced>,
) -> Result<(), Close> {
    let Paced { rate, pieces } = *paced;
    let mut at_once_bytes = rate.after_bytes;
    let mut sender: Option<Sender<'_>> = None;
    for piece in pieces {
        let (at_once, rest) = split(piece, at_once_bytes);
        if let Some(piece) = at_once {
            at_once_bytes -= piece.length();
            send_piece(stream, shard, place, outbox, piece).await?;
        }
        let Some(piece) = rest else { continue };
        let pace = || Pace::new(&rate, Instant::now());
        let sender = sender.get_or_insert_with(|| Sender { shard, place, pace: pace() });
        sender.send(stream, outbox, piece).await?;
    }
    Ok(())
}

/// The first bytes of a piece, at most so many, and the rest.
fn split(piece: Piece, bytes: u64) -> (Option<Piece>, Option<Piece>) {
    let whole = piece.length();
    if bytes == 0 {
        return (None, Some(piece));
    }
    if bytes >= whole {
        return (Some(piece), None);
    }
    let index = usize::try_from(bytes);
    let at = |start: u64| start + bytes;
    let (first, rest) = match piece {
        Piece::Text(mut text) => {
            let rest = text.split_off(index.expect("it is less than what is in memory"));
            (Piece::Text(text), Piece::Text(rest))
        }
        Piece::Held(held, Range { start, end }) => {
            let middle = start + index.expect("it is less than what is in memory");
            (Piece::Held(held.clone(), start..middle), Piece::Held(held, middle..end))
        }
        Piece::Shared(content, Range { start, end }) => {
            (Piece::Shared(content.clone(), start..at(start)), Piece::Shared(content, at(start)..end))
        }
        Piece::File(file, Range { start, end }) => {
            (Piece::File(file.clone(), start..at(start)), Piece::File(file, at(start)..end))
        }
    };
    (Some(first), Some(rest))
}

/// The sender of one answer.
struct Sender<'a> {
    shard: &'a Rc<Shard>,
    place: &'a Place,
    pace: Pace,
}

impl Sender<'_> {
    async fn send(&mut self, stream: &mut Stream, outbox: &mut Outbox, piece: Piece) -> Result<(), Close> {
        match piece {
            Piece::Text(bytes) => self.send_bytes(stream, outbox, &bytes).await,
            Piece::Held(bytes, range) => self.send_bytes(stream, outbox, &bytes[range]).await,
            Piece::Shared(content, range) => {
                let mut next = range.start;
                while next < range.end {
                    let end = range.end.min(next.saturating_add(self.pace.piece_bytes()));
                    self.wait(end - next).await?;
                    outbox.send_shared(stream, self.place, &self.shard.bulk, &content, next..end).await?;
                    outbox.flush(stream, self.place).await?;
                    next = end;
                }
                Ok(())
            }
            Piece::File(file, range) => self.send_file(stream, outbox, &file, range).await,
        }
    }

    async fn send_file(
        &mut self,
        stream: &mut Stream,
        outbox: &mut Outbox,
        file: &Rc<OpenFile>,
        range: Range<u64>,
    ) -> Result<(), Close> {
        let read_bytes = self.pace.piece_bytes().saturating_mul(8).clamp(READ_BYTES_MIN, SPAN_BYTES_MAX);
        let mut next = range.start;
        while next < range.end {
            let end = range.end.min(next + read_bytes);
            for span in spans(next..end) {
                let bytes = transfer::read(self.place, file, span).await?;
                self.send_bytes(stream, outbox, &bytes).await?;
                file.count_sent(bytes.len() as u64);
            }
            next = end;
        }
        Ok(())
    }

    async fn send_bytes(&mut self, stream: &mut Stream, outbox: &mut Outbox, bytes: &[u8]) -> Result<(), Close> {
        let piece_bytes = usize::try_from(self.pace.piece_bytes()).expect("a piece fits into memory");
        for piece in bytes.chunks(piece_bytes) {
            self.wait(piece.len() as u64).await?;
            outbox.send_bulk(stream, self.place, &self.shard.bulk, piece).await?;
            outbox.flush(stream, self.place).await?;
        }
        Ok(())
    }

    /// Waits until so many bytes may go.
    async fn wait(&mut self, bytes: u64) -> Result<(), Close> {
        let wait = self.pace.wait(Instant::now());
        if !wait.is_zero() {
            self.place.begin(Phase::Paced);
            self.place.guard(pin!(sleep(wait))).await?;
        }
        self.pace.sent(bytes, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_at_once_is_split_from_the_rest() {
        let held: Rc<[u8]> = Rc::from(&b"0123456789"[..]);
        let text = |piece: Option<Piece>| match piece {
            Some(Piece::Held(bytes, range)) => String::from_utf8_lossy(&bytes[range]).into_owned(),
            Some(Piece::Text(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        for (bytes, first, rest) in
            [(0, "", "2345678"), (1, "2", "345678"), (6, "234567", "8"), (7, "2345678", ""), (100, "2345678", "")]
        {
            for piece in [Piece::Held(held.clone(), 2..9), Piece::Text(b"2345678".to_vec())] {
                let (one, other) = split(piece, bytes);
                assert_eq!((text(one).as_str(), text(other).as_str()), (first, rest), "{bytes}");
            }
        }
    }
}
