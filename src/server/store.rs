//! Listening sockets in systemd's descriptor store (sd_pid_notify_with_fds(3)), from which the next process of the service gets
//! them, with the clients that wait in their queues.
//!
//! Order: [`Store::sync`] after a start and after each reload · [`Store::keeps`] when the server stops.
//!
//! Invariant: what the store keeps is never shut down, for then it would listen no more there either. A word to systemd never
//! fails the server.

use super::inherit::{Held, Origin, PROBE_NAME, Stored};
use super::pass;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

/// What systemd's store has of us.
#[derive(Default)]
pub(super) struct Store {
    stored: BTreeSet<String>,
    /// What it has and should not, by names that others are to have.
    useless: Vec<String>,
    /// Its other end was given to the store behind all others. A unit without a store, or with one that is full, closes what it
    /// is given, and says nothing; but then this end learns of it.
    probe: Option<UnixStream>,
}

impl Store {
    /// One that has these already.
    pub(super) fn holding(Stored { good, useless }: Stored) -> Store {
        Store { stored: good.into_iter().collect(), useless, probe: None }
    }

    /// Stores what is ours and not stored yet, and removes what is not there any more.
    pub(super) fn sync<'a>(&mut self, held: impl Iterator<Item = &'a Held>) {
        let Some(manager) = manager() else { return };
        let own: Vec<&Held> = held.filter(|held| held.origin == Origin::Own).collect();
        let is_own = |name: &String| own.iter().any(|held| held.name == *name);
        let gone: Vec<String> = self.stored.iter().filter(|name| !is_own(name)).cloned().collect();
        for name in gone.into_iter().chain(self.useless.drain(..)) {
            tell(&manager, &format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]);
            tracing::debug!("{name} is taken out of the descriptor store");
            self.stored.remove(&name);
        }
        let mut is_changed = self.probe.is_none();
        for held in own {
            if !self.stored.contains(&held.name) && put(&manager, &held.name, held.socket.as_fd()) {
                self.stored.insert(held.name.clone());
                is_changed = true;
            }
        }
        if is_changed {
            self.probe =
                UnixStream::pair().ok().and_then(|(near, far)| put(&manager, PROBE_NAME, far.as_fd()).then_some(near));
        }
    }

    /// Whether all of these go on listening when this process has ended.
    pub(super) fn keeps<'a>(&self, mut held: impl Iterator<Item = &'a Held>) -> bool {
        let is_working = self.probe.as_ref().is_some_and(is_open);
        held.all(|held| held.origin == Origin::Unit || (is_working && self.stored.contains(&held.name)))
    }

    /// Whether one of this name was stored.
    pub(super) fn has(&self, name: &str) -> bool {
        self.stored.contains(name)
    }
}

/// Whether somebody has the other end.
fn is_open(probe: &UnixStream) -> bool {
    let mut wait = [PollFd::new(probe, PollFlags::IN)];
    poll(&mut wait, Some(&Timespec::default())) == Ok(0)
}

fn put(manager: &OwnedFd, name: &str, descriptor: BorrowedFd<'_>) -> bool {
    let is_told = tell(manager, &format!("FDSTORE=1\nFDNAME={name}\n"), &[descriptor]);
    if is_told {
        tracing::debug!("{name} is given to the descriptor store");
    }
    is_told
}

fn tell(manager: &OwnedFd, message: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
    pass::send(manager, message.as_bytes(), descriptors)
        .inspect_err(|error| tracing::debug!("the descriptor store is not told: {error}"))
        .is_ok()
}

/// Whom to tell, where systemd started us.
fn manager() -> Option<OwnedFd> {
    let path = std::env::var_os("NOTIFY_SOCKET")?;
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
        path => SocketAddrUnix::new(path),
    };
    let open = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &address?)?;
        Ok(socket)
    };
    open().inspect_err(|errno| tracing::debug!("the descriptor store is not reached: {errno}")).ok()
}
