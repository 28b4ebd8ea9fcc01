//! The error log: how much is told, and to whom.
//!
//! [`init`] sends messages to standard error, where they go until the configuration is read; [`configure`] names another
//! destination and another level, at the start and at each reload. `message` makes a line of each.
//!
//! Invariant: whoever has something to tell never waits for it to be written. When too many lines wait already, one
//! is dropped, and how many were is told when there is room again.

mod message;

use super::journal::{self, Destination, Priority, Sink};
use message::Style;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is told; each level tells what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// Starts, stops, and what an administrator may have to explain.
    #[default]
    Info,
    /// One line an exchange and the reasons of refusals too.
    Debug,
    /// Everything, the engine's own messages included.
    Trace,
}

impl Level {
    /// The levels by their names.
    pub const NAMES: [(&'static str, Level); 5] = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Level::NAMES.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }

    fn filter(self) -> Targets {
        let (own, engine) = match self {
            Level::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
            Level::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
            Level::Info => (LevelFilter::INFO, LevelFilter::ERROR),
            Level::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
            Level::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
        };
        Targets::new().with_default(engine).with_target("otus_httpd", own)
    }
}

/// What the error log is told to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where messages go.
    pub destination: Destination,
    /// How much is told.
    pub level: Level,
}

/// The running log; dropping it writes out what still waits.
pub struct Log(());

/// Where messages go at the moment, and in which form.
struct Current {
    sink: Arc<Sink>,
    style: Style,
}

static CURRENT: RwLock<Option<Current>> = RwLock::new(None);

static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Sends messages to standard error from here on. The first call in a process counts.
pub fn init(level: Level) -> Log {
    journal::start();
    direct(journal::sink(&Destination::Stderr));
    let (filter, handle) = reload::Layer::new(level.filter());
    // A second call, as tests in one process make, keeps the first subscriber.
    if tracing_subscriber::registry().with(Messages.with_filter(filter)).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let message = payload(panic).replace('\n', " ");
        let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        tracing::error!(thread, "panic at {place}: {message}");
    }));
    Log(())
}

/// Sends messages where `options` say, from here on; an error is one line with its remedy, and nothing has changed then.
pub fn configure(options: &Options) -> Result<(), String> {
    let mut sinks = journal::open(std::slice::from_ref(&options.destination))?;
    if let Some(sink) = sinks.pop() {
        direct(sink);
    }
    if let Some(handle) = FILTER.get() {
        // It fails only without a subscriber, which lives as long as the process.
        let _ = handle.reload(options.level.filter());
    }
    Ok(())
}

fn direct(sink: Arc<Sink>) {
    let style = Style::of(sink.destination());
    let mut current = CURRENT.write().unwrap_or_else(PoisonError::into_inner);
    let _former = current.replace(Current { sink, style });
}

impl Drop for Log {
    fn drop(&mut self) {
        journal::finish(FINISH_TIMEOUT);
    }
}

/// How long the end of the process waits for logs that nobody takes.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Hands each message over as a line.
struct Messages;

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let current = CURRENT.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Current { sink, style }) = &*current {
            sink.record(message::render(event, *style), priority(*event.metadata().level()));
        }
    }
}

fn priority(level: tracing::Level) -> Priority {
    match level {
        tracing::Level::ERROR => Priority::Error,
        tracing::Level::WARN => Priority::Warning,
        tracing::Level::INFO => Priority::Informational,
        _ => Priority::Debug,
    }
}

/// What the panic said, where it said a text.
fn payload<'a>(panic: &'a std::panic::PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
