//! Content that is kept once for all workers and sent by the kernel: large files in memory.
//!
//! Invariant: however many workers serve a file, it is in memory once, and it is the file as it is now.

use crate::harness::server::Setup;
use crate::harness::site::{pattern, set_modified};
use crate::harness::{Client, Method, Server, Site, eventually, is_root};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Well above what is copied into one send with its head, and below what is kept in memory.
const LENGTH: usize = 300_000;

const MODIFIED: u64 = 784_111_777;

/// How many pieces of content the server holds for all of its workers: each a memfd, or a file without a name in a file
/// system of the server's own.
fn held(server: &Server) -> usize {
    let is_content = |target: &str| target.starts_with("/memfd:content") || target.starts_with("/#");
    server.descriptors().iter().filter(|descriptor| is_content(&descriptor.target)).count()
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
    check_one_copy(&site, Server::of(&site));
}

/// A server that may not mount anything of its own holds the same in memfds.
#[test]
fn all_workers_hold_one_copy_without_any_rights() {
    if !is_root() {
        // Then the other test is this one.
        return;
    }
    let site = Site::new();
    let server = Setup::root(&site.root()).user(65_534).flag("-v").start();
    server.wait_for_log("content in memory lies in memfds");
    check_one_copy(&site, server);
}

fn check_one_copy(site: &Site, server: Server) {
    let content = site.pattern("large.bin", LENGTH);
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

/// Above what anybody waits for: it must earn its place in memory.
const LARGE: usize = 20_000_000;

/// A server that may keep it, and the file, so old that its times prove its content.
fn large(site: &Site) -> (Server, Vec<u8>) {
    let content = site.pattern("large.bin", LARGE);
    set_modified(&site.path("large.bin"), MODIFIED);
    std::thread::sleep(Duration::from_secs(2));
    (Setup::root(&site.root()).set("cache_file_size_max", "'64m'").start(), content)
}

/// Bytes that the process has read from disks.
fn disk_bytes(server: &Server) -> u64 {
    let path = format!("/proc/{}/io", server.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("our child's accounts can be read");
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes:")).expect("it is always there");
    line.trim().parse().expect("a number")
}

#[test]
fn a_large_file_is_kept_once_it_is_asked_for_again() {
    let site = Site::new();
    let (server, content) = large(&site);
    assert!(server.get("/large.bin").content == content);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(held(&server), 0, "it was asked for once");
    // The second time it is read for keeping, while it is sent from disk.
    assert!(server.get("/large.bin").content == content);
    eventually("it is held", || held(&server) == 1);
    // It is found as soon as all of it is there.
    let etag = server.get("/large.bin").field("ETag").expect("it has one").to_owned();
    eventually("it is sent from memory", || {
        let before = disk_bytes(&server);
        fetch_large(&server, &content);
        disk_bytes(&server) == before
    });
    let before = disk_bytes(&server);
    for _ in 0..4 {
        fetch_large(&server, &content);
        let mut client = server.client();
        for (start, end) in [(0, 1), (4095, 4097), (2_097_151, 2_097_153), (5, LARGE - 5), (LARGE - 1, LARGE)] {
            let response = client.ask(Method::Get, "/large.bin", &format!("Range: bytes={start}-{}\r\n", end - 1));
            assert!(response.status == 206 && response.content == content[start..end], "{start}-{end}");
        }
        let head = client.ask(Method::Head, "/large.bin", "");
        assert_eq!((head.status, head.field("Content-Length")), (200, Some("20000000")));
        let not_modified = client.ask(Method::Get, "/large.bin", &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((not_modified.status, not_modified.content), (304, Vec::new()));
        assert_eq!(client.get("/large.bin").field("ETag"), Some(&*etag));
    }
    assert_eq!((disk_bytes(&server), held(&server)), (before, 1), "nothing more is read");
}

fn fetch_large(server: &Server, content: &[u8]) {
    assert!(server.get("/large.bin").content == content);
}

/// Parts count by their bytes: a quarter, asked for again and again, is the whole in the end.
#[test]
fn parts_earn_a_place_too() {
    let site = Site::new();
    let (server, content) = large(&site);
    let quarter = |from: usize| {
        let range = format!("Range: bytes={from}-{}\r\n", from + LARGE / 4 - 1);
        let response = server.client().ask(Method::Get, "/large.bin", &range);
        assert!(response.content == content[from..][..LARGE / 4]);
    };
    for from in [0, 1000, 0, 4096] {
        quarter(from);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(held(&server), 0, "nobody has asked for it since");
    eventually("it is held", || {
        quarter(LARGE / 2);
        held(&server) == 1
    });
}

/// Whatever is done to a file that is kept, every answer is one of its versions, and soon the last.
#[test]
fn what_is_kept_is_never_sent_for_another_version() {
    let site = Site::new();
    let (server, content) = large(&site);
    let path = site.path("large.bin");
    let mut other = content.clone();
    other[LARGE / 2..].fill(b'x');
    let rename = || {
        std::fs::write(site.path("new"), &other).expect("a file can be written");
        std::fs::rename(site.path("new"), &path).expect("a file can be renamed");
    };
    let open = || File::options().write(true).open(&path).expect("our own file can be opened");
    let truncate = || open().set_len(1000).expect("a file can be truncated");
    let rewrite = || {
        open().write_all_at(&content, 0).expect("a file can be written");
        open().set_len(LARGE as u64).expect("a file has its length");
    };
    let steps = [
        ("renamed over", &rename as &dyn Fn(), &other[..]),
        ("truncated", &truncate, &other[..1000]),
        ("written anew", &rewrite, &content),
        ("renamed over again", &rename, &other),
    ];
    let mut last: &[u8] = &content;
    for (step, change, next) in steps {
        if last.len() == LARGE {
            eventually("it is held", || {
                fetch_large(&server, last);
                held(&server) == 1
            });
        }
        let mut slow = server.client();
        slow.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        slow.take_some(1000);
        change();
        // One that is sent from disk may be cut short, and then is no answer.
        eventually(step, || fetch_either(&server, last, next));
        drop(slow);
        // By then every worker looks again; each lets go of what it holds when it is asked.
        std::thread::sleep(Duration::from_millis(1500));
        eventually("what nobody is sent any more is let go", || {
            fetch_large(&server, next);
            held(&server) <= 1
        });
        last = next;
    }
}

/// Whether what is sent is `next`, and not `last`; a file may be seen while it is being written, as far as it is.
fn fetch_either(server: &Server, last: &[u8], next: &[u8]) -> bool {
    let mut client = server.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    let Ok(response) = client.receive(Method::Get) else { return false };
    assert!(response.content == last || next.starts_with(&response.content), "a version that never was");
    response.content == next
}
