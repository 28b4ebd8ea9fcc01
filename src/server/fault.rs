//! Faults on demand, in debug builds only: the tests that kill and stall a worker need them.
//!
//! The environment variable `OTUS_HTTPD_FAULT_FILE` names a file. What a test writes into it happens
//! once, in the worker of that number: `panic 0`, `stall 1` (for some seconds), `connection 0`
//! (the next connection accepted by it panics).

use glommio::timer::sleep;
use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

const VARIABLE: &str = "OTUS_HTTPD_FAULT_FILE";

const STALL: Duration = Duration::from_secs(6);

thread_local! {
    static CONNECTION: Cell<bool> = const { Cell::new(false) };
}

/// Does what the file says; never ends.
pub(super) async fn watch(worker: usize) {
    let Some(file) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return std::future::pending().await };
    loop {
        sleep(Duration::from_millis(50)).await;
        let asked = std::fs::read_to_string(&file).unwrap_or_default();
        let Some((what, number)) = asked.trim().split_once(' ') else { continue };
        if number.parse() != Ok(worker) {
            continue;
        }
        // Removed first: the fault happens once.
        let _ = std::fs::remove_file(&file);
        match what {
            "panic" => panic!("a test asked for this"),
            "stall" => std::thread::sleep(STALL),
            "connection" => CONNECTION.set(true),
            other => tracing::warn!("unknown fault {other}"),
        }
    }
}

/// The connection's task, which panics if a test asked for it.
pub(super) async fn in_connection(serving: impl Future<Output = ()>) {
    assert!(!CONNECTION.take(), "a test asked for this, in a connection");
    serving.await;
}
