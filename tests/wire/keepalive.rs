//! Persistent connections (RFC 9112 §9): who keeps one open, answers in order, requests in any
//! pieces, and the fields of every answer.
//!
//! Invariant: each request has exactly one answer, and the answers come in the order of the
//! requests.

use crate::harness::{Client, Method, Response, Server, Site, eventually};
use std::time::{Duration, SystemTime};

fn site() -> (Site, Vec<u8>) {
    let site = Site::new();
    site.file("index.html", "index");
    site.file("a.txt", "the first");
    site.file("b.txt", "the second");
    site.directory("dir");
    site.pattern("medium.bin", 40_000);
    let large = site.pattern("large.bin", (5 << 20) + 3);
    (site, large)
}

/// RFC 9112 §9.3, in its order.
#[test]
fn persistence() {
    let (site, _) = site();
    let server = Server::of(&site);
    for (rest, closes) in [
        ("HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: x, close ,\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nX-Connection: close\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", false),
        ("HTTP/1.0\r\n\r\n", true),
        ("HTTP/1.0\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false),
        ("HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", true),
        ("HTTP/1.0\r\nKeep-Alive: 300\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nconnection:close\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection:\tclose \r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: ,,\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: \"close\"\r\n\r\n", false),
        ("HTTP/1.1\r\nHost: a\r\nConnection: not-close\r\n\r\n", false),
        ("HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n", false),
        ("HTTP/1.0\r\nConnection: x\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", true),
        ("HTTP/1.0\r\nConnection: keep\r\n\r\n", true),
    ] {
        for (target, status) in [("/a.txt", 200), ("/absent", 404), ("/dir", 301)] {
            let mut client = server.client();
            client.send(format!("GET {target} {rest}"));
            let response = client.answer(Method::Get);
            assert_eq!((response.status, response.closes()), (status, closes), "{target} {rest:?}");
            let mut heading = server.client();
            heading.send(format!("HEAD {target} {rest}"));
            let headed = heading.answer(Method::Head);
            assert_eq!(
                (headed.status, headed.lasting_fields()),
                (status, response.lasting_fields()),
                "{target} {rest:?}"
            );
            if closes {
                client.expect_end(rest);
            } else {
                assert_eq!(client.get("/b.txt").content, b"the second", "{target} {rest:?}");
            }
        }
    }
}

/// RFC 9112 §9.3.2: fifty requests in one write, of every sort, and a large file among them.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let (site, large) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    let mut requests = String::new();
    let mut expected = Vec::new();
    for number in 0..50 {
        let (method, target, lines, status, content) = match number {
            25 => (Method::Get, "/large.bin", "", 200, &large[..]),
            _ => match number % 8 {
                0 => (Method::Get, "/a.txt", "", 200, &b"the first"[..]),
                1 => (Method::Get, "/b.txt", "", 200, &b"the second"[..]),
                2 => (Method::Get, "/absent", "", 404, &b""[..]),
                3 => (Method::Head, "/large.bin", "", 200, &b""[..]),
                4 => (Method::Get, "/dir", "", 301, &b""[..]),
                5 => (Method::Get, "/a.txt", "If-None-Match: *\r\n", 304, &b""[..]),
                6 => (Method::Get, "/large.bin", "Range: bytes=1000000-1000009\r\n", 206, &large[1_000_000..1_000_010]),
                _ => (Method::Get, "/a.txt", "Range: bytes=9-\r\n", 416, &b""[..]),
            },
        };
        let token = if method == Method::Get { "GET" } else { "HEAD" };
        requests.push_str(&format!("{token} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        expected.push((method, status, content));
    }
    client.send(requests);
    for (number, (method, status, content)) in expected.into_iter().enumerate() {
        let response = client.answer(method);
        assert_eq!(response.status, status, "answer {number}");
        if (200..300).contains(&status) {
            assert!(response.content == content, "answer {number} has other content");
        }
    }
    assert!(client.is_open_and_silent());
}

/// More requests than are gathered into one send, and far more than one read takes.
#[test]
fn a_thousand_pipelined_requests() {
    let (site, _) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    let requests = "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /medium.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500);
    let mut sender = client.stream().try_clone().expect("a socket can be shared");
    // From a thread of its own: 20 MB of answers fill every buffer between the two.
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, requests.as_bytes()));
    for number in 0..500 {
        assert_eq!(client.answer(Method::Get).content, b"the first", "{number}");
        assert_eq!(client.answer(Method::Get).content.len(), 40_000, "{number}");
    }
    sending.join().expect("it only sends").expect("the server takes all");
}

/// Behind an answer that says `close` nothing is answered any more (RFC 9112 §9.6).
#[test]
fn nothing_is_answered_behind_close() {
    let (site, _) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /b.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer(Method::Get).content, b"the first");
    let last = client.answer(Method::Get);
    assert_eq!((last.content.as_slice(), last.closes()), (&b"the second"[..], true));
    client.expect_end("behind close");
}

const PAIR: &str =
    "\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\n\r\nHEAD /b.txt HTTP/1.1\r\nHost: a\r\n\r\n";

fn expect_pair(client: &mut Client, context: &str) {
    assert_eq!(client.answer(Method::Get).content, b"the first", "{context}");
    assert_eq!(client.answer(Method::Head).field("Content-Length"), Some("10"), "{context}");
}

/// TCP keeps no borders: however two requests are cut into two pieces, the answers are the same.
#[test]
fn requests_may_be_cut_anywhere() {
    let (site, _) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    for cut in 1..PAIR.len() {
        client.send(&PAIR[..cut]);
        // Long enough, mostly, for the server to read the first piece by itself.
        std::thread::sleep(Duration::from_millis(2));
        client.send(&PAIR[cut..]);
        expect_pair(&mut client, &format!("cut at {cut}"));
    }
}

#[test]
fn a_request_may_drip_in() {
    let (site, _) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    for byte in PAIR.as_bytes() {
        client.send([*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    expect_pair(&mut client, "byte by byte");
}

/// Every answer, whatever its status, says who, when, and whether the connection lives on.
#[test]
fn fields_of_every_answer() {
    let (site, _) = site();
    let server = Server::of(&site);
    for (request, status) in [
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n", 206),
        ("GET /dir HTTP/1.1\r\nHost: a\r\n\r\n", 301),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 304),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /absent HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n", 412),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=99-\r\n\r\n", 416),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let before = seconds(SystemTime::now());
        let mut client = server.client();
        client.send(request);
        let response = client.answer(Method::Get);
        assert_eq!(response.status, status, "{request:?}");
        // It panics unless Connection is there, once, and one of the two.
        response.closes();
        assert_eq!(response.field("Server"), Some("otus-httpd"), "{request:?}");
        let date = date(&response);
        // The clock of a worker stands still for about a second at a time.
        assert!(date + 10 >= before && date <= seconds(SystemTime::now()) + 1, "{request:?}: {date}, not {before}");
    }
}

/// RFC 9110 §5.6.7: `IMF-fixdate` is the one format that may be sent.
fn date(response: &Response) -> u64 {
    let text = response.field("Date").expect("every answer has a Date");
    let time = httpdate::parse_http_date(text).expect("Date can be read");
    assert_eq!(httpdate::fmt_http_date(time), text, "Date is an IMF-fixdate");
    seconds(time)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970").as_secs()
}

/// The date is written once and kept, but not for longer than it is true.
#[test]
fn the_date_goes_on() {
    let (site, _) = site();
    let server = Server::of(&site);
    let mut client = server.client();
    let first = date(&client.get("/a.txt"));
    eventually("a later date", || date(&client.get("/a.txt")) > first);
}

/// A client may close its sending side as soon as it has asked (as `nc` does); it is still
/// answered, also at length.
#[test]
fn a_half_closed_connection_is_answered() {
    let (site, large) = site();
    let server = Server::of(&site);
    for (target, content) in [("/a.txt", &b"the first"[..]), ("/large.bin", &large)] {
        let mut client = server.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.finish();
        assert!(client.answer(Method::Get).content == content, "{target}");
        client.expect_end(target);
    }
    // Within a head there is nothing to answer.
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n");
    client.finish();
    client.expect_end("half a head");
}
