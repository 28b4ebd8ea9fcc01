//! What a connection waits for, which decides how long it may.
//!
//! Invariant: each phase is counted as one state of those that metrics know.

use crate::counters::State;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first byte on a new connection.
    Fresh,
    /// The rest of a TLS handshake.
    Handshake,
    /// The rest of a request head.
    Head,
    /// The next request.
    Idle,
    /// The peer to take bytes.
    Send,
    /// The peer to open a window: HTTP/2 looks after each stream that waits for one.
    Window,
    /// The time at which more may be sent.
    Paced,
    /// The disk.
    Disk,
    /// The peer to stop sending.
    Linger,
}

impl Phase {
    /// What it is counted as.
    pub(super) fn state(self) -> State {
        match self {
            Phase::Fresh => State::Fresh,
            Phase::Handshake => State::Handshake,
            Phase::Head => State::Head,
            Phase::Idle => State::Idle,
            Phase::Send | Phase::Window | Phase::Paced => State::Send,
            Phase::Disk => State::Disk,
            Phase::Linger => State::Linger,
        }
    }
}
