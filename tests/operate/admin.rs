//! The door for administrators: what it answers, to whom, and that nobody can hold it open.
//!
//! Invariant: whatever is done to it, clients of the server notice nothing.

use super::metrics::{Metrics, watched};
use crate::harness::server::Setup;
use crate::harness::{Client, Method, Response, Site, eventually};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn site() -> Site {
    let site = Site::new();
    site.file("a.txt", "a");
    site
}

fn ask(socket: &Path, target: &str) -> Response {
    Client::connect_unix(socket).get(target)
}

#[test]
fn it_says_how_it_is() {
    let site = site();
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    for (method, target, status, content) in [
        (Method::Get, "/health", 200, "healthy\n"),
        (Method::Get, "/ready", 200, "ready\n"),
        (Method::Head, "/metrics", 200, ""),
        (Method::Options, "/health", 405, "GET and HEAD are allowed here.\n"),
        (Method::Get, "/a.txt", 404, "The paths here: /metrics, /health, /ready, /status.\n"),
    ] {
        let mut client = Client::connect_unix(&socket);
        let response = client.ask(method, target, "");
        assert_eq!(
            (response.status, String::from_utf8_lossy(&response.content).as_ref()),
            (status, content),
            "{target}"
        );
        assert_eq!(response.field("Allow"), (status == 405).then_some("GET, HEAD"), "{target}");
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
        assert!(response.closes());
        client.expect_end("one request a connection");
    }
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(server);
    assert!(!socket.exists(), "the file of the socket is removed");
}

#[test]
fn who_is_slow_keeps_nobody_waiting_and_is_cut() {
    let site = site();
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    let mut slow: Vec<_> = (0..4).map(|_| Client::connect_unix(&socket)).collect();
    slow.iter_mut().for_each(|client| client.send("GET /metrics HT"));
    let mut deaf = Client::connect_unix(&socket);
    deaf.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..20 {
        assert_eq!(ask(&socket, "/health").status, 200);
    }
    // More than it takes at a time: those behind them wait for their deadlines, and no longer.
    slow.extend((0..8).map(|_| Client::connect_unix(&socket)));
    assert_eq!(ask(&socket, "/health").status, 200);
    for client in &mut slow {
        // A close over bytes that came too late is a reset; either way it is over.
        let _ = client.rest();
    }
    assert_eq!(server.get("/a.txt").content, b"a");
    let mut large = Client::connect_unix(&socket);
    let sent = large.try_send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)));
    assert!(sent.is_err() || large.answer(Method::Get).status == 414);
}

#[test]
fn nobody_else_comes_in_by_a_name_of_theirs() {
    let site = site();
    let server = Setup::root(&site.root()).set("admin", "{ listen = '127.0.0.1:0' }").start();
    server.wait_for_log("the admin listener is on 127.0.0.1:");
    let log = server.log();
    let (_, rest) = log.split_once("the admin listener is on ").expect("it was waited for");
    let address = rest.lines().next().and_then(|line| line.trim().parse().ok()).expect("an address");
    assert_eq!(Client::connect(address).host("127.0.0.1").get("/status").status, 200);
    assert_eq!(Client::connect(address).host("localhost:8081").get("/status").status, 200);
    assert_eq!(Client::connect(address).host("rebound.example").get("/status").status, 403);
}

#[test]
fn a_start_that_cannot_be_is_told_with_its_remedy() {
    let site = site();
    let (_server, socket) = watched(&site, Setup::root(&site.root()));
    let listen = |listen: &str| format!("{{ listen = '{listen}' }}");
    for (value, word) in [
        (listen(&format!("unix:{}", socket.display())), "another program listens there"),
        (listen("unix:/no/such/directory/socket"), "its directory does not exist; make it first"),
        (listen("0.0.0.0:0"), "can be reached from other machines"),
        ("{ public = true }".to_owned(), "`listen` is missing"),
    ] {
        for check in [false, true] {
            let mut setup = Setup::root(&site.root()).set("admin", &value);
            if check {
                setup = setup.flag("-t");
            }
            let outcome = setup.outcome();
            assert_eq!(outcome.code, Some(1), "{value}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(word), "{value}: {}", outcome.stderr);
        }
    }
    // What a server that was killed left behind is replaced.
    let stale = site.outside().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("a new path"));
    let server = Setup::root(&site.root()).set("admin", listen(&format!("unix:{}", stale.display()))).start();
    assert_eq!(ask(&stale, "/ready").status, 200);
    drop(server);
}

#[test]
fn who_leaves_says_so_first_and_serves_on() {
    let site = site();
    let (mut server, socket) = watched(&site, Setup::root(&site.root()).set("drain_delay", 3));
    assert_eq!(ask(&socket, "/ready").status, 200);
    server.signal(Signal::TERM);
    eventually("the word that it leaves", || ask(&socket, "/ready").status == 503);
    assert_eq!(ask(&socket, "/health").status, 200, "it is well, and leaves");
    assert_eq!(server.get("/a.txt").content, b"a");
    assert_eq!(Metrics::of(&socket).count("otus_httpd_draining", ""), 1);
    assert_eq!(server.exit_code(), Some(0));
    server.wait_for_log("serving on for 3 s");
}

#[test]
fn a_second_signal_does_not_wait_for_the_delay() {
    let site = site();
    let (mut server, _socket) = watched(&site, Setup::root(&site.root()).set("drain_delay", 86_400));
    server.signal(Signal::TERM);
    server.wait_for_log("leaving");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(128 + 15));
}

#[test]
fn a_reload_moves_the_door() {
    let site = site();
    let file = site.outside().join("moving.conf");
    let (first, second) = (site.outside().join("first.sock"), site.outside().join("second.sock"));
    let write = |sockets: &[&Path]| {
        let listen: Vec<_> = sockets.iter().map(|socket| format!("'unix:{}'", socket.display())).collect();
        let text = format!(
            "workers = 2\nlisten = '127.0.0.1:0'\nroot = '{}'\n[admin]\nlisten = [{}]\n",
            site.root().display(),
            listen.join(", ")
        );
        crate::harness::site::write(&file, text);
    };
    write(&[&first]);
    let server = Setup::flags([""; 0]).config_file(&file).start();
    let reload = |reloads: u64, socket: &Path| {
        server.signal(Signal::HUP);
        eventually("the reload", || {
            socket.exists() && Metrics::of(socket).count("otus_httpd_reloads_total", "result=\"good\"") == reloads
        });
    };
    write(&[&first, &second]);
    reload(1, &second);
    assert_eq!(ask(&first, "/ready").status, 200);
    write(&[&second]);
    reload(2, &second);
    assert!(!first.exists(), "the file of the old one is removed");
    // One that cannot be leaves all as it was.
    write(&[&second, Path::new("/no/such/directory/socket")]);
    server.signal(Signal::HUP);
    eventually("the refusal", || Metrics::of(&second).count("otus_httpd_reloads_total", "result=\"failed\"") == 1);
    server.wait_for_log("its directory does not exist");
    assert_eq!(ask(&second, "/ready").status, 200);
}

#[test]
fn a_reload_moves_the_door_between_addresses_of_a_port() {
    let site = site();
    let file = site.outside().join("moving.conf");
    let socket = site.outside().join("stays.sock");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let write = |listen: &str| {
        let text = format!(
            "workers = 1\nlisten = '127.0.0.1:0'\nroot = '{}'\n[admin]\nlisten = ['unix:{}', '{listen}:{port}']\npublic = {}\n",
            site.root().display(),
            socket.display(),
            listen == "0.0.0.0"
        );
        crate::harness::site::write(&file, text);
    };
    write("0.0.0.0");
    let server = Setup::flags([""; 0]).config_file(&file).start();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for (reloads, listen) in (1..).zip(["127.0.0.1", "0.0.0.0"]) {
        write(listen);
        server.signal(Signal::HUP);
        eventually("the reload", || {
            assert_eq!(
                Metrics::of(&socket).count("otus_httpd_reloads_total", "result=\"failed\""),
                0,
                "{}",
                server.log()
            );
            Metrics::of(&socket).count("otus_httpd_reloads_total", "result=\"good\"") == reloads
        });
        assert_eq!(Client::connect(address).host("localhost").get("/health").status, 200);
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_worker_that_is_stuck_or_was_replaced_shows() {
    let site = site();
    let fault = site.outside().join("fault");
    let setup =
        Setup::root(&site.root()).set("checkalive", 1).environment("OTUS_HTTPD_FAULT_FILE", &fault).panics_expected();
    let (server, socket) = watched(&site, setup);
    std::fs::write(&fault, "panic 1").expect("the file of faults can be written");
    eventually("the restart", || Metrics::of(&socket).count("otus_httpd_worker_restarts_total", "worker=\"1\"") == 1);
    eventually("all is well again", || ask(&socket, "/ready").status == 200);
    assert_eq!(server.get("/a.txt").content, b"a");
    std::fs::write(&fault, "stall 0").expect("the file of faults can be written");
    eventually("the word that it is stuck", || {
        let response = ask(&socket, "/health");
        response.status == 503 && String::from_utf8_lossy(&response.content).contains("worker 0 has had no heartbeat")
    });
    eventually("its return", || ask(&socket, "/health").status == 200);
    let metrics = Metrics::of(&socket);
    assert!(metrics.sum("otus_httpd_loop_stall_worst_seconds", "worker=\"0\"") > 5.0);
}
