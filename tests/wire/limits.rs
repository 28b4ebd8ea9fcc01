//! Limits of time and of the process: slow peers, silent peers, peers that are gone, and
//! descriptors that run out.
//!
//! Invariant: whatever peers do, the server has afterwards what it had before: no descriptor
//! leaks, and who comes next is served.

use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Client, Fault, Method, Server, Site, eventually};
use rustix::process::{Resource, Rlimit, prlimit};
use std::time::Duration;

const LARGE_BYTES: u64 = 64 << 20;

fn site() -> Site {
    let site = Site::new();
    site.file("a.txt", "a");
    site.sparse("large.bin", LARGE_BYTES);
    site
}

const GET_A: &str = "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_LARGE: &str = "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n";

/// RFC 9110 §15.5.9: a client that began a request is told why it is cut off.
#[test]
fn a_head_that_does_not_come_in_time() {
    let site = site();
    let server = Setup::root(&site.root()).set("read_timeout", 1).start();
    let sockets = server.sockets();
    let mut clients = Vec::new();
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r"]
    {
        let mut client = server.client();
        client.send(begun);
        clients.push((client, begun));
    }
    // The same after a request that was answered, and in one write with it.
    let mut client = server.client();
    client.send([GET_A, "GET /"].concat());
    assert_eq!(client.answer(Method::Get).status, 200);
    clients.push((client, "behind another request"));
    for (client, begun) in &mut clients {
        let response = client.answer(Method::Get);
        assert_eq!((response.status, response.closes()), (408, true), "{begun:?}");
        client.expect_end(begun);
    }
    drop(clients);
    server.wait_for_sockets(sockets);
}

/// The time is for the whole head: bytes that drip in do not buy more of it.
#[test]
fn dripping_does_not_buy_time() {
    let site = site();
    let server = Setup::root(&site.root()).set("read_timeout", 1).start();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    // Far more drops than fit into the time, even on a slow machine; each is quicker than it.
    for _ in 0..200 {
        if client.try_send("x").is_err() || !client.is_open_and_silent() {
            assert_eq!(client.answer(Method::Get).status, 408);
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the head was awaited for ever");
}

/// Who said nothing is told nothing: there is no request to answer.
#[test]
fn silent_connections_are_closed() {
    let site = site();
    let server = Setup::root(&site.root()).set("read_timeout", 1).set("keepalive_timeout", 1).start();
    let sockets = server.sockets();
    let mut fresh = server.client();
    let mut idle = server.client();
    assert!(!idle.get("/a.txt").closes());
    let mut after_empty_line = server.client();
    after_empty_line.send([GET_A, "\r\n"].concat());
    assert_eq!(after_empty_line.answer(Method::Get).status, 200);
    fresh.expect_end("nothing was sent");
    idle.expect_end("between two requests");
    drop((fresh, idle, after_empty_line));
    server.wait_for_sockets(sockets);
}

/// The pauses between requests are measured one by one.
#[test]
fn a_connection_in_use_is_not_idle() {
    let site = site();
    let server = Setup::root(&site.root()).set("read_timeout", 2).set("keepalive_timeout", 2).start();
    let mut client = server.client();
    // In all it takes longer than either limit, in no pause as long.
    for _ in 0..16 {
        assert_eq!(client.get("/a.txt").content, b"a");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A peer that takes nothing holds memory and a descriptor; it is cut.
#[test]
fn a_client_that_never_reads_is_cut() {
    let site = site();
    let server = Setup::root(&site.root()).set("send_timeout", 1).start();
    let sockets = server.sockets();
    let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(GET_LARGE);
        // It takes the beginning, so that the transfer is known to have begun, and then no more.
        client.take_some(1);
    }
    // Small answers can stop up a connection just as well.
    let mut greedy = server.client();
    let sender = greedy.stream().try_clone().expect("a socket can be shared");
    sender.set_write_timeout(Some(Duration::from_secs(1))).expect("an open socket");
    let many = "GET /large.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-60000\r\n\r\n".repeat(1000);
    // The server stops reading when nobody takes its answers, so this may not all be taken.
    let _ = std::io::Write::write_all(&mut &sender, many.as_bytes());
    greedy.take_some(1);
    server.wait_for_sockets(sockets);
    for client in &mut clients {
        match client.receive(Method::Get) {
            Err(Fault::CutContent(response)) => assert_eq!(response.status, 200),
            other => panic!("the answer came whole, or not at all: {other:?}"),
        }
    }
    match greedy.rest() {
        Ok(bytes) => assert!(bytes.len() < 1000 * 60_000, "all of the small answers were kept for it"),
        // Its unread requests make the kernel say it with a reset.
        Err(Fault::Reset) => {}
        Err(fault) => panic!("{fault:?}"),
    }
    assert_eq!(server.get("/a.txt").content, b"a");
}

/// Slow is not silent: who takes something now and then gets all of it.
#[test]
fn a_client_that_reads_slowly_is_not_cut() {
    let site = site();
    let server = Setup::root(&site.root()).set("send_timeout", 2).start();
    let mut client = server.client();
    client.send(GET_LARGE);
    // Twice as long as the limit, all in all.
    for _ in 0..50 {
        client.take_some(256 * 1024);
        std::thread::sleep(Duration::from_millis(100));
    }
    let response = client.answer(Method::Get);
    assert_eq!(response.content.len() as u64, LARGE_BYTES);
    assert!(response.content.iter().all(|byte| *byte == 0));
}

/// The limit is lowered while the server runs, so that the test need not know what it starts
/// with: a few descriptors are left, and then none.
#[test]
fn descriptors_run_out_and_come_back() {
    let site = site();
    for number in 0..20 {
        site.file(format!("cold-{number}.txt"), "cold");
    }
    let server = Setup::root(&site.root()).set("workers", 1).start();
    let sockets = server.sockets();
    assert_eq!(server.get("/a.txt").status, 200);
    server.wait_for_sockets(sockets);
    let open: Vec<_> = server.descriptors().iter().map(|descriptor| descriptor.number).collect();
    let beyond = (0..).filter(|number| !open.contains(number)).nth(10).expect("numbers have no end");
    let limit = Some(u64::from(beyond));
    prlimit(Some(server.pid()), Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("it is our child");

    let mut clients: Vec<Client> = (0..60).map(|_| server.client()).collect();
    server.wait_for_log("connections cannot be accepted");
    // Those who are in are answered: from memory, or by the word that it will work later.
    let mut unavailable = 0;
    for (number, client) in clients.iter_mut().take(15).enumerate() {
        for target in ["/a.txt".to_owned(), format!("/cold-{number}.txt")] {
            let sent = client.try_send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = match client.receive(Method::Get) {
                Ok(response) => response,
                // It had nothing under way, and made room for one of those who wait.
                Err(Fault::End | Fault::Reset) => break,
                Err(fault) => panic!("{sent:?}, and then {fault:?}"),
            };
            match response.status {
                200 => {}
                503 => {
                    unavailable += 1;
                    let seconds = response.field("Retry-After").and_then(|value| value.parse::<u32>().ok());
                    assert!(seconds.is_some_and(|seconds| seconds > 0), "{:?}", response.fields);
                }
                status => panic!("{target}: {status}"),
            }
        }
    }
    assert!(unavailable > 0, "with no descriptor left, a cold file cannot be opened");
    // Long enough for a loop that tells of each failure to say much more than one line.
    std::thread::sleep(Duration::from_secs(1));
    drop(clients);
    eventually("service as before", || server.get("/cold-19.txt").status == 200);
    for _ in 0..20 {
        assert_eq!(server.get("/cold-19.txt").content, b"cold");
    }
    let told = server.log().matches("connections cannot be accepted").count();
    assert_eq!(told, 1, "once an episode:\n{}", server.log());
}

/// O_CLOEXEC as fcntl.h has it, in octal, on all machines that Linux runs otus-httpd on.
const CLOEXEC: u32 = 0o2_000_000;

/// A socket that leaked into another program would keep its connection open.
#[test]
fn sockets_are_closed_on_exec() {
    let site = site();
    let server = Server::of(&site);
    let before = server.sockets();
    let mut clients: Vec<Client> = (0..16).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").status, 200);
    }
    let sockets: Vec<_> = server.descriptors().into_iter().filter(|descriptor| descriptor.is_socket()).collect();
    assert_eq!(sockets.len(), before + clients.len());
    for socket in sockets {
        let flags = server.descriptor_flags(socket.number).expect("its connection is open");
        assert!(flags & CLOEXEC != 0, "{socket:?} has flags {flags:o}");
    }
}

#[test]
fn connections_leave_nothing_behind() {
    let site = site();
    let server = Server::of(&site);
    let before = server.sockets();
    for number in 0..2000 {
        let mut client = server.client();
        match number % 8 {
            // Gone without a word, and gone without waiting for the answer.
            0 => {}
            1 => client.send(GET_A),
            2 => client.send("GET / HT"),
            3 => client.send("nonsense\r\n\r\n"),
            _ => assert_eq!(client.get("/a.txt").status, 200),
        }
    }
    // What came last was perhaps not yet accepted; this is, and what came before it too.
    assert_eq!(server.get("/a.txt").status, 200);
    server.wait_for_sockets(before);
    assert_eq!(files_below(&server, &site), 0, "{:?}", server.descriptors());
}

fn files_below(server: &Server, site: &Site) -> usize {
    let root = site.root().display().to_string();
    // The root itself is open all the time.
    server.descriptors().iter().filter(|open| open.target.starts_with(&format!("{root}/"))).count()
}

/// No descriptor of a large file outlives its transfers: it would hold the disk space of a file
/// that was deleted.
#[test]
fn large_files_leave_nothing_behind() {
    let site = Site::new();
    let server = Setup::root(&site.root()).set("cache_file_size_max", 4096).start();
    let mut client = server.client();
    for number in 0..200 {
        let name = format!("{number}.bin");
        let content = site.pattern(&name, 300_000 + number);
        assert!(client.get(&format!("/{name}")).content == content, "{name}");
    }
    // One name with two hundred versions.
    for version in 0..200_u8 {
        let next = site.outside().join("next");
        write(&next, vec![version; 200_000]);
        std::fs::rename(next, site.path("0.bin")).expect("a file can replace a file");
        client.get("/0.bin");
    }
    eventually("all files let go", || files_below(&server, &site) == 0);
}

/// A peer may vanish in the middle of a download, by a reset even: the write that finds out must
/// not raise SIGPIPE.
#[test]
fn peers_that_are_gone_do_no_harm() {
    let site = site();
    let server = Server::of(&site);
    let sockets = server.sockets();
    for number in 0..40 {
        let mut client = server.client();
        client.send(GET_LARGE);
        client.take_some(1 + number * 10_000);
        if number % 2 == 0 {
            // What is unread at the close makes the kernel send a reset; this one does so always.
            let socket = socket2::SockRef::from(client.stream());
            socket.set_linger(Some(Duration::ZERO)).expect("an open socket");
        }
    }
    server.wait_for_sockets(sockets);
    assert_eq!(server.get("/a.txt").content, b"a");
}
