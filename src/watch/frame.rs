//! The state of a server as lines of text.
//!
//! Order: what goes on · workers · who takes most · what is sent · what took long. Where rows are few, each list is told of
//! in fewer of them.
//!
//! Invariant: no more lines than rows, no line of more characters than columns, and none that a terminal would obey.

use crate::server::admin::human::{bytes, duration, number, percent};
use crate::server::admin::status::{Status, Top};

/// Room to show it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) columns: usize,
    /// None where there is no end of them.
    pub(super) rows: Option<usize>,
}

/// A line, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Heading,
    Faint,
    Alarm,
}

/// The lines of a state.
pub(super) fn lines(status: &Status, size: Size) -> Vec<Line> {
    let mut page = Page { lines: Vec::new(), columns: size.columns };
    overview(&mut page, status);
    let rows = size.rows.unwrap_or(usize::MAX);
    // The rows below the overview, less one for what to type.
    let mut left = rows.saturating_sub(page.lines.len() + usize::from(size.rows.is_some()));
    for section in [workers, tops, transfers, slowest] {
        let mut part = Page { lines: Vec::new(), columns: size.columns };
        section(&mut part, status, left);
        // A list without its heading, or a heading without its list, says nothing.
        if part.lines.len() < 3 {
            continue;
        }
        part.lines.truncate(left);
        left -= part.lines.len();
        page.lines.append(&mut part.lines);
    }
    page.lines.truncate(rows);
    if size.rows.is_some() && page.lines.len() < rows {
        page.push(Look::Faint, "q ends");
    }
    page.lines
}

/// What is shown when the server does not answer.
pub(super) fn trouble(error: &str, size: Size) -> Vec<Line> {
    let mut page = Page { lines: Vec::new(), columns: size.columns };
    page.push(Look::Alarm, error);
    page.push(Look::Faint, "trying again each second; q ends");
    page.lines
}

struct Page {
    lines: Vec<Line>,
    columns: usize,
}

impl Page {
    fn push(&mut self, look: Look, text: &str) {
        let text: String = text.trim_end().chars().map(harmless).take(self.columns).collect();
        self.lines.push(Line { text, look });
    }

    /// A list begins with an empty line and its heading.
    fn heading(&mut self, text: &str) {
        self.push(Look::Plain, "");
        self.push(Look::Heading, text);
    }
}

/// What comes from clients must not move the cursor, nor turn the direction of writing.
fn harmless(character: char) -> char {
    let is_directional =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if character.is_control() || is_directional { '?' } else { character }
}

/// A text of exactly so many characters, cut in its middle where it is longer.
fn fitted(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return format!("{text:<width$}");
    }
    let tail = width / 2;
    let head: String = text.chars().take(width.saturating_sub(tail + 1)).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{head}…{end}")
}

fn overview(page: &mut Page, status: &Status) {
    let Status { traffic, cache, .. } = status;
    let look = if status.state == "serving" { Look::Heading } else { Look::Alarm };
    let up = duration(status.uptime_seconds as f64);
    page.push(look, &format!("otus-httpd {}: {}, up {up}, process {}", status.version, status.state, status.pid));
    page.push(
        Look::Plain,
        &format!(
            "requests {}/s  sent {}/s  received {}/s  cache {} {}",
            number(traffic.requests_per_second),
            bytes(traffic.sent_bytes_per_second),
            bytes(traffic.received_bytes_per_second),
            bytes(cache.bytes as f64),
            match cache.hits + cache.misses {
                0 => String::new(),
                looked => format!("({} hits)", percent(cache.hits as f64 / looked as f64)),
            },
        ),
    );
    let total: u64 = status.connections.iter().map(|count| count.count).sum();
    let of_states = status.connections.iter().filter(|count| count.count > 0);
    let of_states: Vec<_> = of_states.map(|one| format!("{} {}", one.name.replace('_', " "), one.count)).collect();
    page.push(Look::Plain, &format!("connections {total}  {}", of_states.join(", ")));
    let answers: Vec<_> =
        status.responses.iter().map(|one| format!("{} {}", one.name, number(one.count as f64))).collect();
    page.push(Look::Plain, &format!("answers {}  {}", number(traffic.requests as f64), answers.join(", ")));
    let trouble = status.trouble.rows();
    let trouble: Vec<_> =
        trouble.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if !trouble.is_empty() {
        page.push(Look::Alarm, &format!("since the start: {}", trouble.join(", ")));
    }
    if let Some(first) = status.certificates.iter().min_by_key(|certificate| certificate.ends_unix_seconds) {
        let look = if first.is_due() { Look::Alarm } else { Look::Plain };
        let count = status.certificates.len();
        let which = if count == 1 { "certificate".to_owned() } else { format!("first of {count} certificates") };
        page.push(look, &format!("{which}: {}; {} ({})", first.days(), first.file, first.names.join(", ")));
    }
}

/// Cells of a bar.
const BAR_CELLS: usize = 10;

fn bar(share: f64) -> String {
    // A share is from 0 to 1.
    let full = ((share * BAR_CELLS as f64).round() as usize).min(BAR_CELLS);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

fn workers(page: &mut Page, status: &Status, rows: usize) {
    page.heading("worker  busy                req/s      sent/s  connections  restarts    stall");
    let shown = status.workers.len().min((rows / 3).max(4));
    for worker in &status.workers[..shown] {
        let stall =
            if worker.stall_worst_seconds == 0.0 { "-".to_owned() } else { duration(worker.stall_worst_seconds) };
        let busy = if worker.is_up { percent(worker.busy_share) } else { "down".to_owned() };
        let line = format!(
            "{:>6}  {} {busy:>5}  {:>7}  {:>10}  {:>11}  {:>8}  {stall:>7}",
            worker.index,
            bar(worker.busy_share),
            number(worker.requests_per_second),
            bytes(worker.sent_bytes_per_second),
            worker.connections,
            worker.restarts,
        );
        page.push(if worker.is_up { Look::Plain } else { Look::Alarm }, &line);
    }
    if shown < status.workers.len() {
        page.push(Look::Faint, &format!("        and {} more", status.workers.len() - shown));
    }
}

/// Paths and clients beside each other.
fn tops(page: &mut Page, status: &Status, rows: usize) {
    let (left, right) = (&status.top_paths, &status.top_clients);
    let count = left.len().max(right.len()).min((rows / 2).saturating_sub(2).max(3));
    let width = page.columns.saturating_sub(3) / 2;
    let cell = |tops: &[Top], at: usize| {
        tops.get(at).map_or_else(
            || " ".repeat(width),
            |top| format!("{} {:>9}", fitted(&top.name, width.saturating_sub(10)), bytes(top.bytes as f64)),
        )
    };
    page.heading(&format!("{}   {}", fitted("top paths by bytes, lately", width), "top clients"));
    for at in 0..count {
        page.push(Look::Plain, &format!("{}   {}", cell(left, at), cell(right, at)));
    }
}

fn transfers(page: &mut Page, status: &Status, rows: usize) {
    let width = page.columns.saturating_sub(60).max(10);
    let title = format!("open transfers: {}", status.transfers_count);
    page.heading(&format!("{} {:<24}             {:>9} {:>11}", fitted(&title, width), "client", "of", "per second"));
    let shown = status.transfers.len().min((rows / 2).max(3));
    for transfer in &status.transfers[..shown] {
        let share = transfer.sent_bytes as f64 / transfer.promised_bytes.max(1) as f64;
        page.push(
            Look::Plain,
            &format!(
                "{} {} {} {:>9} {:>11}",
                fitted(&transfer.path, width),
                fitted(&transfer.client, 24),
                bar(share.min(1.0)),
                bytes(transfer.promised_bytes as f64),
                bytes(transfer.bytes_per_second as f64),
            ),
        );
    }
}

fn slowest(page: &mut Page, status: &Status, _rows: usize) {
    let width = page.columns.saturating_sub(60).max(10);
    let title = fitted("slowest, lately", width);
    page.heading(&format!("{title} {:<24} {:>4} {:>8} {:>9} {:>8}", "client", "code", "took", "bytes", "ago"));
    for slow in &status.slowest {
        page.push(
            Look::Plain,
            &format!(
                "{} {} {:>4} {:>8} {:>9} {:>8}",
                fitted(&slow.path, width),
                fitted(&slow.client, 24),
                slow.status,
                duration(slow.seconds),
                bytes(slow.bytes as f64),
                if slow.ago_seconds == 0 { "now".to_owned() } else { duration(slow.ago_seconds as f64) },
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::status::{Slow, Transfer, Worker};

    fn busy() -> Status {
        let path = |number: u64| format!("/a/rather/long/path/to/something/{number}\x1b[2J\u{202e}");
        Status {
            state: "serving".to_owned(),
            workers: (0..64).map(|index| Worker { index, is_up: index != 1, ..Worker::default() }).collect(),
            top_paths: (0..10).map(|number| Top { name: path(number), bytes: 1 << number }).collect(),
            top_clients: vec![Top { name: "192.0.2.1".to_owned(), bytes: 1 }],
            transfers: (0..20)
                .map(|n| Transfer { path: path(n), sent_bytes: n, promised_bytes: 9, ..Transfer::default() })
                .collect(),
            slowest: (0..10).map(|number| Slow { path: path(number), ..Slow::default() }).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn it_fits_whatever_the_size() {
        for (columns, rows) in [(80, 24), (20, 5), (1, 1), (200, 100), (80, 2)] {
            let lines = lines(&busy(), Size { columns, rows: Some(rows) });
            assert!(lines.len() <= rows, "{} lines of {rows}", lines.len());
            for line in lines {
                assert!(line.text.chars().count() <= columns, "{columns}: {:?}", line.text);
                assert!(!line.text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", line.text);
            }
        }
    }

    #[test]
    fn a_common_terminal_shows_something_of_the_first_lists() {
        let text: String = lines(&busy(), Size { columns: 80, rows: Some(24) })
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect();
        for word in ["otus-httpd", "requests", "connections", "worker  busy", "and 58 more", "top paths", "top clients"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(text.contains("…mething/0?[2J?") && text.contains("192.0.2.1"), "{text}");
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle() {
        assert_eq!(fitted("abcdefghij", 7), "abc…hij");
        assert_eq!(fitted("abc", 5), "abc  ");
    }
}
