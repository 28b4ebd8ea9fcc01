//! Where a request ends (RFC 9112 §6, §9.3): content that is announced in every way that two
//! parties have ever read differently, and the canary behind each.
//!
//! A framing that might be read in two ways is refused. One that is certain is answered; but the
//! content is not read, so the connection ends behind the answer.
//!
//! Invariant: nothing behind a request with content is ever taken for a request.

use super::canary::Canary::{self, Silent, Sings};
use super::canary::{CANARY, check, check_accepted, check_last, expect, site};
use crate::harness::{Method, Server};

/// The requests of a table: GET of the index with these lines behind Host.
fn check_lines(rows: &[(&str, u16, Canary)]) {
    let site = site();
    let server = Server::of(&site);
    let sockets = server.sockets();
    for (lines, status, canary) in rows {
        check(&server, format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes(), *status, *canary);
        // As the first lines, too: nothing depends on where they stand.
        check(&server, format!("GET / HTTP/1.1\r\n{lines}Host: a\r\n\r\n").as_bytes(), *status, *canary);
    }
    server.wait_for_sockets(sockets);
}

/// RFC 9112 §6.2, §6.3: one number of nothing but digits.
#[test]
fn content_length() {
    check_lines(&[
        // None, so the next request starts right behind the head
        ("Content-Length: 0\r\n", 200, Sings),
        ("Content-Length: \t000 \r\n", 200, Sings),
        ("Content-Length:0\r\n", 200, Sings),
        ("CONTENT-LENGTH: 0\r\n", 200, Sings),
        ("Content-Length: 00000000000000000000000000000000\r\n", 200, Sings),
        // Some; the canary is 33 bytes long
        ("Content-Length: 1\r\n", 200, Silent),
        ("Content-Length: 32\r\n", 200, Silent),
        ("Content-Length: 33\r\n", 200, Silent),
        ("Content-Length: 34\r\n", 200, Silent),
        ("Content-Length: 0033\r\n", 200, Silent),
        ("content-length:33\r\n", 200, Silent),
        // Around the widths of numbers: none of them is nothing
        ("Content-Length: 4294967295\r\n", 200, Silent),
        ("Content-Length: 4294967296\r\n", 200, Silent),
        ("Content-Length: 9223372036854775808\r\n", 200, Silent),
        ("Content-Length: 18446744073709551615\r\n", 200, Silent),
        ("Content-Length: 18446744073709551616\r\n", 400, Silent),
        ("Content-Length: 36893488147419103232\r\n", 400, Silent),
        ("Content-Length: 99999999999999999999999\r\n", 400, Silent),
        // §6.3: several, even of one value, might be counted by different parties
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400, Silent),
        ("Content-Length: 0\r\nContent-Length: 5\r\n", 400, Silent),
        ("Content-Length: 5\r\nContent-Length: 0\r\n", 400, Silent),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", 400, Silent),
        ("Content-Length: 0\r\nContent-Length:\r\n", 400, Silent),
        ("Content-Length: 0\r\ncontent-LENGTH: 33\r\n", 400, Silent),
        ("Content-Length: 0\r\nX: y\r\nContent-Length: 33\r\n", 400, Silent),
        ("Content-Length: 5, 5\r\n", 400, Silent),
        ("Content-Length: 0, 5\r\n", 400, Silent),
        ("Content-Length: 0, 0\r\n", 400, Silent),
        ("Content-Length: 0,\r\n", 400, Silent),
        ("Content-Length: ,0\r\n", 400, Silent),
        // RFC 9110 §8.6: 1*DIGIT, which other readers of numbers take for one all the same
        ("Content-Length:\r\n", 400, Silent),
        ("Content-Length: +5\r\n", 400, Silent),
        ("Content-Length: +0\r\n", 400, Silent),
        ("Content-Length: -5\r\n", 400, Silent),
        ("Content-Length: -0\r\n", 400, Silent),
        ("Content-Length: 0x0\r\n", 400, Silent),
        ("Content-Length: 0x10\r\n", 400, Silent),
        ("Content-Length: 0b1\r\n", 400, Silent),
        ("Content-Length: 0o0\r\n", 400, Silent),
        ("Content-Length: 1e1\r\n", 400, Silent),
        ("Content-Length: 0.0\r\n", 400, Silent),
        ("Content-Length: 5.\r\n", 400, Silent),
        ("Content-Length: 1_0\r\n", 400, Silent),
        ("Content-Length: 5 5\r\n", 400, Silent),
        ("Content-Length: 0 5\r\n", 400, Silent),
        ("Content-Length: 5;\r\n", 400, Silent),
        ("Content-Length: 0;q=1\r\n", 400, Silent),
        ("Content-Length: \"0\"\r\n", 400, Silent),
        ("Content-Length: 5a\r\n", 400, Silent),
        ("Content-Length: five\r\n", 400, Silent),
        ("Content-Length: null\r\n", 400, Silent),
        ("Content-Length: \u{0665}\r\n", 400, Silent),
        ("Content-Length: \u{FF10}\r\n", 400, Silent),
        ("Content-Length: 0\u{A0}\r\n", 400, Silent),
        // RFC 9112 §2.2, §5.1, §5.2: lines that one reader sees and another does not
        ("Content-Length : 0\r\n", 400, Silent),
        ("Content-Length\t: 0\r\n", 400, Silent),
        ("Content-Length\0: 0\r\n", 400, Silent),
        ("Content-Length: 0\x0b\r\n", 400, Silent),
        ("Content-Length: \x0c0\r\n", 400, Silent),
        ("Content-Length: 0\r\r\n", 400, Silent),
        ("Content-Length: 0\rX: y\r\n", 400, Silent),
        ("Content-Length: 0\nContent-Length: 33\r\n", 400, Silent),
        ("Content-Length: 0\n", 400, Silent),
        ("X: y\nContent-Length: 33\r\n", 400, Silent),
        ("X: y\rContent-Length: 33\r\n", 400, Silent),
        ("Content-Length:\r\n 33\r\n", 400, Silent),
        ("Content-Length: 0\r\n 33\r\n", 400, Silent),
        ("X: y\r\n Content-Length: 33\r\n", 400, Silent),
        ("X: y\r\n\tContent-Length: 33\r\n", 400, Silent),
        // Other fields than the two that frame a message
        ("Content_Length: 33\r\n", 200, Sings),
        ("ContentLength: 33\r\n", 200, Sings),
        ("X-Content-Length: 33\r\n", 200, Sings),
        ("Content-Length-X: 33\r\n", 200, Sings),
        ("Content-Range: bytes 0-32/33\r\n", 200, Sings),
        // A field that no forwarder would hand on counts here all the same (RFC 9110 §7.6.1)
        ("Connection: Content-Length\r\nContent-Length: 33\r\n", 200, Silent),
        ("Connection: close, Content-Length\r\nContent-Length: 0\r\n", 200, Silent),
    ]);
}

/// RFC 9112 §6.1, §6.3: chunked must be the last coding, or nobody knows where the content ends.
#[test]
fn transfer_encoding() {
    check_lines(&[
        // Certain: answered, and closed
        ("Transfer-Encoding: chunked\r\n", 200, Silent),
        ("Transfer-Encoding: CHUNKED\r\n", 200, Silent),
        ("Transfer-Encoding: Chunked\r\n", 200, Silent),
        ("tRANSFER-eNCODING:chunked\r\n", 200, Silent),
        ("Transfer-Encoding: \t chunked \t\r\n", 200, Silent),
        ("Transfer-Encoding: gzip, chunked\r\n", 200, Silent),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 200, Silent),
        ("Transfer-Encoding: gzip\r\nX: y\r\nTransfer-Encoding: chunked\r\n", 200, Silent),
        // RFC 9110 §5.6.1.2: empty members of a list count for nothing
        ("Transfer-Encoding: , chunked ,,\r\n", 200, Silent),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", 200, Silent),
        // A field that no forwarder would hand on counts here all the same
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", 200, Silent),
        // §6.1: not chunked at the end
        ("Transfer-Encoding:\r\n", 400, Silent),
        ("Transfer-Encoding: ,\r\n", 400, Silent),
        ("Transfer-Encoding: gzip\r\n", 400, Silent),
        ("Transfer-Encoding: identity\r\n", 400, Silent),
        ("Transfer-Encoding: chunked, identity\r\n", 400, Silent),
        ("Transfer-Encoding: chunked, gzip\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: x\r\n", 400, Silent),
        // Nearly chunked: another party may take it for that
        ("Transfer-Encoding: xchunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunkedx\r\n", 400, Silent),
        ("Transfer-Encoding: chunk\r\n", 400, Silent),
        ("Transfer-Encoding: x-chunked\r\n", 400, Silent),
        ("Transfer-Encoding: chun ked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked x\r\n", 400, Silent),
        ("Transfer-Encoding: gzip chunked\r\n", 400, Silent),
        ("Transfer-Encoding: gzip; chunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked;q=1\r\n", 400, Silent),
        ("Transfer-Encoding: chunked;\r\n", 400, Silent),
        ("Transfer-Encoding: \"chunked\"\r\n", 400, Silent),
        ("Transfer-Encoding: 'chunked'\r\n", 400, Silent),
        ("Transfer-Encoding: chunked=\r\n", 400, Silent),
        ("Transfer-Encoding: chun\u{212A}ed\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\u{A0}\r\n", 400, Silent),
        ("Transfer-Encoding: \u{85}chunked\r\n", 400, Silent),
        // RFC 9112 §2.2, §5.1, §5.2: lines that one reader sees and another does not
        ("Transfer-Encoding : chunked\r\n", 400, Silent),
        ("Transfer-Encoding\t: chunked\r\n", 400, Silent),
        ("Transfer-Encoding\0: chunked\r\n", 400, Silent),
        ("Transfer-Encoding:\x0bchunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\x0b\r\n", 400, Silent),
        ("Transfer-Encoding: \0chunked\r\n", 400, Silent),
        ("Transfer-Encoding: \rchunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\r\n", 400, Silent),
        ("Transfer-Encoding:\r\n chunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\n , identity\r\n", 400, Silent),
        ("Transfer-Encoding\r\n : chunked\r\n", 400, Silent),
        ("X: y\nTransfer-Encoding: chunked\r\n", 400, Silent),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", 400, Silent),
        ("Transfer Encoding: chunked\r\n", 400, Silent),
        // Other fields than the two that frame a message
        ("Transfer_Encoding: chunked\r\n", 200, Sings),
        ("X-Transfer-Encoding: chunked\r\n", 200, Sings),
        ("Transfer-Encodings: chunked\r\n", 200, Sings),
        ("Content-Encoding: chunked\r\n", 200, Sings),
        ("TE: chunked\r\n", 200, Sings),
        ("Connection: TE\r\nTE: trailers\r\n", 200, Sings),
        ("Trailer: Content-Length\r\n", 200, Sings),
    ]);
}

/// RFC 9112 §6.1, §6.3: both together are the smuggler's pair, whatever either says.
#[test]
fn content_length_and_transfer_encoding() {
    check_lines(&[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400, Silent),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400, Silent),
        ("Transfer-Encoding: chunked\r\nContent-Length: 33\r\n", 400, Silent),
        ("transfer-encoding:CHUNKED\r\ncontent-length:33\r\n", 400, Silent),
        ("Content-Length: 33\r\nX: y\r\nTransfer-Encoding: gzip, chunked\r\n", 400, Silent),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", 400, Silent),
        ("Transfer-Encoding: x\r\nContent-Length: 0\r\n", 400, Silent),
        ("Transfer-Encoding:\r\nContent-Length: 0\r\n", 400, Silent),
        ("Content-Length:\r\nTransfer-Encoding: chunked\r\n", 400, Silent),
        ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", 400, Silent),
        ("Connection: Content-Length\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400, Silent),
        // §11.2 of RFC 9112 names this one: a control character hides one of the two
        ("Content-Length: 0\r\nTransfer-Encoding\x01: chunked\r\n", 400, Silent),
    ]);
}

/// The same rules for other methods, for HTTP/1.0, and beside `Expect` and `Connection`.
#[test]
fn framing_of_other_requests() {
    let site = site();
    let server = Server::of(&site);
    for (request, status, canary) in [
        // RFC 9112 §6.3: without either field there is no content, whatever the method
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405, Sings),
        ("PUT /x HTTP/1.1\r\nHost: a\r\n\r\n", 405, Sings),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405, Sings),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 405, Silent),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 405, Silent),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 405, Silent),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 405, Silent),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, Silent),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, Silent),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, Silent),
        // What is found wrong later does not make content vanish
        ("GET /absent HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 404, Silent),
        ("GET /absent HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 404, Sings),
        ("GET /../x HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 400, Silent),
        // RFC 9110 §10.1.1: the final answer at once; content may come or not, so the end
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", 200, Sings),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 33\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\nContent-Length: 0\r\n\r\n", 200, Sings),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 33\r\n\r\n", 405, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, Sings),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", 417, Sings),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue=1\r\n\r\n", 417, Sings),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 33\r\n\r\n", 417, Silent),
        // RFC 9112 §9.3: who wants the end has it, with content or without
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 33\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 33\r\n\r\n", 200, Silent),
        // RFC 9110 §7.8: an upgrade may be ignored, and what follows is HTTP/1.1 as before
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200, Sings),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200, Sings),
        // HTTP/1.0: persistent only where asked for; no Transfer-Encoding (§6.1)
        ("GET / HTTP/1.0\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, Sings),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, Sings),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 33\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 200, Silent),
        ("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 33\r\n\r\n", 405, Silent),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, Silent),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", 400, Silent),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\nConnection: keep-alive\r\n\r\n", 400, Silent),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400, Silent),
    ] {
        check(&server, request.as_bytes(), status, canary);
    }
}

/// Content that looks like a request, in the very length that is announced, and chunks that hide
/// one: what comes behind the head of a request with content is never a request.
#[test]
fn requests_in_content() {
    let site = site();
    let server = Server::of(&site);
    let length = CANARY.len();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{CANARY}{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{CANARY}\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{CANARY}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{CANARY}"),
    ] {
        check_last(&server, request.as_bytes(), 200);
    }
}

/// The outcome of a head is the same however it is cut into two writes: the refusal, and the
/// silence behind it.
#[test]
fn heads_may_be_cut_anywhere() {
    let site = site();
    let server = Server::of(&site);
    for (head, status, canary) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, Sings),
        ("\r\nGET http://a/ HTTP/1.0\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n", 200, Silent),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, Silent),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, Silent),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, Silent),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, Silent),
    ] {
        for cut in 1..head.len() {
            let mut client = server.client();
            client.send(&head[..cut]);
            // Long enough, mostly, for the server to read the first piece by itself.
            std::thread::sleep(std::time::Duration::from_millis(2));
            // It may have refused the first piece, and need not take the second.
            let _ = client.try_send([&head[cut..], CANARY].concat());
            let response = client.answer(Method::Get);
            assert_eq!(response.status, status, "{head:?} cut at {cut}");
            expect(&mut client, &response, canary, &format!("{head:?} cut at {cut}"));
        }
    }
}

/// Good requests around one that is refused: those before it are answered, those behind it never.
#[test]
fn only_what_is_certain_is_answered() {
    let site = site();
    let server = Server::of(&site);
    for count in [1, 2, 70] {
        let bytes =
            [&CANARY.repeat(count), "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", CANARY].concat();
        let mut client = server.client();
        client.send(bytes);
        for number in 0..count {
            assert_eq!(client.answer(Method::Get).content, b"the canary sings", "{number} of {count}");
        }
        let response = client.answer(Method::Get);
        assert_eq!(response.status, 400);
        expect(&mut client, &response, Silent, "behind the refusal");
    }
    check_accepted(&server, CANARY.as_bytes(), 200);
}
