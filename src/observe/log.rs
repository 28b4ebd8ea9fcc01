//! Sets up the messages: levels, and one line each on standard error.
//!
//! Lines are written by a thread of their own. Standard error may be a pipe whose reader sleeps,
//! and a worker that waits for it would serve nobody.
//!
//! Invariant: a worker never waits for a line to be written. When too many wait already, a line
//! is dropped, and how many were is told with the next one.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// What an administrator must see: warnings, errors, starts and stops.
    Normal,
    /// One line an exchange and the reasons of refusals too.
    Debug,
    /// Everything, the engine's own messages included.
    Trace,
}

/// The running log; dropping it writes out what still waits.
pub struct Log {
    lines: SyncSender<Entry>,
}

/// Sends messages to standard error from here on. The first call in a process counts.
pub fn init(verbosity: Verbosity) -> Log {
    let (own, engine) = match verbosity {
        Verbosity::Normal => (LevelFilter::INFO, LevelFilter::ERROR),
        Verbosity::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        Verbosity::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let filter = Targets::new().with_default(engine).with_target("otus_httpd", own);
    let (lines, entries) = sync_channel(WAITING_LINES_MAX);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&entries))
        .expect("a process that cannot start one thread cannot start workers either");
    let writer = LineWriter(lines.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_terminal());
    // A second call, as tests in one process make, keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let message = payload(panic).replace('\n', " ");
        let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        tracing::error!(thread, "panic at {place}: {message}");
    }));
    Log { lines }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        if self.lines.try_send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Lines that may wait to be written; a few hundred KiB.
const WAITING_LINES_MAX: usize = 2048;

/// How long the end of the process waits for a standard error that nobody reads.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Vec<u8>),
    /// Answered once all lines before it are written.
    Flush(SyncSender<()>),
}

fn write_lines(entries: &Receiver<Entry>) {
    let mut stderr = std::io::stderr();
    for entry in entries {
        // A standard error that is closed is no reason to end: nobody could be told.
        match entry {
            Entry::Line(line) => drop(stderr.write_all(&line)),
            Entry::Flush(done) => drop(done.try_send(())),
        }
        let dropped = DROPPED_LINES.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(stderr, "otus-httpd: {dropped} lines of the log were dropped: nobody took them in time");
        }
    }
}

#[derive(Clone)]
struct LineWriter(SyncSender<Entry>);

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        self.clone()
    }
}

impl Write for LineWriter {
    /// Takes one whole line, as the formatter gives it.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.0.try_send(Entry::Line(line.to_vec())).is_err() {
            DROPPED_LINES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}

/// What the panic said, where it said a text.
fn payload<'a>(panic: &'a std::panic::PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_log_that_is_not_read() {
        let (lines, entries) = sync_channel(2);
        let mut writer = LineWriter(lines);
        let before = DROPPED_LINES.load(Ordering::Relaxed);
        for _ in 0..5 {
            writer.write_all(b"a line\n").expect("writing never fails");
        }
        assert_eq!(DROPPED_LINES.load(Ordering::Relaxed) - before, 3);
        assert!(matches!(entries.try_recv(), Ok(Entry::Line(line)) if line == b"a line\n"));
    }
}
