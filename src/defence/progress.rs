//! Tells a peer that takes little from one that takes nothing, and from one that has taken all there was. Pure.
//!
//! Progress is what the peer has acknowledged: what the socket took less what still lies in it. A socket with a large buffer takes
//! nothing for minutes from a sender although its peer reads steadily, and a peer that reads a byte a second may keep a socket that does take.
//!
//! Invariant: nobody is cut whose socket is empty: then it is the server that is slow.

/// What there is to know of one connection's sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Bytes that the socket has taken in all.
    pub taken_bytes: u64,
    /// Bytes that lie in it, as far as the peer has not acknowledged them.
    pub queued_bytes: u64,
}

/// Where a connection was when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Bytes that the peer had acknowledged.
    pub acknowledged_bytes: u64,
    /// Seconds that were spent waiting for it since.
    pub waited_seconds: u32,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes nothing.
    Stuck,
    /// It takes some, and may go on.
    Moves,
    /// It takes less than it must.
    TooSlow,
}

/// The longest window in which a rate is averaged, in seconds: receivers acknowledge in lumps of some KiB.
const WINDOW_SECONDS_MAX: u32 = 30;

/// Seconds in which a rate is averaged: well within the time after which a peer that takes nothing is cut.
pub fn window_seconds(send_seconds: u32) -> u32 {
    (send_seconds / 2).clamp(1, WINDOW_SECONDS_MAX)
}

impl Sending {
    /// Bytes that the peer has acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.taken_bytes.saturating_sub(self.queued_bytes)
    }

    /// What to think of a peer that was at `mark`, and must take so many bytes a second.
    pub fn judge(&self, mark: &Mark, bytes_per_second_min: u64) -> Verdict {
        let taken = self.acknowledged_bytes().saturating_sub(mark.acknowledged_bytes);
        if self.queued_bytes == 0 {
            return Verdict::Moves;
        }
        if taken == 0 {
            return Verdict::Stuck;
        }
        let least = bytes_per_second_min.saturating_mul(mark.waited_seconds.into());
        if taken < least { Verdict::TooSlow } else { Verdict::Moves }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_apart() {
        for (what, taken_bytes, queued_bytes, least, expected) in [
            ("nothing since the last look", 5_000, 4_000, 250, Verdict::Stuck),
            ("nothing, and no least rate", 5_000, 4_000, 0, Verdict::Stuck),
            ("a byte", 5_000, 3_999, 250, Verdict::TooSlow),
            ("a byte, and no least rate", 5_000, 3_999, 0, Verdict::Moves),
            ("just too little", 5_000, 1_501, 250, Verdict::TooSlow),
            ("just enough", 5_000, 1_500, 250, Verdict::Moves),
            ("all that there was: a server that is slow", 1_000, 0, 250, Verdict::Moves),
            ("what a Unix socket counts is more than its bytes", 5_000, 9_000, 250, Verdict::Stuck),
        ] {
            let mark = Mark { acknowledged_bytes: 1_000, waited_seconds: 10 };
            assert_eq!(Sending { taken_bytes, queued_bytes }.judge(&mark, least), expected, "{what}");
        }
    }

    #[test]
    fn a_window_ends_before_the_time_does() {
        for (send_seconds, window) in [(1, 1), (2, 1), (5, 2), (60, 30), (86_400, 30)] {
            assert_eq!(window_seconds(send_seconds), window);
        }
    }
}
