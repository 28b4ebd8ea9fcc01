//! Connections of HTTP/2, frame by frame, where a client of others' making would be too polite.
//!
//! What every answer says is asked over both versions in `ranges`, `conditional`, `methods` and `negotiation`; each sentence of the
//! standard in tests/conformance.
//!
//! Invariant: each test begins with a connection that is as it should be.

use crate::harness::server::Setup;
use crate::harness::{HANG, Server, Site, Version};
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
