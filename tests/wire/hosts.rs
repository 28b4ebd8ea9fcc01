//! Host and the authority of the target (RFC 9112 §3.2, RFC 3986 §3.2.2): which values are hosts,
//! and how many there must be.
//!
//! Invariant: a request that names no host, two, or none that can be, is refused (400), and what
//! stands behind it is never answered.

use super::canary::{check_accepted, check_last, site};
use crate::harness::Server;

/// `uri-host [ ":" port ]`: what is one.
#[test]
fn values_that_are_hosts() {
    let site = site();
    let server = Server::of(&site);
    for host in [
        // RFC 9112 §3.2: empty where the target has no authority
        "",
        // RFC 3986 §3.2.2, reg-name: unreserved characters and sub-delims, in any case
        "a",
        "1",
        "example.org",
        "EXAMPLE.Org",
        "example.org.",
        "a.b.c.d.e.f",
        "a-b.example",
        "a_b.example",
        "~",
        "xn--p1ai",
        "localhost",
        "%D1%80%D1%84",
        "a!b",
        "a$b",
        "a&b",
        "a'b",
        "a(b)",
        "a*b",
        "a+b",
        "a;b",
        "a=b",
        // …of which some look like addresses and are none
        "1.2.3",
        "999.999.999.999",
        "0x7f.1",
        // IPv4address
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        // IP-literal
        "[::]",
        "[::1]",
        "[2001:db8::1]",
        "[2001:DB8::1]",
        "[1:2:3:4:5:6:7:8]",
        "[::ffff:192.0.2.1]",
        // §3.2.3: port is *DIGIT
        "a:80",
        "a:0",
        "a:65535",
        "a:00080",
        "a:",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]:",
        // RFC 9110 §5.5: white space around a value is not of it
        " a",
        "\t a \t",
    ] {
        check_accepted(&server, format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n").as_bytes(), 200);
        check_accepted(
            &server,
            format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: {host}\r\n\r\n").as_bytes(),
            200,
        );
    }
}

/// …and what is none: in HTTP/1.1 and 1.0, and beside an absolute target, which does not make up
/// for it (RFC 9112 §3.2.2).
#[test]
fn values_that_are_no_hosts() {
    let site = site();
    let server = Server::of(&site);
    for host in [
        // A list of hosts is no host, though RFC 3986 would let a comma pass
        "a, b",
        "a,b",
        // Other parts of a URI
        "a/b",
        "a/",
        "/",
        "a?b",
        "a#b",
        "u@a",
        "@a",
        "a@",
        "u:p@a",
        "http://a",
        "http://a/",
        "//a",
        // RFC 3986 §2: characters that no URI has
        "a b",
        "a\tb",
        "\"a\"",
        "a<b>",
        "a\\b",
        "a^b",
        "a`b",
        "a{b}",
        "a|b",
        "\u{434}.example",
        "a\u{A0}",
        "a\u{3002}b",
        // §3.2.3: a port of anything but digits, and two of them
        "a:b",
        "a:80:80",
        "a:-1",
        "a:+80",
        "a: 80",
        "a:80a",
        "a:0x50",
        "a :80",
        // §3.2.2: an IPv6 address without brackets, and brackets that hold none
        "::1",
        "2001:db8::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]80",
        "[::1]]",
        "[[::1]]",
        "a[::1]",
        "[]",
        "[]:80",
        "[g::1]",
        "[::1%25eth0]",
        "[::1%eth0]",
        "[ ::1]",
        "[example.org]",
        // RFC 9110 §5.5: control characters are in no value at all
        "a\0",
        "a\x0b",
        "a\x7f",
        "a\rb",
        "a\nb",
    ] {
        for request_line in ["GET / HTTP/1.1", "GET http://a/ HTTP/1.1", "GET / HTTP/1.0"] {
            check_last(&server, format!("{request_line}\r\nHost: {host}\r\n\r\n").as_bytes(), 400);
        }
    }
}

/// RFC 3986 §3.2.2: what stands in brackets is an address, and a percent sign has two digits
/// behind it. By its characters alone each of these would pass.
#[test]
fn hosts_that_only_look_like_hosts() {
    let site = site();
    let server = Server::of(&site);
    for host in [
        "[a]",
        "[1]",
        "[:]",
        "[:::]",
        "[::1::]",
        "[1:2:3:4:5:6:7]",
        "[1:2:3:4:5:6:7:8:9]",
        "[12345::]",
        "[127.0.0.1]",
        "[::1.2.3]",
        "[::1.2.3.256]",
        "[v]",
        "[v1]",
        "[v1.]",
        "[v.a]",
        "a%",
        "a%4",
        "a%zz",
        "%%41",
    ] {
        check_last(&server, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), 400);
        check_last(&server, format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 400);
    }
    // RFC 9110 §4.2.1: an http URI with an empty host must be refused; a port does not fill it.
    check_last(&server, b"GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    check_last(&server, b"GET http://:/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    // §3.2.2: IPvFuture is grammar, though no such address exists.
    check_accepted(&server, b"GET / HTTP/1.1\r\nHost: [v1.x:y~]\r\n\r\n", 200);
}

/// RFC 9112 §3.2: exactly one Host in HTTP/1.1, at most one in HTTP/1.0.
#[test]
fn number_of_hosts() {
    let site = site();
    let server = Server::of(&site);
    for lines in [
        "",
        "X-Host: a\r\n",
        "Host-: a\r\n",
        "X-Forwarded-Host: a\r\n",
        "Forwarded: host=a\r\n",
        ":authority: a\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "HOST: a\r\nHost: a\r\n",
        "Host: a\r\nHost:\r\n",
        "Host:\r\nHost:\r\n",
        "Host:\r\nHost: a\r\n",
        "Host: a\r\nX: y\r\nHost: a\r\n",
        "Host: a\r\nHost: a\r\nHost: a\r\n",
        "Host : a\r\n",
        "Host\t: a\r\n",
        " Host: a\r\n",
        "Host\r\n",
        "Host a\r\n",
        "Host=a\r\n",
        "Host: a\r\n b\r\n",
        "Host:\r\n a\r\n",
    ] {
        check_last(&server, format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes(), 400);
        check_last(&server, format!("GET http://a/ HTTP/1.1\r\n{lines}\r\n").as_bytes(), 400);
    }
    // The method makes no difference (§3.2), and is not even looked at.
    for method in ["HEAD", "POST", "OPTIONS", "X"] {
        check_last(&server, format!("{method} / HTTP/1.1\r\n\r\n").as_bytes(), 400);
    }
    for (request, status) in [
        // HTTP/1.0 knew no Host, and so needs none; what comes must be right all the same
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET /absent HTTP/1.0\r\n\r\n", 404),
        ("GET http://a/ HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ] {
        check_last(&server, request.as_bytes(), status);
    }
}

/// RFC 9112 §3.2.2: a server must take the absolute form, whose authority counts instead of Host.
#[test]
fn absolute_targets() {
    let site = site();
    let server = Server::of(&site);
    for (target, host) in [
        ("http://a/", "a"),
        // Another host than the field names, with any form of either
        ("http://a/", "b"),
        ("http://a/", ""),
        ("http://a/", "[::1]:80"),
        ("http://a:80/", "a"),
        ("http://a:8080/", "a:80"),
        ("http://a:/", "a"),
        ("http://[::1]/", "a"),
        ("http://[::1]:80/", "a"),
        ("http://127.0.0.1/", "a"),
        ("http://EXAMPLE.org./", "a"),
        ("http://%61/", "a"),
        // RFC 3986 §3.1: schemes are case-insensitive; RFC 9110 §4.2.2: a proxy may speak for https
        ("HTTP://a/", "a"),
        ("hTTp://a/", "a"),
        ("https://a/", "a"),
        // RFC 9110 §4.2.3: an empty path is the root
        ("http://a", "a"),
        ("http://a:80", "a"),
        ("http://a?query", "a"),
        ("http://a/?query", "a"),
        ("http://a/index.html", "a"),
        ("http://a//index.html", "a"),
        ("http://a/x/../index.html", "a"),
        ("http://a/?http://b/", "a"),
    ] {
        check_accepted(&server, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), 200);
        let old = format!("GET {target} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n");
        check_accepted(&server, old.as_bytes(), 200);
    }
    // §3.2.1: two slashes in front are an empty segment, and no authority.
    check_accepted(&server, b"GET // HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    check_accepted(&server, b"GET //a/index.html HTTP/1.1\r\nHost: a\r\n\r\n", 404);
    check_accepted(&server, b"GET http://a/absent HTTP/1.1\r\nHost: a\r\n\r\n", 404);
    check_accepted(&server, b"GET http://a/http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 404);
    for target in [
        // RFC 9112 §3.2.3, §3.2.4: forms of CONNECT and OPTIONS
        "a",
        "a:80",
        "*",
        // No authority, or none that is a host and a port
        "http://",
        "http:///",
        "http://?a",
        "http:/a",
        "http:a",
        "http//a/",
        "://a/",
        "http://u@a/",
        "http://u:p@a/",
        "http://@a/",
        "http://a,b/",
        "http://a:b/",
        "http://a:80:80/",
        "http://::1/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://a\\b/",
        "http://a\\@b/",
        "http://a|b/",
        "http://a#b/",
        "http://a/#b",
        // Schemes that this server has no authority for
        "ftp://a/",
        "ws://a/",
        "file:///index.html",
        "httpx://a/",
        "http+unix://a/",
        " http://a/",
        "javascript:alert(1)",
        "data:,a",
    ] {
        check_last(&server, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 400);
    }
}
