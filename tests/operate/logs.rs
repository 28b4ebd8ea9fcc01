//! What logs say, and where they say it.

use crate::harness::server::{Server, Setup};
use crate::harness::{Client, HANG, Method, Site, eventually, holds_within};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server for `site` with these lines in front of its configuration.
fn setup(site: &Site, config: &str) -> Setup {
    let root = site.root();
    Setup::configured(format!("root = '{}'\nlisten = ['127.0.0.1:0']\n{config}", root.display()))
}

fn log_path(site: &Site, name: &str) -> PathBuf {
    site.outside().join(name)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Waits until the file has this many lines, and gives them.
fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in {}", path.display()), || text(path).lines().count() >= count);
    let text = text(path);
    assert!(text.ends_with('\n'), "{text}");
    assert_eq!(text.lines().count(), count, "{text}");
    text.lines().map(str::to_owned).collect()
}

/// Each row: a request, and the line that a template makes of it.
#[test]
fn a_line_says_what_was_asked_and_answered() {
    let site = Site::new();
    site.file("a.html", "hello");
    site.file("dir/index.html", "index");
    let path = log_path(&site, "access.log");
    let template = "$remote_addr|$remote_user|$request|$status|$body_bytes_sent|$http_referer|$http_user_agent|$host|\
                    $sent_http_content_type|$cache_status|$completion";
    let server = setup(&site, &format!("access_log = {{ to = '{}', format = '{template}' }}", path.display())).start();
    let all: &[(&[u8], &str)] = &[
        (
            b"GET /a.html HTTP/1.1\r\nHost: A.example:80\r\nUser-Agent: x/1\r\nReferer: http://r/\r\n\r\n",
            "127.0.0.1|-|GET /a.html HTTP/1.1|200|5|http://r/|x/1|a.example|text/html|MISS|OK",
        ),
        (b"HEAD /a.html HTTP/1.0\r\n\r\n", "127.0.0.1|-|HEAD /a.html HTTP/1.0|200|0|-|-|-|text/html|HIT|OK"),
        (b"GET /dir?q HTTP/1.1\r\nHost: h\r\n\r\n", "127.0.0.1|-|GET /dir?q HTTP/1.1|301|-1|-|-|h|text/html|-|OK"),
        (
            b"GET /no HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YW5uOng=\r\n\r\n",
            "127.0.0.1|ann|GET /no HTTP/1.1|404|-1|-|-|h|text/html|-|OK",
        ),
        (
            b"GET /a.html HTTP/1.1\r\nHost: h\r\nRange: bytes=1-2\r\n\r\n",
            "127.0.0.1|-|GET /a.html HTTP/1.1|206|2|-|-|h|text/html|HIT|OK",
        ),
        // Values that would end the line, or a value, where they could.
        (
            b"GET /\"\xc3\xa9 HTTP/1.1\r\nHost: h\r\nUser-Agent: a\"\\\tb\xff\r\nReferer: x\" 200 - \"y\r\n\r\n",
            "127.0.0.1|-|GET /\\x22\\xC3\\xA9 HTTP/1.1|404|-1|x\\x22 200 - \\x22y|a\\x22\\x5C\\x09b\\xFF|h|\
             text/html|-|OK",
        ),
        (b"\x16\x03\x01\"\x00\r\n\r\n", "127.0.0.1|-|\\x16\\x03\\x01\\x22\\x00|400|-1|-|-|-|text/html|-|OK"),
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", "127.0.0.1|-|POST / HTTP/1.1|405|-1|-|-|h|text/html|-|OK"),
    ];
    // One after another: the first of the requests for a file is the one that reads it. The same worker answers all that
    // leave their connection open.
    for (number, (bytes, _)) in all.iter().enumerate() {
        let mut client = server.client();
        client.send(bytes);
        client.finish();
        let _ = client.rest();
        eventually("its line", || text(&path).lines().count() > number);
    }
    for (line, (bytes, expected)) in lines(&path, all.len()).iter().zip(all) {
        let parts = |line: &str| line.split('|').map(str::to_owned).collect::<Vec<_>>();
        let (got, mut expected) = (parts(line), parts(expected));
        assert_eq!(got.len(), expected.len(), "{line}");
        if expected[4] == "-1" {
            // The length of a text of the server's own is no promise.
            expected[4].clone_from(&got[4]);
            assert!(got[4].parse::<u32>().is_ok_and(|bytes| bytes > 0), "{line}");
        }
        // Either worker may answer, and each reads a file once.
        if expected[9] == "HIT" {
            expected[9].clone_from(&got[9]);
            assert!(["HIT", "MISS"].contains(&got[9].as_str()), "{line}");
        }
        assert_eq!(got[3..], expected[3..], "{}", bytes.escape_ascii());
        assert_eq!(got[..3], expected[..3], "{}", bytes.escape_ascii());
    }
}

#[test]
fn formats_have_their_well_known_form() {
    let site = Site::new();
    site.file("a.txt", "12345");
    let (combined, common, json) = (log_path(&site, "combined"), log_path(&site, "common"), log_path(&site, "json"));
    let config = format!(
        "access_log = ['{}', {{ to = '{}', format = 'common' }}, {{ to = '{}', format = 'json' }}]",
        combined.display(),
        common.display(),
        json.display()
    );
    let server = setup(&site, &config).start();
    let mut client = server.client();
    client.ask(Method::Get, "/a.txt", "User-Agent: a\"b\\c\u{e9}\r\nReferer: /\r\n");
    let line = &lines(&combined, 1)[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"GET /a.txt HTTP/1.1\" 200 5 \"/\" \"a\\x22b\\x5Cc\\xC3\\xA9\""), "{line}");
    let line = &lines(&common, 1)[0];
    assert!(line.ends_with("] \"GET /a.txt HTTP/1.1\" 200 5"), "{line}");
    let line = &lines(&json, 1)[0];
    // What TOML calls an inline table is, between quotes and braces, close enough to JSON to be judged by a strict parser.
    let table: toml::Table = toml::from_str(&format!("line = {}", line.replace("\":", "\"="))).expect(line);
    let line = table["line"].as_table().expect("an object");
    assert_eq!(line["status"].as_integer(), Some(200));
    assert_eq!(line["body_bytes_sent"].as_integer(), Some(5));
    assert_eq!(line["user_agent"].as_str(), Some("a\"b\\c\u{e9}"));
    assert_eq!(line["request_id"].as_str().map(str::len), Some(32));
    assert_eq!(line["remote_user"].as_str(), Some(""));
}

#[test]
fn each_place_has_its_own_log() {
    let site = Site::new();
    for name in ["a", "quiet/a", "picked/a"] {
        site.file(name, "x");
    }
    let (top, picked, errors) = (log_path(&site, "top"), log_path(&site, "picked"), log_path(&site, "errors"));
    let config = format!(
        "access_log = {{ to = '{}', format = '$server_name $uri' }}\n\
         [[location]]\npath = '/quiet/'\naccess_log = 'off'\n\
         [[location]]\npath = '/picked/'\naccess_log = [{{ to = '{}', format = '$uri $status', sample = 3 }}, \
         {{ to = '{}', format = '$uri $status', only = 'errors' }}]\n\
         [[site]]\nserver_name = ['one.example', 'www.one.example']\n[[site]]\nserver_name = 'two.example'\n",
        top.display(),
        picked.display(),
        errors.display()
    );
    // One worker: each counts its own samples.
    let server = setup(&site, &config).flag("-w").flag("1").start();
    let mut one = server.client().host("www.one.example");
    let mut two = server.client().host("two.example");
    for target in ["/a", "/quiet/a", "/quiet/missing"] {
        one.get(target);
        two.get(target);
    }
    for _ in 0..6 {
        two.get("/picked/a");
    }
    two.get("/picked/missing");
    assert_eq!(lines(&picked, 3), ["/picked/a 200", "/picked/a 200", "/picked/missing 404"]);
    assert_eq!(lines(&errors, 1), ["/picked/missing 404"]);
    assert_eq!(lines(&top, 2), ["one.example /a", "two.example /a"]);
}

#[test]
fn a_transfer_is_told_at_its_end() {
    let site = Site::new();
    let length = 24 << 20;
    site.sparse("large.bin", length);
    site.pattern("shared.bin", 200_000);
    let path = log_path(&site, "access.log");
    let format = "$uri $status $body_bytes_sent $completion $cache_status $request_time";
    let server = setup(&site, &format!("access_log = {{ to = '{}', format = '{format}' }}", path.display())).start();
    assert_eq!(server.get("/large.bin").content.len() as u64, length);
    assert_eq!(server.get("/shared.bin").content.len(), 200_000);
    // Each worker hands its lines over in its own time.
    let mut told = lines(&path, 2);
    told.sort();
    assert!(told[0].starts_with(&format!("/large.bin 200 {length} OK MISS ")), "{told:?}");
    assert!(told[1].starts_with("/shared.bin 200 200000 OK MISS "), "{told:?}");
    let mut client = server.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
    client.take_some(1000);
    drop(client);
    let told = lines(&path, 3);
    let line = told.iter().find(|line| line.contains(" cut ")).expect("one that was cut");
    let words: Vec<_> = line.split(' ').collect();
    let sent: u64 = words[2].parse().expect("a number");
    assert!(words[3] == "cut" && sent < length && sent >= 1000, "{line}");
}

#[test]
fn standard_output_takes_lines() {
    let site = Site::new();
    let server = setup(&site, "access_log = { to = 'stdout', format = 'told $uri $status' }").start();
    server.get("/x");
    eventually("a line on standard output", || server.announcements().contains(&"told /x 404".to_owned()));
}

/// A socket of the test's own in the place of a daemon's.
fn daemon(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("a socket can be bound");
    socket.set_read_timeout(Some(HANG)).expect("an open socket");
    socket
}

fn datagram(socket: &UnixDatagram) -> String {
    let mut buffer = vec![0; 64 * 1024];
    let count = socket.recv(&mut buffer).expect("a datagram comes");
    String::from_utf8(buffer[..count].to_vec()).expect("text")
}

#[test]
fn daemons_take_lines() {
    let site = Site::new();
    let (syslog, journald) = (log_path(&site, "syslog.sock"), log_path(&site, "journald.sock"));
    let (from_syslog, from_journald) = (daemon(&syslog), daemon(&journald));
    let config = format!(
        "access_log = [{{ to = 'syslog:{}', format = '$uri \"$http_user_agent\"' }}, {{ to = 'journald:{}', format = '$uri' }}]\n\
         error_log = 'journald:{}'\nlog_level = 'debug'",
        syslog.display(),
        journald.display(),
        journald.display()
    );
    let server = setup(&site, &config).start();
    server.client().ask(Method::Get, "/x", "User-Agent: a\"b\r\n");
    let line = datagram(&from_syslog);
    let (header, message) = line.split_once(" - ").expect("a header and a message");
    assert_eq!(message, "/x \"a\\x22b\"");
    let words: Vec<_> = header.split(' ').collect();
    assert_eq!((words[0], words[3], words[5]), ("<134>1", "otus-httpd", "access"), "{line}");
    assert_eq!(words[4].parse(), Ok(server.pid().as_raw_nonzero().get()), "{line}");
    let (mut told, mut refused) = (false, false);
    while !(told && refused) {
        let entry = datagram(&from_journald);
        assert!(entry.contains("\nSYSLOG_IDENTIFIER=otus-httpd\n"), "{entry}");
        told |= entry.starts_with("MESSAGE=/x\nPRIORITY=6\n") && entry.contains("\nOTUS_HTTPD_LOG=access\n");
        refused |= entry.starts_with("MESSAGE=not found path=/x reason=\"not_found\"\nPRIORITY=7\n")
            && entry.contains("\nOTUS_HTTPD_PATH=/x\n")
            && entry.contains("\nOTUS_HTTPD_TARGET=otus_httpd::site::find\n");
    }
    // A daemon that was started anew has another socket of the same name.
    drop(from_syslog);
    std::fs::remove_file(&syslog).expect("it is ours");
    let from_syslog = daemon(&syslog);
    from_syslog.set_read_timeout(Some(Duration::from_millis(100))).expect("an open socket");
    let mut buffer = [0; 1024];
    let came = holds_within(HANG, || {
        server.get("/y");
        from_syslog.recv(&mut buffer).is_ok()
    });
    assert!(came, "the new daemon is told nothing");
}

#[test]
fn the_error_log_is_where_it_should_be_and_has_reasons() {
    let site = Site::new();
    site.file(".hidden", "x");
    site.file("closed/a", "x");
    site.link("out", "/etc/passwd");
    let path = log_path(&site, "error.log");
    let config = format!(
        "error_log = '{}'\nlog_level = 'debug'\n[[location]]\npath = '/closed/'\nallow = ['10.0.0.0/8']",
        path.display()
    );
    let server = setup(&site, &config).start();
    for target in ["/.hidden", "/closed/a", "/out", "/a%0Ab", "/%zz"] {
        server.get(target);
    }
    for (told, level) in [
        ("path=/.hidden reason=\"hidden\"", " DEBUG "),
        ("path=/closed/a client=Some(127.0.0.1) reason=\"address\"", " DEBUG "),
        ("path=/out reason=\"symlink_outside\"", "  WARN "),
        ("path=/a\\nb reason=\"not_found\"", " DEBUG "),
        ("reason=\"bad_target\"", " DEBUG "),
        ("reason=\"by_peer\"", " DEBUG "),
    ] {
        let is_told = || text(&path).lines().any(|line| line.contains(told) && line.contains(level));
        assert!(holds_within(HANG, is_told), "{told}:\n{}", text(&path));
    }
    assert_eq!(server.log(), "", "nothing is told on standard error any more");
    drop(server);
    assert!(text(&path).contains("stopped"), "the last words are written: {}", text(&path));
}

#[test]
fn a_level_tells_what_is_grave_enough() {
    let site = Site::new();
    for (level, starts, refuses) in [("error", false, false), ("info", true, false), ("debug", true, true)] {
        let path = log_path(&site, level);
        let config = format!("error_log = '{}'\nlog_level = '{level}'", path.display());
        let server = setup(&site, &config).start();
        server.get("/missing");
        drop(server);
        let text = text(&path);
        assert_eq!((text.contains("stopping"), text.contains("not_found")), (starts, refuses), "{level}: {text}");
    }
}

/// What is wrong with a log is one line before anything is served; a check makes no file.
#[test]
fn a_log_that_cannot_be_is_an_error_of_the_start() {
    let site = Site::new();
    let good = log_path(&site, "good.log");
    for (config, named) in [
        ("access_log = '/no/such/directory/a.log'", "/no/such/directory/a.log cannot be opened"),
        ("error_log = '/tmp'", "/tmp cannot be opened"),
        ("access_log = 'syslog:/no/such/socket'", "syslog:/no/such/socket cannot be opened"),
        ("access_log = 'a.log'", "a path that begins with a slash"),
        ("access_log = { format = 'json' }", "`to` is missing"),
        ("access_log = { to = 'stdout', format = '$statsu' }", "did you mean `status`?"),
        ("access_log = { to = 'stdout', format = 'combnied' }", "did you mean `combined`?"),
        ("access_log = { to = 'stdout', sample = 0 }", "sample"),
        ("access_log = { to = 'stdout', only = 'some' }", "\"errors\""),
        ("error_log = 'off'", "cannot be off"),
        ("log_level = 'verbose'", "log_level"),
    ] {
        for flags in [&["-t"][..], &[]] {
            let setup = flags.iter().fold(setup(&site, config), |setup, flag| setup.flag(flag));
            let outcome = setup.outcome();
            assert_eq!(outcome.code, Some(1), "{config}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(named), "{config}: {}", outcome.stderr);
        }
    }
    let outcome = setup(&site, &format!("access_log = '{}'", good.display())).flag("-t").outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(!good.exists(), "a check makes nothing");
}

/// One that says nothing is told too.
#[test]
fn a_head_that_does_not_come_is_logged() {
    let site = Site::new();
    let path = log_path(&site, "access.log");
    let config = format!("read_timeout = 1\naccess_log = {{ to = '{}', format = '$status $request' }}", path.display());
    let server: Server = setup(&site, &config).start();
    let mut client = Client::connect(server.address());
    client.send("GET /slow HTTP/1.1\r\nHo");
    assert_eq!(client.answer(Method::Get).status, 408);
    assert_eq!(lines(&path, 1), ["408 GET /slow HTTP/1.1"]);
}

/// Every reason that a message can have is explained to those who read it.
#[test]
fn reasons_are_documented() {
    let document = include_str!("../../docs/logging.md");
    let mut found = 0;
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("the source is there").flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
                continue;
            }
            let source = text(&entry.path());
            for (at, start) in source.match_indices("reason = \"") {
                let reason = source[at + start.len()..].split('"').next().unwrap_or_default();
                if reason.contains(' ') {
                    // That of an attribute.
                    continue;
                }
                assert!(document.contains(&format!("`{reason}`")), "{}: {reason}", entry.path().display());
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}
