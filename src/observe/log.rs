//! Sets up the messages: levels, and one line each on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
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

/// Sends messages to standard error from here on. The first call in a process counts.
pub fn init(verbosity: Verbosity) {
    let (own, engine) = match verbosity {
        Verbosity::Normal => (LevelFilter::INFO, LevelFilter::ERROR),
        Verbosity::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        Verbosity::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let filter = Targets::new().with_default(engine).with_target("otus_httpd", own);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_terminal());
    // A second call, as tests in one process make, keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let message = payload(panic).replace('\n', " ");
        let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        tracing::error!(thread, "panic at {place}: {message}");
    }));
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
