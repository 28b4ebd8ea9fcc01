//! Request targets: what is parsed stays in the site, equals a naive reading, and survives being
//! written and read again.
//!
//! Invariant: no path has a NUL, an empty segment or a dot segment, whatever its spelling.

use otus_httpd::http::request::{HeadLimits, Parse, parse};
use otus_httpd::http::target::{RequestTarget, SitePath};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

/// Takes `data` for the target of a request.
pub fn target(data: &[u8]) {
    // By way of a head: a target never reaches its parser but through that of heads.
    let bytes = [b"GET ", data, b" HTTP/1.0\r\n\r\n"].concat();
    let Ok(Parse::Complete(head)) = parse(&bytes, &LIMITS) else { return };
    if head.target.as_bytes() != data {
        return;
    }
    let Ok(target) = RequestTarget::parse(head.target) else { return };
    assert!(target.path.starts_with('/') && !target.path.contains(['?', '#']));
    assert!(!target.query.is_some_and(|query| query.contains('#')));
    if let Some(authority) = target.authority {
        assert!(!authority.is_empty() && !authority.contains(['/', '?', '#', '@', ',']));
    }
    match (SitePath::parse(target.path), naive_path(target.path.as_bytes())) {
        (Ok(path), Some(expected)) => {
            assert_eq!(path.as_bytes(), expected, "the path is not what a naive reading gives");
            check_path(&path);
        }
        (Err(_), None) => {}
        (parsed, expected) => panic!("parsed {parsed:?}, by a naive reading {expected:?}"),
    }
}

fn check_path(path: &SitePath<'_>) {
    let bytes = path.as_bytes();
    assert_eq!(bytes.first(), Some(&b'/'));
    assert!(!bytes.contains(&0));
    assert_eq!(path.relative(), &bytes[1..]);
    assert_eq!(path.is_directory(), bytes.ends_with(b"/"));
    let names = bytes[1..].strip_suffix(b"/").unwrap_or(&bytes[1..]);
    let names: Vec<&[u8]> = names.split(|b| *b == b'/').filter(|_| !names.is_empty()).collect();
    assert!(names.iter().all(|name| !matches!(*name, b"" | b"." | b"..")));
    assert!(path.segments().eq(names));

    // RFC 3986 §4.2: two slashes at the start would name another server.
    let encoded = path.encoded();
    assert!(encoded.starts_with('/') && !encoded.starts_with("//"));
    assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}?#[]".contains(&b)), "{encoded}");
    let target = RequestTarget::parse(&encoded).expect("what we write, we read");
    assert_eq!((target.path, target.query, target.authority), (encoded.as_str(), None, None));
    let again = SitePath::parse(target.path).expect("what we write, we read");
    assert_eq!(again.as_bytes(), bytes);
    assert_eq!(again.encoded(), encoded);
}

/// RFC 3986 §2.1 and §5.2.4 read literally, with a stack; `None` where the path is to be refused.
fn naive_path(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
            decoded.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
            rest = &rest[2..];
        } else {
            decoded.push(*first);
        }
    }
    if decoded.contains(&0) {
        return None;
    }
    let segments: Vec<&[u8]> = decoded[1..].split(|b| *b == b'/').collect();
    let mut stack: Vec<&[u8]> = Vec::new();
    for segment in &segments {
        match *segment {
            b"" | b"." => {}
            b".." => drop(stack.pop()?),
            name => stack.push(name),
        }
    }
    let names_directory = matches!(segments.last(), Some(&(b"" | b"." | b"..")));
    let mut expected = [b"/", stack.join(&b'/').as_slice()].concat();
    if names_directory && !stack.is_empty() {
        expected.push(b'/');
    }
    Some(expected)
}
