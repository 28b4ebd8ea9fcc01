//! Conditional requests (RFC 9110 §13) and validators (§8.8), over each version of HTTP.
//!
//! Invariant: a client that has the version it asks about is told so by 304 without content; one
//! that asks for another version never gets this one by mistake.

use super::methods::check_head_over;
use crate::harness::site::set_modified;
use crate::harness::{Method, Server, Site, Version};

/// 1994-11-06 08:49:37, the example of RFC 9110 §5.6.7.
const MODIFIED: u64 = 784_111_777;
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// A small file, held in memory, and one that is sent from the disk.
fn site() -> Site {
    let site = Site::new();
    for (name, length) in [("small.bin", 1000), ("large.bin", (1 << 20) + 1000)] {
        site.pattern(name, length);
        set_modified(&site.path(name), MODIFIED);
    }
    site
}

/// In `lines`, TAG stands for the file's entity tag, and BEFORE, SAME and AFTER for dates.
fn filled(lines: &str, tag: &str) -> String {
    lines.replace("TAG", tag).replace("BEFORE", BEFORE).replace("SAME", SAME).replace("AFTER", AFTER)
}

#[test]
fn preconditions() {
    Version::ALL.into_iter().for_each(check_preconditions);
}

fn check_preconditions(version: Version) {
    let site = site();
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for target in ["/small.bin", "/large.bin"] {
        let plain = client.ask(Method::Head, target, "");
        let tag = plain.field("ETag").expect("a file has a tag").to_owned();
        for (lines, status) in [
            ("", 200),
            // RFC 9110 §13.1.2: weak comparison; lists on one line or several
            ("If-None-Match: TAG\r\n", 304),
            ("If-None-Match: W/TAG\r\n", 304),
            ("If-None-Match: *\r\n", 304),
            ("If-None-Match: \"x\", TAG\r\n", 304),
            ("If-None-Match: \"a,b\" ,, W/TAG,\r\n", 304),
            ("If-None-Match: \"x\"\r\nIf-None-Match: TAG\r\n", 304),
            ("if-none-match:TAG\r\n", 304),
            ("If-None-Match: \"x\"\r\n", 200),
            ("If-None-Match: \"\"\r\n", 200),
            ("If-None-Match:\r\n", 200),
            ("If-None-Match: x\r\n", 200),
            ("If-None-Match: w/TAG\r\n", 200),
            ("If-None-Match: TAG, \"x\"\r\n", 304),
            ("If-None-Match: TAG,TAG\r\n", 304),
            ("If-None-Match: ,TAG\r\n", 304),
            ("If-None-Match:\t W/\"x\"\t,\tTAG \r\n", 304),
            ("If-None-Match: *, \"x\"\r\n", 304),
            ("If-None-Match: TAG\r\nIf-None-Match: \"x\"\r\n", 304),
            ("If-None-Match: \"x\"\r\nX: y\r\nIf-None-Match: W/TAG\r\n", 304),
            ("If-None-Match: \"a\\\", TAG\r\n", 304),
            ("If-None-Match: W/\"x\"\r\n", 200),
            ("If-None-Match: ,,\r\n", 200),
            ("If-None-Match: \"*\"\r\n", 200),
            ("If-None-Match: W/*\r\n", 200),
            ("If-None-Match: W/ TAG\r\n", 200),
            ("If-None-Match: WTAG\r\n", 200),
            ("If-None-Match: W\r\n", 200),
            ("If-None-Match: \"xTAGx\"\r\n", 200),
            ("If-None-Match: 'x'\r\n", 200),
            // A tag has no blank and no quote in it, and an end; what stands behind is not guessed at
            ("If-None-Match: \"a b\", TAG\r\n", 200),
            ("If-None-Match: \"\r\n", 200),
            ("If-None-Match: x, TAG\r\n", 200),
            ("If-None-Match: \"x\" TAG\r\n", 200),
            // §13.1.3: second after If-None-Match; ignored when it is no date, or not one
            ("If-Modified-Since: SAME\r\n", 304),
            ("If-Modified-Since: AFTER\r\n", 304),
            ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304),
            ("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", 304),
            ("If-Modified-Since: BEFORE\r\n", 200),
            ("If-Modified-Since: tomorrow\r\n", 200),
            ("If-Modified-Since: 784111777\r\n", 200),
            ("If-Modified-Since: Sat, 06 Nov 2094 08:49:37 GMT\r\n", 304),
            ("If-Modified-Since: \t SAME \t\r\n", 304),
            ("if-modified-since:SAME\r\n", 304),
            ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 200),
            ("If-Modified-Since: Sunday, 06-Nov-94 08:49:36 GMT\r\n", 200),
            ("If-Modified-Since: Sun Nov  6 08:49:36 1994\r\n", 200),
            ("If-Modified-Since:\r\n", 200),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37\r\n", 200),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 +0000\r\n", 200),
            ("If-Modified-Since: Wed, 31 Feb 2094 08:49:37 GMT\r\n", 200),
            ("If-Modified-Since: Sat, 06 Nov 2094 24:00:00 GMT\r\n", 200),
            ("If-Modified-Since: 2094-11-06T08:49:37Z\r\n", 200),
            ("If-Modified-Since: Mon, 06 Nov 2094 08:49:37 GMT\r\n", 200),
            ("If-Modified-Since: SAME, SAME\r\n", 200),
            ("If-Modified-Since: \"SAME\"\r\n", 200),
            ("If-Modified-Since: SAME; length=1000\r\n", 200),
            ("If-Modified-Since: *\r\n", 200),
            ("If-Modified-Since: -1\r\n", 200),
            ("If-Modified-Since: BEFORE\r\nIf-Modified-Since: AFTER\r\n", 200),
            ("If-Modified-Since: SAME\r\nIf-Modified-Since: SAME\r\n", 200),
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: AFTER\r\n", 200),
            ("If-None-Match: TAG\r\nIf-Modified-Since: BEFORE\r\n", 304),
            // §13.1.1: strong comparison
            ("If-Match: TAG\r\n", 200),
            ("If-Match: *\r\n", 200),
            ("If-Match: \"x\", TAG\r\n", 200),
            ("If-Match: W/TAG\r\n", 412),
            ("If-Match: TAG, \"x\"\r\n", 200),
            ("If-Match: \"x\"\r\nIf-Match: TAG\r\n", 200),
            ("if-match:TAG\r\n", 200),
            ("If-Match: W/TAG, TAG\r\n", 200),
            ("If-Match: \"x\", W/TAG\r\n", 412),
            ("If-Match: w/TAG\r\n", 412),
            ("If-Match: \"*\"\r\n", 412),
            ("If-Match: x\r\n", 412),
            ("If-Match: x, TAG\r\n", 412),
            ("If-Match: ,\r\n", 412),
            ("If-Match: \"\"\r\n", 412),
            ("If-Match: \"x\"\r\nIf-Match: \"y\"\r\n", 412),
            ("If-Match: \"x\"\r\n", 412),
            ("If-Match:\r\n", 412),
            // §13.1.4: second after If-Match; ignored when it is no date
            ("If-Unmodified-Since: SAME\r\n", 200),
            ("If-Unmodified-Since: AFTER\r\n", 200),
            ("If-Unmodified-Since: BEFORE\r\n", 412),
            ("If-Unmodified-Since: never\r\n", 200),
            ("If-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 200),
            ("If-Unmodified-Since: Sunday, 06-Nov-94 08:49:36 GMT\r\n", 412),
            ("If-Unmodified-Since: Sun Nov  6 08:49:36 1994\r\n", 412),
            ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 412),
            ("If-Unmodified-Since:\r\n", 200),
            ("If-Unmodified-Since: 0\r\n", 200),
            ("If-Unmodified-Since: BEFORE\r\nIf-Unmodified-Since: BEFORE\r\n", 200),
            ("If-Match: \"x\"\r\nIf-Unmodified-Since: AFTER\r\n", 412),
            ("If-Match: TAG\r\nIf-Unmodified-Since: BEFORE\r\n", 200),
            // §13.2.2: in this order
            ("If-Match: \"x\"\r\nIf-None-Match: TAG\r\n", 412),
            ("If-Match: TAG\r\nIf-None-Match: TAG\r\n", 304),
            ("If-Unmodified-Since: BEFORE\r\nIf-None-Match: TAG\r\n", 412),
            ("If-Unmodified-Since: SAME\r\nIf-Modified-Since: SAME\r\n", 304),
            ("If-Unmodified-Since: BEFORE\r\nIf-Modified-Since: SAME\r\n", 412),
            ("If-Unmodified-Since: SAME\r\nIf-None-Match: TAG\r\n", 304),
            ("If-Match: TAG\r\nIf-None-Match: \"x\"\r\n", 200),
            ("If-Match: TAG\r\nIf-Modified-Since: SAME\r\n", 304),
            ("If-Match: *\r\nIf-None-Match: *\r\n", 304),
            ("If-None-Match: *\r\nIf-Match: \"x\"\r\n", 412),
            ("If-Modified-Since: SAME\r\nRange: bytes=0-0\r\n", 304),
            ("If-None-Match: \"x\"\r\nRange: bytes=0-0\r\n", 206),
            ("If-None-Match: \"x\"\r\nRange: bytes=99999999-\r\n", 416),
            ("If-Match: \"x\"\r\nRange: bytes=99999999-\r\n", 412),
            ("If-None-Match: TAG\r\nRange: bytes=0-0\r\nIf-Range: TAG\r\n", 304),
            ("If-Match: TAG\r\nRange: bytes=0-0\r\nIf-Range: \"x\"\r\n", 200),
            ("If-None-Match: TAG\r\nRange: bytes=0-0\r\n", 304),
            ("If-Match: \"x\"\r\nRange: bytes=0-0\r\n", 412),
            ("If-Match: TAG\r\nRange: bytes=0-0\r\n", 206),
        ] {
            let lines = filled(lines, &tag);
            let response = client.ask(Method::Get, target, &lines);
            assert_eq!(response.status, status, "{target} {lines:?}");
            check_head_over(version, &server, target, &lines, &response);
        }
    }
}

/// RFC 9110 §15.4.5: the tag and the date go along, content and what describes it do not.
#[test]
fn fields_of_not_modified() {
    Version::ALL.into_iter().for_each(check_not_modified);
}

fn check_not_modified(version: Version) {
    let site = site();
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for target in ["/small.bin", "/large.bin"] {
        let plain = client.get(target);
        for method in [Method::Get, Method::Head] {
            let response = client.ask(method, target, "If-None-Match: *\r\n");
            assert_eq!(response.status, 304);
            assert_eq!(response.field("ETag"), plain.field("ETag"));
            for present in ["ETag", "Date", "Server"] {
                assert!(response.field(present).is_some(), "{target} lacks {present}");
            }
            // RFC 9113 §8.2.2: the field belongs to HTTP/1.1.
            assert_eq!(response.field("Connection").is_some(), version == Version::Http1, "{target}");
            for absent in ["Content-Length", "Content-Type", "Content-Range", "Transfer-Encoding"] {
                assert_eq!(response.field(absent), None, "{target} {absent}");
            }
        }
        // Whatever followed a 304 would be taken for the next answer.
        assert!(client.get(target).content == plain.content);
    }
}

/// RFC 9110 §8.8: validators are there, strong, and change with the file only.
#[test]
fn validators() {
    let site = site();
    let first = Server::of(&site);
    let second = Server::of(&site);
    let tag_of = |server: &Server, target: &str| {
        let response = server.get(target);
        let tag = response.field("ETag").expect("a file has a tag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "a strong tag: {tag}");
        tag
    };
    for target in ["/small.bin", "/large.bin"] {
        assert_eq!(first.get(target).field("Last-Modified"), Some(SAME));
        let tag = tag_of(&first, target);
        // Whichever worker, and whichever server, answers.
        for _ in 0..8 {
            assert_eq!(tag_of(&first, target), tag);
        }
        assert_eq!(tag_of(&second, target), tag);
    }
    assert_ne!(tag_of(&first, "/small.bin"), tag_of(&first, "/large.bin"));
    let tag = tag_of(&first, "/small.bin");
    set_modified(&site.path("small.bin"), MODIFIED + 1);
    crate::harness::eventually("a new tag", || tag_of(&first, "/small.bin") != tag);
}

/// RFC 9110 §8.8.2.1: a date in the future is replaced by that of the answer.
#[test]
fn a_file_from_the_future() {
    Version::ALL.into_iter().for_each(check_future);
}

fn check_future(version: Version) {
    let site = Site::new();
    site.file("future.txt", "x");
    // 2200-01-01
    set_modified(&site.path("future.txt"), 7_258_118_400);
    let server = Server::of_both_versions(&site);
    let response = version.client(&server).get("/future.txt");
    assert_eq!(response.status, 200);
    assert_eq!(response.field("Last-Modified"), response.field("Date"));
}

/// A date that the format cannot write is moved to the nearest one that it can.
#[test]
fn a_file_from_before_1970() {
    let site = Site::new();
    let path = site.file("old.txt", "x");
    let time = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(86_400);
    let file = std::fs::File::options().write(true).open(path).expect("our own file can be opened");
    file.set_modified(time).expect("the file system knows such dates");
    let server = Server::of(&site);
    let response = server.get("/old.txt");
    assert_eq!(response.status, 200);
    assert_eq!(response.field("Last-Modified"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
}

/// RFC 9110 §13.1.5: a part only of the very version that the client has a part of.
#[test]
fn if_range() {
    Version::ALL.into_iter().for_each(check_if_range);
}

fn check_if_range(version: Version) {
    let site = site();
    let server = Server::of_both_versions(&site);
    let mut client = version.client(&server);
    for target in ["/small.bin", "/large.bin"] {
        let whole = client.get(target);
        let tag = whole.field("ETag").expect("a file has a tag").to_owned();
        for (value, part) in [
            ("TAG", true),
            ("SAME", true),
            ("W/TAG", false),
            ("\"x\"", false),
            ("*", false),
            ("BEFORE", false),
            ("AFTER", false),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun Nov  6 08:49:37 1994", true),
            ("TAG, TAG", true),
            ("TAG, \"x\"", true),
            ("\"x\", TAG", false),
            ("w/TAG", false),
            ("\"\"", false),
            ("784111777", false),
            ("SAME, SAME", false),
            ("TAG\r\nIf-Range: TAG", false),
            ("Sat, 06 Nov 2094 08:49:37 GMT", false),
            ("nonsense", false),
            ("", false),
        ] {
            let lines = filled(&format!("Range: bytes=10-19\r\nIf-Range: {value}\r\n"), &tag);
            let response = client.ask(Method::Get, target, &lines);
            let expected = if part { &whole.content[10..20] } else { &whole.content[..] };
            assert_eq!(response.status, if part { 206 } else { 200 }, "{target} {value}");
            assert!(response.content == expected, "{target} {value}");
            check_head_over(version, &server, target, &lines, &response);
        }
        // Without a Range there is nothing to ask for (§13.1.5).
        assert_eq!(client.ask(Method::Get, target, "If-Range: \"x\"\r\n").status, 200);
        // A part that is not there is refused only where it would have been sent.
        let beyond = "Range: bytes=99999999-\r\nIf-Range: ";
        assert_eq!(client.ask(Method::Get, target, &format!("{beyond}{tag}\r\n")).status, 416);
        assert_eq!(client.ask(Method::Get, target, &format!("{beyond}\"x\"\r\n")).status, 200);
    }
}
