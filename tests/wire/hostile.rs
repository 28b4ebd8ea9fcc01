//! Ten thousand requests that nobody should send: valid heads with bytes flipped, added, removed,
//! doubled and spliced, and plain garbage.
//!
//! Invariant: whatever comes, the answers are answers, none blames the server (5xx, but for a
//! version that it does not speak), and the next good request is served.

use crate::harness::client::find;
use crate::harness::server::Setup;
use crate::harness::{Random, Server, Site, eventually};

const REQUESTS: usize = 10_000;

/// Requests in one connection, until one of them closes it.
const REQUESTS_A_CONNECTION: usize = 10;

/// Connections between two looks whether all is well.
const CONNECTIONS_A_BATCH: usize = 50;

const SEEDS: [&str; 12] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /index.html HTTP/1.1\r\nHost: example.org:8080\r\nAccept: */*\r\n\r\n",
    "GET /dir HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "GET /dir/../%69ndex.html?a=b&c HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "GET /file.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-99\r\nIf-Range: \"x\"\r\n\r\n",
    "GET /file.bin HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\", W/\"b\", *\r\n\r\n",
    "GET /file.bin HTTP/1.0\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
    "GET http://example.org/file.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=-5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nX: \u{fe}\u{ff}\r\n\r\n",
    "\r\nGET /%D0%B4%00%2e%2e%2f HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\n\r\n",
];

#[test]
fn ten_thousand_hostile_requests() {
    let site = Site::new();
    site.file("index.html", "index");
    site.pattern("file.bin", 1000);
    site.directory("dir");
    // Short, so that what the server waits for in vain does not hold up the end.
    let server = Setup::root(&site.root()).set("read_timeout", 1).start();
    let sockets = server.sockets();
    let mut random = Random::new(2024);
    let mut sent = 0;
    let mut answered = 0;
    while sent < REQUESTS {
        for _ in 0..CONNECTIONS_A_BATCH {
            let requests: Vec<_> = (0..REQUESTS_A_CONNECTION).map(|_| hostile(&mut random)).collect();
            sent += requests.len();
            answered += check_connection(&server, &requests.concat());
        }
        assert_eq!(server.get("/").content, b"index", "after {sent} requests");
    }
    // Were it all refused at the first byte, this test would show nothing.
    assert!(answered > REQUESTS / CONNECTIONS_A_BATCH, "{answered} answers");
    eventually("the end of all connections", || server.sockets() <= sockets);
}

/// Sends `bytes` and the end; counts the answers, all of which must be to the client's account.
fn check_connection(server: &Server, bytes: &[u8]) -> usize {
    let mut client = server.client();
    client.send(bytes);
    client.finish();
    let received = client.rest().unwrap_or_else(|fault| panic!("{fault:?}: {}", bytes.escape_ascii()));
    // Which of them were HEAD nobody knows any more, so the answers are found by their start: a
    // version and a number stand side by side in no content of this site.
    let mut count = 0;
    let mut rest = &received[..];
    while let Some(at) = find(rest, b"HTTP/1.1 ") {
        assert!(count > 0 || at == 0, "no answer: {}", received.escape_ascii());
        rest = &rest[at + 9..];
        let status: u16 = match std::str::from_utf8(rest.get(..3).unwrap_or_default()).map(str::parse) {
            Ok(Ok(status)) => status,
            _ => continue,
        };
        assert!(matches!(status, 200..=499 | 505), "{status}: {}", bytes.escape_ascii());
        count += 1;
    }
    assert!(count > 0 || received.is_empty(), "no answer: {}", received.escape_ascii());
    count
}

/// One request gone wrong.
fn hostile(random: &mut Random) -> Vec<u8> {
    if random.below(10) == 0 {
        let length = 1 + random.below(200);
        return (0..length).map(|_| random.byte()).collect();
    }
    let mut bytes = random.choose(&SEEDS).as_bytes().to_vec();
    for _ in 0..random.below(4) {
        mutate(random, &mut bytes);
    }
    bytes
}

/// Bytes that mean something somewhere in a head.
const MEANINGFUL: &[u8] = b"\r\n\0\t :;,/\\?#%.*\"-=0159azAZ\x7f\x80\xff";

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(random.byte());
    }
    let at = random.below(bytes.len());
    let length = random.below(bytes.len() - at).min(20);
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.choose(MEANINGFUL),
        2 => bytes.insert(at, *random.choose(MEANINGFUL)),
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let part = bytes[at..at + length].to_vec();
            bytes.splice(at..at, part);
        }
        5 => bytes.truncate(at),
        _ => {
            let other = random.choose(&SEEDS).as_bytes();
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}
