//! The state of a server as a whole: as JSON, as a page, in a terminal.
//!
//! Invariant: what a client sends is shown as a text and never as anything else.

use super::metrics::watched;
use crate::harness::http2::Http2Client;
use crate::harness::server::{PROGRAM, Setup};
use crate::harness::{Client, Method, Site, eventually, skipped};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

fn json(socket: &Path) -> Value {
    let response = Client::connect_unix(socket).get("/status");
    assert_eq!((response.status, response.field("Content-Type")), (200, Some("application/json")));
    serde_json::from_slice(&response.content).expect("JSON")
}

fn page(socket: &Path) -> String {
    let response = Client::connect_unix(socket).ask(Method::Get, "/status", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!(response.field("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = response.field("Content-Security-Policy").expect("a page has a policy");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    let page = String::from_utf8(response.content.clone()).expect("UTF-8");
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe-"), "{policy}");
    page
}

#[test]
fn it_tells_what_goes_on() {
    let site = Site::new();
    site.pattern("much.bin", 300_000);
    site.pattern("large.bin", 32 << 20);
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    for _ in 0..10 {
        assert_eq!(server.get("/much.bin?token=secret").status, 200);
    }
    let mut downloading = server.client();
    downloading.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    downloading.take_some(100_000);
    eventually("all that goes on", || {
        let status = json(&socket);
        let top = &status["top_paths"][0];
        top["name"] == "/much.bin"
            && top["bytes"].as_u64() >= Some(1_000_000)
            && status["top_clients"][0]["name"] == "127.0.0.1"
            && status["transfers"][0]["path"] == "/large.bin"
            && status["transfers"][0]["client"] == "127.0.0.1"
            && status["transfers"][0]["promised_bytes"].as_u64() > Some(32 << 20)
            && status["transfers"][0]["sent_bytes"].as_u64() >= Some(100_000)
            && status["transfers_count"] == 1
            && status["slowest"].as_array().is_some_and(|slowest| slowest.len() == 10)
    });
    let status = json(&socket);
    assert!(!status.to_string().contains("secret"), "queries are nobody's business: {status}");
    assert_eq!((&status["state"], &status["version"]), (&"serving".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    assert!(status["workers"].as_array().expect("a list").iter().all(|worker| worker["is_up"] == true));
    assert_eq!(status["listeners"][0], server.address().to_string());
    assert!(status["sites"][0].as_str().is_some_and(|line| line.contains(&site.root().display().to_string())));
    assert_eq!(status["traffic"]["requests"], 11);
    let page = page(&socket);
    for word in ["/much.bin", "/large.bin", "127.0.0.1", "Open transfers", "serving"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert_eq!(downloading.answer(Method::Get).status, 200);
    eventually("the end of the transfer", || json(&socket)["transfers_count"] == 0);
}

#[test]
fn it_tells_of_each_stream_of_a_connection() {
    let site = Site::new();
    site.pattern("first.bin", 1 << 20);
    site.pattern("second.bin", 1 << 20);
    let (server, socket) = watched(&site, Setup::root(&site.root()).set("h2c", true));
    let mut client = Http2Client::connect(server.address());
    let first = client.begin("/first.bin");
    let second = client.begin("/second.bin");
    // Its first window, of the connection and of the stream, is all that the client has opened.
    eventually("both", || {
        let status = json(&socket);
        let mut told: Vec<_> = (0..2)
            .map(|at| &status["transfers"][at])
            .map(|one| (one["path"].as_str(), one["sent_bytes"].as_u64() > Some(65_000)))
            .collect();
        told.sort();
        status["transfers_count"] == 2 && told == [(Some("/first.bin"), true), (Some("/second.bin"), false)]
    });
    drop(first);
    eventually("the one that is left", || {
        client.go_on();
        let status = json(&socket);
        status["transfers_count"] == 1 && status["transfers"][0]["path"] == "/second.bin"
    });
    drop(second);
    eventually("the end of both", || {
        client.go_on();
        json(&socket)["transfers_count"] == 0
    });
}

#[test]
fn a_hostile_path_is_a_text() {
    let site = Site::new();
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    for target in ["/%3Cscript%3E", "/<script>alert(1)</script>", "/\u{202e}</main>", "/'\"&amp;"] {
        let _ = server.client().ask(Method::Get, target, "");
    }
    eventually("the slowest requests", || {
        json(&socket)["slowest"].as_array().is_some_and(|slowest| slowest.len() == 4)
    });
    let page = page(&socket);
    assert_eq!((page.matches("<script").count(), page.matches("</main>").count()), (1, 1), "{page}");
    assert!(!page.contains('\u{202e}'));
    assert!(page.contains("/%3Cscript%3E"), "{page}");
}

#[test]
fn the_command_shows_it_once() {
    let site = Site::new();
    site.file("a.txt", "a");
    let (server, socket) = watched(&site, Setup::root(&site.root()));
    assert_eq!(server.get("/a.txt").status, 200);
    eventually("a heart that has beaten", || json(&socket)["state"] == "serving");
    let path = socket.display().to_string();
    let config = site.outside().join("status.conf");
    let config = config.display().to_string();
    crate::harness::site::write(config.as_ref(), format!("[admin]\nlisten = 'unix:{path}'"));
    let empty = site.outside().join("empty.conf").display().to_string();
    crate::harness::site::write(empty.as_ref(), "");
    let run =
        |flags: &[&str]| Command::new(PROGRAM).args(flags).stdin(Stdio::null()).output().expect("it can be started");
    for flags in [&["status", "--once", "--socket", &path][..], &["status", "-c", &config], &["-c", &config, "status"]]
    {
        let outcome = run(flags);
        let (shown, said) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        assert!(outcome.status.success(), "{flags:?}: {said}");
        for word in ["otus-httpd", "serving", "answers 1  200 1", "worker  busy", "     1  "] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert!(!shown.contains('\x1b'), "no terminal, no sequences");
    }
    for (question, answer) in [("health", "healthy\n"), ("ready", "ready\n")] {
        let outcome = run(&["status", "--check", question, "--socket", &path]);
        assert_eq!((outcome.status.code(), &*outcome.stdout), (Some(0), answer.as_bytes()), "{question}");
    }
    for (flags, word) in [
        (&["status", "--socket", "/no/such/socket"][..], "nobody listens there"),
        (&["status", "--check", "ready", "--socket", "/no/such/socket"], "nobody listens there"),
        (&["status", "--check", "health", "--url", &format!("http://{}", server.address())], "not the admin listener"),
        (&["status", "-c", &empty], "no [admin] listen"),
        (&["status", "--url", "https://a"], "--url"),
        (&["status", "--url", "http://127.0.0.1:1"], "nobody listens there"),
        (&["status", "--url", &format!("http://{}", server.address())], "not the admin listener"),
    ] {
        let outcome = run(flags);
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!((outcome.status.code(), said.lines().count()), (Some(1), 1), "{flags:?}: {said}");
        assert!(said.contains(word), "{flags:?}: {said}");
    }
}

/// In a terminal that script(1) makes.
#[test]
fn the_command_leaves_a_terminal_as_it_was() {
    let site = Site::new();
    let (_server, socket) = watched(&site, Setup::root(&site.root()));
    // With exec: a shell that waits for it would end by the Ctrl-C itself, with a status of its own.
    let command = format!("exec {PROGRAM} status --socket {}", socket.display());
    for key in ["q", "\x03"] {
        let child = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return skipped("a terminal", &format!("script(1): {error}")),
        };
        let mut stdout = child.stdout.take().expect("it is piped");
        let mut shown = Vec::new();
        let mut bytes = [0; 4096];
        while !shown.windows(6).any(|six| six == b"q ends") {
            let count = stdout.read(&mut bytes).expect("it is open");
            assert!(count > 0, "it ended: {}", shown.escape_ascii());
            shown.extend_from_slice(&bytes[..count]);
        }
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(key.as_bytes()).expect("it reads keys");
        stdout.read_to_end(&mut shown).expect("it ends");
        let shown = String::from_utf8_lossy(&shown);
        let status = child.wait().expect("it is our child");
        assert!(status.success(), "{key:?}: {status}: {shown:?}");
        assert!(shown.contains("\x1b[?1049h") && shown.contains("otus-httpd"), "{shown:?}");
        assert!(shown.trim_end().ends_with("\x1b[?7h\x1b[?25h\x1b[?1049l"), "{shown:?}");
    }
}
