//! What every test over the wire needs: a server, a client, a document root.
//!
//! Invariant: a wait here has a bound, and the bound is only ever there to end a hang: no test
//! passes or fails by how fast the machine is.

pub(crate) mod client;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod slow;
pub(crate) mod streams;
pub(crate) mod successor;
pub(crate) mod systemd;
pub(crate) mod throttle;
pub(crate) mod tls;

pub(crate) use client::{Client, Fault, Method, Response};
pub(crate) use http2::{Asks, Version};
pub(crate) use server::Server;
pub(crate) use site::Site;

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a hang. Two slow cores are shared by all
/// tests, so this is far above what is usual.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; `what` names it when it never does.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(HANG, condition), "this never came: {what}");
}

/// Whether `condition` comes to hold within `bound`.
pub(crate) fn holds_within(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the tests run as root: then they can give rights up, and permission checks bind only
/// a server that runs as somebody else.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A user without any rights: `nobody` on every distribution.
pub(crate) const NOBODY: u32 = 65_534;

/// Says on standard error that a part of a test cannot be done on this machine.
pub(crate) fn skipped(what: &str, why: &str) {
    eprintln!("skipped: {what}: {why}");
}

/// Random numbers that are the same in every run (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Random {
        // Zero would stay zero for ever.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number % bound as u64).expect("it is below a usize")
    }

    /// Any byte.
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("it is below 256")
    }

    /// One of `choices`.
    pub(crate) fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
