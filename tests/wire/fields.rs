//! Fields that a site adds, changes and leaves out (`headers`), how long answers may be kept
//! (`cache_control`, `expires`), and what other origins may read (`cors`).
//!
//! Invariant: what frames a message is never changed by any of them.

use super::methods::check_head;
use crate::harness::server::Setup;
use crate::harness::site::set_modified;
use crate::harness::{Client, Method, Response, Site};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn site() -> Site {
    let site = Site::new();
    for name in [
        "a.html",
        "a.js",
        "a.png",
        "a.txt",
        "deep/a.html",
        "deep/a.js",
        "own/a.html",
        "assets/a.html",
        "home/index.html",
    ] {
        set_modified(&site.file(name, "0123456789"), 784_111_777);
    }
    site.directory("dir");
    site
}

/// The values of all lines of the field `name`, in order.
fn lines<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    let of_name = response.fields.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| value.as_str()).collect()
}

/// Requests for answers of each status that a file can have.
const STATUSES: [(&str, &str, u16); 9] = [
    ("/a.html", "", 200),
    ("/a.html", "Range: bytes=0-1\r\n", 206),
    ("/a.html", "If-None-Match: *\r\n", 304),
    ("/dir", "", 301),
    ("/absent", "", 404),
    ("/dir/", "", 404),
    ("/a.html", "If-Match: \"x\"\r\n", 412),
    ("/a.html", "Range: bytes=10-\r\n", 416),
    ("/a.html", "Expect: x\r\n", 417),
];

/// "A list of them, applied in order to all answers, errors too; without `path` to all paths."
#[test]
fn rules_are_applied_in_order() {
    let site = site();
    let server = Setup::root(&site.root())
        .set(
            "headers",
            "[{ set = { X-All = 'all', X-Last = '1' }, add = { Link = ['<a>', '<b>'] } },
            { path = '*.js', set = { X-Script = 'yes', x-last = '2' }, add = { Link = '<c>' } },
            { path = '/deep/', remove = ['X-All'], set = { X-Deep = 'yes' } },
            { path = '/deep/a.js', set = { X-Last = '3' }, remove = ['link'], add = { Vary = 'X-Mine' } },
            { path = 'index.html', set = { X-Index = 'yes' } },
            { path = '/*.html', set = { X-Top-Page = 'ä \"1\"' } }]",
        )
        .set("location", "[{ path = '/own/', headers = { set = { X-Own = 'yes' } } }]")
        .start();
    let mut client = server.client();
    for (target, status, name, expected) in [
        ("/a.html", 200, "X-All", &["all"][..]),
        ("/a.html", 200, "X-Last", &["1"]),
        ("/a.html", 200, "Link", &["<a>", "<b>"]),
        ("/a.html", 200, "X-Script", &[]),
        ("/a.html", 200, "X-Top-Page", &["ä \"1\""]),
        ("/a.js", 200, "X-Script", &["yes"]),
        ("/a.js", 200, "X-Last", &["2"]),
        ("/a.js", 200, "Link", &["<a>", "<b>", "<c>"]),
        ("/deep/a.html", 200, "X-All", &[]),
        ("/deep/a.html", 200, "X-Deep", &["yes"]),
        ("/deep/a.html", 200, "X-Top-Page", &[]),
        ("/deep/a.js", 200, "X-Last", &["3"]),
        ("/deep/a.js", 200, "Link", &[]),
        ("/deep/a.js", 200, "X-Script", &["yes"]),
        ("/deep/a.js", 200, "Vary", &["X-Mine"]),
        // The path is the decoded one, whether or not something is there
        ("/%64eep/absent.js", 404, "X-Deep", &["yes"]),
        ("/absent.js", 404, "X-Script", &["yes"]),
        ("/absent.js", 404, "Vary", &["Accept"]),
        ("/deep", 301, "X-Deep", &[]),
        // …and of an index its own: "`path = \"*.html\"` holds for the index file that answers `/`"
        ("/home/", 200, "X-Index", &["yes"]),
        ("/home/", 200, "X-All", &["all"]),
        ("/home/index.html", 200, "X-Index", &["yes"]),
        ("/home", 301, "X-Index", &[]),
        ("/deep/", 404, "X-Deep", &["yes"]),
        // A location's list replaces the one above
        ("/own/a.html", 200, "X-Own", &["yes"]),
        ("/own/a.html", 200, "X-All", &[]),
        ("/own/absent", 404, "X-Own", &["yes"]),
    ] {
        let response = client.get(target);
        assert_eq!((response.status, lines(&response, name).as_slice()), (status, expected), "{target} {name}");
        check_head(&server, target, "", &response);
    }
    // What varies by itself goes on to do so, beside what is added.
    let vary = client.ask(Method::Get, "/deep/a.js", "If-Match: \"x\"\r\n");
    assert_eq!(lines(&vary, "Vary"), ["Accept", "X-Mine"]);
    for (target, fields, status) in STATUSES {
        let response = client.ask(Method::Get, target, fields);
        assert_eq!((response.status, lines(&response, "X-All")), (status, vec!["all"]), "{target} {fields:?}");
        check_head(&server, target, fields, &response);
    }
    client.send("POST /deep/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.answer(Method::Get);
    assert_eq!((response.status, response.field("X-Deep")), (405, Some("yes")));
}

/// The server's own fields, as far as they are not needed: left out, or with another value.
#[test]
fn own_fields_are_removed_and_replaced() {
    let site = site();
    let server = Setup::root(&site.root())
        .set("cache_control", "'max-age=60'")
        .set("expires", "'1h'")
        .set("location", "[{ path = '/deep/', headers = [] }]")
        .set(
            "headers",
            "[{ path = '*.html', remove = ['Server', 'etag', 'Last-Modified', 'Accept-Ranges'] },
            { path = '*.js', set = { Server = 'mine', ETag = '\"own\"', Cache-Control = 'no-store' } },
            { path = '*.txt', remove = ['Cache-Control', 'Expires'] },
            { path = '*.png', add = { Cache-Control = 'private' } }]",
        )
        .start();
    let mut client = server.client();
    for (target, name, expected) in [
        ("/a.html", "Server", &[][..]),
        ("/a.html", "ETag", &[]),
        ("/a.html", "Last-Modified", &[]),
        ("/a.html", "Accept-Ranges", &[]),
        ("/a.html", "Cache-Control", &["max-age=60"]),
        ("/a.js", "Server", &["mine"]),
        ("/a.js", "ETag", &["\"own\""]),
        ("/a.js", "Last-Modified", &[DATE]),
        ("/a.js", "Accept-Ranges", &["bytes"]),
        ("/a.js", "Cache-Control", &["no-store"]),
        ("/a.txt", "Cache-Control", &[]),
        ("/a.txt", "Expires", &[]),
        ("/a.txt", "Server", &["otus-httpd"]),
        ("/a.png", "Cache-Control", &["max-age=60", "private"]),
        ("/deep/a.html", "Server", &["otus-httpd"]),
        ("/deep/a.html", "Last-Modified", &[DATE]),
    ] {
        for fields in ["", "Range: bytes=0-1\r\n"] {
            let response = client.ask(Method::Get, target, fields);
            assert!(matches!(response.status, 200 | 206), "{target}");
            assert_eq!(lines(&response, name), expected, "{target} {name} {fields:?}");
        }
    }
    for (target, fields, status) in STATUSES.iter().filter(|(target, ..)| *target == "/a.html") {
        let response = client.ask(Method::Get, target, fields);
        assert_eq!(response.status, *status, "{fields:?}");
        for name in ["Server", "ETag", "Last-Modified", "Accept-Ranges"] {
            assert_eq!(lines(&response, name), [""; 0], "{name} {fields:?}");
        }
        // RFC 9110 §6.6.1, §8.6: what a message needs is still there.
        assert!(response.field("Date").is_some(), "{fields:?}");
        assert_eq!(response.field("Content-Length").is_some(), *status != 304, "{fields:?}");
    }
    // Without a tag to be seen, the tag that the server knows still tells the version.
    let date = format!("If-Modified-Since: {DATE}\r\n");
    assert_eq!(client.ask(Method::Get, "/a.html", &date).status, 304);
}

/// "A path that `rewrite` or `try_files` leads to is judged by its own location", whatever comes of it.
#[test]
fn a_path_that_is_led_elsewhere_has_the_fields_of_that_place() {
    let site = site();
    let server = Setup::root(&site.root())
        .set("headers", "{ set = { X-Place = 'here' } }")
        .set("location", "[{ path = '/own/', headers = { set = { X-Place = 'there' } }, cache_control = 'no-cache' }]")
        .set("rewrite", "{ from = '/led', to = '/own/a.html' }")
        .start();
    let mut client = server.client();
    for (fields, status, cache_control) in [
        ("", 200, Some("no-cache")),
        ("Range: bytes=0-1\r\n", 206, Some("no-cache")),
        ("If-None-Match: *\r\n", 304, Some("no-cache")),
        ("If-Match: \"x\"\r\n", 412, None),
        ("Range: bytes=10-\r\n", 416, None),
    ] {
        let response = client.ask(Method::Get, "/led", fields);
        assert_eq!((response.status, response.field("X-Place")), (status, Some("there")), "{fields:?}");
        assert_eq!(response.field("Cache-Control"), cache_control, "{fields:?}");
        check_head(&server, "/led", fields, &response);
    }
}

/// Seconds since 1970 of a date in a field, as the system's own clock tools read it.
fn seconds(date: &str) -> u64 {
    let output = std::process::Command::new("date").args(["-u", "+%s", "-d", date]).output().expect("date(1) is there");
    let text = String::from_utf8(output.stdout).expect("digits are text");
    text.trim().parse().unwrap_or_else(|_| panic!("{date:?} is no date"))
}

/// "The key with the most literal bytes counts; `"off"` says nothing." Expires is Date and the
/// lifetime, to the second (RFC 9111 §5.3).
#[test]
fn lifetimes_by_path_and_by_type() {
    let site = site();
    let server = Setup::root(&site.root())
        .set(
            "cache_control",
            "{ '*' = 'public', 'image/*' = 'max-age=1', '*.html' = 'no-cache', '/assets/**' = 'immutable',
            'text/javascript' = 'max-age=2', '/deep/a.js' = 'no-store', '/deep/a.html' = 'off' }",
        )
        .set(
            "location",
            "[{ path = '/expires/', cache_control = {}, expires = { '*' = '30d', '*.js' = 'epoch', '*.png' = 'max',
                'text/html' = '12h', '*.txt' = 'off' } },
            { path = '/both/', cache_control = 'private', expires = '1w' },
            { path = '/zero/', cache_control = {}, expires = '0s' },
            { path = '/quiet/', cache_control = 'off', expires = 'off' }]",
        )
        .start();
    for folder in ["expires", "both", "zero", "quiet"] {
        for extension in ["html", "js", "png", "txt", "css"] {
            site.file(format!("{folder}/a.{extension}"), "0123456789");
        }
    }
    let day = 86_400;
    let epoch = Some(None);
    let after = |seconds: u64| Some(Some(seconds));
    let mut client = server.client();
    for (target, cache_control, expires) in [
        ("/a.txt", Some("public"), None),
        ("/a.html", Some("no-cache"), None),
        ("/home/", Some("no-cache"), None),
        ("/a.png", Some("max-age=1"), None),
        ("/a.js", Some("max-age=2"), None),
        // `text/javascript` has fifteen literal bytes, `/deep/a.js` ten
        ("/deep/a.js", Some("max-age=2"), None),
        ("/deep/a.html", None, None),
        // `/assets/` has eight, `.html` five
        ("/assets/a.html", Some("immutable"), None),
        // Expires, and Cache-Control for those who know no dates
        ("/expires/a.css", Some("max-age=2592000"), after(30 * day)),
        ("/expires/a.html", Some("max-age=43200"), after(day / 2)),
        ("/expires/a.js", Some("no-cache"), epoch),
        ("/expires/a.png", Some("max-age=315360000"), after(3650 * day)),
        ("/expires/a.txt", None, None),
        ("/zero/a.txt", Some("max-age=0"), after(0)),
        // "gives Cache-Control too where `cache_control` does not"
        ("/both/a.txt", Some("private"), after(7 * day)),
        ("/quiet/a.txt", None, None),
    ] {
        for (fields, status) in [("", 200), ("Range: bytes=0-1\r\n", 206), ("If-None-Match: *\r\n", 304)] {
            for method in [Method::Get, Method::Head] {
                let response = client.ask(method, target, fields);
                let context = format!("{target} {fields:?} {method:?}");
                let status = if method == Method::Head && status == 206 { 200 } else { status };
                assert_eq!((response.status, response.field("Cache-Control")), (status, cache_control), "{context}");
                check_expires(&response, expires, &context);
            }
        }
        // Not on what has no content of the file: an error that is kept outlives its cause.
        for (fields, status) in [("If-Match: \"x\"\r\n", 412), ("Range: bytes=10-\r\n", 416), ("Expect: x\r\n", 417)] {
            let response = client.ask(Method::Get, target, fields);
            assert_eq!(response.status, status, "{target}");
            assert_eq!((response.field("Cache-Control"), response.field("Expires")), (None, None), "{target} {status}");
        }
    }
    for (target, status) in [("/absent.html", 404), ("/expires/absent.js", 404), ("/both", 301), ("/.x", 404)] {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}");
        assert_eq!((response.field("Cache-Control"), response.field("Expires")), (None, None), "{target}");
    }
}

/// `expected` is none without the field, a time after Date, or none within for the past.
fn check_expires(response: &Response, expected: Option<Option<u64>>, context: &str) {
    let expires = response.field("Expires").map(seconds);
    match expected {
        None => assert_eq!(expires, None, "{context}"),
        Some(Some(lifetime)) => {
            let date = seconds(response.field("Date").expect("every answer has one"));
            assert_eq!(expires, Some(date + lifetime), "{context}");
        }
        Some(None) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
            assert!(expires.is_some_and(|expires| expires < now), "{context}");
        }
    }
}

/// How much an answer says of who may read it (Fetch standard, CORS protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shared<'a> {
    origin: Option<&'a str>,
    credentials: Option<&'a str>,
    vary: Option<&'a str>,
}

fn shared(response: &Response) -> Shared<'_> {
    Shared {
        origin: response.field("Access-Control-Allow-Origin"),
        credentials: response.field("Access-Control-Allow-Credentials"),
        vary: response.field("Vary"),
    }
}

fn cors_server(site: &Site) -> crate::harness::Server {
    Setup::root(&site.root())
        .set("cors", "{ origins = ['https://a.example', 'http://b.example:8080'], headers = ['X-One', 'Range'] }")
        .set(
            "location",
            "[{ path = '/deep/', cors = { origins = ['*'], max_age = 5 } },
            { path = '/own/', cors = { origins = ['https://a.example'], credentials = true } },
            { path = '/assets/', cors = 'off' }]",
        )
        .start()
}

/// "What other origins may read": by the whole origin, in every answer, errors too.
#[test]
fn origins_that_may_read() {
    let site = site();
    let server = cors_server(&site);
    let mut client = server.client();
    let (a, b) = (Some("https://a.example"), Some("http://b.example:8080"));
    for (folder, origin, allowed, credentials, varies) in [
        ("/", a, a, None, true),
        ("/", b, b, None, true),
        // Another answer to another origin: caches must know, also where there is none (RFC 9110 §12.5.5)
        ("/", None, None, None, true),
        ("/", Some("https://c.example"), None, None, true),
        ("/", Some("null"), None, None, true),
        // An origin is scheme, host and port
        ("/", Some("http://a.example"), None, None, true),
        ("/", Some("https://a.example:444"), None, None, true),
        ("/", Some("http://b.example"), None, None, true),
        ("/", Some("https://a.example.evil"), None, None, true),
        ("/", Some("https://a.example/"), None, None, true),
        ("/", Some("*"), None, None, true),
        ("/", Some(""), None, None, true),
        ("/", Some("https://a.example, http://b.example:8080"), None, None, true),
        ("/deep/", a, Some("*"), None, false),
        ("/deep/", Some("https://c.example"), Some("*"), None, false),
        ("/deep/", None, None, None, false),
        ("/own/", a, a, Some("true"), true),
        ("/own/", b, None, None, true),
        ("/assets/", a, None, None, false),
        ("/assets/", None, None, None, false),
    ] {
        let origin_line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        for (name, fields, status) in [
            ("a.html", "", 200),
            ("a.html", "Range: bytes=0-1\r\n", 206),
            ("a.html", "If-None-Match: *\r\n", 304),
            ("a.html", "If-Match: \"x\"\r\n", 412),
            ("a.html", "Range: bytes=10-\r\n", 416),
            ("absent", "", 404),
            ("", "", 404),
        ] {
            let target = format!("{folder}{name}");
            let fields = format!("{origin_line}{fields}");
            let response = client.ask(Method::Get, &target, &fields);
            assert_eq!(response.status, status, "{target} {fields:?}");
            let vary = match (varies, status >= 400) {
                (true, true) => Some("Accept, Origin"),
                (true, false) => Some("Origin"),
                (false, true) => Some("Accept"),
                (false, false) => None,
            };
            assert_eq!(shared(&response), Shared { origin: allowed, credentials, vary }, "{target} {fields:?}");
            assert_eq!(response.field("Access-Control-Allow-Methods"), None, "{target}");
            check_head(&server, &target, &fields, &response);
        }
    }
    // Two lines are no origin (RFC 6454 §7.3).
    let response = client.ask(Method::Get, "/a.html", "Origin: https://a.example\r\nOrigin: https://a.example\r\n");
    assert_eq!(shared(&response).origin, None);
    check_other_methods(&mut client);
}

/// An error of the method is readable too.
fn check_other_methods(client: &mut Client) {
    client.send("POST /a.html HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
    let response = client.answer(Method::Get);
    assert_eq!((response.status, response.field("Allow")), (405, Some("GET, HEAD")));
    assert_eq!(shared(&response).origin, Some("https://a.example"));
}

/// "Their preflights are answered with 204", without content and its length (RFC 9110 §8.6); what is
/// no preflight, or of nobody who may, is a method as any other.
#[test]
fn preflights() {
    let site = site();
    let server = cors_server(&site);
    let mut client = server.client();
    let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-one\r\n";
    for (target, origin, lines, status, allowed) in [
        ("/a.html", Some("https://a.example"), preflight, 204, Some("https://a.example")),
        ("/a.html", Some("http://b.example:8080"), preflight, 204, Some("http://b.example:8080")),
        (
            "/a.html",
            Some("https://a.example"),
            "Access-Control-Request-Method: PUT\r\n",
            204,
            Some("https://a.example"),
        ),
        // Whether something is there is no matter of the preflight
        ("/absent", Some("https://a.example"), preflight, 204, Some("https://a.example")),
        ("/dir", Some("https://a.example"), preflight, 204, Some("https://a.example")),
        ("/deep/a.js", Some("https://c.example"), preflight, 204, Some("*")),
        ("/own/a.html", Some("https://a.example"), preflight, 204, Some("https://a.example")),
        ("/a.html", Some("https://c.example"), preflight, 405, None),
        ("/a.html", None, preflight, 405, None),
        // A simple OPTIONS says nothing of a request that is to follow; errors may be read
        ("/a.html", Some("https://a.example"), "", 405, Some("https://a.example")),
        ("/deep/a.js", Some("https://c.example"), "", 405, Some("*")),
        ("/a.html", None, "", 405, None),
        // Without `cors`
        ("/assets/a.html", Some("https://a.example"), preflight, 405, None),
    ] {
        let lines = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n")) + lines;
        let response = client.ask(Method::Options, target, &lines);
        let context = format!("{target} {lines:?}");
        assert_eq!((response.status, shared(&response).origin), (status, allowed), "{context}");
        assert_eq!(response.field("Content-Length").is_some(), status != 204, "{context}");
        assert_eq!(response.field("Allow"), (status == 405).then_some("GET, HEAD"), "{context}");
        let told = |expected: &'static str| (status == 204).then_some(expected);
        assert_eq!(response.field("Access-Control-Allow-Methods"), told("GET, HEAD"), "{context}");
        let is_deep = target.starts_with("/deep/");
        let max_age = if is_deep { "5" } else { "600" };
        assert_eq!(response.field("Access-Control-Max-Age"), told(max_age), "{context}");
        let headers = told("X-One, Range").filter(|_| !is_deep && !target.starts_with("/own/"));
        assert_eq!(response.field("Access-Control-Allow-Headers"), headers, "{context}");
        let credentials = told("true").filter(|_| target.starts_with("/own/"));
        assert_eq!(shared(&response).credentials, credentials, "{context}");
        let varies = !is_deep && !target.starts_with("/assets/");
        assert_eq!(shared(&response).vary.is_some_and(|vary| vary.contains("Origin")), varies, "{context}");
        assert!(!response.closes(), "{context}");
    }
    // Nothing came behind a 204: the connection goes on.
    assert_eq!(client.get("/a.html").content, b"0123456789");
}
