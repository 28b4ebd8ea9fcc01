//! What the server counts: per worker, written by the worker's own thread only, read by anybody.
//!
//! Order: a worker's thread enters by [`enter`] · whatever layer has something to count asks [`here`] for the counters of
//! its thread, `counters::here().accept_errors.add(1)` · what no single worker owns is in [`process`] · [`workers`] and
//! [`process`] are read by whoever tells of them. The cells are in `cell`, the words for reasons in `reason`.
//!
//! A count costs a load and a store, no locked instruction, and nothing waits for another core. A thread that is no worker
//! (a test, the blocking pool) counts into cells that nobody reads: what a pool's thread does is counted by the worker that
//! takes the result.
//!
//! Invariant: the counters of a worker outlive it. One that is replaced is followed by a thread that counts on; only its
//! gauges begin anew.

mod cell;
mod reason;

pub use cell::{Counter, Flag, Gauge, Histogram, SharedCounter, SharedGauge};
pub use reason::{Closed, METHODS, Refused, State};

use crate::http::method::Method;
use crate::http::status::Status;
use std::cell::Cell;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What one worker counts. On a cache line of its own, so that workers do not slow each other.
#[repr(align(128))]
#[derive(Debug)]
pub struct Counters {
    responses: [Counter; STATUS_CODES],
    requests: [Counter; METHODS.len()],
    /// From the first byte of a request to the last byte of its answer that the socket took.
    pub request_seconds: Histogram,
    /// Bytes that sockets gave.
    pub received_bytes: Counter,
    /// Bytes that sockets took.
    pub sent_bytes: Counter,
    /// Connections that were accepted.
    pub accepted: Counter,
    closed: [Counter; Closed::ALL.len()],
    connections: [Gauge; State::ALL.len()],
    /// Accepts that failed, but for those that were the client's own fault.
    pub accept_errors: Counter,
    /// Answers whose content was in memory when they were asked for.
    pub cache_hits: Counter,
    /// Answers for which a file was opened.
    pub cache_misses: Counter,
    /// Entries that were put out of the cache for others.
    pub cache_evictions: Counter,
    /// Entries of the cache.
    pub cache_entries: Gauge,
    /// Bytes of the cache, the shared content that it holds included.
    pub cache_bytes: Gauge,
    /// The most that these may be.
    pub cache_bytes_max: Gauge,
    /// Reads through the ring.
    pub disk_reads: Counter,
    /// Bytes that they gave.
    pub disk_read_bytes: Counter,
    /// Reads that are under way.
    pub disk_reads_in_flight: Gauge,
    /// Small files that were read from the page cache.
    pub page_cache_reads: Counter,
    /// Bytes that they had.
    pub page_cache_read_bytes: Counter,
    /// Rounds of the loop that kept others waiting.
    pub stall_seconds: Histogram,
    /// The longest of them since the start, in nanoseconds.
    pub stall_worst_nanoseconds: Gauge,
    /// Turns that the engine was given.
    pub engine_turns: Counter,
    /// CPU time of the worker's thread, in nanoseconds. A worker that was replaced left its own in here.
    pub cpu_nanoseconds: Counter,
    /// Heartbeats.
    pub beats: Counter,
    /// When the last one was, in milliseconds since [`started`]; zero before the first.
    pub beaten_milliseconds: Gauge,
    refused: [Counter; Refused::ALL.len()],
    /// Requests that were answered 429 because their client asked for too many.
    pub requests_limited: Counter,
    /// Idle connections that were closed to make room.
    pub connections_shed: Counter,
    /// Connections that were closed because their client sent or took less than the least rate.
    pub slow_peers_cut: Counter,
    /// How often the worker was started anew; counted by the supervisor alone.
    pub restarts: Counter,
}

/// Status codes from 100 on.
const STATUS_CODES: usize = 500;

/// Bounds of durations of requests, in nanoseconds: from what memory answers to a large file on a slow line.
const REQUEST_BOUNDS: [u64; 14] = [
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
];

/// Bounds of stalls, in nanoseconds. A round shorter than [`STALL_MIN`] is none.
const STALL_BOUNDS: [u64; 7] =
    [25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 5_000_000_000];

/// A round of the loop that takes longer than this kept others waiting noticeably.
pub const STALL_MIN: Duration = Duration::from_millis(10);

impl Counters {
    /// All of them zero.
    pub const fn new() -> Counters {
        Counters {
            responses: [const { Counter::new() }; STATUS_CODES],
            requests: [const { Counter::new() }; METHODS.len()],
            request_seconds: Histogram::new(&REQUEST_BOUNDS),
            received_bytes: Counter::new(),
            sent_bytes: Counter::new(),
            accepted: Counter::new(),
            closed: [const { Counter::new() }; Closed::ALL.len()],
            connections: [const { Gauge::new() }; State::ALL.len()],
            accept_errors: Counter::new(),
            cache_hits: Counter::new(),
            cache_misses: Counter::new(),
            cache_evictions: Counter::new(),
            cache_entries: Gauge::new(),
            cache_bytes: Gauge::new(),
            cache_bytes_max: Gauge::new(),
            disk_reads: Counter::new(),
            disk_read_bytes: Counter::new(),
            disk_reads_in_flight: Gauge::new(),
            page_cache_reads: Counter::new(),
            page_cache_read_bytes: Counter::new(),
            stall_seconds: Histogram::new(&STALL_BOUNDS),
            stall_worst_nanoseconds: Gauge::new(),
            engine_turns: Counter::new(),
            cpu_nanoseconds: Counter::new(),
            beats: Counter::new(),
            beaten_milliseconds: Gauge::new(),
            refused: [const { Counter::new() }; Refused::ALL.len()],
            requests_limited: Counter::new(),
            connections_shed: Counter::new(),
            slow_peers_cut: Counter::new(),
            restarts: Counter::new(),
        }
    }

    /// Answers of this status.
    pub fn responses(&self, status: Status) -> &Counter {
        // A status has three digits, and a code from 100 on.
        &self.responses[usize::from(status.code()).saturating_sub(100).min(STATUS_CODES - 1)]
    }

    /// Codes of which there were answers, and how many.
    pub fn answered(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let counts = (100..).zip(self.responses.iter().map(Counter::get));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Requests of this method.
    pub fn requests(&self, method: Method) -> &Counter {
        &self.requests[method as usize]
    }

    /// Connections that ended so.
    pub fn closed(&self, closed: Closed) -> &Counter {
        &self.closed[closed as usize]
    }

    /// Connections in this state, as of the last tick.
    pub fn connections(&self, state: State) -> &Gauge {
        &self.connections[state as usize]
    }

    /// Newcomers that were turned away for this.
    pub fn refused(&self, reason: Refused) -> &Counter {
        &self.refused[reason as usize]
    }

    /// How long ago the worker's heart last beat; `None` before it first did, and after the worker ended.
    pub fn since_beat(&self) -> Option<Duration> {
        let beaten = Duration::from_millis(self.beaten_milliseconds.get());
        (!beaten.is_zero()).then(|| started().elapsed().saturating_sub(beaten))
    }

    /// The heart beats.
    pub fn beat(&self) {
        self.beats.add(1);
        let milliseconds = u64::try_from(started().elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beaten_milliseconds.set(milliseconds.max(1));
    }

    /// What was true of a worker that is gone is not of its successor.
    fn reset_gauges(&self) {
        self.connections.iter().for_each(|gauge| gauge.set(0));
        for gauge in [&self.cache_entries, &self.cache_bytes, &self.disk_reads_in_flight, &self.beaten_milliseconds] {
            gauge.set(0);
        }
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new()
    }
}

/// Where threads count that are no workers.
static NOBODY: Counters = Counters::new();

thread_local! {
    static HERE: Cell<&'static Counters> = const { Cell::new(&NOBODY) };
}

static WORKERS: Mutex<Vec<&'static Counters>> = Mutex::new(Vec::new());

/// Makes this thread that of the worker with this number, counting on where the one before it ended.
pub fn enter(index: usize) {
    let counters = of_worker(index);
    counters.reset_gauges();
    HERE.set(counters);
}

/// Ends this thread's being a worker: it is not expected to beat any more.
pub fn leave() {
    HERE.replace(&NOBODY).reset_gauges();
}

/// The counters of this thread.
#[inline]
pub fn here() -> &'static Counters {
    HERE.get()
}

/// The counters of the worker with this number.
pub fn of_worker(index: usize) -> &'static Counters {
    let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    while workers.len() <= index {
        // They are there until the process ends, and there are as many as workers.
        workers.push(Box::leak(Box::new(Counters::new())));
    }
    workers[index]
}

/// The counters of all workers, in order of their numbers.
pub fn workers() -> Vec<&'static Counters> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What no single worker owns. Any thread may count here, by a locked instruction: for what is rare.
#[derive(Debug)]
pub struct Process {
    /// Set while the server leaves: it serves on, and does not want to be sent more.
    pub is_draining: Flag,
    /// Reloads of the configuration that took effect.
    pub reloads_good: SharedCounter,
    /// Reloads that were refused.
    pub reloads_failed: SharedCounter,
    /// When a reload last took effect, in seconds since 1970; zero where none did.
    pub reloaded_unix_seconds: SharedGauge,
    /// Lines of logs that nobody took in time.
    pub log_lines_dropped: SharedCounter,
    /// Pieces of content that all workers share.
    pub shared_content: SharedGauge,
    /// Bytes of memory that they take.
    pub shared_content_bytes: SharedGauge,
    /// The most connections that there may be; zero where there is no limit.
    pub connections_max: SharedGauge,
}

/// What no single worker owns.
pub fn process() -> &'static Process {
    static PROCESS: Process = Process {
        is_draining: Flag::new(),
        reloads_good: SharedCounter::new(),
        reloads_failed: SharedCounter::new(),
        reloaded_unix_seconds: SharedGauge::new(),
        log_lines_dropped: SharedCounter::new(),
        shared_content: SharedGauge::new(),
        shared_content_bytes: SharedGauge::new(),
        connections_max: SharedGauge::new(),
    };
    &PROCESS
}

static STARTED: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));

/// When the process began to count, for durations: the first call, which the start of the server makes.
pub fn started() -> Instant {
    STARTED.0
}

/// The same by the clock of the system.
pub fn started_at() -> SystemTime {
    STARTED.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that no worker of another test of this process has.
    const INDEX: usize = 40;

    #[test]
    fn a_successor_counts_on_and_its_gauges_begin_anew() {
        for round in 1..=3 {
            let worker = move || {
                enter(INDEX);
                let counters = here();
                assert_eq!(counters.connections(State::Idle).get(), 0);
                assert_eq!(counters.since_beat(), None);
                counters.connections(State::Idle).set(7);
                counters.accepted.add(2);
                counters.responses(Status::NOT_FOUND).add(1);
                counters.beat();
                assert!(counters.since_beat().is_some());
                assert_eq!(counters.accepted.get(), 2 * round);
            };
            std::thread::spawn(worker).join().expect("it only counts");
        }
        let counters = of_worker(INDEX);
        assert_eq!(counters.answered().collect::<Vec<_>>(), [(404, 3)]);
        assert!(std::ptr::eq(workers()[INDEX], counters));
    }

    #[test]
    fn a_thread_that_is_no_worker_counts_for_nobody() {
        let before: u64 = workers().iter().map(|worker| worker.slow_peers_cut.get()).sum();
        std::thread::spawn(|| here().slow_peers_cut.add(1000)).join().expect("it only counts");
        let after: u64 = workers().iter().map(|worker| worker.slow_peers_cut.get()).sum();
        assert_eq!(after, before);
        std::thread::spawn(|| {
            enter(INDEX + 1);
            here().beat();
            leave();
            here().slow_peers_cut.add(1000);
        })
        .join()
        .expect("it only counts");
        assert_eq!(of_worker(INDEX + 1).slow_peers_cut.get(), 0);
        assert_eq!(of_worker(INDEX + 1).since_beat(), None);
    }
}
