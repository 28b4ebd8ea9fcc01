//! Codings that the server makes of files in memory (`compress`): when, of which, and that what it
//! sends is always the file as it is.
//!
//! Each server here has one worker, for what one core has made another has not.
//!
//! Invariant: an answer is decoded before it is compared, by a decoder that is not the server's
//! where the machine has one.

use super::methods::check_head;
use super::negotiation::check_representation;
use crate::harness::server::Setup;
use crate::harness::site::set_modified;
use crate::harness::{Client, Method, Random, Response, Server, Site, eventually, skipped};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

const ALL: &str = "['br', 'zstd', 'gzip']";

/// When all files here were modified, but for those that say otherwise.
const MODIFIED: u64 = 784_111_777;

fn setup(site: &Site) -> Setup {
    Setup::root(&site.root()).set("workers", 1).set("compress", ALL).set("cache_file_size_max", "'64k'")
}

/// `length` bytes of text that becomes much smaller; `seed` makes it another text.
fn text(seed: usize, length: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number| format!("let number{seed} = {number};\n").into_bytes());
    lines.take(length).collect()
}

fn add(site: &Site, name: &str, content: &[u8]) {
    set_modified(&site.file(name, content), MODIFIED);
}

/// The content of an answer, decoded.
fn decoded(response: &Response) -> Vec<u8> {
    let coded = response.content.as_slice();
    let mut plain = Vec::new();
    match response.field("Content-Encoding") {
        None => plain = coded.to_vec(),
        Some("gzip") => plain = piped(&["gzip", "-dc"], coded).expect("gzip is on every system"),
        Some("zstd") => match piped(&["zstd", "-dcq"], coded) {
            Some(decoded) => plain = decoded,
            None => plain = zstd::stream::decode_all(coded).expect("it is zstd"),
        },
        Some("br") => {
            brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain).expect("it is brotli");
        }
        Some(other) => panic!("{other} is no coding of this server"),
    }
    plain
}

/// What a program makes of `input`; none where there is no such program.
fn piped(words: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            skipped(words[0], &error.to_string());
            return None;
        }
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it is our child");
    writer.join().expect("it only writes").expect("the program reads all of it");
    assert!(output.status.success(), "{words:?}: {}", output.status);
    Some(output.stdout)
}

/// Asks until `target` comes in `coding`. Until then it comes as it is, and both times it is `content`.
fn ask_until_coded(client: &mut Client, target: &str, coding: &str, content: &[u8]) -> Response {
    let mut last = None;
    eventually(&format!("{target} in {coding}"), || {
        let response = client.ask(Method::Get, target, &format!("Accept-Encoding: {coding}\r\n"));
        assert_eq!((response.status, response.field("Vary")), (200, Some("Accept-Encoding")), "{target} {coding}");
        assert!(decoded(&response) == content, "{target} {coding}: other bytes");
        let is_coded = response.field("Content-Encoding") == Some(coding);
        assert!(is_coded || response.field("Content-Encoding").is_none(), "{target} {coding}");
        last = Some(response);
        is_coded
    });
    last.expect("it was asked for")
}

/// "the first clients are sent the file as it is while it is being compressed"; after that, length,
/// tag, conditions and ranges are those of the coding.
#[test]
fn a_file_is_compressed_when_it_is_asked_for_again() {
    let site = Site::new();
    let content = text(0, 20_000);
    add(&site, "app.js", &content);
    let server = setup(&site).start();
    let mut client = server.client();
    let first = client.ask(Method::Get, "/app.js", "Accept-Encoding: br, gzip\r\n");
    assert_eq!((first.status, first.field("Content-Encoding")), (200, None));
    assert_eq!(first.field("Vary"), Some("Accept-Encoding"));
    assert!(first.content == content);
    let mut tags = vec![first.field("ETag").expect("it has a tag").to_owned()];
    for coding in ["gzip", "zstd", "br"] {
        let response = ask_until_coded(&mut client, "/app.js", coding, &content);
        assert!(response.content.len() < content.len() / 2, "{coding}: {}", response.content.len());
        assert_eq!(response.field("Content-Type"), Some("text/javascript"), "{coding}");
        assert_eq!(response.field("Last-Modified"), first.field("Last-Modified"), "{coding}");
        tags.push(response.field("ETag").expect("it has a tag").to_owned());
        check_head(&server, "/app.js", &format!("Accept-Encoding: {coding}\r\n"), &response);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each coding has a tag of its own: {tags:?}");
    for coding in ["", "br", "zstd", "gzip"] {
        check_representation(&server, "/app.js", coding);
    }
    // All of them are there now, so that the client's wish decides.
    for (value, coding) in [
        ("*", Some("br")),
        ("gzip, zstd", Some("zstd")),
        ("br;q=0.1, gzip", Some("gzip")),
        ("identity, br;q=0.5", None),
        ("", None),
    ] {
        let response = client.ask(Method::Get, "/app.js", &format!("Accept-Encoding: {value}\r\n"));
        assert_eq!((response.status, response.field("Content-Encoding")), (200, coding), "{value}");
        assert!(decoded(&response) == content, "{value}");
    }
}

/// Which files: "textual files", "held in memory", of "512 bytes at least". A row has the status for
/// a client that takes gzip and nothing else, which waits for what can be made; 200 without a
/// coding stands for a file of which nothing is made.
#[test]
fn what_is_compressed_and_what_is_not() {
    let site = Site::new();
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..8000).map(|_| random.byte()).collect();
    for (name, content) in [
        ("text.js", text(0, 4000)),
        ("least.txt", text(0, 512)),
        ("little.txt", text(0, 511)),
        ("empty.txt", Vec::new()),
        ("picture.png", text(0, 4000)),
        ("picture.svg", text(0, 4000)),
        ("data.json", text(0, 4000)),
        ("feed.atom", text(0, 4000)),
        ("code.wasm", text(0, 4000)),
        ("archive.gz", text(0, 4000)),
        ("font.woff2", text(0, 4000)),
        ("README", text(0, 4000)),
        ("plain/README", text(0, 4000)),
        ("off/text.js", text(0, 4000)),
        ("own.mine", text(0, 4000)),
        ("fits.txt", text(0, 65_536)),
        ("large.txt", text(0, 65_537)),
        ("noise.txt", noise.clone()),
        ("gzip/noise.txt", noise.clone()),
        ("index.html", text(0, 4000)),
    ] {
        add(&site, name, &content);
    }
    let locations = "[{ path = '/plain/', default_type = 'text/plain' }, { path = '/off/', compress = [] },
        { path = '/gzip/', compress = ['gzip'] }]";
    let types = "{ mine = 'application/x-mine+json' }";
    let server = setup(&site).set("location", locations).set("types", types).start();
    let mut client = server.client();
    for (target, status, coding, varies) in [
        ("/text.js", 200, Some("gzip"), true),
        ("/", 200, Some("gzip"), true),
        ("/least.txt", 200, Some("gzip"), true),
        ("/little.txt", 200, None, false),
        ("/empty.txt", 200, None, false),
        ("/picture.png", 200, None, false),
        ("/picture.svg", 200, Some("gzip"), true),
        ("/data.json", 200, Some("gzip"), true),
        ("/feed.atom", 200, Some("gzip"), true),
        ("/code.wasm", 200, Some("gzip"), true),
        ("/archive.gz", 200, None, false),
        ("/font.woff2", 200, None, false),
        ("/README", 200, None, false),
        ("/plain/README", 200, Some("gzip"), true),
        ("/off/text.js", 200, None, false),
        ("/own.mine", 200, Some("gzip"), true),
        ("/fits.txt", 200, Some("gzip"), true),
        ("/large.txt", 200, None, false),
        // It would not become smaller: a coding that it could have, and has not
        ("/noise.txt", 406, None, true),
        ("/gzip/noise.txt", 406, None, true),
    ] {
        let lines = "Accept-Encoding: gzip, identity;q=0\r\n";
        // Whether it is made now or was made before is nobody's business.
        for round in 0..3 {
            let response = client.ask(Method::Get, target, lines);
            let context = format!("{target}, round {round}");
            assert_eq!((response.status, response.field("Content-Encoding")), (status, coding), "{context}");
            let vary = match (varies, status) {
                (true, 406) => Some("Accept-Encoding, Accept"),
                (true, _) => Some("Accept-Encoding"),
                (false, _) => None,
            };
            assert_eq!(response.field("Vary"), vary, "{context}");
            if status == 200 {
                let name = if target == "/" { "index.html" } else { &target[1..] };
                let content = std::fs::read(site.path(name)).expect("each row names a file");
                assert!(decoded(&response) == content, "{context}: other bytes");
            }
            check_head(&server, target, lines, &response);
        }
    }
    // To those who take the file as it is, noise is sent so, for ever.
    for _ in 0..3 {
        let response = client.ask(Method::Get, "/noise.txt", "Accept-Encoding: gzip\r\n");
        assert_eq!((response.status, response.field("Content-Encoding")), (200, None));
        assert_eq!(response.field("Vary"), Some("Accept-Encoding"));
        assert!(response.content == noise);
    }
}

/// A client that takes the file in no other form waits for it, however many do.
#[test]
fn who_refuses_identity_waits_for_the_coding() {
    let site = Site::new();
    let contents: Vec<_> = (0..8).map(|number| text(number, 60_000)).collect();
    for (number, content) in contents.iter().enumerate() {
        add(&site, &format!("{number}.js"), content);
    }
    let server = setup(&site).start();
    let mut clients: Vec<_> = (0..24).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let coding = ["br", "zstd", "gzip"][number % 3];
        client.send(format!(
            "GET /{}.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}, identity;q=0\r\n\r\n",
            number / 3
        ));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.answer(Method::Get);
        let coding = ["br", "zstd", "gzip"][number % 3];
        assert_eq!((response.status, response.field("Content-Encoding")), (200, Some(coding)), "{number}");
        assert!(decoded(&response) == contents[number / 3], "{number}: other bytes");
    }
}

/// More than can wait are told to come again (RFC 9110 §15.6.4), and not that it cannot be had.
#[test]
fn who_cannot_wait_is_told_to_come_again() {
    let site = Site::new();
    (0..100).for_each(|number| add(&site, &format!("{number}.js"), &text(number, 60_000)));
    let server = setup(&site).start();
    let mut clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{number}.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br, identity;q=0\r\n\r\n"));
    }
    // How many they are depends on the machine.
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.answer(Method::Get);
        match response.status {
            200 => assert_eq!(response.field("Content-Encoding"), Some("br"), "{number}"),
            status => assert_eq!((status, response.field("Retry-After")), (503, Some("1")), "{number}"),
        }
    }
}

/// A sibling that lies beside the file goes before one that would have to be made.
#[test]
fn siblings_go_before_what_is_made() {
    let site = Site::new();
    let content = text(0, 10_000);
    add(&site, "app.js", &content);
    add(&site, "app.js.br", b"made by hand");
    let server = setup(&site).set("precompressed", ALL).start();
    let mut client = server.client();
    let response = client.ask(Method::Get, "/app.js", "Accept-Encoding: br, gzip\r\n");
    assert_eq!((response.field("Content-Encoding"), response.content.as_slice()), (Some("br"), &b"made by hand"[..]));
    // What has no sibling is made of the file.
    ask_until_coded(&mut client, "/app.js", "gzip", &content);
    let response = client.ask(Method::Get, "/app.js", "Accept-Encoding: br, gzip\r\n");
    assert_eq!(response.content, b"made by hand");
    // A sibling that goes is followed by what is made, one that comes goes before it.
    std::fs::remove_file(site.path("app.js.br")).expect("it is there");
    eventually("br is made of the file", || {
        let response = client.ask(Method::Get, "/app.js", "Accept-Encoding: br\r\n");
        response.field("Content-Encoding") == Some("br") && decoded_or_by_hand(&response) == content
    });
    add(&site, "app.js.gz", b"made by hand");
    eventually("the new sibling", || {
        client.ask(Method::Get, "/app.js", "Accept-Encoding: gzip\r\n").content == b"made by hand"
    });
}

fn decoded_or_by_hand(response: &Response) -> Vec<u8> {
    if response.content == b"made by hand" { response.content.clone() } else { decoded(response) }
}

/// A changed file is sent as it is now: once one answer has the new version, no coding has the old one.
#[test]
fn a_coding_is_never_older_than_its_file() {
    let site = Site::new();
    let mut content = text(0, 30_000);
    add(&site, "app.js", &content);
    let server = setup(&site).start();
    // One connection is one core: what it has seen it must not forget.
    let mut client = server.client();
    for (round, length) in [30_000, 30_000, 20_000, 40_000].into_iter().enumerate() {
        ask_until_coded(&mut client, "/app.js", "gzip", &content);
        let old = std::mem::replace(&mut content, text(round + 1, length));
        site.file("app.js", &content);
        if round == 1 {
            // As a copy that keeps dates does, or a build that sets them all alike.
            set_modified(&site.path("app.js"), MODIFIED);
        }
        let mut seen = false;
        eventually("the new version", || {
            for value in ["gzip", "identity", "gzip, identity;q=0"] {
                let response = client.ask(Method::Get, "/app.js", &format!("Accept-Encoding: {value}\r\n"));
                let is_new = decoded(&response) == content;
                assert!(is_new || (!seen && decoded(&response) == old), "round {round}: {value}: neither or old");
                seen |= is_new;
            }
            seen
        });
        // With its first coding too, and those that were made before it changed.
        for value in ["gzip", "gzip, identity;q=0", "br", "identity"] {
            let response = client.ask(Method::Get, "/app.js", &format!("Accept-Encoding: {value}\r\n"));
            assert!(decoded(&response) == content, "round {round}: {value}: an old version");
        }
    }
    std::fs::remove_file(site.path("app.js")).expect("it is there");
    eventually("the file is gone", || {
        client.ask(Method::Get, "/app.js", "Accept-Encoding: gzip, identity;q=0\r\n").status == 404
    });
    check_gone(&server);
}

fn check_gone(server: &Server) {
    for value in ["gzip", "br", "identity"] {
        let response = server.client().ask(Method::Get, "/app.js", &format!("Accept-Encoding: {value}\r\n"));
        assert_eq!(response.status, 404, "{value}");
    }
}
