//! What was counted in each second of the last minute, and from that what goes on in a second.
//!
//! Invariant: a rate is what two samples differ by, divided by the time between them: never below zero, never divided by none.

use crate::counters::{self, Counters};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples that are kept: a minute, and the one that it began with.
const SAMPLES_MAX: usize = 61;

/// What the workers had counted at one moment.
pub(super) struct History {
    samples: VecDeque<Sample>,
    /// For each worker, the part of its time that it was busy when its heart last beat.
    busy: Vec<Busy>,
}

struct Sample {
    taken: Instant,
    workers: Vec<Counted>,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    requests: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Busy {
    cpu_nanoseconds: u64,
    beaten_milliseconds: u64,
    share: f64,
}

/// What goes on in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) sent_bytes: f64,
    pub(super) received_bytes: f64,
}

impl History {
    pub(super) fn new() -> History {
        History { samples: VecDeque::with_capacity(SAMPLES_MAX), busy: Vec::new() }
    }

    /// Takes a sample; called about once a second.
    pub(super) fn sample(&mut self, workers: &[Counters]) {
        self.busy.resize(workers.len(), Busy::default());
        for (busy, counters) in self.busy.iter_mut().zip(workers) {
            busy.look(counters.cpu_nanoseconds.get(), counters.beaten_milliseconds.get());
        }
        let counted = |counters: &Counters| Counted {
            requests: counters.answered().map(|(_, count)| count).sum(),
            sent_bytes: counters.sent_bytes.get(),
            received_bytes: counters.received_bytes.get(),
        };
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { taken: Instant::now(), workers: workers.iter().map(counted).collect() });
    }

    /// The part of its time that a worker was busy, in its last second.
    pub(super) fn busy(&self, worker: usize) -> f64 {
        self.busy.get(worker).map_or(0.0, |busy| busy.share)
    }

    /// What a worker does in a second, as of the last two samples.
    pub(super) fn worker(&self, worker: usize) -> Rates {
        let last_two = self.samples.iter().rev().take(2).collect::<Vec<_>>();
        match last_two[..] {
            [now, before] => between(before, now, |sample| sample.workers.get(worker).copied().unwrap_or_default()),
            _ => Rates::default(),
        }
    }

    /// What all workers did, second by second.
    pub(super) fn seconds(&self) -> Vec<Rates> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs.map(|(before, now)| between(before, now, Sample::sum)).collect()
    }
}

impl Busy {
    /// A heart that has not beaten since says nothing new.
    fn look(&mut self, cpu_nanoseconds: u64, beaten_milliseconds: u64) {
        if beaten_milliseconds <= self.beaten_milliseconds {
            if beaten_milliseconds == 0
                || counters::started().elapsed() > Duration::from_millis(beaten_milliseconds + 3000)
            {
                self.share = 0.0;
            }
            return;
        }
        if self.beaten_milliseconds > 0 {
            let busy = cpu_nanoseconds.saturating_sub(self.cpu_nanoseconds) as f64 / 1e6;
            self.share = (busy / (beaten_milliseconds - self.beaten_milliseconds) as f64).min(1.0);
        }
        (self.cpu_nanoseconds, self.beaten_milliseconds) = (cpu_nanoseconds, beaten_milliseconds);
    }
}

impl Sample {
    fn sum(&self) -> Counted {
        self.workers.iter().fold(Counted::default(), |sum, one| Counted {
            requests: sum.requests + one.requests,
            sent_bytes: sum.sent_bytes + one.sent_bytes,
            received_bytes: sum.received_bytes + one.received_bytes,
        })
    }
}

fn between(before: &Sample, now: &Sample, of: impl Fn(&Sample) -> Counted) -> Rates {
    let seconds = (now.taken - before.taken).as_secs_f64().max(0.001);
    let (before, now) = (of(before), of(now));
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    Rates {
        requests: rate(before.requests, now.requests),
        sent_bytes: rate(before.sent_bytes, now.sent_bytes),
        received_bytes: rate(before.received_bytes, now.received_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::status::Status;

    #[test]
    fn a_minute_is_kept_and_rates_are_differences() {
        let mut history = History::new();
        let both = [Counters::new(), Counters::new()];
        let [one, two] = &both;
        assert_eq!(history.worker(0), Rates::default());
        for round in 0..100 {
            history.sample(&both);
            one.responses(Status::OK).add(round);
            two.sent_bytes.add(5);
        }
        assert_eq!(history.seconds().len(), SAMPLES_MAX - 1);
        assert!(history.worker(0).requests > 0.0 && history.worker(1).requests == 0.0);
        assert!(history.worker(1).sent_bytes > 0.0 && history.worker(2) == Rates::default());
    }

    #[test]
    fn a_busy_share_is_of_the_time_between_two_beats() {
        let mut busy = Busy::default();
        busy.look(100_000_000, 1000);
        assert!(busy.share.abs() < 1e-9, "one beat is no time");
        busy.look(600_000_000, 2000);
        assert!((busy.share - 0.5).abs() < 1e-9);
        busy.look(900_000_000, 2000);
        assert!((busy.share - 0.5).abs() < 1e-9 || busy.share == 0.0);
        busy.look(9_900_000_000, 3000);
        assert!((busy.share - 1.0).abs() < 1e-9);
    }
}
