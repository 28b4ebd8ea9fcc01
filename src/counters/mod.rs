//! What the server counts: per worker, written by the worker's own thread only, read by anybody.
//!
//! Order: a worker's thread enters by [`enter`] · whatever layer has something to count asks [`here`] for the counters of
//! its thread, `counters::here().accept_errors.add(1)` · what no single worker owns is in [`process`] · [`of_worker`] and
//! [`process`] are read by whoever tells of them. The cells are in `cell`, the words for reasons in `reason`.
//!
//! A count costs a load and a store, no locked instruction, and nothing waits for another core. A thread that is no worker
//! (a test, the blocking pool) counts into cells that nobody reads: what a pool's thread does is counted by the worker that
//! takes the result.
//!
//! Invariant: each cell of a worker has one thread that writes it, and what was counted outlives the thread. Its gauges do not.

mod cell;
mod reason;

pub use cell::{Counter, Flag, Gauge, Histogram, SharedCounter, SharedGauge};
pub use reason::{Closed, HandshakeFailure, HandshakeKind, METHODS, Refused, State};

use crate::http::method::Method;
use crate::http::status::Status;
use std::cell::Cell;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// The longest of them since the start, or how late the heart beat where that is longer; in nanoseconds.
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
    /// Connections that spoke HTTP/2.
    pub http2_connections: Counter,
    /// Requests that came by it.
    pub http2_requests: Counter,
    /// Its streams that ended before their answer did: the client did not want it any more, or broke a rule.
    pub http2_streams_broken_off: Counter,
    handshakes: [Counter; HandshakeKind::ALL.len()],
    handshakes_failed: [Counter; HandshakeFailure::ALL.len()],
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
            http2_connections: Counter::new(),
            http2_requests: Counter::new(),
            http2_streams_broken_off: Counter::new(),
            handshakes: [const { Counter::new() }; HandshakeKind::ALL.len()],
            handshakes_failed: [const { Counter::new() }; HandshakeFailure::ALL.len()],
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

    /// TLS handshakes that were finished so.
    pub fn handshakes(&self, kind: HandshakeKind) -> &Counter {
        &self.handshakes[kind as usize]
    }

    /// TLS handshakes that were not, for this.
    pub fn handshakes_failed(&self, failure: HandshakeFailure) -> &Counter {
        &self.handshakes_failed[failure as usize]
    }

    /// How long ago the worker's heart last beat; `None` before it first did, and after the worker ended.
    pub fn since_beat(&self) -> Option<Duration> {
        let beaten = Duration::from_millis(self.beaten_milliseconds.get());
        (!beaten.is_zero()).then(|| started().elapsed().saturating_sub(beaten))
    }

    /// Something took so long; the longest is kept.
    pub fn note_stall(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.stall_worst_nanoseconds.set(self.stall_worst_nanoseconds.get().max(nanoseconds));
    }

    /// The heart beats.
    pub fn beat(&self) {
        self.beats.add(1);
        let milliseconds = u64::try_from(started().elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beaten_milliseconds.set(milliseconds.max(1));
    }

    /// Adds what another has counted.
    fn take_in(&self, other: &Counters) {
        let add = |ours: &[Counter], theirs: &[Counter]| ours.iter().zip(theirs).for_each(|(a, b)| a.add(b.get()));
        add(&self.responses, &other.responses);
        add(&self.requests, &other.requests);
        add(&self.closed, &other.closed);
        add(&self.refused, &other.refused);
        add(&self.handshakes, &other.handshakes);
        add(&self.handshakes_failed, &other.handshakes_failed);
        self.request_seconds.take_in(&other.request_seconds);
        self.stall_seconds.take_in(&other.stall_seconds);
        for (ours, theirs) in self.singles().into_iter().zip(other.singles()) {
            ours.add(theirs.get());
        }
        self.connections.iter().zip(&other.connections).for_each(|(a, b)| a.add(b.get()));
        for (ours, theirs) in self.gauges().into_iter().zip(other.gauges()) {
            ours.add(theirs.get());
        }
        self.note_stall(Duration::from_nanos(other.stall_worst_nanoseconds.get()));
        self.beaten_milliseconds.set(self.beaten_milliseconds.get().max(other.beaten_milliseconds.get()));
    }

    fn singles(&self) -> [&Counter; 20] {
        [
            &self.received_bytes,
            &self.sent_bytes,
            &self.accepted,
            &self.accept_errors,
            &self.cache_hits,
            &self.cache_misses,
            &self.cache_evictions,
            &self.disk_reads,
            &self.disk_read_bytes,
            &self.page_cache_reads,
            &self.page_cache_read_bytes,
            &self.engine_turns,
            &self.cpu_nanoseconds,
            &self.beats,
            &self.requests_limited,
            &self.connections_shed,
            &self.slow_peers_cut,
            &self.http2_connections,
            &self.http2_requests,
            &self.http2_streams_broken_off,
        ]
    }

    fn gauges(&self) -> [&Gauge; 4] {
        [&self.cache_entries, &self.cache_bytes, &self.cache_bytes_max, &self.disk_reads_in_flight]
    }

    /// What was true of a worker that is gone is not of its successor.
    fn reset_gauges(&self) {
        self.connections.iter().for_each(|gauge| gauge.set(0));
        for gauge in self.gauges().into_iter().chain([&self.beaten_milliseconds]) {
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
    // None for NOBODY: Rust 1.85 takes no reference to what changes for a constant.
    static HERE: Cell<Option<&'static Counters>> = const { Cell::new(None) };
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
}

/// For each worker, the counters of its threads: one, but for the time in which a successor serves already while the one
/// before it finishes what is in flight.
static WORKERS: Mutex<Vec<Vec<&'static Place>>> = Mutex::new(Vec::new());

/// The counters of one thread at a time.
#[derive(Debug, Default)]
struct Place {
    counters: Counters,
    is_taken: Flag,
}

/// The place of this thread, which gives it up at its end, however that comes.
struct Seat(&'static Place);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.counters.reset_gauges();
        self.0.is_taken.set(false);
    }
}

/// Makes this thread that of the worker with this number. It counts on where one that is gone ended.
pub fn enter(index: usize) {
    let mut workers = lock();
    if workers.len() <= index {
        workers.resize_with(index + 1, Vec::new);
    }
    let places = &mut workers[index];
    let free = places.iter().copied().find(|place| !place.is_taken.get());
    let place = free.unwrap_or_else(|| {
        // It is there until the process ends; there are as many as threads that a worker ever had at the same time.
        let place: &'static Place = Box::leak(Box::default());
        places.push(place);
        place
    });
    place.is_taken.set(true);
    drop(workers);
    SEAT.set(Some(Seat(place)));
    HERE.set(Some(&place.counters));
}

/// The counters of this thread.
#[inline]
pub fn here() -> &'static Counters {
    HERE.get().unwrap_or(&NOBODY)
}

/// What the threads of the worker with this number have counted together.
pub fn of_worker(index: usize) -> Counters {
    let sum = Counters::new();
    let workers = lock();
    workers.get(index).into_iter().flatten().for_each(|place| sum.take_in(&place.counters));
    sum
}

fn lock() -> MutexGuard<'static, Vec<Vec<&'static Place>>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Pieces of content that all workers share.
    pub shared_content: SharedGauge,
    /// Bytes of memory that they take.
    pub shared_content_bytes: SharedGauge,
    /// The most connections that there may be; zero where there is no limit.
    pub connections_max: SharedGauge,
    /// For each worker, how often it was started anew.
    restarts: Mutex<Vec<u64>>,
}

impl Process {
    /// Counts that a worker was started anew.
    pub fn count_restart(&self, worker: usize) {
        let mut restarts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        if restarts.len() <= worker {
            restarts.resize(worker + 1, 0);
        }
        restarts[worker] += 1;
    }

    /// How often a worker was started anew.
    pub fn restarts(&self, worker: usize) -> u64 {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner).get(worker).copied().unwrap_or(0)
    }

    /// Counts a reload that took effect, or was refused.
    pub fn count_reload(&self, is_good: bool) {
        if is_good {
            self.reloads_good.add(1);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.reloaded_unix_seconds.set(now.as_secs());
        } else {
            self.reloads_failed.add(1);
        }
    }
}

/// What no single worker owns.
pub fn process() -> &'static Process {
    static PROCESS: Process = Process {
        is_draining: Flag::new(),
        reloads_good: SharedCounter::new(),
        reloads_failed: SharedCounter::new(),
        reloaded_unix_seconds: SharedGauge::new(),
        shared_content: SharedGauge::new(),
        shared_content_bytes: SharedGauge::new(),
        connections_max: SharedGauge::new(),
        restarts: Mutex::new(Vec::new()),
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
                counters.request_seconds.observe(Duration::from_secs(1));
                counters.beat();
                assert!(counters.since_beat().is_some());
                assert_eq!(counters.accepted.get(), 2 * round);
                assert_eq!(of_worker(INDEX).connections(State::Idle).get(), 7);
            };
            std::thread::spawn(worker).join().expect("it only counts");
        }
        let counters = of_worker(INDEX);
        assert_eq!(counters.answered().collect::<Vec<_>>(), [(404, 3)]);
        assert_eq!(counters.request_seconds.cumulative().last().map(|(_, count)| count), Some(3));
        assert_eq!((counters.connections(State::Idle).get(), counters.since_beat()), (0, None));
    }

    /// While one finishes what is in flight, its successor serves already: neither may write what the other does.
    #[test]
    fn two_threads_of_a_worker_count_apart_and_are_told_together() {
        let barrier = std::sync::Barrier::new(2);
        let worker = || {
            enter(INDEX + 1);
            barrier.wait();
            for _ in 0..100_000 {
                here().sent_bytes.add(1);
            }
            here().cache_bytes.set(5);
            barrier.wait();
            assert_eq!(of_worker(INDEX + 1).cache_bytes.get(), 10);
            barrier.wait();
        };
        std::thread::scope(|scope| {
            let threads = [scope.spawn(worker), scope.spawn(worker)];
            // A scope ends before what is local to its threads has; to join them waits for that, too.
            threads.into_iter().for_each(|thread| thread.join().expect("it only counts"));
        });
        let counters = of_worker(INDEX + 1);
        assert_eq!((counters.sent_bytes.get(), counters.cache_bytes.get()), (200_000, 0));
    }

    #[test]
    fn a_thread_that_is_no_worker_counts_for_nobody() {
        std::thread::spawn(|| here().slow_peers_cut.add(1000)).join().expect("it only counts");
        assert!((0..INDEX + 3).all(|index| of_worker(index).slow_peers_cut.get() == 0));
        process().count_restart(INDEX);
        assert_eq!((process().restarts(INDEX), process().restarts(INDEX + 9)), (1, 0));
    }
}
