//! Counts who was turned away, cut or let go, by reason, for whoever tells of it.
//!
//! Invariant: nothing is counted here of a request that was answered as it asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There were as many connections as there may be: 503.
    Connections,
    /// The client had as many connections as it may have: 429.
    ConnectionsOfClient,
    /// The client asked for more than its rate: 429.
    Requests,
    /// File descriptors had run out: 503.
    Descriptors,
    /// The limit of memory was near: 503.
    Memory,
    /// An idle connection made room for another.
    Shed,
    /// A request head came too slowly: 408.
    SlowHead,
    /// A peer took too little of an answer, or nothing, and was cut.
    SlowPeer,
}

impl Reason {
    /// All of them, with a name for each.
    pub const ALL: [(Reason, &str); 8] = [
        (Reason::Connections, "connections"),
        (Reason::ConnectionsOfClient, "connections_of_client"),
        (Reason::Requests, "requests"),
        (Reason::Descriptors, "descriptors"),
        (Reason::Memory, "memory"),
        (Reason::Shed, "shed"),
        (Reason::SlowHead, "slow_head"),
        (Reason::SlowPeer, "slow_peer"),
    ];
}

static COUNTS: [AtomicU64; Reason::ALL.len()] = [const { AtomicU64::new(0) }; Reason::ALL.len()];

/// Counts one.
pub fn count(reason: Reason) {
    COUNTS[reason as usize].fetch_add(1, Ordering::Relaxed);
}

/// How many were counted in the process.
pub fn counted(reason: Reason) -> u64 {
    COUNTS[reason as usize].load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart() {
        for (place, (reason, _)) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
        let before = counted(Reason::Requests);
        count(Reason::Requests);
        assert!(counted(Reason::Requests) > before);
    }
}
