//! What may be reached: symbolic links, a root that is replaced while it is served, and the root of
//! the machine as document root. Spellings that try to climb out are in `traversal`.
//!
//! Invariant: no request gives a byte of a file outside the document root, and none tells whether
//! such a file exists.

use super::methods::check_head;
use crate::harness::client::find;
use crate::harness::server::Setup;
use crate::harness::site::{pattern, write};
use crate::harness::{Client, HANG, Method, Response, Server, Site, eventually, holds_within};
use std::ffi::OsStr;
use std::path::Path;

const SECRET: &[u8] = b"for nobody's eyes";

#[test]
fn symbolic_links_may_stay_inside_and_never_leave() {
    let site = Site::new();
    site.file("real/file.txt", "real");
    site.file("real/index.html", "index");
    site.file("a.txt", "a");
    site.file("real/deep/er.txt", "deeper");
    write(&site.outside().join("secret.txt"), SECRET);
    // Its path begins as that of the root does.
    std::fs::create_dir(site.outside().join("root-of-evil")).expect("a directory beside the root");
    write(&site.outside().join("root-of-evil/secret.txt"), SECRET);
    for (name, target) in [
        ("to-file", "real/file.txt"),
        ("to-dir", "real"),
        ("chain", "chain-2"),
        ("chain-2", "to-dir/file.txt"),
        ("real/up", "../a.txt"),
        ("real/deep/up-two", "../../a.txt"),
        ("round-about", "real/deep/../file.txt"),
        ("dangling", "nowhere"),
        ("self", "self"),
        ("ring-a", "ring-b"),
        ("ring-b", "ring-a"),
        ("out", "../secret.txt"),
        ("out-dir", ".."),
        ("out-and-in", "../root/a.txt"),
        ("out-chain", "out"),
        ("real/out-two", "../../secret.txt"),
        ("out-sibling", "../root-of-evil/secret.txt"),
        ("out-passwd", "/etc/passwd"),
        ("out-slash", "/"),
        ("out-proc", "/proc/self/root"),
    ] {
        site.link(name, target);
    }
    site.directory("out-index");
    site.link("out-index/index.html", "../../secret.txt");
    site.link("absolute", site.path("a.txt"));
    site.link("absolute-dir", site.path("real"));
    site.link("absolute-out", site.outside().join("secret.txt"));
    site.link("absolute-sibling", site.outside().join("root-of-evil"));
    site.link("absolute-via-link", site.path("out-dir").join("secret.txt"));
    site.link("absolute-with-dots", site.path("real/../../secret.txt"));
    let server = Server::of(&site);
    let mut client = server.client();
    for (target, expected) in [
        ("/to-file", Ok("real")),
        ("/to-dir/file.txt", Ok("real")),
        ("/to-dir/", Ok("index")),
        ("/to-dir", Err(301)),
        ("/chain", Ok("real")),
        ("/real/up", Ok("a")),
        ("/real/deep/up-two", Ok("a")),
        ("/round-about", Ok("real")),
        ("/absolute", Ok("a")),
        ("/absolute-dir/file.txt", Ok("real")),
        ("/absolute-dir/", Ok("index")),
        ("/absolute-dir/deep/er.txt", Ok("deeper")),
        ("/absolute-dir", Err(301)),
        ("/dangling", Err(404)),
        ("/self", Err(404)),
        ("/self/", Err(404)),
        ("/ring-a", Err(404)),
        ("/ring-a/x", Err(404)),
        ("/out", Err(404)),
        ("/out-dir", Err(404)),
        ("/out-dir/", Err(404)),
        ("/out-dir/secret.txt", Err(404)),
        ("/out-chain", Err(404)),
        ("/real/out-two", Err(404)),
        ("/out-sibling", Err(404)),
        ("/out-passwd", Err(404)),
        ("/out-slash/etc/passwd", Err(404)),
        ("/out-proc/etc/passwd", Err(404)),
        ("/out-index/", Err(404)),
        ("/absolute-out", Err(404)),
        ("/absolute-sibling/secret.txt", Err(404)),
        ("/absolute-via-link", Err(404)),
        ("/absolute-with-dots", Err(404)),
        // What is not there looks like what may not be had.
        ("/out-dir/nothing.txt", Err(404)),
    ] {
        // Twice: the second time names are in the kernel's cache, and content perhaps in ours.
        for round in 1..=2 {
            let response = client.get(target);
            let found = if response.status == 200 { Ok(text(&response.content)) } else { Err(response.status) };
            assert_eq!(found, expected.map(str::to_owned), "{target}, round {round}");
            assert!(find(&response.content, SECRET).is_none(), "{target}");
            check_head(&server, target, "", &response);
        }
    }
    // A way out and in again: inside in the end, yet it may be refused; never anything else.
    let response = client.get("/out-and-in");
    assert!(matches!((response.status, response.content.as_slice()), (404, _) | (200, b"a")), "{response:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The answer to a GET, if there is one; on a connection that the server closes another follows. A worker whose sandbox holds
/// the old root makes way for another, with its connections.
fn ask(server: &Server, client: &mut Client, target: &str) -> Option<Response> {
    // The server may have closed it.
    let _ = client.try_send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = client.receive(Method::Get).ok();
    if answer.as_ref().is_none_or(|answer| answer.field("Connection") == Some("close")) {
        *client = server.client();
    }
    answer
}

/// A new version of a site may be put in the place of the old one as a whole.
#[test]
fn a_root_that_is_replaced_by_rename_is_taken_up() {
    for sandbox in ["on", "off"] {
        check_replaced_by_rename(sandbox);
    }
}

fn check_replaced_by_rename(sandbox: &str) {
    let site = Site::new();
    site.file("version.txt", "one");
    let content = site.pattern("large.bin", 2 << 20);
    let server = Setup::root(&site.root()).set("sandbox", format!("'{sandbox}'")).start();
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/version.txt").content, b"one");
        assert!(client.get("/large.bin").content == content);
    }
    let next = site.outside().join("next");
    std::fs::create_dir(&next).expect("a directory beside the root");
    write(&next.join("version.txt"), "two");
    std::fs::rename(site.root(), site.outside().join("old")).expect("the root can be moved away");
    std::fs::rename(next, site.root()).expect("another can take its place");
    for client in &mut clients {
        let sees = |client: &mut Client, target, holds: fn(&Response) -> bool| {
            eventually("the new root", || ask(&server, client, target).is_some_and(|answer| holds(&answer)));
        };
        sees(client, "/version.txt", |answer| answer.content == b"two");
        sees(client, "/large.bin", |answer| answer.status == 404);
    }
}

/// Deployment tools switch a symbolic link from one release to the next.
#[test]
fn a_root_that_is_a_switched_link_is_taken_up() {
    let site = Site::new();
    let release = |name: &str| {
        let path = site.outside().join(name);
        std::fs::create_dir(&path).expect("a directory beside the root");
        write(&path.join("version.txt"), name);
        // By its absolute path, as tools make links: it must lead into the release that is served.
        std::os::unix::fs::symlink(path.join("version.txt"), path.join("link.txt")).expect("a link");
        path
    };
    let current = site.outside().join("current");
    let switch_to = |release: &Path| {
        let new = site.outside().join("current.new");
        std::os::unix::fs::symlink(release, &new).expect("a link");
        std::fs::rename(new, &current).expect("a link can replace a link");
    };
    switch_to(&release("release-1"));
    let server = Setup::root(&current).start();
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for number in 1..=3 {
        let name = format!("release-{number}");
        if number > 1 {
            switch_to(&release(&name));
        }
        for client in &mut clients {
            for target in ["/version.txt", "/link.txt"] {
                let is_it = |answer: Response| answer.content == name.as_bytes();
                let seen = holds_within(HANG, || ask(&server, client, target).is_some_and(is_it));
                assert!(seen, "{target} of {name} was never seen");
            }
        }
    }
}

/// A root that vanishes for a while is served on from the descriptor, and its successor found.
#[test]
fn a_root_that_is_away_for_a_while_does_no_harm() {
    let site = Site::new();
    site.file("a.txt", "a");
    let server = Server::of(&site);
    let away = site.outside().join("away");
    std::fs::rename(site.root(), &away).expect("the root can be moved away");
    assert_eq!(server.get("/a.txt").content, b"a");
    std::fs::create_dir(site.root()).expect("another root");
    site.file("b.txt", "b");
    eventually("the new root", || server.get("/b.txt").status == 200);
    // Each worker sees it for itself, and another may answer.
    eventually("the old root's end", || server.get("/a.txt").status == 404);
}

/// A root may be named from the current directory, and absolute links still lead into it.
#[test]
fn a_root_may_be_relative() {
    let site = Site::new();
    site.file("a.txt", "a");
    site.link("absolute", site.path("a.txt"));
    site.link("out", "/etc/passwd");
    let go_there =
        ["sh", "-c", "cd \"$0\" && exec \"$@\""].map(OsStr::new).into_iter().chain([site.outside().as_os_str()]);
    let server = Setup::flags(["-a", "127.0.0.1:0", "-r", "root"]).wrapped(go_there).start();
    for (target, status) in [("/a.txt", 200), ("/absolute", 200), ("/out", 404)] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
}

#[test]
fn the_root_of_the_machine_can_be_served() {
    let site = Site::new();
    let content = pattern(200_000);
    site.file("file.bin", &content);
    site.link("absolute", site.path("file.bin"));
    let server = Setup::flags([OsStr::new("-a"), OsStr::new("127.0.0.1:0"), OsStr::new("-r"), OsStr::new("/")])
        .set("workers", 2)
        .start();
    let mut client = server.client();
    let below = |name: &str| site.path(name).display().to_string();
    for name in ["file.bin", "absolute"] {
        assert!(client.get(&below(name)).content == content, "{name}");
    }
    let range = client.ask(Method::Get, &below("file.bin"), "Range: bytes=4096-4099\r\n");
    assert_eq!((range.status, range.content.as_slice()), (206, &content[4096..4100]));
    // Devices are no files, and the magic links of /proc lead anywhere at all.
    for target in ["/dev/null", "/dev/zero", "/proc/self/root/etc/hostname", "/proc/self/cwd/x"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
    assert_eq!(client.get(&site.root().display().to_string()).status, 301);
}
