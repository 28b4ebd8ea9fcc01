//! Tests of requests that are made of field lines.
//!
//! Order: a request that is one, field lines, pseudo-header fields, limits, trailers.
//!
//! Invariant: each case of a table is a request that is right but for one thing.

use super::*;
use BadRequest::{HeadTooLarge, HostInvalid, HostMissing, HostRepeated, Target, TargetTooLong, TooManyFieldLines};
use Malformed::{
    FieldValue, HostDiffers, OfConnection, PseudoLate, PseudoMissing, PseudoRepeated, PseudoUnknown, PseudoValue,
};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1000, target_bytes_max: 100, field_lines_max: 5 };

/// The request of lines `name=value`, one after the other.
fn assembled(assembler: &mut Assembler, lines: &[&str], has_content: bool) -> Result<Assembled, Bad> {
    assembler.begin(&LIMITS);
    for line in lines {
        let at = line[1..].find('=').expect("the table has it") + 1;
        assembler.field(&line.as_bytes()[..at], &line.as_bytes()[at + 1..]);
    }
    assembler.finish(has_content)
}

const GET: [&str; 4] = [":method=GET", ":scheme=https", ":authority=a", ":path=/"];

fn with_get(lines: &[&str]) -> Result<Assembled, Bad> {
    assembled(&mut Assembler::new(&LIMITS), &[&GET, lines].concat(), false)
}

#[test]
fn lines_become_a_head() {
    let mut assembler = Assembler::new(&LIMITS);
    let lines = [
        ":path=/a%20b?c",
        ":authority=Example.org:1",
        ":method=HEAD",
        ":scheme=https",
        "range=bytes=0-",
        "cookie=a",
        "cookie=b",
    ];
    let request = assembled(&mut assembler, &lines, false).expect("it is one");
    assert!(assembler.is_head());
    for _ in 0..2 {
        let head = request.head();
        assert_eq!((head.method, head.method_token, head.target), (Method::Head, "HEAD", "/a%20b?c"));
        assert_eq!((head.version, head.content), (Version::Http2, RequestContent::Absent));
        assert_eq!(head.persistence, Persistence::KeepAlive);
        assert_eq!(head.fields.section(), b"host: Example.org:1\r\nrange: bytes=0-\r\ncookie: a\r\ncookie: b\r\n\r\n");
        assert_eq!(head.fields.only(FieldName::Host), Some(&b"Example.org:1"[..]));
        assert_eq!(head.fields.only(FieldName::Range), Some(&b"bytes=0-"[..]));
    }
    assert_eq!(request.scheme(), Some("https"));
    // The memory is used again, and nothing of what it held is seen.
    assembler.take_back(request);
    let request = assembled(&mut assembler, &[&GET[..], &["content-length=7", "expect=x"]].concat(), true);
    let request = request.expect("it is one");
    assert!(!assembler.is_head());
    assert_eq!(request.content_length(), Some(7));
    let head = request.head();
    assert_eq!((head.target, head.content, head.expectation), ("/", RequestContent::Present, Expectation::Unknown));
    assert!(!head.fields.has(FieldName::Range));
}

#[test]
fn field_lines_are_judged() {
    let check = |line: &str, expected: Option<Bad>| assert_eq!(with_get(&[line]).err(), expected, "{line:?}");
    for line in
        ["x=", "x=a\tb c", "te=trailers", "TE=", "x=\u{fc}", "content-length=0", "host=A", "!#$%&'*+-.^_`|~09az=1"]
    {
        let expected = if line == "TE=" { Some(Malformed::FieldName.into()) } else { None };
        check(line, expected);
    }
    for (line, malformed) in [
        // RFC 9113 §8.2.1
        ("X=a", Malformed::FieldName),
        ("x y=a", Malformed::FieldName),
        ("x:=a", Malformed::FieldName),
        ("x\u{fc}=a", Malformed::FieldName),
        ("x\0=a", Malformed::FieldName),
        ("x= a", FieldValue),
        ("x=a\t", FieldValue),
        ("x=a\r\nb", FieldValue),
        ("x=\0", FieldValue),
        ("x=\x7f", FieldValue),
        // RFC 9113 §8.2.2
        ("connection=close", OfConnection),
        ("proxy-connection=a", OfConnection),
        ("keep-alive=5", OfConnection),
        ("transfer-encoding=chunked", OfConnection),
        ("upgrade=h2", OfConnection),
        ("te=gzip", OfConnection),
        ("te=", OfConnection),
        // RFC 9113 §8.3
        (":method=GET", PseudoRepeated),
        (":status=200", PseudoUnknown),
        (":=a", PseudoUnknown),
        // RFC 9113 §8.1.1, §8.3.1
        ("content-length=1", Malformed::ContentLength),
        ("content-length=+0", Malformed::ContentLength),
        ("content-length=", Malformed::ContentLength),
        ("content-length=0, 0", Malformed::ContentLength),
        ("host=b", HostDiffers),
    ] {
        check(line, Some(malformed.into()));
    }
    assert_eq!(with_get(&["content-length=0", "content-length=0"]).err(), Some(Malformed::ContentLength.into()));
    assert_eq!(with_get(&["x=a", ":authority=b"]).err(), Some(PseudoLate.into()));
}

#[test]
fn pseudo_header_fields_are_judged() {
    let check = |lines: &[&str], expected: Option<Bad>| {
        assert_eq!(assembled(&mut Assembler::new(&LIMITS), lines, false).err(), expected, "{lines:?}");
    };
    let path = |path: &'static str| [":method=GET", ":scheme=http", ":authority=a", path];
    let authority = |authority: &'static str| [":method=GET", ":scheme=http", ":path=/", authority];
    check(&path(":path=/\u{fc}"), None);
    check(&path(":path=*"), Some(Target.into()));
    check(&path(":path=a"), Some(Target.into()));
    check(&path(":path=http://a/"), Some(Target.into()));
    check(&path(":path="), Some(PseudoValue.into()));
    check(&path(":path=/ a"), Some(PseudoValue.into()));
    check(&path(":path=/\x7f"), Some(PseudoValue.into()));
    check(&[":method=OPTIONS", ":scheme=http", ":authority=a", ":path=*"], None);
    check(&[":method=G T", ":scheme=http", ":authority=a", ":path=/"], Some(PseudoValue.into()));
    check(&[":method=", ":scheme=http", ":authority=a", ":path=/"], Some(PseudoValue.into()));
    check(&[":method=GET", ":scheme=", ":authority=a", ":path=/"], Some(PseudoValue.into()));
    check(&[":method=GET", ":scheme=1a", ":authority=a", ":path=/"], Some(PseudoValue.into()));
    for missing in [0, 1, 3] {
        let mut lines = GET.to_vec();
        lines.remove(missing);
        check(&lines, Some(PseudoMissing.into()));
    }
    check(&GET[..0], Some(PseudoMissing.into()));
    // Host stands for an authority that is absent.
    check(&authority("host=a"), None);
    check(&authority("x=a"), Some(HostMissing.into()));
    check(&[&authority("host=a")[..], &["host=a"]].concat(), Some(HostRepeated.into()));
    check(&authority(":authority=u@a"), Some(HostInvalid.into()));
    check(&authority(":authority=a/b"), Some(HostInvalid.into()));
    check(&authority(":authority=a\r\nb: c"), Some(PseudoValue.into()));
    check(&authority("host=a b"), Some(HostInvalid.into()));
    // RFC 9113 §8.5
    check(&[":method=CONNECT", ":authority=a:1"], None);
    check(&[":method=CONNECT"], Some(PseudoMissing.into()));
    check(&[":method=CONNECT", ":authority="], Some(PseudoMissing.into()));
    check(&[":method=CONNECT", ":scheme=http", ":authority=a:1"], Some(PseudoMissing.into()));
    check(&[":method=CONNECT", ":scheme=http", ":authority=a:1", ":path=/"], Some(PseudoMissing.into()));
    let request = assembled(&mut Assembler::new(&LIMITS), &[":method=CONNECT", ":authority=a:1"], false);
    assert_eq!(request.expect("it is one").head().target, "a:1");
}

#[test]
fn limits_refuse_unless_the_request_is_malformed() {
    let line = |bytes: usize| format!("x={}", "v".repeat(bytes));
    // Of a thousand, 4 pseudo-header fields take 167, and the name and its overhead 33.
    assert_eq!(with_get(&[&line(1000 - 167 - 33)]).err(), None);
    assert_eq!(with_get(&[&line(1000 - 167 - 32)]).err(), Some(HeadTooLarge.into()));
    assert_eq!(with_get(&[&line(5000), "x=1", "x=2"]).err(), Some(HeadTooLarge.into()));
    assert_eq!(with_get(&[&line(5000), "X=1"]).err(), Some(Malformed::FieldName.into()));
    // So long a list is not looked through for that.
    assert_eq!(with_get(&[&line(300_000), "X=1"]).err(), Some(HeadTooLarge.into()));
    assert_eq!(with_get(&["x=1"; 5]).err(), None);
    assert_eq!(with_get(&["x=1"; 6]).err(), Some(TooManyFieldLines.into()));
    for (bytes, expected) in [(99, None), (100, Some(TargetTooLong)), (5000, Some(TargetTooLong))] {
        let path = format!(":path=/{}", "p".repeat(bytes));
        let mut assembler = Assembler::new(&LIMITS);
        let request = assembled(&mut assembler, &[":method=HEAD", ":scheme=http", &path, ":authority=a"], false);
        assert_eq!(request.err(), expected.map(Bad::from), "{bytes}");
        assert!(assembler.is_head());
    }
}

#[test]
fn trailers_are_plain_field_lines() {
    for (name, value, expected) in [
        ("x-checksum", "1", true),
        (":path", "/", false),
        ("X", "1", false),
        ("x", "\r\n", false),
        ("connection", "close", false),
        ("", "", false),
    ] {
        assert_eq!(is_trailer(name.as_bytes(), value.as_bytes()), expected, "{name}");
    }
}
