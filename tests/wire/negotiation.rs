//! Codings that lie beside a file (RFC 9110 §12.5.3): which of them is sent, when, and what is said
//! of it.
//!
//! Invariant: whatever comes of a file that has other codings says `Vary: Accept-Encoding`, and
//! nothing else does.

use super::methods::{check_head, check_head_over};
use crate::harness::server::Setup;
use crate::harness::site::{set_mode, set_modified};
use crate::harness::{Asks, Method, NOBODY, Response, Server, Site, Version, eventually, is_root};
use rustix::fs::{CWD, Mode};

/// When all files here were modified, but for those that say otherwise.
const MODIFIED: u64 = 784_111_777;

const ALL: &str = "['br', 'zstd', 'gzip']";

/// Writes a file and siblings of it, all of one age. What a sibling holds is no coding of the file:
/// the server does not look into it.
fn add(site: &Site, name: &str, extensions: &[&str]) {
    for (number, extension) in [""].iter().chain(extensions).enumerate() {
        let line = format!("{name}{extension}\n");
        set_modified(&site.file(format!("{name}{extension}"), line.repeat(100 - 10 * number)), MODIFIED);
    }
}

fn extension_of(coding: &str) -> &'static str {
    match coding {
        "br" => ".br",
        "zstd" => ".zst",
        "gzip" => ".gz",
        "" => "",
        other => panic!("{other} is no coding of this server"),
    }
}

/// Field lines with these values of Accept-Encoding.
fn accepting(values: &[&str]) -> String {
    values.iter().map(|value| format!("Accept-Encoding: {value}\r\n")).collect()
}

/// RFC 9110 §12.5.3. A row has the values of the field, a line each, and the coding that is sent:
/// "" is the file itself, and none is 406.
#[test]
fn the_best_accepted_coding_is_sent() {
    Version::ALL.into_iter().for_each(check_best);
}

fn check_best(version: Version) {
    let site = Site::new();
    for name in ["all.js", "order/all.js"] {
        add(&site, name, &[".br", ".zst", ".gz"]);
    }
    add(&site, "one.js", &[".gz"]);
    let server = Setup::root(&site.root())
        .set("precompressed", ALL)
        .set("location", "[{ path = '/order/', precompressed = ['gzip', 'br'] }]")
        .set("h2c", true)
        .start();
    let mut client = version.client(&server);
    for (target, values, expected) in [
        // Without the field, and with an empty one, nothing but the file is wanted
        ("/all.js", &[][..], Some("")),
        ("/all.js", &[""], Some("")),
        ("/all.js", &[" , ,"], Some("")),
        // What clients send
        ("/all.js", &["gzip, deflate, br, zstd"], Some("br")),
        ("/all.js", &["gzip, deflate"], Some("gzip")),
        ("/all.js", &["deflate"], Some("")),
        ("/all.js", &["gzip;q=1.0, *;q=0.5"], Some("gzip")),
        // §12.4.2: the weight counts before the server's order
        ("/all.js", &["br;q=0.5, gzip;q=0.501"], Some("gzip")),
        ("/all.js", &["br;q=0.1, zstd;q=0.2, gzip;q=0.15"], Some("zstd")),
        ("/all.js", &["br;q=0, gzip;q=0.001"], Some("gzip")),
        // …and of equal weights, the order
        ("/all.js", &["gzip, zstd"], Some("zstd")),
        ("/all.js", &["zstd;q=0.3, gzip;q=0.3, br;q=0.3"], Some("br")),
        ("/order/all.js", &["br, gzip"], Some("gzip")),
        ("/order/all.js", &["*"], Some("gzip")),
        ("/order/all.js", &["br, gzip;q=0.9"], Some("br")),
        // A coding that is not asked for in the configuration, though it is there
        ("/order/all.js", &["zstd"], Some("")),
        ("/order/all.js", &["zstd, identity;q=0"], None),
        // The star is what is not named
        ("/all.js", &["*"], Some("br")),
        ("/all.js", &["br;q=0, *"], Some("zstd")),
        ("/all.js", &["br;q=0.2, zstd;q=0.1, *;q=0.3"], Some("gzip")),
        ("/all.js", &["gzip, *;q=0"], Some("gzip")),
        ("/all.js", &["*;q=0, identity;q=0.1"], Some("")),
        // Identity: acceptable unless it is refused, by name or by the star
        ("/all.js", &["identity"], Some("")),
        ("/all.js", &["identity, gzip;q=0.9"], Some("")),
        ("/all.js", &["identity;q=0.5, gzip;q=0.5"], Some("gzip")),
        ("/all.js", &["gzip;q=0"], Some("")),
        ("/all.js", &["identity;q=0, gzip"], Some("gzip")),
        ("/all.js", &["identity;q=0, *"], Some("br")),
        ("/all.js", &["identity;q=0"], None),
        ("/all.js", &["*;q=0"], None),
        ("/all.js", &["deflate, *;q=0"], None),
        ("/all.js", &["deflate, identity;q=0"], None),
        ("/all.js", &["gzip;q=0, br;q=0, zstd;q=0, identity;q=0"], None),
        ("/one.js", &["br, zstd"], Some("")),
        ("/one.js", &["br, zstd, gzip;q=0.1"], Some("gzip")),
        ("/one.js", &["*"], Some("gzip")),
        ("/one.js", &["br, identity;q=0"], None),
        ("/one.js", &["gzip;q=0, *"], Some("")),
        // §8.4.1: names are case-insensitive; §8.4.1.3: the old name
        ("/all.js", &["GZip"], Some("gzip")),
        ("/all.js", &["ZSTD;Q=0.5"], Some("zstd")),
        ("/all.js", &["x-gzip"], Some("gzip")),
        ("/one.js", &["X-GZIP;q=0.1"], Some("gzip")),
        // §5.6.3: optional white space; §5.3: several lines are one list
        ("/all.js", &["gzip\t; q=0.5 ,\tzstd ;\tq=0.4"], Some("gzip")),
        ("/all.js", &["gzip", "br"], Some("br")),
        ("/all.js", &["gzip", "*;q=0"], Some("gzip")),
        ("/all.js", &["*;q=0", ""], None),
        // What is malformed is no reason to refuse
        ("/all.js", &["gzip;q=2"], Some("")),
        ("/all.js", &["gzip;q=0.1234, br;q=x, zstd;q=0.1"], Some("zstd")),
        ("/all.js", &["gzip;level=9"], Some("")),
        ("/all.js", &["gzip br"], Some("")),
        ("/all.js", &["gzipped"], Some("")),
    ] {
        check_coding(version, &server, client.as_mut(), &site, target, values, expected);
    }
}

fn check_coding(
    version: Version,
    server: &Server,
    client: &mut dyn Asks,
    site: &Site,
    target: &str,
    values: &[&str],
    expected: Option<&str>,
) {
    let lines = accepting(values);
    let context = format!("{target} {values:?}");
    let response = client.ask(Method::Get, target, &lines);
    match expected {
        Some(coding) => {
            let file = format!("{}{}", &target[1..], extension_of(coding));
            let content = std::fs::read(site.path(file)).expect("each row names a file that is there");
            assert_eq!(response.status, 200, "{context}");
            assert_eq!(response.field("Content-Encoding").unwrap_or(""), coding, "{context}");
            assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{context}");
            assert_eq!(response.field("Content-Type"), Some("text/javascript"), "{context}");
            assert!(response.content == content, "{context}: other bytes");
        }
        None => {
            assert_eq!(response.status, 406, "{context}");
            assert_eq!(response.field("Vary"), Some("Accept-Encoding, Accept"), "{context}");
        }
    }
    check_head_over(version, server, target, &lines, &response);
}

/// Conditions and ranges are those of the coding that is sent (RFC 9110 §8.8.3.3, §14.1.2), and all
/// answers say that there are others (§12.5.5, §15.4.5).
#[test]
fn each_coding_is_a_representation_of_its_own() {
    let site = Site::new();
    add(&site, "small.js", &[".br", ".zst", ".gz"]);
    // Read from disk while it is sent, all of it.
    for (number, extension) in ["", ".br", ".zst", ".gz"].iter().enumerate() {
        site.pattern(&format!("large.js{extension}"), 300_000 - 1000 * number);
    }
    let server = Setup::root(&site.root()).set("precompressed", ALL).set("cache_file_size_max", "'4k'").start();
    for target in ["/small.js", "/large.js"] {
        for coding in ["", "br", "zstd", "gzip"] {
            check_representation(&server, target, coding);
        }
    }
}

/// Goes through the conditions with the tag of this coding of `target` and that of another.
pub(super) fn check_representation(server: &Server, target: &str, coding: &str) {
    let mut client = server.client();
    let accept = |coding: &str| if coding.is_empty() { accepting(&["identity"]) } else { accepting(&[coding]) };
    let whole = client.ask(Method::Get, target, &accept(coding));
    let other = client.ask(Method::Get, target, &accept(if coding.is_empty() { "gzip" } else { "" }));
    let tag = whole.field("ETag").expect("it has a tag");
    let other_tag = other.field("ETag").expect("it has a tag");
    assert_ne!(tag, other_tag, "{target} {coding:?}");
    assert_ne!(whole.field("Content-Encoding"), other.field("Content-Encoding"), "{target} {coding:?}");
    let length = whole.content.len();
    for (lines, status, part) in [
        ("", 200, 0..length),
        // §13.1.2, with the weak comparison
        ("If-None-Match: TAG\r\n", 304, 0..0),
        ("If-None-Match: W/TAG\r\n", 304, 0..0),
        ("If-None-Match: *\r\n", 304, 0..0),
        ("If-None-Match: OTHER, TAG\r\n", 304, 0..0),
        ("If-None-Match: OTHER\r\n", 200, 0..length),
        ("If-None-Match: W/OTHER\r\n", 200, 0..length),
        // §13.1.1
        ("If-Match: TAG\r\n", 200, 0..length),
        ("If-Match: *\r\n", 200, 0..length),
        ("If-Match: OTHER\r\n", 412, 0..0),
        // §13.1.3, §13.1.4
        ("If-Modified-Since: DATE\r\n", 304, 0..0),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412, 0..0),
        // §14: positions in what is sent
        ("Range: bytes=2-5\r\n", 206, 2..6),
        ("Range: bytes=-3\r\n", 206, length - 3..length),
        ("Range: bytes=1-\r\n", 206, 1..length),
        ("Range: bytes=LENGTH-\r\n", 416, 0..0),
        // §13.1.5: parts of two codings do not fit together
        ("Range: bytes=2-5\r\nIf-Range: TAG\r\n", 206, 2..6),
        ("Range: bytes=2-5\r\nIf-Range: OTHER\r\n", 200, 0..length),
        ("Range: bytes=LENGTH-\r\nIf-Range: OTHER\r\n", 200, 0..length),
        ("Range: bytes=2-5\r\nIf-None-Match: TAG\r\n", 304, 0..0),
        ("Range: bytes=2-5\r\nIf-Match: OTHER\r\n", 412, 0..0),
    ] {
        let lines = lines.replace("TAG", tag).replace("OTHER", other_tag).replace("LENGTH", &length.to_string());
        let lines = lines.replace("DATE", whole.field("Last-Modified").expect("it has a date")) + &accept(coding);
        let context = format!("{target} {lines:?}");
        let response = client.ask(Method::Get, target, &lines);
        assert_eq!(response.status, status, "{context}");
        let vary = if status < 400 { "Accept-Encoding" } else { "Accept-Encoding, Accept" };
        assert_eq!(response.field("Vary"), Some(vary), "{context}");
        if status < 400 {
            assert_eq!(response.field("ETag"), Some(tag), "{context}");
        }
        if matches!(status, 200 | 206) {
            assert_eq!(response.field("Content-Encoding").unwrap_or(""), coding, "{context}");
            assert_eq!(response.field("Content-Type"), whole.field("Content-Type"), "{context}");
            assert!(response.content == whole.content[part.clone()], "{context}: other bytes");
        }
        let content_range = match status {
            206 => Some(format!("bytes {}-{}/{length}", part.start, part.end - 1)),
            416 => Some(format!("bytes */{length}")),
            _ => None,
        };
        assert_eq!(response.field("Content-Range"), content_range.as_deref(), "{context}");
        check_head(server, target, &lines, &response);
    }
}

/// §15.3.7.2: several parts of a coding, each with its length of the whole.
#[test]
fn several_parts_of_a_coding() {
    let site = Site::new();
    add(&site, "all.js", &[".gz"]);
    let server = Setup::root(&site.root()).set("precompressed", ALL).start();
    let response =
        server.client().ask(Method::Get, "/all.js", "Accept-Encoding: gzip\r\nRange: bytes=0-1, 100-109\r\n");
    assert_eq!((response.status, response.field("Content-Encoding")), (206, Some("gzip")));
    assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
    let coded = std::fs::read(site.path("all.js.gz")).expect("it is there");
    let text = String::from_utf8(response.content).expect("the parts are text");
    let parts: Vec<_> = text.split("Content-Type: text/javascript\r\n").skip(1).collect();
    for (part, (name, range)) in parts.iter().zip([("0-1", 0..2), ("100-109", 100..110)]) {
        let content = std::str::from_utf8(&coded[range]).expect("it is text");
        let expected = format!("Content-Range: bytes {name}/{}\r\n\r\n{content}\r\n--", coded.len());
        assert!(part.starts_with(&expected), "{part:?}");
    }
    assert_eq!(parts.len(), 2);
}

/// What counts as a sibling, and whose type an answer has. A row has what is sent to a client that
/// takes `br` and `gzip`, its media type, and whether it varies.
#[test]
fn what_counts_as_a_sibling() {
    let site = Site::new();
    for name in ["equal.js", "younger.js", "older.js", "one-older.js", "both.html", ".well-known/a.json", "a.mine"] {
        add(&site, name, &[".br", ".gz"]);
    }
    for (name, modified) in [
        ("younger.js.br", MODIFIED + 100),
        ("older.js.br", MODIFIED - 1),
        ("older.js.gz", MODIFIED - 100),
        ("one-older.js.br", MODIFIED - 1),
    ] {
        set_modified(&site.path(name), modified);
    }
    for name in ["index.html", "dir/index.html"] {
        add(&site, name, &[".br"]);
    }
    for name in ["directory.js", "fifo.js", "case.js", "bare", "dangling.js", "outside.js"] {
        add(&site, name, &[]);
    }
    site.directory("directory.js.br");
    rustix::fs::mkfifoat(CWD, site.path("fifo.js.br"), Mode::from_raw_mode(0o644)).expect("a FIFO can be made");
    add(&site, "case.js.BR", &[]);
    add(&site, "orphan.js.br", &[]);
    site.link("dangling.js.br", "nowhere");
    std::fs::write(site.outside().join("secret.br"), "secret").expect("the scratch is writable");
    site.link("outside.js.br", "../secret.br");
    add(&site, "linked.js", &[]);
    site.link("linked.js.br", "equal.js.br");
    add(&site, "empty.js", &[]);
    set_modified(&site.file("empty.js.br", ""), MODIFIED);
    let server = Setup::root(&site.root())
        .set("precompressed", "['br', 'gzip']")
        .set("types", "{ mine = 'application/x-mine' }")
        .start();
    let mut client = server.client();
    for (target, file, coding, media_type, varies) in [
        // "where they are not older than it"
        ("/equal.js", "equal.js.br", Some("br"), "text/javascript", true),
        ("/younger.js", "younger.js.br", Some("br"), "text/javascript", true),
        ("/older.js", "older.js", None, "text/javascript", false),
        ("/one-older.js", "one-older.js.gz", Some("gzip"), "text/javascript", true),
        // The type is that of the file
        ("/both.html", "both.html.br", Some("br"), "text/html", true),
        ("/a.mine", "a.mine.br", Some("br"), "application/x-mine", true),
        ("/.well-known/a.json", ".well-known/a.json.br", Some("br"), "application/json", true),
        // The file of an index has siblings as any other
        ("/", "index.html.br", Some("br"), "text/html", true),
        ("/dir/", "dir/index.html.br", Some("br"), "text/html", true),
        ("/dir/index.html", "dir/index.html.br", Some("br"), "text/html", true),
        // What is no regular file beneath the root, or has another name, is none
        ("/directory.js", "directory.js", None, "text/javascript", false),
        ("/fifo.js", "fifo.js", None, "text/javascript", false),
        ("/case.js", "case.js", None, "text/javascript", false),
        ("/bare", "bare", None, "application/octet-stream", false),
        ("/dangling.js", "dangling.js", None, "text/javascript", false),
        ("/outside.js", "outside.js", None, "text/javascript", false),
        ("/linked.js", "equal.js.br", Some("br"), "text/javascript", true),
        ("/empty.js", "empty.js.br", Some("br"), "text/javascript", true),
        // Asked for by its own name, a sibling is a file as any other
        ("/equal.js.br", "equal.js.br", None, "application/octet-stream", false),
        ("/equal.js.gz", "equal.js.gz", None, "application/gzip", false),
        ("/orphan.js.br", "orphan.js.br", None, "application/octet-stream", false),
    ] {
        for _ in 0..2 {
            let response = client.ask(Method::Get, target, "Accept-Encoding: br, gzip\r\n");
            assert_eq!((response.status, response.field("Content-Encoding")), (200, coding), "{target}");
            assert_eq!(response.field("Content-Type"), Some(media_type), "{target}");
            assert_eq!(response.field("Vary"), varies.then_some("Accept-Encoding"), "{target}");
            let content = std::fs::read(site.path(file)).expect("each row names a file that is there");
            assert!(response.content == content, "{target}: other bytes");
            check_head(&server, target, "Accept-Encoding: br, gzip\r\n", &response);
        }
    }
    // Nothing is made of a sibling without its file, nor of the directory.
    for (target, status) in [("/orphan.js", 404), ("/directory.js.br", 301), ("/fifo.js.br", 404)] {
        let response = client.ask(Method::Get, target, "Accept-Encoding: br\r\n");
        assert_eq!((response.status, response.field("Content-Encoding")), (status, None), "{target}");
        assert_eq!(response.field("Vary"), Some("Accept"), "{target}");
    }
}

/// §12.5.5: where nothing is chosen, nothing varies; and identity is sent even to those who refuse
/// it, for 406 would help nobody (§12.5.3).
#[test]
fn a_file_without_other_codings_does_not_vary() {
    let site = Site::new();
    add(&site, "alone.js", &[]);
    add(&site, "unused.js", &[".br", ".gz"]);
    let server = Setup::root(&site.root())
        .set("precompressed", ALL)
        .set("location", "[{ path = '/unused.js', precompressed = [] }]")
        .start();
    let mut client = server.client();
    for target in ["/alone.js", "/unused.js"] {
        for (lines, status) in [
            ("", 200),
            ("Accept-Encoding: br, gzip\r\n", 200),
            ("Accept-Encoding: br, identity;q=0\r\n", 200),
            ("Accept-Encoding: *;q=0\r\n", 200),
            ("Accept-Encoding: br\r\nRange: bytes=0-0\r\n", 206),
            ("Accept-Encoding: br\r\nIf-None-Match: *\r\n", 304),
            ("Accept-Encoding: br\r\nIf-Match: \"x\"\r\n", 412),
            ("Accept-Encoding: br\r\nRange: bytes=999999-\r\n", 416),
        ] {
            let response = client.ask(Method::Get, target, lines);
            assert_eq!((response.status, response.field("Content-Encoding")), (status, None), "{target} {lines:?}");
            // The text of an error is in the form that Accept prefers.
            assert_eq!(response.field("Vary"), (status >= 400).then_some("Accept"), "{target} {lines:?}");
            check_head(&server, target, lines, &response);
        }
    }
}

/// Siblings come, change and go; the server sees it at its next look, within two seconds.
#[test]
fn changes_of_siblings_are_noticed() {
    let site = Site::new();
    add(&site, "app.js", &[]);
    let plain = std::fs::read(site.path("app.js")).expect("it is there");
    let server = Setup::root(&site.root()).set("precompressed", ALL).start();
    let mut client = server.client();
    // On one connection, so that it is one core that must notice.
    let mut expect = |what: &str, content: &[u8], coding: Option<&str>, varies: bool| {
        let mut tag = None;
        eventually(what, || {
            let response: Response = client.ask(Method::Get, "/app.js", "Accept-Encoding: br, gzip\r\n");
            assert_eq!(response.status, 200, "{what}");
            tag = response.field("ETag").map(str::to_owned);
            response.content == content
                && response.field("Content-Encoding") == coding
                && response.field("Vary").is_some() == varies
        });
        tag.expect("it has a tag")
    };
    let mut tags = vec![expect("the file alone", &plain, None, false)];
    let write = |name: &str, content: &str, modified: u64| set_modified(&site.file(name, content), modified);
    write("app.js.gz", "first", MODIFIED);
    tags.push(expect("a sibling is added", b"first", Some("gzip"), true));
    write("app.js.gz", "second", MODIFIED + 1);
    tags.push(expect("it is rewritten", b"second", Some("gzip"), true));
    write("app.js.gz", "thirds", MODIFIED + 2);
    tags.push(expect("it is rewritten with the same length", b"thirds", Some("gzip"), true));
    write("app.js.br", "better", MODIFIED);
    tags.push(expect("a better one is added", b"better", Some("br"), true));
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 5, "each version of each coding has a tag of its own: {tags:?}");
    set_modified(&site.path("app.js.br"), MODIFIED - 1);
    expect("the better one is older than its file", b"thirds", Some("gzip"), true);
    write("app.js", "the file is new", MODIFIED + 10);
    expect("the file is younger than its siblings", b"the file is new", None, false);
    set_modified(&site.path("app.js.gz"), MODIFIED + 10);
    expect("the sibling has caught up", b"thirds", Some("gzip"), true);
    std::fs::remove_file(site.path("app.js.gz")).expect("it is there");
    expect("the sibling is gone", b"the file is new", None, false);
    std::fs::remove_file(site.path("app.js")).expect("it is there");
    set_modified(&site.path("app.js.br"), MODIFIED + 10);
    eventually("the file is gone", || server.client().get("/app.js").status == 404);
}

/// A deployment that forgot the rights of one sibling must not cost clients the file.
#[test]
fn a_sibling_that_cannot_be_read_is_as_good_as_none() {
    let site = Site::new();
    site.file("app.js", "the file");
    set_mode(&site.file("app.js.gz", "coded"), 0);
    let setup = Setup::root(&site.root()).set("precompressed", "['gzip']");
    let server = if is_root() { setup.user(NOBODY).start() } else { setup.start() };
    let mut client = server.client();
    for (accepted, status) in [("gzip", 200), ("gzip, identity;q=0", 403), ("br", 200)] {
        let response = client.ask(Method::Get, "/app.js", &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!((response.status, response.field("Content-Encoding")), (status, None), "{accepted}");
        assert!(status != 200 || response.field("Vary") == Some("Accept-Encoding"), "{accepted}");
    }
    server.wait_for_log("ends in .gz is not served");
}

/// An index file that a location judges by its own path is as negotiable as any other, from the first answer on.
#[test]
fn an_index_file_of_another_location_is_negotiated() {
    let site = Site::new();
    add(&site, "index.html", &[".gz"]);
    let text = "precompressed = ['gzip']\n[[location]]\npath = '*.html'\ncache_control = 'no-cache'\n";
    let root = site.root();
    let server = Setup::root(&root).config_text(text).start();
    let mut client = server.client();
    for _ in 0..3 {
        for (accepted, coding) in [("gzip, identity;q=0", Some("gzip")), ("identity", None), ("gzip", Some("gzip"))] {
            let response = client.ask(Method::Get, "/", &accepting(&[accepted]));
            assert_eq!((response.status, response.field("Content-Encoding")), (200, coding), "{accepted}");
            assert_eq!(response.field("Cache-Control"), Some("no-cache"), "{accepted}");
        }
    }
}
