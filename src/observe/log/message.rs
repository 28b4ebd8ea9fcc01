//! One message as one line: when, how grave, from where, what.
//!
//! Invariant: whatever a message quotes, it is one line, and holds no control character but the colours of our own.

use super::super::journal::{Destination, journald_entry, utc_time};
use super::priority;
use std::fmt::{self, Debug, Write};
use std::os::linux::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The form that a destination wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For people, in colours.
    Terminal,
    /// With date and level.
    Line,
    /// On a stream of journald's own: it knows the date, and reads the level in front (sd-daemon(3)).
    Stream,
    /// For a syslog daemon: date and level come with the datagram.
    Syslog,
    /// An entry for journald, field by field.
    Entry,
}

impl Style {
    /// The form for a destination.
    pub(super) fn of(destination: &Destination) -> Style {
        use std::io::IsTerminal;
        match destination {
            Destination::Stderr if is_journald(std::env::var("JOURNAL_STREAM").ok().as_deref()) => Style::Stream,
            Destination::Stderr if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() => {
                Style::Terminal
            }
            Destination::File(_) | Destination::Stdout | Destination::Stderr => Style::Line,
            Destination::Syslog(_) => Style::Syslog,
            Destination::Journald(_) => Style::Entry,
        }
    }
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names by device and inode (systemd.exec(5)).
fn is_journald(stream: Option<&str>) -> bool {
    let named = stream.and_then(|stream| stream.split_once(':'));
    let Some((device, inode)) = named else { return false };
    // Asked through /proc, which gives the numbers of the stream behind the descriptor.
    let Ok(metadata) = std::fs::metadata("/proc/self/fd/2") else { return false };
    device.parse() == Ok(metadata.st_dev()) && inode.parse() == Ok(metadata.st_ino())
}

/// The message in the form of `style`, with its line end where it is a line.
pub(super) fn render(event: &Event<'_>, style: Style) -> Vec<u8> {
    let metadata = event.metadata();
    let mut parts = Parts { text: String::new(), target: None, path: None };
    event.record(&mut parts);
    let Parts { text, target, path } = parts;
    let target = target.as_deref().unwrap_or(metadata.target());
    let level = *metadata.level();
    let mut line = Vec::with_capacity(text.len() + 80);
    match style {
        Style::Entry => {
            let mut fields =
                vec![("OTUS_HTTPD_TARGET", target.as_bytes()), ("OTUS_HTTPD_LEVEL", level.as_str().as_bytes())];
            if let Some(path) = &path {
                fields.push(("OTUS_HTTPD_PATH", path.as_bytes()));
            }
            return journald_entry(text.as_bytes(), priority(level), &fields);
        }
        Style::Stream => line.extend_from_slice(&[b'<', b'0' + priority(level) as u8, b'>']),
        Style::Syslog => {}
        Style::Line | Style::Terminal => {
            let (colour, plain) = if style == Style::Terminal { (colour(level), "\x1b[0m") } else { ("", "") };
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            utc_time(since_epoch.as_secs(), since_epoch.subsec_micros(), &mut line);
            line.extend_from_slice(format!(" {colour}{:>5}{plain} ", level.as_str()).as_bytes());
        }
    }
    line.extend_from_slice(target.as_bytes());
    line.extend_from_slice(b": ");
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    line
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// The fields of a message: its text, and the others behind it.
struct Parts {
    text: String,
    /// Where a record of the engine says that it comes from.
    target: Option<String>,
    path: Option<String>,
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut out = OneLine(&mut self.text);
        // Writing into memory does not fail.
        let _ = match field.name() {
            "message" => write!(out, "{value:?}"),
            "log.target" => {
                self.target = Some(format!("{value:?}").trim_matches('"').to_owned());
                Ok(())
            }
            name if name.starts_with("log.") => Ok(()),
            name => {
                if name == "path" {
                    self.path = Some(format!("{value:?}"));
                }
                let space = if out.0.is_empty() { "" } else { " " };
                write!(out, "{space}{name}={value:?}")
            }
        };
    }
}

/// Writes control characters as what they are called.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    struct Collect(Arc<Mutex<Vec<String>>>, Style);

    impl<S: Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let line = String::from_utf8(render(event, self.1)).expect("text");
            self.0.lock().expect("nobody panics").push(line);
        }
    }

    fn told(style: Style, tell: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Collect(lines.clone(), style));
        tracing::subscriber::with_default(subscriber, tell);
        let lines = lines.lock().expect("nobody panics");
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    }

    #[test]
    fn a_message_is_one_line_whatever_it_quotes() {
        let tell = || tracing::warn!(target: "here", path = "/a\nb", number = 7, "what {} is", "a\r\n\x1b[31mline");
        for (style, expected) in [
            (Style::Syslog, "here: what a\\r\\n\\u{1b}[31mline is path=\"/a\\nb\" number=7\n"),
            (Style::Stream, "<4>here: what a\\r\\n\\u{1b}[31mline is path=\"/a\\nb\" number=7\n"),
        ] {
            assert_eq!(told(style, tell), expected);
        }
        let line = told(Style::Line, tell);
        assert!(line.contains("Z  WARN here: what a") && line.lines().count() == 1, "{line}");
        assert!(told(Style::Terminal, tell).contains("\x1b[33m WARN\x1b[0m here: "));
        let entry = told(Style::Entry, tell);
        assert!(entry.starts_with("MESSAGE=what a\\r\\n") && entry.contains("\nPRIORITY=4\n"), "{entry}");
        assert!(entry.contains("\nOTUS_HTTPD_TARGET=here\n") && entry.contains("\nOTUS_HTTPD_PATH=\"/a\\nb\"\n"));
    }

    #[test]
    fn a_stream_is_known_by_its_numbers() {
        let metadata = std::fs::metadata("/proc/self/fd/2").expect("there is a standard error");
        let name = format!("{}:{}", metadata.st_dev(), metadata.st_ino());
        for (stream, expected) in [(Some(name.as_str()), true), (Some("1:2"), false), (Some("x"), false), (None, false)]
        {
            assert_eq!(is_journald(stream), expected, "{stream:?}");
        }
    }
}
