//! A server in the background, where no service manager keeps one there.
//!
//! Order: [`start`] starts the program again as a child with a session of its own, and waits · the child, a [`Daemon`], checks where
//! its messages are to go ([`redirect`]) and starts as any server does · [`Daemon::served`] says on the child's standard input, which is
//! one end of a socket pair, that it serves, and lets go of the terminal · the parent ends with what came of it.
//!
//! Invariant: nothing that a daemon has to say is lost in silence, and whoever started one knows by the exit code whether it
//! serves. It stays in the directory that it was started in, so that relative paths mean what they meant.

use super::{Options, StartError, upgrade};
use crate::observe::journal::{Destination, SYSLOG_SOCKET};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Says to a process that it is a daemon; its successors by an upgrade have it from it.
const VARIABLE: &str = "OTUS_HTTPD_DAEMON";

const READY: &[u8] = b"ready";

/// The option that makes a daemon, which the daemon itself must not have.
const OPTION: &str = "--daemonize";

/// Starts a daemon with these arguments, and waits until it serves; gives the exit code for its own process.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, StartError> {
    let failed = |error: std::io::Error| StartError(format!("a daemon cannot be started: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_else(|| program.clone().into());
    let (ear, voice) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(program)
        .arg0(name)
        .args(arguments.filter(|argument| argument != OPTION))
        .env(VARIABLE, "1")
        .stdin(Stdio::from(OwnedFd::from(voice)))
        .spawn()
        .map_err(failed)?;
    // The command is gone, and with it this process's copy of the child's end: the stream ends when the child does.
    let mut heard = Vec::new();
    let _ = ear.take(READY.len() as u64).read_to_end(&mut heard);
    if heard == READY {
        return Ok(0);
    }
    let status = child.wait().map_err(failed)?;
    match (status.code(), status.signal()) {
        // It has said why.
        (Some(code), _) if code != 0 => Ok(u8::try_from(code).unwrap_or(1)),
        (_, Some(signal)) => Err(StartError(format!("the daemon was ended by signal {signal} before it served"))),
        _ => Err(StartError("the daemon ended before it served".to_owned())),
    }
}

/// Whether this process is a daemon.
pub fn is_daemon() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The daemon that this process is.
#[derive(Debug)]
pub struct Daemon {
    /// Who waits for it; nobody where it takes over from another.
    parent: Option<UnixStream>,
}

impl Daemon {
    /// That of the environment, with a session of its own from here on, so that no terminal ends it.
    pub fn begin() -> Result<Option<Daemon>, StartError> {
        if !is_daemon() {
            return Ok(None);
        }
        if upgrade::is_successor() {
            return Ok(Some(Daemon { parent: None }));
        }
        // It fails only for one that leads a session already.
        let _ = rustix::process::setsid();
        let failed = |error: std::io::Error| StartError(format!("the daemon cannot reach who started it: {error}"));
        let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Some(Daemon { parent: Some(input.into()) }))
    }

    /// Says that it serves, and where its messages go; lets go of the standard streams.
    pub fn served(&mut self, messages: &Destination) {
        let Some(mut parent) = self.parent.take() else { return };
        let mut out = std::io::stdout().lock();
        // Whoever started it may be gone, and need not know.
        let _ = writeln!(out, "process {} serves in the background; messages go to {messages}", std::process::id());
        let _ = out.flush();
        let let_go = || -> std::io::Result<()> {
            let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(())
        };
        if let Err(error) = let_go() {
            tracing::warn!("the daemon keeps its terminal, for /dev/null cannot be used: {error}");
        }
        let _ = parent.write_all(READY);
    }
}

/// What a daemon does with these options: it has no standard error, so that its messages go to syslog in its place.
pub fn redirect(mut options: Options) -> Result<Options, StartError> {
    let is_stream = |to: &Destination| matches!(to, Destination::Stdout | Destination::Stderr);
    let stream = {
        let mut access_logs = options.shard.sites.iter().flat_map(crate::site::Options::access_logs);
        access_logs.find(|log| is_stream(&log.to)).map(|log| log.to.clone())
    };
    if let Some(stream) = stream {
        return Err(StartError(format!(
            "access_log: a daemon has no {stream}; name a file, \"syslog\" or \"journald\", or start without {OPTION}"
        )));
    }
    if is_stream(&options.log.destination) {
        let socket = PathBuf::from(SYSLOG_SOCKET);
        if !socket.exists() {
            return Err(StartError(format!(
                "a daemon has no {}, and no syslog is here for its messages; name a file: error_log = \
                 \"/var/log/otus-httpd/error.log\"",
                options.log.destination
            )));
        }
        options.log.destination = Destination::Syslog(socket);
    }
    Ok(options)
}
