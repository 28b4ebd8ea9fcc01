//! How many frames that cost a server more than they cost a client may come in a second.
//!
//! Each bound is far above what any client needs: a browser that leaves a page resets the streams that it has open, once.
//!
//! Invariant: whatever a client sends, what it makes the server do in a second is bounded by these numbers, by what it may ask for
//! at a time, and by what it takes of the answers.

use super::error::ConnectionError;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nuisance {
    /// A stream that is reset before it was answered, by either side (CVE-2023-44487).
    Reset,
    /// A ping, each of which is answered (CVE-2019-9512).
    Ping,
    /// Settings, each of which are acknowledged (CVE-2019-9515).
    Settings,
    /// A frame of DATA with nothing in it that ends nothing (CVE-2019-9518).
    EmptyData,
    /// A change of priorities (CVE-2019-9513).
    Priority,
    /// A window that is opened further, beyond what the answers on their way call for (CVE-2019-9511).
    Window,
    /// A frame of a kind that nobody knows.
    Unknown,
    /// A field block on a stream that has ended, which is decoded all the same.
    IgnoredBlock,
}

/// How many of each may come in a second.
const LIMITS: [(Nuisance, u32, &str); 8] = [
    (Nuisance::Reset, 200, "too many streams were reset in a second"),
    (Nuisance::Ping, 20, "too many pings in a second"),
    (Nuisance::Settings, 20, "too many settings in a second"),
    (Nuisance::EmptyData, 100, "too many empty frames of data in a second"),
    (Nuisance::Priority, 1000, "too many changes of priorities in a second"),
    (Nuisance::Window, 1000, "too many small window updates in a second"),
    (Nuisance::Unknown, 1000, "too many frames of unknown kinds in a second"),
    (Nuisance::IgnoredBlock, 1000, "too many field blocks of streams that have ended in a second"),
];

/// Bytes of answers that justify one more window update.
const BYTES_OF_A_WINDOW_UPDATE: u64 = 256;

/// Bytes of answers that justify one more ping: some clients measure by them how fast they could take more, once a round trip.
const BYTES_OF_A_PING: u64 = 16 * 1024;

/// The counts of one connection in the second that is running.
#[derive(Debug, Default)]
pub(super) struct Flood {
    second: u32,
    counts: [u32; LIMITS.len()],
    /// Window updates that what was sent justifies, and that have not come.
    window_credit: u64,
    /// Bytes of what was sent that have justified no ping yet.
    ping_credit_bytes: u64,
}

impl Flood {
    /// One more in the second `now`; an error when it is one too many.
    pub(super) fn count(&mut self, nuisance: Nuisance, now: u32) -> Result<(), ConnectionError> {
        if self.second != now {
            (self.second, self.counts) = (now, Default::default());
        }
        if nuisance == Nuisance::Window && self.window_credit > 0 {
            self.window_credit -= 1;
            return Ok(());
        }
        if nuisance == Nuisance::Ping && self.ping_credit_bytes >= BYTES_OF_A_PING {
            self.ping_credit_bytes -= BYTES_OF_A_PING;
            return Ok(());
        }
        let at = nuisance as usize;
        self.counts[at] += 1;
        let (_, limit, why) = LIMITS[at];
        if self.counts[at] > limit { Err(ConnectionError::calm(why)) } else { Ok(()) }
    }

    /// So much was sent: one update for the stream and one for the connection may come of each few hundred bytes, and of the end of an
    /// answer; and a ping of each few thousand.
    pub(super) fn sent(&mut self, bytes: usize, is_end: bool) {
        let updates = bytes as u64 / BYTES_OF_A_WINDOW_UPDATE + u64::from(is_end);
        self.window_credit = (self.window_credit + 2 * updates).min(1 << 20);
        self.ping_credit_bytes = (self.ping_credit_bytes + bytes as u64).min(64 * BYTES_OF_A_PING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_limit_of_its_own_in_each_second() {
        for (at, (nuisance, limit, why)) in LIMITS.into_iter().enumerate() {
            assert_eq!(nuisance as usize, at);
            let mut flood = Flood::default();
            for second in 1..3 {
                for _ in 0..limit {
                    assert_eq!(flood.count(nuisance, second), Ok(()), "{nuisance:?}");
                }
            }
            assert_eq!(flood.count(nuisance, 2).map_err(|error| error.why), Err(why));
        }
    }

    #[test]
    fn who_takes_answers_may_open_windows_and_measure() {
        let mut flood = Flood::default();
        for _ in 0..10_000 {
            flood.sent(16_384, false);
            for _ in 0..100 {
                assert_eq!(flood.count(Nuisance::Window, 1), Ok(()));
            }
            assert_eq!(flood.count(Nuisance::Ping, 1), Ok(()));
        }
    }
}
