//! What is read from the disk, by the kernel's own count: hot files stay in memory whatever is asked for once, and a
//! cold file that all want at once is read once.
//!
//! The files are kept out of the page cache, so that whatever is not in the server's memory must come from the disk.
//!
//! Invariant: a test judges bytes that were read, never times; where the kernel counts none (a file system in
//! memory), it says that it is skipped.

use crate::harness::server::{Io, Setup};
use crate::harness::site::{pattern, set_modified};
use crate::harness::{Client, Method, Random, Server, Site, skipped};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// A file of the site, and its length.
type Listed = (String, usize);

/// Writes a file that is long at rest and in nobody's memory.
fn cold_file(site: &Site, name: &str, length: usize) -> Listed {
    site.pattern(name, length);
    set_modified(&site.path(name), 784_111_777);
    forget(&site.path(name));
    (name.to_owned(), length)
}

/// Has the page cache let go of a file.
fn forget(path: &Path) {
    let file = File::open(path).expect("our own file can be opened");
    // What is not on the disk yet cannot be let go.
    file.sync_all().expect("our own file can be synced");
    fadvise(&file, 0, None, Advice::DontNeed).expect("the kernel takes advice");
}

fn fetch(client: &mut Client, (name, length): &Listed) {
    let response = client.get(&format!("/{name}"));
    assert!(response.status == 200 && response.content == pattern(*length), "{name}: other bytes");
}

/// What the server reads while `work` is done.
fn read_during(server: &Server, work: impl FnOnce()) -> Io {
    let before = server.io();
    work();
    let after = server.io();
    Io { read_bytes: after.read_bytes - before.read_bytes, rchar: after.rchar - before.rchar }
}

fn bytes(files: &[Listed]) -> u64 {
    files.iter().map(|(_, length)| *length as u64).sum()
}

/// Of what is asked for once, as a crawler does, ten times as much as there is room for.
const CRAWLED_TIMES: u64 = 10;

/// What an entry of the cache costs beside its content, and more than that.
const ENTRY_BYTES_MAX: u64 = 1024;

/// Of a core's cache, the part that newcomers pass through; the rest is for what was asked for again.
const NEWCOMERS_PERCENT: u64 = 30;

const LARGEST_BYTES: usize = 1 << 20;

/// Small files, which a core holds by itself, and larger ones in memory for all cores, in a cache that just holds
/// them: they do not lose their places to what is asked for once. In the smaller cache a single file is a tenth of the
/// whole; such files once pushed out all hot ones, for the part of newcomers was smaller than one of them.
#[test]
fn a_crawl_leaves_the_hot_files_in_memory() {
    for count in [300, 50] {
        let Some(lost) = hot_files_lost(count) else { return };
        assert!(lost.is_empty(), "{} of {count} hot files were read again: {lost:#?}", lost.len());
    }
}

/// Asks for so many hot files, then once for each of many others; gives those of the hot ones that had to be read
/// again. None where the kernel does not count reads.
fn hot_files_lost(count: usize) -> Option<Vec<String>> {
    let site = Site::new();
    let mut random = Random::new(4);
    let content = pattern(LARGEST_BYTES);
    let zeros = vec![0; LARGEST_BYTES];
    let hot: Vec<_> = (0..count)
        .map(|number| {
            let length = match number % 4 {
                0 => 65_536 + random.below(LARGEST_BYTES - 65_536),
                _ => 4096 + random.below(40_000),
            };
            cold_file(&site, &format!("hot-{number}.bin"), length)
        })
        .collect();
    let room = (bytes(&hot) + count as u64 * ENTRY_BYTES_MAX) * 100 / (100 - NEWCOMERS_PERCENT);
    let mut crawled = Vec::new();
    while bytes(&crawled) < CRAWLED_TIMES * room {
        let length = if random.below(4) == 0 {
            65_536 + random.below(LARGEST_BYTES - 65_536)
        } else {
            1000 + random.below(60_000)
        };
        let name = format!("once-{}.bin", crawled.len());
        // Its zeros take no room on the disk, and as much memory as any others.
        site.sparse(&name, length as u64);
        crawled.push((name, length));
    }
    let server = Setup::root(&site.root()).set("workers", 1).set("cache_size", room).start();
    let mut client = server.client();
    let mut fetch_hot = |file: &Listed| {
        let response = client.get(&format!("/{}", file.0));
        assert!(response.status == 200 && response.content == content[..file.1], "{}: other bytes", file.0);
    };
    // What changed within the last second or two is read anew in the next.
    std::thread::sleep(Duration::from_secs(3));
    hot.iter().for_each(|file| forget(&site.path(&file.0)));
    if read_during(&server, || hot.iter().for_each(&mut fetch_hot)).read_bytes < bytes(&hot) {
        skipped("a crawl beside hot files", "reads from this file system are not counted");
        return None;
    }
    // Asked for again, they are hot.
    hot.iter().for_each(|file| forget(&site.path(&file.0)));
    let again = read_during(&server, || hot.iter().for_each(&mut fetch_hot));
    assert_eq!(again.read_bytes, 0, "the cache holds the hot files");
    let mut crawler = server.client();
    for (name, length) in &crawled {
        let response = crawler.get(&format!("/{name}"));
        assert!(response.status == 200 && response.content == zeros[..*length], "{name}: other bytes");
    }
    hot.iter().for_each(|file| forget(&site.path(&file.0)));
    let lost = hot.iter().filter_map(|file| {
        let read = read_during(&server, || fetch_hot(file));
        // rchar counts what a small file's bytes are copied from the page cache by; larger content is sent by a call
        // that it counts too.
        let is_lost = read.read_bytes > 0 || file.1 < 65_536 && read.rchar >= file.1 as u64;
        is_lost.then(|| format!("{} ({} bytes): {read:?}", file.0, file.1))
    });
    Some(lost.collect())
}

#[test]
fn a_stampede_on_a_cold_file_reads_it_once() {
    const CLIENTS: usize = 200;
    const LENGTH: usize = 900_000;
    const ROUNDS: usize = 5;
    let site = Site::new();
    let files: Vec<_> = (0..ROUNDS).map(|round| cold_file(&site, &format!("{round}.bin"), LENGTH + round)).collect();
    let server = Server::of(&site);
    // Only a file that is at rest is shared by the cores: one that changed within this second may yet change unseen.
    std::thread::sleep(Duration::from_secs(3));
    forget(&site.path(&files[0].0));
    let first = read_during(&server, || fetch(&mut server.client(), &files[0]));
    if first.read_bytes < LENGTH as u64 {
        return skipped("a stampede on a cold file", "reads from this file system are not counted");
    }
    for file in &files[1..] {
        forget(&site.path(&file.0));
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
        let read = read_during(&server, || {
            for client in &mut clients {
                client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", file.0));
            }
            let expected = pattern(file.1);
            for client in &mut clients {
                assert!(client.answer(Method::Get).content == expected, "{}: other bytes", file.0);
            }
        });
        eprintln!(
            "measured: {CLIENTS} clients of one cold file had it read {:.2} times",
            read.read_bytes as f64 / file.1 as f64
        );
        assert!(read.read_bytes >= file.1 as u64, "it was cold");
        assert!(
            read.read_bytes * 2 <= file.1 as u64 * 3,
            "{} bytes were read for a file of {}",
            read.read_bytes,
            file.1
        );
    }
}
