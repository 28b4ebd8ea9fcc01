//! The end of a server: what it finishes, what it cuts, and which signals mean what.
//!
//! Invariant: after SIGTERM an answer that was begun is completed or cut short at the drain
//! timeout, and the exit code is 0.

use crate::harness::server::Setup;
use crate::harness::{Client, Fault, Method, Server, Site, eventually};
use rustix::process::Signal;

const LARGE_BYTES: usize = 32 << 20;

fn site() -> (Site, Vec<u8>) {
    let site = Site::new();
    site.file("a.txt", "a");
    let large = site.pattern("large.bin", LARGE_BYTES);
    (site, large)
}

/// A client in the middle of a download that is far larger than all buffers on its way.
fn downloading(server: &Server) -> Client {
    let mut client = server.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.take_some(100_000);
    client
}

#[test]
fn idle_connections_do_not_delay_the_end() {
    let (site, _) = site();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::root(&site.root()).set("drain_timeout", 600).set("keepalive_timeout", 600).start();
        let mut idle: Vec<_> = (0..16).map(|_| server.client()).collect();
        for client in &mut idle {
            assert_eq!(client.get("/a.txt").content, b"a");
        }
        // One that has not said anything yet is given a moment, and no more.
        let mut fresh = server.client();
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0), "{signal:?}");
        for client in &mut idle {
            client.expect_end("the server stopped");
        }
        fresh.expect_end("the server stopped");
        server.wait_for_log("stopped");
    }
}

#[test]
fn a_download_is_finished_before_the_end() {
    let (site, large) = site();
    let mut server = Setup::root(&site.root()).set("drain_timeout", 600).start();
    let mut clients: Vec<_> = (0..4).map(|_| downloading(&server)).collect();
    // A request whose head has begun is in flight too.
    let mut begun = server.client();
    assert_eq!(begun.get("/a.txt").status, 200);
    begun.send("GET /a.txt HTTP/1.1\r\nHost:");
    // So that its first bytes are read before the signal: this one's answer comes later.
    assert_eq!(server.get("/a.txt").status, 200);
    server.signal(Signal::TERM);
    eventually("refused connections", || Client::try_connect(server.address()).is_err());
    begun.send(" a\r\n\r\n");
    let response = begun.answer(Method::Get);
    assert_eq!((response.status, response.content.as_slice()), (200, &b"a"[..]));
    assert!(response.closes(), "a server that stops does not promise another answer");
    begun.expect_end("the server stops");
    for client in &mut clients {
        assert!(client.answer(Method::Get).content == large, "other bytes");
        client.expect_end("the server stops");
    }
    assert_eq!(server.exit_code(), Some(0));
}

/// Requests that wait in a listening queue when the signal comes were accepted by the kernel:
/// closing the queue over them would reset them.
#[test]
fn nobody_who_was_let_in_is_reset() {
    let (site, _) = site();
    for round in 0..5 {
        let mut server = Server::of(&site);
        let address = server.address();
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let mut client = Client::connect(address);
                client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                client
            })
            .collect();
        server.signal(Signal::TERM);
        for (number, mut client) in clients.into_iter().enumerate() {
            assert_eq!(client.answer(Method::Get).content, b"a", "client {number}, round {round}");
        }
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[test]
fn a_stalled_download_is_cut_at_the_drain_timeout() {
    let (site, _) = site();
    let mut server = Setup::root(&site.root()).set("drain_timeout", 1).set("send_timeout", 600).start();
    let mut client = downloading(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert!(matches!(client.receive(Method::Get), Err(Fault::CutContent(_))));
    server.wait_for_log("did not finish in time");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (site, _) = site();
    let mut server = Setup::root(&site.root()).set("drain_timeout", 600).set("send_timeout", 600).start();
    let _client = downloading(&server);
    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    server.signal(Signal::TERM);
    // As a shell says it of SIGTERM.
    assert_eq!(server.exit_code(), Some(128 + 15));
}

#[test]
fn a_hangup_is_no_reason_to_end() {
    let (site, _) = site();
    let mut server = Server::of(&site);
    for _ in 0..3 {
        server.signal(Signal::HUP);
    }
    server.wait_for_log("reloaded in");
    assert_eq!(server.get("/a.txt").content, b"a");
    assert!(server.exited().is_none());
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

/// The kernel takes down the rings of a dead process in its own time, and with them the listening
/// sockets that an accept in flight held: a restart at once found its port taken, by nobody.
#[test]
fn a_restart_at_once_finds_its_port_free() {
    let (site, _) = site();
    let root = site.root();
    let mut address = "127.0.0.1:0".to_owned();
    for round in 0..20 {
        let mut server = Setup::flags([
            "-a".as_ref(),
            address.as_ref(),
            "-w".as_ref(),
            "4".as_ref(),
            "-r".as_ref(),
            root.as_os_str(),
        ])
        .start();
        address = server.address().to_string();
        for _ in 0..20 {
            assert_eq!(server.get("/a.txt").content, b"a");
        }
        let (signal, code) = if round % 2 == 0 { (Signal::TERM, Some(0)) } else { (Signal::KILL, None) };
        server.signal(signal);
        assert_eq!(server.exit_code(), code, "round {round}");
    }
}
