//! One process: from the options to the exit.
//!
//! [`run`] in order: [`listen`] opens the sockets, [`privileges`] gives up the rights that took,
//! [`preflight`] checks what the kernel and the administrator must grant to who is left,
//! [`supervise`] starts one [`worker`] a core, watches them, and stops them when a [`signal`] says so; or gives them an
//! [`order`] to serve something else, by other [`doors`]; or has another process take over ([`upgrade`]). [`logs`] opens what is written to, [`ring`] sets the flags of their rings, [`sandbox`] what their
//! threads may reach. [`pid_file`] and [`daemon`] tell others that it serves, and `notify` tells systemd, as long as `watchdog`
//! finds every worker alive. [`doctor`] looks at the same things without serving.
//!
//! Invariant: every failure to start is one line that names the cause and the remedy.

pub mod admin;
mod certificate_findings;
mod certificates;
pub mod daemon;
pub mod doctor;
pub mod doors;
mod explain;
mod holder;
mod inherit;
pub mod listen;
pub mod logs;
mod notify;
pub mod order;
mod parting;
mod pass;
pub mod pid_file;
pub mod post;
pub mod preflight;
pub mod privileges;
pub mod reach;
pub mod reader;
pub mod reload;
pub mod ring;
pub mod sandbox;
pub mod self_signed;
mod shortage;
pub mod signal;
mod socket_file;
mod store;
pub mod supervise;
pub mod upgrade;
mod watchdog;
pub mod worker;

// A test must be able to kill and to stall a worker; a release must not.
#[cfg(debug_assertions)]
mod fault;
#[cfg(not(debug_assertions))]
#[path = "fault_none.rs"]
mod fault;

use self::certificates::Certificates;
use self::daemon::Daemon;
use self::pid_file::PidFile;
use self::reader::Reader;
use crate::connection::roster;
use crate::defence::memory as limit_of_memory;
use crate::observe::journal::Destination;
use crate::observe::log;
use crate::shard;
use crate::site;
use crate::storage::memory;
use crate::tls;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All that a server process is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to listen on.
    pub listen: Vec<Listen>,
    /// Number of workers.
    pub workers: usize,
    /// How often the supervisor looks after the workers.
    pub checkalive: Duration,
    /// How long transfers in flight may go on after a stop was asked for.
    pub drain_timeout: Duration,
    /// How long the server serves on after a stop was asked for, and says that it is not ready.
    pub drain_delay: Duration,
    /// Where administrators come in.
    pub admin: admin::Options,
    /// How long a connection may stay in each phase.
    pub connection_limits: roster::Limits,
    /// As whom, and with which rights.
    pub privileges: privileges::Options,
    /// What the threads of workers may reach.
    pub sandbox: sandbox::Options,
    /// The error log.
    pub log: log::Options,
    /// Certificates, by the files that they are in.
    pub tls: tls::Plan,
    /// What each worker serves, and within which bounds. Its listeners are those of `listen`.
    pub shard: shard::Options,
}

impl Options {
    /// What the default site of a listener serves, for people.
    fn served_by(&self, listener: usize) -> String {
        let site = &self.shard.sites[self.shard.hosts[listener].default_site()];
        let root = site.keys.root.as_ref().and_then(Option::as_ref);
        root.map_or_else(|| "the welcome page".to_owned(), |root| root.display().to_string())
    }

    /// What the server is, for people who look in.
    fn describe(&self) -> admin::Description {
        let site = |(number, site): (usize, &site::Options)| {
            let root = site.keys.root.as_ref().and_then(Option::as_ref);
            let root = root.map_or_else(|| "the welcome page".to_owned(), |root| root.display().to_string());
            let names = if site.names.is_empty() { format!("{number}") } else { site.names.join(", ") };
            format!("{names}: {root}")
        };
        admin::Description {
            workers: self.workers,
            listeners: self.listen.iter().map(ToString::to_string).collect(),
            sites: self.shard.sites.iter().enumerate().map(site).collect(),
            certificates: Vec::new(),
        }
    }

    /// Every document root, each once.
    fn roots(&self) -> Vec<&Path> {
        let mut roots: Vec<&Path> =
            self.shard.sites.iter().flat_map(site::Options::roots).map(|root| &**root).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Every password file, each once.
    fn password_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> =
            self.shard.sites.iter().flat_map(site::Options::password_files).map(|auth| &*auth.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// Whether a machine that does not have this address is no failure: it was a default.
    pub optional: bool,
    /// Whether each connection begins with a PROXY header.
    pub is_proxied: bool,
    /// Whether connections are encrypted.
    pub is_tls: bool,
}

impl fmt::Display for Listen {
    /// As it is written in the configuration file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxied = if self.is_proxied { " proxy_protocol" } else { "" };
        let tls = if self.is_tls { " tls" } else { "" };
        write!(f, "{}{proxied}{tls}", self.address)
    }
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a server did not start: one line, with the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Reads the options anew; what it gives instead may have several lines.
pub type Reload<'a> = &'a dyn Fn() -> Result<Options, String>;

/// How a process was started, beside its configuration.
pub struct Start<'a> {
    /// Asked for other options when a signal says so.
    pub reload: Reload<'a>,
    /// The file to name this process in.
    pub pid_file: Option<&'a Path>,
    /// The daemon that the process is, if it is one.
    pub daemon: Option<Daemon>,
}

/// What is to be done outside once all workers accept.
pub struct Launch {
    pid_file: Option<PidFile>,
    daemon: Option<Daemon>,
}

impl Launch {
    /// Tells whoever waits for it.
    fn served(&mut self, messages: &Destination) {
        if let Some(file) = &mut self.pid_file {
            file.write();
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.served(messages);
        }
    }

    /// Another process serves, and does that itself.
    fn handed_over(&mut self) {
        if let Some(file) = &mut self.pid_file {
            file.disown();
        }
    }
}

/// What opens keys that root alone may read, where this process is about to be somebody else, or took over from one that was. Also where
/// there is no key yet: the first one may come by a reload.
fn reader(
    identity: &privileges::Identity,
    program: &std::io::Result<upgrade::Program>,
    successor: &Option<upgrade::Successor>,
) -> Option<Arc<Reader>> {
    if let Some(successor) = successor {
        return successor.reader().map(Arc::new);
    }
    identity.account()?;
    match program
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|program| Reader::start(program).map_err(|e| e.to_string()))
    {
        Ok(reader) => Some(Arc::new(reader)),
        Err(why) => {
            tracing::warn!(
                "certificates that only root may read will be read at a restart alone: no process can be started for it: {why}"
            );
            None
        }
    }
}

/// Serves until a signal says stop. Prints one line an address on standard output once all workers accept.
pub fn run(mut options: Options, start: Start<'_>) -> Result<(), StartError> {
    let signals = signal::Signals::register()?;
    let program = upgrade::Program::current();
    let mut pool = inherit::Pool::of_environment()?;
    let successor = upgrade::Successor::inherit(&mut pool)?;
    let identity = privileges::Identity::choose(&options.privileges)?;
    // First of all: where a server runs already, its pid file says so better than its ports.
    let claim = |path| match successor {
        Some(_) => PidFile::inherit(path, identity.owner()),
        None => PidFile::claim(path, identity.owner()),
    };
    let pid_file = start.pid_file.map(claim).transpose()?;
    let launch = Launch { pid_file, daemon: start.daemon };
    privileges::set_limits(&options);
    // The allocator asks for them, and a few connections would make several pages of 2 MiB of a worker's: twice the memory.
    if let Err(errno) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("large pages of the heap stay on: {}", std::io::Error::from(errno));
    }
    memory::prepare(identity.owner());
    let mut listeners = listen::Listeners::inheriting(pool);
    let change = listeners.prepare(&options, identity.owner())?;
    let numbers = change.numbers.clone();
    listeners.apply(change);
    let admin = admin::open(&options.admin, identity.owner(), listeners.inherited())?;
    let (stored, abandoned) = listeners.inherited().finish();
    let reader = reader(&identity, &program, &successor);
    let certificates = Certificates::load(&options.tls, reader)?;
    options.shard.tls = certificates.listeners();
    // From here on nothing needs root: what is checked below is checked for the user that serves.
    identity.take_on(&options.privileges)?;
    preflight::check(&options)?;
    let logs = logs::open(&options)?;
    logs.take_effect()?;
    // After the giving up of rights: what other threads have, they keep.
    limit_of_memory::watch();
    fault::start();
    // Before the workers, so that whoever asks is told that they do not serve yet.
    // One that takes over has the other process answer until then.
    let is_silent = successor.is_some();
    let admin = admin::Admin::start(admin, options.describe(), is_silent)?;
    let heritage = supervise::Heritage { stored, abandoned, successor, program };
    let opened = supervise::Opened { logs, listeners, numbers, admin, certificates };
    supervise::run(options, opened, heritage, signals, start.reload, launch)
}
