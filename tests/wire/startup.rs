//! Starting: every way in which users write it, and every way in which it can fail.
//!
//! Invariant: a start that fails is one line on standard error that names the cause, and an exit
//! code: 2 for what was typed, 1 for everything else. It is never a panic.

use crate::harness::server::{Outcome, Setup, bare};
use crate::harness::{Client, NOBODY, Server, Site, is_root, skipped};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};

/// A port that is free on all addresses. Somebody may take it before the server does.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("some port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Starts a server with these flags, in which PORT and ROOT are filled in.
fn start_with(line: &str, root: &str) -> (Server, u16) {
    for _ in 0..10 {
        let port = free_port();
        let flags = line.split(' ').map(|word| word.replace("PORT", &port.to_string()).replace("ROOT", root));
        match Setup::flags(flags).try_start() {
            Ok(server) => return (server, port),
            // A test that runs beside this one was quicker.
            Err(why) if why.contains("another program listens there") => {}
            Err(why) => panic!("{line}: {why}"),
        }
    }
    panic!("{line}: every free port was taken at once");
}

#[test]
fn all_ways_of_starting() {
    let site = Site::new();
    site.file("a.txt", "a");
    let root = site.root().display().to_string();
    let local = "127.0.0.1";
    for (line, workers, listens_on) in [
        ("-w=5 -p=PORT -r=ROOT", 5, "0.0.0.0"),
        ("-p PORT -a 127.0.0.1 -r ROOT -w 2", 2, local),
        ("--port PORT --rootdir ROOT --workers 8", 8, "0.0.0.0"),
        ("-w 4 --checkalive 5 --read_timeout 5 --document_root ROOT --host 127.0.0.1 -p PORT", 4, local),
        ("-r / -p PORT -w 2", 2, "0.0.0.0"),
        ("-w 1 --read-timeout=5 --document-root=ROOT --address=127.0.0.1:PORT", 1, local),
    ] {
        let (server, port) = start_with(line, &root);
        let target =
            if line.contains("-r /") && !line.contains("ROOT") { format!("{root}/a.txt") } else { "/a.txt".to_owned() };
        let mut client = Client::connect((Ipv4Addr::LOCALHOST, port).into());
        assert_eq!(client.get(&target).content, b"a", "{line}");
        let announced = server.announcements().remove(0);
        assert!(announced.contains(&format!("http://{listens_on}:{port}/")), "{line}: {announced}");
        let plural = if workers == 1 { "" } else { "s" };
        assert!(announced.ends_with(&format!("with {workers} worker{plural}")), "{line}: {announced}");
    }
}

#[test]
fn several_addresses_at_once() {
    let site = Site::new();
    site.file("a.txt", "a");
    let mut addresses = vec!["127.0.0.1:0", "127.0.0.2:0"];
    match TcpListener::bind("[::1]:0") {
        Ok(_) => addresses.push("[::1]:0"),
        Err(error) => skipped("listening on [::1]", &error.to_string()),
    }
    let root = site.root();
    let flags = addresses.iter().flat_map(|address| ["-a", address]).map(OsStr::new);
    let server = Setup::flags(flags.chain([OsStr::new("-r"), root.as_os_str()])).set("workers", 2).start();
    crate::harness::eventually("a line an address", || server.addresses().len() == addresses.len());
    for address in server.addresses() {
        for _ in 0..4 {
            assert_eq!(Client::connect(address).get("/a.txt").content, b"a", "{address}");
        }
    }
}

/// Without a word from the administrator there is a page that tells how to say one, for this
/// machine only.
#[test]
fn without_a_root_there_is_a_welcome() {
    let server = Setup::flags(["-p", "0"]).set("workers", 1).start();
    assert!(server.address().ip().is_loopback(), "{:?}", server.addresses());
    let mut client = server.client();
    let response = client.get("/");
    assert_eq!((response.status, response.field("Content-Type")), (200, Some("text/html")));
    assert!(String::from_utf8_lossy(&response.content).contains("--document-root"));
    let tag = response.field("ETag").expect("it has a tag").to_owned();
    let again = client.ask(crate::harness::Method::Get, "/", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(again.status, 304);
    for target in ["/index.html", "/etc/passwd", "/x/"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
}

/// One line, with this exit code, that names all of `named`; behind it only, where it is a place in a file, that place. What
/// a check reports stands on standard output, and has the error too.
fn check_failure(outcome: &Outcome, code: i32, named: &[&str], context: &str) {
    assert_eq!(outcome.code, Some(code), "{context}: {}{}", outcome.stdout, outcome.stderr);
    let has_error = outcome.stdout.lines().any(|line| line.starts_with("error    "));
    assert!(outcome.stdout.is_empty() || has_error, "{context}: {}", outcome.stdout);
    let shown: Vec<_> = outcome.stderr.lines().skip(1).collect();
    let is_place = shown.len() == 3 && shown[1].contains(" | ") && shown[2].ends_with('^');
    assert!(shown.is_empty() || is_place, "{context}: {}", outcome.stderr);
    assert!(outcome.stderr.starts_with("otus-httpd: "), "{context}: {}", outcome.stderr);
    for name in named {
        assert!(outcome.stderr.contains(name), "{context}: {name} is not in {}", outcome.stderr);
    }
}

#[test]
fn what_was_typed_wrongly_is_named() {
    for (line, named) in [
        ("-p 99999", "--port"),
        ("-p -1", "-1"),
        ("-p http", "--port"),
        ("--port", "--port"),
        ("-w 0", "--workers"),
        ("-w 99999", "--workers"),
        ("-w many", "--workers"),
        ("--read-timeout 0", "--read-timeout"),
        ("--read_timeout soon", "--read-timeout"),
        ("--checkalive 0", "--checkalive"),
        ("--wrokers 5", "--wrokers"),
        ("-x", "-x"),
        ("-r", "--document-root"),
        ("-p 1 -p 2", "--port"),
        ("stray", "stray"),
    ] {
        check_failure(&Setup::flags(line.split(' ')).outcome(), 2, &[named], line);
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for (flag, said) in
        [("--help", "--document-root"), ("-h", "--workers"), ("--version", "otus-httpd"), ("-V", "otus-httpd")]
    {
        let outcome = Setup::flags([flag]).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{flag}");
        assert!(outcome.stdout.contains(said), "{flag}: {}", outcome.stdout);
    }
}

#[test]
fn a_port_in_use_is_never_shared() {
    let site = Site::new();
    let root = site.root();
    let try_port = |port: u16, flag: Option<&str>| {
        let address = format!("127.0.0.1:{port}");
        let flags = ["-a", &address].map(OsStr::new).into_iter().chain([OsStr::new("-r"), root.as_os_str()]);
        let setup = Setup::flags(flags.chain(flag.map(OsStr::new)));
        check_failure(&setup.outcome(), 1, &[&address, "another program listens there", "--port"], "a port in use");
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let port = listener.local_addr().expect("it is bound").port();
    try_port(port, None);
    try_port(port, Some("-t"));
    // The kernel would let two servers of one user share it.
    let server = Server::of(&site);
    try_port(server.address().port(), None);
}

#[test]
fn a_root_that_cannot_be_served_is_named() {
    let site = Site::new();
    site.file("file", "");
    for (path, cause) in [(site.path("absent"), "no such directory"), (site.path("file"), "not a directory")] {
        for check in [None, Some("-t")] {
            let flags = [OsStr::new("-p"), OsStr::new("0"), OsStr::new("-r"), path.as_os_str()];
            let outcome = Setup::flags(flags.into_iter().chain(check.map(OsStr::new))).outcome();
            let named = path.display().to_string();
            check_failure(&outcome, 1, &[&named, cause], &named);
        }
    }
    let locked = site.directory("locked");
    crate::harness::site::set_mode(&locked, 0o000);
    let setup = Setup::root(&locked);
    let setup = if is_root() { setup.user(NOBODY) } else { setup };
    check_failure(&setup.outcome(), 1, &["locked", "permission denied"], "a locked root");
    crate::harness::site::set_mode(&locked, 0o711);
    let setup = Setup::root(&locked);
    let setup = if is_root() { setup.user(NOBODY) } else { setup };
    check_failure(&setup.outcome(), 1, &["locked", "permission denied"], "a root that cannot be listed");
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let site = Site::new();
    let root = site.root().display().to_string();
    for (address, code, named) in [
        // RFC 5737: well written, and no machine has it
        ("192.0.2.1:8080", 1, "no such address"),
        ("nonsense:port", 2, "port"),
        ("no.such.name.invalid:80", 2, "--address"),
    ] {
        let outcome = Setup::flags(["-a", address, "-r", &root]).outcome();
        check_failure(&outcome, code, &[address, named], address);
    }
}

#[test]
fn a_privileged_port_is_named() {
    let site = Site::new();
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first_free.trim().parse::<u16>().unwrap_or(1024) <= 81 {
        return skipped("a privileged port", "this machine has none");
    }
    let root = site.root();
    let flags = ["-a", "127.0.0.1:81", "-r"].map(OsStr::new).into_iter().chain([root.as_os_str()]);
    let setup = Setup::flags(flags);
    let setup = if is_root() { setup.user(NOBODY) } else { setup };
    check_failure(&setup.outcome(), 1, &["127.0.0.1:81", "permission denied", "--port"], "port 81");
}

/// What the shell's `ulimit` leaves; `exec` keeps the process the same.
fn with_ulimit(site: &Site, limits: &str) -> Setup {
    Setup::root(&site.root()).wrapped(["sh", "-c", &format!("{limits}; exec \"$0\" \"$@\"")])
}

#[test]
fn limits_that_are_too_low_are_named() {
    let site = Site::new();
    // Root raises them by itself.
    let with_ulimit = |limits: &str| {
        let setup = with_ulimit(&site, limits);
        if is_root() { setup.user(NOBODY) } else { setup }
    };
    check_failure(&with_ulimit("ulimit -l 64").outcome(), 1, &["locked memory", "64 KiB", "ulimit -l"], "-l 64");
    // Too few descriptors for the workers' rings, at whatever point of the start they run out.
    for descriptors in [6, 8, 10, 12, 14, 16, 18] {
        let context = format!("{descriptors} descriptors");
        match with_ulimit(&format!("ulimit -n {descriptors}")).try_start() {
            Ok(_) => panic!("{context} are enough for two workers"),
            Err(why) => {
                assert!(!why.contains("panic"), "{context}: {why}");
                assert_eq!(why.lines().count(), 1, "{context}: {why}");
            }
        }
    }
}

/// Bare containers have no /sys, which the engine wants to see before it binds a worker.
#[test]
fn no_sys_is_needed() {
    let script = "umount -l /sys && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", script];
    let probe = std::process::Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("a start without /sys", "/sys cannot be unmounted here");
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let server = Setup::root(&site.root()).wrapped(wrapper).start();
    assert_eq!(server.get("/a.txt").content, b"a");
}

/// As ProcSubset=pid of a unit has it: no setting of the kernel can be read.
#[test]
fn no_settings_of_the_kernel_are_needed() {
    let script = "mount -t proc -o subset=pid proc /proc && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "-m", "sh", "-c", script];
    let probe = std::process::Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("a start without /proc/sys", "no such /proc can be mounted here");
    }
    let site = Site::new();
    site.file("a.txt", "a");
    let server = Setup::root(&site.root()).wrapped(wrapper).start();
    assert_eq!(server.get("/a.txt").content, b"a");
    if let Some(denying) = denying(rustix::io::Errno::PERM, IO_URING_SETUP) {
        let wrapper: Vec<_> = wrapper.map(str::to_owned).into_iter().chain(denying).collect();
        let outcome = Setup::root(&site.root()).wrapped(wrapper).outcome();
        check_failure(
            &outcome,
            1,
            &["io_uring_disabled, which is hidden here, is not 0; or a seccomp filter"],
            "hidden",
        );
    }
}

/// Each worker runs on one core, and no two on the same while there are enough.
#[test]
fn workers_are_bound_to_cores() {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    if usable == 1 {
        return skipped("binding to cores", "this machine has one");
    }
    let site = Site::new();
    let server = Server::of(&site);
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", server.pid().as_raw_nonzero())).expect("our child's threads");
    let of_workers = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        // The pool's threads bear their worker's name as well; they are free to run anywhere.
        (name.starts_with("worker-") && cpus.parse::<usize>().is_ok()).then_some(cpus)
    });
    let mut cpus: Vec<_> = of_workers.collect();
    cpus.sort();
    assert_eq!(cpus.len(), 2, "{cpus:?}");
    cpus.dedup();
    assert_eq!(cpus.len(), 2, "both on one core");
}

/// Installs a seccomp filter under which system calls fail with the error of the first argument, those whose numbers are the
/// second, and becomes the program of the others.
const DENYING: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
steps = [(0x20, 0, 0, 0)]
for number in sys.argv[2].split(","):
    steps += [(0x15, 0, 1, int(number)), (0x06, 0, 0, 0x50000 | int(sys.argv[1]))]
steps += [(0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
program = Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert libc.prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0) == 0
os.execvp(sys.argv[3], sys.argv[3:])
"#;

/// io_uring_setup(2), on every architecture.
const IO_URING_SETUP: &str = "425";

/// What denies these system calls, before a program; none where no filter can be set.
fn denying(errno: rustix::io::Errno, calls: &str) -> Option<Vec<String>> {
    let errno = errno.raw_os_error().to_string();
    let wrapper = ["python3", "-c", DENYING, &errno, calls].map(str::to_owned);
    let probe = std::process::Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").output();
    probe.is_ok_and(|output| output.status.success()).then(|| wrapper.to_vec())
}

/// The cause is the same line everywhere; the remedy is where the filter most likely came from.
#[test]
fn io_uring_that_is_denied_is_named() {
    let site = Site::new();
    let systemd = site.outside().join("notify");
    // The second as in a unit, where a filter hides openat2 besides: nothing can be opened through a ring that is not there.
    for (errno, calls) in [
        (rustix::io::Errno::PERM, IO_URING_SETUP.to_owned()),
        (rustix::io::Errno::NOSYS, format!("{IO_URING_SETUP},437")),
    ] {
        let Some(wrapper) = denying(errno, &calls) else {
            return skipped("io_uring denied", "no seccomp filter can be set by python3 here");
        };
        for (check, environment, named) in [
            (None, None, "io_uring_setup"),
            (Some("-t"), None, "io_uring_setup"),
            (None, Some(("container", OsStr::new("podman"))), "packaging/container/seccomp.json"),
            (None, Some(("NOTIFY_SOCKET", systemd.as_os_str())), "io_uring_setup"),
        ] {
            let root = site.root();
            let flags = ["-a", "127.0.0.1:0", "-r"].map(OsStr::new).into_iter().chain([root.as_os_str()]);
            let mut setup = Setup::flags(flags.chain(check.map(OsStr::new)));
            if let Some((name, value)) = environment {
                setup = setup.environment(name, value);
            }
            let outcome = setup.wrapped(&wrapper).outcome();
            check_failure(&outcome, 1, &["io_uring is not", "seccomp", named], &format!("{errno} {environment:?}"));
        }
    }
}

/// What makes a server better, and not a server.
#[test]
fn what_is_not_needed_may_be_denied() {
    // landlock_create_ruleset, sched_setaffinity, mlock, fsopen, fsmount, memfd_create.
    let calls = if cfg!(target_arch = "x86_64") { "444,203,149,430,432,319" } else { "444,122,228,430,432,279" };
    // A filter that cannot look into the argument of openat2 pretends that there is no such call.
    let openat2 = |errno| if errno == rustix::io::Errno::NOSYS { ",437" } else { "" };
    for errno in [rustix::io::Errno::PERM, rustix::io::Errno::NOSYS] {
        let site = Site::new();
        site.file("a.txt", "a");
        site.pattern("large.bin", 3 << 20);
        let Some(wrapper) = denying(errno, &format!("{calls}{}", openat2(errno))) else {
            return skipped("much denied", "no seccomp filter can be set by python3 here");
        };
        let server = Setup::root(&site.root()).wrapped(&wrapper).start();
        assert_eq!(server.get("/a.txt").content, b"a");
        assert_eq!(server.get("/large.bin").content.len(), 3 << 20);
        std::os::unix::fs::symlink("/etc/hostname", site.root().join("out")).expect("a link of this test");
        assert_eq!(server.get("/out").status, 404);
        assert_eq!(server.get("/none").status, 404);
    }
}

#[test]
fn a_check_says_whether_it_would_start() {
    let site = Site::new();
    let root = site.root();
    let flags = ["-t", "-a", "127.0.0.1:0", "-r"].map(OsStr::new).into_iter().chain([root.as_os_str()]);
    let outcome = Setup::flags(flags).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(!outcome.stdout.contains("error "), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "otus-httpd: the configuration is good\n");
}

/// Whatever is in force can be written down and kept.
#[test]
fn the_printed_configuration_can_be_read_back() {
    let site = Site::new();
    let root = site.root();
    let flags = ["-T", "-a", "127.0.0.1:81", "-a", "[::1]:82", "-w", "3", "--read-timeout", "7", "-r"];
    let flags = flags.map(OsStr::new).into_iter().chain([root.as_os_str()]);
    let first = Setup::flags(flags).set("cache_size", "'64m'").set("index", "['a.html', 'b.html']").outcome();
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    for line in ["read_timeout = 7", "workers = 3", "drain_timeout = 1", "cache_size = 67108864"] {
        assert!(bare(&first.stdout).contains(&line), "{line} is not in {}", first.stdout);
    }
    let second = Setup::flags(["-T"]).config_text(&first.stdout).outcome();
    assert_eq!((second.code, bare(&second.stdout)), (Some(0), bare(&first.stdout)));
}

/// An editor can jump to what is wrong.
#[test]
fn mistakes_in_the_configuration_file_have_a_place() {
    for (text, named) in [
        ("wrokers = 5", &["otus-httpd.conf:1:1:", "wrokers"][..]),
        ("\n# a comment\n  workers = [", &["otus-httpd.conf:3:"]),
        ("root = '/srv'\nroot = '/srv'", &["otus-httpd.conf:2:1:"]),
        ("root = '/srv'\nread_timeout = 'soon'", &["otus-httpd.conf:2:16:"]),
        ("listen = 5", &["otus-httpd.conf:1:10:"]),
        ("root = \"\n", &["otus-httpd.conf:1:"]),
        ("workers = 0", &["otus-httpd.conf", "workers"]),
        ("read_timeout = 0", &["otus-httpd.conf", "read_timeout"]),
        ("listen = ['here:port']", &["otus-httpd.conf", "here:port"]),
        ("cache_size = '64 lightyears'", &["otus-httpd.conf", "cache_size"]),
        ("head_bytes_max = 100", &["otus-httpd.conf", "head_bytes_max"]),
        ("index = ['../x']", &["otus-httpd.conf", "index"]),
    ] {
        let outcome = Setup::flags(["-t"]).config_text(text).outcome();
        check_failure(&outcome, 1, named, text);
        assert_eq!(outcome.stderr.lines().count(), 4, "{text}: {}", outcome.stderr);
    }
    let missing = Setup::flags(["-t"]).config_file("/no/such/file.conf").outcome();
    check_failure(&missing, 1, &["/no/such/file.conf"], "a file that is not there");
}
