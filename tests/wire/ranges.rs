//! Byte ranges (RFC 9110 §14): every form of them, and any of them against a naive slice; over each version of HTTP.
//!
//! Invariant: the bytes of a part are those that `Content-Range` names, of the version that the
//! tag names.

use super::files::LENGTHS;
use super::methods::check_head_over;
use crate::harness::{Asks, Method, Random, Response, Server, Site, Version};

/// What a Range field asks for of a file of 1,000 bytes.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Part(usize, usize),
    Whole,
    Unsatisfiable,
}

#[test]
fn forms_of_ranges() {
    Version::ALL.into_iter().for_each(check_forms);
}

fn check_forms(version: Version) {
    use Expected::*;
    let site = Site::new();
    let content = site.pattern("file.bin", 1000);
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for (value, expected) in [
        // §14.1.2: first and last are both included
        ("bytes=0-0", Part(0, 1)),
        ("bytes=0-999", Part(0, 1000)),
        ("bytes=500-599", Part(500, 600)),
        ("bytes=999-999", Part(999, 1000)),
        ("bytes=500-", Part(500, 1000)),
        ("bytes=999-", Part(999, 1000)),
        ("bytes=-1", Part(999, 1000)),
        ("bytes=-1000", Part(0, 1000)),
        // …and what is past the end is cut off
        ("bytes=990-2000", Part(990, 1000)),
        ("bytes=0-18446744073709551615", Part(0, 1000)),
        ("bytes=0-99999999999999999999999", Part(0, 1000)),
        ("bytes=0-1000", Part(0, 1000)),
        ("bytes=999-1000", Part(999, 1000)),
        ("bytes=1-18446744073709551614", Part(1, 1000)),
        ("bytes=0-4294967295", Part(0, 1000)),
        ("bytes=-999", Part(1, 1000)),
        ("bytes=-1001", Part(0, 1000)),
        ("bytes=-18446744073709551615", Part(0, 1000)),
        ("bytes=-0001", Part(999, 1000)),
        ("bytes=00-00", Part(0, 1)),
        ("bytes=-5000", Part(0, 1000)),
        ("bytes=-99999999999999999999999", Part(0, 1000)),
        ("bytes=000000000000000000000500-0599", Part(500, 600)),
        // §14.1: unit names are case-insensitive; §5.6.1: a list of one
        ("BYTES=0-0", Part(0, 1)),
        ("bYtEs=0-0", Part(0, 1)),
        ("bytes=0-0,", Part(0, 1)),
        ("bytes=,,,0-0", Part(0, 1)),
        ("bytes= \t0-0\t ", Part(0, 1)),
        ("bytes=,0-0 ,", Part(0, 1)),
        // §15.5.17
        ("bytes=1000-", Unsatisfiable),
        ("bytes=1000-1000", Unsatisfiable),
        ("bytes=5000-6000", Unsatisfiable),
        ("bytes=18446744073709551615-", Unsatisfiable),
        ("bytes=99999999999999999999999-", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=-000", Unsatisfiable),
        ("bytes=1000-2000", Unsatisfiable),
        ("bytes=4294967296-", Unsatisfiable),
        ("bytes=4294967296-4294967297", Unsatisfiable),
        ("bytes=18446744073709551616-18446744073709551617", Unsatisfiable),
        // §14.2: what is invalid, of another unit, or more than this server cares for, is ignored
        ("bytes=5-2", Whole),
        ("bytes=-", Whole),
        ("bytes=", Whole),
        ("bytes", Whole),
        ("bytes=a-b", Whole),
        ("bytes=0-b", Whole),
        ("bytes=+0-1", Whole),
        ("bytes=0 - 1", Whole),
        ("bytes=0--1", Whole),
        ("bytes=0x0-0x1", Whole),
        ("bytes 0-1", Whole),
        ("bytes =0-1", Whole),
        ("bytes:0-1", Whole),
        ("=0-1", Whole),
        ("byte=0-1", Whole),
        ("bytes=bytes=0-1", Whole),
        ("bytes=0-1=", Whole),
        ("bytes=0-1-2", Whole),
        ("bytes=-0-1", Whole),
        ("bytes=--1", Whole),
        ("bytes=-+1", Whole),
        ("bytes=0-+1", Whole),
        ("bytes=0-1;", Whole),
        ("bytes=0-1;q=1", Whole),
        ("bytes=0:1", Whole),
        ("bytes=0..1", Whole),
        ("bytes=0-1.5", Whole),
        ("bytes=0-1e2", Whole),
        ("bytes=\"0-1\"", Whole),
        ("bytes=*", Whole),
        ("bytes=0-*", Whole),
        ("bytes=,", Whole),
        ("bytes= ", Whole),
        ("bytes=\u{661}-\u{662}", Whole),
        ("none", Whole),
        ("items=0-1", Whole),
        ("bytes 0-1/1000", Whole),
        ("bytes=999-0", Whole),
        ("bytes=18446744073709551615-0", Whole),
        ("lines=0-1", Whole),
        ("0-1", Whole),
        ("", Whole),
        ("bytes=0-0,5-2", Whole),
        ("bytes=5-2,0-0", Whole),
        ("bytes=0-0,x", Whole),
        ("bytes=0-0 5-5", Whole),
        ("bytes=0-0;5-5", Whole),
        ("bytes=0-0,-", Whole),
        ("bytes=0-0,bytes=5-5", Whole),
        ("bytes=1000-,5-2", Whole),
        ("bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32", Whole),
        // §15.3.7.2: parts that would cost more than the whole, or overlap, or cannot be had
        ("bytes=0-899,901-999", Whole),
        ("bytes=0-,0-,0-,0-,0-,0-,0-,0-", Part(0, 1000)),
        ("bytes=0-4,3-9", Part(0, 10)),
        ("bytes=0-4,5-9", Part(0, 10)),
        ("bytes=5-9,0-4", Part(0, 10)),
        ("bytes=0-9,2-3", Part(0, 10)),
        ("bytes=0-0,0-0", Part(0, 1)),
        ("bytes=0-,-1", Part(0, 1000)),
        ("bytes=0-499,-500", Part(0, 1000)),
        ("bytes=-1,-5,-3", Part(995, 1000)),
        ("bytes=900-,-50", Part(900, 1000)),
        ("bytes=0-0,2000-", Part(0, 1)),
        ("bytes=2000-,0-0", Part(0, 1)),
        ("bytes=0-0,-0", Part(0, 1)),
        ("bytes=-0,1000-", Unsatisfiable),
        ("bytes=2000-,3000-", Unsatisfiable),
    ] {
        let response = client.ask(Method::Get, "/file.bin", &format!("Range: {value}\r\n"));
        match expected {
            Part(start, end) => check_part(&response, &content, start, end, value),
            Whole => {
                assert_eq!((response.status, response.field("Content-Range")), (200, None), "{value}");
                assert!(response.content == content, "{value}");
            }
            Unsatisfiable => {
                assert_eq!(response.status, 416, "{value}");
                assert_eq!(response.field("Content-Range"), Some("bytes */1000"), "{value}");
            }
        }
        check_head_over(version, &server, "/file.bin", &format!("Range: {value}\r\n"), &response);
    }
    // §14.2: several Range lines make no valid field; to HEAD, Range says nothing.
    let response = client.ask(Method::Get, "/file.bin", "Range: bytes=0-0\r\nRange: bytes=1-1\r\n");
    assert_eq!(response.status, 200);
    for value in ["bytes=0-0", "bytes=5000-"] {
        let response = client.ask(Method::Head, "/file.bin", &format!("Range: {value}\r\n"));
        assert_eq!((response.status, response.field("Content-Length")), (200, Some("1000")), "{value}");
        assert_eq!(response.field("Content-Range"), None);
    }
    // An error is no representation to take a part of.
    assert_eq!(client.ask(Method::Get, "/absent", "Range: bytes=0-0\r\n").status, 404);
}

/// RFC 9110 §15.3.7: 206 has the fields that 200 would have, of the same version.
fn check_part(response: &Response, content: &[u8], start: usize, end: usize, context: &str) {
    assert_eq!(response.status, 206, "{context}");
    let expected = format!("bytes {start}-{}/{}", end - 1, content.len());
    assert_eq!(response.field("Content-Range"), Some(expected.as_str()), "{context}");
    assert_eq!(response.field("Content-Length"), Some((end - start).to_string().as_str()), "{context}");
    assert_eq!(response.field("Accept-Ranges"), Some("bytes"), "{context}");
    for name in ["ETag", "Last-Modified", "Date", "Content-Type"] {
        assert!(response.field(name).is_some(), "{context}: {name}");
    }
    assert!(response.content == content[start..end], "{context}: other bytes");
}

/// §14.6: each part behind a head of its own, in the order in which it was asked for; from memory
/// and from the disk.
#[test]
fn several_ranges_come_as_multipart() {
    Version::ALL.into_iter().for_each(check_several);
}

fn check_several(version: Version) {
    let site = Site::new();
    let server = Server::of_both_versions(&site);
    for length in [10_000, 3 << 20] {
        let name = format!("file-{length}.txt");
        let content = site.pattern(&name, length);
        let mut client = version.client(&server);
        for ranges in [&[(0, 1), (5, 6)][..], &[(length - 1, length), (0, 5000)], &[(0, 1), (4095, 4097), (9000, 9999)]]
        {
            let specs: Vec<_> = ranges.iter().map(|(start, end)| format!("{start}-{}", end - 1)).collect();
            let value = format!("bytes={}", specs.join(", "));
            let response = client.ask(Method::Get, &format!("/{name}"), &format!("Range: {value}\r\n"));
            assert_eq!((response.status, response.field("Content-Range")), (206, None), "{value}");
            let media_type = response.field("Content-Type").expect("it says how parts are divided");
            let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").expect("the type of parts");
            let mut expected = Vec::new();
            for (start, end) in ranges {
                let head = format!(
                    "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {start}-{}/{length}\r\n\r\n",
                    end - 1
                );
                expected.extend_from_slice(head.as_bytes());
                expected.extend_from_slice(&content[*start..*end]);
            }
            expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            assert!(response.content == expected, "{value} of {length}");
        }
    }
}

/// No byte of an empty file can be named, so a part of it cannot be asked for (§14.1.2).
#[test]
fn an_empty_file_has_no_parts() {
    Version::ALL.into_iter().for_each(check_empty);
}

fn check_empty(version: Version) {
    let site = Site::new();
    site.file("empty.txt", "");
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for (value, status) in
        [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416), ("bytes=-5", 200), ("bytes=5-2", 200)]
    {
        let response = client.ask(Method::Get, "/empty.txt", &format!("Range: {value}\r\n"));
        assert_eq!(response.status, status, "{value}");
        let expected = (status == 416).then_some("bytes */0");
        assert_eq!(response.field("Content-Range"), expected, "{value}");
    }
    let response = client.get("/empty.txt");
    assert_eq!((response.status, response.field("Content-Length")), (200, Some("0")));
}

/// Files of all lengths, cut at borders and anywhere: the same bytes as a slice.
#[test]
fn any_range_is_a_slice() {
    Version::ALL.into_iter().for_each(check_slices);
}

fn check_slices(version: Version) {
    let site = Site::new();
    let contents: Vec<_> = LENGTHS.iter().map(|length| site.pattern(&format!("{length}.bin"), *length)).collect();
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    let mut random = Random::new(7);
    for content in contents.iter().filter(|content| !content.is_empty()) {
        let length = content.len();
        let borders = [0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 1 << 20, length - 1];
        for round in 0..30 {
            let start = if round % 2 == 0 { *random.choose(&borders) } else { random.below(length) };
            let start = start.min(length - 1);
            let end = match round % 3 {
                0 => length,
                1 => start + 1 + random.below(length - start),
                _ => (start + 1 + random.choose(&borders)).min(length),
            };
            check_slice(client.as_mut(), content, start, end);
        }
    }
}

fn check_slice(client: &mut dyn Asks, content: &[u8], start: usize, end: usize) {
    let target = format!("/{}.bin", content.len());
    let response = client.ask(Method::Get, &target, &format!("Range: bytes={start}-{}\r\n", end - 1));
    check_part(&response, content, start, end, &format!("{start}..{end} of {target}"));
}
