//! Another process of the program, perhaps a newer one, takes over with the same listening sockets (SIGUSR2).
//!
//! Order: `Upgrade::begin` starts the program with a channel as its standard input · [`launch`] starts it once more there and
//! ends, so that whoever takes over is no child of ours and its end is seen by the service manager · it says who it is · it takes
//! the sockets (`Successor::inherit`) · it could serve, and says so (`Successor::take_over`) · we tell the service manager, and it to
//! go on, which it answers · we finish what is in flight (`parting`).
//!
//! Invariant: until it is told to go on, the new process changes nothing that the old one needs; if it fails, nothing has
//! happened.

use super::StartError;
use super::inherit::{Held, Origin, Pool};
use super::pass;
use super::reader::Reader;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says to a process what its standard input is; the value says which of the two it is.
const VARIABLE: &str = "OTUS_HTTPD_UPGRADE";
const LAUNCH: &str = "launch";
const TAKE_OVER: &str = "take-over";

/// What systemd said of this process alone.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How long the new process may take until it serves, and each side may wait for the other's word.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the new process may leave its messages untaken, while the old one does nothing else.
const ROOM_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// How long the new process may take to say that it goes on, when it was told to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// By which it says so.
const GOES_ON: &[u8] = b"goes on";

/// With it goes the channel to the process that opens keys as root.
const READER: &[u8] = b"reader";

/// Bytes of a message: a name for each of its descriptors.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How the program was started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    words: Vec<OsString>,
}

impl Program {
    /// This one; to be asked before its file may have been replaced, and before rights are given up: its path cannot be known then.
    pub(super) fn current() -> std::io::Result<Program> {
        Ok(Program { path: std::env::current_exe()?, words: std::env::args_os().collect() })
    }

    fn command(&self, stage: &str) -> Command {
        let mut command = self.plain_command();
        command.env(VARIABLE, stage);
        command
    }

    /// The same once more, for other ends than to take over.
    pub(super) fn plain_command(&self) -> Command {
        let mut command = Command::new(&self.path);
        let (name, arguments) = self.words.split_first().map_or((None, &[][..]), |(name, rest)| (Some(name), rest));
        command.args(arguments).env_remove(VARIABLE);
        if let Some(name) = name {
            command.arg0(name);
        }
        for variable in OF_THIS_PROCESS {
            command.env_remove(variable);
        }
        command
    }
}

/// An upgrade that is under way, as the old process sees it.
pub(super) struct Upgrade {
    channel: OwnedFd,
    launcher: Option<Child>,
    successor: Option<Pid>,
    /// It serves. Its launcher may say later which process it is, and it must not matter.
    is_ready: bool,
    /// What it said of its failure.
    complaint: Option<String>,
    begun: Instant,
}

/// How far it has come.
pub(super) enum Progress {
    /// It is not known yet what comes of it.
    Pending,
    /// The process of this number accepts connections.
    Ready(Pid),
    /// Nothing comes of it, and why.
    Failed(String),
}

impl Upgrade {
    /// Starts the program, and gives it these sockets; with each, whether systemd's store has it.
    pub(super) fn begin<'a>(
        program: &Program,
        held: impl Iterator<Item = (&'a Held, bool)>,
        reader: Option<&Reader>,
    ) -> Result<Upgrade, String> {
        if std::process::id() == 1 {
            return Err(
                "this process is the first of its container, which would end with it; replace the container".to_owned()
            );
        }
        let failed = |error: std::io::Error| format!("the listening sockets cannot be handed over: {error}");
        let (channel, theirs) = channel().map_err(|errno| failed(errno.into()))?;
        // The command goes with its copy of the channel: what is left of that end is the other process's.
        let launcher = program.command(LAUNCH).stdin(Stdio::from(theirs)).spawn();
        let launcher = launcher.map_err(|error| format!("{} cannot be started: {error}", program.path.display()))?;
        let begun = Instant::now();
        let upgrade =
            Upgrade { channel, launcher: Some(launcher), successor: None, is_ready: false, complaint: None, begun };
        match upgrade.pass(held, reader) {
            Ok(()) => Ok(upgrade),
            // It has ended already; why, is found when it is looked at.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(upgrade),
            Err(error) => {
                upgrade.abandon();
                Err(failed(error))
            }
        }
    }

    fn pass<'a>(&self, held: impl Iterator<Item = (&'a Held, bool)>, reader: Option<&Reader>) -> std::io::Result<()> {
        let held: Vec<_> = held.collect();
        for some in held.chunks(pass::DESCRIPTORS_MAX) {
            let mut message = "sockets".to_owned();
            for (held, is_stored) in some {
                let kind = match held.origin {
                    Origin::Unit => "unit",
                    Origin::Own if *is_stored => "stored",
                    Origin::Own => "own",
                };
                message.extend(["\n", kind, " ", &held.name]);
            }
            let sockets: Vec<BorrowedFd<'_>> = some.iter().map(|(held, _)| held.socket.as_fd()).collect();
            self.say(message.as_bytes(), &sockets)?;
        }
        if let Some(reader) = reader {
            self.say(READER, &[reader.channel()])?;
        }
        self.say(b"all", &[])
    }

    /// Some two thousand sockets fit before the other side must have taken some.
    fn say(&self, message: &[u8], sockets: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        loop {
            match pass::send(&self.channel, message, sockets) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(&self.channel, PollFlags::OUT)];
                    if poll(&mut room, Some(&ROOM_TIMEOUT))? == 0 {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Becomes readable when there is something to [`Upgrade::look`] at.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Takes what the new process says.
    pub(super) fn look(&mut self) -> Progress {
        let mut buffer = [0; 4096];
        loop {
            let text = match pass::receive(&self.channel, &mut buffer) {
                Ok((0, _)) => return Progress::Failed(self.ending()),
                Ok((length, _)) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // It ended without having read all; told once, and before what it said.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
                Err(error) => return Progress::Failed(format!("nothing more is heard of it: {error}")),
            };
            match text.split_once(' ') {
                Some(("pid", number)) => {
                    self.successor = number.parse().ok().and_then(Pid::from_raw);
                    // The launcher has nothing left to do.
                    self.reap();
                }
                Some(("failed", why)) => self.complaint = Some(why.to_owned()),
                _ if text == "ready" => self.is_ready = true,
                _ => return Progress::Failed("it says something that is not understood".to_owned()),
            }
            if let Some(pid) = self.successor.filter(|_| self.is_ready) {
                return Progress::Ready(pid);
            }
        }
        if self.begun.elapsed() >= UPGRADE_TIMEOUT {
            return Progress::Failed(format!("it did not serve within {} s", UPGRADE_TIMEOUT.as_secs()));
        }
        Progress::Pending
    }

    /// Lets the new process go on, and waits until it does; an error is that it ended meanwhile. That a word could be sent says little:
    /// one that is being killed has its end open until the last of its threads is gone.
    pub(super) fn go(&mut self) -> Result<(), String> {
        pass::send(&self.channel, b"go", &[]).map_err(|error| format!("it has ended: {error}"))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut buffer = [0; 64];
            match pass::receive(&self.channel, &mut buffer) {
                Ok((length, _)) if buffer[..length] == *GOES_ON => return Ok(()),
                Ok(_) => return Err("it ended when it was to go on".to_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("it ended when it was to go on: {error}")),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("it does not go on".to_owned());
            }
            // An interruption is as good as an answer: it is looked at again.
            let _ = poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Timespec::try_from(left).ok().as_ref());
        }
    }

    /// Ends the new process, if there is one. By force: it may not be given the time to close what is ours.
    pub(super) fn abandon(mut self) {
        // It holds the other end for as long as it lives, so that its number is still its own.
        let is_open = !matches!(pass::receive(&self.channel, &mut [0; 64]), Ok((0, _)));
        if let Some(pid) = self.successor.filter(|_| is_open) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if let Some(launcher) = &mut self.launcher {
            let _ = launcher.kill();
        }
        self.reap();
    }

    /// Why it ended, now that it has.
    fn ending(&mut self) -> String {
        let status = self.reap();
        match (self.complaint.take(), status) {
            (Some(complaint), _) => complaint,
            (None, Some(status)) if !status.success() => format!("it ended with {status}"),
            _ => "it ended; what it said of that stands before this line".to_owned(),
        }
    }

    fn reap(&mut self) -> Option<std::process::ExitStatus> {
        self.launcher.take().and_then(|mut launcher| launcher.wait().ok())
    }
}

/// Both ends; messages are kept apart, and ours never makes us wait.
fn channel() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    for end in [&ours, &theirs] {
        // The kernel may grant less, which is enough for most.
        let _ = sockopt::set_socket_send_buffer_size(end, 4 * MESSAGE_BYTES_MAX);
        sockopt::set_socket_timeout(end, Timeout::Recv, Some(UPGRADE_TIMEOUT))?;
    }
    Ok((ours, theirs))
}

/// The channel, in the process that is to take over.
static CHANNEL: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// For the beginning of `main`: looks whether this process was started to take over from another. Gives true where it is only to start
/// the one that does, and has; then it ends.
pub fn launch() -> bool {
    let Some(stage) = std::env::var_os(VARIABLE) else { return false };
    let stdin = std::io::stdin();
    if !sockopt::socket_type(&stdin).is_ok_and(|kind| kind == SocketType::SEQPACKET) {
        // Its parent was one that took over, and this one was started by hand.
        return false;
    }
    if stage == LAUNCH {
        let started = Program::current().and_then(|program| program.command(TAKE_OVER).spawn());
        let word = match started {
            Ok(child) => format!("pid {}", child.id()),
            Err(error) => format!("failed the program cannot be started: {error}"),
        };
        let _ = pass::send(&stdin, word.as_bytes(), &[]);
        return true;
    }
    let null = std::fs::File::open("/dev/null");
    let channel = stdin.as_fd().try_clone_to_owned();
    if let (Ok(channel), Ok(null)) = (channel, null) {
        // What follows has nothing to read, as before.
        let _ = rustix::stdio::dup2_stdin(null);
        *CHANNEL.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }
    false
}

/// Whether this process is to take over from one that serves: what that has already done for both, as leaving its terminal, is not
/// done again.
pub fn is_successor() -> bool {
    CHANNEL.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Tells the process that was to be relieved why it is not; nothing where there is none.
pub fn tell_failure(line: &str) {
    if let Some(channel) = CHANNEL.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let line = line.lines().next().unwrap_or_default();
        let told: String = line.chars().take(COMPLAINT_CHARACTERS_MAX).collect();
        let _ = pass::send(&channel, format!("failed {told}").as_bytes(), &[]);
    }
}

/// Of a line that says why it failed.
const COMPLAINT_CHARACTERS_MAX: usize = 500;

/// This process, where it takes over from another.
pub(super) struct Successor {
    channel: OwnedFd,
    reader: Option<OwnedFd>,
}

impl Successor {
    /// Takes the sockets of the other process, if there is one.
    pub(super) fn inherit(pool: &mut Pool) -> Result<Option<Successor>, StartError> {
        let channel = CHANNEL.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = &*channel else { return Ok(None) };
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let mut reader = None;
        loop {
            let (length, mut descriptors) = pass::receive(channel, &mut buffer).map_err(unheard)?;
            let text = String::from_utf8_lossy(&buffer[..length]);
            let mut lines = text.lines();
            match lines.next() {
                Some("sockets") => {
                    for (descriptor, line) in descriptors.into_iter().zip(lines) {
                        let (kind, name) = line.split_once(' ').unwrap_or((line, ""));
                        let origin = if kind == "unit" { Origin::Unit } else { Origin::Own };
                        pool.add(descriptor, name, origin, kind == "stored");
                    }
                }
                Some("reader") => reader = descriptors.pop(),
                Some("all") => break,
                _ => return Err(unheard(ErrorKind::UnexpectedEof.into())),
            }
        }
        Ok(Some(Successor { channel: channel.try_clone().map_err(unheard)?, reader }))
    }

    /// What opens keys as root, where the other process had that.
    pub(super) fn reader(&self) -> Option<Reader> {
        self.reader.as_ref()?.try_clone().ok().map(Reader::inherit)
    }

    /// Says that this process serves, and waits to be told to go on.
    pub(super) fn take_over(self) -> Result<(), StartError> {
        pass::send(&self.channel, b"ready", &[]).map_err(unheard)?;
        let deadline = Instant::now() + UPGRADE_TIMEOUT;
        let mut buffer = [0; 64];
        loop {
            match pass::receive(&self.channel, &mut buffer) {
                Ok((2, _)) if buffer.starts_with(b"go") => break,
                Ok(_) => return Err(unheard(ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == ErrorKind::Interrupted && Instant::now() < deadline => {}
                Err(error) => return Err(unheard(error)),
            }
        }
        // If the old one has ended by now, this one serves all the more.
        let _ = pass::send(&self.channel, GOES_ON, &[]);
        CHANNEL.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

fn unheard(error: std::io::Error) -> StartError {
    StartError(format!("the process to take over from does not go on with it ({error}); start the server by itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever starts the new process tells its number, and was once overtaken by it: the upgrade was refused.
    #[test]
    fn a_process_may_be_ready_before_it_is_known_which_it_is() {
        let (channel, theirs) = channel().expect("a pair of sockets");
        let (launcher, successor, complaint) = (None, None, None);
        let mut upgrade = Upgrade { channel, launcher, successor, is_ready: false, complaint, begun: Instant::now() };
        pass::send(&theirs, b"ready", &[]).expect("it is open");
        assert!(matches!(upgrade.look(), Progress::Pending));
        pass::send(&theirs, b"pid 7", &[]).expect("it is open");
        assert!(matches!(upgrade.look(), Progress::Ready(pid) if Some(pid) == Pid::from_raw(7)));
    }
}
