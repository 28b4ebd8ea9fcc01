//! Faults on demand, in debug builds only: the tests that kill and stall a worker need them.
//!
//! The environment variable `OTUS_HTTPD_FAULT_FILE` names a file. What a test writes into it happens
//! once, in the worker of that number: `panic 0`, `stall 1` (for some seconds), `connection 0`
//! (the next connection accepted by it panics), `open 0` (it tries what a sandbox forbids, and tells the log
//! what came of it). A thread of its own reads the file, for workers are confined.

use glommio::timer::sleep;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const VARIABLE: &str = "OTUS_HTTPD_FAULT_FILE";

const STALL: Duration = Duration::from_secs(6);

thread_local! {
    static CONNECTION: Cell<bool> = const { Cell::new(false) };
}

/// What was asked for and not yet done, with the worker's number.
static ASKED: Mutex<Option<(String, usize)>> = Mutex::new(None);

fn asked() -> MutexGuard<'static, Option<(String, usize)>> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

const PAUSE: Duration = Duration::from_millis(50);

/// Reads what tests ask for, from here on.
pub(super) fn start() {
    let Some(file) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    let read = move || {
        loop {
            std::thread::sleep(PAUSE);
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let Some((what, number)) = text.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            *asked() = Some((what.to_owned(), number));
            while asked().is_some() {
                std::thread::sleep(PAUSE);
            }
            // Removed once the worker has taken it up, which is what a test waits for.
            let _ = std::fs::remove_file(&file);
        }
    };
    let thread = std::thread::Builder::new().name("faults".to_owned()).spawn(read);
    drop(thread.expect("a debug build on a machine that can start a thread"));
}

/// Does what was asked for; never ends.
pub(super) async fn watch(worker: usize) {
    if std::env::var_os(VARIABLE).is_none() {
        return std::future::pending().await;
    }
    loop {
        sleep(PAUSE).await;
        let Some((what, _)) = asked().take_if(|(_, number)| *number == worker) else { continue };
        match what.as_str() {
            "panic" => panic!("a test asked for this"),
            "stall" => std::thread::sleep(STALL),
            "connection" => CONNECTION.set(true),
            "open" => try_what_is_forbidden(),
            other => tracing::warn!("unknown fault {other}"),
        }
    }
}

fn try_what_is_forbidden() {
    let tell = |what: &str, outcome: std::io::Result<()>| match outcome {
        Ok(()) => tracing::warn!("a test asked for this: {what}: done"),
        Err(error) => tracing::warn!("a test asked for this: {what}: {error}"),
    };
    for path in ["/etc/passwd", "/etc/shadow"] {
        tell(&format!("read {path}"), std::fs::read(path).map(drop));
    }
    let written = Path::new("/tmp").join(format!("otus-httpd-fault-{}", std::process::id()));
    tell("write /tmp", std::fs::write(&written, "").and_then(|()| std::fs::remove_file(&written)));
    tell("bind", std::net::TcpListener::bind("127.0.0.1:0").map(drop));
    // Whether somebody listens there is of no matter to whether one may ask.
    let connected = std::net::TcpStream::connect("127.0.0.1:1").map(drop);
    let refused = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::ConnectionRefused { Ok(()) } else { Err(error) }
    };
    tell("connect", connected.or_else(refused));
    let all = std::thread::Builder::new().name("pool".to_owned()).spawn(|| std::fs::read("/etc/passwd").map(drop));
    tell("read /etc/passwd in a thread of its own", all.expect("a thread").join().expect("it only reads"));
}

/// The connection's task, which panics if a test asked for it.
pub(super) async fn in_connection(serving: impl Future<Output = ()>) {
    assert!(!CONNECTION.take(), "a test asked for this, in a connection");
    serving.await;
}
