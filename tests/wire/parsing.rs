//! The grammar of a request head (RFC 9112 §2–§5), over a socket: every refusal, and what is unusual
//! and yet accepted. Framing is in `framing`, Host in `hosts`.
//!
//! Behind each malformed request a good one is waiting in the same write: the canary. It must
//! never be answered, for where it starts is no longer certain: that is how smuggling works.
//!
//! Invariant: a refusal is one answer that says `Connection: close`, and then a clean end.

use super::canary::{CANARY, check_accepted, check_last, site};
use crate::harness::server::Setup;
use crate::harness::{Client, Method, Server, eventually};

#[test]
fn malformed_heads_are_refused_and_the_canary_is_silent() {
    let site = site();
    let server = Server::of(&site);
    let sockets = server.sockets();
    for (bytes, status) in [
        // RFC 9112 §2.2: lines end in CR LF, and one empty line may stand before a request
        ("\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\rHost: a\r\r\n\r\n", 400),
        // RFC 9112 §3: method SP target SP version, and nothing else
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G<T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / ICY/1.1\r\nHost: a\r\n\r\n", 400),
        ("HTTP/1.1 200 OK\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nX: y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\r\n / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\u{FEFF}GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\u{A0}/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G\u{CB}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP /1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1 .1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1;\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1.1\r\nHost: a\r\n\r\n", 400),
        // RFC 9112 §2.3: HTTP, in capitals, and one digit on each side of the dot
        ("GET / HTTP/1.\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.01\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/10.0\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/-1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/+1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/a.b\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/\u{661}.\u{661}\r\nHost: a\r\n\r\n", 400),
        ("GET / Http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / XHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP\\1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
        ("GET / SIP/2.0\r\nHost: a\r\n\r\n", 400),
        // Other protocols
        ("EHLO example.org\r\n\r\n", 400),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", 400),
        // RFC 9110 §2.5: another version is refused by its own status
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/2.1\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        // RFC 9112 §5: field-name ":" OWS field-value OWS, no white space before the colon (§5.1),
        // no folding (§5.2)
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{E9}: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\t\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nGET / HTTP/1.1\r\n\r\n", 400),
        // RFC 9110 §5.5: no control characters in a value
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x07\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
        // RFC 9112 §3.2: targets that GET cannot have
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#fragment HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // RFC 3986 §2.1: a percent sign and two hexadecimal digits; NUL ends names for the kernel
        ("GET /% HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%u0041 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /index.html%00.png HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /../ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        check_last(&server, bytes.as_bytes(), status);
    }
    // Closed for good, and not only for writing.
    server.wait_for_sockets(sockets);
}

/// What a strict parser must not refuse all the same.
#[test]
fn unusual_but_valid_heads_are_accepted() {
    let site = site();
    let server = Server::of(&site);
    for bytes in [
        // RFC 9112 §2.2: one empty line before the request line
        &b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        // RFC 9110 §5.1, §5.5, RFC 9112 §5: names in any case, white space around values, empty
        // values, bytes above ASCII
        b"GET / HTTP/1.1\r\nhOST:\t a \t\r\nX:\r\nY: \xff\xd0\xb4\r\nZ:a\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~09az: a\r\nHost: a\r\n\r\n",
        // RFC 9112 §3.2.2: absolute form, whose authority wins over Host
        b"GET http://example.org/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET HTTP://example.org:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://example.org?query HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?a=b&c=/../..?;%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?http://example.org/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a/../%69ndex.html HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost:a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHOST:a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n1: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y: z: \"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX::\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \t \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\t \tb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\nx: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\xd0\xb4\r\nCookie: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x, 1.0 y\r\nX-Forwarded-For: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic Og==\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCache-Control: only-if-cached\r\n\r\n",
        // RFC 3986 §3.4: a query may hold anything, for it is not looked at
        b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?? HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?a=[]{}|^`<>\" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?%zz% HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?\xd0\xb4 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        check_accepted(&server, bytes, 200);
    }
    // Characters that a client should have encoded: names of files that are not there.
    for name in
        ["<", ">", "\"", "{", "}", "|", "^", "`", "[", "]", "\\", "'", "\u{434}", "a@b", "a:b", "a,b;c=d", "(a)*!$&+"]
    {
        check_accepted(&server, format!("GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 404);
    }
}

/// RFC 9110 §5.5, §5.6.2, RFC 3986 §2: control characters and delimiters, each wherever it must
/// not be.
#[test]
fn characters_where_they_must_not_be() {
    let site = site();
    let server = Server::of(&site);
    let place = |before: &str, byte: u8, behind: &str| [before.as_bytes(), &[byte], behind.as_bytes()].concat();
    for control in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        for (before, behind) in [
            ("G", "T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /?", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1", "\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a", "\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX", ": y\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n"),
        ] {
            check_last(&server, &place(before, control, behind), 400);
        }
    }
    for delimiter in b"\"(),/;<=>?@[\\]{}".iter().chain(&[0x80, 0xff]) {
        // RFC 9110 §9.1, §5.1: methods and names of fields are tokens.
        check_last(&server, &place("G", *delimiter, "T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        check_last(&server, &place("GET / HTTP/1.1\r\nHost: a\r\nX", *delimiter, "y: z\r\n\r\n"), 400);
        // In a value each of them stands for itself.
        check_accepted(&server, &place("GET / HTTP/1.1\r\nHost: a\r\nX: ", *delimiter, "\r\n\r\n"), 200);
    }
}

#[test]
fn a_stray_protocol_is_refused_at_its_first_bytes() {
    let site = site();
    let server = Server::of(&site);
    for (what, bytes) in [
        ("TLS ClientHello", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
        ("SSLv2 ClientHello", b"\x80\x2e\x01\x00\x02"),
        ("SOCKS 5", b"\x05\x01\x00"),
        ("NUL", b"\0"),
    ] {
        let mut client = server.client();
        // The sender waits for an answer with its connection open: nothing but these bytes comes.
        client.send(bytes);
        let response = client.answer(Method::Get);
        assert_eq!(response.status, 400, "{what}");
        assert!(response.closes(), "{what}");
        client.expect_end(what);
    }
}

/// The limits of the standard configuration: 8 KiB of target, 16 KiB of head, 100 field lines.
#[test]
fn limits_to_the_byte() {
    let site = site();
    let server = Server::of(&site);
    // The target counts its leading slash, the head its last empty line.
    let target = |bytes: usize| format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 2));
    let head = |bytes: usize| {
        let around = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(bytes - around))
    };
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(count - 1));
    check_accepted(&server, target(8192).as_bytes(), 200);
    check_last(&server, target(8193).as_bytes(), 414);
    check_last(&server, target(1 << 20).as_bytes(), 414);
    check_accepted(&server, head(16_384).as_bytes(), 200);
    check_last(&server, head(16_385).as_bytes(), 431);
    check_last(&server, head(1 << 20).as_bytes(), 431);
    check_accepted(&server, lines(100).as_bytes(), 200);
    check_last(&server, lines(101).as_bytes(), 431);
    check_last(&server, lines(10_000).as_bytes(), 431);
    // An empty line before the request does not count.
    check_accepted(&server, format!("\r\n{}", head(16_384)).as_bytes(), 200);
    check_last(&server, format!("\r\n{}", head(16_385)).as_bytes(), 431);
    // A method without end is no target, but its line is too long all the same.
    check_last(&server, "A".repeat(20_000).as_bytes(), 414);
}

#[test]
fn limits_can_be_set() {
    let site = site();
    let server = Setup::root(&site.root()).set("head_bytes_max", 1024).set("target_bytes_max", 128).start();
    check_accepted(&server, format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(126)).as_bytes(), 200);
    check_last(&server, format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(127)).as_bytes(), 414);
    check_last(&server, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(1024)).as_bytes(), 431);
}

/// A head above its limit, or garbage without end, is answered while the client still sends: the
/// answer must reach it, and not a reset.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let site = site();
    let server = Server::of(&site);
    for (first, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", 431),
        ("GET /", 414),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01", 400),
    ] {
        let mut client = server.client();
        client.send(first);
        client.send("a".repeat(1 << 20));
        assert_eq!(client.answer(Method::Get).status, status, "{first:?}");
        client.expect_end(first);
    }
}

/// Good requests before a bad one are answered, in order, before the connection ends.
#[test]
fn what_came_before_a_malformed_request_is_answered() {
    let site = site();
    let server = Server::of(&site);
    let mut client = server.client();
    client.send([CANARY, CANARY, "GET / HTTP/1.1\r\nHost : a\r\n\r\n", CANARY].concat());
    for _ in 0..2 {
        let response = client.answer(Method::Get);
        assert_eq!((response.status, response.closes()), (200, false));
        assert_eq!(response.content, b"the canary sings");
    }
    let response = client.answer(Method::Get);
    assert_eq!((response.status, response.closes()), (400, true));
    client.expect_end("behind the refusal");
}

/// A client that never closes its side cannot keep the connection: the wait has an end.
#[test]
fn a_refused_client_that_stays_is_dropped() {
    let site = site();
    let server = Server::of(&site);
    let sockets = server.sockets();
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(["nonsense\r\n\r\n", CANARY].concat());
        assert_eq!(client.answer(Method::Get).status, 400);
    }
    eventually("the server drops those whom it refused", || server.sockets() <= sockets);
    for client in &mut clients {
        client.expect_end("it was refused");
    }
}
