//! Whether systemd may be told that all is well: whether every worker shows signs of life.
//!
//! Invariant: one worker that is stuck, or one post that stays empty, is enough for silence; a worker that was just started,
//! or is being replaced, is not.

use std::time::{Duration, Instant};

/// The watchdog of the unit.
pub(super) struct Watchdog {
    /// Within which systemd must hear of us.
    interval: Duration,
    next: Instant,
    /// What is known of each post's worker.
    hearts: Vec<Heart>,
    is_well: bool,
}

/// A worker's generation, and how often its heart has beaten; none where nobody serves.
pub(super) type Beats = Option<(u32, u64)>;

struct Heart {
    seen: Beats,
    /// When that last changed.
    changed: Instant,
}

/// What came of a look.
pub(super) struct Ping {
    /// Whether all is well, and it is time to say so.
    pub(super) is_due: bool,
    pub(super) change: Option<Change>,
}

/// What is otherwise than at the last look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The worker with this number shows no sign of life.
    Stuck(usize),
    Well,
}

/// Hearts beat once a second, so that less than this is no silence, however short the interval.
const SILENCE_MIN: Duration = Duration::from_secs(3);

impl Watchdog {
    pub(super) fn new(interval: Duration) -> Watchdog {
        Watchdog { interval, next: Instant::now(), hearts: Vec::new(), is_well: true }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Says when it was last told that all is well.
    pub(super) fn pinged(&mut self, now: Instant) {
        // A third of the interval leaves two more attempts.
        self.next = now + self.interval / 3;
    }

    /// Looks at the hearts of all posts, if it is time to. A post that nobody serves is waited for as long as `patience`.
    pub(super) fn look(&mut self, now: Instant, hearts: impl Iterator<Item = Beats>, patience: Duration) -> Ping {
        if now < self.next {
            return Ping { is_due: false, change: None };
        }
        self.pinged(now);
        let mut stuck = None;
        for (index, seen) in hearts.enumerate() {
            if self.hearts.len() == index {
                self.hearts.push(Heart { seen, changed: now });
            }
            let heart = &mut self.hearts[index];
            if heart.seen != seen {
                *heart = Heart { seen, changed: now };
            }
            let silence_max = if seen.is_some() { self.interval.max(SILENCE_MIN) } else { patience };
            if now.duration_since(heart.changed) >= silence_max {
                stuck = stuck.or(Some(index));
            }
        }
        let was_well = std::mem::replace(&mut self.is_well, stuck.is_none());
        let change = match stuck {
            Some(index) if was_well => Some(Change::Stuck(index)),
            None if !was_well => Some(Change::Well),
            _ => None,
        };
        Ping { is_due: self.is_well, change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(15);

    /// Looks each ten seconds; what the hearts of two workers have come to, and what is expected.
    fn check(looks: &[([Beats; 2], bool, Option<Change>)]) {
        let mut watchdog = Watchdog::new(INTERVAL);
        let begin = watchdog.next();
        for (number, (hearts, is_due, change)) in (0_u32..).zip(looks) {
            let now = begin + INTERVAL / 3 * number;
            let ping = watchdog.look(now, hearts.iter().copied(), PATIENCE);
            assert_eq!((ping.is_due, &ping.change), (*is_due, change), "look {number}");
            let early = watchdog.look(now + Duration::from_secs(1), hearts.iter().copied(), PATIENCE);
            assert!(!early.is_due && early.change.is_none(), "a second look after look {number}");
        }
    }

    #[test]
    fn a_worker_that_is_stuck_stops_the_pings_until_it_is_not() {
        check(&[
            ([Some((1, 1)), Some((1, 1))], true, None),
            ([Some((1, 11)), Some((1, 1))], true, None),
            ([Some((1, 21)), Some((1, 1))], true, None),
            ([Some((1, 31)), Some((1, 1))], false, Some(Change::Stuck(1))),
            ([Some((1, 41)), Some((1, 1))], false, None),
            ([Some((1, 51)), Some((1, 2))], true, Some(Change::Well)),
        ]);
    }

    #[test]
    fn a_worker_that_is_replaced_counts_as_alive_for_a_while() {
        check(&[
            ([Some((1, 1)), Some((1, 1))], true, None),
            ([None, Some((1, 11))], true, None),
            ([Some((2, 1)), Some((1, 21))], true, None),
            ([None, Some((1, 31))], true, None),
            ([None, Some((1, 41))], true, None),
            ([None, Some((1, 51))], false, Some(Change::Stuck(0))),
            ([Some((9, 1)), Some((1, 61))], true, Some(Change::Well)),
        ]);
    }
}
