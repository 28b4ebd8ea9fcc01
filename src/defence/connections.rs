//! Counts the connections of the whole process, all of them and those of each client.
//!
//! Invariant: whatever was counted is taken back exactly once; a client without a connection is in no table.

use super::client::Client;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

static ALL: AtomicU32 = AtomicU32::new(0);

/// Counts one more connection.
pub fn enter() {
    ALL.fetch_add(1, Ordering::Relaxed);
}

/// Takes one back.
pub fn leave() {
    ALL.fetch_sub(1, Ordering::Relaxed);
}

/// Connections that are counted now.
pub fn count() -> u32 {
    ALL.load(Ordering::Relaxed)
}

/// Counts one more connection of a client, unless it has `limit` of them.
pub fn enter_client(client: Client, limit: u32) -> bool {
    OF_CLIENTS.enter(client, limit)
}

/// Takes one back.
pub fn leave_client(client: Client) {
    OF_CLIENTS.leave(client);
}

static OF_CLIENTS: LazyLock<Table> = LazyLock::new(Table::new);

/// Parts of the table, each with a lock of its own, so that cores seldom meet. It is never larger than there are connections.
const PARTS: usize = 64;

struct Table {
    hasher: RandomState,
    parts: [Mutex<HashMap<Client, u32>>; PARTS],
}

impl Table {
    fn new() -> Table {
        Table { hasher: RandomState::new(), parts: std::array::from_fn(|_| Mutex::default()) }
    }

    fn enter(&self, client: Client, limit: u32) -> bool {
        let mut part = self.part(client);
        let count = part.entry(client).or_insert(0);
        // What is refused was there before: the limit is at least one.
        let is_admitted = *count < limit;
        *count += u32::from(is_admitted);
        is_admitted
    }

    fn leave(&self, client: Client) {
        let mut part = self.part(client);
        if let Entry::Occupied(mut entry) = part.entry(client) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        if part.is_empty() && part.capacity() > KEPT_ENTRIES_MAX {
            // What a crowd took is given back with the last of it.
            part.shrink_to(KEPT_ENTRIES_MAX);
        }
    }

    fn part(&self, client: Client) -> MutexGuard<'_, HashMap<Client, u32>> {
        let part = usize::try_from(self.hasher.hash_one(client) % PARTS as u64).expect("there are few parts");
        // Nothing in here panics halfway.
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that a part keeps while it has nothing in it.
const KEPT_ENTRIES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(number: u32) -> Client {
        Client::of(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn a_client_has_so_many_and_no_more() {
        let table = Table::new();
        let (one, other) = (client(1), client(2));
        assert!(table.enter(one, 2) && table.enter(one, 2) && !table.enter(one, 2));
        assert!(table.enter(other, 2), "another one is not meant");
        table.leave(one);
        assert!(table.enter(one, 2) && !table.enter(one, 2));
        for left in [one, one, other] {
            table.leave(left);
        }
        assert!(table.parts.iter().all(|part| part.lock().expect("nobody panicked").is_empty()), "nothing is left");
    }

    #[test]
    fn threads_count_together() {
        let table = Table::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let client = client(round % 7);
                        if table.enter(client, 2) {
                            table.leave(client);
                        }
                    }
                });
            }
        });
        assert!(table.parts.iter().all(|part| part.lock().expect("nobody panicked").is_empty()));
    }
}
