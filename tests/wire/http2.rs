//! Connections of HTTP/2, frame by frame, where a client of others' making would be too polite.
//!
//! What every answer says is asked over both versions in `ranges`, `conditional`, `methods` and `negotiation`; each sentence of the
//! standard in tests/conformance.
//!
//! Invariant: each test begins with a connection that is as it should be.

use crate::harness::http2::{Asks, Http2Client};
use crate::harness::server::Setup;
use crate::harness::{HANG, Method, Server, Site, Version, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn connect(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(HANG)).expect("an open socket");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("there is room");
    stream
}

/// Pings once kept a connection for ever on which nothing was asked for.
#[test]
fn pings_do_not_keep_an_idle_connection() {
    let site = Site::new();
    let server = Setup::root(&site.root()).set("h2c", true).set("keepalive_timeout", 2).start();
    let mut stream = connect(&server);
    let mut reader = stream.try_clone().expect("an open socket");
    let reading = std::thread::spawn(move || {
        let mut received = Vec::new();
        // Whoever is closed on may see a reset.
        let _ = reader.read_to_end(&mut received);
        received
    });
    let begun = Instant::now();
    while begun.elapsed() < HANG && stream.write_all(&frame(PING, 0, 0, &[0; 8])).is_ok() {
        std::thread::sleep(Duration::from_millis(300));
    }
    let received = reading.join().expect("it only reads");
    let kinds = kinds(&received);
    assert!(kinds.contains(&PING) && kinds.contains(&GO_AWAY), "{kinds:?}");
}

/// Answers that are read from the disk, and whose windows were closed, once kept all others that are read on their connection waiting.
#[test]
fn answers_that_are_not_taken_do_not_keep_others_from_the_disk() {
    const LENGTH: usize = 17 << 20;
    let site = Site::new();
    let names: Vec<String> = (0..20).map(|number| format!("/{number}.bin")).collect();
    for name in &names[1..] {
        site.sparse(&name[1..], LENGTH as u64);
    }
    let first = site.pattern("0.bin", LENGTH);
    let server = Setup::root(&site.root()).set("h2c", true).start();
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(64 << 20);
    let mut client = Http2Client::with(&builder, server.address());
    // The window of a stream is far smaller than that of the connection, and nothing is taken.
    let mut contents: Vec<_> = names.iter().map(|name| client.begin(name)).collect();
    for (name, content) in names[1..].iter().zip(&mut contents[1..]) {
        assert!(client.receive(content).is_some(), "{name}");
    }
    // One that was put away goes on where it was.
    let mut received = Vec::new();
    while let Some(piece) = client.receive(&mut contents[0]) {
        received.extend_from_slice(&piece);
    }
    assert!(received == first, "{} bytes of {LENGTH}", received.len());
}

/// A browser may send each of its cookies as a line (RFC 9113 §8.2.3), and has more of them than a head may have fields.
#[test]
fn cookies_in_crumbs_are_one_field() {
    let site = Site::new();
    site.file("a.txt", "a");
    let log = site.outside().join("access.log");
    let format = format!("{{ to = '{}', format = '$status $http_cookie' }}", log.display());
    let server = Setup::root(&site.root()).set("h2c", true).set("access_log", &format).start();
    let mut client = Http2Client::connect(server.address());
    assert_eq!(client.ask(Method::Get, "/a.txt", "Cookie: a=1\r\nCookie: b=2\r\n").status, 200);
    assert_eq!(client.ask(Method::Get, "/a.txt", &"Cookie: a=1\r\n".repeat(150)).status, 200);
    assert_eq!(client.ask(Method::Get, "/a.txt", &"X-Field: a=1\r\n".repeat(150)).status, 431);
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the log", || logged().starts_with("200 a=1; b=2\n"));
}

fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(head) = bytes.first_chunk::<9>() {
        kinds.push(head[3]);
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        bytes = bytes.get(9 + length..).unwrap_or(&[]);
    }
    kinds
}

/// The first piece once was as large as a frame, and the connection did not outlive the wait that this cost.
#[test]
fn a_slow_rate_is_kept_from_the_first_piece_on() {
    let site = Site::new();
    site.pattern("a.bin", 3000);
    let server = Setup::root(&site.root()).set("h2c", true).set("limit_rate", 1000).start();
    for version in Version::ALL {
        let begun = Instant::now();
        let answer = version.client(&server).get("/a.bin");
        assert_eq!((answer.status, answer.content.len()), (200, 3000), "{version:?}");
        assert!(begun.elapsed() > Duration::from_secs(2), "{version:?}: at once");
    }
}
