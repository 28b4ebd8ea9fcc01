//! How long a slow peer is waited for: by what comes of a head, and by what it acknowledges of an answer.
//!
//! Invariant: a deadline moves on for progress only, and that of a head never past its limit.

use super::phase::Phase;
use super::roster::{Interrupt, Limits, Place};
use crate::defence::progress::{self, Mark, Sending, Verdict};

/// Seconds that a request head has before its rate counts.
const HEAD_GRACE_SECONDS: u32 = 5;

impl Limits {
    /// How long a head of which so many bytes came may take to its end.
    pub(super) fn seconds_for_head(&self, bytes: u32) -> u32 {
        let earned = bytes.checked_div(self.head_bytes_per_second_min).map(|seconds| HEAD_GRACE_SECONDS + seconds);
        earned.map_or(self.head_seconds, |earned| earned.min(self.head_seconds))
    }
}

impl Place {
    /// Requests that were answered.
    pub(super) fn requests(&self) -> u32 {
        self.watch.requests.get()
    }

    /// The tick in which the phase times out.
    pub(super) fn deadline(&self) -> u32 {
        self.watch.deadline_tick.get()
    }

    /// Sets that tick.
    pub(super) fn set_deadline(&self, tick: u32) {
        self.watch.deadline_tick.set(tick);
    }

    /// So many bytes of a head that is under way have come: its deadline moves on by what they earn.
    pub(super) fn head_came(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let deadline = self.watch.begun_tick.get() + self.roster.limits().seconds_for_head(bytes) + 1;
        self.watch.deadline_tick.set(deadline);
    }

    /// After a wait for a peer to take something was interrupted: whether to go on, by what it has acknowledged. `record_bytes` are those that the
    /// socket has taken, where they are others than those that were sent; `queued_bytes` are those that lie in it. A peer that takes nothing has the time of the phase; one that takes some has that time anew, as
    /// long as it takes enough.
    pub(super) fn look(&self, record_bytes: Option<u64>, queued_bytes: u64) -> Result<(), Interrupt> {
        let watch = &self.watch;
        let limits = self.roster.limits();
        let is_late = watch.deadline_tick.get() <= self.roster.tick_now();
        let sending = Sending { taken_bytes: record_bytes.unwrap_or(watch.sent_bytes.get()), queued_bytes };
        let here = Mark { acknowledged_bytes: sending.acknowledged_bytes(), waited_seconds: 1 };
        let Mark { acknowledged_bytes, waited_seconds } = watch.mark.get();
        if waited_seconds <= 1 && !is_late {
            watch.mark.set(here);
            return Ok(());
        }
        let waited_seconds = waited_seconds.saturating_sub(1);
        let is_whole = waited_seconds >= progress::window_seconds(limits.send_seconds);
        let mark = Mark { acknowledged_bytes, waited_seconds };
        match sending.judge(&mark, limits.send_bytes_per_second_min.into()) {
            Verdict::Stuck if is_late => return Err(Interrupt::TimedOut(Phase::Send)),
            Verdict::Stuck => return Ok(()),
            Verdict::TooSlow if is_whole => return Err(Interrupt::TooSlow),
            Verdict::Moves if is_whole => watch.mark.set(here),
            Verdict::TooSlow | Verdict::Moves => {}
        }
        watch.deadline_tick.set(self.roster.deadline(Phase::Send));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::roster::Roster;
    use crate::connection::roster::tests::LIMITS;
    use futures_lite::future::{block_on, pending, poll_once};

    /// Seconds until a peer is cut that acknowledges so many bytes each second, and why; none when it is not.
    fn seconds_of_a_peer(limits: Limits, acknowledged: impl Fn(u64) -> u64) -> Option<(u64, Interrupt)> {
        let roster = Roster::new(limits);
        let place = roster.enter(0);
        place.count_sent(1 << 30);
        place.begin(Phase::Send);
        for second in 1..200 {
            roster.tick();
            let interrupt = block_on(poll_once(place.guard(pending::<()>())));
            assert!(matches!(interrupt, None | Some(Err(Interrupt::TimedOut(Phase::Send)))), "{interrupt:?}");
            if interrupt.is_some() {
                if let Err(cut) = place.look(None, (1 << 30) - acknowledged(second)) {
                    return Some((second, cut));
                }
            }
        }
        None
    }

    #[test]
    fn a_peer_is_cut_for_what_it_does_not_take() {
        let limits = Limits { send_seconds: 20, send_bytes_per_second_min: 100, ..LIMITS };
        let timed_out = |second| Some((second, Interrupt::TimedOut(Phase::Send)));
        let too_slow = |second| Some((second, Interrupt::TooSlow));
        type Taker = fn(u64) -> u64;
        for (what, taker, with_rate, without) in [
            ("nothing", (|_| 0) as Taker, timed_out(21), timed_out(21)),
            ("what its buffer takes, and no more", |_| 60_000, timed_out(21), timed_out(21)),
            ("a byte a second", |second| second, too_slow(11), None),
            ("twice the minimum", |second| 200 * second, None, None),
            ("the same in lumps", |second| 1600 * (second / 8), None, None),
            ("half of it in lumps", |second| 800 * (second / 16), too_slow(21), None),
            ("well, and then nothing", |second| 200 * second.min(50), timed_out(72), timed_out(72)),
        ] {
            assert_eq!(seconds_of_a_peer(limits, taker), with_rate, "{what}");
            let limits = Limits { send_bytes_per_second_min: 0, ..limits };
            assert_eq!(seconds_of_a_peer(limits, taker), without, "{what}, without a rate");
        }
    }

    /// Each row: bytes that have come so far, by second; and the second in which the time is over.
    #[test]
    fn a_head_must_come_at_a_rate() {
        let limits = Limits { head_seconds: 15, head_bytes_per_second_min: 100, ..LIMITS };
        for (what, came, over) in [
            ("a byte a second", (|second| second) as fn(usize) -> usize, 6),
            ("half of the rate", |second| 50 * second, 10),
            ("twice the rate", |second| 200 * second, 16),
        ] {
            let roster = Roster::new(limits);
            let place = roster.enter(0);
            place.begin(Phase::Head);
            let over_at = (1..100).find(|second| {
                roster.tick();
                let interrupt = block_on(poll_once(place.guard(pending::<()>())));
                place.head_came(came(*second));
                interrupt == Some(Err(Interrupt::TimedOut(Phase::Head)))
            });
            assert_eq!(over_at, Some(over), "{what}");
        }
    }
}
