//! Workers that die or get stuck, by faults that a debug build does on demand.
//!
//! Invariant: a panic costs the connections of one worker at most, and the worker is back soon;
//! one in a connection costs that connection alone.

use crate::harness::server::Setup;
use crate::harness::{Client, Fault, Method, Server, Site, eventually};
use rustix::process::Signal;
use std::path::PathBuf;

/// A server with faults on demand, and the file that asks for them.
fn faulty(site: &Site, workers: usize) -> (Server, PathBuf) {
    site.file("a.txt", "a");
    let file = site.outside().join("fault");
    let server = Setup::root(&site.root())
        .set("workers", workers)
        .set("checkalive", 1)
        .environment("OTUS_HTTPD_FAULT_FILE", &file)
        .panics_expected()
        .start();
    (server, file)
}

/// Asks for a fault and waits until it is taken up.
fn cause(file: &PathBuf, fault: &str) {
    std::fs::write(file, fault).expect("the file of faults can be written");
    eventually("the fault", || !file.exists());
}

/// Enough that the kernel gives both of two workers some.
const CLIENTS: usize = 24;

/// Which of the clients still have a connection.
fn alive(clients: &mut [Client]) -> usize {
    let mut count = 0;
    for client in clients {
        let sent = client.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.receive(Method::Get) {
            Ok(response) => {
                assert_eq!(response.content, b"a");
                count += 1;
            }
            Err(Fault::End | Fault::Reset) => {}
            Err(fault) => panic!("{sent:?}, and then {fault:?}"),
        }
    }
    count
}

#[test]
fn a_worker_that_panics_is_replaced_while_the_others_serve() {
    let site = Site::new();
    let (server, file) = faulty(&site, 2);
    for round in 1..=3 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
        assert_eq!(alive(&mut clients), CLIENTS);
        cause(&file, "panic 0");
        eventually("the worker's end in the log", || {
            server.log().matches("worker 0 died; the others serve on").count() == round
        });
        let left = alive(&mut clients);
        assert!(0 < left && left < CLIENTS, "{left} of {CLIENTS} connections are left");
        // Those who come meanwhile wait in the queue, which outlives the worker.
        for _ in 0..CLIENTS {
            assert_eq!(server.get("/a.txt").content, b"a");
        }
        eventually("the worker's return in the log", || server.log().matches("worker 0 serves again").count() == round);
    }
    assert!(!server.log().contains("worker 1 "), "{}", server.log());
}

#[test]
fn all_workers_may_die_at_once() {
    let site = Site::new();
    let (server, file) = faulty(&site, 2);
    cause(&file, "panic 0");
    cause(&file, "panic 1");
    for _ in 0..CLIENTS {
        assert_eq!(server.get("/a.txt").content, b"a");
    }
    server.wait_for_log("worker 0 serves again");
    server.wait_for_log("worker 1 serves again");
}

/// A dead worker's sockets and files die with it; what the engine keeps of a dead executor is
/// small, and not ours.
#[test]
fn a_worker_that_died_leaves_nothing_behind() {
    let site = Site::new();
    let (server, file) = faulty(&site, 1);
    let ours = || server.descriptors().iter().filter(|open| !open.target.starts_with("anon_inode:")).count();
    let before = ours();
    for round in 1..=4 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
        assert_eq!(alive(&mut clients), CLIENTS);
        cause(&file, "panic 0");
        eventually("the worker's return in the log", || server.log().matches("worker 0 serves again").count() == round);
        drop(clients);
        eventually("as few descriptors as before", || ours() <= before);
    }
}

#[test]
fn a_stuck_worker_is_reported() {
    let site = Site::new();
    let (server, file) = faulty(&site, 2);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    assert_eq!(alive(&mut clients), CLIENTS);
    cause(&file, "stall 1");
    server.wait_for_log("worker 1 has had no heartbeat for 3 looks: it is stuck");
    server.wait_for_log("worker 1 is alive again");
    // It was stuck and not dead, so nobody lost anything.
    assert_eq!(alive(&mut clients), CLIENTS);
    assert!(!server.log().contains("panic") && !server.log().contains("worker 0 "), "{}", server.log());
}

/// A worker that does not hear must not keep the whole server from its end.
#[test]
fn a_stuck_worker_does_not_hold_up_the_end() {
    let site = Site::new();
    let (mut server, file) = faulty(&site, 2);
    cause(&file, "stall 0");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    server.wait_for_log("leaving without them");
}

#[test]
fn a_panic_in_a_connection_ends_that_connection_only() {
    let site = Site::new();
    let (server, file) = faulty(&site, 1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    assert_eq!(alive(&mut clients), CLIENTS);
    cause(&file, "connection 0");
    assert_eq!(alive(&mut [server.client()]), 0);
    assert_eq!(alive(&mut clients), CLIENTS);
    assert_eq!(server.get("/a.txt").content, b"a");
    assert_eq!(server.log().matches("panic at").count(), 1, "{}", server.log());
    assert!(!server.log().contains("died"), "{}", server.log());
}
