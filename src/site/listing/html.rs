//! A listing as a page for people: readable on a phone, without a script and without anything to
//! load.
//!
//! Order: the way to here · the note, where there is one · the table, its header and its rows ·
//! the count.
//!
//! Invariant: the page is valid HTML, whatever the names are. Every name passes through
//! [`push_text`] on its way into it, in a link too.

use super::{Key, Listing, Order, Sorting, is_directory};
use crate::http::target::{SitePath, UNSAFE_IN_PATH};
use crate::storage::directory::Entry;
use crate::storage::file::Timestamp;
use percent_encoding::percent_encode;

/// The page of `listing`, with its entries in the order of `entries`.
pub(super) fn render(listing: &Listing<'_>, entries: &[&Entry]) -> String {
    let names_bytes: usize = entries.iter().map(|entry| entry.name.len()).sum();
    // A name is written twice; escapes in it may make the text grow after all.
    let mut html = String::with_capacity(PAGE_BYTES + 2 * names_bytes + entries.len() * ROW_BYTES);
    html.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<title>Index of ");
    push_text(&mut html, listing.path.as_bytes());
    html.push_str("</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n");
    html.push_str(STYLE);
    html.push_str("</style>\n</head>\n<body>\n<main>\n");
    push_heading(&mut html, listing.path);
    if listing.directory.truncated {
        html.push_str("<p class=\"note\">Only the first ");
        push_count(&mut html, entries.len(), "entry", "entries");
        html.push_str(if entries.len() == 1 { " is" } else { " are" });
        html.push_str(" shown: this folder holds more.</p>\n");
    }
    html.push_str("<table>\n");
    push_header(&mut html, listing.sorting);
    html.push_str("<tbody>\n");
    if listing.path.as_bytes() != b"/" {
        html.push_str("<tr class=\"up\"><td colspan=\"3\"><a href=\"../\">Parent folder</a></td></tr>\n");
    }
    for entry in entries {
        push_row(&mut html, entry);
    }
    html.push_str("</tbody>\n</table>\n<p class=\"count\">");
    push_counts(&mut html, entries);
    html.push_str("</p>\n</main>\n</body>\n</html>\n");
    html
}

const STYLE: &str = include_str!("listing.css");

/// About what the page takes beside its rows, and a row beside its name.
const PAGE_BYTES: usize = STYLE.len() + 2048;
const ROW_BYTES: usize = 180;

/// The path, as links to the directories on the way. They are relative, so that they hold where a
/// proxy serves the site beneath a path of its own.
fn push_heading(html: &mut String, path: &SitePath<'_>) {
    let depth = path.segments().count();
    html.push_str("<h1>Index of ");
    push_ancestor(html, depth, b"/");
    for (index, name) in path.segments().enumerate() {
        html.push_str(if index == 0 { " " } else { " / " });
        push_ancestor(html, depth - index - 1, name);
    }
    html.push_str("</h1>\n");
}

/// The name of the directory that lies `steps` above, and a link to it unless it is this one.
fn push_ancestor(html: &mut String, steps: usize, name: &[u8]) {
    if steps > 0 {
        html.push_str("<a href=\"");
        (0..steps).for_each(|_| html.push_str("../"));
        html.push_str("\">");
    }
    html.push_str("<bdi>");
    push_text(html, name);
    html.push_str("</bdi>");
    if steps > 0 {
        html.push_str("</a>");
    }
}

/// The header's cells, each a link to the order that it stands for.
fn push_header(html: &mut String, sorting: Sorting) {
    html.push_str("<thead>\n<tr>");
    for (key, word, title) in
        [(Key::Name, "name", "Name"), (Key::Size, "size", "Size"), (Key::Modified, "time", "Modified (UTC)")]
    {
        let current = (sorting.key == key).then_some(sorting.order);
        html.push_str(match current {
            Some(Order::Ascending) => "<th scope=\"col\" aria-sort=\"ascending\">",
            Some(Order::Descending) => "<th scope=\"col\" aria-sort=\"descending\">",
            None => "<th scope=\"col\">",
        });
        // A second touch turns the order round. The first gives what is mostly looked for: the
        // largest, the newest.
        let descending = match (current, key) {
            (Some(order), _) => order == Order::Ascending,
            (None, Key::Name) => false,
            (None, Key::Size | Key::Modified) => true,
        };
        html.push_str("<a href=\"?sort=");
        html.push_str(word);
        html.push_str(if descending { "&amp;order=desc\">" } else { "&amp;order=asc\">" });
        html.push_str(title);
        html.push_str("</a></th>");
    }
    html.push_str("</tr>\n</thead>\n");
}

fn push_row(html: &mut String, entry: &Entry) {
    let slash = if is_directory(entry) { "/" } else { "" };
    html.push_str(if is_directory(entry) { "<tr class=\"dir\"><td><a href=\"" } else { "<tr><td><a href=\"" });
    push_href(html, &entry.name);
    html.push_str(slash);
    html.push_str("\"><bdi>");
    push_text(html, &entry.name);
    html.push_str(slash);
    html.push_str("</bdi></a></td>");
    if is_directory(entry) {
        html.push_str("<td></td>");
    } else {
        html.push_str("<td title=\"");
        html.push_str(itoa::Buffer::new().format(entry.length));
        html.push_str(if entry.length == 1 { " byte\">" } else { " bytes\">" });
        push_size(html, entry.length);
        html.push_str("</td>");
    }
    html.push_str("<td>");
    push_time(html, entry.modified);
    html.push_str("</td></tr>\n");
}

/// A relative reference to a name (RFC 3986 §4.2). It begins with `./`, so that nothing in the
/// name can pass for a scheme.
fn push_href(html: &mut String, name: &[u8]) {
    html.push_str("./");
    for part in percent_encode(name, UNSAFE_IN_PATH) {
        push_text(html, part.as_bytes());
    }
}

/// Writes text so that it is text, between tags as well as in an attribute. What is not UTF-8, and
/// what would act on the page instead of standing in it, is shown as U+FFFD.
fn push_text(html: &mut String, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                c if is_disruptive(c) => html.push(char::REPLACEMENT_CHARACTER),
                c => html.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            html.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Controls, breaks of lines, what turns the direction of writing (`cod.exe` can be made to look
/// like `exe.doc`), and what Unicode assigns to no character, which is an error in HTML.
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FDD0}'..='\u{FDEF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// A length for people: two or three digits and a unit of powers of 1000.
fn push_size(html: &mut String, length: u64) {
    const UNITS: [&str; 6] = [" kB", " MB", " GB", " TB", " PB", " EB"];
    let mut digits = itoa::Buffer::new();
    if length < 1000 {
        html.push_str(digits.format(length));
        html.push_str(" B");
        return;
    }
    let length = u128::from(length);
    let mut unit_bytes = 1000;
    for unit in UNITS {
        let tenths = (length * 10 + unit_bytes / 2) / unit_bytes;
        let wholes = (length + unit_bytes / 2) / unit_bytes;
        if tenths < 100 {
            html.push_str(digits.format(tenths / 10));
            html.push('.');
            html.push_str(digits.format(tenths % 10));
            html.push_str(unit);
            return;
        }
        if wholes < 1000 {
            html.push_str(digits.format(wholes));
            html.push_str(unit);
            return;
        }
        unit_bytes *= 1000;
    }
    unreachable!("64 bits are less than 19 EB");
}

/// A moment to the minute, in UTC; to the second for programs.
fn push_time(html: &mut String, modified: Timestamp) {
    let text = utc(modified.seconds);
    html.push_str("<time datetime=\"");
    html.push_str(&text);
    html.push_str("\">");
    html.push_str(&text[..10]);
    html.push(' ');
    html.push_str(&text[11..16]);
    html.push_str("</time>");
}

/// The years that HTML and four digits can write: 0001-01-01 00:00:00 to 9999-12-31 23:59:59.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// A moment as `2024-05-01T13:37:00Z`; one that cannot be written so is moved to the nearest.
fn utc(seconds: i64) -> String {
    const SECONDS_PER_DAY: i64 = 86_400;
    let seconds = seconds.clamp(SECONDS_MIN, SECONDS_MAX);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let mut text = String::with_capacity("2024-05-01T13:37:00Z".len());
    let parts =
        [(year / 100, ""), (year % 100, "-"), (month, "-"), (day, "T"), (second / 3600, ":"), (second / 60 % 60, ":")];
    for (number, behind) in parts.into_iter().chain([(second % 60, "Z")]) {
        debug_assert!((0..100).contains(&number));
        text.push(char::from(b'0' + u8::try_from(number / 10).expect("a number of two digits")));
        text.push(char::from(b'0' + u8::try_from(number % 10).expect("one digit")));
        text.push_str(behind);
    }
    text
}

/// Year, month and day of the Gregorian calendar, for days since 1970-01-01 (Howard Hinnant's
/// algorithm). It counts in eras of 400 years, and in years that begin in March, so that the day
/// that is sometimes missing is the last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

fn push_counts(html: &mut String, entries: &[&Entry]) {
    let directories = entries.iter().filter(|entry| is_directory(entry)).count();
    let files = entries.len() - directories;
    match (directories, files) {
        (0, 0) => html.push_str("This folder is empty."),
        (_, 0) => push_count(html, directories, "folder", "folders"),
        (0, _) => push_count(html, files, "file", "files"),
        _ => {
            push_count(html, directories, "folder", "folders");
            html.push_str(", ");
            push_count(html, files, "file", "files");
        }
    }
}

fn push_count(html: &mut String, count: usize, one: &str, many: &str) {
    html.push_str(itoa::Buffer::new().format(count));
    html.push(' ');
    html.push_str(if count == 1 { one } else { many });
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, file, rendered};
    use super::super::{Format, render};
    use super::*;
    use crate::storage::directory::Directory;
    use crate::storage::file::Kind;

    fn page(path: &str, entries: Vec<Entry>, truncated: bool) -> String {
        rendered(path, entries, truncated, Format::Html)
    }

    /// What stands between two texts, the first of them the first in the page.
    fn between<'a>(html: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = html.split_once(start).expect("the page has the start");
        rest.split_once(end).expect("the page has the end").0
    }

    #[test]
    fn names_are_shown_and_linked_whatever_they_are() {
        for (name, href, text) in [
            (&b"plain-1.0_x~.txt"[..], "./plain-1.0_x~.txt", "plain-1.0_x~.txt"),
            (b"<script>", "./%3Cscript%3E", "&lt;script&gt;"),
            (b"\"><b onclick='x'>", "./%22%3E%3Cb%20onclick=&#39;x&#39;%3E", "&quot;&gt;&lt;b onclick=&#39;x&#39;&gt;"),
            (b"a&copy.txt", "./a&amp;copy.txt", "a&amp;copy.txt"),
            (b"&lt;", "./&amp;lt;", "&amp;lt;"),
            (b"%41", "./%2541", "%41"),
            (b"%2e%2e", "./%252e%252e", "%2e%2e"),
            (b"a b", "./a%20b", "a b"),
            (b"?x#y", "./%3Fx%23y", "?x#y"),
            (b"javascript:alert(1)", "./javascript:alert(1)", "javascript:alert(1)"),
            (b"..foo", "./..foo", "..foo"),
            (b"...", "./...", "..."),
            (b"\\\\evil.example", "./%5C%5Cevil.example", "\\\\evil.example"),
            (b"[a]{b}|`^", "./%5Ba%5D%7Bb%7D%7C%60%5E", "[a]{b}|`^"),
            // What acts on the page is not shown, and yet linked.
            (b"a\nb\tc\x7f", "./a%0Ab%09c%7F", "a\u{FFFD}b\u{FFFD}c\u{FFFD}"),
            ("\u{202E}cod.exe".as_bytes(), "./%E2%80%AEcod.exe", "\u{FFFD}cod.exe"),
            ("\u{2066}\u{2028}\u{85}".as_bytes(), "./%E2%81%A6%E2%80%A8%C2%85", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            ("\u{FFFE}\u{1FFFF}\u{FDD0}".as_bytes(), "./%EF%BF%BE%F0%9F%BF%BF%EF%B7%90", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            // UTF-8 and what is none.
            ("grüße.txt".as_bytes(), "./gr%C3%BC%C3%9Fe.txt", "grüße.txt"),
            (b"a\xffb\xe2\x82", "./a%FFb%E2%82", "a\u{FFFD}b\u{FFFD}"),
        ] {
            let row = format!("<tr><td><a href=\"{href}\"><bdi>{text}</bdi></a></td>");
            let html = page("/", vec![file(name)], false);
            assert!(html.contains(&row), "{}: {html}", name.escape_ascii());
        }
    }

    /// A browser that follows a link asks for the very bytes of the name.
    #[test]
    fn a_link_leads_to_its_name() {
        for first in (1..=u8::MAX).filter(|byte| *byte != b'/') {
            let name = [first, b'a', first];
            let html = page("/d/", vec![file(name)], false);
            let href = between(&html, "<tr><td><a href=\".", "\"").replace("&amp;", "&").replace("&#39;", "'");
            let path = SitePath::parse(&href).expect("a link is a valid path");
            assert_eq!(path.relative(), name, "{href}");
        }
    }

    #[test]
    fn rows_tell_kind_size_and_time() {
        let html = page(
            "/d/",
            vec![
                entry("b.iso", Kind::Regular, 1_400_000, 1_714_570_620),
                entry("c", Kind::Regular, 1, -1),
                entry("a", Kind::Directory, 4096, 0),
            ],
            false,
        );
        let expected = "<tbody>
<tr class=\"up\"><td colspan=\"3\"><a href=\"../\">Parent folder</a></td></tr>
<tr class=\"dir\"><td><a href=\"./a/\"><bdi>a/</bdi></a></td><td></td><td><time datetime=\"1970-01-01T00:00:00Z\">1970-01-01 00:00</time></td></tr>
<tr><td><a href=\"./b.iso\"><bdi>b.iso</bdi></a></td><td title=\"1400000 bytes\">1.4 MB</td><td><time datetime=\"2024-05-01T13:37:00Z\">2024-05-01 13:37</time></td></tr>
<tr><td><a href=\"./c\"><bdi>c</bdi></a></td><td title=\"1 byte\">1 B</td><td><time datetime=\"1969-12-31T23:59:59Z\">1969-12-31 23:59</time></td></tr>
</tbody>
</table>
<p class=\"count\">1 folder, 2 files</p>
";
        assert!(html.contains(expected), "{html}");
    }

    #[test]
    fn the_heading_leads_upwards() {
        for (path, title, heading) in [
            ("/", "/", "<bdi>/</bdi>"),
            ("/a/", "/a/", "<a href=\"../\"><bdi>/</bdi></a> <bdi>a</bdi>"),
            (
                "/a/b%26c/%3Ci%3E/",
                "/a/b&amp;c/&lt;i&gt;/",
                "<a href=\"../../../\"><bdi>/</bdi></a> <a href=\"../../\"><bdi>a</bdi></a> / \
                 <a href=\"../\"><bdi>b&amp;c</bdi></a> / <bdi>&lt;i&gt;</bdi>",
            ),
            (
                "/%3C%2Ftitle%3E/",
                "/&lt;/title&gt;/",
                "<a href=\"../../\"><bdi>/</bdi></a> <a href=\"../\"><bdi>&lt;</bdi></a> / <bdi>title&gt;</bdi>",
            ),
        ] {
            let html = page(path, vec![], false);
            assert_eq!(between(&html, "<title>Index of ", "</title>"), title);
            assert_eq!(between(&html, "<h1>Index of ", "</h1>"), heading);
            assert_eq!(html.contains("Parent folder"), path != "/", "{path}");
        }
    }

    #[test]
    fn the_header_links_to_the_other_orders() {
        for (query, expected) in [
            ("", "name desc ascending, size desc, time desc"),
            ("order=desc", "name asc descending, size desc, time desc"),
            ("sort=size", "name asc, size desc ascending, time desc"),
            ("sort=time&order=desc", "name asc, size desc, time asc descending"),
        ] {
            let path = SitePath::parse("/").expect("the root is a path");
            let directory = Directory { entries: vec![], truncated: false };
            let sorting = Sorting::parse(Some(query));
            let html = render(&Listing { path: &path, directory: &directory, sorting }, Format::Html);
            let cells = html.split("<th scope=\"col\"").skip(1).map(|cell| {
                let (attributes, rest) = cell.split_once('>').expect("the tag ends");
                let aria = attributes.strip_prefix(" aria-sort=\"").map_or("", |order| order.trim_end_matches('"'));
                let (key, order) =
                    between(rest, "?sort=", "\"").split_once("&amp;order=").expect("a link has both parts");
                format!("{key} {order} {aria}").trim_end().to_owned()
            });
            assert_eq!(cells.collect::<Vec<_>>().join(", "), expected, "{query}");
        }
    }

    #[test]
    fn counts_and_the_note() {
        let folder = |name: &str| entry(name, Kind::Directory, 0, 0);
        for (entries, count) in [
            (vec![], "This folder is empty."),
            (vec![file("a")], "1 file"),
            (vec![file("a"), file("b")], "2 files"),
            (vec![folder("a")], "1 folder"),
            (vec![folder("a"), folder("b"), file("c")], "2 folders, 1 file"),
        ] {
            let html = page("/", entries, false);
            assert_eq!(between(&html, "<p class=\"count\">", "</p>"), count);
            assert!(!html.contains("class=\"note\""));
        }
        for (entries, note) in [
            (vec![file("a")], "Only the first 1 entry is shown: this folder holds more."),
            (vec![file("a"), folder("b")], "Only the first 2 entries are shown: this folder holds more."),
        ] {
            assert_eq!(between(&page("/", entries, true), "<p class=\"note\">", "</p>"), note);
        }
    }

    #[test]
    fn sizes_are_for_people() {
        for (length, expected) in [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1049, "1.0 kB"),
            (1050, "1.1 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_400_000, "1.4 MB"),
            (14_200_000, "14 MB"),
            (142_000_000, "142 MB"),
            (4_294_967_296, "4.3 GB"),
            (1_000_000_000_000, "1.0 TB"),
            (1_000_000_000_000_000, "1.0 PB"),
            (u64::MAX, "18 EB"),
        ] {
            let mut html = String::new();
            push_size(&mut html, length);
            assert_eq!(html, expected, "{length}");
        }
    }

    #[test]
    fn dates_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_714_570_620, "2024-05-01T13:37:00Z"),
            (2_147_483_647, "2038-01-19T03:14:07Z"),
            (2_147_483_648, "2038-01-19T03:14:08Z"),
            // 2100 is no leap year.
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-2_208_988_800, "1900-01-01T00:00:00Z"),
            (SECONDS_MAX, "9999-12-31T23:59:59Z"),
            (SECONDS_MIN, "0001-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected, "{seconds}");
        }
    }

    /// The estimate is for what names are like: it saves the copying of a text that grows.
    #[test]
    fn a_usual_page_fits_the_estimate() {
        let entries = (0..1000).map(|number| file(format!("photograph-{number}.jpeg"))).collect::<Vec<_>>();
        let names_bytes: usize = entries.iter().map(|entry| entry.name.len()).sum();
        let estimate = PAGE_BYTES + 2 * names_bytes + entries.len() * ROW_BYTES;
        let html = page("/", entries, false);
        assert!(html.len() <= estimate);
        assert!(html.len() > estimate / 2);
    }
}
