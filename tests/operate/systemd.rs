//! What a service manager hears of the server: how much it serves, whether its workers are alive, that it needs time to end.
//!
//! Invariant: what counts is the order of the words, and never when they came.

use crate::harness::server::Setup;
use crate::harness::{HANG, Site};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where systemd listens, for tests that look at the order of the words.
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    /// What NOTIFY_SOCKET is to be.
    pub(super) path: PathBuf,
}

impl NotifySocket {
    pub(super) fn listen(site: &Site) -> NotifySocket {
        let path = site.outside().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a path of this test");
        socket.set_read_timeout(Some(HANG)).expect("an open socket");
        NotifySocket { socket, path }
    }

    /// The next words that the test waits for; those before them are dropped.
    pub(super) fn hear(&self, is_meant: impl Fn(&str) -> bool) -> String {
        self.hear_all(is_meant).pop().expect("the last is what was waited for")
    }

    /// All words up to those that the test waits for.
    fn hear_all(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let mut words = [0; 4096];
            let length = self.socket.recv(&mut words).unwrap_or_else(|error| panic!("{error} after {heard:?}"));
            heard.push(String::from_utf8(words[..length].to_vec()).expect("words are text"));
            if heard.last().is_some_and(|words| is_meant(words)) {
                return heard;
            }
        }
    }
}

const PING: &str = "WATCHDOG=1\n";

#[test]
fn it_is_told_how_much_is_served() {
    let site = Site::new();
    site.file("a.txt", "a");
    let systemd = NotifySocket::listen(&site);
    let server = Setup::root(&site.root()).environment("NOTIFY_SOCKET", &systemd.path).start();
    systemd.hear(|words| words.starts_with("READY=1\nSTATUS=serving with 2 workers: 0 connections, 0 requests/s"));
    let mut client = server.client();
    systemd.hear(|words| words.starts_with("STATUS=serving with 2 workers: 1 connection,"));
    for _ in 0..50 {
        client.get("/a.txt");
    }
    systemd.hear(|words| words.starts_with("STATUS=") && !words.contains(" 0 requests/s"));
    drop(client);
    systemd.hear(|words| words == "STATUS=serving with 2 workers: 0 connections, 0 requests/s\n");
}

/// A stop may take longer than the unit says, if the configuration lets it.
#[test]
fn it_is_asked_for_time_to_finish() {
    let site = Site::new();
    let systemd = NotifySocket::listen(&site);
    let mut server = Setup::root(&site.root())
        .set("drain_delay", 7)
        .environment("NOTIFY_SOCKET", &systemd.path)
        .environment("WATCHDOG_USEC", "2000000")
        .start();
    server.signal(Signal::TERM);
    let stopping = systemd.hear(|words| words.starts_with("STOPPING=1\n"));
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=15000000\n"), "{stopping}");
    let heard = systemd.hear_all(|words| words.starts_with("EXTEND_TIMEOUT_USEC=15000000\n"));
    assert!(heard.iter().any(|words| words == PING), "the watchdog is no less alive while the server ends: {heard:?}");
    assert!(heard.iter().all(|words| !words.starts_with("STATUS=serving")), "{heard:?}");
    assert_eq!(server.exit_code(), Some(0));
}

#[cfg(debug_assertions)]
#[test]
fn a_stuck_worker_stops_the_pings_of_the_watchdog() {
    let site = Site::new();
    let (systemd, fault) = (NotifySocket::listen(&site), site.outside().join("fault"));
    let server = Setup::root(&site.root())
        .environment("NOTIFY_SOCKET", &systemd.path)
        .environment("WATCHDOG_USEC", "1500000")
        .environment("OTUS_HTTPD_FAULT_FILE", &fault)
        .start();
    for _ in 0..3 {
        systemd.hear(|words| words == PING);
    }
    std::fs::write(&fault, "stall 1").expect("the file of faults can be written");
    systemd.hear(|words| words.starts_with("STATUS=") && words.contains("; worker 1 is stuck"));
    let is_well = |words: &str| words.starts_with("STATUS=") && !words.contains("stuck");
    let meanwhile = systemd.hear_all(is_well);
    assert!(!meanwhile.iter().any(|words| words == PING), "{meanwhile:?}");
    server.wait_for_log("systemd is told no more that all is well: worker 1 shows no sign of life");
    server.wait_for_log("systemd is told again that all is well: every worker is alive");
    systemd.hear(|words| words == PING);
}

/// A unit without a watchdog, and a process whose parent is the one that is meant.
#[test]
fn pings_come_only_where_they_are_asked_for() {
    let site = Site::new();
    let systemd = NotifySocket::listen(&site);
    for environment in [vec![], vec![("WATCHDOG_USEC", "300000"), ("WATCHDOG_PID", "1")]] {
        let mut setup = Setup::root(&site.root()).environment("NOTIFY_SOCKET", &systemd.path);
        for (name, value) in environment {
            setup = setup.environment(name, value);
        }
        let server = setup.start();
        systemd.hear(|words| words.starts_with("READY=1\n"));
        let client = server.client();
        let heard = systemd.hear_all(|words| words.contains(" 1 connection,"));
        assert!(!heard.iter().any(|words| words == PING), "{heard:?}");
        drop(client);
        drop(server);
        systemd.hear(|words| words.starts_with("STOPPING=1\n"));
    }
}
