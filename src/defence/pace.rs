//! Spreads what is sent over time: how many bytes may go now, and after which wait. Pure.
//!
//! Invariant: over any time, no more leaves than the rate allows for it and `PARTS_OF_SECOND` pieces: what a peer did not take in
//! its time is not made up for at once.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How fast content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub bytes_per_second: NonZeroU64,
    /// Bytes at the beginning of an answer that go as fast as they can.
    pub after_bytes: u64,
}

/// Pieces that a second's worth is sent in.
const PARTS_OF_SECOND: u64 = 8;

/// The largest piece: what one turn of those who send much takes.
const PIECE_BYTES_MAX: u64 = 1024 * 1024;

/// How far behind its time a transfer may be and catch up; a timer may be late by less.
const LAG_MAX: Duration = Duration::from_millis(250);

/// The pace of one transfer.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When the next piece may go.
    next: Instant,
}

impl Pace {
    /// A pace of this rate that begins now.
    pub fn new(rate: &Rate, now: Instant) -> Pace {
        Pace { bytes_per_second: rate.bytes_per_second.get(), next: now }
    }

    /// Bytes of a piece.
    pub fn piece_bytes(&self) -> u64 {
        (self.bytes_per_second / PARTS_OF_SECOND).clamp(1, PIECE_BYTES_MAX)
    }

    /// How long to wait before the next piece; nothing when it may go.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// A piece of so many bytes goes now.
    pub fn sent(&mut self, bytes: u64, now: Instant) {
        let begun = now.checked_sub(LAG_MAX).map_or(self.next, |earliest| self.next.max(earliest));
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.next = begun + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes_per_second: u64, now: Instant) -> Pace {
        let bytes_per_second = NonZeroU64::new(bytes_per_second).expect("each row has a rate");
        Pace::new(&Rate { bytes_per_second, after_bytes: 0 }, now)
    }

    /// Whatever the timers' lateness, a transfer takes as long as its rate says.
    #[test]
    fn a_rate_is_kept() {
        for (rate, late_milliseconds) in [(1, 0), (7, 3), (1000, 50), (1 << 20, 1), (1 << 30, 1)] {
            let begun = Instant::now();
            let mut pace = pace(rate, begun);
            let (mut now, mut sent) = (begun, 0u128);
            for _ in 0..10_000 {
                let wait = pace.wait(now);
                assert!(wait <= Duration::from_secs(1), "{rate}: a piece is no more than a second's worth");
                if !wait.is_zero() {
                    now += wait + Duration::from_millis(late_milliseconds);
                }
                sent += u128::from(pace.piece_bytes());
                pace.sent(pace.piece_bytes(), now);
            }
            let allowed = u128::from(rate) * (now - begun).as_nanos() / 1_000_000_000 + u128::from(pace.piece_bytes());
            assert!(sent <= allowed + 1, "{rate}: {sent} of {allowed}");
            let least = allowed.saturating_sub(u128::from(pace.piece_bytes()) * 4);
            assert!(sent >= least, "{rate}: {sent} of {allowed}");
        }
    }

    #[test]
    fn what_was_not_taken_in_time_is_not_made_up_for() {
        let begun = Instant::now();
        let mut pace = pace(800, begun);
        let now = begun + Duration::from_secs(60);
        let mut sent = 0;
        while pace.wait(now).is_zero() {
            sent += pace.piece_bytes();
            pace.sent(pace.piece_bytes(), now);
        }
        assert!(sent <= 400, "{sent} bytes at once");
    }
}
