//! How much of large files was sent from disk lately: content earns its place in memory by what it costs without one.
//!
//! When as many bytes of a file were sent from disk as it has, reading it once more, to keep it, at most doubles what
//! was spent on it: the ski-rental argument.
//!
//! Invariant: at most `FILES_MAX` files are known, and what is known is halved every minute.

use super::file::Identity;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts what is sent of one open file.
#[derive(Debug)]
pub struct Demand {
    identity: Identity,
    /// Bytes that the table does not know of yet.
    untold: Cell<u64>,
}

/// So much is sent before the table is told, which all workers share.
const UNTOLD_BYTES_MAX: u64 = 4 * 1024 * 1024;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| Mutex::new(Table::new(Instant::now())));

/// Whether as much was sent of the file of this identity as it has bytes.
pub fn is_earned(identity: &Identity) -> bool {
    table().bytes_sent(identity, Instant::now()) >= identity.length
}

/// Counts from nothing again.
pub fn reset(identity: &Identity) {
    table().sent.remove(identity);
}

impl Demand {
    /// For the file of this identity.
    pub fn of(identity: Identity) -> Demand {
        Demand { identity, untold: Cell::new(0) }
    }

    /// Counts bytes that were sent.
    pub fn count(&self, bytes: u64) {
        self.untold.set(self.untold.get() + bytes);
        if self.untold.get() >= UNTOLD_BYTES_MAX {
            self.tell();
        }
    }

    fn tell(&self) {
        table().add(&self.identity, self.untold.take(), Instant::now());
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        if self.untold.get() > 0 {
            self.tell();
        }
    }
}

fn table() -> MutexGuard<'static, Table> {
    // Counts are of no great matter, whatever a panic left of them.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files that are known at most: of those asked for more seldom, nothing needs to be known.
const FILES_MAX: usize = 256;

/// How long it takes to forget half.
const HALF_LIFE: Duration = Duration::from_secs(60);

struct Table {
    sent: HashMap<Identity, u64>,
    halved: Instant,
}

impl Table {
    fn new(now: Instant) -> Table {
        Table { sent: HashMap::new(), halved: now }
    }

    fn bytes_sent(&mut self, identity: &Identity, now: Instant) -> u64 {
        self.forget_some(now);
        self.sent.get(identity).copied().unwrap_or(0)
    }

    fn add(&mut self, identity: &Identity, bytes: u64, now: Instant) {
        self.forget_some(now);
        if self.sent.len() >= FILES_MAX && !self.sent.contains_key(identity) {
            let least = self.sent.iter().min_by_key(|(_, bytes)| **bytes).map(|(identity, _)| *identity);
            least.map(|least| self.sent.remove(&least));
        }
        let sent = self.sent.entry(*identity).or_default();
        *sent = sent.saturating_add(bytes);
    }

    fn forget_some(&mut self, now: Instant) {
        while now.saturating_duration_since(self.halved) >= HALF_LIFE {
            if self.sent.is_empty() {
                self.halved = now;
                return;
            }
            self.halved += HALF_LIFE;
            self.sent.retain(|_, bytes| {
                *bytes /= 2;
                *bytes > 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::Timestamp;

    fn identity(inode: u64, length: u64) -> Identity {
        let time = Timestamp { seconds: 3, nanoseconds: 0 };
        Identity { device: u64::MAX, inode, length, modified: time, changed: time }
    }

    #[test]
    fn a_place_is_earned_by_as_many_bytes_as_a_file_has() {
        let file = identity(1, 2 * UNTOLD_BYTES_MAX);
        let first = Demand::of(file);
        first.count(UNTOLD_BYTES_MAX);
        first.count(UNTOLD_BYTES_MAX - 1);
        drop(first);
        assert!(!is_earned(&file));
        // Another worker, another part
        drop(Demand::of(file));
        Demand::of(file).count(1);
        assert!(is_earned(&file) && !is_earned(&identity(1, 5)), "another version is another file");
        reset(&file);
        assert!(!is_earned(&file));
    }

    #[test]
    fn what_is_known_is_forgotten_by_and_by() {
        let start = Instant::now();
        let mut table = Table::new(start);
        table.add(&identity(1, 8), 1000, start);
        for (seconds, left) in [(59, 1000), (60, 500), (119, 500), (185, 125), (86_400, 0)] {
            assert_eq!(table.bytes_sent(&identity(1, 8), start + Duration::from_secs(seconds)), left, "{seconds}");
        }
        assert!(table.sent.is_empty());
    }

    #[test]
    fn a_crowd_of_files_asked_for_once_leaves_the_one_that_is_asked_for() {
        let now = Instant::now();
        let mut table = Table::new(now);
        table.add(&identity(0, 8), 1000, now);
        for inode in 1..10 * FILES_MAX as u64 {
            table.add(&identity(inode, 8), 10, now);
            assert!(table.sent.len() <= FILES_MAX);
        }
        assert_eq!(table.bytes_sent(&identity(0, 8), now), 1000);
    }
}
