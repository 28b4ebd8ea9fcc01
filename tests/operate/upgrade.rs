//! SIGUSR2: another process of the program takes over.
//!
//! Invariant: clients notice nothing, and what fails has not happened.

use crate::harness::load::{Habit, Load};
use crate::harness::server::{PROGRAM, Setup};
use crate::harness::site::set_mode;
use crate::harness::successor::Successor;
use crate::harness::systemd::Systemd;
use crate::harness::{Client, HANG, Method, Server, Site, eventually, holds_within};
use rustix::process::{Pid, Signal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A site whose configuration can be changed.
struct Changeable {
    site: Site,
    config: PathBuf,
}

impl Changeable {
    fn new() -> Changeable {
        let site = Site::new();
        site.file("a.txt", "content");
        let config = site.outside().join("config.toml");
        let changeable = Changeable { site, config };
        changeable.change_to(2, "");
        changeable
    }

    fn change_to(&self, workers: usize, more: &str) {
        let root = self.site.root();
        let text = format!(
            "listen = ['127.0.0.1:0']\nroot = '{}'\nworkers = {workers}\ndrain_timeout = 1\n{more}",
            root.display()
        );
        std::fs::write(&self.config, text).expect("a file of this test");
    }

    fn setup(&self) -> Setup {
        Setup::flags([""; 0]).config_file(&self.config)
    }
}

#[test]
fn an_upgrade_loses_nobody() {
    let changeable = Changeable::new();
    let server = changeable.setup().start();
    let load = Load::start(server.address(), "/a.txt", b"content", &[(Habit::Fresh, 3), (Habit::Kept, 3)]);
    load.wait_for_more(50);
    let mut newest = Successor::of(&server, 1);
    for count in 2..=5 {
        load.wait_for_more(50);
        newest = newest.next(&server, count);
    }
    load.wait_for_more(50);
    assert_eq!(load.end(), [""; 0], "{}", server.log());
    assert!(!newest.has_ended());
    drop(newest);
}

#[test]
fn an_old_process_ends_when_it_has_nothing_left_to_do() {
    let changeable = Changeable::new();
    let mut server = changeable.setup().start();
    let mut idle = server.client();
    let mut busy = server.client();
    assert_eq!(idle.get("/a.txt").status, 200);
    assert_eq!(busy.get("/a.txt").status, 200);
    let _successor = Successor::of(&server, 1);
    // Within its moment of grace it learns that it is the last; afterwards a new connection would tell the same.
    busy.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = busy.answer(Method::Get);
    assert!(answer.status == 200 && answer.closes());
    idle.expect_end("it had nothing to ask");
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.get("/a.txt").content, b"content");
}

#[test]
fn a_download_outlives_the_process_that_serves_it() {
    const LENGTH: usize = 1 << 28;
    let changeable = Changeable::new();
    changeable.site.sparse("large.bin", LENGTH as u64);
    let mut server = changeable.setup().start();
    let mut download = server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    let _successor = Successor::of(&server, 1);
    // Far longer than `drain_timeout`, and slowly.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        download.take_some(1 << 16);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.exited().is_none(), "it waits for the download");
    let answer = download.receive(Method::Get).expect("all of it");
    assert_eq!(answer.content.len(), LENGTH);
    assert!(answer.content.iter().all(|byte| *byte == 0));
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.log().contains("were cut"), "{}", server.log());
}

#[test]
fn a_signal_ends_the_old_process_within_its_drain() {
    let changeable = Changeable::new();
    changeable.site.sparse("large.bin", 1 << 30);
    let mut server = changeable.setup().start();
    let address = server.address();
    let mut download = server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    let successor = Successor::of(&server, 1);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    server.wait_for_log("1 connections did not finish in time and were cut");
    assert!(!successor.has_ended());
    assert_eq!(Client::connect(address).get("/a.txt").content, b"content");
}

/// The server serves on, and says why it has to.
fn is_refused(server: &Server, why: &str) {
    server.signal(Signal::USR2);
    server.wait_for_log("the upgrade is refused, and this process serves on: ");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("the upgrade is refused")).expect("it was waited for");
    assert!(line.contains(why), "{line}");
    for _ in 0..8 {
        assert_eq!(server.get("/a.txt").content, b"content");
    }
}

#[test]
fn what_cannot_start_takes_nothing_over() {
    let changeable = Changeable::new();
    let unix = changeable.site.outside().join("web.sock");
    let listen = |more: &str| {
        let root = changeable.site.root();
        let text = format!("listen = ['127.0.0.1:0', 'unix:{}']\nroot = '{}'\n{more}", unix.display(), root.display());
        std::fs::write(&changeable.config, text).expect("a file of this test");
    };
    listen("");
    let systemd = Systemd::new();
    let server = changeable.setup().environment("NOTIFY_SOCKET", systemd.path()).start();
    systemd.wait_for("READY=1");
    listen("wrokers = 3\n");
    is_refused(&server, "wrokers");
    systemd.wait_for("; an upgrade was refused, and the log says why");
    assert!(!systemd.words().iter().any(|words| words.contains("MAINPID")), "{:?}", systemd.words());
    // Found later, when the sockets have been taken over: they are the old one's still.
    listen("error_log = '/nowhere/error.log'\n");
    server.signal(Signal::USR2);
    eventually("another refusal", || server.log().matches("the upgrade is refused").count() == 2);
    server.wait_for_log("/nowhere");
    for _ in 0..8 {
        assert_eq!(server.get("/a.txt").content, b"content");
        assert_eq!(Client::connect_unix(&unix).get("/a.txt").content, b"content");
    }
    listen("");
    let successor = Successor::of(&server, 1);
    assert_eq!(Client::connect_unix(&unix).get("/a.txt").content, b"content");
    drop(successor);
}

/// A site whose server runs a program of its own, which can be replaced.
struct Installed {
    changeable: Changeable,
    program: PathBuf,
}

impl Installed {
    fn new() -> Installed {
        let changeable = Changeable::new();
        let program = changeable.site.outside().join("otus-httpd");
        copy_program(&program);
        Installed { changeable, program }
    }

    fn start(&self) -> Server {
        let become_it = format!("shift; exec {} \"$@\"", self.program.display());
        self.changeable.setup().wrapped(["sh", "-c", &become_it, "sh"]).start()
    }

    /// Puts another file in the place of the program, as a package manager does.
    fn replace(&self, with: impl FnOnce(&Path)) {
        let new = self.program.with_extension("new");
        with(&new);
        set_mode(&new, 0o755);
        std::fs::rename(&new, &self.program).expect("both are ours");
    }

    fn replace_by_script(&self, script: &str) {
        self.replace(|new| std::fs::write(new, format!("#!/bin/sh\n{script}\n")).expect("a file of this test"));
    }

    /// Upgrades to a version that takes its time, and waits until it has been started.
    fn upgrade_slowly(&self, server: &Server) -> Slow {
        let directory = self.changeable.site.outside();
        let slow = Slow { program: directory.join("slow"), go_on: directory.join("go-on") };
        copy_program(&slow.program);
        let started = directory.join("started");
        self.replace_by_script(&format!(
            ": > {}\nwhile [ ! -e {} ]; do sleep 0.05; done\nexec {} \"$@\"",
            started.display(),
            slow.go_on.display(),
            slow.program.display()
        ));
        server.signal(Signal::USR2);
        eventually("the new program to start", || started.exists());
        slow
    }
}

/// A version that waits until it may go on.
struct Slow {
    /// What it becomes then.
    program: PathBuf,
    go_on: PathBuf,
}

impl Slow {
    fn go_on(&self) {
        std::fs::write(&self.go_on, "").expect("a file of this test");
    }
}

/// Descriptors of files that are written would keep a concurrent test's child from being started: so it is a link, if it can be.
fn copy_program(to: &Path) {
    std::fs::hard_link(PROGRAM, to).or_else(|_| std::fs::copy(PROGRAM, to).map(drop)).expect("it can be copied");
}

#[test]
fn what_is_started_is_what_the_package_put_there() {
    let installed = Installed::new();
    let server = installed.start();
    installed.replace_by_script("exit 3");
    is_refused(&server, "exit status: 3");
    installed.replace(copy_program);
    let successor = Successor::of(&server, 1);
    let running = std::fs::read_link(format!("/proc/{}/exe", successor.pid().as_raw_nonzero())).expect("it runs");
    assert_eq!(running, installed.program);
    assert_eq!(server.get("/a.txt").content, b"content");
}

#[test]
fn systemd_is_told_who_serves() {
    let changeable = Changeable::new();
    let systemd = Systemd::new();
    let server = changeable.setup().environment("NOTIFY_SOCKET", systemd.path()).start();
    systemd.wait_for("READY=1");
    let stored = systemd.stored();
    assert_eq!(stored.len(), 3, "two and the probe: {stored:?}");
    let before = systemd.words().len();
    let successor = Successor::of(&server, 1);
    eventually("both to be told", || systemd.words().len() >= before + 2);
    let words = systemd.words();
    assert_eq!(words[before], format!("MAINPID={}\n", successor.pid().as_raw_nonzero()));
    assert!(words[before + 1].starts_with("READY=1\nSTATUS=serving with 2 workers"), "{words:?}");
    eventually("the old to end", || server.log().contains("stopped"));
    assert!(!systemd.words().iter().any(|words| words.contains("STOPPING")), "{words:?}");
    assert_eq!(systemd.stored(), stored, "each socket is there once");
    // The store is used by whoever comes next.
    let address = server.address();
    successor.signal(Signal::TERM);
    eventually("the new one to end", || successor.has_ended());
    let mut waiting = Client::connect(address);
    waiting.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let _next = systemd.restarts(changeable.setup()).start();
    assert_eq!(waiting.answer(Method::Get).content, b"content");
}

#[test]
fn unix_sockets_and_the_admin_door_are_handed_over() {
    let changeable = Changeable::new();
    let (path, admin) = (changeable.site.outside().join("web.sock"), changeable.site.outside().join("admin.sock"));
    let root = changeable.site.root();
    let text = format!(
        "listen = ['127.0.0.1:0', 'unix:{}']\nroot = '{}'\n[admin]\nlisten = ['unix:{}', '127.0.0.1:0']\n",
        path.display(),
        root.display(),
        admin.display()
    );
    std::fs::write(&changeable.config, text).expect("a file of this test");
    let mut server = changeable.setup().start();
    let inodes = || [&path, &admin].map(|path| std::fs::metadata(path).map(|file| file.ino()).ok());
    let before = inodes();
    let successor = Successor::of(&server, 1);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(inodes(), before);
    assert!(before.iter().all(Option::is_some));
    assert_eq!(Client::connect_unix(&path).get("/a.txt").content, b"content");
    let mut status = Client::connect_unix(&admin).host("localhost");
    assert_eq!(status.get("/metrics").status, 200);
    let doors: Vec<String> = server
        .log()
        .lines()
        .filter_map(|line| line.split_once("listener is on "))
        .map(|(_, at)| at.to_owned())
        .collect();
    assert_eq!((doors.len(), &doors[..2]), (4, &doors[2..]), "the ports are kept");
    drop(successor);
    assert_eq!(inodes(), [None, None], "whoever serves last removes them");
}

#[test]
fn no_queue_is_left_without_a_reader_when_the_number_of_workers_changes() {
    let changeable = Changeable::new();
    changeable.change_to(1, "");
    let server = changeable.setup().start();
    let mut newest: Option<Successor> = None;
    for (at, workers) in [3, 1, 4, 2].into_iter().enumerate() {
        changeable.change_to(workers, "");
        let next = match &newest {
            None => Successor::of(&server, at + 1),
            Some(newest) => newest.next(&server, at + 1),
        };
        if let Some(old) = newest.replace(next) {
            eventually("the old to end", || old.has_ended());
        }
        for _ in 0..40 {
            assert_eq!(server.get("/a.txt").content, b"content");
        }
    }
}

#[test]
fn more_sockets_than_fit_into_a_message_are_handed_over() {
    const LISTENERS: usize = 101;
    let changeable = Changeable::new();
    let listen = ["'127.0.0.1:0'"; LISTENERS].join(", ");
    let root = changeable.site.root();
    let text = format!("listen = [{listen}]\nroot = '{}'\nworkers = 2\n", root.display());
    std::fs::write(&changeable.config, text).expect("a file of this test");
    let mut server = changeable.setup().start();
    eventually("all to be announced", || server.addresses().len() == LISTENERS);
    let _successor = Successor::of(&server, 1);
    assert_eq!(server.exit_code(), Some(0));
    for address in &server.addresses()[..LISTENERS] {
        assert_eq!(Client::connect(*address).get("/a.txt").content, b"content");
    }
}

#[test]
fn a_reload_that_is_asked_for_meanwhile_is_the_new_process_s() {
    let installed = Installed::new();
    let server = installed.start();
    let slow = installed.upgrade_slowly(&server);
    server.signal(Signal::HUP);
    assert_eq!(server.get("/a.txt").content, b"content");
    slow.go_on();
    let _successor = Successor::told_of(&server, 1);
    server.wait_for_log("reloaded in");
    let log = server.log();
    assert!(log.find("this process has taken over") < log.find("reloading the configuration"), "{log}");
}

#[test]
fn a_stop_in_the_middle_of_an_upgrade_ends_both() {
    let installed = Installed::new();
    let mut server = installed.start();
    let pid = installed.changeable.site.outside().join("pid");
    let name = pid.display();
    installed.replace_by_script(&format!("echo $$ > {name}.new; mv {name}.new {name}; exec sleep 600"));
    server.signal(Signal::USR2);
    eventually("the new program to start", || pid.exists());
    assert_eq!(server.get("/a.txt").content, b"content");
    server.signal(Signal::USR2);
    server.wait_for_log("an upgrade is under way already");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let number = std::fs::read_to_string(&pid).expect("it is there");
    assert!(!Path::new("/proc").join(number.trim()).exists(), "who was to take over is left behind");
}

/// What ends before it is told to go on has taken no connection that would end with it.
#[test]
fn nobody_is_lost_to_a_process_that_is_not_told_to_go_on() {
    let installed = Installed::new();
    let server = installed.start();
    let slow = installed.upgrade_slowly(&server);
    // From here on the old one does not hear that the other is ready.
    server.signal(Signal::STOP);
    slow.go_on();
    let new = || processes_of(&slow.program).into_iter().find(|pid| has_workers(*pid));
    let is_there = holds_within(HANG, || new().is_some());
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    // Were it to accept any, it would have by then.
    std::thread::sleep(Duration::from_millis(500));
    if let Some(pid) = new() {
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    }
    let is_gone = holds_within(HANG, || processes_of(&slow.program).is_empty());
    server.signal(Signal::CONT);
    assert!(is_there && is_gone, "its workers do not start, or do not end");
    server.wait_for_log("the upgrade is refused, and this process serves on");
    for client in &mut clients {
        assert_eq!(client.get("/a.txt").content, b"content");
    }
}

/// Processes that run this program.
fn processes_of(program: &Path) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("it is there").flatten();
    let running = processes.filter(|one| std::fs::read_link(one.path().join("exe")).is_ok_and(|exe| exe == program));
    running.filter_map(|one| Pid::from_raw(one.file_name().to_str()?.parse().ok()?)).collect()
}

/// Whether a process has got so far that it has threads of workers.
fn has_workers(process: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).into_iter().flatten().flatten();
    let mut names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.any(|name| name.starts_with("worker-"))
}
