//! A process that stays root and does nothing but open the files of certificates and keys for the server, which is somebody else by
//! then: keys are for root alone, and change while the server runs.
//!
//! Order: the server starts the program once more before it gives up its rights (`Reader::start`), with a channel as its standard
//! input · there [`Duty::of_environment`] finds the channel · [`Duty::serve`] answers, with an open descriptor or a refusal, until
//! nobody is left who could ask. Another process that takes over from the server is given the channel.
//!
//! Invariant: only files are opened that the configuration names as a certificate, a key or an authority, as the process itself reads
//! that configuration, and that nobody but root can have put there; it can read, and change nothing.

use super::pass;
use super::upgrade::Program;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use signal_hook::consts::{SIGHUP, SIGINT, SIGUSR1, SIGUSR2};
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Says to a process that its standard input is the channel.
const VARIABLE: &str = "OTUS_HTTPD_READER";

/// How long an answer may take; a disk that takes longer is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// As long as a path may be, and a refusal.
const MESSAGE_BYTES_MAX: usize = 4096;

const OPENED: &[u8] = b"opened";

/// The server's end.
#[derive(Debug)]
pub(super) struct Reader {
    channel: OwnedFd,
}

impl Reader {
    /// Starts the process; while this one is root.
    pub(super) fn start(program: &Program) -> std::io::Result<Reader> {
        let (channel, theirs) = pair()?;
        let mut command = program.plain_command();
        command.env(VARIABLE, "1").stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // Of a group of its own: what a terminal sends to the server's would end it while the server still finishes.
        command.process_group(0).spawn()?;
        Ok(Reader { channel })
    }

    /// The one of a process that this one takes over from.
    pub(super) fn inherit(channel: OwnedFd) -> Reader {
        Reader { channel }
    }

    /// To hand it on.
    pub(super) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Has it open a file.
    pub(super) fn open(&self, path: &Path) -> std::io::Result<File> {
        // An answer of its own for each: two processes may ask at a time.
        let (ours, theirs) = pair()?;
        sockopt::set_socket_timeout(&ours, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        pass::send(&self.channel, path.as_os_str().as_bytes(), &[theirs.as_fd()])?;
        drop(theirs);
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let (length, mut descriptors) = pass::receive(&ours, &mut buffer)?;
        match (&buffer[..length], descriptors.pop()) {
            (OPENED, Some(file)) => Ok(File::from(file)),
            (b"", _) => Err(std::io::Error::other("the process that reads keys as root has ended; restart the server")),
            (refusal, _) => {
                let number = std::str::from_utf8(refusal).ok().and_then(|text| text.parse().ok());
                Err(number.map_or_else(|| ErrorKind::PermissionDenied.into(), std::io::Error::from_raw_os_error))
            }
        }
    }
}

/// Messages are kept apart, and none of it outlives an exec.
fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The other end, in the process that reads.
pub struct Duty {
    channel: OwnedFd,
}

impl Duty {
    /// Whether this process was started for that.
    pub fn of_environment() -> Option<Duty> {
        std::env::var_os(VARIABLE)?;
        let stdin = std::io::stdin();
        // Whoever inherited the variable and was started by hand has another one.
        let is_channel = sockopt::socket_type(&stdin).is_ok_and(|kind| kind == SocketType::SEQPACKET);
        let channel = stdin.as_fd().try_clone_to_owned().ok().filter(|_| is_channel)?;
        Some(Duty { channel })
    }

    /// Opens what is asked for, as long as somebody may ask. `named` reads the configuration, and gives the files that it names; none
    /// where it is wrong.
    pub fn serve(self, named: impl Fn() -> Option<Vec<PathBuf>>) {
        let _ = rustix::thread::set_name(c"otus-httpd-keys");
        // To read whatever is there is the one right of root's that this takes.
        let rights = CapabilitySet::DAC_READ_SEARCH;
        let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
        if set_capabilities(None, sets).is_err() {
            return;
        }
        // They are for the server; who sends them to all programs of this name does not mean to end this one.
        for signal in [SIGHUP, SIGUSR1, SIGUSR2, SIGINT] {
            if signal_hook::flag::register(signal, Arc::default()).is_err() {
                return;
            }
        }
        let mut allowed = Vec::new();
        let mut read: Option<Instant> = None;
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            let (length, mut descriptors) = match pass::receive(&self.channel, &mut buffer) {
                Ok((0, _)) => return,
                Ok(message) => message,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some(answer) = descriptors.pop() else { continue };
            let path = PathBuf::from(OsStr::from_bytes(&buffer[..length]));
            // A reload may have named it, or another that is not to be read any more. Many are asked for at a time.
            if !allowed.contains(&path) || read.is_none_or(|read| read.elapsed() >= READ_PAUSE) {
                allowed = named().unwrap_or(allowed);
                read = Some(Instant::now());
            }
            let may = allowed.contains(&path) && is_guarded(&path).unwrap_or(false);
            let opened = if may { open(&path) } else { Err(Errno::PERM) };
            // Whoever asked may have gone meanwhile.
            let _ = match opened {
                Ok(file) => pass::send(&answer, OPENED, &[file.as_fd()]),
                Err(errno) => pass::send(&answer, errno.raw_os_error().to_string().as_bytes(), &[]),
            };
        }
    }
}

/// For how long the configuration that was read counts as it was.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Links on the way to a file; the kernel follows as many.
const LINKS_MAX: usize = 40;

/// Whether nobody but root can have put this file there, or what leads to it: else whoever could would be handed any file.
pub(super) fn is_guarded(path: &Path) -> std::io::Result<bool> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS_MAX {
        match first_link(&path)? {
            Way::Open => return Ok(false),
            Way::Guarded => return Ok(true),
            Way::Link(further) => path = further,
        }
    }
    Ok(false)
}

enum Way {
    /// Somebody else may change it.
    Open,
    Guarded,
    /// As far as here, where a link leads elsewhere.
    Link(PathBuf),
}

/// Goes down a path as far as it is guarded, and to the first link.
fn first_link(path: &Path) -> std::io::Result<Way> {
    let mut here = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        if part == Component::ParentDir {
            here.pop();
            continue;
        }
        here.push(part);
        let metadata = here.symlink_metadata()?;
        // In a directory such as /tmp, where everybody may add files, nobody may replace those of root.
        let is_closed = metadata.mode() & 0o022 == 0 || metadata.mode() & 0o1000 != 0;
        if metadata.uid() != 0 || metadata.is_dir() && !is_closed {
            return Ok(Way::Open);
        }
        if metadata.is_symlink() {
            let target = here.read_link()?;
            here.pop();
            return Ok(Way::Link(here.join(target).join(parts.as_path())));
        }
    }
    Ok(Way::Guarded)
}

/// Opens a regular file; anything else would wait, or be no file of a certificate.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}
