//! What a request costs without its socket: `cargo bench --bench pure`
//!
//! Parse, site, policy, catalogue, decision, head: the whole way of a request for what is in memory, as a connection
//! goes it, in this process. divan prints the times of one answer, and how often it asked the allocator for memory, if
//! it did.
//!
//! The same in instructions, where valgrind is there: docs/performance.md has the command. With the name of a case
//! in `OTUS_BENCH_ONCE` the case is done [`ONCE_REQUESTS`] times in a function of its own, `counted`, without
//! divan around it.
//!
//! Invariant: each case is answered with the status that it names before it is measured, and nothing passes or fails by
//! its time.

use divan::AllocProfiler;
use divan::counter::ItemsCount;
use futures_lite::future::poll_once;
use otus_httpd::exchange::{self, HeadForm, Outgoing};
use otus_httpd::http::request::{HeadLimits, Parse, parse};
use otus_httpd::http2::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};
use otus_httpd::http2::request::Assembler;
use otus_httpd::shard::{Options, Peer, Shard, Trusted};
use otus_httpd::site::policy::PolicyKeys;
use otus_httpd::site::{self, hosts::Hosts};
use otus_httpd::storage::cache::Budget;
use std::cell::RefCell;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// What Chromium sends for a page that it has been to before; the target and the conditions come from the case.
const FIELDS: &str = "Host: www.example.org\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"140\"\r\n\
    sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Referer: https://www.example.org/index.html\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n";

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

/// A request, and the status that answers it.
struct Case {
    name: &'static str,
    target: &'static str,
    lines: &'static str,
    status: &'static str,
}

const CASES: [Case; 5] = [
    Case { name: "page", target: "/articles/2025/page.html", lines: "", status: "200" },
    Case { name: "index", target: "/", lines: "", status: "200" },
    Case { name: "large", target: "/large.bin", lines: "", status: "200" },
    Case {
        name: "not_modified",
        target: "/articles/2025/page.html",
        lines: "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        status: "304",
    },
    Case { name: "range", target: "/large.bin", lines: "Range: bytes=100000-108191\r\n", status: "206" },
];

fn main() {
    let documents = Documents::new();
    let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
    executor.run(async {
        let shard = Shard::open(&options(&documents.root)).expect("the root is there");
        for case in &CASES {
            warm(&shard, case).await;
        }
        SHARD.set(Some(shard));
        match std::env::var("OTUS_BENCH_ONCE") {
            Ok(name) => once(CASES.iter().find(|case| case.name == name).expect("one of the cases")),
            Err(_) => divan::main(),
        }
        SHARD.set(None);
    });
}

thread_local! {
    /// divan calls its benchmarks without arguments of ours.
    static SHARD: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

/// Documents long at rest, removed in the end.
struct Documents {
    root: PathBuf,
}

impl Documents {
    fn new() -> Documents {
        let root = std::env::temp_dir().join(format!("otus-httpd-bench-{}", std::process::id()));
        std::fs::create_dir_all(root.join("articles/2025")).expect("a directory can be made");
        for (name, length) in [("index.html", 5_000), ("articles/2025/page.html", 12_000), ("large.bin", 300_000)] {
            let path = root.join(name);
            std::fs::write(&path, vec![b'x'; length]).expect("a file can be written");
            let file = std::fs::File::options().write(true).open(&path).expect("our own file can be opened");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)).expect("its time can be set");
        }
        Documents { root }
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        // What cannot be removed stays with the other temporary files.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn options(root: &Path) -> Options {
    let keys = PolicyKeys { root: Some(Some(Arc::from(root))), ..PolicyKeys::default() };
    let names = ["www.example.org".to_owned()];
    Options {
        sites: Arc::from([site::Options { keys, ..site::Options::default() }]),
        hosts: Arc::from([Hosts::new([(0, &names[..])]).expect("the name is right")]),
        head_limits: LIMITS,
        cache: Budget { bytes_max: 1 << 24, content_bytes_max: 1 << 20 },
        trusted: Arc::new(Trusted::default()),
        http2: Default::default(),
        tls: Arc::from([None]),
        handshake_limit: None,
    }
}

fn request(case: &Case) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\n{FIELDS}{}\r\n", case.target, case.lines).into_bytes()
}

/// Has the shard know what the case asks for, and looks at the answer.
async fn warm(shard: &Shard, case: &Case) {
    let (bytes, mut out) = (request(case), Vec::new());
    for _ in 0..20 {
        out.clear();
        let Ok(Parse::Complete(head)) = parse(&bytes, &LIMITS) else { panic!("{}: a valid head", case.name) };
        let answer = exchange::answer(shard, &PEER, &head, HeadForm::Text, &mut out).await;
        assert!(out.starts_with(format!("HTTP/1.1 {} ", case.status).as_bytes()), "{}", out.escape_ascii());
        assert!(matches!(answer.content, Outgoing::Nothing | Outgoing::Piece(_)), "{}", case.name);
    }
}

const PEER: Peer = Peer { listener: 0, address: None, secured: None };

/// From the bytes of a request to those of a head. What is in memory is answered without waiting.
fn respond(shard: &Shard, bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let Ok(Parse::Complete(head)) = parse(black_box(bytes), &LIMITS) else { unreachable!("it was parsed before") };
    let answer = pin!(exchange::answer(shard, &PEER, &head, HeadForm::Text, out));
    let answer = futures_lite::future::block_on(poll_once(answer));
    black_box(answer.expect("what is in memory is answered at once"));
}

/// The same over HTTP/2, on a connection that has made such requests before: decode, assemble, respond, encode.
struct Compressed {
    block: Vec<u8>,
    decoder: Decoder,
    assembler: Assembler,
    encoder: RefCell<Encoder>,
}

impl Compressed {
    fn new(case: &Case) -> Compressed {
        let mut made = Compressed {
            block: Vec::new(),
            decoder: Decoder::new(TABLE_BYTES_DEFAULT),
            assembler: Assembler::new(&LIMITS),
            encoder: RefCell::default(),
        };
        let fields = format!(":method: GET\r\n:scheme: https\r\n:path: {}\r\n{FIELDS}{}", case.target, case.lines);
        let (mut first, mut count) = (Vec::new(), 0);
        for line in fields.lines().filter(|line| !line.starts_with("Connection")) {
            let (name, value) = line.split_once(": ").expect("each line is a field");
            let name = if name == "Host" { ":authority".to_owned() } else { name.to_ascii_lowercase() };
            // Each is inserted once; after that it is an index.
            first.extend([0x40, u8::try_from(name.len()).expect("names are short")]);
            first.extend_from_slice(name.as_bytes());
            let length = value.len();
            if length < 127 {
                first.push(length as u8)
            } else {
                first.extend([127, (length - 127) as u8])
            }
            first.extend_from_slice(value.as_bytes());
            count += 1;
        }
        // The last one has the lowest index.
        made.block.extend((0..count).rev().map(|at| 0x80 | (62 + at)));
        made.decoder.decode(&first, |_, _| ()).expect("a valid block");
        made
    }

    fn respond(&mut self, shard: &Shard, out: &mut Vec<u8>) {
        out.clear();
        self.assembler.begin(&LIMITS);
        let block = black_box(&self.block[..]);
        self.decoder.decode(block, |name, value| self.assembler.field(name, value)).expect("it was decoded before");
        let request = self.assembler.finish(false).expect("a valid request");
        {
            let head = request.head();
            let form = HeadForm::Compressed(&self.encoder);
            let answer = pin!(exchange::answer(shard, &PEER, &head, form, out));
            let answer = futures_lite::future::block_on(poll_once(answer));
            black_box(answer.expect("what is in memory is answered at once"));
        }
        self.assembler.take_back(request);
    }
}

#[divan::bench(args = CASES.iter().map(|case| case.name), sample_count = 200, sample_size = 1000)]
fn answer_http2(bencher: divan::Bencher<'_, '_>, name: &str) {
    let case = CASES.iter().find(|case| case.name == name).expect("one of the cases");
    let (mut compressed, mut out) = (Compressed::new(case), Vec::with_capacity(4096));
    SHARD.with_borrow(|shard| {
        let shard = shard.as_ref().expect("main opened it");
        bencher.counter(ItemsCount::new(1usize)).bench_local(|| compressed.respond(shard, &mut out));
    });
}

#[divan::bench(args = CASES.iter().map(|case| case.name), sample_count = 200, sample_size = 1000)]
fn answer(bencher: divan::Bencher<'_, '_>, name: &str) {
    let case = CASES.iter().find(|case| case.name == name).expect("one of the cases");
    let (bytes, mut out) = (request(case), Vec::with_capacity(4096));
    SHARD.with_borrow(|shard| {
        let shard = shard.as_ref().expect("main opened it");
        bencher.counter(ItemsCount::new(1usize)).bench_local(|| respond(shard, &bytes, &mut out));
    });
}

/// Enough that what surrounds them does not count.
const ONCE_REQUESTS: u32 = 10_000;

fn once(case: &Case) {
    let (bytes, mut out) = (request(case), Vec::with_capacity(4096));
    println!("{}: {ONCE_REQUESTS} requests of {} bytes", case.name, bytes.len());
    SHARD.with_borrow(|shard| counted(shard.as_ref().expect("main opened it"), &bytes, &mut out));
}

/// Callgrind counts in here alone.
#[inline(never)]
fn counted(shard: &Shard, bytes: &[u8], out: &mut Vec<u8>) {
    for _ in 0..ONCE_REQUESTS {
        respond(shard, bytes, out);
    }
}
