//! Who the server is once it serves: another than root, where root started it.
//!
//! Invariant: every thread is looked at, for the kernel keeps users, groups and rights a thread.

use crate::harness::server::{Outcome, Setup};
use crate::harness::site::{pattern, set_mode, set_modified};
use crate::harness::{Client, NOBODY, Server, Site, eventually, is_root, skipped};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether there is nothing to give up.
fn is_ordinary(test: &str) -> bool {
    if !is_root() {
        skipped(test, "it takes root");
    }
    !is_root()
}

/// What /proc says of each thread, by key.
fn threads(server: &Server) -> Vec<BTreeMap<String, String>> {
    let tasks = format!("/proc/{}/task", server.pid().as_raw_nonzero());
    let tasks = std::fs::read_dir(tasks).expect("our child's threads can be listed");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path.join("status")).ok();
    let threads: Vec<_> = tasks
        .flatten()
        .filter_map(|task| read(task.path()))
        .map(|status| {
            let pairs = status.lines().filter_map(|line| line.split_once(':'));
            let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
            pairs.map(|(key, value)| (key.to_owned(), words(value))).collect()
        })
        .collect();
    // The supervisor, the log's writer, two workers and their pools.
    assert!(threads.len() > 4, "{} threads", threads.len());
    threads
}

/// All threads have this user, this group, these further groups, and no rights.
fn check_identity(server: &Server, uid: u32, gid: u32, groups: Option<&str>) {
    for thread in threads(server) {
        assert_eq!(thread["Uid"], format!("{uid} {uid} {uid} {uid}"), "{thread:?}");
        assert_eq!(thread["Gid"], format!("{gid} {gid} {gid} {gid}"), "{thread:?}");
        assert!(!thread["Groups"].split(' ').any(|group| group == "0"), "{thread:?}");
        if let Some(groups) = groups {
            assert_eq!(thread["Groups"], groups, "{thread:?}");
        }
        for rights in ["CapEff", "CapPrm", "CapAmb"] {
            assert_eq!(thread[rights], "0000000000000000", "{rights}: {thread:?}");
        }
        assert_eq!(thread["NoNewPrivs"], "1", "{thread:?}");
    }
}

/// User and group of the first of these accounts that the machine has.
fn account(names: &[&str]) -> (u32, u32) {
    let accounts = std::fs::read_to_string("/etc/passwd").expect("this machine has accounts");
    let entry = |name: &&str| accounts.lines().find(|line| line.split(':').next() == Some(name));
    let entry = names.iter().find_map(entry).expect("one of them is there");
    let numbers: Vec<u32> = entry.split(':').skip(2).take(2).map(|number| number.parse().expect("a number")).collect();
    (numbers[0], numbers[1])
}

fn check_refusal(outcome: &Outcome, code: i32, named: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{}{}", outcome.stdout, outcome.stderr);
    for name in named {
        assert!(outcome.stderr.contains(name), "{name} is not in {}", outcome.stderr);
    }
}

/// Every way that a file takes to a client works for one who has no rights: through /proc/self/fd, which belongs to root
/// in such a process, and through memory that root made.
#[test]
fn started_as_root_it_serves_as_another() {
    if is_ordinary("giving up root") {
        return;
    }
    let site = Site::new();
    let contents = [("small.bin", 1000), ("shared.bin", 300_000), ("large.bin", 3_000_000)];
    for (name, length) in contents {
        site.pattern(name, length);
        set_modified(&site.path(name), 784_111_777);
    }
    site.pattern("new.bin", 3_000_000);
    let server = Setup::root(&site.root()).set("autoindex", "'html'").flag("-v").drops_rights().start();
    let (uid, gid) = account(&["otus-httpd", "www-data", "nobody"]);
    check_identity(&server, uid, gid, None);
    for (name, length) in contents {
        for _ in 0..8 {
            assert!(server.get(&format!("/{name}")).content == pattern(length), "{name}");
        }
    }
    assert!(server.get("/new.bin").content == pattern(3_000_000));
    assert_eq!(server.get("/").status, 200);
    let is_private = server.log().contains("content in memory lies in a tmpfs");
    let prefix = if is_private { "/#" } else { "/memfd:content" };
    let held = || server.descriptors().iter().filter(|descriptor| descriptor.target.starts_with(prefix)).count();
    eventually("one copy in memory", || {
        assert!(server.get("/shared.bin").content == pattern(300_000));
        held() == 1
    });
    // The engine may tell that the user may lock less memory than root.
    let complains = |line: &str| line.contains("ERROR") || line.contains("WARN otus_httpd");
    assert!(!server.log().lines().any(complains), "{}", server.log());
}

#[test]
fn user_and_group_are_those_that_were_named() {
    if is_ordinary("taking on a user and a group") {
        return;
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let setup = || Setup::root(&site.root()).drops_rights();
    let (nobody, its_group) = account(&["nobody"]);
    for (setup, uid, gid) in [
        (setup().flag("--user").flag("nobody"), nobody, its_group),
        (setup().flag("--user=nobody:12345"), nobody, 12345),
        (setup().flag("--user=4000000001:12345"), 4_000_000_001, 12345),
        (setup().set("user", "'nobody'"), nobody, its_group),
        (setup().set("user", "'nobody'").set("group", "'12345'"), nobody, 12345),
        // What is typed takes the place of both keys.
        (setup().set("user", "'root'").set("group", "'12345'").flag("--user=nobody"), nobody, its_group),
    ] {
        let server = setup.start();
        check_identity(&server, uid, gid, Some(&gid.to_string()));
        assert_eq!(server.get("/a.txt").content, b"a");
    }
}

#[test]
fn root_stays_root_where_it_is_told_to() {
    if is_ordinary("serving as root") {
        return;
    }
    let site = Site::new();
    site.file("a.txt", "a");
    set_mode(&site.root(), 0o700);
    for setup in [
        Setup::root(&site.root()).drops_rights().set("user", "'root'"),
        Setup::root(&site.root()).drops_rights().flag("--user=root"),
    ] {
        let server = setup.start();
        for thread in threads(&server) {
            assert_eq!((&*thread["Uid"], &*thread["NoNewPrivs"]), ("0 0 0 0", "1"), "{thread:?}");
        }
        assert_eq!(server.get("/a.txt").content, b"a");
    }
}

/// A port that takes a right to bind, which nobody has.
fn low_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (700..1000).find(is_free).expect("one of these is free")
}

#[test]
fn what_takes_root_is_done_before() {
    if is_ordinary("binding a low port") {
        return;
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let socket = site.outside().join("socket");
    let port = low_port();
    let listen = format!("['127.0.0.1:{port}', 'unix:{}']", socket.display());
    let setup = || {
        let text = format!("listen = {listen}\nroot = '{}'\nuser = 'nobody'", site.root().display());
        Setup::configured(text).drops_rights()
    };
    let check = setup().flag("-t").outcome();
    assert_eq!((check.code, socket.exists()), (Some(0), false), "{}", check.stderr);
    // The second start finds the socket that the first one may not remove from a directory of root's.
    for round in 1..=2 {
        let server = setup().start();
        assert_eq!(Client::connect(([127, 0, 0, 1], port).into()).get("/a.txt").content, b"a");
        let owner = std::fs::metadata(&socket).expect("it listens there");
        assert_eq!(owner.uid(), NOBODY, "round {round}");
        drop(server);
        assert!(socket.exists(), "round {round}: nobody may not write to the directory");
    }
}

#[test]
fn limits_that_are_too_low_are_raised_by_root() {
    let probe = std::process::Command::new("sh").args(["-c", "ulimit -n 10; ulimit -n 20"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("raising limits", "it takes CAP_SYS_RESOURCE");
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let setup = Setup::root(&site.root()).drops_rights();
    let server = setup.wrapped(["sh", "-c", "ulimit -n 10; ulimit -l 64; exec \"$0\" \"$@\""]).start();
    assert_eq!(server.get("/a.txt").content, b"a");
}

/// Root may read everything; that the server's user may not is said at the start, and not by 403 for all.
#[test]
fn a_root_that_the_user_may_not_read_is_named() {
    if is_ordinary("a root that the server's user may not read") {
        return;
    }
    let site = Site::new();
    let below = site.directory("private/below");
    let closed = site.path("private");
    set_mode(&closed, 0o700);
    let below_text = below.display().to_string();
    let closed_text = closed.display().to_string();
    let listed = site.directory("listed");
    set_mode(&listed, 0o744);
    for (root, named) in [
        (&below, &[&below_text, "permission denied", "nobody", "may not enter", &closed_text, "--user"][..]),
        (&closed, &[&closed_text, "permission denied", "nobody", "chmod o+rx"]),
        (&listed, &["permission denied", "nobody", "chmod o+rx"]),
    ] {
        for check in ["--user=nobody", "-t"] {
            let setup = Setup::root(root).set("user", "'nobody'").drops_rights().flag(check);
            let outcome = setup.outcome();
            check_refusal(&outcome, 1, named);
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        }
    }
}

#[test]
fn users_that_cannot_be_are_refused() {
    let site = Site::new();
    let typed = |user: &str| Setup::root(&site.root()).drops_rights().flag("--user").flag(user).outcome();
    check_refusal(&typed("no-such-one"), 2, &["--user", "no user \"no-such-one\"", "useradd"]);
    check_refusal(&typed("root:no-such-one"), 2, &["--user", "no group \"no-such-one\"", "groupadd"]);
    let written = Setup::root(&site.root()).set("user", "'no-such-one'").outcome();
    check_refusal(&written, 1, &["otus-httpd.conf:", "user: there is no user", "^^^"]);
    if is_root() {
        let as_nobody = |name: &str, value: &str| {
            let setup = Setup::root(&site.root()).user(NOBODY).set("sandbox", "'on'");
            setup.flag(&format!("{name}={value}"))
        };
        check_refusal(&as_nobody("--user", "root").outcome(), 1, &["only root can serve as root", "this is nobody"]);
        check_refusal(&as_nobody("--user", "nobody:root").outcome(), 1, &["only root can take on the group root"]);
        site.file("a.txt", "a");
        assert_eq!(as_nobody("--user", "nobody").start().get("/a.txt").content, b"a", "nobody is nobody");
    }
}

/// The limit of core dumps that is in force, as /proc tells it: soft and hard.
fn core_limit(server: &Server) -> String {
    let path = format!("/proc/{}/limits", server.pid().as_raw_nonzero());
    let limits = std::fs::read_to_string(path).expect("our child's limits can be read");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("it is always there");
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn memory_is_written_to_disk_only_on_demand() {
    let site = Site::new();
    site.file("a.txt", "a");
    let probe = std::process::Command::new("sh").args(["-c", "ulimit -c unlimited"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skipped("core dumps", "the hard limit forbids them already");
    }
    let setup = || Setup::root(&site.root()).wrapped(["sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]);
    let owner = |server: &Server| {
        let process = format!("/proc/{}/maps", server.pid().as_raw_nonzero());
        std::fs::metadata(Path::new(&process)).expect("our child is there").uid()
    };
    for (core_dumps, expected) in [("false", "0 0"), ("true", "unlimited unlimited")] {
        let server = setup().set("core_dumps", core_dumps).drops_rights().start();
        assert_eq!(core_limit(&server), expected, "core_dumps = {core_dumps}");
        if is_root() {
            // What the kernel does not dump belongs to root, and others of the server's user may not look into it either.
            assert_eq!(owner(&server) != 0, core_dumps == "true", "core_dumps = {core_dumps}");
        }
    }
}
