//! What a server does when descriptors or memory run out, and that it recovers by itself.
//!
//! Invariant: whoever is in flight is served to the end, and whoever is turned away is told so.

use crate::harness::server::Setup;
use crate::harness::{Client, Fault, Method, Server, Site, eventually, skipped};
use rustix::process::{Resource, Rlimit, prlimit};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sets the server's limit of open files so that `left` more can be opened.
fn leave_descriptors(server: &Server, left: usize) {
    let open: Vec<_> = server.descriptors().iter().map(|descriptor| descriptor.number).collect();
    let beyond = (0..).filter(|number| !open.contains(number)).nth(left).expect("numbers have no end");
    // The hard limit stays, so that it can be raised again.
    let limit = Rlimit { current: Some(u64::from(beyond)), maximum: Some(4096) };
    prlimit(Some(server.pid()), Resource::Nofile, limit).expect("it is our child");
}

#[test]
fn without_descriptors_idle_connections_make_room_and_newcomers_are_told() {
    let site = Site::new();
    site.file("a.txt", "a");
    let content = site.pattern("large.bin", 16 << 20);
    let server = Setup::root(&site.root()).set("workers", 1).start();
    let sockets = server.sockets();
    // In flight: they have taken a part of what they asked for.
    let mut in_flight: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut in_flight {
        client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        client.take_some(100_000);
    }
    let mut idle: Vec<Client> = (0..6).map(|_| server.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/a.txt").status, 200));
    leave_descriptors(&server, 0);
    let mut newcomers: Vec<Client> = Vec::new();
    // First the idle ones make room; those who come are busy, and stay.
    for _ in 0..6 {
        let mut newcomer = server.client();
        newcomer.send("GET /a.txt HTTP/1.1\r\nHost: a\r\nX: ");
        newcomers.push(newcomer);
    }
    idle.iter_mut().for_each(|client| client.expect_end("it made room"));
    // Then nobody is idle any more.
    for _ in 0..30 {
        let mut turned_away = server.client();
        // It may be gone before we ask.
        let _ = turned_away.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        match turned_away.receive(Method::Get) {
            Ok(response) => {
                assert_eq!((response.status, response.closes()), (503, true));
                assert!(response.field("Retry-After").is_some());
            }
            Err(fault) => panic!("turned away without a word: {fault:?}"),
        }
    }
    for client in &mut in_flight {
        assert!(client.answer(Method::Get).content == content, "what is in flight comes whole");
    }
    for client in &mut newcomers {
        client.send("y\r\n\r\n");
        assert_eq!(client.answer(Method::Get).content, b"a", "who came in by the room that was made");
    }
    drop((in_flight, newcomers, idle));
    server.wait_for_sockets(sockets);
    for _ in 0..10 {
        assert_eq!(server.get("/a.txt").content, b"a");
    }
    server.wait_for_log("accepting connections again");
    assert_eq!(server.log().matches("connections cannot be accepted").count(), 1, "{}", server.log());
}

/// A control group of the test's own; made of what the machine has.
struct Group {
    directory: PathBuf,
    limit: &'static str,
    ballast: PathBuf,
}

const LIMIT_BYTES: usize = 400 << 20;

impl Group {
    fn new(name: &str) -> Result<Group, String> {
        let name = format!("otus-httpd-test-{name}-{}", std::process::id());
        let (parent, limit) = if Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let directory = Path::new(parent).join(&name);
        std::fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let group = Group { directory, limit, ballast: Path::new("/dev/shm").join(name) };
        let limited = std::fs::write(group.directory.join(group.limit), LIMIT_BYTES.to_string());
        limited.map_err(|error| format!("{}: {error}", group.limit))?;
        // A machine without swap is the usual one; where there is swap, the ballast would go there.
        Ok(group)
    }

    /// What a process does to join it.
    fn join(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.directory.display())
    }

    /// Has so many hundredths of its limit in use, by others than the server where it does not use as much.
    fn fill(&self, percent: usize) -> Result<(), String> {
        let bytes = (LIMIT_BYTES / 100 * percent).saturating_sub(self.used_bytes());
        let script = format!("{} && head -c {bytes} /dev/zero > {}", self.join(), self.ballast.display());
        let status = Command::new("sh").args(["-c", &script]).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err("no memory could be filled in /dev/shm".to_owned()) }
    }

    /// Without the pages of files, which the kernel can take back.
    fn used_bytes(&self) -> usize {
        let read = |name: &str| std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let used = [read("memory.usage_in_bytes"), read("memory.current")].concat();
        let statistics = read("memory.stat");
        let of_files = ["active_file ", "inactive_file "].map(|name| {
            let line = statistics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
        });
        used.trim().parse::<usize>().expect("the kernel counts it") - of_files.iter().sum::<usize>()
    }

    fn empty(&self) {
        let _ = std::fs::remove_file(&self.ballast);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.empty();
        // It can be removed once its last process is gone.
        crate::harness::holds_within(crate::harness::HANG, || std::fs::remove_dir(&self.directory).is_ok());
    }
}

fn start_in(group: &Group, site: &Site) -> Server {
    let script = format!("{}; exec \"$@\"", group.join());
    Setup::root(&site.root()).set("cache_size", "'100m'").wrapped(["sh", "-c", &script, "sh"]).start()
}

#[test]
fn with_little_memory_left_nobody_new_comes_in() {
    let group = match Group::new("scarce") {
        Ok(group) => group,
        Err(why) => return skipped("a control group that is almost full", &why),
    };
    let site = Site::new();
    site.file("a.txt", "a");
    site.sparse("large.bin", 16 << 20);
    let server = start_in(&group, &site);
    let mut idle = server.client();
    assert_eq!(idle.get("/a.txt").status, 200);
    let mut in_flight = server.client();
    in_flight.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    in_flight.take_some(1);
    if let Err(why) = group.fill(95) {
        return skipped("a control group that is almost full", &why);
    }
    server.wait_for_log("new ones are turned away");
    idle.expect_end("it made room");
    let mut turned_away = server.client();
    let _ = turned_away.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = turned_away.answer(Method::Get);
    assert_eq!(response.status, 503);
    assert!(response.field("Retry-After").is_some());
    assert_eq!(in_flight.answer(Method::Get).content.len(), 16 << 20, "what is in flight comes whole");
    group.empty();
    eventually("service as before", || {
        let mut client = server.client();
        let _ = client.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.receive(Method::Get) {
            Ok(response) => response.status == 200,
            Err(Fault::End | Fault::Reset) => false,
            Err(fault) => panic!("{fault:?}"),
        }
    });
    server.wait_for_log("all is as before");
}

#[test]
fn with_less_memory_the_cache_gives_back() {
    const FILES: usize = 20;
    let group = match Group::new("short") {
        Ok(group) => group,
        Err(why) => return skipped("a control group that is filling up", &why),
    };
    let site = Site::new();
    for number in 0..FILES {
        site.pattern(&format!("{number}.bin"), 200_000 + number);
    }
    let server = start_in(&group, &site);
    let before = server.descriptors().len();
    let get_all = || {
        for number in 0..FILES {
            assert_eq!(server.get(&format!("/{number}.bin")).content.len(), 200_000 + number);
        }
    };
    get_all();
    // Each is held by a descriptor of its own.
    eventually("what was asked for is held", || server.descriptors().len() >= before + FILES);
    if let Err(why) = group.fill(88) {
        return skipped("a control group that is filling up", &why);
    }
    server.wait_for_log("the cache gives back");
    eventually("most of it is given back", || server.descriptors().len() < before + FILES / 4);
    get_all();
    group.empty();
    server.wait_for_log("all is as before");
    eventually("what is asked for is held again", || {
        get_all();
        server.descriptors().len() >= before + FILES
    });
}
