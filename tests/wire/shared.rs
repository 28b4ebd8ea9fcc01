//! Content that is kept once for all workers and sent by the kernel: large files in memory.
//!
//! Invariant: however many workers serve a file, it is in memory once, and it is the file as it is now.

use crate::harness::server::Setup;
use crate::harness::site::{pattern, set_modified};
use crate::harness::{Client, Method, Server, Site, eventually};

/// Well above what is copied into one send with its head, and below what is kept in memory.
const LENGTH: usize = 300_000;

const MODIFIED: u64 = 784_111_777;

/// How many pieces of content the server holds for all of its workers.
fn held(server: &Server) -> usize {
    server.descriptors().iter().filter(|descriptor| descriptor.target.starts_with("/memfd:content")).count()
}

/// Fetches `target` often enough that every worker has served it.
fn fetch_by_all(server: &Server, target: &str, expected: &[u8]) {
    for _ in 0..40 {
        assert!(server.get(target).content == expected, "{target}");
    }
}

#[test]
fn all_workers_hold_one_copy() {
    let site = Site::new();
    let content = site.pattern("large.bin", LENGTH);
    let server = Server::of(&site);
    // The file was just written: the next look at it finds it settled.
    eventually("one copy", || {
        fetch_by_all(&server, "/large.bin", &content);
        held(&server) == 1
    });
    let other = pattern(LENGTH + 1);
    site.file("large.bin", &other);
    eventually("one copy of the new version", || {
        let fetched = server.get("/large.bin").content;
        assert!(fetched == content || fetched == other, "a version that never was");
        fetched == other && held(&server) == 1
    });
    std::fs::remove_file(site.path("large.bin")).expect("it is there");
    eventually("it is gone", || server.get("/large.bin").status == 404 && held(&server) == 0);
}

#[test]
fn every_part_comes_from_its_place() {
    let site = Site::new();
    let content = site.pattern("large.bin", LENGTH);
    set_modified(&site.path("large.bin"), MODIFIED);
    let server = Server::of(&site);
    let mut client = server.client();
    for (start, end) in [(0, 1), (0, LENGTH), (1, LENGTH - 1), (4095, 4097), (65_535, 262_145), (LENGTH - 1, LENGTH)] {
        let response = client.ask(Method::Get, "/large.bin", &format!("Range: bytes={start}-{}\r\n", end - 1));
        assert_eq!(response.status, 206, "{start}-{end}");
        assert!(response.content == content[start..end], "{start}-{end}");
    }
    let parts = client.ask(Method::Get, "/large.bin", "Range: bytes=0-99999,200000-299998\r\n");
    assert!(parts.status == 206 && parts.content.windows(100).any(|part| part == &content[299_899..299_999]));
    assert_eq!(client.ask(Method::Head, "/large.bin", "").content, b"");
    assert!(client.get("/large.bin").content == content, "the connection is in step");
}

/// Answers of one write leave in its order, whatever way each of them takes.
#[test]
fn small_and_large_answers_keep_their_order() {
    let site = Site::new();
    let large = site.pattern("large.bin", LENGTH);
    let small = site.pattern("small.bin", 100);
    let server = Server::of(&site);
    let mut client = server.client();
    let request = |name| format!("GET /{name}.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([request("small"), request("large"), request("small"), request("large"), request("small")].concat());
    for expected in [&small, &large, &small, &large, &small] {
        assert!(client.answer(Method::Get).content == *expected);
    }
}

/// A client that reads slowly waits in the middle of a file; its bytes are still those of the version that it began.
#[test]
fn a_slow_reader_gets_the_version_that_it_began() {
    let site = Site::new();
    let content = site.pattern("large.bin", 1_000_000);
    set_modified(&site.path("large.bin"), MODIFIED);
    let server = Server::of(&site);
    let mut slow = server.client();
    slow.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8));
    slow.take_some(1000);
    site.file("large.bin", "short");
    eventually("others see the new version", || server.get("/large.bin").content == b"short");
    for _ in 0..8 {
        let response = slow.answer(Method::Get);
        assert!(response.content == content || response.content == b"short");
    }
}

/// Content takes a part of the descriptors at most; what is more is held in another way, and clients still come in.
#[test]
fn descriptors_are_left_for_clients() {
    let site = Site::new();
    let files: Vec<_> = (0..60).map(|number| (format!("{number}.bin"), 65_536 + number)).collect();
    for (name, length) in &files {
        site.pattern(name, *length);
        set_modified(&site.path(name), MODIFIED);
    }
    let setup = Setup::root(&site.root()).set("workers", 1);
    let server = setup.wrapped(["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"]).start();
    for _ in 0..2 {
        for (name, length) in &files {
            assert!(server.get(&format!("/{name}")).content == pattern(*length), "{name}");
        }
    }
    assert!((1..=25).contains(&held(&server)), "{} of 100", held(&server));
    let clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for mut client in clients {
        assert_eq!(client.get("/0.bin").status, 200);
    }
}
