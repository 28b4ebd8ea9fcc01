//! Random heads, valid and malformed, cut at every byte: the outcome is that of the whole.
//!
//! Heads are put together from pieces, so that most come far into the parser, and each piece is
//! sometimes wrong.
//!
//! Invariant: a connection behaves as if its bytes came one by one; how the network cuts them is
//! nobody's choice.

use crate::harness::Random;
use otus_httpd::http::fields::FieldName;
use otus_httpd::http::request::{BadRequest, HeadLimits, Parse, RequestHead, parse};

const HEADS: usize = 3_000;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1024, target_bytes_max: 128, field_lines_max: 100 };

/// What an observer can tell of a whole head.
fn seen(head: &RequestHead<'_>) -> String {
    let names = [FieldName::Host, FieldName::Range, FieldName::IfNoneMatch, FieldName::Connection];
    let values: Vec<Vec<&[u8]>> = names.iter().map(|name| head.fields.values(*name).collect()).collect();
    let RequestHead { method_token, target, version, expectation, content, persistence, len, .. } = head;
    format!("{method_token} {target} {version:?} {expectation:?} {content:?} {persistence:?} {len} {values:?}")
}

/// What comes of bytes that are read in two parts, as a connection reads them.
fn in_two_parts(bytes: &[u8], cut: usize) -> Result<Option<String>, BadRequest> {
    match parse(&bytes[..cut], &LIMITS)? {
        Parse::Complete(head) => Ok(Some(seen(&head))),
        Parse::Partial => in_one_part(bytes),
    }
}

fn in_one_part(bytes: &[u8]) -> Result<Option<String>, BadRequest> {
    match parse(bytes, &LIMITS)? {
        Parse::Complete(head) => Ok(Some(seen(&head))),
        Parse::Partial => Ok(None),
    }
}

#[test]
fn heads_may_be_cut_anywhere() {
    let mut random = Random::new(3);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..HEADS {
        let bytes = head(&mut random);
        let expected = in_one_part(&bytes);
        match &expected {
            Ok(Some(_)) => whole += 1,
            Ok(None) => {}
            Err(_) => refused += 1,
        }
        for cut in 0..=bytes.len() {
            match (in_two_parts(&bytes, cut), &expected) {
                // A refusal may come earlier, and then for another fault of the same head.
                (Err(_), Err(_)) => {}
                // Before its end has come, only a request line that stands alone is looked at.
                (Err(_), Ok(None)) => {
                    let ended = in_one_part(&[&bytes[..], b"\r\n\r\n"].concat());
                    assert!(!matches!(ended, Ok(Some(_))), "cut at {cut}: {}", bytes.escape_ascii());
                }
                (parts, expected) => assert_eq!(&parts, expected, "cut at {cut}: {}", bytes.escape_ascii()),
            }
        }
    }
    // Were nearly all of them good, or bad, this test would show little.
    assert!(whole > HEADS / 5 && refused > HEADS / 5, "{whole} whole, {refused} refused of {HEADS}");
}

/// Right first, and wrong ones behind; one in eight is wrong.
fn piece<'a>(random: &mut Random, right: &[&'a str], wrong: &[&'a str]) -> &'a str {
    let choices = if random.below(8) == 0 { wrong } else { right };
    choices[random.below(choices.len())]
}

fn head(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    text.push_str(piece(random, &["", "", "", "\r\n"], &["\n", "\r\n\r\n", "\r", " ", "\0"]));
    text.push_str(piece(random, &["GET", "HEAD", "POST", "X-1"], &["", "G T", "G\r", "G(", "\u{16}\u{3}"]));
    text.push(' ');
    let long = format!("/{}", "a".repeat(120 + random.below(20)));
    text.push_str(piece(random, &["/", "/a%20b?c", "http://a/b", "*", "//"], &["", "/ /", "/\t", &long, "/\x7f"]));
    text.push_str(piece(random, &[" HTTP/1.1", " HTTP/1.1", " HTTP/1.0"], &[" HTTP/2.0", " HTTP/1.", "", " http/1.1"]));
    text.push_str(line_end(random));
    text.push_str(piece(random, &["Host: a", "host:a:80 ", "HOST: [::1]"], &["Host : a", "Host: a b", "X: y"]));
    text.push_str(line_end(random));
    for _ in 0..random.below(5) {
        let right = [
            "Range: bytes=0-",
            "If-None-Match: \"x\", W/\"y\"",
            "If-None-Match:",
            "Connection: keep-alive, close",
            "Content-Length: 0",
            "X-Other:\tvalue",
            "Expect: 100-continue",
        ];
        let wrong = [": x", " folded", "X: \0", "X: a\rb", "nonsense", "Content-Length: 5, 5", "X Y: z"];
        text.push_str(piece(random, &right, &wrong));
        text.push_str(line_end(random));
    }
    text.push_str(line_end(random));
    text.push_str(["", "GET / HTTP/1.1\r\n", "\r\n", "\0"][random.below(4)]);
    text.into_bytes()
}

/// Wrong once in thirty: a head has several.
fn line_end(random: &mut Random) -> &'static str {
    if random.below(30) == 0 { ["\n", "\r", "\n\r", ""][random.below(4)] } else { "\r\n" }
}
