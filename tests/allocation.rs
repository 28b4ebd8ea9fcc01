//! The way of a request for what is in memory asks the allocator for nothing.
//!
//! All of it but the socket runs here, as a connection runs it: parse, site, policy, catalogue, decision, head, lines of two logs.
//!
//! Invariant: only this thread's requests of the allocator are counted; other tests may run beside it.

// An allocator is unsafe to write; this one counts and hands on.
#![allow(unsafe_code)]

use crate::harness::Site;
use crate::harness::site::set_modified;
use otus_httpd::exchange::{self, HeadForm, Outgoing};
use otus_httpd::http::request::{HeadLimits, Parse, parse};
use otus_httpd::http2::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};
use otus_httpd::http2::request::Assembler;
use otus_httpd::observe::access::escape::Escape;
use otus_httpd::observe::access::template::Template;
use otus_httpd::observe::access::{AccessLog, Only};
use otus_httpd::observe::exchanged::{Told, answered};
use otus_httpd::observe::journal::Destination;
use otus_httpd::shard::{Options, Peer, Shard, Trusted};
use otus_httpd::site::pattern::Pattern;
use otus_httpd::site::policy::{Location, PolicyKeys};
use otus_httpd::site::{self, hosts::Hosts};
use otus_httpd::storage::cache::Budget;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

struct Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.with(|requests| requests.set(requests.get() + 1));
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a browser sends.
const FIELDS: &str = "Host: example.org\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"140\"\r\n\
    sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n";

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

/// Lines of every sort, to where nobody reads them.
fn log(format: &str) -> AccessLog {
    let template = Template::parse(format, Escape::Text).expect("a format that there is");
    AccessLog { to: Destination::File("/dev/null".into()), template, sample: 1, only: Only::All }
}

#[test]
fn an_answer_from_memory_allocates_nothing() {
    let site = Site::new();
    for name in ["page.html", "page.html.br", "index.html", "large.bin"] {
        let length = if name == "large.bin" { 300_000 } else { 5_000 };
        site.pattern(name, length);
        set_modified(&site.path(name), 784_111_777);
    }
    let keys = PolicyKeys {
        root: Some(Some(Arc::from(site.root()))),
        precompressed: Some(Arc::from([otus_httpd::http::coding::Coding::Brotli])),
        nosniff: Some(true),
        access_log: Some(Arc::from([log("combined"), log("json")])),
        ..PolicyKeys::default()
    };
    let pages = Pattern::parse_glob("*.html").expect("a valid pattern");
    let locations = vec![Location { path: pages, keys: PolicyKeys { etag: Some(true), ..PolicyKeys::default() } }];
    let names = ["example.org".to_owned(), "*.example.com".to_owned()];
    let options = Options {
        sites: Arc::from([site::Options { keys, locations, ..site::Options::default() }]),
        hosts: Arc::from([Hosts::new([(0, &names[..])]).expect("no name is wrong")]),
        head_limits: LIMITS,
        cache: Budget { bytes_max: 1 << 24, content_bytes_max: 1 << 20 },
        trusted: Arc::new(Trusted::default()),
        http2: Default::default(),
        tls: Arc::from([None]),
        handshake_limit: None,
    };
    let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
    executor.run(async {
        let shard = Shard::open(&options).expect("the root is there");
        let peer = Peer { listener: 0, address: None, secured: None };
        for (lines, target, status) in [
            ("", "/page.html", "200"),
            ("", "/", "200"),
            ("", "/large.bin", "200"),
            ("Range: bytes=10-19\r\n", "/large.bin", "206"),
            ("If-None-Match: *\r\n", "/page.html", "304"),
            ("", "/missing.html", "404"),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\n{FIELDS}{lines}\r\n");
            let mut out = Vec::with_capacity(4096);
            let mut requests = 0;
            // The first answer is from the disk; a look at the file, once a second, may come in between.
            for _ in 0..20 {
                out.clear();
                let Ok(Parse::Complete(head)) = parse(bytes.as_bytes(), &LIMITS) else { panic!("{bytes}") };
                let before = REQUESTS.get();
                let answer = exchange::answer(&shard, &peer, &head, HeadForm::Text, &mut out).await;
                let told = Told {
                    head: Some(&head),
                    unparsed: b"",
                    answer_head: &out,
                    summary: &answer.summary,
                    begun: Instant::now(),
                    listener: 0,
                    connection: 1,
                    connection_requests: 1,
                    request_id: Cell::new(None),
                    tls: None,
                };
                assert!(answer.summary.logs.is_some());
                answered(&told, true);
                requests = REQUESTS.get() - before;
                assert!(out.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", out.escape_ascii());
                assert!(matches!(answer.content, Outgoing::Nothing | Outgoing::Piece(_)), "{target}");
            }
            assert_eq!(requests, 0, "{target} {lines:?}");

            let block = block(target, lines);
            let (mut decoder, mut assembler) = (Decoder::new(TABLE_BYTES_DEFAULT), Assembler::new(&LIMITS));
            let encoder = RefCell::new(Encoder::new());
            let mut fewest = u64::MAX;
            // The tables grow at first; later a new second may come in between, with a new date.
            for _ in 0..20 {
                out.clear();
                let before = REQUESTS.get();
                assembler.begin(&LIMITS);
                decoder.decode(&block, |name, value| assembler.field(name, value)).expect("a valid block");
                let request = assembler.finish(false).expect("a valid request");
                let head = request.head();
                let form = HeadForm::Compressed(&encoder);
                let answer = exchange::answer(&shard, &peer, &head, form, &mut out).await;
                assembler.take_back(request);
                fewest = fewest.min(REQUESTS.get() - before);
                assert_eq!(answer.summary.status.code().to_string(), status);
                assert_eq!(answer.summary.written_bytes as usize, out.len());
                assert_eq!(matches!(answer.content, Outgoing::Fixed(_)), status == "404");
            }
            assert_eq!(fewest, 0, "{target} {lines:?} over HTTP/2");
        }
    });
}

/// The same request as a header block: each line a literal that is inserted.
fn block(target: &str, lines: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let path = format!(":method: GET\r\n:scheme: https\r\n:path: {target}\r\n");
    for line in [&path, FIELDS, lines].into_iter().flat_map(str::lines) {
        let (name, value) = line.split_once(": ").expect("each line is a field");
        let name = match name {
            "Connection" => continue,
            "Host" => ":authority".to_owned(),
            _ => name.to_ascii_lowercase(),
        };
        block.extend([0x40, u8::try_from(name.len()).expect("names are short")]);
        block.extend_from_slice(name.as_bytes());
        match u8::try_from(value.len()).expect("values are short") {
            length @ 0..127 => block.push(length),
            length => block.extend([127, length - 127]),
        }
        block.extend_from_slice(value.as_bytes());
    }
    block
}
