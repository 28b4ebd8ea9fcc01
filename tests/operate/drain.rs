//! SIGTERM while much is in flight.
//!
//! Invariant: what was promised is sent, and nobody new is let in.

use crate::harness::server::Setup;
use crate::harness::{Client, Site, eventually};
use rustix::process::Signal;
use std::io::Read;
use std::path::PathBuf;

/// Large enough that it is still under way when the signal comes, whatever the sockets hold.
const LENGTH: u64 = 1 << 30;

#[test]
fn a_download_of_a_gigabyte_outlives_the_signal() {
    let site = Site::new();
    site.sparse("large.bin", LENGTH);
    site.file("a.txt", "a");
    let mut server = Setup::root(&site.root()).set("drain_timeout", 120).start();
    let address = server.address();
    let mut download = server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    let mut idle = server.client();
    assert_eq!(idle.get("/a.txt").status, 200);
    server.signal(Signal::TERM);
    idle.expect_end("it had nothing under way");
    eventually("newcomers to be refused", || Client::try_connect(address).is_err());
    assert!(server.exited().is_none(), "it waits for the download");
    // Read apart from the harness, which would hold all of it in memory.
    let taken = download.take_received();
    let head_bytes = taken.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the head came first") + 4;
    let mut count = (taken.len() - head_bytes) as u64;
    let mut buffer = vec![0; 1 << 20];
    while count < LENGTH {
        let length = download.stream().read(&mut buffer).expect("the server goes on");
        assert_ne!(length, 0, "cut after {count} bytes");
        assert!(buffer[..length].iter().all(|byte| *byte == 0), "other bytes than the file's");
        count += length as u64;
    }
    assert_eq!(count, LENGTH);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.log().contains("were cut"), "{}", server.log());
}

/// A transfer that was cut was forgotten with its socket open: its client waited for nothing, its line was not written, and what looked
/// in on it panicked while its thread ended, which aborted the process.
#[test]
fn transfers_that_are_cut_end_and_are_told() {
    let site = Site::new();
    site.sparse("large.bin", LENGTH);
    let log: PathBuf = site.outside().join("access.log");
    let admin = site.outside().join("admin.sock");
    let mut server = Setup::configured(format!(
        "listen = ['127.0.0.1:0']\nroot = '{}'\ncache_file_size_max = '1m'\n\
         access_log = {{ to = '{}', format = '$completion $body_bytes_sent' }}\n[admin]\nlisten = 'unix:{}'\n",
        site.root().display(),
        log.display(),
        admin.display()
    ))
    .start();
    let mut downloads: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
            client.take_some(1 << 20);
            client
        })
        .collect();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "{}", server.log());
    for download in &mut downloads {
        let _ = download.rest();
    }
    let lines = std::fs::read_to_string(&log).expect("the log is there");
    let cut = lines.lines().filter(|line| line.starts_with("cut ")).count();
    assert_eq!(cut, downloads.len(), "{lines}");
}
