//! Memory that was freed, back to the system: the allocator keeps it for the next who asks, and looks after that only while it is asked.
//!
//! Order of [`is_due`]: memory becomes short, or shorter · every so often while it stays so.
//!
//! Invariant: nothing that is in use is touched.

// The allocator's own call, which takes no pointer; argued beside it.
#![allow(unsafe_code)]

use super::memory::Level;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long one time lasts while memory stays short: all connections of the thread wait for as long as it takes.
const GIVE_BACK_AGAIN: Duration = Duration::from_secs(10);

thread_local! {
    /// At what level this thread gave back for the last time, and when.
    static LAST: Cell<Option<(Level, Instant)>> = const { Cell::new(None) };
}

/// Whether this thread is to give back at this level now; it counts as done.
pub fn is_due(level: Level, now: Instant) -> bool {
    let is_due = level >= Level::Short
        && LAST
            .get()
            .is_none_or(|(before, last)| level > before || now.saturating_duration_since(last) >= GIVE_BACK_AGAIN);
    if is_due {
        LAST.set(Some((level, now)));
    }
    is_due
}

/// Gives back what this thread has freed. It takes some milliseconds where that is much: for once in a while.
pub fn give_back() {
    // SAFETY: it takes no memory of ours, and may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was each second, on the thread that everybody waits for.
    #[test]
    fn memory_is_given_back_when_it_becomes_shorter_and_then_once_in_a_while() {
        let begun = Instant::now();
        for (seconds, level, expected) in [
            (0, Level::Ample, false),
            (1, Level::Short, true),
            (2, Level::Short, false),
            (3, Level::Scarce, true),
            (4, Level::Scarce, false),
            // A level that goes up and down does not make it each second.
            (5, Level::Short, false),
            (6, Level::Scarce, false),
            (7, Level::Ample, false),
            (8, Level::Short, false),
            (12, Level::Short, false),
            (13, Level::Short, true),
            (14, Level::Short, false),
            (24, Level::Ample, false),
            (25, Level::Short, true),
        ] {
            assert_eq!(is_due(level, begun + Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
