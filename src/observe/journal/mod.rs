//! Where lines go: destinations, each opened once for all cores, and the way there.
//!
//! Order: [`open`] interns destinations and opens them · whoever has lines gives them to [`Sink::hand_over`] or
//! [`Sink::record`] · one thread (`writer`) takes them off a bounded queue and writes them to the `outlet` of their
//! sink, datagrams framed by `framing` · [`reopen`] begins the files anew · [`finish`] writes out what waits.
//!
//! Invariant: nobody but the writer's thread ever waits for a destination. What finds no room is dropped by whole lines,
//! and counted.

mod framing;
mod outlet;
mod writer;

pub(crate) use framing::{Civil, utc_time};
pub use framing::{JOURNALD_SOCKET, Priority, SYSLOG_SOCKET, journald_entry};
pub use writer::utc_offset_seconds;

use outlet::State;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A file, by its absolute path; it may be a FIFO.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The local socket of a syslog daemon.
    Syslog(PathBuf),
    /// The native socket of journald.
    Journald(PathBuf),
}

/// A text that names no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a path that begins with a slash, \"stdout\", \"stderr\", \"syslog\", \"journald\" or \"off\" (and a socket as \
     \"syslog:/path\" or \"journald:/path\")"
)]
pub struct BadDestination;

impl Destination {
    /// The destination of this name; `None` for `off`.
    pub fn parse(text: &str) -> Result<Option<Destination>, BadDestination> {
        let path = |path: &str| {
            let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
            if is_path { Ok(PathBuf::from(path)) } else { Err(BadDestination) }
        };
        Ok(Some(match text {
            "off" => return Ok(None),
            "stdout" => Destination::Stdout,
            "stderr" => Destination::Stderr,
            "syslog" => Destination::Syslog(PathBuf::from(SYSLOG_SOCKET)),
            "journald" => Destination::Journald(PathBuf::from(JOURNALD_SOCKET)),
            _ => match text.split_once(':') {
                Some(("syslog", socket)) => Destination::Syslog(path(socket)?),
                Some(("journald", socket)) => Destination::Journald(path(socket)?),
                _ => Destination::File(path(text)?),
            },
        }))
    }

    /// Whether it can be written to as things are. Makes nothing: a file that the administrator's check made would not
    /// be the server's to write.
    pub fn check(&self) -> Result<(), String> {
        outlet::check(self).map_err(|error| self.cannot_be_opened(&error))
    }

    fn cannot_be_opened(&self, error: &std::io::Error) -> String {
        use std::io::ErrorKind;
        let remedy = match (self, error.kind()) {
            (Destination::File(_), ErrorKind::NotFound) => "make its directory, which the server does not",
            (Destination::File(_), ErrorKind::PermissionDenied) => {
                "let the server's user write it, and its directory (chown)"
            }
            (Destination::File(_), _) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                "start the reader of the FIFO first"
            }
            (Destination::Syslog(_), ErrorKind::NotFound) => {
                "start a syslog daemon, or name its socket: \"syslog:/path\""
            }
            (Destination::Journald(_), ErrorKind::NotFound) => {
                "systemd-journald does not run here; name another destination"
            }
            _ => "name another destination, or \"off\"",
        };
        format!("the log {self} cannot be opened: {error}; {remedy}")
    }
}

impl fmt::Display for Destination {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = |f: &mut fmt::Formatter<'_>, name, path: &Path, usual| {
            if path == Path::new(usual) { f.write_str(name) } else { write!(f, "{name}:{}", path.display()) }
        };
        match self {
            Destination::File(path) => write!(f, "{}", path.display()),
            Destination::Stdout => f.write_str("stdout"),
            Destination::Stderr => f.write_str("stderr"),
            Destination::Syslog(path) => socket(f, "syslog", path, SYSLOG_SOCKET),
            Destination::Journald(path) => socket(f, "journald", path, JOURNALD_SOCKET),
        }
    }
}

/// A destination that lines may be handed over to: one for each that is in use, shared by all cores, and closed when
/// nobody has it any more.
pub struct Sink {
    destination: Destination,
    /// Taken by the writer, and by whoever opens it; never by a worker.
    state: Mutex<State>,
    /// Whether it was opened once: then nobody but the writer has to look at its state.
    is_open: AtomicBool,
    dropped_lines: AtomicU64,
}

/// Lines that were lost since the process began, over all destinations.
static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// Lines of all logs that were dropped since the process began, because nobody took them in time.
pub fn dropped_lines() -> u64 {
    DROPPED_LINES.load(Ordering::Relaxed)
}

impl Sink {
    /// Where its lines go.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Gives whole lines to the writer, which sends the buffer `home` when it is empty again. Gives it back, and the lines
    /// are dropped, when too many wait already.
    pub fn hand_over(self: &Arc<Sink>, bytes: Vec<u8>, lines: u64, home: &SyncSender<Vec<u8>>) -> Result<(), Vec<u8>> {
        let message = Message::Lines { sink: self.clone(), bytes, lines, home: home.clone() };
        match queue().try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.drop_lines(lines);
                match message {
                    Message::Lines { mut bytes, .. } => {
                        bytes.clear();
                        Err(bytes)
                    }
                    _ => unreachable!("it is the message that was sent"),
                }
            }
        }
    }

    /// Gives one message of the error log to the writer: a line, or for journald a whole entry.
    pub fn record(self: &Arc<Sink>, bytes: Vec<u8>, priority: Priority) {
        if queue().try_send(Message::Record { sink: self.clone(), bytes, priority }).is_err() {
            self.drop_lines(1);
        }
    }

    /// Counts lines that nobody will see.
    pub fn drop_lines(&self, lines: u64) {
        self.dropped_lines.fetch_add(lines, Ordering::Relaxed);
        DROPPED_LINES.fetch_add(lines, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is consistent at every step: bytes that were written are counted at once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", self.destination)
    }
}

/// The sinks that somebody has.
static SINKS: Mutex<Vec<Weak<Sink>>> = Mutex::new(Vec::new());

/// The sink of a destination; it is opened when the first line comes, where nobody did before.
pub fn sink(destination: &Destination) -> Arc<Sink> {
    let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
    sinks.retain(|sink| sink.strong_count() > 0);
    if let Some(sink) = sinks.iter().filter_map(Weak::upgrade).find(|sink| sink.destination == *destination) {
        return sink;
    }
    let sink = Arc::new(Sink {
        destination: destination.clone(),
        state: Mutex::default(),
        is_open: AtomicBool::new(false),
        dropped_lines: AtomicU64::new(0),
    });
    sinks.push(Arc::downgrade(&sink));
    sink
}

fn sinks() -> Vec<Arc<Sink>> {
    SINKS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

/// Opens these destinations, those that are open already excepted; an error is one line with its remedy. They stay
/// open for as long as one has the sinks.
pub fn open(destinations: &[Destination]) -> Result<Vec<Arc<Sink>>, String> {
    let sinks: Vec<_> = destinations.iter().map(sink).collect();
    // One that is open may be in the middle of a write that takes long.
    for sink in sinks.iter().filter(|sink| !sink.is_open.load(Ordering::Relaxed)) {
        sink.state().open(&sink.destination).map_err(|error| sink.destination.cannot_be_opened(&error))?;
        sink.is_open.store(true, Ordering::Relaxed);
    }
    Ok(sinks)
}

/// Begins all files anew: what was handed over so far goes into those that are open now, everything else into new ones
/// of the same names. Does not wait for it.
pub fn reopen() {
    if queue().try_send(Message::Reopen).is_err() {
        REOPEN_ASKED.store(true, Ordering::Relaxed);
    }
}

/// Whether files are to be begun anew as soon as the writer has time for it: there was no room in the queue.
static REOPEN_ASKED: AtomicBool = AtomicBool::new(false);

/// Starts the writer. To be called by the main thread before there are others: a thread inherits what its parent is bound to
/// and may do.
pub fn start() {
    queue();
}

/// Waits until everything that was handed over is written, or `time` has passed.
pub fn finish(time: Duration) {
    let (done, wait) = sync_channel(1);
    if queue().try_send(Message::Finish(done)).is_ok() {
        let _ = wait.recv_timeout(time);
    }
}

/// What the writer is sent.
enum Message {
    Lines { sink: Arc<Sink>, bytes: Vec<u8>, lines: u64, home: SyncSender<Vec<u8>> },
    Record { sink: Arc<Sink>, bytes: Vec<u8>, priority: Priority },
    Reopen,
    Finish(SyncSender<()>),
}

/// Messages that may wait. Each core has lent out a few buffers at most, so that lines of access logs leave room
/// for those of the error log.
const WAITING_MESSAGES_MAX: usize = 4096;

/// The way to the writer.
fn queue() -> &'static SyncSender<Message> {
    static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (sender, messages): (_, Receiver<Message>) = sync_channel(WAITING_MESSAGES_MAX);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer::run(&messages))
            .expect("a process that cannot start one thread cannot start workers either");
        sender
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_written_alike() {
        for (text, expected) in [
            ("/var/log/a.log", Some(Destination::File("/var/log/a.log".into()))),
            ("stdout", Some(Destination::Stdout)),
            ("stderr", Some(Destination::Stderr)),
            ("syslog", Some(Destination::Syslog("/dev/log".into()))),
            ("syslog:/run/x", Some(Destination::Syslog("/run/x".into()))),
            ("journald", Some(Destination::Journald(JOURNALD_SOCKET.into()))),
            ("journald:/run/x", Some(Destination::Journald("/run/x".into()))),
            ("off", None),
        ] {
            let parsed = Destination::parse(text).expect(text);
            assert_eq!(parsed, expected, "{text}");
            assert!(parsed.is_none_or(|destination| destination.to_string() == text), "{text}");
        }
        for text in ["", "access.log", "/var/log/", "syslog:", "syslog:x", "Stdout", "file:/x", "/a\0b"] {
            assert_eq!(Destination::parse(text), Err(BadDestination), "{text:?}");
        }
    }

    #[test]
    fn one_destination_has_one_sink_while_somebody_has_it() {
        let destination = Destination::File("/no/such/directory/a.log".into());
        let (one, other) = (sink(&destination), sink(&destination));
        assert!(Arc::ptr_eq(&one, &other));
        one.drop_lines(2);
        drop((one, other));
        assert_eq!(sink(&destination).dropped_lines.load(Ordering::Relaxed), 0, "it is another one");
        let error = open(&[destination]).expect_err("its directory is missing");
        assert!(error.contains("/no/such/directory/a.log") && error.contains("make its directory"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
