//! One process: from the options to the exit.
//!
//! [`run`] in order: [`preflight`] checks what the kernel and the administrator must grant,
//! [`listen`] opens the sockets, [`supervise`] starts one [`worker`] a core, watches them, and
//! stops them when a [`signal`] says so. [`ring`] sets the flags of their rings.
//!
//! Invariant: every failure to start is one line that names the cause and the remedy.

pub mod listen;
pub mod preflight;
pub mod ring;
pub mod signal;
pub mod supervise;
pub mod worker;

// A test must be able to kill and to stall a worker; a release must not.
#[cfg(debug_assertions)]
mod fault;
#[cfg(not(debug_assertions))]
#[path = "fault_none.rs"]
mod fault;

use crate::connection::roster;
use crate::http::request::HeadLimits;
use crate::storage::cache::Budget;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All that a server process is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to listen on.
    pub listen: Vec<Listen>,
    /// The document root; without one the welcome page is served.
    pub root: Option<PathBuf>,
    /// Names tried for a directory.
    pub index: Vec<String>,
    /// Number of workers.
    pub workers: usize,
    /// How often the supervisor looks after the workers.
    pub checkalive: Duration,
    /// How long transfers in flight may go on after a stop was asked for.
    pub drain_timeout: Duration,
    /// How long a connection may stay in each phase.
    pub connection_limits: roster::Limits,
    /// How large a request head may be.
    pub head_limits: HeadLimits,
    /// Ranges of one request that are answered; a request for more is answered whole.
    pub ranges_max: usize,
    /// What each worker may keep in memory.
    pub cache: Budget,
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// Whether a machine that does not have this address is no failure: it was a default.
    pub optional: bool,
}

/// Why a server did not start: one line, with the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Serves until a signal says stop. Prints one line an address on standard output once all
/// workers accept.
pub fn run(options: &Options) -> Result<(), StartError> {
    let signals = signal::Signals::register()?;
    preflight::check(options)?;
    let sockets = listen::open(options)?;
    supervise::run(options, sockets, signals)
}

/// Checks all that [`run`] would check, without serving.
pub fn check(options: &Options) -> Result<(), StartError> {
    preflight::check(options)?;
    listen::open(options).map(drop)
}
