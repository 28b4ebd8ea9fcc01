//! One request head: the outcome is the same however it comes in pieces, and the fields are those
//! that a naive reading of the lines gives.
//!
//! Invariant: no further byte makes a whole head another, or a refused one whole.

use super::cuts;
use otus_httpd::http::fields::FieldName;
use otus_httpd::http::framing::{Persistence, RequestContent};
use otus_httpd::http::request::{BadRequest, HeadLimits, Parse, RequestHead, Version, parse};

/// The limits of the standard configuration, and narrow ones that short inputs can break.
const LIMITS: [HeadLimits; 2] = [
    HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 },
    HeadLimits { head_bytes_max: 96, target_bytes_max: 24, field_lines_max: 100 },
];

pub(super) const NAMES: [(FieldName, &str); 19] = [
    (FieldName::Host, "Host"),
    (FieldName::Connection, "Connection"),
    (FieldName::ContentLength, "Content-Length"),
    (FieldName::TransferEncoding, "Transfer-Encoding"),
    (FieldName::Expect, "Expect"),
    (FieldName::IfMatch, "If-Match"),
    (FieldName::IfNoneMatch, "If-None-Match"),
    (FieldName::IfModifiedSince, "If-Modified-Since"),
    (FieldName::IfUnmodifiedSince, "If-Unmodified-Since"),
    (FieldName::IfRange, "If-Range"),
    (FieldName::Range, "Range"),
    (FieldName::Accept, "Accept"),
    (FieldName::AcceptEncoding, "Accept-Encoding"),
    (FieldName::Authorization, "Authorization"),
    (FieldName::Origin, "Origin"),
    (FieldName::AccessControlRequestMethod, "Access-Control-Request-Method"),
    (FieldName::AccessControlRequestHeaders, "Access-Control-Request-Headers"),
    (FieldName::Forwarded, "Forwarded"),
    (FieldName::XForwardedFor, "X-Forwarded-For"),
];

/// Parses `buffer` as a whole and cut.
pub fn request_head(buffer: &[u8]) {
    for limits in &LIMITS {
        let whole = parse(buffer, limits);
        if let Ok(Parse::Complete(head)) = &whole {
            check_head(buffer, head, limits);
        }
        for cut in cuts(buffer) {
            match (parse(&buffer[..cut], limits), &whole) {
                (Ok(Parse::Partial), Ok(Parse::Complete(head))) => assert!(cut < head.len, "partial at {cut}"),
                (Ok(Parse::Partial), _) => {}
                (Ok(Parse::Complete(early)), Ok(Parse::Complete(late))) => check_same(&early, late),
                (Ok(Parse::Complete(_)), late) => panic!("a head that was whole at {cut} is taken back: {late:?}"),
                // Which of two faults is seen first may depend on the cut; that there is one may not.
                (Err(_), Err(_)) => {}
                // The request line alone is looked at before the end of the head has come, and only
                // while it is all that there is.
                (Err(early), Ok(Parse::Partial)) => check_never_whole(buffer, limits, early),
                (Err(early), late) => panic!("refused at {cut} for {early:?}, and then {late:?}"),
            }
        }
    }
}

/// A refusal that was early must be one in the end, whatever completes the head.
fn check_never_whole(buffer: &[u8], limits: &HeadLimits, early: BadRequest) {
    for end in ["\r\n\r\n", "\n\r\n", "Host: a\r\n\r\n", " HTTP/1.0\r\n\r\n"] {
        let ended = [buffer, end.as_bytes()].concat();
        let late = parse(&ended, limits);
        assert!(!matches!(late, Ok(Parse::Complete(_))), "refused for {early:?}, and whole behind {end:?}");
    }
}

fn check_head(buffer: &[u8], head: &RequestHead<'_>, limits: &HeadLimits) {
    assert!(head.len <= buffer.len());
    // RFC 9112 §2.2: an empty line before the request counts for nothing.
    assert!(head.len <= limits.head_bytes_max + 2);
    let bytes = &buffer[..head.len];
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert!(!head.method_token.is_empty() && head.method_token.bytes().all(|b| b.is_ascii_graphic()));
    assert!(head.target.len() <= limits.target_bytes_max);
    assert!(!head.target.is_empty() && head.target.bytes().all(|b| b > b' ' && b != 0x7F));

    let lines = naive_lines(bytes);
    for (name, text) in NAMES {
        let values: Vec<&[u8]> = head.fields.values(name).collect();
        let expected: Vec<&[u8]> =
            lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(text.as_bytes())).map(|(_, v)| *v).collect();
        assert_eq!(values, expected, "{text}");
        assert_eq!(head.fields.has(name), !values.is_empty(), "{text}");
        assert_eq!(head.fields.only(name), if let [value] = values[..] { Some(value) } else { None }, "{text}");
        // What gets out of its line could become a line of its own: of a log, or of an answer.
        assert!(!values.concat().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{text}");
    }

    // RFC 9112 §3.2, §6.3, §9.3: what two readers might understand differently is never whole.
    assert!(head.fields.only(FieldName::Host).is_some() || head.version == Version::Http10);
    assert!(!head.fields.has(FieldName::ContentLength) || !head.fields.has(FieldName::TransferEncoding));
    assert!(head.content == RequestContent::Absent || head.persistence == Persistence::Close);

    // What stands behind a head is no part of it.
    let followed = [bytes, b"\r\n\0 : GET"].concat();
    match parse(&followed, limits) {
        Ok(Parse::Complete(again)) => check_same(&again, head),
        other => panic!("other bytes behind the head change it: {other:?}"),
    }
}

/// Name and value of each field line, found by splitting alone.
fn naive_lines(head: &[u8]) -> Vec<(&[u8], &[u8])> {
    let lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let fields = lines.skip_while(|line| line.is_empty()).skip(1).take_while(|line| !line.is_empty());
    fields
        .map(|line| {
            let colon = line.iter().position(|b| *b == b':').expect("a line of a whole head has a colon");
            (&line[..colon], line[colon + 1..].trim_ascii())
        })
        .collect()
}

fn check_same(one: &RequestHead<'_>, other: &RequestHead<'_>) {
    assert_eq!(
        (one.len, one.method_token, one.target, one.version),
        (other.len, other.method_token, other.target, other.version)
    );
    assert_eq!(
        (one.method, one.expectation, one.content, one.persistence),
        (other.method, other.expectation, other.content, other.persistence)
    );
    for (name, text) in NAMES {
        assert!(one.fields.values(name).eq(other.fields.values(name)), "{text}");
    }
}
