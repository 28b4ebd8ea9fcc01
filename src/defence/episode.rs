//! Tells of a shortage when it begins and when it is over, however often it is met in between, and by however many workers.
//!
//! Invariant: of two lines of one kind, a quiet time lies between.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What goes on for a while, process-wide.
pub struct Episode(Mutex<Option<Course>>);

struct Course {
    last: Instant,
    count: u64,
}

/// An episode is over when nothing happened for so long: within one shortage, some things succeed.
const QUIET: Duration = Duration::from_secs(5);

/// File descriptors run out.
pub static DESCRIPTORS: Episode = Episode::new();

/// There are as many connections as there may be.
pub static CONNECTIONS: Episode = Episode::new();

impl Episode {
    /// One that has not begun.
    pub const fn new() -> Episode {
        Episode(Mutex::new(None))
    }

    /// It happened once more; whether it begins with that.
    pub fn note(&self, now: Instant) -> bool {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = course.is_none();
        let count = course.as_ref().map_or(0, |course| course.count) + 1;
        *course = Some(Course { last: now, count });
        begins
    }

    /// How often it happened, when it is over with this moment; asked about once a second.
    pub fn end(&self, now: Instant) -> Option<u64> {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = course.as_ref().is_some_and(|course| now.saturating_duration_since(course.last) > QUIET);
        if is_over { course.take().map(|course| course.count) } else { None }
    }
}

impl Default for Episode {
    fn default() -> Episode {
        Episode::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_begins_and_ends_once() {
        let episode = Episode::new();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for round in [0, 100] {
            assert_eq!(episode.end(at(round)), None);
            assert!(episode.note(at(round)) && !episode.note(at(round + 4)));
            assert_eq!(episode.end(at(round + 8)), None, "it may go on");
            assert_eq!(episode.end(at(round + 10)), Some(2));
            assert_eq!(episode.end(at(round + 11)), None);
        }
    }
}
