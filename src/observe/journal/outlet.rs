//! One destination as the writer has it: the descriptor, and what could not be written yet.
//!
//! Order of [`State::write`]: what waits goes first · the new lines behind it · what finds no room waits, or is dropped
//! whole.
//!
//! Invariant: a line of which a part was written is never dropped, and nothing is written to its file before its rest.

use super::Destination;
use super::framing::{About, Priority, journald, syslog};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the writer knows of a destination.
#[derive(Default)]
pub(super) struct State {
    outlet: Option<Outlet>,
    tried: Option<Instant>,
    /// Bytes that are to be written before all others; those before `written` are.
    waiting: Vec<u8>,
    written: usize,
    /// Whether what was written last is a part of a line, the rest of which waits.
    torn: bool,
    /// A file that was replaced before its last line was whole, and what is missing of that.
    unfinished: Option<Unfinished>,
    /// Why nothing can be written at the moment.
    trouble: Option<Errno>,
}

struct Unfinished {
    outlet: Outlet,
    rest: Vec<u8>,
    attempts: u32,
}

enum Outlet {
    /// A file, or a FIFO that never blocks.
    File(File),
    Standard(Standard, Nature),
    Datagrams(UnixDatagram),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standard {
    Out,
    Error,
}

/// What a standard stream is. Whoever started us shares it, so it cannot be told not to block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    File,
    Socket,
    /// A pipe or a terminal: it takes a few bytes without blocking when poll(2) says so.
    Pipe,
}

/// Bytes that wait for a destination at most, before lines are dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What is kept of the room for them when nothing waits any more.
const WAITING_BYTES_KEPT: usize = 64 << 10;

/// How often a destination that is not there is tried.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// What a pipe takes in one piece, when it takes something (pipe(7)).
const PIPE_BYTES: usize = 4096;

/// How long a daemon may take for all lines of one buffer: the other destinations wait for as long.
const DATAGRAMS_WAIT: Duration = Duration::from_millis(200);

/// Attempts at the rest of a torn line in a file that was replaced. One a retry, so some ten seconds.
const FINISHING_ATTEMPTS_MAX: u32 = 100;

impl State {
    /// Opens the destination, unless it is open.
    pub(super) fn open(&mut self, destination: &Destination) -> Result<(), Error> {
        if self.outlet.is_none() {
            self.outlet = Some(Outlet::open(destination)?);
        }
        Ok(())
    }

    /// Writes lines, or as many of them as there is room for; gives the number of those that are lost.
    pub(super) fn write(
        &mut self,
        destination: &Destination,
        bytes: &[u8],
        lines: u64,
        about: About,
        priority: Priority,
    ) -> u64 {
        if matches!(destination, Destination::Syslog(_) | Destination::Journald(_)) {
            let is_entry = about == About::Server && matches!(destination, Destination::Journald(_));
            let lines = if is_entry { vec![bytes] } else { lines_of(bytes).collect() };
            return self.send(destination, &lines, is_entry, about, priority);
        }
        let lost = self.go_on(destination);
        if self.waiting_bytes() == 0 {
            let count = self.push(bytes);
            self.note_torn(&bytes[..count]);
            self.waiting.extend_from_slice(&bytes[count..]);
            return lost;
        }
        if self.waiting_bytes() + bytes.len() > WAITING_BYTES_MAX {
            return lost + lines;
        }
        self.waiting.extend_from_slice(bytes);
        lost
    }

    /// Writes what waits; gives the number of lines that are lost.
    pub(super) fn go_on(&mut self, destination: &Destination) -> u64 {
        let lost = self.finish_old();
        if self.outlet.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= OPEN_AGAIN) {
            self.tried = Some(Instant::now());
            match Outlet::open(destination) {
                Ok(outlet) => self.outlet = Some(outlet),
                Err(error) => self.trouble = Some(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        let count = self.push(&waiting[self.written..]);
        self.note_torn(&waiting[self.written..self.written + count]);
        self.waiting = waiting;
        self.written += count;
        self.forget_written();
        lost
    }

    /// Frees what was written. With a reader that is always a little too slow, there never is a moment in which nothing waits.
    fn forget_written(&mut self) {
        if self.waiting_bytes() == 0 {
            self.waiting.clear();
            self.waiting.shrink_to(WAITING_BYTES_KEPT);
            self.written = 0;
        } else if self.written >= WAITING_BYTES_MAX / 2 {
            // Not sooner: what waits behind it is moved.
            self.waiting.drain(..self.written);
            self.waiting.shrink_to(WAITING_BYTES_MAX);
            self.written = 0;
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting_bytes() > 0 || self.unfinished.is_some()
    }

    /// Why nothing could be written at the last attempt.
    pub(super) fn trouble(&self) -> Option<Errno> {
        self.trouble
    }

    /// Lets go of the file, and opens what has its name now. The rest of a torn line still goes to the old one. Gives the number
    /// of lines that are lost, too.
    pub(super) fn reopen(&mut self, destination: &Destination) -> (u64, Result<(), Error>) {
        match destination {
            Destination::Stdout | Destination::Stderr => return (0, Ok(())),
            Destination::File(_) => {}
            // A daemon that was started anew has another socket.
            Destination::Syslog(_) | Destination::Journald(_) => self.outlet = None,
        }
        let mut lost = self.go_on(destination);
        let outlet = match Outlet::open(destination) {
            Ok(outlet) => outlet,
            Err(error) => return (lost, Err(error)),
        };
        if let Some(old) = self.outlet.replace(outlet) {
            if self.torn {
                let end = memchr::memchr(b'\n', &self.waiting[self.written..]).map_or(0, |at| at + 1);
                let rest = self.waiting[self.written..self.written + end].to_vec();
                self.written += end;
                self.torn = false;
                let before = self.unfinished.replace(Unfinished { outlet: old, rest, attempts: 0 });
                // Nobody goes on with the file before the last one.
                lost += u64::from(before.is_some());
            }
        }
        lost += self.go_on(destination);
        (lost, Ok(()))
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.written
    }

    fn note_torn(&mut self, written: &[u8]) {
        if let Some(last) = written.last() {
            self.torn = *last != b'\n';
        }
    }

    /// Gives as much of `bytes` to the outlet as it takes now; notes why it takes no more.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let Some(outlet) = &self.outlet else { return 0 };
        let mut count = 0;
        while count < bytes.len() {
            match outlet.write(&bytes[count..]) {
                Ok(written) => count += written,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.trouble = Some(errno);
                    if errno == Errno::PIPE {
                        // The reader of a FIFO is gone; another may come.
                        self.outlet = None;
                    }
                    return count;
                }
            }
        }
        if count > 0 {
            self.trouble = None;
        }
        count
    }

    fn finish_old(&mut self) -> u64 {
        let Some(old) = &mut self.unfinished else { return 0 };
        while let Ok(count) = old.outlet.write(&old.rest) {
            old.rest.drain(..count);
            if old.rest.is_empty() {
                self.unfinished = None;
                return 0;
            }
        }
        old.attempts += 1;
        if old.attempts < FINISHING_ATTEMPTS_MAX {
            return 0;
        }
        // The disk may be full because of this very file, which the administrator took away.
        self.unfinished = None;
        1
    }

    /// Sends each line as a datagram; gives the number of those that are lost.
    fn send(
        &mut self,
        destination: &Destination,
        lines: &[&[u8]],
        is_entry: bool,
        about: About,
        priority: Priority,
    ) -> u64 {
        let deadline = Instant::now() + DATAGRAMS_WAIT;
        let mut datagram = Vec::new();
        let mut lost = 0;
        for (number, line) in lines.iter().enumerate() {
            match destination {
                _ if is_entry => {}
                Destination::Journald(_) => journald(line, priority, &mut datagram),
                _ => syslog(line, about, priority, &mut datagram),
            }
            match self.send_one(destination, if is_entry { line } else { &datagram }, deadline) {
                Ok(()) => self.trouble = None,
                // This one is too long for it; the next may not be.
                Err(Errno::MSGSIZE) => lost += 1,
                Err(errno) => {
                    self.trouble = Some(errno);
                    return lost + (lines.len() - number) as u64;
                }
            }
        }
        lost
    }

    fn send_one(&mut self, destination: &Destination, datagram: &[u8], deadline: Instant) -> Result<(), Errno> {
        let mut is_new = false;
        loop {
            if self.outlet.is_none() {
                let may_try = self.tried.is_none_or(|tried| tried.elapsed() >= OPEN_AGAIN);
                if !may_try && !is_new {
                    return Err(self.trouble.unwrap_or(Errno::CONNREFUSED));
                }
                self.tried = Some(Instant::now());
                let outlet = Outlet::open(destination);
                self.outlet = Some(outlet.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?);
                is_new = true;
            }
            let Some(Outlet::Datagrams(socket)) = &self.outlet else { return Err(Errno::NOTSOCK) };
            let Err(error) = socket.send(datagram) else { return Ok(()) };
            match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
                Errno::INTR => {}
                Errno::AGAIN => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !is_writable(socket.as_fd(), left) {
                        return Err(Errno::AGAIN);
                    }
                }
                errno @ (Errno::CONNREFUSED | Errno::NOTCONN | Errno::PIPE | Errno::CONNRESET) => {
                    self.outlet = None;
                    if is_new {
                        return Err(errno);
                    }
                    // The daemon was started anew.
                    self.tried = None;
                }
                errno => return Err(errno),
            }
        }
    }
}

impl Outlet {
    fn open(destination: &Destination) -> Result<Outlet, Error> {
        match destination {
            // O_NONBLOCK is for FIFOs; files do not mind.
            Destination::File(path) => {
                let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
                let flags = i32::try_from(flags).expect("flags of open(2) are those of C's int");
                let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
                Ok(Outlet::File(file))
            }
            Destination::Stdout => Ok(Outlet::Standard(Standard::Out, nature(std::io::stdout().as_fd()))),
            Destination::Stderr => Ok(Outlet::Standard(Standard::Error, nature(std::io::stderr().as_fd()))),
            Destination::Syslog(path) | Destination::Journald(path) => connect(path).map(Outlet::Datagrams),
        }
    }

    /// One write that does not wait.
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let count = match self {
            Outlet::File(file) => rustix::io::write(file, bytes)?,
            Outlet::Standard(Standard::Out, nature) => write_standard(std::io::stdout().as_fd(), *nature, bytes)?,
            Outlet::Standard(Standard::Error, nature) => write_standard(std::io::stderr().as_fd(), *nature, bytes)?,
            Outlet::Datagrams(socket) => rustix::io::write(socket, bytes)?,
        };
        // Nothing taken and no error: it would be tried for ever.
        if count == 0 { Err(Errno::NOSPC) } else { Ok(count) }
    }
}

fn write_standard(stream: BorrowedFd<'_>, nature: Nature, bytes: &[u8]) -> Result<usize, Errno> {
    match nature {
        Nature::File => rustix::io::write(stream, bytes),
        Nature::Socket => rustix::net::send(stream, bytes, rustix::net::SendFlags::DONTWAIT),
        Nature::Pipe if !is_writable(stream, Duration::ZERO) => Err(Errno::AGAIN),
        Nature::Pipe => {
            let piece = &bytes[..bytes.len().min(PIPE_BYTES)];
            // Whole lines, where there are: others may write to the same pipe.
            let end = memchr::memrchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
            rustix::io::write(stream, &piece[..end])
        }
    }
}

fn is_writable(descriptor: BorrowedFd<'_>, time: Duration) -> bool {
    let timeout = Timespec::try_from(time).ok();
    let mut sockets = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
    matches!(poll(&mut sockets, timeout.as_ref()), Ok(1..))
}

fn nature(stream: BorrowedFd<'_>) -> Nature {
    let mode = rustix::fs::fstat(stream).map_or(0, |stat| stat.st_mode);
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => Nature::File,
        rustix::fs::FileType::Socket => Nature::Socket,
        _ => Nature::Pipe,
    }
}

fn connect(path: &Path) -> Result<UnixDatagram, Error> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The lines of a buffer, without their ends.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Whether a destination can be opened, without making anything.
pub(super) fn check(destination: &Destination) -> Result<(), Error> {
    let Destination::File(path) = destination else { return Outlet::open(destination).map(drop) };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(Errno::ISDIR.into()),
        // To open one without its reader fails, and its reader would see one more writer come and go.
        Ok(metadata) if metadata.file_type().is_fifo() => Ok(()),
        Ok(_) => OpenOptions::new().append(true).open(path).map(drop),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            use rustix::fs::Access;
            let directory = path.parent().unwrap_or(Path::new("/"));
            Ok(rustix::fs::access(directory, Access::EXISTS | Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
