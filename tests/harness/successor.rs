//! A process that took over from a server: no child of the test's, and so watched by its number.
//!
//! Invariant: none outlives its [`Successor`].

use super::server::Server;
use super::{HANG, holds_within};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;

/// Who took over.
pub(crate) struct Successor {
    pid: Pid,
    process: OwnedFd,
}

/// What an old process says when another has taken over from it.
const TAKEN_OVER: &str = " has taken over; finishing what is in flight";

impl Successor {
    /// Has another process take over, and waits until it has. `count` is which it is in this log, from 1.
    pub(crate) fn of(server: &Server, count: usize) -> Successor {
        let old = server.pid();
        Successor::after(server, count, || rustix::process::kill_process(old, Signal::USR2).expect("it is our child"))
    }

    /// The same, from one that has taken over itself.
    pub(crate) fn next(&self, server: &Server, count: usize) -> Successor {
        Successor::after(server, count, || self.signal(Signal::USR2))
    }

    /// The one that this log tells of, sooner or later.
    pub(crate) fn told_of(server: &Server, count: usize) -> Successor {
        Successor::after(server, count, || {})
    }

    fn after(server: &Server, count: usize, begin: impl FnOnce()) -> Successor {
        begin();
        let number = || {
            let log = server.log();
            let line = log.lines().filter(|line| line.contains(TAKEN_OVER)).nth(count - 1)?;
            line.split_once("process ")?.1.split(' ').next()?.parse().ok()
        };
        assert!(holds_within(HANG, || number().is_some()), "nobody has taken over:\n{}", server.log());
        let pid = number().and_then(Pid::from_raw).expect("the number of a process");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        Successor { pid, process }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.process, signal).expect("it runs");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let mut wait = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut wait, Some(&Timespec::default())) == Ok(1)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
        if !holds_within(HANG, || self.has_ended()) {
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
            if !std::thread::panicking() {
                panic!("who took over did not end by SIGTERM");
            }
        }
    }
}
