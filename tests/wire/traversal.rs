//! Spellings that try to climb out of the document root (RFC 3986 §5.2.4, RFC 9110 §17.3), and
//! those that only look as if they did.
//!
//! A path is decoded once and then normalised. One that climbs above the root is malformed (400);
//! a name that another system might take for dots or slashes is a name here, and absent (404).
//!
//! Invariant: no spelling gives a byte of a file outside the document root.

use super::methods::check_head;
use crate::harness::client::find;
use crate::harness::site::write;
use crate::harness::{Method, Server, Site};

const SECRET: &[u8] = b"for nobody's eyes";

fn site() -> Site {
    let site = Site::new();
    write(&site.outside().join("secret.txt"), SECRET);
    // Beside the root, under a name that begins as that of the root does.
    std::fs::create_dir(site.outside().join("root-of-evil")).expect("a directory beside the root");
    write(&site.outside().join("root-of-evil/secret.txt"), SECRET);
    site.file("dir/index.html", "index");
    site.file("dir/sub/b.txt", "b");
    site.file("a.txt", "a");
    site
}

/// The status of each spelling. In HTTP/1.1 and 1.0, in absolute form, and with a query behind it,
/// none of which changes anything; and by HEAD.
fn check(server: &Server, targets: &[(String, u16)]) {
    for (target, status) in targets {
        let mut spellings = vec![target.clone(), format!("{target}{}", if target.contains('?') { "&" } else { "?" })];
        if target.starts_with('/') {
            spellings.push(format!("http://a{target}"));
            spellings.push(format!("{target}?/../../secret.txt"));
        }
        for spelling in spellings {
            let response = server.get(&spelling);
            assert_eq!(response.status, *status, "{spelling}");
            for leak in [SECRET, b"root:", b"nobody"] {
                assert!(find(&response.content, leak).is_none(), "{spelling}");
            }
            check_head(server, &spelling, "", &response);
        }
        let mut client = server.client();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let response = client.answer(Method::Get);
        assert_eq!(response.status, *status, "{target} by HTTP/1.0");
        assert!(find(&response.content, SECRET).is_none(), "{target} by HTTP/1.0");
    }
}

fn owned(targets: &[(&str, u16)]) -> Vec<(String, u16)> {
    targets.iter().map(|(target, status)| ((*target).to_owned(), *status)).collect()
}

#[test]
fn no_spelling_climbs_out_of_the_root() {
    let site = site();
    let server = Server::of(&site);
    let targets = [
        // RFC 3986 §5.2.4: dot segments as they are
        ("/..", 400),
        ("/../", 400),
        ("/../secret.txt", 400),
        ("/../../secret.txt", 400),
        ("/../../../../../../../../../../etc/passwd", 400),
        ("/../root-of-evil/secret.txt", 400),
        ("/../root/a.txt", 400),
        ("/../root/../secret.txt", 400),
        ("/dir/../../secret.txt", 400),
        ("/dir/../../../../../../../../../../etc/passwd", 400),
        ("/a.txt/../../secret.txt", 400),
        ("/absent/../../secret.txt", 400),
        ("/dir/sub/../../../secret.txt", 400),
        // …with dots and empty segments between them, which count for nothing
        ("/./../secret.txt", 400),
        ("/.././secret.txt", 400),
        ("/././.././.././secret.txt", 400),
        ("/.//../secret.txt", 400),
        ("//../secret.txt", 400),
        ("//..//secret.txt", 400),
        ("///////../secret.txt", 400),
        ("/dir//..//..//secret.txt", 400),
        ("/dir/./.././../secret.txt", 400),
        // RFC 3986 §2.1, §6.2.2: each character may be escaped, in either case
        ("/%2e%2e/secret.txt", 400),
        ("/%2E%2E/secret.txt", 400),
        ("/%2e%2E/secret.txt", 400),
        ("/%2e./secret.txt", 400),
        ("/.%2e/secret.txt", 400),
        ("/.%2E/secret.txt", 400),
        ("/..%2fsecret.txt", 400),
        ("/..%2Fsecret.txt", 400),
        ("/%2f..%2fsecret.txt", 400),
        ("/%2e%2e%2fsecret.txt", 400),
        ("/%2e%2e%2f%2e%2e%2fsecret.txt", 400),
        ("/dir%2f..%2f..%2fsecret.txt", 400),
        ("/dir/%2e%2e/%2e%2e/secret.txt", 400),
        ("/dir/.%2e/%2e./secret.txt", 400),
        ("/%2e/%2e%2e/secret.txt", 400),
        ("/%64ir/%2e%2e/%2e%2e/%73ecret.txt", 400),
        // A query is no part of the path, and dots behind it none of anything
        ("/..?/secret.txt", 400),
        ("/../?x=/dir/", 400),
        // NUL ends names for the kernel, and is in none
        ("/..%00/secret.txt", 400),
        ("/%00/../secret.txt", 400),
        ("/../secret.txt%00.html", 400),
        ("/a.txt%00/../../secret.txt", 400),
        // Escapes that are none
        ("/%u002e%u002e/secret.txt", 400),
        ("/%2", 400),
        ("/..%", 400),
        ("/%%32%65%%32%65/secret.txt", 400),
        ("/..%2/secret.txt", 400),
        // Other forms of a target
        ("../secret.txt", 400),
        ("..", 400),
        ("secret.txt", 400),
        ("http:///../secret.txt", 400),
        ("http://../secret.txt/../../secret.txt", 400),
        ("file:///etc/passwd", 400),
        ("file://localhost/etc/passwd", 400),
        ("\\..\\secret.txt", 400),
    ];
    check(&server, &owned(&targets));
    // Deep, and one step further than it is deep.
    let deep = |down: usize, up: usize| format!("/{}{}secret.txt", "d/".repeat(down), "../".repeat(up));
    check(&server, &[(deep(1, 2), 400), (deep(50, 51), 400), (deep(1000, 1001), 400), (deep(0, 2000), 400)]);
    check(&server, &[(deep(50, 50), 404), (deep(1000, 1000), 404)]);
}

/// What another server or another system takes for dots or slashes: a name like others here.
#[test]
fn names_that_look_like_ways_out() {
    let site = site();
    let server = Server::of(&site);
    let targets = [
        // Decoded once, and never again
        ("/%252e%252e/secret.txt", 404),
        ("/%252e%252e%252fsecret.txt", 404),
        ("/%252E%252E%252Fsecret.txt", 404),
        ("/%25252e%25252e/secret.txt", 404),
        ("/%25%32%65%25%32%65/secret.txt", 404),
        ("/..%252fsecret.txt", 404),
        ("/%2e%2e%252fsecret.txt", 404),
        // The separator of another system
        ("/..\\secret.txt", 404),
        ("/\\..\\secret.txt", 404),
        ("/..%5csecret.txt", 404),
        ("/..%5Csecret.txt", 404),
        ("/%5c..%5csecret.txt", 404),
        ("/%2e%2e%5csecret.txt", 404),
        ("/dir\\..\\..\\secret.txt", 404),
        ("/..%255csecret.txt", 404),
        // RFC 3629 §10: overlong forms are no UTF-8, and no dots and slashes either
        ("/%c0%ae%c0%ae/secret.txt", 404),
        ("/%C0%AE%C0%AE/secret.txt", 404),
        ("/%c0%ae%c0%ae%c0%afsecret.txt", 404),
        ("/%c0%2e%c0%2e/secret.txt", 404),
        ("/%e0%80%ae%e0%80%ae/secret.txt", 404),
        ("/%e0%80%ae%e0%80%ae%e0%80%afsecret.txt", 404),
        ("/%f0%80%80%ae%f0%80%80%ae/secret.txt", 404),
        ("/..%c0%afsecret.txt", 404),
        ("/..%e0%80%afsecret.txt", 404),
        ("/..%c1%9csecret.txt", 404),
        // Characters that look like them
        ("/%ef%bc%8e%ef%bc%8e/secret.txt", 404),
        ("/..%ef%bc%8fsecret.txt", 404),
        ("/..%e2%88%95secret.txt", 404),
        ("/%e2%80%a5/secret.txt", 404),
        // RFC 3986 §3.3: a parameter is part of its segment
        ("/..;/secret.txt", 404),
        ("/..;x=y/secret.txt", 404),
        ("/;/../secret.txt/;", 404),
        ("/..;%2fsecret.txt", 404),
        // Dots with more behind them, and more dots
        ("/.../secret.txt", 404),
        ("/..../secret.txt", 404),
        ("/..%20/secret.txt", 404),
        ("/..%09/secret.txt", 404),
        ("/..%0a/secret.txt", 404),
        ("/..%0d%0a/secret.txt", 404),
        ("/..%7f/secret.txt", 404),
        ("/..%01/secret.txt", 404),
        ("/..~/secret.txt", 404),
        ("/..a/secret.txt", 404),
        ("/%20../secret.txt", 404),
        ("/~/secret.txt", 404),
        ("/~root/secret.txt", 404),
        // Names of the machine's own files, and drives
        ("/proc/self/root/etc/passwd", 404),
        ("/etc/passwd", 404),
        ("//etc/passwd", 404),
        ("/%2fetc/passwd", 404),
        ("/%2fetc%2fpasswd", 404),
        ("/c:/secret.txt", 404),
        ("/c:%5csecret.txt", 404),
        ("/file:///etc/passwd", 404),
        ("/$HOME/secret.txt", 404),
        ("/%24%7bHOME%7d/secret.txt", 404),
        // A file is no directory to go on from, or to come back from with a slash
        ("/a.txt/", 404),
        ("/a.txt/secret.txt", 404),
        ("/a.txt%2f", 404),
        // RFC 3986 §3.3: trailing dots are of the name
        ("/a.txt.", 404),
        ("/a.txt..", 404),
        ("/a.txt...", 404),
        ("/a.txt%20", 404),
        ("/a.txt%2e", 404),
        ("/a.txt::$DATA", 404),
        ("/A.TXT", 404),
    ];
    check(&server, &owned(&targets));
    let absolute = site.outside().join("secret.txt").display().to_string();
    check(
        &server,
        &[
            (absolute.clone(), 404),
            (format!("/{absolute}"), 404),
            (absolute.replace('/', "%2f").replacen("%2f", "/", 1), 404),
            (format!("file://{absolute}"), 400),
            (format!("/..{absolute}"), 400),
            (format!("/../..{absolute}"), 400),
        ],
    );
}

/// Dots that stay inside are removed, and the file that is meant is served.
#[test]
fn dots_inside_the_root_are_removed() {
    let site = site();
    let server = Server::of(&site);
    let targets = [
        ("/dir/../a.txt", 200),
        ("/dir/./../a.txt", 200),
        ("/dir/sub/../../a.txt", 200),
        ("/./a.txt", 200),
        ("/././././a.txt", 200),
        ("//a.txt", 200),
        ("/absent/../a.txt", 200),
        ("/a.txt/../a.txt", 200),
        ("/%2e/a.txt", 200),
        ("/dir/%2e%2e/a.txt", 200),
        ("/dir%2f..%2fa.txt", 200),
        ("/%61%2e%74%78%74", 200),
        ("/dir/sub/%2e%2e/./sub//b.txt", 200),
        ("/dir/.", 200),
        ("/dir/sub/..", 200),
        ("/dir/sub/../", 200),
        ("/dir/..", 404),
        ("/.", 404),
    ];
    check(&server, &owned(&targets));
    assert_eq!(server.get("/dir/../a.txt").content, b"a");
    assert_eq!(server.get("/dir/sub/..").content, b"index");
}
