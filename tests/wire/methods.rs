//! Methods (RFC 9110 §9): GET and HEAD are answered, every other is refused by name; and what
//! becomes of a request that carries content.
//!
//! Invariant: the answer to HEAD is the answer to GET without its content, whatever it is.

use crate::harness::site::set_modified;
use crate::harness::{Client, Method, Response, Server, Site, Version};
use std::time::Duration;

fn site() -> Site {
    let site = Site::new();
    site.file("index.html", "index");
    site.pattern("small.bin", 1000);
    site.pattern("large.bin", 3 << 20);
    site.file("empty.txt", "");
    site.file("dir/index.html", "dir");
    site.directory("bare");
    set_modified(&site.path("small.bin"), 784_111_777);
    site
}

/// RFC 9110 §15.5.6: 405 with Allow, and the connection lives on.
#[test]
fn other_methods_are_not_allowed() {
    let site = site();
    let server = Server::of(&site);
    let mut client = server.client();
    for request_line in [
        "POST / HTTP/1.1",
        "PUT /new.txt HTTP/1.1",
        "DELETE /index.html HTTP/1.1",
        "PATCH / HTTP/1.1",
        "OPTIONS / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "TRACE / HTTP/1.1",
        "CONNECT example.org:443 HTTP/1.1",
        "PROPFIND / HTTP/1.1",
        "BREW /pot HTTP/1.1",
        // §9.1: methods are case-sensitive
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        "HEAd / HTTP/1.1",
        "GETT / HTTP/1.1",
        // The method is judged before the target: nothing of the site shows
        "POST /absent HTTP/1.1",
        "POST /../../etc/passwd HTTP/1.1",
    ] {
        client.send(format!("{request_line}\r\nHost: a\r\n\r\n"));
        let response = client.answer(Method::Get);
        assert_eq!(response.status, 405, "{request_line}");
        assert_eq!(response.field("Allow"), Some("GET, HEAD"), "{request_line}");
        assert!(!response.closes(), "{request_line}");
    }
    assert!(!site.path("new.txt").exists());
    assert_eq!(client.get("/").content, b"index");
}

/// RFC 9110 §9.3.2: HEAD has all the fields of GET; `Date` may differ from second to second.
#[test]
fn head_is_get_without_content() {
    Version::ALL.into_iter().for_each(check_heads);
}

fn check_heads(version: Version) {
    let site = site();
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for (target, lines, status) in [
        ("/", "", 200),
        ("/index.html", "", 200),
        ("/small.bin", "", 200),
        ("/large.bin", "", 200),
        ("/empty.txt", "", 200),
        ("/dir/", "", 200),
        ("/dir", "", 301),
        ("/dir?a=b", "", 301),
        ("/absent", "", 404),
        ("/bare/", "", 404),
        ("/.hidden", "", 404),
        ("/small.bin", "If-None-Match: *\r\n", 304),
        ("/small.bin", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304),
        ("/small.bin", "If-Match: \"x\"\r\n", 412),
        ("/large.bin", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 412),
        // §14.2: Range is for GET only, so only here do the two differ; a unit that nobody knows
        // is ignored by both
        ("/small.bin", "Range: lines=0-1\r\n", 200),
        ("/small.bin", "Connection: x\r\n", 200),
    ] {
        let got = client.ask(Method::Get, target, lines);
        let headed = client.ask(Method::Head, target, lines);
        assert_eq!(got.status, status, "{target} {lines:?}");
        assert_eq!(headed.status, status, "{target} {lines:?}");
        assert_eq!(headed.lasting_fields(), got.lasting_fields(), "{target} {lines:?}");
        let length = got.field("Content-Length").map(str::to_owned);
        let expected = (status != 304).then(|| got.content.len().to_string());
        assert_eq!(length, expected, "{target} {lines:?}");
    }
    // A byte of content behind a HEAD would be taken for the next answer.
    assert_eq!(client.get("/").content, b"index");
}

/// RFC 9112 §9.3 for the persistence; the rest is as in HTTP/1.1, and so is the version of the
/// answer (RFC 9110 §2.5).
#[test]
fn http_1_0_is_served() {
    let site = site();
    let server = Server::of(&site);
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET /index.html HTTP/1.0\r\nHost: a\r\n\r\n", 200),
        ("GET http://a/index.html HTTP/1.0\r\n\r\n", 200),
        ("GET /large.bin HTTP/1.0\r\n\r\n", 200),
        ("GET /absent HTTP/1.0\r\n\r\n", 404),
        ("GET /dir HTTP/1.0\r\n\r\n", 301),
        ("POST / HTTP/1.0\r\n\r\n", 405),
        ("GET /small.bin HTTP/1.0\r\nRange: bytes=0-0\r\n\r\n", 206),
    ] {
        let mut client = server.client();
        client.send(request);
        let response = client.answer(Method::Get);
        assert_eq!(response.status, status, "{request:?}");
        assert!(response.closes(), "{request:?}");
        client.expect_end(request);
    }
    let mut client = server.client();
    client.send("HEAD /large.bin HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer(Method::Head).field("Content-Length"), Some("3145728"));
    client.expect_end("behind the answer to HEAD");
}

/// RFC 9112 §9.3: the server need not read content that it has no use for, but must then close.
/// It must not reset, though: the reset could overtake the answer (§9.6).
#[test]
fn a_request_with_content_is_answered_and_closed() {
    let site = site();
    let server = Server::of(&site);
    let content = "x".repeat(1 << 20);
    for (head, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", 405),
        ("PUT /new.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", 200),
        ("GET /absent HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", 404),
        ("GET /large.bin HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n", 405),
        ("POST / HTTP/1.0\r\nContent-Length: 1048576\r\n\r\n", 405),
    ] {
        let mut client = server.client();
        client.send(head);
        client.send(&content);
        check_last(&mut client, head, status);
    }
}

/// The answer is there before the content is: the client is told, and the rest of what it sends
/// is read away.
#[test]
fn a_client_that_is_still_sending_gets_its_answer() {
    let site = site();
    let server = Server::of(&site);
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n");
    let mut sender = client.stream().try_clone().expect("a socket can be shared");
    let sending = std::thread::spawn(move || {
        for _ in 0..64 {
            std::io::Write::write_all(&mut sender, &[b'x'; 16 * 1024])?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok::<_, std::io::Error>(())
    });
    check_last(&mut client, "while the client is sending", 405);
    sending.join().expect("it only sends").expect("all of it is taken, and nothing reset");
}

/// RFC 9110 §10.1.1: a final answer instead of 100 tells the client to keep its content.
#[test]
fn expect_continue_is_answered_at_once() {
    let site = site();
    let server = Server::of(&site);
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n");
    check_last(&mut client, "Expect", 405);
}

/// HEAD of what `got` is the answer to: the same status and fields (RFC 9110 §9.3.2), and nothing
/// behind them. A Range says nothing to HEAD (§14.2), so where it told GET something the two are
/// compared without it.
pub(super) fn check_head(server: &Server, target: &str, lines: &str, got: &Response) {
    check_head_over(Version::Http1, server, target, lines, got);
}

/// The same over a version of HTTP, that of `got`.
pub(super) fn check_head_over(version: Version, server: &Server, target: &str, lines: &str, got: &Response) {
    let headed = version.client(server).ask(Method::Head, target, lines);
    let without_range = matches!(got.status, 206 | 416).then(|| {
        let kept = lines.split_inclusive('\n').filter(|line| !line.to_ascii_lowercase().starts_with("range:"));
        version.client(server).ask(Method::Get, target, &kept.collect::<String>())
    });
    let expected = without_range.as_ref().unwrap_or(got);
    assert_eq!(headed.status, expected.status, "HEAD {target} {lines:?}");
    if headed.lasting_fields() != expected.lasting_fields() && got.field("Last-Modified").is_none() {
        // A file that was written in this very second has no date yet, and has one in the next.
        let again = version.client(server).ask(Method::Get, target, lines);
        assert!(again.field("Last-Modified").is_some(), "HEAD {target} {lines:?}");
        return check_head_over(version, server, target, lines, &again);
    }
    assert_eq!(headed.lasting_fields(), expected.lasting_fields(), "HEAD {target} {lines:?}");
}

fn check_last(client: &mut Client, context: &str, status: u16) {
    let response = client.answer(Method::Get);
    assert_eq!(response.status, status, "{context}");
    assert!(response.closes(), "{context}");
    client.expect_end(context);
}
