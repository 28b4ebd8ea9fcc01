//! A bounded map to whatever the layer above remembers.
//!
//! Each core has its own, so it needs no lock. Which entries stay is the library's business
//! (S3-FIFO: one pass over many cold files does not push the hot ones out); that the bytes stay
//! within the budget is ours to state.
//!
//! Invariant: the weights of all entries sum to at most the budget.

use crate::counters;
pub use quick_cache::Equivalent;
use quick_cache::unsync::Cache as QuickCache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use std::hash::Hash;

/// How much a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of content and bookkeeping together.
    pub bytes_max: u64,
    /// The largest content that is kept.
    pub content_bytes_max: u64,
}

/// What a key or a value weighs, in bytes of memory.
pub trait Weight {
    /// Bytes that it keeps alive, apart from the entry itself.
    fn bytes(&self) -> u64;
}

/// An entry costs this much beside what key and value keep alive: hash table, list links.
const ENTRY_BYTES: u64 = 256;

/// An average entry, to size the hash table: a small file.
const ENTRY_BYTES_TYPICAL: u64 = 16 * 1024;

/// Of the budget, the part for what was asked for again. The rest is for newcomers: one that is larger than that rest
/// would push out what was asked for again, so it must be more than the largest content's usual part of a cache.
const HOT_PART: f64 = 0.7;

impl Budget {
    /// The largest content that is kept: none is taken that is more than two thirds of the whole, for it would leave no room for
    /// what else is asked for.
    pub fn admitted_bytes_max(&self) -> u64 {
        self.content_bytes_max.min(self.bytes_max / 3 * 2)
    }
}

/// A bounded map from `K` to `V`. Any `Q` that is equivalent to a key finds it, so that none need be
/// made for looking.
pub struct Cache<K, V> {
    entries: QuickCache<K, V, ByBytes, DefaultHashBuilder, CountEvictions>,
}

#[derive(Clone)]
struct ByBytes;

impl<K: Weight, V: Weight> Weighter<K, V> for ByBytes {
    fn weight(&self, key: &K, value: &V) -> u64 {
        ENTRY_BYTES + key.bytes() + value.bytes()
    }
}

/// Counts what is put out for others.
#[derive(Clone)]
struct CountEvictions;

impl<K, V> Lifecycle<K, V> for CountEvictions {
    type RequestState = ();

    fn begin_request(&self) {}

    fn on_evict(&self, (): &mut (), _key: K, _value: V) {
        counters::here().cache_evictions.add(1);
    }
}

impl<K: Eq + Hash + Weight, V: Weight> Cache<K, V> {
    /// An empty cache.
    pub fn new(budget: Budget) -> Cache<K, V> {
        let entries = usize::try_from(budget.bytes_max / ENTRY_BYTES_TYPICAL).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(budget.bytes_max)
            .hot_allocation(HOT_PART)
            .build()
            .expect("both sizes are given");
        Cache { entries: QuickCache::with_options(options, ByBytes, DefaultHashBuilder::default(), CountEvictions) }
    }

    /// What is remembered for `key`.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.entries.get(key)
    }

    /// Remembers `value` for `key`, in place of what was there.
    pub fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    /// Forgets `key`.
    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) {
        self.entries.remove(key);
    }

    /// Holds no more than this from here on, and lets go of what is above it.
    pub fn set_bytes_max(&mut self, bytes_max: u64) {
        self.entries.set_capacity(bytes_max);
    }

    /// Entries held now.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sized(u64);

    impl Weight for &[u8] {
        fn bytes(&self) -> u64 {
            self.len() as u64
        }
    }

    impl Weight for u32 {
        fn bytes(&self) -> u64 {
            4
        }
    }

    impl Weight for Sized {
        fn bytes(&self) -> u64 {
            self.0
        }
    }

    const BUDGET: Budget = Budget { bytes_max: 100_000, content_bytes_max: 10_000 };

    #[test]
    fn the_budget_holds_whatever_is_put_in() {
        let mut cache = Cache::new(BUDGET);
        for number in 0..10_000u32 {
            cache.insert(number, Sized(u64::from(number % 10_000)));
            assert!(cache.bytes() <= BUDGET.bytes_max);
        }
        assert!(cache.bytes() > BUDGET.bytes_max / 2, "a budget is there to be used");
    }

    /// A crawler that asks for everything once must not cost the hot files their place.
    #[test]
    fn one_pass_over_cold_files_leaves_the_hot_one() {
        let mut cache = Cache::new(BUDGET);
        cache.insert(u32::MAX, Sized(5_000));
        for number in 0..10_000u32 {
            assert!(cache.get(&u32::MAX).is_some(), "evicted by file {number}");
            cache.insert(number, Sized(5_000));
        }
    }

    /// Of what is refused, nothing else is put out; what comes in costs the others as much as it takes, and no more.
    #[test]
    fn a_large_value_takes_its_own_place_only() {
        for (part, taken, left) in [(12, false, 90), (10, true, 20), (4, true, 65)] {
            let mut cache = Cache::new(BUDGET);
            for _ in 0..3 {
                for number in 0..90 {
                    if cache.get(&number).is_none() {
                        cache.insert(number, Sized(740));
                    }
                }
            }
            cache.insert(u32::MAX, Sized(BUDGET.bytes_max * part / 16));
            assert_eq!(cache.get(&u32::MAX).is_some(), taken, "{part} of 16 parts");
            let others = (0..90).filter(|number| cache.get(number).is_some()).count();
            assert!(others >= left, "{others} left beside {part} of 16 parts");
        }
    }

    #[test]
    fn a_budget_that_shrinks_lets_go_at_once() {
        let mut cache = Cache::new(BUDGET);
        for bytes_max in [BUDGET.bytes_max, 10_000, 0, BUDGET.bytes_max] {
            cache.set_bytes_max(bytes_max);
            assert!(cache.bytes() <= bytes_max, "{} of {bytes_max}", cache.bytes());
            (0..1000).for_each(|number: u32| cache.insert(number, Sized(740)));
            assert!(cache.bytes() <= bytes_max, "{} of {bytes_max}", cache.bytes());
        }
        assert!(cache.bytes() > BUDGET.bytes_max / 2, "and grows again");
    }

    #[test]
    fn the_newest_value_counts() {
        let mut cache = Cache::new(BUDGET);
        cache.insert(&b"/a"[..], Sized(1));
        cache.insert(&b"/a"[..], Sized(2));
        assert_eq!(cache.get(&b"/a"[..]).map(Weight::bytes), Some(2));
        cache.remove(&b"/a"[..]);
        assert!(cache.get(&b"/a"[..]).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
