//! Whom a proxy speaks for: the PROXY header (haproxy's proxy-protocol.txt), X-Forwarded-For, and Forwarded (RFC 7239).
//!
//! Each address that a row may name has a folder that only it may enter; nothing is there, so that 404 says who a request
//! came from, and 403 who it did not.
//!
//! Invariant: nobody is believed but the proxies of `real_ip_from`.

use crate::harness::server::Setup;
use crate::harness::{Client, Fault, Method, Server, Site, holds_within};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Everybody that a row names; a name of another form is the address of the test itself, or a peer on a Unix socket.
const CLIENTS: [&str; 11] = [
    "127.0.0.1",
    "unix",
    "1.2.3.4",
    "5.6.7.8",
    "192.0.2.43",
    "10.0.0.1",
    "10.0.0.2",
    "2001:db8::1",
    "2001:db8:cafe::17",
    "fd00::1",
    "::1",
];

const TRUSTED: &str = "['127.0.0.1', '10.0.0.0/8', 'fd00::/8']";

/// Starts a server with these lists of addresses and proxies, and what else there is to say.
fn start(site: &Site, listen: &str, trusted: &str, more: &str) -> Server {
    let location = |client| format!("[[location]]\npath = '/{client}/'\nallow = ['{client}']\n");
    Setup::configured(format!(
        "listen = {listen}\nreal_ip_from = {trusted}\nroot = '{}'\n{more}\n{}",
        site.root().display(),
        CLIENTS.map(location).concat()
    ))
    .start()
}

fn socket(site: &Site) -> PathBuf {
    site.outside().join("socket")
}

/// Requests with these lines come from `expected`, and from nobody else.
fn check(client: &mut Client, lines: &str, expected: &str, context: &str) {
    assert!(CLIENTS.contains(&expected), "{expected} has no folder");
    for other in CLIENTS {
        let response = client.ask(Method::Get, &format!("/{other}/"), lines);
        let status = if other == expected { 404 } else { 403 };
        assert_eq!(response.status, status, "{context}{lines:?}: not {other}, but {expected}");
    }
}

/// A header of version 2 with `block` (proxy-protocol.txt, section 2.2).
fn v2(version_and_command: u8, family_and_transport: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("each row is short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[version_and_command, family_and_transport][..], &length, block].concat()
}

/// 1.2.3.4:56324 to 192.0.2.2:443, and [2001:db8::1]:80 to [::1]:90
const INET: &[u8] = &[1, 2, 3, 4, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];
const INET6: &[u8] = &[
    0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 0,
    90,
];

/// Headers, and the client that each names.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let mapped = [&[0; 10], &[0xff, 0xff, 1, 2, 3, 4][..], &INET6[16..]].concat();
    let extended = [INET, &[4, 0, 3, 1, 2, 3, 0x20, 0, 0]].concat();
    let long = [INET, &[0xee, 3, 0xe8], &[7; 1000]].concat();
    let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {v6} {v6} 65535 65535\r\n");
    [
        // Section 2.1
        ("PROXY TCP4 1.2.3.4 192.0.2.2 56324 443\r\n", "1.2.3.4"),
        ("PROXY TCP4 5.6.7.8 127.0.0.1 0 0\r\n", "5.6.7.8"),
        ("PROXY TCP4 1.2.3.4 255.255.255.255 65535 65535\r\n", "1.2.3.4"),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
        ("PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::1 1 2\r\n", "2001:db8::1"),
        // An IPv4 client of an IPv6 socket counts as IPv4
        ("PROXY TCP6 ::ffff:1.2.3.4 ::ffff:127.0.0.1 1 2\r\n", "1.2.3.4"),
        // UNKNOWN: the addresses of the connection count, whatever stands behind it
        ("PROXY UNKNOWN\r\n", "127.0.0.1"),
        ("PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n", "127.0.0.1"),
        (&longest, "127.0.0.1"),
    ]
    .map(|(line, client)| (line.as_bytes().to_vec(), client))
    .into_iter()
    .chain([
        // Section 2.2
        (v2(0x21, 0x11, INET), "1.2.3.4"),
        (v2(0x21, 0x21, INET6), "2001:db8::1"),
        (v2(0x21, 0x21, &mapped), "1.2.3.4"),
        // Extensions, known or not
        (v2(0x21, 0x11, &extended), "1.2.3.4"),
        (v2(0x21, 0x11, &long), "1.2.3.4"),
        // LOCAL, the proxy's own connection, with addresses or without; unspecified; datagrams
        (v2(0x20, 0, &[]), "127.0.0.1"),
        (v2(0x20, 0x11, INET), "127.0.0.1"),
        (v2(0x21, 0, &[]), "127.0.0.1"),
        (v2(0x21, 0x12, INET), "127.0.0.1"),
        // A client on a Unix socket of the proxy's machine
        (v2(0x21, 0x31, &[0; 216]), "unix"),
    ])
    .collect()
}

/// `allow` and `deny` judge the client that a header names, for all requests of its connection.
#[test]
fn headers_name_the_client() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0 proxy_protocol']", TRUSTED, "");
    for (header, expected) in headers() {
        let context = format!("{} ", header.escape_ascii());
        // In a write of its own
        let mut client = server.client();
        client.send(&header);
        check(&mut client, "", expected, &context);
        // Together with the first request, and all of the others
        let requests: String = CLIENTS.map(|other| format!("GET /{other}/ HTTP/1.1\r\nHost: a\r\n\r\n")).concat();
        let mut client = server.client();
        client.send([&header, requests.as_bytes()].concat());
        for other in CLIENTS {
            let status = if other == expected { 404 } else { 403 };
            assert_eq!(client.answer(Method::Get).status, status, "{context}together: {other}");
        }
        // In two pieces, and the second with a request
        for cut in [1, 5, 12, 13, 16, header.len() - 1].into_iter().filter(|cut| *cut < header.len()) {
            let mut client = server.client();
            client.send(&header[..cut]);
            std::thread::sleep(Duration::from_millis(2));
            client.send([&header[cut..], format!("GET /{expected}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()].concat());
            assert_eq!(client.answer(Method::Get).status, 404, "{context}cut at {cut}");
        }
    }
    // Byte by byte
    for (header, expected) in [&headers()[0], &headers()[9]] {
        let mut client = server.client();
        for byte in [header, format!("GET /{expected}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()].concat() {
            client.send([byte]);
        }
        assert_eq!(client.answer(Method::Get).status, 404);
    }
}

/// The connection ends without a byte of an answer.
fn check_closed(mut client: Client, context: &str) {
    match client.receive(Method::Get) {
        Err(Fault::End | Fault::Reset) => {}
        other => panic!("{context}: {other:?}"),
    }
}

/// Nothing is answered on a connection whose header is missing or malformed.
#[test]
fn what_is_no_header_is_not_answered() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0 proxy_protocol']", TRUSTED, "");
    let request = b"GET /127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let with = |index: usize, byte: u8| {
        let mut header = v2(0x21, 0x11, INET);
        header[index] = byte;
        header
    };
    let rows: Vec<Vec<u8>> = [
        // Missing
        "",
        "\r\n",
        " ",
        "\0",
        "X",
        // Of another protocol, or nearly
        "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "proxy TCP4 1.2.3.4 192.0.2.2 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 192.0.2.2 1 2\r\n",
        " PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r\n",
        // Section 2.1: the protocol, one space between the parts, the parts, the line end
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP5 1.2.3.4 192.0.2.2 1 2\r\n",
        "PROXY tcp4 1.2.3.4 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 1\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4  192.0.2.2 1 2\r\n",
        "PROXY TCP4 1.2.3.4\t192.0.2.2 1 2\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 1 2\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r",
        "PROXY UNKNOWN x\n",
        "PROXY TCP4 ::1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 1.2.3.4 192.0.2.2 1 2\r\n",
        "PROXY TCP4 1.2.3 192.0.2.2 1 2\r\n",
        "PROXY TCP4 1.2.3.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 01.2.3.4 192.0.2.2 1 2\r\n",
        "PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 01 2\r\n",
        "PROXY TCP4 1.2.3.4 192.0.2.2 http 2\r\n",
        // 107 bytes are the longest line
        &format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)),
        &format!("PROXY TCP4 {}", "1".repeat(20_000)),
    ]
    .map(|text| text.as_bytes().to_vec())
    .into_iter()
    .chain([
        // Section 2.2: the signature, the version, the command, the family, the length
        with(11, b'\r'),
        with(4, b'\r'),
        with(12, 0x11),
        with(12, 0x31),
        with(12, 0x22),
        with(12, 0x2f),
        with(13, 0x41),
        with(13, 0x13),
        with(15, 11),
        with(14, 0xff),
        v2(0x21, 0x21, INET),
        v2(0x21, 0x31, &[0; 215]),
    ])
    .collect();
    for bytes in rows {
        let mut client = server.client();
        // The server may have closed before it was sent all.
        let _ = client.try_send([&bytes[..], request].concat());
        check_closed(client, &bytes.escape_ascii().to_string());
    }
    // Two headers: what stands behind the first is a request, and no good one
    let mut client = server.client();
    client.send("PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n\r\n");
    assert_eq!(client.answer(Method::Get).status, 400);
    // Whoever ends within the header, behind it, or before it
    for bytes in ["", "PROXY TCP4 1.2.3.4 19", "PROXY UNKNOWN\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
        let mut client = server.client();
        client.send(bytes);
        client.finish();
        check_closed(client, bytes);
    }
    // A flood of them does not fill the disk with what is told of them: ten lines a second and worker.
    let begun = Instant::now();
    for _ in 0..400 {
        let mut client = server.client();
        client.send("GET");
        check_closed(client, "a flood");
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a test is short");
    let told = server.log().matches("no PROXY header").count();
    assert!(told >= 1 && told <= 20 * (seconds + 3), "{told} lines in {seconds} seconds");
}

/// A header takes no longer than a request head may (`read_timeout`), and so does the first byte behind it.
#[test]
fn a_header_has_its_time() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0 proxy_protocol']", TRUSTED, "read_timeout = 1");
    let pieces: [&[&str]; 6] = [
        &[],
        &["PROXY TCP4 1.2.3.4 19"],
        &["\r\n\r\n\0\r\nQUIT\n!"],
        &["PRO", "XY", " UNKNOWN\r"],
        &["PROXY UNKNOWN\r\n"],
        &["PROXY UNK", "NOWN\r\n"],
    ];
    let mut clients = pieces.map(|pieces| {
        let mut client = server.client();
        for piece in pieces {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(20));
        }
        client
    });
    for (client, pieces) in clients.iter_mut().zip(pieces) {
        match client.receive(Method::Get) {
            Err(Fault::End | Fault::Reset) => {}
            other => panic!("{pieces:?}: {other:?}"),
        }
    }
}

/// Only the proxies of `real_ip_from` may say for whom they connect.
#[test]
fn headers_of_nobody_that_is_trusted() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0 proxy_protocol']", "['192.0.2.1', 'unix']", "");
    for (header, _) in headers().into_iter().chain([(Vec::new(), "")]) {
        let mut client = server.client();
        let _ = client.try_send([&header[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        check_closed(client, &header.escape_ascii().to_string());
    }
    // On a Unix socket it is `unix` that is trusted
    for (trusted, is_served) in [("['unix']", true), ("['all']", true), ("['0.0.0.0/0']", false)] {
        let listen = format!("['unix:{} proxy_protocol']", socket(&site).display());
        let _server = start(&site, &listen, trusted, "");
        let mut client = Client::connect_unix(&socket(&site));
        // Who is not trusted is closed on at once, perhaps before this.
        let _ = client.try_send("PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r\n");
        if is_served {
            check(&mut client, "", "1.2.3.4", trusted);
        } else {
            check_closed(client, trusted);
        }
    }
}

/// A listener without `proxy_protocol`, beside one with it, takes no header.
#[test]
fn a_header_where_none_is_expected() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0', '127.0.0.2:0 proxy_protocol']", TRUSTED, "");
    let addresses = || server.addresses();
    assert!(holds_within(crate::harness::HANG, || addresses().len() == 2));
    let [plain, proxied] = ["127.0.0.1", "127.0.0.2"]
        .map(|ip| addresses().into_iter().find(|address| address.ip().to_string() == ip).expect("both are announced"));
    for (header, _) in headers() {
        let mut client = Client::connect(plain);
        client.send([&header[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        assert_eq!(client.answer(Method::Get).status, 400, "{}", header.escape_ascii());
    }
    check(&mut Client::connect(plain), "", "127.0.0.1", "");
    let mut client = Client::connect(proxied);
    client.send("PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r\n");
    check(&mut client, "", "1.2.3.4", "");
}

/// X-Forwarded-For: the right-most address that is none of the proxies counts.
#[test]
fn x_forwarded_for() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0']", TRUSTED, "");
    let mut client = server.client();
    for (lines, expected) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"),
        ("x-forwarded-for:\t1.2.3.4 \r\n", "1.2.3.4"),
        // What stands to the left of it was written by the client
        ("X-Forwarded-For: 5.6.7.8, 1.2.3.4\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 127.0.0.1, 10.0.0.1, 1.2.3.4\r\n", "1.2.3.4"),
        ("X-Forwarded-For: garbage,,\"\", 1.2.3.4\r\n", "1.2.3.4"),
        // …and what stands to the right by proxies
        ("X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 5.6.7.8, 1.2.3.4, 10.0.0.2, fd00::1, 127.0.0.1\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 1.2.3.4,10.0.0.1,,\r\n", "1.2.3.4"),
        // All are proxies: the first of them
        ("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1"),
        ("X-Forwarded-For: fd00::1\r\n", "fd00::1"),
        // RFC 9110 §5.3: several lines are one list
        ("X-Forwarded-For: 5.6.7.8\r\nX-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 1.2.3.4\r\nX: y\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For:\r\n", "1.2.3.4"),
        // What cannot be read ends the walk at the last address that could
        ("X-Forwarded-For:\r\n", "127.0.0.1"),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4, garbage\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4, garbage, 10.0.0.1\r\n", "10.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4 5.6.7.8\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4; 5.6.7.8\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 01.2.3.4\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.2.3.4/32\r\n", "127.0.0.1"),
        ("X-Forwarded-For: \"1.2.3.4\"\r\n", "127.0.0.1"),
        ("X-Forwarded-For: for=1.2.3.4\r\n", "127.0.0.1"),
        ("X-Forwarded-For: unix\r\n", "127.0.0.1"),
        ("X-Forwarded-For: all\r\n", "127.0.0.1"),
        // Ports, and the forms of IPv6
        ("X-Forwarded-For: 1.2.3.4:5678\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 2001:DB8:0:0:0:0:0:1\r\n", "2001:db8::1"),
        ("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1"),
        ("X-Forwarded-For: [2001:db8::1]:443\r\n", "2001:db8::1"),
        ("X-Forwarded-For: ::ffff:1.2.3.4\r\n", "1.2.3.4"),
        ("X-Forwarded-For: 1.2.3.4, ::ffff:10.0.0.1\r\n", "1.2.3.4"),
        ("X-Forwarded-For: ::1\r\n", "::1"),
        ("X-Forwarded-For: [2001:db8::1\r\n", "127.0.0.1"),
        ("X-Forwarded-For: [1.2.3.4]\r\n", "127.0.0.1"),
        ("X-Forwarded-For: fe80::1%eth0\r\n", "127.0.0.1"),
        // Other fields say nothing
        ("Forwarded: for=1.2.3.4\r\n", "127.0.0.1"),
        ("X-Real-IP: 1.2.3.4\r\n", "127.0.0.1"),
        ("X-Forwarded-For-: 1.2.3.4\r\n", "127.0.0.1"),
        ("Client-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nVia: 1.2.3.4\r\n", "127.0.0.1"),
    ] {
        check(&mut client, lines, expected, "");
    }
    // A long chain is walked from the right, so that nothing in front of it matters
    let long = format!("X-Forwarded-For: {}1.2.3.4, 10.0.0.1\r\n", "5.6.7.8, ".repeat(500));
    check(&mut client, &long, "1.2.3.4", "");
}

/// RFC 7239 §4, §6: the same in the standard's field.
#[test]
fn forwarded() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0']", TRUSTED, "real_ip_header = 'Forwarded'");
    let mut client = server.client();
    for (lines, expected) in [
        ("", "127.0.0.1"),
        // The examples of §4
        ("Forwarded: for=\"_gazonk\"\r\n", "127.0.0.1"),
        ("Forwarded: For=\"[2001:db8:cafe::17]:4711\"\r\n", "2001:db8:cafe::17"),
        ("Forwarded: for=192.0.2.43;proto=http;by=203.0.113.43\r\n", "192.0.2.43"),
        ("Forwarded: for=198.51.100.17, for=192.0.2.43\r\n", "192.0.2.43"),
        ("Forwarded: for=192.0.2.43, for=\"[2001:db8:cafe::17]\"\r\n", "2001:db8:cafe::17"),
        // §7.4, and several lines
        ("Forwarded: for=1.2.3.4\r\nForwarded: for=10.0.0.1;by=10.0.0.2\r\n", "1.2.3.4"),
        ("Forwarded: for=5.6.7.8, for=1.2.3.4, for=10.0.0.1\r\n", "1.2.3.4"),
        ("Forwarded: by=5.6.7.8;FOR=1.2.3.4;host=a\r\n", "1.2.3.4"),
        ("Forwarded: for=\"1.2.3.4:80\"\r\n", "1.2.3.4"),
        ("Forwarded: for=\"1.2.3.4:_port\"\r\n", "1.2.3.4"),
        ("Forwarded: for=10.0.0.1, for=10.0.0.2\r\n", "10.0.0.1"),
        // A comma and a semicolon in quotes end nothing
        ("Forwarded: for=1.2.3.4;ext=\"a, for=5.6.7.8;b\"\r\n", "1.2.3.4"),
        // Unreadable: an obfuscated name, `unknown`, none, two, an open quote
        ("Forwarded: for=1.2.3.4, for=unknown\r\n", "127.0.0.1"),
        ("Forwarded: for=1.2.3.4, for=_hidden, for=10.0.0.1\r\n", "10.0.0.1"),
        ("Forwarded: for=1.2.3.4, by=10.0.0.1\r\n", "127.0.0.1"),
        ("Forwarded: for=1.2.3.4;for=5.6.7.8\r\n", "127.0.0.1"),
        ("Forwarded: for=1.2.3.4;ext=\"\r\n", "127.0.0.1"),
        ("Forwarded: for=5.6.7.8;ext=\", for=1.2.3.4\r\n", "127.0.0.1"),
        ("Forwarded: 1.2.3.4\r\n", "127.0.0.1"),
        ("Forwarded: for=\r\n", "127.0.0.1"),
        ("Forwarded:\r\n", "127.0.0.1"),
        ("Forwarded: for=\"[::1]x\"\r\n", "127.0.0.1"),
        ("Forwarded: for=\"1.2.3.4:99999\"\r\n", "127.0.0.1"),
        // Another field says nothing
        ("X-Forwarded-For: 1.2.3.4\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 5.6.7.8\r\nForwarded: for=1.2.3.4\r\n", "1.2.3.4"),
    ] {
        check(&mut client, lines, expected, "");
    }
}

/// Of whoever is no proxy, the fields are not looked at.
#[test]
fn fields_of_nobody_that_is_trusted() {
    let site = Site::new();
    let listen = format!("['127.0.0.1:0', 'unix:{}']", socket(&site).display());
    for (trusted, of_tcp, of_unix) in [
        ("[]", "127.0.0.1", "unix"),
        ("['127.0.0.2', '10.0.0.0/8', '::1']", "127.0.0.1", "unix"),
        ("['127.0.0.0/8']", "1.2.3.4", "unix"),
        ("['unix']", "127.0.0.1", "1.2.3.4"),
        ("['::ffff:127.0.0.1']", "1.2.3.4", "unix"),
        // All are proxies: the first of the chain
        ("['all']", "5.6.7.8", "5.6.7.8"),
    ] {
        for (field, lines) in [
            ("X-Forwarded-For", "X-Forwarded-For: 5.6.7.8, 1.2.3.4\r\n"),
            ("Forwarded", "Forwarded: for=5.6.7.8, for=1.2.3.4\r\n"),
        ] {
            let server = start(&site, &listen, trusted, &format!("real_ip_header = '{field}'"));
            check(&mut server.client(), lines, of_tcp, trusted);
            let mut unix = Client::connect_unix(&socket(&site));
            check(&mut unix, lines, of_unix, trusted);
            // What names nobody leaves the peer, which has no address
            check(&mut unix, &format!("{field}: unknown\r\n"), "unix", trusted);
            check(&mut unix, "", "unix", trusted);
        }
    }
}

/// Behind a PROXY header, it is the client that it names who must be trusted to name another.
#[test]
fn a_header_and_a_field() {
    let site = Site::new();
    let server = start(&site, "['127.0.0.1:0 proxy_protocol']", TRUSTED, "");
    let unix = v2(0x21, 0x31, &[0; 216]);
    for (header, lines, expected) in [
        (&b"PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r\n"[..], "X-Forwarded-For: 5.6.7.8\r\n", "1.2.3.4"),
        (b"PROXY TCP4 1.2.3.4 192.0.2.2 1 2\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "1.2.3.4"),
        (b"PROXY TCP4 10.0.0.1 192.0.2.2 1 2\r\n", "X-Forwarded-For: 5.6.7.8\r\n", "5.6.7.8"),
        (b"PROXY TCP4 10.0.0.1 192.0.2.2 1 2\r\n", "X-Forwarded-For: 5.6.7.8, 10.0.0.2\r\n", "5.6.7.8"),
        (b"PROXY TCP4 10.0.0.1 192.0.2.2 1 2\r\n", "X-Forwarded-For: garbage\r\n", "10.0.0.1"),
        (b"PROXY TCP4 10.0.0.1 192.0.2.2 1 2\r\n", "", "10.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "X-Forwarded-For: 5.6.7.8\r\n", "5.6.7.8"),
        (&unix, "X-Forwarded-For: 5.6.7.8\r\n", "unix"),
    ] {
        let mut client = server.client();
        client.send(header);
        check(&mut client, lines, expected, &header.escape_ascii().to_string());
    }
}
