//! The cells that are counted in.
//!
//! Invariant: a [`Counter`], a [`Gauge`] and a [`Histogram`] have one thread that writes them, which needs no locked
//! instruction; a [`SharedCounter`] and a [`SharedGauge`] have any number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Only ever grows.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds to it; by the one thread that may.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// What it holds.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Gauge {
        Gauge(AtomicU64::new(0))
    }

    /// Sets it; by the one thread that may.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it; by the one thread that may.
    #[inline]
    pub fn add(&self, count: u64) {
        self.set(self.get().saturating_add(count));
    }

    /// Takes from it, and stays at zero where there is less: by the one thread that may.
    #[inline]
    pub fn sub(&self, count: u64) {
        self.set(self.get().saturating_sub(count));
    }

    /// What it holds.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by how long they were.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bounds of the buckets, in nanoseconds, in order.
    bounds: &'static [u64],
    /// One for each bound, and one for what is longer than all of them.
    buckets: [Counter; BUCKETS_MAX],
    sum_nanoseconds: Counter,
}

/// Bounds of one histogram, and one more bucket.
const BUCKETS_MAX: usize = 16;

impl Histogram {
    /// One with these bounds, in nanoseconds.
    pub const fn new(bounds: &'static [u64]) -> Histogram {
        assert!(bounds.len() < BUCKETS_MAX);
        Histogram { bounds, buckets: [const { Counter::new() }; BUCKETS_MAX], sum_nanoseconds: Counter::new() }
    }

    /// Counts a duration.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.iter().position(|bound| nanoseconds <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].add(1);
        self.sum_nanoseconds.add(nanoseconds);
    }

    /// Adds what another of the same bounds has counted.
    pub(super) fn take_in(&self, other: &Histogram) {
        self.buckets.iter().zip(&other.buckets).for_each(|(ours, theirs)| ours.add(theirs.get()));
        self.sum_nanoseconds.add(other.sum_nanoseconds.get());
    }

    /// For each bound, in seconds, how many were no longer; at the end all of them, with an infinite bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.bounds.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64());
        let mut count = 0;
        bounds.chain([f64::INFINITY]).zip(&self.buckets).map(move |(bound, bucket)| {
            count += bucket.get();
            (bound, count)
        })
    }

    /// The sum of them, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_nanoseconds.get()).as_secs_f64()
    }
}

/// A counter that any thread may add to.
#[derive(Debug)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Zero.
    pub const fn new() -> SharedCounter {
        SharedCounter(AtomicU64::new(0))
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it holds.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge that any thread may change.
#[derive(Debug)]
pub struct SharedGauge(AtomicU64);

impl SharedGauge {
    /// Zero.
    pub const fn new() -> SharedGauge {
        SharedGauge(AtomicU64::new(0))
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes what was added before.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// What it holds.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Yes or no.
#[derive(Debug)]
pub struct Flag(AtomicBool);

impl Flag {
    /// No.
    pub const fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    /// Sets it.
    pub fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Counter {
        Counter::new()
    }
}

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge::new()
    }
}

impl Default for SharedCounter {
    fn default() -> SharedCounter {
        SharedCounter::new()
    }
}

impl Default for SharedGauge {
    fn default() -> SharedGauge {
        SharedGauge::new()
    }
}

impl Default for Flag {
    fn default() -> Flag {
        Flag::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        static BOUNDS: [u64; 3] = [10, 20, 30];
        let histogram = Histogram::new(&BOUNDS);
        for nanoseconds in [0, 10, 11, 20, 30, 31, 1000] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let counts: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 4, 5, 7]);
        assert!(histogram.cumulative().last().is_some_and(|(bound, _)| bound.is_infinite()));
        assert!((histogram.sum_seconds() - 1102e-9).abs() < 1e-15);
    }

    #[test]
    fn a_gauge_does_not_go_below_zero() {
        let gauge = Gauge::new();
        gauge.add(2);
        gauge.sub(3);
        assert_eq!(gauge.get(), 0);
    }
}
