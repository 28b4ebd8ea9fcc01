//! What an accept loop does when accepts fail.
//!
//! Invariant: a shortage is told once when it begins and once when it is over, and never answered by trying at once.

use crate::counters;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// What an accept loop does about failures: it pauses when descriptors run out, for trying on
/// would burn the CPU that could free some, and tells the log once an episode.
#[derive(Default)]
pub(super) struct Backoff {
    /// When the episode began, and how many accepts failed in it.
    episode: Option<(Instant, u64)>,
}

const PAUSE: Duration = Duration::from_millis(50);

/// An episode is over when no accept failed for this long: between two failures of one shortage
/// some accepts succeed.
const QUIET: Duration = Duration::from_secs(5);

impl Backoff {
    /// An accept gave a connection.
    pub(super) fn succeeded(&mut self) {
        if let Some((last, failures)) = self.episode {
            if last.elapsed() > QUIET {
                tracing::info!("accepting connections again, after {failures} failures");
                self.episode = None;
            }
        }
    }

    /// How long to wait before the next accept; `None` when the failure was one client's own.
    pub(super) fn failed(&mut self, error: &std::io::Error) -> Option<Duration> {
        if matches!(Errno::from_io_error(error), Some(Errno::CONNABORTED | Errno::PROTO | Errno::INTR | Errno::AGAIN)) {
            return None;
        }
        counters::here().accept_errors.add(1);
        if self.episode.is_none() {
            tracing::error!("connections cannot be accepted: {error}; trying on, and telling when it works again");
        }
        let failures = self.episode.map_or(0, |(_, failures)| failures) + 1;
        self.episode = Some((Instant::now(), failures));
        Some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_pauses_and_a_lost_client_does_not() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(&Errno::CONNABORTED.into()), None);
        assert!(backoff.episode.is_none());
        for failures in 1..=3 {
            assert_eq!(backoff.failed(&Errno::MFILE.into()), Some(PAUSE));
            assert_eq!(backoff.episode.map(|(_, failures)| failures), Some(failures));
            // The episode goes on: one success amid a shortage is not the end of it.
            backoff.succeeded();
        }
    }
}
