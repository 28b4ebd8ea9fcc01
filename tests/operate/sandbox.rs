//! What workers may reach: nothing but what they serve, whoever they are.
//!
//! Invariant: each denial has its opposite, without the sandbox, in the same test: it is the sandbox that denies.

use crate::harness::server::Setup;
use crate::harness::site::{set_modified, write};
use crate::harness::{Client, Method, Server, Site, eventually, skipped};
use std::time::{Duration, Instant};

/// Whether the kernel confines the workers of a server that was started with `-v`; it tells where it does not.
fn is_confined(server: &Server, test: &str) -> bool {
    server.wait_for_log("sandbox of the workers: ");
    let log = server.log();
    if let Some((_, why)) = log.split_once("sandbox of the workers: off: the kernel") {
        skipped(test, &format!("the kernel{}", why.lines().next().unwrap_or_default()));
        return false;
    }
    assert!(log.contains("sandbox of the workers: on, ABI "), "{log}");
    true
}

/// `symlinks = "follow"` follows wherever the account may read, and the sandbox says where that ends.
#[test]
fn links_lead_no_further_than_the_sandbox() {
    let site = Site::new();
    let outside = site.outside().join("data");
    std::fs::create_dir_all(outside.join("below")).expect("a directory beside the root");
    for (name, length) in [("small", 10), ("shared", 100_000), ("large", 3_000_000), ("below/small", 10)] {
        let path = outside.join(name);
        write(&path, vec![b'x'; length]);
        set_modified(&path, 784_111_777);
    }
    site.link("data", &outside);
    site.link("small", outside.join("small"));
    // Two links on the way, and a file that was just written: others open it in other ways.
    site.link("twice", "small");
    write(&outside.join("new"), vec![b'x'; 3_000_000]);
    let targets = ["/small", "/twice", "/data/small", "/data/shared", "/data/large", "/data/new", "/data/below/small"];
    let setup = || Setup::root(&site.root()).set("symlinks", "'follow'").set("autoindex", "'html'").flag("-v");
    let check = |server: &Server, status: u16| {
        for target in targets.iter().chain(&["/data/", "/data/below/"]) {
            for method in [Method::Get, Method::Head] {
                // Twice: what is remembered is denied as well.
                for _ in 0..2 {
                    assert_eq!(server.client().ask(method, target, "").status, status, "{target}");
                }
            }
        }
    };
    let confined = setup().start();
    if !is_confined(&confined, "links that lead out of the sandbox") {
        return;
    }
    check(&confined, 403);
    confined.wait_for_log("not served: it lies outside of what workers may read; name its directory in `sandbox_read`");
    check(&setup().set("sandbox_read", format!("['{}']", outside.display())).start(), 200);
    let open = setup().set("sandbox", "'off'").start();
    open.wait_for_log("sandbox of the workers: off: by configuration");
    check(&open, 200);
}

/// A file that permissions deny is not blamed on the sandbox.
#[test]
fn permissions_are_told_from_the_sandbox() {
    if !crate::harness::is_root() {
        return skipped("a file that the server's user may not read", "it takes root");
    }
    let site = Site::new();
    crate::harness::site::set_mode(&site.file("private.txt", "x"), 0o600);
    let server = Setup::root(&site.root()).drops_rights().start();
    assert_eq!(server.get("/private.txt").status, 403);
    server.wait_for_log("not served: Permission denied");
    assert!(!server.log().contains("sandbox_read"), "{}", server.log());
}

/// What code in a worker may do, whatever led it there.
#[test]
fn a_worker_may_do_nothing_but_serve() {
    let attempts = [
        "read /etc/passwd",
        "read /etc/shadow",
        "write /tmp",
        "bind",
        "connect",
        "read /etc/passwd in a thread of its own",
    ];
    for (sandbox, expected) in [("on", "Permission denied"), ("off", "done")] {
        let site = Site::new();
        let file = site.outside().join("fault");
        let server = Setup::root(&site.root())
            .set("sandbox", format!("'{sandbox}'"))
            .environment("OTUS_HTTPD_FAULT_FILE", &file)
            .flag("-v")
            .start();
        if sandbox == "on" && !is_confined(&server, "a worker in a sandbox") {
            return;
        }
        std::fs::write(&file, "open 0").expect("the file of faults can be written");
        server.wait_for_log(&format!("asked for this: {}: ", attempts[attempts.len() - 1]));
        for attempt in attempts {
            if attempt == "read /etc/shadow" && sandbox == "off" && !crate::harness::is_root() {
                continue;
            }
            let since_abi_4 = ["bind", "connect"].contains(&attempt);
            if sandbox == "on"
                && since_abi_4
                && ["ABI 1", "ABI 2", "ABI 3"].iter().any(|old| server.log().contains(old))
            {
                skipped(attempt, "the kernel's Landlock is older than that");
                continue;
            }
            let told = format!("asked for this: {attempt}: {expected}");
            server.wait_for_log(&told);
        }
    }
}

/// Well below the second after which the server takes a client for idle.
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// A thread cannot leave its sandbox for a new root, so that another takes its place: no request is lost by it.
#[test]
fn a_root_that_is_replaced_loses_no_request_of_a_busy_client() {
    let site = Site::new();
    site.file("version.txt", "one");
    let server = Setup::root(&site.root()).flag("-v").start();
    if !is_confined(&server, "a root that is replaced under a sandbox") {
        return;
    }
    let mut clients: Vec<_> = (0..8).map(|_| (server.client(), Instant::now())).collect();
    let ask_all = |clients: &mut Vec<(Client, Instant)>| {
        let mut seen = Vec::new();
        for (client, asked) in clients {
            let sent = client.try_send("GET /version.txt HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.receive(Method::Get);
            // On a machine that stalls, a client may be taken for an idle one.
            let was_busy = asked.elapsed() < BUSY_PAUSE_MAX;
            assert!(answer.is_ok() || !was_busy, "a request was lost: {sent:?}, {answer:?}");
            if answer.as_ref().map_or(true, |answer| answer.field("Connection") == Some("close")) {
                *client = server.client();
            }
            *asked = Instant::now();
            seen.extend(answer.map(|answer| answer.content));
        }
        seen
    };
    ask_all(&mut clients);
    let next = site.outside().join("next");
    std::fs::create_dir(&next).expect("a directory beside the root");
    write(&next.join("version.txt"), "two");
    std::fs::rename(site.root(), site.outside().join("old")).expect("the root can be moved away");
    std::fs::rename(next, site.root()).expect("another can take its place");
    eventually("the new version for all", || ask_all(&mut clients).iter().all(|seen| seen == b"two"));
    eventually("both workers' relief", || server.log().matches("was relieved by one").count() == 2);
    // It stays so: those who were relieved end, and their clients are gone by then.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert!(ask_all(&mut clients).iter().all(|seen| seen == b"two"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let workers = || {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", server.pid().as_raw_nonzero())).expect("our child's threads");
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
        tasks.flatten().filter_map(name).filter(|name| name.starts_with("worker-")).count()
    };
    let threads = workers();
    eventually("no more threads than before", || workers() <= threads && workers() % 2 == 0);
}
