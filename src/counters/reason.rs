//! The words that counts are told apart by: how a connection ended, what it is about, why one was refused.
//!
//! Invariant: the position of a word in its `ALL` is its number, so that a count is found without looking for it.

use crate::http::method::Method;

/// The methods that are told apart.
pub const METHODS: [(Method, &str); 4] =
    [(Method::Get, "GET"), (Method::Head, "HEAD"), (Method::Options, "OPTIONS"), (Method::Other, "other")];

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words in `ALL` say it")]
pub enum Closed {
    Finished,
    ByPeer,
    MidHead,
    FreshTimeout,
    HeadTimeout,
    IdleTimeout,
    SendTimeout,
    DiskTimeout,
    LingerTimeout,
    Draining,
    Aborted,
    CutShort,
    Distrusted,
    SocketError,
    Shed,
    TooSlow,
    Refused,
    Panicked,
    Protocol,
}

impl Closed {
    /// All of them, with their words.
    pub const ALL: [(Closed, &'static str); 19] = [
        (Closed::Finished, "finished"),
        (Closed::ByPeer, "by_peer"),
        (Closed::MidHead, "mid_head"),
        (Closed::FreshTimeout, "fresh_timeout"),
        (Closed::HeadTimeout, "head_timeout"),
        (Closed::IdleTimeout, "idle_timeout"),
        (Closed::SendTimeout, "send_timeout"),
        (Closed::DiskTimeout, "disk_timeout"),
        (Closed::LingerTimeout, "linger_timeout"),
        (Closed::Draining, "draining"),
        (Closed::Aborted, "aborted"),
        (Closed::CutShort, "cut_short"),
        (Closed::Distrusted, "distrusted"),
        (Closed::SocketError, "socket_error"),
        (Closed::Shed, "shed"),
        (Closed::TooSlow, "too_slow"),
        (Closed::Refused, "refused"),
        (Closed::Panicked, "panicked"),
        (Closed::Protocol, "http2_error"),
    ];
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing came yet.
    Fresh,
    /// The rest of a request head is to come.
    Head,
    /// The next request is to come.
    Idle,
    /// The peer is to take bytes.
    Send,
    /// The disk is waited for, or work is done.
    Disk,
    /// The peer is to stop sending.
    Linger,
}

impl State {
    /// All of them, with their words.
    pub const ALL: [(State, &'static str); 6] = [
        (State::Fresh, "fresh"),
        (State::Head, "reading_head"),
        (State::Idle, "idle"),
        (State::Send, "sending"),
        (State::Disk, "disk"),
        (State::Linger, "linger"),
    ];
}

/// Why a newcomer was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many connections as there may be.
    Total,
    /// Its client has as many as one may have.
    PerClient,
    /// There is no descriptor for it.
    Descriptors,
    /// There is no memory for it.
    Memory,
}

impl Refused {
    /// All of them, with their words.
    pub const ALL: [(Refused, &'static str); 4] = [
        (Refused::Total, "total"),
        (Refused::PerClient, "per_client"),
        (Refused::Descriptors, "descriptors"),
        (Refused::Memory, "memory"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_where_its_number_says() {
        assert!(METHODS.iter().enumerate().all(|(number, (method, _))| *method as usize == number));
        assert!(Closed::ALL.iter().enumerate().all(|(number, (closed, _))| *closed as usize == number));
        assert!(State::ALL.iter().enumerate().all(|(number, (state, _))| *state as usize == number));
        assert!(Refused::ALL.iter().enumerate().all(|(number, (refused, _))| *refused as usize == number));
    }
}
