//! Cold reads that take a second each, or never end, beside hot answers.
//!
//! The slow disk is a file system of the tests' own ([`SlowFiles`]) that is mounted in the document root, or a
//! device that a control group slows down. Neither needs special hardware; both need root.
//!
//! Invariant: nothing here is judged by how fast it is, but by what comes before what.

use crate::harness::server::Setup;
use crate::harness::site::{pattern, set_modified};
use crate::harness::slow::{AT_ONCE, Pace, SlowFiles, length_of};
use crate::harness::throttle::Throttle;
use crate::harness::{Client, HANG, Method, Server, Site, eventually, is_root, skipped};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Clients that wait for the disk at the same time.
const SLOW_CLIENTS: u64 = 64;

/// Hot answers, one after another, while they wait.
const HOT_REQUESTS: usize = 200;

const ROUNDS: u64 = 3;

/// Sent by sendfile from memory that workers share.
const SHARED_BYTES: usize = 200_000;

const A_SECOND: Pace = Pace::After(Duration::from_secs(1));

/// A server with one worker, and a slow disk mounted at `/slow` of its document root. What is asked for there differs
/// from round to round, so that it is cold.
struct Stand {
    server: Server,
    slow: SlowFiles,
    site: Site,
}

impl Stand {
    /// None where the machine cannot have it, which is told.
    fn new(what: &str, set: impl FnOnce(Setup) -> Setup) -> Option<Stand> {
        if !is_root() {
            skipped(what, "a file system can be mounted by root only");
            return None;
        }
        let site = hot_site();
        match SlowFiles::mount(&site, "slow", SLOW_CLIENTS * ROUNDS) {
            Ok(slow) => Some(Stand { server: set(Setup::root(&site.root()).set("workers", 1)).start(), slow, site }),
            Err(why) => {
                skipped(what, &why);
                None
            }
        }
    }

    /// Clients that ask for the slow files of a round, each for one.
    fn ask_slow(&self, round: u64) -> Vec<(u64, Client)> {
        let numbers = round * SLOW_CLIENTS..(round + 1) * SLOW_CLIENTS;
        let clients = numbers.map(|number| (number, asking(&self.server, &format!("/slow/{number}.bin")))).collect();
        eventually("the disk is asked", || self.slow.waiting() > 0);
        clients
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // A test that fails while the disk stands still must not leave a server behind that waits for it.
        self.slow.pace(AT_ONCE, AT_ONCE);
    }
}

fn asking(server: &Server, target: &str) -> Client {
    let mut client = server.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

/// Each client gets its file, byte by byte.
fn expect_slow(clients: Vec<(u64, Client)>) {
    for (number, mut client) in clients {
        let response = client.answer(Method::Get);
        assert_eq!(response.status, 200, "/slow/{number}.bin");
        assert!(response.content == pattern(length_of(number)), "/slow/{number}.bin: other bytes");
    }
}

/// Nobody who asked for a slow file has had a byte yet.
fn expect_silence(clients: &[(u64, Client)]) {
    for (number, client) in clients {
        assert!(
            client.is_open_and_silent(),
            "/slow/{number}.bin came before the hot answers that were asked for later"
        );
    }
}

fn hot_site() -> Site {
    let site = Site::new();
    for (name, length) in [("small.html", 34), ("shared.bin", SHARED_BYTES)] {
        site.pattern(name, length);
        set_modified(&site.path(name), 784_111_777);
    }
    site
}

/// Asks for what is hot, kind after kind, each answer before the next question.
struct Hot {
    client: Client,
    small: Vec<u8>,
    shared: Vec<u8>,
    waits: Vec<Duration>,
}

impl Hot {
    /// Has the server know all of it.
    fn new(server: &Server) -> Hot {
        let mut hot =
            Hot { client: server.client(), small: pattern(34), shared: pattern(SHARED_BYTES), waits: Vec::new() };
        hot.warm();
        hot
    }

    /// A file that was just written is read anew in the next second; from then on it is held.
    fn warm(&mut self) {
        for _ in 0..3 {
            self.ask(KINDS.len());
            std::thread::sleep(Duration::from_millis(1100));
        }
        self.ask(KINDS.len());
        self.waits.clear();
    }

    fn ask(&mut self, count: usize) {
        for (target, lines, status) in KINDS.iter().cycle().take(count) {
            let begin = Instant::now();
            let response = self.client.ask(Method::Get, target, lines);
            self.waits.push(begin.elapsed());
            assert_eq!(response.status, *status, "{target} {lines:?}");
            let expected = match (*target, *status) {
                ("/small.html", 200) => &self.small[..],
                ("/shared.bin", 200) => &self.shared[..],
                ("/shared.bin", 206) => &self.shared[100_000..108_192],
                _ => continue,
            };
            assert!(response.content == expected, "{target} {lines:?}: other bytes");
        }
    }

    /// Prints what they waited; the report of the tests shows it.
    fn tell(&mut self, beside: &str) {
        self.waits.sort();
        let at = |share: f64| self.waits[((self.waits.len() - 1) as f64 * share) as usize].as_micros();
        let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
        eprintln!(
            "measured: {} hot answers beside {beside}: p50 {p50} µs, p99 {p99} µs, most {most} µs",
            self.waits.len()
        );
    }
}

/// Target, field lines, status.
const KINDS: [(&str, &str, u16); 5] = [
    ("/small.html", "", 200),
    ("/shared.bin", "", 200),
    ("/missing.html", "", 404),
    ("/small.html", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304),
    ("/shared.bin", "Range: bytes=100000-108191\r\n", 206),
];

#[test]
fn hot_answers_come_while_the_disk_stands_still() {
    let Some(stand) = Stand::new("hot answers beside a disk that stands still", |setup| setup) else { return };
    let mut hot = Hot::new(&stand.server);
    for (round, (what, look_ups, reads)) in
        [("look-ups", Pace::Never, AT_ONCE), ("reads", AT_ONCE, Pace::Never), ("either", Pace::Never, Pace::Never)]
            .into_iter()
            .enumerate()
    {
        stand.slow.pace(look_ups, reads);
        let clients = stand.ask_slow(round as u64);
        hot.ask(HOT_REQUESTS);
        assert!(stand.slow.waiting() > 0, "{what}: the disk was waited for all the time");
        if what != "reads" {
            expect_silence(&clients);
        }
        hot.tell(&format!("{SLOW_CLIENTS} clients whose {what} stand still"));
        hot.waits.clear();
        stand.slow.pace(AT_ONCE, AT_ONCE);
        expect_slow(clients);
    }
}

#[test]
fn hot_answers_overtake_cold_ones_that_take_a_second_a_step() {
    let Some(stand) = Stand::new("hot answers beside a disk that takes a second", |setup| setup) else { return };
    let mut hot = Hot::new(&stand.server);
    for round in 0..ROUNDS {
        stand.slow.pace(A_SECOND, A_SECOND);
        // Asked for first; a look-up, an opening and a read lie before each of their answers.
        let clients = stand.ask_slow(round);
        hot.ask(HOT_REQUESTS);
        expect_silence(&clients);
        hot.tell(&format!("{SLOW_CLIENTS} clients for whom each step takes a second"));
        hot.waits.clear();
        stand.slow.pace(AT_ONCE, AT_ONCE);
        expect_slow(clients);
    }
}

/// Files that are neither in memory nor slow: look-ups that wait for the disk hold the threads that they need. They must
/// come in the end; whether they come before the slow ones is told.
#[test]
fn other_cold_files_come_in_the_end() {
    let Some(stand) = Stand::new("cold files of a quick disk beside a slow one", |setup| setup) else { return };
    let files: Vec<_> = [1000, 100_000, 1_500_000].map(|length| (format!("cold-{length}.bin"), length)).into();
    for (name, length) in &files {
        stand.site.pattern(name, *length);
        set_modified(&stand.site.path(name), 784_111_777);
    }
    stand.slow.pace(A_SECOND, A_SECOND);
    let clients = stand.ask_slow(0);
    let targets = files.iter().map(|(name, _)| format!("/{name}")).chain(["/not-there.html".to_owned()]);
    let mut others: Vec<_> = targets.map(|target| (asking(&stand.server, &target), target)).collect();
    // As long as the slow ones need for their first answer.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) && others.iter().any(|(client, _)| client.is_open_and_silent()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for (client, target) in &others {
        let when = if client.is_open_and_silent() { "waits behind" } else { "comes before" };
        eprintln!("measured: {target}, not in memory, {when} {SLOW_CLIENTS} clients of a slow disk");
    }
    stand.slow.pace(AT_ONCE, AT_ONCE);
    for ((name, length), (client, _)) in files.iter().zip(&mut others) {
        assert!(client.answer(Method::Get).content == pattern(*length), "{name}");
    }
    assert_eq!(others[files.len()].0.answer(Method::Get).status, 404);
    expect_slow(clients);
}

#[test]
fn a_server_that_waits_for_the_disk_ends_at_the_drain_timeout() {
    const DRAIN_SECONDS: u64 = 1;
    let set = |setup: Setup| setup.set("drain_timeout", DRAIN_SECONDS);
    let Some(mut stand) = Stand::new("the end of a server that waits for a disk", set) else { return };
    stand.slow.pace(A_SECOND, A_SECOND);
    let clients = stand.ask_slow(0);
    let begin = Instant::now();
    stand.server.signal(Signal::TERM);
    assert_eq!(stand.server.exit_code(), Some(0));
    let took = begin.elapsed();
    eprintln!("measured: {took:?} from SIGTERM to the end, drain_timeout {DRAIN_SECONDS} s, each step of the disk 1 s");
    stand.server.wait_for_log("did not finish in time");
    // What waited in the queues of the pool would have taken far longer than all that is under way at once.
    assert!(took < HANG / 3, "{took:?}: it waited for more than what was under way");
    drop(clients);
}

#[test]
fn a_server_that_stops_finishes_slow_answers_in_time() {
    let set = |setup: Setup| setup.set("drain_timeout", 600);
    let Some(mut stand) = Stand::new("slow answers of a server that stops", set) else { return };
    stand.slow.pace(Pace::Never, Pace::Never);
    let clients = stand.ask_slow(0);
    stand.server.signal(Signal::TERM);
    eventually("refused connections", || Client::try_connect(stand.server.address()).is_err());
    expect_silence(&clients);
    stand.slow.pace(AT_ONCE, AT_ONCE);
    expect_slow(clients);
    assert_eq!(stand.server.exit_code(), Some(0));
}

/// The same by a real device, past the page cache: one read a second, for all.
#[test]
fn hot_answers_come_while_a_device_is_slowed_down() {
    const WHAT: &str = "hot answers beside a throttled device";
    /// Larger than what is held in memory.
    const BYTES: usize = 2_000_000;
    const CLIENTS: usize = 16;
    let site = hot_site();
    let names: Vec<_> = (0..CLIENTS).map(|number| format!("cold-{number}.bin")).collect();
    for name in &names {
        site.pattern(name, BYTES);
        set_modified(&site.path(name), 784_111_777);
        let file = std::fs::File::open(site.path(name));
        // What is not on the disk yet would have to be written before it can be read past the page cache.
        file.and_then(|file| file.sync_all()).expect("our own file can be synced");
    }
    let mut throttle = match Throttle::on_device_of(&site.root()) {
        Ok(throttle) => throttle,
        Err(why) => return skipped(WHAT, &why),
    };
    let server = Setup::root(&site.root()).set("workers", 1).wrapped(throttle.wrapper()).start();
    let mut hot = Hot::new(&server);
    let before = server.io().read_bytes;
    if let Err(why) = throttle.reads_a_second(1) {
        return skipped(WHAT, &why);
    }
    let begin = Instant::now();
    let mut clients: Vec<_> = names.iter().map(|name| asking(&server, &format!("/{name}"))).collect();
    eventually("the disk is asked", || server.io().read_bytes > before);
    // So long that a device at its own speed would have read all of it.
    while hot.waits.len() < HOT_REQUESTS || begin.elapsed() < Duration::from_secs(2) {
        hot.ask(KINDS.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = clients.iter().filter(|client| !client.is_open_and_silent()).count();
    let reads_max = begin.elapsed().as_secs() + 2;
    throttle.lift();
    assert!(
        begun as u64 <= reads_max,
        "the device was not slow: {begun} of {CLIENTS} cold answers after {reads_max} reads"
    );
    hot.tell(&format!("{CLIENTS} clients of a device that takes one read a second"));
    for client in &mut clients {
        assert!(client.answer(Method::Get).content == pattern(BYTES), "other bytes");
    }
}
