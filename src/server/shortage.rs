//! What a worker does when descriptors or memory run out, in this order: idle connections end, those that are idle for longest first ·
//! newcomers are told to come again · what is in flight goes on.
//!
//! A worker keeps some descriptors in reserve. When accept(2) fails for want of one, and no idle connection can make room, one of them is
//! given up so that the newcomer can be answered, and taken again behind it.
//!
//! Invariant: whatever is short, the log tells of an episode once, and when it is over; the failure of one connection is none.

use super::worker::spawn;
use crate::connection::{self, Door, roster::Roster};
use crate::counters;
use crate::defence::memory::{self, Level};
use crate::defence::{episode, heap};
use crate::shard::Shard;
use crate::socket::Listener;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Descriptors that a worker keeps in reserve: so many clients are answered at the same time for whom there is none.
pub(super) const RESERVED_MAX: usize = 8;

/// How long an accept loop rests that can do nothing: trying on would burn the CPU that could free a descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// Idle connections that end at once for want of descriptors: the newcomers' files need some too.
const SHED_FOR_DESCRIPTORS: usize = 4;

/// Of the connections of a core, one part in this many ends each second while memory is scarce.
const SHED_PART: usize = 8;

/// Those that end each second at least, where so many are idle.
const SHED_MIN: usize = 16;

/// The reserve of one worker.
pub(super) struct Reserve {
    descriptors: RefCell<Vec<OwnedFd>>,
}

/// What an accept loop does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It tries again; others have their turn before.
    GoOn,
    /// It rests for so long.
    Rest(Duration),
}

impl Reserve {
    /// A full one, as far as there are descriptors.
    pub(super) fn new() -> Rc<Reserve> {
        let reserve = Rc::new(Reserve { descriptors: RefCell::default() });
        reserve.fill();
        reserve
    }

    /// After accept(2) failed.
    pub(super) fn failed(
        self: &Rc<Reserve>,
        error: &std::io::Error,
        listener: &Listener,
        door: Door,
        shard: &Rc<Shard>,
        roster: &Rc<Roster>,
    ) -> Next {
        match Errno::from_io_error(error) {
            Some(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN) => return Next::GoOn,
            // One client's failure, or that of the network to it, which accept(2) passes on and says to treat like EAGAIN.
            Some(
                Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => return Next::GoOn,
            // It fails for want of a descriptor also where nobody waits.
            Some(Errno::MFILE | Errno::NFILE) if !listener.has_waiting() => return Next::GoOn,
            Some(Errno::MFILE | Errno::NFILE) => {}
            // To end idle connections would not help at once: the kernel takes its time to free what they have.
            Some(Errno::NOMEM | Errno::NOBUFS) => {
                counters::here().accept_errors.add(1);
                tell_of(error);
                return Next::Rest(PAUSE);
            }
            _ => {
                counters::here().accept_errors.add(1);
                if shard.admits_message(door.listener) {
                    tracing::warn!("a connection cannot be accepted: {error}");
                }
                return Next::Rest(PAUSE);
            }
        }
        counters::here().accept_errors.add(1);
        tell_of(error);
        if roster.shed(SHED_FOR_DESCRIPTORS) > 0 {
            // Their descriptors are there when their tasks have run.
            return Next::GoOn;
        }
        self.turn_away(listener, door, shard, roster)
    }

    /// Gives one descriptor up for the moment in which a newcomer is answered.
    fn turn_away(self: &Rc<Reserve>, listener: &Listener, door: Door, shard: &Rc<Shard>, roster: &Rc<Roster>) -> Next {
        self.fill();
        let Some(reserved) = self.descriptors.borrow_mut().pop() else { return Next::Rest(PAUSE) };
        drop(reserved);
        let Ok(stream) = listener.accept_now() else {
            self.fill();
            return Next::Rest(PAUSE);
        };
        if self.descriptors.borrow().is_empty() {
            connection::refuse_at_once(stream, door, shard, roster);
            self.fill();
        } else {
            let reserve = self.clone();
            let refusing = connection::refuse_gently(stream, door, shard.clone(), roster.clone());
            spawn(async move {
                refusing.await;
                reserve.fill();
            })
            .detach();
        }
        Next::GoOn
    }

    /// Takes back what was given up, as far as there are descriptors.
    fn fill(&self) {
        let mut descriptors = self.descriptors.borrow_mut();
        while descriptors.len() < RESERVED_MAX {
            // Nothing that a path leads to, which a sandbox could forbid.
            match eventfd(0, EventfdFlags::CLOEXEC) {
                Ok(descriptor) => descriptors.push(descriptor),
                Err(_) => return,
            }
        }
    }
}

fn tell_of(error: &std::io::Error) {
    if episode::DESCRIPTORS.note(Instant::now()) {
        tracing::error!(
            "connections cannot be accepted: {error}; idle ones end, newcomers are turned away with 503; telling when it works again"
        );
    }
}

/// Looks after shortages; called once a second by each worker.
pub(super) fn look_after(shard: &Shard, roster: &Roster) {
    let now = Instant::now();
    if let Some(failures) = episode::DESCRIPTORS.end(now) {
        tracing::info!("accepting connections again, after {failures} failures");
    }
    if let Some(refused) = episode::CONNECTIONS.end(now) {
        tracing::info!("there is room for connections again, after {refused} were turned away");
    }
    let level = memory::level();
    shard.fit_into_memory(level >= Level::Short);
    let is_due = heap::is_due(level, now);
    if roster.crowd_is_gone() || is_due {
        heap::give_back();
    }
    if level == Level::Scarce {
        roster.shed((roster.len() / SHED_PART).max(SHED_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::roster::tests::LIMITS;
    use crate::http::request::HeadLimits;
    use std::net::TcpListener;

    /// What a firewall or a route does to one client paused the accept loop, and was told as a shortage of descriptors.
    #[test]
    fn only_a_shortage_is_told_as_one() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        socket.set_nonblocking(true).expect("it is open");
        let listener = Listener::new(socket).expect("epoll works");
        let head_limits = HeadLimits { head_bytes_max: 1024, target_bytes_max: 512, field_lines_max: 10 };
        let shard = Rc::new(Shard::new(head_limits));
        let roster = Roster::new(LIMITS);
        let reserve = Reserve::new();
        let door = Door { listener: 0, is_proxied: false, is_tls: false };
        let rest = || Next::Rest(PAUSE);
        for (errno, expected, is_shortage) in [
            (Errno::CONNABORTED, Next::GoOn, false),
            (Errno::NETDOWN, Next::GoOn, false),
            (Errno::PROTO, Next::GoOn, false),
            (Errno::NOPROTOOPT, Next::GoOn, false),
            (Errno::HOSTDOWN, Next::GoOn, false),
            (Errno::NONET, Next::GoOn, false),
            (Errno::HOSTUNREACH, Next::GoOn, false),
            (Errno::OPNOTSUPP, Next::GoOn, false),
            (Errno::NETUNREACH, Next::GoOn, false),
            // Nobody waits.
            (Errno::MFILE, Next::GoOn, false),
            (Errno::NFILE, Next::GoOn, false),
            (Errno::NOMEM, rest(), true),
            (Errno::NOBUFS, rest(), true),
            // A filter of the system that goes on denying it: to try at once would be a loop.
            (Errno::PERM, rest(), false),
            (Errno::ACCESS, rest(), false),
            (Errno::BADF, rest(), false),
        ] {
            let next = reserve.failed(&errno.into(), &listener, door, &shard, &roster);
            assert_eq!(next, expected, "{errno}");
            let told = episode::DESCRIPTORS.end(Instant::now() + Duration::from_secs(60));
            assert_eq!(told.is_some(), is_shortage, "{errno}");
        }
    }
}
