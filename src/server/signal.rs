//! Signals as flags, and one descriptor to wait on.
//!
//! SIGTERM and SIGINT ask for a stop, and a second one ends the process at once. SIGHUP is noted, SIGUSR1 begins
//! the logs anew, SIGUSR2 has another process of the program take over.
//! SIGPIPE is ignored by the Rust runtime before `main`: a peer that is gone is an error of its
//! socket, not the end of the server.

use super::StartError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that came.
pub struct Signals {
    stop: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    upgrade: Arc<AtomicBool>,
    pipe: UnixStream,
}

/// The exit code when a second signal ends the process: as a shell says it of SIGTERM.
const EXIT_AT_ONCE: i32 = 128 + SIGTERM;

impl Signals {
    /// Takes the signals over from their default actions.
    pub fn register() -> Result<Signals, StartError> {
        let register = || -> std::io::Result<Signals> {
            let stop = Arc::new(AtomicBool::new(false));
            let hangup = Arc::new(AtomicBool::new(false));
            let reopen = Arc::new(AtomicBool::new(false));
            let upgrade = Arc::new(AtomicBool::new(false));
            let (pipe, sender) = UnixStream::pair()?;
            pipe.set_nonblocking(true)?;
            for signal in [SIGTERM, SIGINT] {
                // In this order: the first signal finds the flag clear, sets it, and wakes us.
                signal_hook::flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, stop.clone())?;
                signal_hook::flag::register(signal, stop.clone())?;
                signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
            }
            for (signal, flag) in [(SIGHUP, &hangup), (SIGUSR1, &reopen), (SIGUSR2, &upgrade)] {
                signal_hook::flag::register(signal, flag.clone())?;
                signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
            }
            Ok(Signals { stop, hangup, reopen, upgrade, pipe })
        };
        register().map_err(|error| StartError(format!("signals cannot be handled: {error}")))
    }

    /// Whether a stop was asked for.
    pub fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether SIGHUP came since the last call.
    pub fn take_hangup(&self) -> bool {
        self.hangup.swap(false, Ordering::Relaxed)
    }

    /// Whether SIGUSR1 came since the last call.
    pub fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
    }

    /// Whether SIGUSR2 came since the last call.
    pub fn take_upgrade(&self) -> bool {
        self.upgrade.swap(false, Ordering::Relaxed)
    }

    /// What becomes readable when a signal comes; [`Signals::clear`] makes it wait again.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Reads away what woke us.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.pipe).read(&mut bytes), Ok(1..)) {}
    }
}
