//! What follows the head of an answer, to be sent by the connection.
//!
//! Invariant: a [`Piece`] is not empty, and what it refers to does not change.

use crate::defence::pace::Rate;
use crate::http::range::ByteRange;
use crate::observe::exchanged::Unfinished;
use crate::site::{Body, Representation};
use crate::storage::file::OpenFile;
use crate::storage::shared::SharedContent;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Content up to this is copied behind its head: a copy of a few KiB costs less than a second
/// system call, and lets pipelined answers leave together.
pub const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Content that follows a head.
#[derive(Debug)]
pub enum Outgoing {
    /// None, or it went with the head.
    Nothing,
    /// A text of the server's own, a short one.
    Fixed(&'static str),
    /// One run of bytes.
    Piece(Piece),
    /// Several, in order.
    Pieces(Vec<Piece>),
    /// Content whose end is to be told of. Apart from its connection's state, which is in memory as long as it is idle.
    Followed(Box<(Outgoing, Unfinished)>),
    /// What is to be sent no faster than at a rate. Boxed: few answers are, and all would carry it.
    Paced(Box<Paced>),
}

/// Content, and how fast it may be sent.
#[derive(Debug)]
pub struct Paced {
    /// How fast.
    pub rate: Rate,
    /// What.
    pub pieces: Vec<Piece>,
}

impl Outgoing {
    /// Whether it is as good as sent with the head: it is small, and in memory. Without a descriptor to spare, a core holds
    /// what is large too; and a listing may be.
    pub fn leaves_with_head(&self) -> bool {
        match self {
            // So small a part of shared content is copied behind the head, as that of a core's own is.
            Outgoing::Piece(Piece::Shared(_, range)) => range.end - range.start <= COPIED_BYTES_MAX as u64,
            _ => self.at_once().is_some(),
        }
    }

    /// The content, where it is small and held by this core.
    pub fn at_once(&self) -> Option<&[u8]> {
        let bytes = match self {
            Outgoing::Nothing => &[][..],
            Outgoing::Fixed(text) => text.as_bytes(),
            Outgoing::Piece(Piece::Text(bytes)) => bytes,
            Outgoing::Piece(Piece::Held(bytes, range)) => &bytes[range.clone()],
            _ => return None,
        };
        (bytes.len() <= COPIED_BYTES_MAX).then_some(bytes)
    }
}

/// A run of bytes to send; it is not empty.
#[derive(Debug)]
pub enum Piece {
    /// Made for this answer.
    Text(Vec<u8>),
    /// In memory, shared with the cache.
    Held(Rc<[u8]>, Range<usize>),
    /// In memory, shared with the other cores.
    Shared(Arc<SharedContent>, Range<u64>),
    /// On disk.
    File(Rc<OpenFile>, Range<u64>),
}

impl Piece {
    /// Bytes of it.
    pub fn length(&self) -> u64 {
        match self {
            Piece::Text(text) => text.len() as u64,
            Piece::Held(_, range) => range.len() as u64,
            Piece::Shared(_, range) | Piece::File(_, range) => range.end - range.start,
        }
    }
}

/// The same content, to be sent at a rate.
pub(super) fn paced(content: Outgoing, rate: Rate) -> Outgoing {
    let pieces = match content {
        Outgoing::Piece(piece) => vec![piece],
        Outgoing::Pieces(pieces) => pieces,
        other => return other,
    };
    Outgoing::Paced(Box::new(Paced { rate, pieces }))
}

pub(super) fn whole(representation: &Representation) -> Outgoing {
    // The empty file has no piece to send.
    let range = ByteRange::new(0, representation.metadata.complete_length);
    range.map_or(Outgoing::Nothing, |range| Outgoing::Piece(piece(representation, range)))
}

pub(super) fn piece(representation: &Representation, range: ByteRange) -> Piece {
    match &representation.body {
        Body::Held(bytes) => {
            let index = |position| usize::try_from(position).expect("the range lies inside bytes that are in memory");
            Piece::Held(bytes.clone(), index(range.start())..index(range.end()))
        }
        Body::Shared(content) => Piece::Shared(content.clone(), range.start()..range.end()),
        Body::File(file) => Piece::File(file.clone(), range.start()..range.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_does_not_leave_with_its_head() {
        let held = |length: usize| Piece::Held(Rc::from(vec![0; 4 * COPIED_BYTES_MAX]), 5..5 + length);
        let text = |length: usize| Piece::Text(vec![0; length]);
        for (piece, leaves) in [
            (held(COPIED_BYTES_MAX), true),
            (held(COPIED_BYTES_MAX + 1), false),
            (text(COPIED_BYTES_MAX), true),
            (text(COPIED_BYTES_MAX + 1), false),
        ] {
            assert_eq!(Outgoing::Piece(piece).leaves_with_head(), leaves);
        }
    }
}
