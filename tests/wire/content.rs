//! What is sent and how it is named: media types, validators, ranges by location, indexes, hidden
//! names, symbolic links; and the documents and texts that go with errors.
//!
//! Invariant: every answer is asked for by HEAD as well, and must have the same fields.

use super::methods::check_head;
use crate::harness::server::Setup;
use crate::harness::site::{set_modified, write};
use crate::harness::{Client, Method, Response, Site};

const MODIFIED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// `types`, `default_type`, `charset` (RFC 9110 §8.3), everywhere and in a location.
#[test]
fn media_types() {
    let site = Site::new();
    let rows = [
        // The built-in ones
        ("a.html", "text/html"),
        ("a.png", "image/png"),
        ("a.json", "application/json"),
        // `types`, before them, in any case; the last extension counts
        ("a.txt", "text/x-own"),
        ("a.TXT", "text/x-own"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.html.webmanifest", "application/manifest+json"),
        ("a.webmanifest.html", "text/html"),
        ("webmanifest", "application/x-none"),
        // `default_type`: names that say nothing
        ("README", "application/x-none"),
        ("a.strange-extension", "application/x-none"),
        ("dir.html/README", "application/x-none"),
        ("a.", "application/x-none"),
        // `charset`: of text, XML and SVG, unless the type says one
        ("utf/a.html", "text/html; charset=utf-8"),
        ("utf/a.css", "text/css; charset=utf-8"),
        ("utf/a.js", "text/javascript; charset=utf-8"),
        ("utf/a.svg", "image/svg+xml; charset=utf-8"),
        ("utf/a.txt", "text/x-own; charset=utf-8"),
        ("utf/a.png", "image/png"),
        ("utf/a.json", "application/json"),
        ("utf/README", "application/x-none"),
        ("utf/deep/a.html", "text/html"),
        ("utf/deep/README", "text/plain"),
        ("types/a.txt", "text/plain"),
        ("types/a.latin", "text/html; charset=iso-8859-1"),
    ];
    for (name, _) in rows {
        site.file(name, name);
    }
    let locations = "[{ path = '/utf/', charset = 'utf-8' },
        { path = '/utf/deep/', charset = 'off', default_type = 'text/plain' },
        { path = '/types/', charset = 'utf-8', types = { latin = 'text/html; charset=iso-8859-1' } }]";
    let server = Setup::root(&site.root())
        .set("types", "{ txt = 'text/x-own', WebManifest = 'application/manifest+json' }")
        .set("default_type", "'application/x-none'")
        .set("location", locations)
        .start();
    let mut client = server.client();
    for (name, expected) in rows {
        let target = format!("/{name}");
        let response = client.get(&target);
        // A list in a location replaces the other as a whole, so that text is a plain one there.
        let expected = if name == "types/a.txt" { "text/plain; charset=utf-8" } else { expected };
        assert_eq!((response.status, response.field("Content-Type")), (200, Some(expected)), "{name}");
        check_head(&server, &target, "", &response);
    }
}

/// `nosniff` and `etag = false`; the conditions that are left without a tag (RFC 9110 §13.1).
#[test]
fn answers_without_a_tag() {
    let site = Site::new();
    for name in ["plain.txt", "tagged/plain.txt"] {
        set_modified(&site.file(name, "0123456789"), MODIFIED);
    }
    let server = Setup::root(&site.root())
        .set("etag", false)
        .set("nosniff", true)
        .set("location", "[{ path = '/tagged/', etag = true, nosniff = false }]")
        .start();
    let mut client = server.client();
    let tag = client.get("/tagged/plain.txt").field("ETag").expect("tags are on there").to_owned();
    for (lines, status, tagged_status) in [
        ("", 200, 200),
        // §13.1.2: there is a representation, whether or not it has a tag
        ("If-None-Match: *\r\n", 304, 304),
        ("If-None-Match: TAG\r\n", 200, 304),
        ("If-None-Match: \"x\"\r\n", 200, 200),
        ("If-None-Match: TAG\r\nIf-Modified-Since: DATE\r\n", 200, 304),
        // §13.1.1
        ("If-Match: *\r\n", 200, 200),
        ("If-Match: TAG\r\n", 412, 200),
        // §13.1.3, §13.1.4: the date is left
        ("If-Modified-Since: DATE\r\n", 304, 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200, 200),
        ("If-Unmodified-Since: DATE\r\n", 200, 200),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412, 412),
        // §13.1.5
        ("Range: bytes=0-1\r\n", 206, 206),
        ("Range: bytes=0-1\r\nIf-Range: TAG\r\n", 200, 206),
        ("Range: bytes=0-1\r\nIf-Range: DATE\r\n", 206, 206),
        ("Range: bytes=10-\r\n", 416, 416),
    ] {
        let lines = lines.replace("TAG", &tag).replace("DATE", DATE);
        for (target, status, is_tagged) in [("/plain.txt", status, false), ("/tagged/plain.txt", tagged_status, true)] {
            let response = client.ask(Method::Get, target, &lines);
            let context = format!("{target} {lines:?}");
            assert_eq!(response.status, status, "{context}");
            let expected = (is_tagged && status < 400).then_some(tag.as_str());
            assert_eq!(response.field("ETag"), expected, "{context}");
            // §15.4.5: a 304 without a tag tells the version by its date.
            let is_dated = matches!(status, 200 | 206) || (status == 304 && !is_tagged);
            assert_eq!(response.field("Last-Modified"), is_dated.then_some(DATE), "{context}");
            let nosniff = (!is_tagged).then_some("nosniff");
            assert_eq!(response.field("X-Content-Type-Options"), nosniff, "{context}");
            check_head(&server, target, &lines, &response);
        }
    }
    // Errors and redirects are not to be sniffed either.
    site.directory("dir");
    for target in ["/absent", "/dir", "/dir/", "/.hidden"] {
        assert_eq!(client.get(target).field("X-Content-Type-Options"), Some("nosniff"), "{target}");
    }
}

/// `max_ranges`: "a request for more is answered with the whole file", by location.
#[test]
fn ranges_that_are_answered() {
    let site = Site::new();
    for folder in ["", "two/", "none/", "many/"] {
        site.pattern(&format!("{folder}file.bin"), 60_000);
    }
    site.pattern("index.html", 60_000);
    let locations = "[{ path = '/two/', max_ranges = 2 }, { path = '/none/', max_ranges = 0 },
        { path = '/many/', max_ranges = 100 }, { path = 'index.html', max_ranges = 1 }]";
    let server = Setup::root(&site.root())
        .set("location", locations)
        .set("rewrite", "[{ from = '/led/*', to = '/$1/file.bin' }]")
        .start();
    let mut client = server.client();
    for (target, ranges, status) in [
        ("/file.bin", 1, 206),
        ("/file.bin", 16, 206),
        ("/file.bin", 17, 200),
        ("/two/file.bin", 1, 206),
        ("/two/file.bin", 2, 206),
        ("/two/file.bin", 3, 200),
        ("/none/file.bin", 1, 200),
        ("/none/file.bin", 2, 200),
        ("/many/file.bin", 17, 206),
        ("/many/file.bin", 100, 206),
        ("/many/file.bin", 101, 200),
        // "A path that `rewrite`, `try_files` or `index` leads to is judged by its own location"
        ("/", 1, 206),
        ("/", 2, 200),
        ("/led/two", 2, 206),
        ("/led/two", 3, 200),
        ("/led/many", 100, 206),
    ] {
        let specs: Vec<_> = (0..ranges).map(|number| format!("{0}-{0}", 10 * number)).collect();
        let lines = format!("Range: bytes={}\r\n", specs.join(","));
        let response = client.ask(Method::Get, target, &lines);
        assert_eq!(response.status, status, "{ranges} ranges of {target}");
        check_head(&server, target, &lines, &response);
    }
}

/// `index`: "names tried, in order, for a path that ends in a slash"; `hidden = "allow"`.
#[test]
fn indexes_and_hidden_names() {
    let site = Site::new();
    for name in [
        "both/start.htm",
        "both/index.html",
        "second/index.html",
        "third/start.htm/x",
        "third/index.html",
        "neither/home.html",
        "home/home.html",
        "home/index.html",
        "empty/index.html",
        ".env",
        ".git/config",
        ".dir/index.html",
        "a/.b/c",
        "open/.env",
        "open/.dir/index.html",
        ".well-known/x",
        ".well-known/.x",
    ] {
        site.file(name, name);
    }
    let locations = "[{ path = '/home/', index = ['home.html'] }, { path = '/empty/', index = [] },
        { path = '/open/', hidden = 'allow' }]";
    let setup = || Setup::root(&site.root()).set("index", "['start.htm', 'index.html']").set("location", locations);
    let denying = setup().start();
    let allowing = setup().set("hidden", "'allow'").start();
    for (target, name, is_hidden) in [
        ("/both/", Some("both/start.htm"), false),
        ("/second/", Some("second/index.html"), false),
        // What is tried is a file: a directory of the name is passed over
        ("/third/", Some("third/index.html"), false),
        ("/neither/", None, false),
        ("/home/", Some("home/home.html"), false),
        ("/home/index.html", Some("home/index.html"), false),
        ("/empty/", None, false),
        ("/empty/index.html", Some("empty/index.html"), false),
        ("/.env", Some(".env"), true),
        ("/%2eenv", Some(".env"), true),
        ("/.git/config", Some(".git/config"), true),
        ("/.dir/", Some(".dir/index.html"), true),
        ("/a/.b/c", Some("a/.b/c"), true),
        ("/open/.env", Some("open/.env"), false),
        ("/open/.dir/", Some("open/.dir/index.html"), false),
        ("/.well-known/x", Some(".well-known/x"), false),
        ("/.well-known/.x", Some(".well-known/.x"), true),
        ("/.absent", None, true),
        ("/..env", None, true),
        ("/a/./.b/../.b/c", Some("a/.b/c"), true),
    ] {
        for (server, hides) in [(&denying, true), (&allowing, false)] {
            let response = server.get(target);
            let expected = name.filter(|_| !(hides && is_hidden));
            let status = if expected.is_some() { 200 } else { 404 };
            assert_eq!(response.status, status, "{target}, hiding: {hides}");
            if let Some(name) = expected {
                assert_eq!(response.content, name.as_bytes(), "{target}");
            }
            check_head(server, target, "", &response);
        }
    }
}

/// `symlinks`: those that stay beneath the root, none, or all. A row has a 200 or a 404 for each.
#[test]
fn symbolic_links() {
    let site = Site::new();
    site.file("file.txt", "inside");
    site.file("dir/file.txt", "inside");
    write(&site.outside().join("secret.txt"), "outside");
    std::fs::create_dir(site.outside().join("other")).expect("the scratch is writable");
    write(&site.outside().join("other/file.txt"), "outside");
    site.link("to-file", "file.txt");
    site.link("to-absolute", site.path("file.txt"));
    site.link("to-dir", "dir");
    site.link("dir/up", "../file.txt");
    site.link("out", "../secret.txt");
    site.link("out-absolute", site.outside().join("secret.txt"));
    site.link("out-dir", "../other");
    site.link("dangling", "nowhere");
    site.link("circle", "circle");
    site.link("null", "/dev/null");
    let setup = || Setup::root(&site.root()).set("sandbox_read", format!("'{}'", site.outside().display()));
    let servers =
        ["beneath", "deny", "follow"].map(|symlinks| setup().set("symlinks", format!("'{symlinks}'")).start());
    for (target, statuses) in [
        ("/file.txt", [200, 200, 200]),
        ("/to-file", [200, 404, 200]),
        ("/to-absolute", [200, 404, 200]),
        ("/to-dir/file.txt", [200, 404, 200]),
        ("/to-dir", [301, 404, 301]),
        ("/dir/up", [200, 404, 200]),
        ("/out", [404, 404, 200]),
        ("/out-absolute", [404, 404, 200]),
        ("/out-dir/file.txt", [404, 404, 200]),
        ("/out-dir", [404, 404, 301]),
        ("/dangling", [404, 404, 404]),
        ("/circle", [404, 404, 404]),
        // Neither a file nor a directory, whoever leads there
        ("/null", [404, 404, 404]),
        // What climbs by itself is no matter of links
        ("/../secret.txt", [400, 400, 400]),
    ] {
        for (server, status) in servers.iter().zip(statuses) {
            let response = server.get(target);
            assert_eq!(response.status, status, "{target}: {statuses:?}");
            if status == 200 {
                let expected = if target.starts_with("/out") { "outside" } else { "inside" };
                assert_eq!(response.content, expected.as_bytes(), "{target}");
            }
        }
    }
}

/// "HTML, or plain text or JSON where the client's Accept prefers those" (RFC 9110 §12.5.1).
#[test]
fn errors_are_texts_in_the_form_that_is_preferred() {
    let site = Site::new();
    site.directory("dir");
    site.file("file.txt", "0123456789");
    let server = Setup::root(&site.root()).start();
    let mut client = server.client();
    for (accept, media_type) in [
        (None, "text/html"),
        (Some(""), "text/html"),
        (Some("*/*"), "text/html"),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), "text/html"),
        (Some("text/*"), "text/html"),
        (Some("image/png"), "text/html"),
        (Some("*/*;q=0"), "text/html"),
        (Some("text/plain"), "text/plain"),
        (Some("text/plain, */*"), "text/plain"),
        (Some("text/html;q=0.5, text/plain;q=0.6"), "text/plain"),
        (Some("application/json"), "application/json"),
        // Of two that are named alike, plain text comes first.
        (Some("application/json, text/plain, */*"), "application/json"),
        (Some("application/json, text/plain;q=0.9, */*;q=0.1"), "application/json"),
        (Some("text/html;q=0.9, application/json"), "application/json"),
        (Some("Application/JSON;q=0.1"), "application/json"),
    ] {
        let accept = accept.map_or(String::new(), |value| format!("Accept: {value}\r\n"));
        for (target, lines, status, title) in [
            ("/absent", "", 404, "Not Found"),
            ("/dir/", "", 404, "Not Found"),
            ("/dir", "", 301, "Moved Permanently"),
            ("/file.txt", "If-Match: \"x\"\r\n", 412, "Precondition Failed"),
            ("/file.txt", "Range: bytes=10-\r\n", 416, "Range Not Satisfiable"),
            ("/file.txt", "Expect: x\r\n", 417, "Expectation Failed"),
        ] {
            let lines = format!("{lines}{accept}");
            let response = client.ask(Method::Get, target, &lines);
            let context = format!("{target} {lines:?}");
            assert_eq!((response.status, response.field("Content-Type")), (status, Some(media_type)), "{context}");
            assert_eq!(response.field("Vary"), Some("Accept"), "{context}");
            let text = std::str::from_utf8(&response.content).expect("it is text");
            let start = match media_type {
                "text/html" => "<!doctype html>\n".to_owned(),
                "text/plain" => format!("{status} {title}\n"),
                _ => format!("{{\"status\":{status},\"title\":\"{title}\",\"detail\":\""),
            };
            assert!(text.starts_with(&start) && text.contains(title), "{context}: {text}");
            assert!(!text.contains("absent") && !text.contains(site.root().to_str().expect("a plain path")));
            check_head(&server, target, &lines, &response);
        }
    }
    // What is no request has no Accept that could be believed.
    let mut client = server.client();
    let response = client.ask(Method::Get, "/../x", "Accept: application/json\r\n");
    assert_eq!(response.status, 400);
    check_accept_of_methods(&mut server.client());
}

/// The method is refused in the same forms.
fn check_accept_of_methods(client: &mut Client) {
    for method in ["POST", "OPTIONS"] {
        client.send(format!("{method} /file.txt HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n"));
        let response: Response = client.answer(Method::Get);
        assert_eq!((response.status, response.field("Content-Type")), (405, Some("application/json")), "{method}");
        assert_eq!(response.field("Vary"), Some("Accept"), "{method}");
        assert!(response.content.starts_with(b"{\"status\":405,"), "{method}");
    }
}

/// "A path that `index` leads to is judged by its own location, `allow`, `deny` … included", each time
/// that it is asked for.
#[test]
fn an_index_is_judged_by_its_own_path() {
    let site = Site::new();
    for name in ["denied/index.html", "denied/file.txt", "typed/index.html", "plain/index.html"] {
        site.file(name, name);
    }
    let locations = "[{ path = '/denied/index.html', deny = ['all'] },
        { path = '/typed/*.html', charset = 'utf-8', etag = false, nosniff = true }]";
    let server = Setup::root(&site.root()).set("location", locations).start();
    let mut client = server.client();
    for (target, status, media_type, is_tagged) in [
        ("/denied/", 403, "text/html", false),
        ("/denied/index.html", 403, "text/html", false),
        ("/denied/file.txt", 200, "text/plain", true),
        ("/typed/", 200, "text/html; charset=utf-8", false),
        ("/typed/index.html", 200, "text/html; charset=utf-8", false),
        ("/plain/", 200, "text/html", true),
    ] {
        for _ in 0..3 {
            let response = client.get(target);
            assert_eq!((response.status, response.field("Content-Type")), (status, Some(media_type)), "{target}");
            assert_eq!(response.field("ETag").is_some(), is_tagged, "{target}");
            assert_eq!(response.field("X-Content-Type-Options").is_some(), target.starts_with("/typed"), "{target}");
            check_head(&server, target, "", &response);
        }
    }
}
