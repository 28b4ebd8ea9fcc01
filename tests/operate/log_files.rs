//! Files of logs in bad times: rotated under load, on a full disk, behind a reader that sleeps.

use crate::harness::server::{Server, Setup};
use crate::harness::site::write;
use crate::harness::{HANG, Site, eventually, holds_within, is_root, skipped};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const TEMPLATE: &str = "<$request_uri $status>";

fn start(site: &Site, path: &Path) -> Server {
    site.file("a", "x");
    let config = format!(
        "root = '{}'\nlisten = ['127.0.0.1:0']\naccess_log = {{ to = '{}', format = '{TEMPLATE}' }}",
        site.root().display(),
        path.display()
    );
    Setup::configured(config).start()
}

/// How often each number was told; every line must be whole.
fn numbers(texts: &[String]) -> BTreeMap<u64, usize> {
    let mut numbers = BTreeMap::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let number = line.strip_prefix("</a?").and_then(|line| line.strip_suffix(" 200>"));
        let number = number.and_then(|line| line.split('x').next()).and_then(|number| number.parse().ok());
        *numbers.entry(number.unwrap_or_else(|| panic!("a torn line: {line:?}"))).or_default() += 1;
    }
    numbers
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn rotation_under_load_loses_nothing() {
    const ROTATIONS: usize = 5;
    let site = Site::new();
    let path = site.outside().join("access.log");
    let server = start(&site, &path);
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let old = |number: usize| site.outside().join(format!("access.log.{number}"));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = server.client();
                // So long that a buffer is full after some thirty lines, and not only once a second.
                let filler = "x".repeat(2000);
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(client.get(&format!("/a?{number}{filler}")).status, 200);
                }
            });
        }
        for rotation in 0..ROTATIONS {
            let begun = next.load(Ordering::Relaxed);
            eventually("some requests", || next.load(Ordering::Relaxed) > begun + 300);
            eventually("a log", || path.exists());
            std::fs::rename(&path, old(rotation)).expect("it is ours");
            server.signal(Signal::USR1);
            eventually("a new file", || path.exists());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // What is still in buffers is written at the end.
    drop(server);
    let texts: Vec<_> = (0..ROTATIONS).map(old).chain([path]).map(|path| text(&path)).collect();
    assert!(texts.iter().filter(|text| !text.is_empty()).count() > 2, "the load was spread over several files");
    let numbers = numbers(&texts);
    let asked = next.load(Ordering::Relaxed);
    assert_eq!(numbers.len() as u64, asked, "each number is there");
    assert!(numbers.values().all(|times| *times == 1), "and none twice");
}

#[test]
fn a_file_that_cannot_be_made_anew_leaves_the_old_one() {
    let site = Site::new();
    let directory = site.outside().join("logs");
    std::fs::create_dir(&directory).expect("it is ours");
    let path = directory.join("access.log");
    let server = start(&site, &path);
    let old = site.outside().join("old.log");
    std::fs::rename(&path, &old).expect("it is ours");
    std::fs::remove_dir(&directory).expect("it is empty");
    server.signal(Signal::USR1);
    server.wait_for_log("the old one stays in use");
    server.get("/a?1");
    eventually("a line in the old file", || text(&old) == "</a?1 200>\n");
    std::fs::create_dir(&directory).expect("it is ours");
    server.signal(Signal::USR1);
    eventually("a new file", || path.exists());
    server.get("/a?2");
    eventually("a line in the new file", || text(&path) == "</a?2 200>\n");
}

#[test]
fn the_error_log_is_opened_anew() {
    let site = Site::new();
    let path = site.outside().join("error.log");
    let config = format!(
        "root = '{}'\nlisten = ['127.0.0.1:0']\nlog_level = 'debug'\nerror_log = '{}'",
        site.root().display(),
        path.display()
    );
    let server = Setup::configured(config).start();
    let old = site.outside().join("error.log.1");
    server.get("/one");
    eventually("a message", || text(&path).contains("path=/one"));
    std::fs::rename(&path, &old).expect("it is ours");
    server.signal(Signal::USR1);
    eventually("a new file", || path.exists());
    server.get("/two");
    eventually("a message in the new file", || text(&path).contains("path=/two"));
    assert!(!text(&old).contains("path=/two") && !text(&path).contains("path=/one"));
}

/// A reload brings other logs; those that nobody names any more are closed.
#[test]
fn a_reload_changes_logs() {
    let site = Site::new();
    site.file("a", "x");
    let (one, two, errors) =
        (site.outside().join("one.log"), site.outside().join("two.log"), site.outside().join("error.log"));
    let file = site.outside().join("changing.conf");
    let configure = |more: String| {
        let root = site.root();
        write(&file, format!("root = '{}'\nlisten = ['127.0.0.1:0']\nworkers = 2\n{more}", root.display()));
    };
    let to = |path: &Path| format!("access_log = {{ to = '{}', format = '{TEMPLATE}' }}\n", path.display());
    configure(to(&one));
    let server = Setup::flags([""; 0]).config_file(&file).start();
    let is_open = |path: &Path| {
        let path = path.display().to_string();
        server.descriptors().iter().any(|descriptor| descriptor.target == path)
    };
    server.get("/a?1");
    eventually("the first line", || text(&one) == "</a?1 200>\n");

    configure(to(&site.outside().join("no/such/directory/a.log")));
    server.signal(Signal::HUP);
    server.wait_for_log("the reload is refused");
    server.get("/a?2");
    eventually("a line where it was before", || text(&one).ends_with("</a?2 200>\n"));

    configure(format!("{}error_log = '{}'\nlog_level = 'debug'", to(&two), errors.display()));
    server.signal(Signal::HUP);
    eventually("the reload", || text(&errors).contains("reloaded in"));
    server.get("/a?3");
    eventually("a line in the new log", || text(&two) == "</a?3 200>\n");
    eventually("the end of the old one", || !is_open(&one));
    assert!(is_open(&two) && !text(&one).contains("?3"));
}

/// A file system of 64 KiB, unmounted at the end of the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(site: &Site) -> Option<SmallDisk> {
        if !is_root() {
            skipped("a log on a full disk", "a file system can be mounted by root only");
            return None;
        }
        let path = site.outside().join("disk");
        std::fs::create_dir(&path).expect("it is ours");
        match mount("otus-httpd-test", &path, "tmpfs", MountFlags::empty(), c"size=64k") {
            Ok(()) => Some(SmallDisk(path)),
            Err(errno) => {
                skipped("a log on a full disk", &format!("no tmpfs can be mounted: {errno}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Asks with long lines, so that two megabytes are soon there; gives the numbers that were asked with.
fn flood(server: &Server, from: u64, count: u64) {
    let mut client = server.client();
    let filler = "x".repeat(4000);
    for number in from..from + count {
        assert_eq!(client.get(&format!("/a?{number}{filler}")).status, 200, "serving goes on");
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let path = disk.0.join("access.log");
    let server = start(&site, &path);
    // Above what the disk takes and what waits for it.
    flood(&server, 0, 600);
    server.wait_for_log("cannot be written: No space left on device");
    server.wait_for_log("serving goes on");
    let first = holds_within(HANG, || {
        flood(&server, 1000, 50);
        server.log().contains("cannot be written")
    });
    assert!(first);
    // The disk gets more room: what waited comes first, then what is new.
    mount_remount(&disk.0, MountFlags::empty(), c"size=64m").expect("it can be made larger");
    server.wait_for_log("is written again");
    flood(&server, 5000, 10);
    drop(server);
    let numbers = numbers(&[text(&path)]);
    assert!(numbers.values().all(|times| *times <= 2), "a number of the repeated flood at most");
    assert!((5000..5010).all(|number| numbers.get(&number) == Some(&1)), "what came after is there");
    assert!((0..10).all(|number| numbers.contains_key(&number)), "what came before is there");
}

#[test]
fn a_reader_that_sleeps_costs_lines_and_nothing_else() {
    let site = Site::new();
    let path = site.outside().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a FIFO can be made");
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let mut reader = std::fs::File::options().read(true).custom_flags(flags).open(&path).expect("a FIFO can be read");
    let other = site.outside().join("other.log");
    site.file("a", "x");
    let config = format!(
        "root = '{}'\nlisten = ['127.0.0.1:0']\naccess_log = [{{ to = '{}', format = '{TEMPLATE}' }}, {{ to = '{}', format = '{TEMPLATE}' }}]",
        site.root().display(),
        path.display(),
        other.display()
    );
    let server = Setup::configured(config).start();
    flood(&server, 0, 600);
    server.wait_for_log("its reader is too slow");
    // It wakes up.
    let mut read = Vec::new();
    let is_over = holds_within(HANG, || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            read.extend_from_slice(&buffer[..count]);
        }
        std::thread::sleep(Duration::from_millis(5));
        server.log().contains("is written again")
    });
    assert!(is_over, "{}", server.log());
    flood(&server, 5000, 1);
    let last = holds_within(HANG, || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            read.extend_from_slice(&buffer[..count]);
        }
        read.windows(7).any(|window| window == b"</a?500")
    });
    assert!(last, "what came after is told");
    drop(server);
    let numbers_of_fifo = numbers(&[String::from_utf8(read).expect("text")]);
    assert!(numbers_of_fifo.values().all(|times| *times == 1));
    assert!(numbers_of_fifo.len() < 601, "some lines were dropped");
    // The other log had nothing to do with it.
    assert_eq!(numbers(&[text(&other)]).len(), 601);
}
