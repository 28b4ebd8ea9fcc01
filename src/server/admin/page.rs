//! The state of the server as a page for people: one document, with all that it needs in it.
//!
//! Order: what goes on · the workers · who takes most · what takes long · what is sent now · what the server is.
//!
//! Invariant: every text that comes from elsewhere goes through [`Text`], which escapes it.

use super::human::{bytes, duration, number, percent};
use super::status::{Count, Status, Top};
use std::fmt::{self, Display, Write};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page; `nonce` is what its style and script are told by.
pub(super) fn render(status: &Status, nonce: &str) -> String {
    let mut html = String::with_capacity(32 * 1024);
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>otus-httpd: {state}</title><noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>\
         <style nonce=\"{nonce}\">\n{STYLE}</style></head>\n<body><main>\n{main}</main>\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script></body></html>\n",
        state = Text(&status.state),
        main = Main(status),
    );
    html
}

/// A text as HTML. Control characters, and those that turn the direction of writing, could make a line look as what it is not.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ if character.is_control() || is_directional(character) => f.write_char('\u{fffd}')?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Marks of the direction of writing, which nothing to see goes with.
fn is_directional(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

struct Main<'a>(&'a Status);

impl Display for Main<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        head(f, status)?;
        f.write_str("<div class=\"grid\">\n")?;
        cards(f, status)?;
        f.write_str("</div>\n<div class=\"wide\">\n")?;
        workers(f, status)?;
        top(f, "Top paths", &status.top_paths)?;
        f.write_str("</div>\n<div class=\"wide narrow\">\n")?;
        connections(f, status)?;
        top(f, "Top clients", &status.top_clients)?;
        f.write_str("</div>\n")?;
        transfers(f, status)?;
        slowest(f, status)?;
        f.write_str("<div class=\"wide\">\n")?;
        memory(f, status)?;
        trouble(f, status)?;
        about(f, status)?;
        f.write_str("</div>\n")
    }
}

fn head(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let good = if status.state == "serving" { " good" } else { "" };
    writeln!(
        f,
        "<header><h1>otus-httpd</h1><span class=\"state{good}\">{}</span><span class=\"muted\">version {} · up {} · process {}</span></header>",
        Text(&status.state),
        Text(&status.version),
        duration(status.uptime_seconds as f64),
        status.pid,
    )
}

fn cards(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let traffic = &status.traffic;
    let mut card = |name: &str, value: String, unit: &str, below: &dyn Display| {
        writeln!(f, "<section><h2>{name}</h2><div class=\"value\">{value} <small>{unit}</small></div>{below}</section>")
    };
    card("Requests", number(traffic.requests_per_second), "per second", &Curve(&traffic.requests_by_second))?;
    card("Sent", bytes(traffic.sent_bytes_per_second), "per second", &Curve(&traffic.sent_bytes_by_second))?;
    let connections: u64 = status.connections.iter().map(|count| count.count).sum();
    let most = match status.connections_max {
        0 => String::new(),
        most => format!("of {} at most", number(most as f64)),
    };
    card("Connections", number(connections as f64), &most, &Muted(format!("{} transfers", status.transfers_count)))?;
    let looked = status.cache.hits + status.cache.misses;
    let hits = if looked == 0 { "–".to_owned() } else { percent(status.cache.hits as f64 / looked as f64) };
    card("Cache hits", hits, "since the start", &Muted(format!("{} held", bytes(status.cache.bytes as f64))))
}

struct Muted(String);

impl Display for Muted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<div class=\"muted\">{}</div>", Text(&self.0))
    }
}

/// A minute as a line.
struct Curve<'a>(&'a [u64]);

impl Display for Curve<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.0.iter().copied().max().unwrap_or(0).max(1) as f64;
        let begin = 60usize.saturating_sub(self.0.len());
        f.write_str("<svg viewBox=\"0 0 59 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"the last minute\"><polyline points=\"")?;
        for (second, value) in (begin..).zip(self.0) {
            write!(f, "{second},{:.1} ", 19.0 - 18.0 * *value as f64 / most)?;
        }
        f.write_str("\"/></svg>")
    }
}

fn workers(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    f.write_str(
        "<section><h2>Workers</h2><table><thead><tr><th>worker<th>busy<th><th class=\"right\">requests/s<th class=\"right\">sent/s\
         <th class=\"right\">connections<th class=\"right\">restarts<th class=\"right\">stall</thead><tbody>\n",
    )?;
    for worker in &status.workers {
        let class = if worker.is_up { "" } else { " class=\"bad\"" };
        let busy = if worker.is_up { percent(worker.busy_share) } else { "down".to_owned() };
        let stall =
            if worker.stall_worst_seconds == 0.0 { "–".to_owned() } else { duration(worker.stall_worst_seconds) };
        writeln!(
            f,
            "<tr><td>{}<td{class}>{busy}<td><progress max=\"1\" value=\"{:.3}\"></progress><td class=\"right\">{}\
             <td class=\"right\">{}<td class=\"right\">{}<td class=\"right\">{}<td class=\"right\">{stall}",
            worker.index,
            worker.busy_share,
            number(worker.requests_per_second),
            bytes(worker.sent_bytes_per_second),
            number(worker.connections as f64),
            worker.restarts,
        )?;
    }
    f.write_str("</tbody></table></section>\n")
}

fn connections(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    pairs(
        f,
        "Connections",
        status.connections.iter().map(|Count { name, count }| (name.replace('_', " "), *count as f64)),
    )?;
    pairs(f, "Answers since the start", status.responses.iter().map(|one| (one.name.clone(), one.count as f64)))
}

fn pairs(f: &mut fmt::Formatter<'_>, title: &str, pairs: impl Iterator<Item = (String, f64)>) -> fmt::Result {
    write!(f, "<section><h2>{title}</h2><table><tbody>")?;
    for (name, value) in pairs {
        write!(f, "<tr><td class=\"name\">{}<td class=\"right\">{}", Text(&name), number(value))?;
    }
    f.write_str("</tbody></table></section>\n")
}

fn top(f: &mut fmt::Formatter<'_>, title: &str, tops: &[Top]) -> fmt::Result {
    write!(f, "<section><h2>{title} <small>by bytes, lately</small></h2>")?;
    if tops.is_empty() {
        return f.write_str("<p class=\"none\">Nothing of weight was sent lately.</p></section>\n");
    }
    f.write_str("<table><tbody>\n")?;
    let most = tops[0].bytes.max(1);
    for Top { name, bytes: weight } in tops {
        writeln!(
            f,
            "<tr><td class=\"name\">{}<td><progress max=\"{most}\" value=\"{weight}\"></progress><td class=\"right\">{}",
            Text(name),
            bytes(*weight as f64),
        )?;
    }
    f.write_str("</tbody></table></section>\n")
}

fn transfers(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    if status.transfers.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "<div class=\"wide\"><section><h2>Open transfers <small>{} of {}</small></h2><table><thead><tr><th>path<th>client<th><th class=\"right\">sent\
         <th class=\"right\">of<th class=\"right\">per second<th class=\"right\">for</thead><tbody>",
        status.transfers.len(),
        status.transfers_count,
    )?;
    for transfer in &status.transfers {
        writeln!(
            f,
            "<tr><td class=\"name\">{}<td>{}<td><progress max=\"{}\" value=\"{}\"></progress><td class=\"right\">{}<td class=\"right\">{}\
             <td class=\"right\">{}<td class=\"right\">{}",
            Text(&transfer.path),
            Text(&transfer.client),
            transfer.promised_bytes.max(1),
            transfer.sent_bytes,
            bytes(transfer.sent_bytes as f64),
            bytes(transfer.promised_bytes as f64),
            bytes(transfer.bytes_per_second as f64),
            duration(transfer.seconds),
        )?;
    }
    f.write_str("</tbody></table></section></div>\n")
}

fn slowest(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    if status.slowest.is_empty() {
        return Ok(());
    }
    f.write_str(
        "<div class=\"wide\"><section><h2>Slowest requests <small>of the last five minutes</small></h2><table><thead><tr><th>path<th>client\
         <th class=\"right\">status<th class=\"right\">took<th class=\"right\">bytes<th class=\"right\">ago</thead><tbody>\n",
    )?;
    for slow in &status.slowest {
        writeln!(
            f,
            "<tr><td class=\"name\">{}<td>{}<td class=\"right\">{}<td class=\"right\">{}<td class=\"right\">{}<td class=\"right\">{}",
            Text(&slow.path),
            Text(&slow.client),
            slow.status,
            duration(slow.seconds),
            bytes(slow.bytes as f64),
            if slow.ago_seconds == 0 { "now".to_owned() } else { duration(slow.ago_seconds as f64) },
        )?;
    }
    f.write_str("</tbody></table></section></div>\n")
}

fn memory(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let (cache, disk) = (&status.cache, &status.disk);
    let rows = [
        ("entries of the cache", number(cache.entries as f64)),
        ("bytes of the cache", format!("{} of {}", bytes(cache.bytes as f64), bytes(cache.bytes_max as f64))),
        ("hits, misses", format!("{}, {}", number(cache.hits as f64), number(cache.misses as f64))),
        ("evictions", number(cache.evictions as f64)),
        ("shared content", format!("{} in {}", bytes(cache.shared_bytes as f64), number(cache.shared_entries as f64))),
        ("disk reads", format!("{}, {}", number(disk.reads as f64), bytes(disk.read_bytes as f64))),
        ("disk reads under way", number(disk.reads_in_flight as f64)),
        (
            "page cache reads",
            format!("{}, {}", number(disk.page_cache_reads as f64), bytes(disk.page_cache_read_bytes as f64)),
        ),
    ];
    f.write_str("<section><h2>Cache and disk</h2><table><tbody>")?;
    for (name, value) in rows {
        write!(f, "<tr><td class=\"name\">{name}<td class=\"right\">{value}")?;
    }
    f.write_str("</tbody></table></section>\n")
}

fn trouble(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    f.write_str("<section><h2>What should be zero</h2><table><tbody>")?;
    for (name, count) in status.trouble.rows() {
        let class = if count > 0 { " bad" } else { "" };
        write!(f, "<tr><td class=\"name\">{name}<td class=\"right{class}\">{}", number(count as f64))?;
    }
    f.write_str("</tbody></table></section>\n")
}

fn about(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    f.write_str("<section><h2>About</h2><table><tbody>")?;
    let listeners = status.listeners.iter().map(|listener| ("listens on", listener.as_str()));
    let sites = status.sites.iter().map(|site| ("site", site.as_str()));
    let notes = status.notes.iter().map(|note| (note.key.as_str(), note.value.as_str()));
    for (key, value) in listeners.chain(sites).chain(notes) {
        write!(f, "<tr><td class=\"muted\">{}<td class=\"name\">{}", Text(key), Text(value))?;
    }
    for certificate in &status.certificates {
        let class = if certificate.is_due() { "name bad" } else { "name" };
        let what = format!("{}: {}; {}", certificate.file, certificate.names.join(", "), certificate.days());
        write!(f, "<tr><td class=\"muted\">certificate<td class=\"{class}\">{}", Text(&what))?;
    }
    f.write_str("</tbody></table></section>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::status::{Certificate, Note, Slow, Transfer};

    const HOSTILE: &str = "/</main><script>alert(1)</script>\"'&\u{202e}\u{7}";

    #[test]
    fn whatever_a_client_asks_for_is_a_text_of_the_page() {
        let hostile = || HOSTILE.to_owned();
        let status = Status {
            state: hostile(),
            version: hostile(),
            top_paths: vec![Top { name: hostile(), bytes: 1 }],
            top_clients: vec![Top { name: hostile(), bytes: 1 }],
            slowest: vec![Slow { path: hostile(), client: hostile(), ..Slow::default() }],
            transfers: vec![Transfer { path: hostile(), client: hostile(), ..Transfer::default() }],
            listeners: vec![hostile()],
            sites: vec![hostile()],
            certificates: vec![Certificate { file: hostile(), names: vec![hostile()], ..Certificate::default() }],
            notes: vec![Note { key: hostile(), value: hostile() }],
            connections: vec![Count { name: hostile(), count: 1 }],
            responses: vec![Count { name: hostile(), count: 1 }],
            ..Status::default()
        };
        let html = render(&status, "0123");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert_eq!(html.matches("</main>").count(), 1);
        assert!(!html.contains("alert(1)</script>\"") && !html.contains(['\u{202e}', '\u{7}']));
        assert_eq!(html.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;").count(), 17, "{html}");
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_no_style_of_an_element() {
        let html = render(&Status::default(), "n");
        for word in ["http:", "https:", " style=", "src=", "url(", "@import", " onclick"] {
            assert!(!html.contains(word), "{word}");
        }
        assert_eq!(html.matches("nonce=\"n\"").count(), 2);
    }
}
