//! The exchanges of one connection whose content went on behind the head: they are told of at their ends.
//!
//! Invariant: an exchange has ended when the socket has taken its last byte, and not when that was put into a buffer.

use crate::connection::shown::Listed;
use crate::connection::telling;
use crate::observe::exchanged::Unfinished;
use std::collections::VecDeque;

/// Exchanges whose last byte is in the buffer, in order.
#[derive(Default)]
pub(super) struct Endings {
    waiting: VecDeque<Ending>,
}

struct Ending {
    unfinished: Unfinished,
    /// What was asked for, where somebody may look in.
    shown: Option<Listed>,
    /// Bytes of head and content that were put into the buffer.
    sent_bytes: u64,
    /// Bytes that the socket has taken of the connection when the last of them is gone.
    at: u64,
}

impl Ending {
    /// Tells of it; `unsent` bytes of it never were sent.
    fn tell(self, unsent: u64) {
        let asked = self.shown.as_ref().map(Listed::asked);
        telling::end(self.unfinished, asked, self.sent_bytes.saturating_sub(unsent));
    }
}

impl Endings {
    /// All of an exchange was put into the buffer, of which the socket has taken all when it has taken the connection's first `at` bytes.
    pub(super) fn put(&mut self, unfinished: Unfinished, shown: Option<Listed>, sent_bytes: u64, at: u64) {
        self.waiting.push_back(Ending { unfinished, shown, sent_bytes, at });
    }

    /// The socket has taken so many bytes of the connection.
    pub(super) fn taken(&mut self, bytes: u64) {
        while self.waiting.front().is_some_and(|ending| ending.at <= bytes) {
            if let Some(ending) = self.waiting.pop_front() {
                ending.tell(0);
            }
        }
    }

    /// Nothing more will be taken.
    pub(super) fn break_off(&mut self, bytes: u64) {
        for ending in self.waiting.drain(..) {
            let unsent = ending.at.saturating_sub(bytes);
            ending.tell(unsent);
        }
    }
}
