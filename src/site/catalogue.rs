//! What one core remembers of the files of all its sites.
//!
//! A file's entry says which codings of it there are; the content of each coding is an entry of its own, so that the
//! cache may keep the one that is asked for and drop the others.
//!
//! Invariant: an entry is used only while its file is the one that was read: looked at in this tick, or with the
//! identity that was found in this tick.

use super::keep::{Keeping, WHOLE_BYTES_MAX};
use super::missing::Missing;
use super::{Body, Located, Representation};
use crate::counters;
use crate::http::coding::{Coding, Codings};
use crate::http::target::SitePath;
use crate::observe::throttle::Throttle;
use crate::storage::cache::{Budget, Cache, Equivalent, Weight};
use crate::storage::file::Identity;
use crate::storage::flight::Flights;
use crate::storage::pool::Lane;
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What one core remembers.
pub struct Catalogue {
    entries: RefCell<Cache<Key, Rc<Known>>>,
    /// What it may hold, and what it holds at most at the moment, in bytes.
    bytes_max: u64,
    bytes_max_now: Cell<u64>,
    /// The largest content that is kept.
    pub(super) content_bytes_max: u64,
    pub(super) loading: Flights<Key, Result<Located, Errno>>,
    pub(super) missing: Missing,
    /// Bytes of content that are being read at the moment.
    pub(super) loading_bytes: Cell<u64>,
    /// The most that these may be.
    pub(super) loading_bytes_max: u64,
    /// Large content that is read in the background.
    pub(super) keeping: Keeping,
    /// For compression.
    pub(super) compressing: Lane,
    /// For checking passwords, which is slow on purpose.
    pub(super) checking: Lane,
    /// For messages that a request can cause.
    pub throttle: Throttle,
}

/// Names an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    site: u16,
    coding: Coding,
    path: Box<[u8]>,
}

/// The same as a [`Key`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyOf<'a> {
    pub(super) site: u16,
    pub(super) coding: Coding,
    pub(super) path: &'a [u8],
}

impl KeyOf<'_> {
    pub(super) fn to_key(self) -> Key {
        Key { site: self.site, coding: self.coding, path: Box::from(self.path) }
    }
}

impl Key {
    pub(super) fn coding(&self) -> Coding {
        self.coding
    }

    pub(super) fn as_key_of(&self) -> KeyOf<'_> {
        KeyOf { site: self.site, coding: self.coding, path: &self.path }
    }
}

impl<'a> KeyOf<'a> {
    pub(super) fn new(site: u16, path: &'a SitePath<'_>, coding: Coding) -> KeyOf<'a> {
        KeyOf { site, coding, path: path.as_bytes() }
    }
}

impl Equivalent<Key> for KeyOf<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.as_key_of()
    }
}

/// What is known of a file, or of one coding of it.
#[derive(Debug)]
pub(super) struct Known {
    /// Its content; a file that was only ever asked for in another coding has none here.
    pub(super) representation: Option<Rc<Representation>>,
    /// The path of a directory's index file, where that is judged by itself: the content is remembered for that path.
    pub(super) index: Option<SitePath<'static>>,
    /// The file that the content is from.
    pub(super) identity: Identity,
    /// The tick in which the file was last looked at.
    pub(super) checked_tick: Cell<u64>,
    /// The file was written so shortly before it was read that a second write might bear the
    /// same times: its identity proves nothing.
    pub(super) unsettled: bool,
    /// Codings that lie beside the file.
    pub(super) siblings: Codings,
    /// Codings that can be made of the file; those that turned out not to be worth it are taken out.
    pub(super) compressible: Cell<Codings>,
}

/// Of a core's budget, one part in this many, or one file, may be in the making for clients that wait; what goes beyond is
/// sent from the disk as it is read. One more file may be read in the background.
const LOADING_PART: u64 = 4;

/// While memory is short, one part in this many of what is held goes each second.
const GIVEN_BACK_PART: u64 = 4;

/// Afterwards, one part in this many of the whole may be held again each second.
const REGROWN_PART: u64 = 32;

impl Catalogue {
    /// An empty one.
    pub fn new(budget: Budget) -> Catalogue {
        // What no cache takes would be read in vain.
        let content_bytes_max = budget.admitted_bytes_max();
        Catalogue {
            entries: RefCell::new(Cache::new(budget)),
            bytes_max: budget.bytes_max,
            bytes_max_now: Cell::new(budget.bytes_max),
            content_bytes_max,
            loading: Flights::default(),
            missing: Missing::default(),
            loading_bytes: Cell::new(0),
            loading_bytes_max: (budget.bytes_max / LOADING_PART).max(content_bytes_max.min(WHOLE_BYTES_MAX)),
            keeping: Keeping::default(),
            compressing: Lane::default(),
            checking: Lane::default(),
            throttle: Throttle::default(),
        }
    }

    pub(super) fn get(&self, key: KeyOf<'_>) -> Option<Rc<Known>> {
        self.entries.borrow().get(&key).cloned()
    }

    /// Remembers content that is in memory. An open file is not kept: its descriptor would hold the
    /// disk space of a file that was deleted, for as long as nobody asks for it.
    pub(super) fn remember(&self, key: KeyOf<'_>, mut known: Known) {
        known.representation = known.representation.filter(|one| !matches!(one.body, Body::File(_)));
        let mut entries = self.entries.borrow_mut();
        if known.representation.is_none() && known.siblings.is_empty() && known.index.is_none() {
            entries.remove(&key);
        } else {
            entries.insert(key.to_key(), Rc::new(known));
        }
    }

    pub(super) fn forget(&self, key: KeyOf<'_>) {
        self.entries.borrow_mut().remove(&key);
    }

    /// Gives a part of what it holds back, for memory is short; called about once a second while it is.
    pub fn give_back(&self) {
        let held = self.entries.borrow().bytes();
        self.set_bytes_max_now(held.min(self.bytes_max_now.get()) / GIVEN_BACK_PART * (GIVEN_BACK_PART - 1));
    }

    /// May hold more again, up to what it was made for; called about once a second.
    pub fn regrow(&self) {
        let now = self.bytes_max_now.get();
        if now < self.bytes_max {
            self.set_bytes_max_now(self.bytes_max.min(now.saturating_add(self.bytes_max / REGROWN_PART + 1)));
        }
    }

    fn set_bytes_max_now(&self, bytes_max: u64) {
        self.bytes_max_now.set(bytes_max);
        self.entries.borrow_mut().set_bytes_max(bytes_max);
    }

    /// Looks after what time changes; called about once a second.
    pub fn tick(&self) {
        self.keeping.tick();
        let (counters, entries) = (counters::here(), self.entries.borrow());
        counters.cache_entries.set(entries.len() as u64);
        counters.cache_bytes.set(entries.bytes());
        counters.cache_bytes_max.set(self.bytes_max);
        drop(entries);
        let suppressed = self.throttle.tick();
        if suppressed > 0 {
            tracing::warn!("{suppressed} more messages of that sort within a second");
        }
    }
}

impl Weight for Key {
    fn bytes(&self) -> u64 {
        self.path.len() as u64
    }
}

impl Weight for Rc<Known> {
    fn bytes(&self) -> u64 {
        self.representation.as_ref().map_or(0, |one| match &one.body {
            Body::Shared(content) => content.memory_bytes(),
            Body::Held(_) | Body::File(_) => one.metadata.complete_length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    /// A cache finds nothing when the two hash differently.
    #[test]
    fn a_borrowed_key_is_the_key() {
        let borrowed = KeyOf { site: 3, coding: Coding::Gzip, path: b"/a/b" };
        let state = RandomState::new();
        assert_eq!(state.hash_one(borrowed), state.hash_one(borrowed.to_key()));
        assert!(borrowed.equivalent(&borrowed.to_key()));
        assert!(!KeyOf { site: 4, ..borrowed }.equivalent(&borrowed.to_key()));
    }
}
