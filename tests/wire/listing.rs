//! Listings of directories (`autoindex`): in which form, of what, in which order; and that every
//! name in one leads to its file.
//!
//! Invariant: a listing shows what a look-up would find and nothing else, and no name becomes
//! markup.

use super::methods::check_head;
use crate::harness::server::Setup;
use crate::harness::site::{set_mode, set_modified, write};
use crate::harness::{Client, Method, NOBODY, Response, Server, Site, is_root};
use rustix::fs::{CWD, Mode};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

fn setup(site: &Site, autoindex: &str) -> Setup {
    Setup::root(&site.root()).set("autoindex", format!("'{autoindex}'"))
}

/// The links of a page's rows, as they are written, and what is shown for each.
fn rows(page: &Response) -> Vec<(String, String)> {
    let text = std::str::from_utf8(&page.content).expect("a page is UTF-8");
    assert!(text.starts_with("<!doctype html>\n") && text.ends_with("</html>\n"), "{text}");
    let rows = text.split("<td><a href=\"").skip(1).map(|row| {
        let (href, rest) = row.split_once('"').expect("an attribute ends");
        let (_, rest) = rest.split_once("<bdi>").expect("a name is shown");
        let (shown, _) = rest.split_once("</bdi>").expect("an element ends");
        assert!(!href.contains(['<', '>', '\'']) && !shown.contains(['<', '>', '"', '\'']), "{row}");
        (unescaped(href), unescaped(shown))
    });
    rows.collect()
}

/// HTML's text of these references; there are no others.
fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// The names of a listing in JSON, as they are written.
fn json_names(response: &Response) -> Vec<&str> {
    let text = std::str::from_utf8(&response.content).expect("JSON is UTF-8");
    let names = text.split("{ \"name\":\"").skip(1).map(|object| object.split("\", \"type\"").next());
    names.map(|name| name.expect("a split has a first part")).collect()
}

/// Follows a relative reference from `folder`, as RFC 3986 §5.2 says.
fn follow(client: &mut Client, folder: &str, href: &str) -> Response {
    let relative = href.strip_prefix("./").expect("links are relative, and none can pass for a scheme");
    let is_plain = relative.bytes().all(|b| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}[]".contains(&b));
    assert!(is_plain, "no reference in the grammar of RFC 3986: {href:?}");
    client.get(&format!("{folder}{relative}"))
}

/// `autoindex`, in each form, and by Accept (RFC 9110 §12.5.1). A row has the form that is sent.
#[test]
fn which_form_is_sent() {
    let site = Site::new();
    site.file("dir/file.txt", "content");
    site.directory("empty");
    site.file("with/index.html", "the index");
    let locations = "[{ path = '/off/', autoindex = 'off' }]";
    site.file("off/file.txt", "content");
    site.file("odd/index.html/file.txt", "content");
    for (autoindex, accept, form) in [
        ("off", "", None),
        ("off", "Accept: application/json\r\n", None),
        ("html", "", Some(HTML)),
        ("html", "Accept: application/json\r\n", Some(HTML)),
        ("json", "", Some(JSON)),
        ("json", "Accept: text/html\r\n", Some(JSON)),
        ("auto", "", Some(HTML)),
        ("auto", "Accept: */*\r\n", Some(HTML)),
        ("auto", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", Some(HTML)),
        ("auto", "Accept: image/png\r\n", Some(HTML)),
        ("auto", "Accept: application/json\r\n", Some(JSON)),
        ("auto", "Accept: application/json, */*\r\n", Some(JSON)),
        ("auto", "Accept: text/html;q=0.5, application/*\r\n", Some(JSON)),
        ("auto", "Accept: text/html\r\nAccept: application/json;q=0.9\r\n", Some(HTML)),
    ] {
        let server = setup(&site, autoindex).set("location", locations).start();
        let mut client = server.client();
        // A directory is no index file, whatever its name.
        for target in ["/dir/", "/empty/", "/", "/dir/?sort=size", "/dir//", "/dir/./", "/odd/", "/odd/index.html/"] {
            let response = client.ask(Method::Get, target, accept);
            let context = format!("{autoindex} {accept:?} {target}");
            assert_eq!(response.status, if form.is_some() { 200 } else { 404 }, "{context}");
            let varies = form.is_none() || autoindex == "auto";
            assert_eq!(response.field("Vary"), varies.then_some("Accept"), "{context}");
            if let Some(form) = form {
                assert_eq!(response.field("Content-Type"), Some(form), "{context}");
                // It is made for this answer, so that there is no version to compare or to take a part of.
                for name in ["ETag", "Last-Modified", "Accept-Ranges"] {
                    assert_eq!(response.field(name), None, "{context}");
                }
            }
            check_head(&server, target, accept, &response);
        }
        // A location says otherwise; an index file goes before; a directory has its slash first
        for (target, status, location) in [
            ("/off/", 404, None),
            ("/absent/", 404, None),
            ("/dir/file.txt/", 404, None),
            ("/dir", 301, Some("/dir/")),
            ("/dir?sort=size", 301, Some("/dir/?sort=size")),
            ("/empty", 301, Some("/empty/")),
        ] {
            let response = client.ask(Method::Get, target, accept);
            assert_eq!((response.status, response.field("Location")), (status, location), "{autoindex} {target}");
        }
        assert_eq!(client.ask(Method::Get, "/with/", accept).content, b"the index", "{autoindex}");
    }
}

/// The ranges and conditions of a listing: there are none, and the text is whole.
#[test]
fn a_listing_has_no_parts() {
    let site = Site::new();
    site.file("file.txt", "content");
    let server = setup(&site, "html").start();
    let mut client = server.client();
    let whole = client.get("/").content;
    for lines in
        ["Range: bytes=0-1\r\n", "Range: bytes=999999-\r\n", "If-None-Match: \"x\"\r\n", "Accept-Encoding: gzip\r\n"]
    {
        let response = client.ask(Method::Get, "/", lines);
        assert_eq!((response.status, response.field("Content-Encoding")), (200, None), "{lines:?}");
        assert!(response.content == whole, "{lines:?}");
    }
}

/// Names of every sort, shown as text and linked so that each leads to its own file.
#[test]
fn every_name_leads_to_its_file() {
    let longest = "\u{1F980}".repeat(63) + "abc";
    let names: [&[u8]; 27] = [
        b"plain.txt",
        b"<b>&\"'#?%.txt",
        b"<script>alert(1)<",
        b"\"onmouseover=\"x",
        b"' onclick='x",
        b"&lt;&amp;&#39;",
        b"a b",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\x7fdelete\x01",
        b"\xff\xfe\x80",
        b"half-\xe2\x82",
        "größe-файл-日本".as_bytes(),
        "\u{202E}txt.exe".as_bytes(),
        b"100%41",
        b"%2e%2e",
        b"%",
        b"javascript:alert(1)",
        b"mailto:a@b",
        b"a..",
        b"back\\slash",
        b"semi;colon,comma=+!$()*@",
        b"[a]{b}|`^~",
        b"-r",
        b"?sort=size",
        b"#fragment",
        longest.as_bytes(),
    ];
    let site = Site::new();
    for folder in ["", "sub & <folder>#1/"] {
        for name in names {
            site.file([folder.as_bytes(), name].concat().as_path(), name);
            site.file([folder.as_bytes(), b"dir-", &name[..name.len().min(200)], b"/x"].concat().as_path(), "x");
        }
    }
    let server = setup(&site, "auto").start();
    let mut client = server.client();
    for folder in ["/", "/sub%20&%20%3Cfolder%3E%231/"] {
        let page = client.get(folder);
        let mut found = BTreeMap::new();
        for (href, shown) in rows(&page) {
            assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202E}'), "{shown:?} acts on the page");
            let response = follow(&mut client, folder, &href);
            assert_eq!(response.status, 200, "{folder}: {href}");
            if href.ends_with('/') {
                assert_eq!(response.field("Content-Type"), Some(HTML), "{href}");
            } else {
                *found.entry(response.content).or_insert(0) += 1;
            }
        }
        let expected: BTreeMap<_, _> = names.iter().map(|name| (name.to_vec(), 1)).collect();
        assert_eq!(found, expected, "{folder}");
        let json = client.ask(Method::Get, folder, "Accept: application/json\r\n");
        assert!(json_names(&json).contains(&"new\\u000aline"));
        assert!(json_names(&json).contains(&"<b>&\\\"'#?%.txt"));
        assert!(json_names(&json).contains(&"half-\u{FFFD}"));
    }
}

/// Bytes as a path.
trait AsPath {
    fn as_path(&self) -> &std::path::Path;
}

impl AsPath for Vec<u8> {
    fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(OsStr::from_bytes(self))
    }
}

/// What nobody could get is not shown: hidden names, special files, links that lead nowhere or out.
#[test]
fn what_is_not_shown() {
    let site = Site::new();
    for name in [".hidden", ".git/config", "shown.txt", "dir/x"] {
        site.file(name, "x");
    }
    write(&site.outside().join("secret.txt"), "secret");
    site.link("dangling", "nowhere");
    site.link("circle", "circle");
    site.link("out", "../secret.txt");
    site.link("out-absolute", site.outside());
    site.link("device", "/dev/null");
    site.link("inside", "shown.txt");
    site.link("inside-dir", "dir");
    rustix::fs::mkfifoat(CWD, site.path("fifo"), Mode::from_raw_mode(0o644)).expect("a FIFO can be made");
    site.link("to-fifo", "fifo");
    let beneath = &["dir/", "inside-dir/", "inside", "shown.txt"][..];
    for (key, value, expected) in [
        ("symlinks", "beneath", beneath),
        ("hidden", "deny", beneath),
        ("hidden", "allow", &[".git/", "dir/", "inside-dir/", ".hidden", "inside", "shown.txt"]),
        ("symlinks", "deny", &["dir/", "shown.txt"]),
        ("symlinks", "follow", &["dir/", "inside-dir/", "out-absolute/", "inside", "out", "shown.txt"]),
    ] {
        let outside = format!("'{}'", site.outside().display());
        let server = setup(&site, "html").set(key, format!("'{value}'")).set("sandbox_read", outside).start();
        let mut client = server.client();
        let page = client.get("/");
        let shown: Vec<_> = rows(&page).into_iter().map(|(_, shown)| shown).collect();
        assert_eq!(shown, expected, "{key} = {value}");
        // …and all of what is shown is there.
        for (href, _) in rows(&page) {
            assert_eq!(follow(&mut client, "/", &href).status, 200, "{key} = {value}: {href}");
        }
    }
}

/// `?sort=` and `&order=`: directories first, names without regard to case; and JSON as nginx writes it.
#[test]
fn entries_are_sorted() {
    let site = Site::new();
    for (name, length, modified) in [("b", 30, 300), ("B", 20, 900), ("a", 30, 500), ("C", 10, 400)] {
        set_modified(&site.file(name, "x".repeat(length)), 1_714_570_000 + modified);
    }
    site.directory("zoo");
    site.directory("Den");
    let server = setup(&site, "auto").start();
    let mut client = server.client();
    for (query, expected) in [
        ("", "Den/ zoo/ a B b C"),
        ("?sort=name", "Den/ zoo/ a B b C"),
        ("?sort=name&order=desc", "zoo/ Den/ C b B a"),
        ("?order=desc", "zoo/ Den/ C b B a"),
        ("?sort=size", "Den/ zoo/ C B a b"),
        ("?sort=size&order=asc", "Den/ zoo/ C B a b"),
        ("?order=desc&sort=size", "Den/ zoo/ a b B C"),
        ("?sort=nonsense&order=x", "Den/ zoo/ a B b C"),
        ("?C=S;O=D", "Den/ zoo/ a B b C"),
        ("?<script>", "Den/ zoo/ a B b C"),
    ] {
        let page = client.get(&format!("/{query}"));
        let shown: Vec<_> = rows(&page).into_iter().map(|(_, shown)| shown).collect();
        assert_eq!(shown.join(" "), expected, "{query}");
        let json = client.ask(Method::Get, &format!("/{query}"), "Accept: application/json\r\n");
        assert_eq!(json_names(&json).join(" "), expected.replace('/', ""), "{query}");
    }
    for (query, expected) in [("?sort=time", "b C a B"), ("?sort=time&order=desc", "B a C b")] {
        let json = client.ask(Method::Get, &format!("/{query}"), "Accept: application/json\r\n");
        assert_eq!(json_names(&json)[2..].join(" "), expected, "{query}");
    }
    let json = client.ask(Method::Get, "/?sort=size", "Accept: application/json\r\n").content;
    let object = "{ \"name\":\"C\", \"type\":\"file\", \"mtime\":\"Wed, 01 May 2024 13:33:20 GMT\", \"size\":10 }";
    assert!(String::from_utf8(json).expect("JSON is UTF-8").contains(object));
}

/// "Of a larger directory the first ones that the file system gives, and the page says so (JSON: the
/// field `X-Autoindex-Truncated`)."
#[test]
fn large_directories_are_cut_short() {
    let site = Site::new();
    (0..20).for_each(|number| drop(site.file(format!("dir/{number}.txt"), "")));
    // What is not shown does not count.
    (0..20).for_each(|number| drop(site.file(format!("dir/.{number}"), "")));
    for (entries_max, listed, is_cut) in [(1, 1, true), (19, 19, true), (20, 20, false), (21, 20, false)] {
        let server = setup(&site, "auto").set("autoindex_entries_max", entries_max).start();
        let mut client = server.client();
        let page = client.get("/dir/");
        let text = String::from_utf8(page.content.clone()).expect("a page is UTF-8");
        assert_eq!((rows(&page).len(), text.contains("<p class=\"note\">")), (listed, is_cut), "{entries_max}");
        assert_eq!(page.field("X-Autoindex-Truncated"), None, "the page says it itself");
        let json = client.ask(Method::Get, "/dir/", "Accept: application/json\r\n");
        assert_eq!(json_names(&json).len(), listed, "{entries_max}");
        assert_eq!(json.field("X-Autoindex-Truncated"), is_cut.then_some("true"), "{entries_max}");
        for (accept, response) in [("", &page), ("Accept: application/json\r\n", &json)] {
            check_head(&server, "/dir/", accept, response);
        }
        assert_eq!(json_names(&client.ask(Method::Get, "/", "Accept: application/json\r\n")), ["dir"]);
    }
}

/// Permissions do not bind root, so as root the server runs as somebody else here.
#[test]
fn what_may_not_be_read_is_forbidden() {
    let site = Site::new();
    for (folder, mode) in [("closed", 0o000), ("unlisted", 0o711), ("unsearched", 0o644)] {
        site.file(format!("{folder}/file.txt"), "content");
        set_mode(&site.path(folder), mode);
    }
    site.file("open/locked.txt", "secret");
    set_mode(&site.path("open/locked.txt"), 0o000);
    site.directory("empty");
    let server = match setup(&site, "auto") {
        setup if is_root() => setup.user(NOBODY).start(),
        setup => {
            set_mode(&site.path("unlisted"), 0o111);
            setup.start()
        }
    };
    let mut client = server.client();
    for (target, status) in
        [("/closed/", 403), ("/unlisted/", 403), ("/unlisted/file.txt", 200), ("/unsearched/", 403), ("/empty/", 200)]
    {
        for accept in ["", "Accept: application/json\r\n"] {
            let response = client.ask(Method::Get, target, accept);
            assert_eq!(response.status, status, "{target} {accept:?}");
            check_head(&server, target, accept, &response);
        }
    }
    // A name that is shown says nothing of who may read the file.
    check_names(&server, "/open/", &["locked.txt"]);
    check_names(&server, "/empty/", &[]);
    check_names(&server, "/", &["closed/", "empty/", "open/", "unlisted/", "unsearched/"]);
    // So that the directories can be removed, whoever runs this.
    for folder in ["closed", "unlisted", "unsearched"] {
        set_mode(&site.path(folder), 0o755);
    }
}

fn check_names(server: &Server, folder: &str, expected: &[&str]) {
    let shown: Vec<_> = rows(&server.get(folder)).into_iter().map(|(_, shown)| shown).collect();
    assert_eq!(shown, expected, "{folder}");
}
