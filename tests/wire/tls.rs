//! TLS as its peers see it: the handshake, and that everything else is as without it.
//!
//! Invariant: what a client of TLS reads is what one without reads, and whoever does not speak it costs nothing and learns why.

use crate::harness::server::Setup;
use crate::harness::tls::Pair;
use crate::harness::{Client, Fault, Method, Random, Server, Site, eventually};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "test.example";

const VERSIONS: [(&SupportedProtocolVersion, ProtocolVersion); 2] =
    [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)];

/// A server with TLS, and what its clients need.
struct Scene {
    server: Server,
    pair: Pair,
    _site: Site,
}

impl Scene {
    fn new(site: Site, more: &str) -> Scene {
        Scene::with(site, &format!("drain_timeout = 1\n{more}"))
    }

    fn with(site: Site, more: &str) -> Scene {
        let pair = Pair::new(&site, &[NAME]);
        let text = format!("listen = '127.0.0.1:0 tls'\nroot = '{}'\n{more}\n{}", site.root().display(), pair.table());
        Scene { server: Setup::flags([""; 0]).config_text(format!("workers = 2\n{text}")).start(), pair, _site: site }
    }

    fn config(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        Arc::new(self.pair.client(&[version]))
    }

    fn client(&self) -> Client {
        self.server.client().secure(&self.config(&TLS13), NAME).expect("a handshake")
    }
}

/// Content from each of the places that it may come from.
fn site() -> (Site, Vec<(&'static str, Vec<u8>)>) {
    let site = Site::new();
    let files = [("small.txt", 9), ("medium.bin", 40_000), ("shared.bin", 900_000), ("large.bin", (5 << 20) + 3)];
    let files = files.map(|(name, length)| (name, site.pattern(name, length)));
    (site, files.into())
}

const SIZES: &str = "cache_file_size_max = '1m'";

#[test]
fn every_content_arrives_whole_over_every_version() {
    let (site, files) = site();
    let scene = Scene::new(site, SIZES);
    for (version, expected) in VERSIONS {
        let config = scene.config(version);
        for client in [scene.server.client(), scene.server.client().dripping()] {
            let mut client = client.secure(&config, NAME).expect("a handshake");
            assert_eq!(client.tls().protocol_version(), Some(expected));
            for (name, content) in &files {
                // The second time it may come from another place.
                for _ in 0..2 {
                    let response = client.get(&format!("/{name}"));
                    assert_eq!((response.status, response.content == *content), (200, true), "{expected:?} {name}");
                    assert!(!response.closes());
                }
                let (length, lines) = (content.len(), "Range: bytes=1-7\r\n");
                let response = client.ask(Method::Get, &format!("/{name}"), lines);
                assert_eq!(response.field("Content-Range"), Some(&*format!("bytes 1-7/{length}")));
                assert_eq!(response.content, content[1..8]);
            }
        }
    }
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let (site, files) = site();
    let scene = Scene::new(site, SIZES);
    let mut client = scene.client();
    let ask = |(name, _): &(&str, Vec<u8>)| format!("GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all: String = files.iter().chain(&files).map(ask).collect();
    client.send(all);
    for (name, content) in files.iter().chain(&files) {
        assert!(client.answer(Method::Get).content == *content, "{name}");
    }
}

/// RFC 8446 §6.1: each end is announced, so that nobody takes a cut for one.
#[test]
fn every_orderly_end_is_announced() {
    let (site, _) = site();
    let mut scene = Scene::new(site, "keepalive_timeout = 2\nread_timeout = 2");
    let mut last = scene.client();
    assert!(last.ask(Method::Get, "/small.txt", "Connection: close\r\n").closes());
    last.expect_end("the last answer");
    let mut idle = scene.client();
    idle.get("/small.txt");
    idle.expect_end("idle");
    let mut silent = scene.client();
    silent.expect_end("no request");
    let mut slow = scene.client();
    slow.send("GET /small.txt HTT");
    assert_eq!(slow.receive(Method::Get).expect("it is told why").status, 408);
    slow.expect_end("half a head");
    let mut draining = scene.client();
    draining.get("/small.txt");
    scene.server.signal(rustix::process::Signal::TERM);
    draining.expect_end("the server stops");
    eventually("the end", || scene.server.exited().is_some());
}

/// What was promised before the stop is sent whole.
#[test]
fn a_stop_cuts_nothing() {
    let (site, files) = site();
    let scene = Scene::with(site, "cache_file_size_max = '1m'\ndrain_timeout = 20");
    let (name, content) = &files[3];
    let mut client = scene.client();
    client.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.take_some(100_000);
    scene.server.signal(rustix::process::Signal::TERM);
    assert!(client.answer(Method::Get).content == *content);
    client.expect_end("the server stops");
}

/// Some clients say that they will send nothing more as soon as they have asked (RFC 8446 §6.1). Those words lay unread when the server
/// closed, which made a reset of it that took away the end of the answer.
#[test]
fn a_client_that_says_goodbye_when_it_has_asked_has_the_whole_answer() {
    let (site, files) = site();
    let scene = Scene::new(site, SIZES);
    for (name, content) in &files {
        let mut client = scene.client();
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        client.take_some(1);
        client.tls().send_close_notify();
        client.send_records().expect("the connection is open");
        // Until the server has put all of it into its socket, and is done.
        std::thread::sleep(Duration::from_millis(300));
        assert!(client.answer(Method::Get).content == *content, "{name}");
    }
}

/// RFC 8446 §6.1 lets a client close without a word, and most do; no answer depends on it.
#[test]
fn a_client_that_leaves_without_a_word_is_no_error() {
    let (site, _) = site();
    let scene = Scene::new(site, "log_level = 'debug'");
    let mut client = scene.client();
    client.get("/small.txt");
    drop(client);
    eventually("the end of it", || scene.server.log().contains("reason=\"by_peer\""));
    assert!(!scene.server.log().contains("ERROR") && !scene.server.log().contains("WARN"), "{}", scene.server.log());
}

#[test]
fn a_request_without_tls_is_told_so() {
    let (site, _) = site();
    let scene = Scene::new(site, "");
    for method in ["GET", "HEAD", "POST", "OPTIONS", "PRI"] {
        let mut client = scene.server.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.answer(Method::Get);
        assert_eq!(response.status, 400, "{method}");
        let text = String::from_utf8(response.content).expect("text");
        assert!(text.contains("This port speaks HTTPS"), "{text}");
        client.expect_end(method);
    }
}

/// Neither TLS nor HTTP: nothing is said, and nothing is waited for.
#[test]
fn garbage_ends_at_once() {
    let (site, _) = site();
    let scene = Scene::new(site, "read_timeout = 3600");
    for garbage in
        [&b"\0"[..], b"\x15\x03\x01\0\x02\x02\x28", b"\x80\x2e\x01\0\x02", b"ssh-2.0", b" GET / HTTP/1.1\r\n"]
    {
        let mut client = scene.server.client();
        client.send(garbage);
        match client.rest() {
            Ok(rest) => assert!(rest.is_empty(), "{}: {}", garbage.escape_ascii(), rest.escape_ascii()),
            Err(Fault::Reset) => {}
            Err(fault) => panic!("{}: {fault:?}", garbage.escape_ascii()),
        }
    }
}

/// A record that begins as one of a handshake, and is none: an alert says so (RFC 8446 §6.2).
#[test]
fn a_broken_handshake_is_answered_by_an_alert() {
    let (site, _) = site();
    let scene = Scene::new(site, "");
    for (what, broken) in [
        ("no ClientHello", &b"\x16\x03\x01\0\x04\x02\0\0\0"[..]),
        ("a ClientHello that ends too early", b"\x16\x03\x01\0\x05\x01\0\0\x01\0"),
    ] {
        let mut client = scene.server.client();
        client.send(broken);
        client.finish();
        let rest = client.rest().expect("a clean end");
        assert!(matches!(rest[..], [0x15, 3, _, 0, 2, 2, _]), "{what}: {}", rest.escape_ascii());
    }
}

#[test]
fn a_handshake_has_a_deadline() {
    let (site, _) = site();
    let scene = Scene::new(site, "read_timeout = 1\nkeepalive_timeout = 3600\nlog_level = 'debug'");
    let hello = client_hello(&scene);
    for length in [1, 5, 100, hello.len() - 1] {
        let mut client = scene.server.client();
        client.send(&hello[..length]);
        client.expect_end("a part of a ClientHello");
    }
    // Another that does not go on behind the server's answer.
    let mut client = scene.server.client();
    client.send(&hello);
    assert!(!client.rest().expect("a clean end").is_empty());
    eventually("five of them", || scene.server.log().matches("reason=\"handshake_timeout\"").count() == 5);
}

/// The bytes of a ClientHello.
fn client_hello(scene: &Scene) -> Vec<u8> {
    let name = NAME.try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(scene.config(&TLS13), name).expect("it can begin");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("there is room");
    hello
}

/// The workers share what makes tickets: whichever takes the next connection takes the session up.
#[test]
fn a_session_is_taken_up_by_any_worker() {
    let (site, _) = site();
    let scene = Scene::new(site, "");
    for (version, _) in VERSIONS {
        let config = scene.config(version);
        for round in 0..16 {
            let mut client = scene.server.client().secure(&config, NAME).expect("a handshake");
            // Tickets come behind the handshake.
            assert_eq!(client.get("/small.txt").status, 200);
            let expected = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(client.tls().handshake_kind(), Some(expected), "{version:?}, {round}");
        }
    }
}

#[test]
fn a_proxy_may_speak_for_clients_of_tls() {
    let (site, _) = site();
    let pair = Pair::new(&site, &[NAME]);
    let server = Setup::configured(format!(
        "listen = '127.0.0.1:0 proxy_protocol tls'\nreal_ip_from = ['127.0.0.1']\nroot = '{}'\n\
         [[location]]\npath = '/'\nallow = ['192.0.2.9']\n{}",
        site.root().display(),
        pair.table()
    ))
    .start();
    let config = Arc::new(pair.client(&[&TLS13]));
    for (address, status) in [("192.0.2.9", 200), ("192.0.2.8", 403)] {
        let mut client = server.client();
        client.send(format!("PROXY TCP4 {address} 127.0.0.1 1000 443\r\n"));
        let mut client = client.secure(&config, NAME).expect("a handshake");
        assert_eq!(client.get("/small.txt").status, status, "{address}");
    }
}

/// In its time, as one without TLS.
#[test]
fn a_client_that_takes_nothing_is_cut() {
    let site = Site::new();
    site.sparse("large.bin", 200 << 20);
    let scene = Scene::new(site, "send_timeout = 2\nlog_level = 'debug'");
    let mut client = scene.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the cut", || scene.server.log().contains("reason=\"send_timeout\""));
    assert!(matches!(client.receive(Method::Get), Err(Fault::Reset | Fault::NoGoodbye | Fault::CutContent(_))));
}

/// Records of a seeded kind of disorder: cut short, with bits turned, with bytes in between. The server answers none of them with more than an
/// alert, keeps nothing of them, and serves on.
#[test]
fn ten_thousand_broken_handshakes_leave_nothing_behind() {
    let (site, _) = site();
    let scene = Scene::new(site, "");
    let hello = client_hello(&scene);
    let mut random = Random::new(8446);
    let mut resident = 0;
    for round in 0..10_000 {
        let mut broken = hello.clone();
        match random.below(4) {
            0 => broken.truncate(1 + random.below(hello.len() - 1)),
            1 => {
                for _ in 0..=random.below(8) {
                    let at = random.below(broken.len());
                    broken[at] ^= 1 << random.below(8);
                }
            }
            2 => {
                let at = random.below(broken.len());
                broken.insert(at, random.byte());
            }
            // A whole one, with something behind it that is no answer.
            _ => broken.extend((0..=random.below(300)).map(|_| random.byte())),
        }
        let mut stream = TcpStream::connect(scene.server.address()).expect("it accepts");
        stream.set_read_timeout(Some(crate::harness::HANG)).expect("an open socket");
        // It may close before all has come.
        let _ = stream.write_all(&broken);
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("{round}: no end came"),
            _ => assert!(rest.len() < 8192, "{round}: {} bytes", rest.len()),
        }
        if round == 2000 {
            resident = scene.server.resident_bytes();
        }
    }
    let grown = scene.server.resident_bytes().saturating_sub(resident);
    assert!(grown < 2 << 20, "{grown} bytes more than after the first 2000");
    assert_eq!(scene.client().get("/small.txt").status, 200);
}
