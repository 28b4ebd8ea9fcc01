//! Files that change while they are served: one by one at the worst moment, and all the time
//! under load, as a deployment does it.
//!
//! Each version of a file is one byte over and over, so that a mixture of two shows.
//!
//! Invariant: the content of one answer is of one version, and never longer than promised. It may
//! end short only where a file that is sent from the disk was changed in its place.

use crate::harness::site::set_modified;
use crate::harness::{Client, Fault, Method, Random, Server, Site, eventually};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Far more than the buffers between server and client hold.
const LARGE_BYTES: usize = 24 << 20;

/// How a download may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    Short,
}

/// Begins a download of a file of `a`, changes the file, and finishes the download: every byte
/// that came is an `a`. The file is as new as `modified` says (seconds since 1970; now without).
fn check_change(modified: Option<u64>, expected: Ending, change: impl FnOnce(&Path)) {
    let site = Site::new();
    let path = site.file("file.bin", vec![b'a'; LARGE_BYTES]);
    if let Some(modified) = modified {
        set_modified(&path, modified);
    }
    let server = Server::of(&site);
    let mut client = server.client();
    client.send("GET /file.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.take_some(100_000);
    // Long enough for the server to fill all buffers on the way, and to wait: a change that is
    // complete before the next read is harder to notice than one that goes on meanwhile.
    std::thread::sleep(Duration::from_millis(200));
    change(&path);
    let (ending, response) = match client.receive(Method::Get) {
        Ok(response) => (Ending::Whole, response),
        Err(Fault::CutContent(response)) => (Ending::Short, response),
        Err(fault) => panic!("neither whole nor short: {fault:?}"),
    };
    assert_eq!(response.field("Content-Length"), Some(LARGE_BYTES.to_string().as_str()));
    let foreign = response.content.iter().position(|byte| *byte != b'a');
    assert_eq!(foreign, None, "the first byte that is not of the version that was promised");
    assert_eq!(ending, expected, "{} bytes came", response.content.len());
    if ending == Ending::Short {
        client.expect_end("a transfer that was cut short");
    }
}

/// 1994-11-06: a file that has long been at rest.
const LONG_AGO: Option<u64> = Some(784_111_777);

fn append(path: &Path, bytes: &[u8]) {
    let file = File::options().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("our own file can be appended to");
}

#[test]
fn a_file_that_is_replaced_or_removed_is_sent_to_its_end() {
    for modified in [None, LONG_AGO] {
        check_change(modified, Ending::Whole, |path| {
            let next = path.with_extension("next");
            std::fs::write(&next, vec![b'b'; LARGE_BYTES + 5000]).expect("a file beside it");
            std::fs::rename(next, path).expect("a file can replace a file");
        });
        check_change(modified, Ending::Whole, |path| std::fs::remove_file(path).expect("it is ours"));
    }
}

#[test]
fn a_file_that_shrinks_cuts_its_transfer_short() {
    for modified in [None, LONG_AGO] {
        for left in [0, 100_000, LARGE_BYTES as u64 - 1] {
            check_change(modified, Ending::Short, |path| {
                let file = File::options().write(true).open(path);
                file.and_then(|file| file.set_len(left)).expect("our own file can be cut");
            });
        }
    }
}

/// `cp new old` empties the file and writes the new version into it.
#[test]
fn a_file_at_rest_that_is_rewritten_cuts_its_transfer_short() {
    for length in [LARGE_BYTES - 5000, LARGE_BYTES, LARGE_BYTES + 5000] {
        check_change(LONG_AGO, Ending::Short, |path| std::fs::write(path, vec![b'b'; length]).expect("it is ours"));
    }
}

/// The same shortly after the first version was written: two deployments in a row.
#[test]
fn a_new_file_that_is_rewritten_cuts_its_transfer_short() {
    for length in [LARGE_BYTES - 5000, LARGE_BYTES, LARGE_BYTES + 5000] {
        check_change(None, Ending::Short, |path| std::fs::write(path, vec![b'b'; length]).expect("it is ours"));
    }
}

/// A log that is written to all the time can be fetched: what it held at first is still there.
#[test]
fn a_file_that_grows_is_sent_as_long_as_it_was() {
    check_change(None, Ending::Whole, |path| append(path, &[b'b'; 10_000]));
}

/// Tools that copy times along give a new version the date of the old one; so may the length be
/// the same.
#[test]
fn a_change_that_keeps_length_and_date_is_seen() {
    let site = Site::new();
    for class in CLASSES {
        site.file(class.name, content_of(class, 0));
        set_modified(&site.path(class.name), 784_111_777);
    }
    let server = Server::of(&site);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for (version, in_place) in [(7, true), (14, false)] {
        for class in CLASSES {
            let target = format!("/{}", class.name);
            for client in &mut clients {
                assert_eq!(client.get(&target).status, 200);
            }
            let path = if in_place { site.path(class.name) } else { site.outside().join("next") };
            std::fs::write(&path, content_of(class, version)).expect("it is ours");
            set_modified(&path, 784_111_777);
            std::fs::rename(&path, site.path(class.name)).expect("a file can replace a file");
            for client in &mut clients {
                let expected = content_of(class, version);
                eventually("the new version", || fetch(&server, client, &target).is_some_and(|seen| seen == expected));
            }
        }
    }
}

/// The content of a file, unless it is changed just now.
fn fetch(server: &Server, client: &mut Client, target: &str) -> Option<Vec<u8>> {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    match client.receive(Method::Get) {
        Ok(response) if response.status == 200 => Some(response.content),
        Ok(_) => None,
        Err(_) => {
            *client = server.client();
            None
        }
    }
}

/// What is cut short is one answer: those before it were promised too, and are whole. Its own
/// head was promised as well, so the client is not left without a word.
#[test]
fn answers_before_one_that_is_cut_are_whole() {
    let site = Site::new();
    site.file("a.txt", "a");
    let path = site.file("large.bin", vec![b'a'; 2 << 20]);
    let server = Server::of(&site);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whether a change is met at the first read is a matter of luck, so the file grows and
        // shrinks all the time, and is asked for over and over.
        let writer = scope.spawn(|| {
            let file = File::options().write(true).open(&path).expect("it is ours");
            while !done.load(Ordering::Relaxed) {
                for length in [3 << 20, 2 << 20] {
                    file.set_len(length).expect("it is ours");
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        let outcome = (0..500).try_for_each(|_| pipeline_with_large(&server));
        done.store(true, Ordering::Relaxed);
        writer.join().expect("it only writes");
        assert_eq!(outcome, Ok(()));
    });
}

/// Asks for a small file, twice, and for the large one behind it; says what did not come.
fn pipeline_with_large(server: &Server) -> Result<(), String> {
    let small = "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = server.client();
    client.send([small, small, "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    for _ in 0..2 {
        match client.receive(Method::Get) {
            Ok(response) if response.content == b"a" => {}
            other => return Err(format!("an answer before the one that is cut: {other:?}")),
        }
    }
    match client.receive(Method::Get) {
        Ok(_) | Err(Fault::CutContent(_)) => Ok(()),
        Err(fault) => Err(format!("not even a head: {fault:?}")),
    }
}

/// Three sorts of files: copied behind its head, held in memory, sent from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    name: &'static str,
    length: usize,
    /// Whether it is sent from the disk while it may change.
    streamed: bool,
}

const CLASSES: [Class; 3] = [
    Class { name: "small.bin", length: 10_000, streamed: false },
    Class { name: "medium.bin", length: 300_000, streamed: false },
    Class { name: "large.bin", length: 3_000_000, streamed: true },
];

/// What every byte of this version is.
fn byte_of(version: usize) -> u8 {
    u8::try_from(1 + version % 250).expect("it is at most 250")
}

/// The whole of a version: some are longer than the one before, some shorter.
fn content_of(class: Class, version: usize) -> Vec<u8> {
    vec![byte_of(version); class.length + class.length / 16 * (version * 5 % 7)]
}

/// One file that is deployed over and over.
struct Deployed {
    class: Class,
    path: PathBuf,
    version: usize,
}

impl Deployed {
    fn next(&mut self) -> Vec<u8> {
        self.version += 1;
        content_of(self.class, self.version)
    }

    /// The way without a gap: the name always leads to a whole version.
    fn replace(&mut self) {
        let content = self.next();
        let next = self.path.with_extension("next");
        std::fs::write(&next, content).expect("a file beside it");
        std::fs::rename(next, &self.path).expect("a file can replace a file");
    }

    /// Any of the ways in which files are changed; at no moment does one hold two versions.
    fn change(&mut self, random: &mut Random) {
        match random.below(5) {
            0 => self.replace(),
            1 => {
                std::fs::remove_file(&self.path).expect("it is ours");
                pause(random, 5);
                let content = self.next();
                std::fs::write(&self.path, content).expect("it is ours");
            }
            2 => {
                let file = File::options().write(true).open(&self.path).expect("it is ours");
                let length = file.metadata().expect("it is open").len();
                file.set_len(length / 2).expect("it is ours");
            }
            3 => append(&self.path, &vec![byte_of(self.version); self.class.length / 10]),
            _ => {
                let content = self.next();
                let mut file = File::create(&self.path).expect("it is ours");
                let (first, second) = content.split_at(content.len() / 2);
                file.write_all(first).expect("it is ours");
                pause(random, 5);
                file.write_all(second).expect("it is ours");
            }
        }
    }
}

fn pause(random: &mut Random, milliseconds: usize) {
    std::thread::sleep(Duration::from_millis(random.below(milliseconds + 1) as u64));
}

/// How long to deploy; OTUS_DEPLOY_SECONDS in the environment lengthens it.
fn deploy_time() -> Duration {
    let seconds = std::env::var("OTUS_DEPLOY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

const READERS: usize = 8;

/// A deployed change is seen within this.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Connections enough for the kernel to give each worker one.
const CONNECTIONS: usize = 24;

#[test]
fn deployments_under_load() {
    let site = Site::new();
    let mut deployed = CLASSES.map(|class| {
        let path = site.file(class.name, content_of(class, 0));
        Deployed { class, path, version: 0 }
    });
    let server = Server::of(&site);
    let stop = AtomicBool::new(false);
    let (whole, failures) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (server, stop) = (&server, &stop);
                scope.spawn(move || read_all_the_time(server, stop, number))
            })
            .collect();
        let mut random = Random::new(99);
        let end = Instant::now() + deploy_time();
        while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
            for file in &mut deployed {
                file.change(&mut random);
                pause(&mut random, 20);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let results = readers.into_iter().map(|reader| reader.join().expect("it reports what it saw"));
        let mut whole = 0;
        let mut failures = Vec::new();
        for result in results {
            match result {
                Ok(count) => whole += count,
                Err(failure) => failures.push(failure),
            }
        }
        (whole, failures)
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(whole > 100, "only {whole} whole answers: this shows nothing");

    for file in &mut deployed {
        file.replace();
    }
    std::thread::sleep(SEEN_WITHIN);
    for number in 0..CONNECTIONS {
        let mut client = server.client();
        for file in &deployed {
            let response = client.get(&format!("/{}", file.class.name));
            let context = format!("connection {number}, {}", file.class.name);
            assert_eq!(response.status, 200, "{context}");
            assert!(response.content == content_of(file.class, file.version), "{context}: not the last version");
        }
    }
}

/// Asks for one file after the other and checks what comes; returns how many came whole, or what
/// was wrong.
fn read_all_the_time(server: &Server, stop: &AtomicBool, number: usize) -> Result<usize, String> {
    let mut random = Random::new(number as u64);
    // Slow readers meet changes in the middle of a transfer, quick ones at its beginning.
    let connect = || if number % 2 == 0 { slow_client(server) } else { server.client() };
    let mut client = connect();
    let mut whole = 0;
    while !stop.load(Ordering::Relaxed) {
        let class = *random.choose(&CLASSES);
        client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", class.name));
        match client.receive(Method::Get) {
            Ok(response) => {
                check_version(class, &response.content, response.status)?;
                whole += usize::from(response.status == 200);
            }
            Err(Fault::CutContent(response)) => {
                if !class.streamed {
                    return Err(format!("{} was cut short", class.name));
                }
                check_version(class, &response.content, response.status)?;
                client = connect();
            }
            Err(fault) => return Err(format!("{}: {fault:?}", class.name)),
        }
    }
    Ok(whole)
}

/// A client with so little room that most of an answer waits in the server.
fn slow_client(server: &Server) -> Client {
    let client = server.client();
    socket2::SockRef::from(client.stream()).set_recv_buffer_size(256 * 1024).expect("an open socket");
    client
}

fn check_version(class: Class, content: &[u8], status: u16) -> Result<(), String> {
    let name = class.name;
    match status {
        200 => {}
        404 | 503 => return Ok(()),
        _ => return Err(format!("{name}: {status}")),
    }
    // Of one version all bytes are the same; comparing it with itself, one on, is quick.
    match content.first() {
        Some(0) => Err(format!("{name}: a zero, which is in no version")),
        Some(_) if content[1..] != content[..content.len() - 1] => {
            let at = content.windows(2).position(|pair| pair[0] != pair[1]).expect("they differ");
            Err(format!(
                "{name}: {} and {} in one answer, from byte {at} of {}",
                content[at],
                content[at + 1],
                content.len()
            ))
        }
        _ => Ok(()),
    }
}
