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
    Handshake,
    HandshakeTimeout,
}

impl Closed {
    /// All of them, with their words.
    pub const ALL: [(Closed, &'static str); 21] = [
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
        (Closed::Handshake, "handshake"),
        (Closed::HandshakeTimeout, "handshake_timeout"),
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
    /// A TLS handshake is under way.
    Handshake,
}

impl State {
    /// All of them, with their words.
    pub const ALL: [(State, &'static str); 7] = [
        (State::Fresh, "fresh"),
        (State::Head, "reading_head"),
        (State::Idle, "idle"),
        (State::Send, "sending"),
        (State::Disk, "disk"),
        (State::Linger, "linger"),
        (State::Handshake, "handshake"),
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

/// A TLS handshake that was finished: the version, and whether an earlier session was taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words in `ALL` say it")]
pub enum HandshakeKind {
    Full13,
    Resumed13,
    Full12,
    Resumed12,
}

impl HandshakeKind {
    /// All of them, with the words for version and kind.
    pub const ALL: [(HandshakeKind, [&'static str; 2]); 4] = [
        (HandshakeKind::Full13, ["1.3", "full"]),
        (HandshakeKind::Resumed13, ["1.3", "resumed"]),
        (HandshakeKind::Full12, ["1.2", "full"]),
        (HandshakeKind::Resumed12, ["1.2", "resumed"]),
    ];
}

/// Why a TLS handshake was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It took too long.
    TimedOut,
    /// The client showed no certificate that is good, and needs one.
    NoCertificate,
    /// What came is not TLS, or nothing that both sides speak.
    Protocol,
    /// A request came without TLS.
    PlainHttp,
    /// The client begins too many.
    Limited,
    /// The client went away, or rejects what it was shown.
    ByPeer,
}

impl HandshakeFailure {
    /// All of them, with their words.
    pub const ALL: [(HandshakeFailure, &'static str); 6] = [
        (HandshakeFailure::TimedOut, "timeout"),
        (HandshakeFailure::NoCertificate, "no_certificate"),
        (HandshakeFailure::Protocol, "protocol"),
        (HandshakeFailure::PlainHttp, "plain_http"),
        (HandshakeFailure::Limited, "limited"),
        (HandshakeFailure::ByPeer, "by_peer"),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        HandshakeFailure::ALL[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_where_its_number_says() {
        assert!(METHODS.iter().enumerate().all(|(number, (method, _))| *method as usize == number));
        assert!(Closed::ALL.iter().enumerate().all(|(number, (closed, _))| *closed as usize == number));
        assert!(State::ALL.iter().enumerate().all(|(number, (state, _))| *state as usize == number));
        assert!(HandshakeKind::ALL.iter().enumerate().all(|(number, (kind, _))| *kind as usize == number));
        assert!(HandshakeFailure::ALL.iter().enumerate().all(|(number, (failure, _))| *failure as usize == number));
        assert!(Refused::ALL.iter().enumerate().all(|(number, (refused, _))| *refused as usize == number));
    }
}
