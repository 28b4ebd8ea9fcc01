//! Paths that led to nothing a moment ago.
//!
//! A table of digests, each in the one place that it can be in: what is asked for in vain costs no look at the
//! disk for the rest of the tick, and whoever asks for a million paths takes no more memory than this.
//!
//! Invariant: an entry holds for the tick in which it was made, so that a file that appears is found a second later.

use super::catalogue::KeyOf;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Digests of what was looked for in vain.
pub(super) struct Missing {
    /// Keyed at random: nobody can make a path whose digest is that of another.
    hasher: RandomState,
    entries: Box<[Cell<Entry>]>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    digest: u64,
    tick: u64,
}

/// Paths that a core is asked for in vain within a second, over and over; a power of two, for a quick place.
const ENTRIES: usize = 4096;

const _: () = assert!(ENTRIES.is_power_of_two());

impl Default for Missing {
    fn default() -> Missing {
        Missing { hasher: RandomState::new(), entries: (0..ENTRIES).map(|_| Cell::default()).collect() }
    }
}

impl Missing {
    /// Whether nothing was there in this tick.
    pub(super) fn has(&self, key: KeyOf<'_>, tick: u64) -> bool {
        let digest = self.hasher.hash_one(key);
        let entry = self.place(digest).get();
        entry.digest == digest && entry.tick == tick
    }

    /// Nothing is there in this tick.
    pub(super) fn note(&self, key: KeyOf<'_>, tick: u64) {
        let digest = self.hasher.hash_one(key);
        self.place(digest).set(Entry { digest, tick });
    }

    fn place(&self, digest: u64) -> &Cell<Entry> {
        &self.entries[usize::try_from(digest % ENTRIES as u64).expect("below ENTRIES")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::coding::Coding;

    #[test]
    fn what_is_missing_is_missing_for_a_tick() {
        let missing = Missing::default();
        let key = |path| KeyOf { site: 1, coding: Coding::Identity, path };
        assert!(!missing.has(key(b"/a"), 5));
        missing.note(key(b"/a"), 5);
        assert!(missing.has(key(b"/a"), 5));
        for (other, tick) in [(key(b"/a"), 6), (key(b"/b"), 5), (KeyOf { site: 2, ..key(b"/a") }, 5)] {
            assert!(!missing.has(other, tick));
        }
    }
}
