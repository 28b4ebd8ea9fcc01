//! A request of HTTP/2: its field lines are judged as a naive reading judges them, and what is a request has the fields
//! that the same lines have in HTTP/1.1.
//!
//! Lines stand behind one another with a byte 0x1e between them; in a line, 0x1f is between name and value.
//!
//! Invariant: no line of a request that is answered holds what would end it.

use super::request_head::NAMES;
use otus_httpd::http::fields::FieldName;
use otus_httpd::http::request::{HeadLimits, Parse, Version, parse};
use otus_httpd::http2::request::{Assembler, Bad, is_trailer};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 2048, target_bytes_max: 64, field_lines_max: 8 };

/// Wide ones, for the same request as text.
const LIMITS_OF_TEXT: HeadLimits =
    HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

/// Assembles the lines, with content behind them and without.
pub fn http2_request(input: &[u8]) {
    let lines: Vec<(&[u8], &[u8])> = input.split(|b| *b == 0x1e).map(split_line).collect();
    let mut assembler = Assembler::new(&LIMITS);
    for has_content in [false, true, false] {
        assembler.begin(&LIMITS);
        for (name, value) in &lines {
            assembler.field(name, value);
        }
        let outcome = assembler.finish(has_content);
        match (&outcome, is_malformed(&lines, has_content)) {
            (Err(Bad::Malformed(_)), true) => {}
            // Behind a limit, which pseudo-header fields came is not looked at.
            (Err(Bad::Refused(_)), is_malformed) => assert!(!is_malformed || is_over_limit(&lines), "{outcome:?}"),
            (Ok(_), false) => assert!(!is_over_limit(&lines)),
            (outcome, is_malformed) => panic!("{outcome:?}, malformed: {is_malformed}"),
        }
        if let Ok(request) = outcome {
            check(&lines, &request.head(), request.content_length());
            assembler.take_back(request);
        }
    }
    for (name, value) in &lines {
        assert_eq!(is_trailer(name, value), is_plain(name, value) && !name.starts_with(b":"));
    }
}

fn split_line(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|b| *b == 0x1f).unwrap_or(line.len());
    (&line[..at], line.get(at + 1..).unwrap_or(b""))
}

fn is_over_limit(lines: &[(&[u8], &[u8])]) -> bool {
    let bytes: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    // RFC 9113 §8.2.3: a cookie in crumbs is one field.
    let crumbs = lines.iter().filter(|(name, _)| name == b"cookie").count().saturating_sub(1);
    let regular = lines.iter().filter(|(name, _)| !name.starts_with(b":")).count() - crumbs;
    let is_long = lines.iter().any(|(name, value)| *name == b":path" && value.len() > LIMITS.target_bytes_max);
    bytes > LIMITS.head_bytes_max || regular > LIMITS.field_lines_max || is_long
}

fn all<'a>(lines: &[(&'a [u8], &'a [u8])], name: &str) -> Vec<&'a [u8]> {
    lines.iter().filter(|(one, _)| *one == name.as_bytes()).map(|(_, value)| *value).collect()
}

/// RFC 9113 §8.1.1 to §8.3.1, one rule after the other.
fn is_malformed(lines: &[(&[u8], &[u8])], has_content: bool) -> bool {
    let is_pseudo = |name: &[u8]| name.starts_with(b":");
    let pseudo = lines.iter().take_while(|(name, _)| is_pseudo(name)).count();
    let (pseudo, regular) = lines.split_at(pseudo);
    let [method, scheme, path, authority] = [":method", ":scheme", ":path", ":authority"].map(|name| all(pseudo, name));
    let host = all(regular, "host");
    let lengths = all(regular, "content-length");
    let is_length = |value: &&[u8]| {
        std::str::from_utf8(value)
            .is_ok_and(|text| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok())
    };
    let is_graphic = |value: &[u8]| value.iter().all(|b| *b > b' ' && *b != 0x7f) && std::str::from_utf8(value).is_ok();
    let is_token = |value: &[u8]| is_plain(&value.to_ascii_lowercase(), b"");
    let takes_no_path = method.first() == Some(&&b"CONNECT"[..]);
    regular.iter().any(|(name, value)| is_pseudo(name) || !is_plain(name, value))
        || pseudo.len() != method.len() + scheme.len() + path.len() + authority.len()
        || [&method, &scheme, &path, &authority].iter().any(|values| values.len() > 1)
        || method.len() != 1
        || !is_token(method[0]) && !matches!(method[0], b"te" | b"TE" | b"Te" | b"tE")
        || scheme.len() != usize::from(!takes_no_path)
        || path.len() != usize::from(!takes_no_path)
        || takes_no_path && authority.concat().is_empty()
        || scheme.iter().any(|scheme| {
            !scheme.first().is_some_and(u8::is_ascii_alphabetic)
                || !scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        })
        || path.iter().any(|path| path.is_empty() || !is_graphic(path))
        || authority.iter().any(|authority| !is_plain(b"x", authority))
        || !authority.is_empty() && host.iter().any(|host| !host.eq_ignore_ascii_case(authority[0]))
        || lengths.len() > 1
        || !lengths.iter().all(is_length)
        || !has_content && lengths.iter().any(|length| length.iter().any(|digit| *digit != b'0'))
}

/// Whether a line may stand among those of a request or its trailers.
fn is_plain(name: &[u8], value: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(b);
    let of_connection = ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    !name.is_empty()
        && name.iter().all(is_name)
        && value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f)
        && value.trim_ascii() == value
        && !of_connection.iter().any(|one| one.as_bytes() == name)
        && (name != b"te" || value.eq_ignore_ascii_case(b"trailers"))
}

/// The same request as text has the same fields.
fn check(lines: &[(&[u8], &[u8])], head: &otus_httpd::http::request::RequestHead<'_>, content_length: Option<u64>) {
    assert_eq!(head.version, Version::Http2);
    assert_eq!([head.method_token.as_bytes()], all(lines, ":method")[..]);
    let section = head.fields.section();
    assert!(section.ends_with(b"\r\n"));
    let text = [head.method_token.as_bytes(), b" ", head.target.as_bytes(), b" HTTP/1.1\r\n", section].concat();
    let Ok(Parse::Complete(same)) = parse(&text, &LIMITS_OF_TEXT) else { panic!("{}", text.escape_ascii()) };
    assert_eq!(same.len, text.len(), "no line ends the head");
    assert_eq!((same.method, same.target, same.expectation), (head.method, head.target, head.expectation));
    for (name, text) in NAMES {
        assert!(same.fields.values(name).eq(head.fields.values(name)), "{text}");
    }
    let lengths = head.fields.values(FieldName::ContentLength).count();
    assert_eq!(content_length.is_some(), lengths == 1);
}
