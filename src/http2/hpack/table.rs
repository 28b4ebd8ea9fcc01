//! The dynamic table of one direction (RFC 7541 §2.3.2, §4): field lines that came lately, the oldest evicted first.
//!
//! Names and values stand one behind the other in one buffer of at most twice the table's size; what is alive moves to
//! its start when the end is reached, so that a byte moves once in the mean and an entry costs no allocation.
//!
//! Invariant: `size_bytes <= bytes_max`, which is the sum of what RFC 7541 §4.1 counts for each entry.

use super::ENTRY_OVERHEAD_BYTES;
use std::collections::VecDeque;

/// Field lines with an index of their own.
#[derive(Debug, Default)]
pub struct Table {
    bytes: Vec<u8>,
    /// The youngest at the front.
    entries: VecDeque<Entry>,
    size_bytes: usize,
    bytes_max: usize,
    inserted: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    name_bytes: u32,
    value_bytes: u32,
}

impl Entry {
    fn size_bytes(self) -> usize {
        (self.name_bytes + self.value_bytes) as usize + ENTRY_OVERHEAD_BYTES
    }
}

/// The name of an entry that is inserted.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// As it stands here.
    Text(&'a [u8]),
    /// That of an entry of the table, counted from 0.
    OfEntry(usize),
}

impl Table {
    /// An empty table.
    pub fn new(bytes_max: usize) -> Table {
        assert!(bytes_max <= u32::MAX as usize / 4, "offsets are kept in 32 bits");
        Table { bytes_max, ..Table::default() }
    }

    /// Name and value of an entry, counted from 0, the youngest; None if there are not so many.
    #[inline]
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(index)?;
        let start = entry.start as usize;
        let middle = start + entry.name_bytes as usize;
        Some((&self.bytes[start..middle], &self.bytes[middle..middle + entry.value_bytes as usize]))
    }

    /// How many entries were ever inserted, modulo what 32 bits hold: the number of the next one.
    pub fn inserted(&self) -> u32 {
        self.inserted
    }

    /// What the entries count (RFC 7541 §4.1).
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// What they may count.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Sets what the entries may count, and evicts what is too much.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.evict(0);
    }

    /// Makes room and inserts an entry; one that is larger than the table only empties it (RFC 7541 §4.4).
    /// The entry whose name is asked for must be there.
    pub fn insert(&mut self, name: Name<'_>, value: &[u8]) {
        let name_bytes = match name {
            Name::Text(name) => name.len(),
            Name::OfEntry(index) => self.entries[index].name_bytes as usize,
        };
        let size_bytes = name_bytes + value.len() + ENTRY_OVERHEAD_BYTES;
        if size_bytes > self.bytes_max {
            self.entries.clear();
            self.bytes.clear();
            self.size_bytes = 0;
            return;
        }
        if self.bytes.len() + name_bytes + value.len() > 2 * self.bytes_max {
            self.compact();
        }
        let start = self.bytes.len() as u32;
        match name {
            Name::Text(name) => self.bytes.extend_from_slice(name),
            // RFC 7541 §4.4: the entry may be evicted by the new one, so its name is copied first.
            Name::OfEntry(index) => {
                let start = self.entries[index].start as usize;
                self.bytes.extend_from_within(start..start + name_bytes);
            }
        }
        self.bytes.extend_from_slice(value);
        self.evict(size_bytes);
        self.entries.push_front(Entry { start, name_bytes: name_bytes as u32, value_bytes: value.len() as u32 });
        self.size_bytes += size_bytes;
        self.inserted = self.inserted.wrapping_add(1);
        debug_assert!(self.size_bytes <= self.bytes_max);
    }

    /// Evicts the oldest until there is room for `room_bytes`.
    fn evict(&mut self, room_bytes: usize) {
        while self.size_bytes + room_bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size_bytes -= oldest.size_bytes();
        }
    }

    /// Moves what is alive to the start of the buffer.
    fn compact(&mut self) {
        let live = self.entries.back().map_or(self.bytes.len(), |oldest| oldest.start as usize);
        self.bytes.drain(..live);
        for entry in &mut self.entries {
            entry.start -= live as u32;
        }
    }
}
