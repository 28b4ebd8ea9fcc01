//! Configuration as administrators handle it: drop-in files, what is in force and why, checks before a start and before a reload.
//!
//! Invariant: whatever is wrong is told with its file, and by the exit code.

use crate::harness::server::{Outcome, Setup, bare};
use crate::harness::site::write;
use crate::harness::{Server, Site};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// A main file and its drop-ins, by name; gives the main file.
fn files(site: &Site, main: &str, drop_ins: &[(&str, &str)]) -> PathBuf {
    let path = site.outside().join("main.conf");
    write(&path, main);
    let directory = site.outside().join("main.conf.d");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("a directory of the test");
    for (name, text) in drop_ins {
        write(&directory.join(name), text);
    }
    path
}

fn run(path: &Path, flags: &[&str]) -> Outcome {
    Setup::flags(flags).config_file(path).outcome()
}

/// The lines of a report of this level and topic.
fn reported<'a>(outcome: &'a Outcome, level: &str, topic: &str) -> Vec<&'a str> {
    let begin = format!("{level:<7}  {topic}: ");
    outcome.stdout.lines().filter_map(|line| line.strip_prefix(&begin)).collect()
}

#[test]
fn drop_ins_are_served() {
    let site = Site::new();
    site.file("a/index.html", "a");
    site.file("b/index.html", "b");
    let root = site.root().display().to_string();
    let path = files(
        &site,
        "listen = ['127.0.0.1:0']\nworkers = 3\nroot = '/no/such/root'\nnosniff = true\n[[site]]\nserver_name = 'a.example'\n",
        &[
            ("10-root.conf", &format!("root = '{root}/a'\n")),
            ("20-b.conf", &format!("workers = 2\n[[site]]\nserver_name = 'b.example'\nroot = '{root}/b'\n")),
            ("30-all.conf", "[[location]]\npath = '/'\ncache_control = 'no-cache'\n"),
            (".hidden.conf", "wrokers = 1"),
            ("30-all.conf~", "wrokers = 1"),
            ("README", "wrokers = 1"),
        ],
    );
    let server = Setup::flags([""; 0]).config_file(&path).start();
    assert!(server.announcements()[0].ends_with("with 2 workers"), "{:?}", server.announcements());
    for (host, content) in [("a.example", "a"), ("b.example", "b")] {
        let response = server.client().host(host).get("/");
        assert_eq!(response.content, content.as_bytes(), "{host}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"), "{host}");
        assert_eq!(response.field("Cache-Control"), Some("no-cache"), "{host}");
    }
}

/// A problem of a drop-in has its own name, line, column and caret, whatever stands in the files before it.
#[test]
fn what_is_wrong_in_a_drop_in_is_shown_there() {
    let site = Site::new();
    let main = "workers = 2\n\n# größe\nread_timeout = 9\n";
    for (text, place, line, caret) in [
        ("wrokers = 2", "1:1: unknown key `wrokers`; did you mean `workers`?", "1 | wrokers = 2", "  | ^^^^^^^"),
        ("\n  etag = 'no'", "2:10: etag: expected true or false", "2 |   etag = 'no'", "  |          ^^^^"),
        ("etag = ", "1:8: ", "1 | etag =", "  |        ^"),
        ("etag = true\netag = true", "2:1: duplicate key", "2 | etag = true", "  | ^^^^"),
        ("[[site]]\nlisten = 5", "2:10: listen: expected", "2 | listen = 5", "  |          ^"),
    ] {
        let path = files(&site, main, &[("05-good.conf", "charset = 'utf-8'\n"), ("50-bad.conf", text)]);
        let bad = path.with_file_name("main.conf.d").join("50-bad.conf");
        for flags in [&[][..], &["-t"], &["-T"], &["--reload-check"]] {
            let outcome = run(&path, flags);
            assert_eq!(outcome.code, Some(1), "{text}: {}", outcome.stderr);
            let lines: Vec<_> = outcome.stderr.lines().collect();
            assert!(lines[0].starts_with(&format!("otus-httpd: {}:{place}", bad.display())), "{text}: {lines:?}");
            assert_eq!(lines[2..], [line, caret], "{text}");
        }
    }
    let path = files(&site, main, &[]);
    let latin1 = path.with_file_name("main.conf.d").join("l.conf");
    std::fs::write(&latin1, b"# gr\xf6\xdfe\n").expect("a file of the test");
    let outcome = run(&path, &["-t"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.starts_with(&format!("otus-httpd: {}: cannot be read: ", latin1.display())),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_is_in_force_tells_where_it_comes_from() {
    let site = Site::new();
    let path = files(
        &site,
        "workers = 2\nread_timeout = 9\netag = false\n[[site]]\nserver_name = 'a'\n",
        &[("1.conf", "\nread_timeout = 7\n[error_page]\n404 = '/x'\n"), ("2.conf", "[[site]]\nserver_name = 'b'\n")],
    );
    let printed = run(&path, &["-T", "-w", "1", "-p", "81"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let main = path.display().to_string();
    for line in [
        "listen = [\"127.0.0.1:81\"]  # --port on the command line".to_owned(),
        "workers = 1  # --workers on the command line".to_owned(),
        format!("read_timeout = 7  # {main}.d/1.conf:2"),
        "keepalive_timeout = 65  # default".to_owned(),
        format!("etag = false  # {main}:3"),
        format!("error_page = {{ 404 = \"/x\" }}  # {main}.d/1.conf:3"),
        "index = [\"index.html\"]  # default".to_owned(),
        "# root: none: the welcome page  # default".to_owned(),
        format!("[[site]]  # {main}:4"),
        format!("server_name = \"a\"  # {main}:5"),
        format!("[[site]]  # {main}.d/2.conf:1"),
    ] {
        assert!(printed.stdout.lines().any(|printed| printed == line), "{line} is not in {}", printed.stdout);
    }
    let again = Setup::flags(["-T"]).config_text(&printed.stdout).outcome();
    assert_eq!(bare(&again.stdout), bare(&printed.stdout));
}

#[test]
fn a_check_reports_every_finding() {
    let site = Site::new();
    let path = files(
        &site,
        "wrokers = 2\nread_timeout = 0\nroot = '/no/such/root'\n[[location]]\npath = '/x'\nindx = 1\n",
        &[("1.conf", "etag = 1\n")],
    );
    let outcome = run(&path, &["-t"]);
    assert_eq!(outcome.code, Some(1));
    let main = path.display().to_string();
    let places: Vec<_> = reported(&outcome, "error", "configuration");
    let expected =
        [format!("{main}:1:1: "), format!("{main}:2:16: "), format!("{main}:6:1: "), format!("{main}.d/1.conf:1:8: ")];
    assert_eq!(places.len(), expected.len(), "{}", outcome.stdout);
    for (place, expected) in places.iter().zip(expected) {
        assert!(place.starts_with(&expected), "{place}");
    }
    assert!(reported(&outcome, "error", "root")[0].contains("/no/such/root: no such directory; name an existing one"));
    assert_eq!(reported(&outcome, "ok", "io_uring").len(), 1, "{}", outcome.stdout);
    assert_eq!(reported(&outcome, "note", "listen").len(), 1, "{}", outcome.stdout);
    assert!(outcome.stderr.lines().count() == 4, "the first as a start shows it: {}", outcome.stderr);
}

/// Who holds a port is found by his sockets; here it is this test, and a server of ours.
#[test]
fn a_taken_port_is_told_with_its_holder() {
    let site = Site::new();
    site.file("a.txt", "a");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let own = listener.local_addr().expect("it is bound");
    let server = Server::of(&site);
    let pids = [(own, std::process::id()), (server.address(), server.pid().as_raw_nonzero().get().unsigned_abs())];
    for (address, pid) in pids {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
        let text = format!("root = '{}'\nlisten = ['127.0.0.1:0', '{address}']\n", site.root().display());
        let path = files(&site, &text, &[]);
        let outcome = run(&path, &["-t"]);
        assert_eq!(outcome.code, Some(1));
        let said = format!("{address}: another program listens there ({}, PID {pid}); stop it", name.trim_end());
        assert!(reported(&outcome, "error", "listen")[0].starts_with(&said), "{said}: {}", outcome.stdout);
        assert_eq!(reported(&outcome, "ok", "listen").len(), 1, "{}", outcome.stdout);
        assert!(outcome.stderr.starts_with(&format!("otus-httpd: {said}")), "{}", outcome.stderr);
        let is_server = address == server.address();
        assert_eq!(outcome.stderr.contains("--reload-check"), is_server, "{}", outcome.stderr);
        // A reload does not bind what the server holds already.
        let reload = run(&path, &["--reload-check"]);
        assert_eq!((reload.code, reload.stderr.as_str()), (Some(0), "otus-httpd: the configuration is good\n"));
        assert!(!reload.stdout.contains("listen"), "{}", reload.stdout);
    }
    // Two addresses of one file that are one for the kernel.
    let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("some port is free");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let outcome = run(&files(&site, &format!("listen = ['0.0.0.0:{port}', '127.0.0.1:{port}']\n"), &[]), &["-t"]);
    assert!(outcome.stdout.contains("this process listens there already"), "{}", outcome.stdout);
}

#[test]
fn a_reload_check_refuses_what_a_reload_would() {
    let site = Site::new();
    let root = site.root().display().to_string();
    for (text, code, said) in [
        (format!("root = '{root}'\n"), 0, "the configuration is good"),
        (format!("root = '{root}'\nnosniff = 1\n"), 1, "main.conf:2:11: nosniff: expected true or false"),
        ("root = '/no/such/root'\n".to_owned(), 1, "document root /no/such/root: no such directory"),
    ] {
        let outcome = run(&files(&site, &text, &[]), &["--reload-check"]);
        assert_eq!(outcome.code, Some(code), "{text}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{text}: {}", outcome.stderr);
    }
}

/// What monitoring reads.
#[test]
fn findings_as_json() {
    let site = Site::new();
    site.file("a.txt", "a");
    let good = format!("listen = ['127.0.0.1:0']\nroot = '{}'\n", site.root().display());
    for (text, flags, is_ok) in [
        (good.as_str(), ["-t", "--json"], true),
        (&good, ["--reload-check", "--json"], true),
        ("root = '/no/such \"root\"'\n\"\\u0007\" = 1", ["-t", "--json"], false),
    ] {
        let outcome = run(&files(&site, text, &[]), &flags);
        assert_eq!(outcome.code, Some(i32::from(!is_ok)), "{}", outcome.stderr);
        assert_eq!(outcome.stdout.lines().count(), 1);
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
        assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(report["ok"], is_ok);
        let findings = report["findings"].as_array().expect("a list");
        assert!(!findings.is_empty());
        for finding in findings {
            let level = finding["level"].as_str().expect("a text");
            assert!(["ok", "note", "warning", "error"].contains(&level), "{finding}");
            assert!(finding["topic"].is_string() && finding["what"].is_string(), "{finding}");
            assert!(finding["remedy"].is_string() || finding["remedy"].is_null(), "{finding}");
        }
        assert_eq!(findings.iter().all(|finding| finding["level"] != "error"), is_ok, "{report}");
    }
}

/// The completions of shells are those of the options; manual pages and sample have the same test beside their source.
#[test]
fn completions_are_up_to_date() {
    use clap::CommandFactory;
    use clap_complete::Shell;
    for (name, shell) in
        [("otus-httpd.bash", Shell::Bash), ("_otus-httpd", Shell::Zsh), ("otus-httpd.fish", Shell::Fish)]
    {
        let mut made = Vec::new();
        clap_complete::generate(shell, &mut otus_httpd::cli::Args::command(), "otus-httpd", &mut made);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions").join(name);
        let packaged = std::fs::read(path).expect("it is packaged");
        assert!(made == packaged, "packaging/completions/{name} is old; run `cargo run --example generate`");
    }
}

/// The sample is served as it comes.
#[test]
fn the_sample_can_be_started_with() {
    let site = Site::new();
    site.file("index.html", "hello");
    let sample = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/etc/otus-httpd.conf"));
    let root = site.root().display().to_string();
    let log = site.outside().join("access.log").display().to_string();
    let text = sample.expect("it is packaged").replace("/var/www/html", &root);
    let text = text.replace("/var/log/otus-httpd/access.log", &log).replace("/run/otus-httpd", &root);
    let server = Setup::flags(["-a", "127.0.0.1:0", "-w", "1"]).config_text(text).start();
    assert_eq!(server.get("/").content, b"hello");
}
