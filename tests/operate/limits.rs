//! Limits of connections, requests, field lines and rates.
//!
//! Invariant: whoever is turned away is told so, and when to come again.

use super::metrics::Metrics;
use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Client, Method, Response, Site, eventually};
use rustix::process::Signal;
use std::time::{Duration, Instant};

fn site() -> Site {
    let site = Site::new();
    site.file("a.txt", "a");
    site.sparse("large.bin", 16 << 20);
    site
}

fn seconds_to_wait(response: &Response) -> u32 {
    let field = response.field("Retry-After").and_then(|value| value.parse().ok());
    field.unwrap_or_else(|| panic!("no Retry-After: {:?}", response.fields))
}

/// A client that was turned away: it need not have asked for anything.
fn check_turned_away(mut client: Client, status: u16) {
    let response = client.answer(Method::Get);
    assert_eq!((response.status, response.closes()), (status, true));
    assert!(seconds_to_wait(&response) > 0);
    client.expect_end("turned away");
}

#[test]
fn the_longest_idle_connection_makes_room() {
    let site = site();
    let server = Setup::root(&site.root()).set("workers", 1).set("max_connections", 3).start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/a.txt").status, 200));
    let mut newcomer = server.client();
    assert_eq!(newcomer.get("/a.txt").status, 200);
    clients.remove(0).expect_end("it was idle for longest");
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").status, 200, "one was enough");
    }
}

#[test]
fn with_nobody_idle_the_newcomer_is_told_to_come_again() {
    let site = site();
    let server = Setup::root(&site.root()).set("workers", 1).set("max_connections", 3).start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        client.take_some(1);
    }
    for _ in 0..20 {
        check_turned_away(server.client(), 503);
    }
    for client in &mut clients {
        let response = client.answer(Method::Get);
        assert_eq!((response.status, response.content.len()), (200, 16 << 20), "what is in flight is not touched");
    }
    assert_eq!(server.get("/a.txt").status, 200, "now they are idle");
    assert_eq!(server.log().matches("as many as `max_connections` allows").count(), 1, "{}", server.log());
}

#[test]
fn a_client_has_as_many_connections_as_it_may() {
    let site = site();
    let socket = site.outside().join("s");
    let server = Setup::configured(format!(
        "max_connections_per_client = 2\nroot = '{}'\nlisten = ['127.0.0.1:0', 'unix:{}']\n",
        site.root().display(),
        socket.display()
    ))
    .start();
    let mut first = server.client();
    let mut second = server.client();
    assert_eq!((first.get("/a.txt").status, second.get("/a.txt").status), (200, 200));
    for _ in 0..4 {
        check_turned_away(server.client(), 429);
    }
    assert_eq!(second.get("/a.txt").status, 200, "those who are in stay in");
    let mut local: Vec<Client> = (0..4).map(|_| Client::connect_unix(&socket)).collect();
    assert!(local.iter_mut().all(|client| client.get("/a.txt").status == 200), "nobody knows who they are");
    drop(first);
    eventually("room for another", || {
        let mut third = server.client();
        third.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
            && third.receive(Method::Get).is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn behind_a_proxy_the_client_that_it_names_is_counted() {
    let site = site();
    let socket = site.outside().join("admin.sock");
    let server = Setup::configured(format!(
        "max_connections_per_client = 2\nroot = '{}'\nlisten = ['127.0.0.1:0 proxy_protocol']\nreal_ip_from = ['127.0.0.1']\n\
         admin = {{ listen = 'unix:{}' }}\n",
        site.root().display(),
        socket.display()
    ))
    .start();
    let come = |address: &str| {
        let mut client = server.client();
        client.send(format!("PROXY TCP4 {address} 127.0.0.1 1 80\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"));
        let status = client.answer(Method::Get).status;
        (client, status)
    };
    let kept: Vec<_> = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"].map(come).into();
    assert!(kept.iter().all(|(_, status)| *status == 200));
    assert_eq!(come("192.0.2.1").1, 429);
    assert_eq!(come("192.0.2.3").1, 200);
    let closed = |reason: &str| Metrics::of(&socket).count("otus_httpd_connections_closed_total", reason);
    eventually("the end of one that was refused", || closed("reason=\"refused\"") == 1);
}

#[test]
fn a_connection_ends_after_its_last_request() {
    let site = site();
    let server = Setup::root(&site.root()).set("keepalive_requests", 3).start();
    for _ in 0..2 {
        let mut client = server.client();
        let closes: Vec<bool> = (0..3).map(|_| client.get("/a.txt").closes()).collect();
        assert_eq!(closes, [false, false, true]);
        client.expect_end("it was the last");
    }
    // What was pipelined behind it is not answered.
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    let closes: Vec<bool> = (0..3).map(|_| client.answer(Method::Get).closes()).collect();
    assert_eq!(closes, [false, false, true]);
    client.expect_end("it was the last");
}

#[test]
fn field_lines_are_counted() {
    let site = site();
    let server = Setup::root(&site.root()).set("fields_max", 5).start();
    for (lines, status) in [(4, 200), (5, 431), (50, 431)] {
        // Host is one more.
        let fields: String = (0..lines).map(|number| format!("X-{number}: y\r\n")).collect();
        assert_eq!(server.client().ask(Method::Get, "/a.txt", &fields).status, status, "{lines}");
    }
}

/// A rate can only be exceeded by a server that is too quick: however slow the machine, the time is a lower bound.
#[test]
fn content_is_sent_at_its_rate() {
    const RATE: usize = 200_000;
    const AFTER: usize = 100_000;
    let site = Site::new();
    let contents = [("held.txt", 60_000), ("shared.bin", 350_000), ("disk.bin", 1_500_000)]
        .map(|(name, length)| (name, site.pattern(name, length)));
    let server = Setup::configured(format!(
        "root = '{}'\nlisten = ['127.0.0.1:0']\ncache_file_size_max = '1m'\nlimit_rate = '{RATE}/s'\nlimit_rate_after = {AFTER}\n\
         [[location]]\npath = '/held.txt'\nlimit_rate_after = 0\n",
        site.root().display()
    ))
    .start();
    std::thread::scope(|scope| {
        for (name, content) in &contents {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for range in [0..content.len(), content.len() / 2..content.len() / 2 + 100] {
                    let begun = Instant::now();
                    let lines = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
                    let response = client.ask(Method::Get, &format!("/{name}"), &lines);
                    let elapsed = begun.elapsed();
                    assert_eq!(response.status, 206, "{name}");
                    assert!(response.content == content[range.clone()], "{name} {range:?}");
                    let after = if *name == "held.txt" { 0 } else { AFTER };
                    // An eighth of a second's worth goes at once.
                    let paced = range.len().saturating_sub(after + RATE / 8);
                    let least = Duration::from_secs_f64(paced as f64 / RATE as f64);
                    assert!(elapsed >= least, "{name}: {elapsed:?} is too quick: {least:?}");
                }
                let parts = client.ask(Method::Get, &format!("/{name}"), "Range: bytes=0-9,100-109\r\n");
                assert_eq!(parts.status, 206, "{name}");
            });
        }
    });
}

/// What has no content is not paced: at this rate, a file would take hours.
#[test]
fn answers_without_content_are_not_paced() {
    let site = site();
    let modified = 784_111_777;
    crate::harness::site::set_modified(&site.path("large.bin"), modified);
    let server = Setup::root(&site.root()).set("limit_rate", 100).start();
    let mut client = server.client();
    assert_eq!(client.ask(Method::Head, "/large.bin", "").status, 200);
    assert_eq!(client.ask(Method::Get, "/large.bin", "If-None-Match: *\r\n").status, 304);
    assert_eq!(client.get("/missing").status, 404);
    let mut paced: Vec<Client> = (0..50)
        .map(|_| {
            let mut client = server.client();
            client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    paced.iter_mut().for_each(|client| client.take_some(1));
    assert_eq!(client.get("/a.txt").content, b"a", "those who wait for their time keep nobody waiting");
}

#[test]
fn requests_are_let_through_at_a_rate() {
    let site = site();
    let server = Setup::configured(format!(
        "root = '{}'\nlisten = ['127.0.0.1:0']\nreal_ip_from = ['127.0.0.1']\nlimit_requests = {{ rate = '2/h', burst = 5 }}\n\
         error_page = {{ 429 = '/slow-down.txt' }}\n\
         [[location]]\npath = '/free/'\nlimit_requests = 'off'\n\
         [[location]]\npath = '/own/'\nlimit_requests = {{ rate = '1/h', burst = 1 }}\n",
        site.root().display()
    ))
    .start();
    site.file("free/a.txt", "free");
    site.file("own/a.txt", "own");
    site.file("slow-down.txt", "slow down");
    // Connections of their own come to both workers.
    let get = |target: &str, client: &str| {
        server.client().ask(Method::Get, target, &format!("X-Forwarded-For: {client}\r\n"))
    };
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8:1:2::1"] {
        let answers: Vec<_> = (0..20).map(|_| get("/a.txt", client)).collect();
        let statuses: Vec<_> = answers.iter().map(|response| response.status).collect();
        assert_eq!(statuses, [[200; 5].as_slice(), &[429; 15]].concat(), "{client}");
        let last = answers.last().expect("there are twenty");
        // One request each half an hour: the next may come when the oldest is that long ago.
        let seconds = seconds_to_wait(last);
        assert!((1700..=1800).contains(&seconds), "{seconds}");
        assert_eq!((last.content.as_slice(), last.closes()), (&b"slow down"[..], false));
        assert_eq!(get("/free/a.txt", client).status, 200);
        assert_eq!([get("/own/a.txt", client).status, get("/own/a.txt", client).status], [200, 429]);
    }
    assert_eq!(get("/a.txt", "2001:db8:1:2:ffff::1").status, 429, "an IPv6 client has a network of 64 bits");
    assert_eq!(get("/a.txt", "2001:db8:1:3::1").status, 200);
}

/// What was counted stays counted, and a limit that changed holds from then on.
#[test]
fn a_reload_forgets_nothing_that_stays() {
    let site = site();
    let file = site.outside().join("limits.conf");
    let text = |more: &str| {
        let root = site.root().display().to_string();
        format!("workers = 2\ndrain_timeout = 1\nlisten = ['127.0.0.1:0']\nroot = '{root}'\n{more}\n")
    };
    let limit = "limit_requests = { rate = '1/h', burst = 3 }";
    write(&file, text(limit));
    let server = Setup::flags([""; 0]).config_file(&file).start();
    let statuses = || (0..4).map(|_| server.get("/a.txt").status).collect::<Vec<_>>();
    assert_eq!(statuses(), [200, 200, 200, 429]);
    let reload = |number: usize, more: &str| {
        write(&file, text(more));
        server.signal(Signal::HUP);
        eventually("the reload", || server.log().matches("reloaded in").count() == number);
    };
    let mut before = server.client();
    assert_eq!(before.get("/a.txt").status, 429);
    reload(1, &format!("{limit}\nmax_connections_per_client = 1\nnosniff = true"));
    assert_eq!(before.get("/a.txt").status, 429, "the limit is the same");
    // Who was in before is not counted; the next one is the first.
    let mut first = server.client();
    assert_eq!(first.get("/a.txt").status, 429);
    check_turned_away(server.client(), 429);
    drop(first);
    reload(2, "limit_requests = { rate = '1/h', burst = 2 }");
    assert_eq!(statuses(), [200, 200, 429, 429], "another limit counts anew");
}
