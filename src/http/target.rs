//! Request targets (RFC 9112 §3.2) and the paths of a site.
//!
//! Order: form of the target · percent-decoding, once · dot segments and empty segments.
//!
//! Invariant: a [`SitePath`] starts with `/`, holds no NUL, no empty segment and no dot segment,
//! and was decoded exactly once. Its constructors are the only way to one, so whoever holds a
//! `SitePath` need not check again.

use super::host::is_authority;
use super::request::BadRequest;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use std::borrow::Cow;
use std::fmt;

/// A target of a GET or HEAD request, split but not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// The path, starting with `/`.
    pub path: &'a str,
    /// What stands behind the first `?`.
    pub query: Option<&'a str>,
    /// The authority of an absolute-form target; it overrides Host (RFC 9112 §3.2.2).
    pub authority: Option<&'a str>,
}

impl<'a> RequestTarget<'a> {
    /// Splits an origin-form or absolute-form target.
    pub fn parse(target: &'a str) -> Result<RequestTarget<'a>, BadRequest> {
        let (authority, rest) = match target.as_bytes() {
            [b'/', ..] => (None, target),
            _ => {
                let (authority, rest) = split_absolute(target).ok_or(BadRequest::Target)?;
                (Some(authority), rest)
            }
        };
        // RFC 9110 §4.2.5: a fragment is never sent; a `#` here is no valid target.
        if memchr::memchr(b'#', rest.as_bytes()).is_some() {
            return Err(BadRequest::Target);
        }
        let (path, query) = match memchr::memchr(b'?', rest.as_bytes()) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        // RFC 9112 §3.2.2: an absolute form may have an empty path; it means the root.
        let path = if path.is_empty() { "/" } else { path };
        Ok(RequestTarget { path, query, authority })
    }
}

/// Authority and rest of `http://authority/rest`.
fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // RFC 9110 §4.2.1: a URI with an empty host is refused; a port does not fill it.
    let has_host = !authority.is_empty() && !authority.starts_with(':');
    (has_host && is_authority(authority.as_bytes())).then_some((authority, rest))
}

/// A decoded, normalised path within a site: the proof that it stays inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePath<'a> {
    decoded: Cow<'a, [u8]>,
}

impl<'a> SitePath<'a> {
    /// Decodes and normalises the path of a target.
    pub fn parse(path: &'a str) -> Result<SitePath<'a>, BadRequest> {
        let raw = path.as_bytes();
        debug_assert_eq!(raw.first(), Some(&b'/'));
        if is_plain(raw) {
            return Ok(SitePath { decoded: Cow::Borrowed(raw) });
        }
        normalise(&percent_decode(raw)?).map(|decoded| SitePath { decoded: Cow::Owned(decoded) })
    }

    /// The path of bytes that are decoded already; `None` when it climbs out of the root, holds a NUL, or does not
    /// begin with a slash.
    pub fn from_decoded(bytes: Vec<u8>) -> Option<SitePath<'static>> {
        if bytes.first() != Some(&b'/') || memchr::memchr(0, &bytes).is_some() {
            return None;
        }
        normalise(&bytes).ok().map(|decoded| SitePath { decoded: Cow::Owned(decoded) })
    }

    /// The path of the root.
    pub fn root() -> SitePath<'static> {
        SitePath { decoded: Cow::Borrowed(b"/") }
    }

    /// The same path, independent of where it was read from.
    pub fn into_owned(self) -> SitePath<'static> {
        SitePath { decoded: Cow::Owned(self.decoded.into_owned()) }
    }

    /// The decoded path, starting with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.decoded
    }

    /// The path below the root: without the leading `/`.
    pub fn relative(&self) -> &[u8] {
        &self.decoded[1..]
    }

    /// Whether the path names a directory: it ends in `/`.
    pub fn is_directory(&self) -> bool {
        self.decoded.last() == Some(&b'/')
    }

    /// The names between the slashes.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.decoded.split(|b| *b == b'/').filter(|segment| !segment.is_empty())
    }

    /// The path encoded anew for a Location field. It starts with exactly one slash, so that it
    /// can never be read as the `//host` of a network-path reference (RFC 3986 §4.2).
    pub fn encoded(&self) -> String {
        encode_path(&self.decoded).to_string()
    }
}

/// A decoded path, or a part of one, written for a URL: neither a delimiter of URLs nor a control
/// is left in it.
pub fn encode_path(decoded: &[u8]) -> impl fmt::Display {
    percent_encode(decoded, UNSAFE_IN_PATH)
}

/// What is not left as it is in a path: all but unreserved characters, sub-delims, `:`, `@` and
/// the slash (RFC 3986 §3.3).
pub(crate) const UNSAFE_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Whether a path is its own normal form, as nearly all are: no escape, no empty segment, no
/// segment that starts with a dot.
fn is_plain(raw: &[u8]) -> bool {
    let mut previous = 0;
    for byte in raw {
        if matches!(byte, b'%' | 0) || (previous == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        previous = *byte;
    }
    true
}

/// Replaces each `%XX` by its byte (RFC 3986 §2.1). NUL ends names in the kernel's eyes, so it
/// is refused here.
fn percent_decode(raw: &[u8]) -> Result<Vec<u8>, BadRequest> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, behind @ ..] = rest {
        rest = behind;
        // Raw, it gets past no head, but a path may come from a configuration as well.
        if *first == 0 {
            return Err(BadRequest::PercentEncoding);
        }
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return Err(BadRequest::PercentEncoding) };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadRequest::PercentEncoding);
        let byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).expect("two hexadecimal digits make one byte");
        if byte == 0 {
            return Err(BadRequest::PercentEncoding);
        }
        decoded.push(byte);
        rest = behind;
    }
    Ok(decoded)
}

/// Removes dot segments (RFC 3986 §5.2.4) and empty ones. It runs after decoding, so that
/// `%2e%2e` and `%2f` have no second meaning.
fn normalise(decoded: &[u8]) -> Result<Vec<u8>, BadRequest> {
    let mut path = Vec::with_capacity(decoded.len());
    path.push(b'/');
    let mut segments = decoded[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                // The path ends in a slash here, with one segment before it, or is the root.
                let parent = path[..path.len() - 1].iter().rposition(|b| *b == b'/');
                path.truncate(parent.ok_or(BadRequest::PathClimbs)? + 1);
            }
            name => {
                path.extend_from_slice(name);
                if !last {
                    path.push(b'/');
                }
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site_path(target: &str) -> Result<String, BadRequest> {
        let target = RequestTarget::parse(target)?;
        SitePath::parse(target.path).map(|path| path.as_bytes().escape_ascii().to_string())
    }

    #[test]
    fn paths_are_decoded_once_and_normalised() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("/a/b/", "/a/b/"),
            ("/a?b=/../c", "/a"),
            ("/space%20in%20name.txt", "/space in name.txt"),
            ("/%70%61%67%65%2e%68%74%6d%6c", "/page.html"),
            ("/%2541", "/%41"),
            ("/text..txt", "/text..txt"),
            ("/...", "/..."),
            ("/..a/b", "/..a/b"),
            ("//a//b//", "/a/b/"),
            ("//evil.example/x", "/evil.example/x"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/../", "/a/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb", "/a/b"),
            ("/a%2f..%2fb", "/b"),
            ("/a%5c..%5cb", "/a\\\\..\\\\b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/.git/config", "/.git/config"),
            ("http://example.org", "/"),
            ("HTTP://example.org:80/a/../b?q", "/b"),
            ("http://example.org?q", "/"),
        ] {
            assert_eq!(site_path(target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn paths_that_are_refused() {
        use BadRequest::*;
        for (target, expected) in [
            ("/..", PathClimbs),
            ("/../etc/passwd", PathClimbs),
            ("/a/../../etc/passwd", PathClimbs),
            ("/httptest/../../../../../../../../../../../../../etc/passwd", PathClimbs),
            ("/%2e%2e/etc/passwd", PathClimbs),
            ("/%2E%2E%2Fetc/passwd", PathClimbs),
            ("/.%2e/etc/passwd", PathClimbs),
            ("/..%2fetc/passwd", PathClimbs),
            ("/a/..//../etc/passwd", PathClimbs),
            ("/./.././etc", PathClimbs),
            ("/%00", PercentEncoding),
            ("/a%00.html", PercentEncoding),
            ("/%", PercentEncoding),
            ("/%4", PercentEncoding),
            ("/%zz", PercentEncoding),
            ("/%+1", PercentEncoding),
            ("/%u0041", PercentEncoding),
            ("/a#b", Target),
            ("*", Target),
            ("a", Target),
            ("", Target),
            ("example.org:443", Target),
            ("ftp://example.org/", Target),
            ("http:///a", Target),
            ("http://u@example.org/", Target),
            ("javascript:alert(1)", Target),
        ] {
            assert_eq!(site_path(target), Err(expected), "{target}");
        }
    }

    #[test]
    fn a_location_is_encoded_anew() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/space%20x", "/space%20x"),
            ("/%25", "/%25"),
            ("/%0d%0aSet-Cookie:x", "/%0D%0ASet-Cookie:x"),
            ("/%d0%b4", "/%D0%B4"),
            ("//evil.example", "/evil.example"),
            ("/%2fevil.example", "/evil.example"),
            ("/a?b", "/a"),
            ("/a%3fb", "/a%3Fb"),
            ("/\\evil.example", "/%5Cevil.example"),
        ] {
            let target = RequestTarget::parse(path).expect("each row is a valid target");
            let path = SitePath::parse(target.path).expect("each row is a valid path");
            assert_eq!(path.encoded(), expected);
        }
    }

    #[test]
    fn decoded_paths_are_normalised_and_not_decoded_again() {
        let cases: [(&[u8], Option<&[u8]>); 20] = [
            (b"/", Some(b"/")),
            (b"/a/b.html", Some(b"/a/b.html")),
            (b"/a/b/", Some(b"/a/b/")),
            (b"//a//b", Some(b"/a/b")),
            (b"/a/./b/.", Some(b"/a/b/")),
            (b"/a/../b", Some(b"/b")),
            (b"/a/..", Some(b"/")),
            (b"/%2e%2e/a", Some(b"/%2e%2e/a")),
            (b"/%", Some(b"/%")),
            (b"/a?b#c", Some(b"/a?b#c")),
            (b"/.git", Some(b"/.git")),
            (b"/\xff\r\n", Some(b"/\xff\r\n")),
            (b"/..", None),
            (b"/a/../..", None),
            (b"/a/../../etc/passwd", None),
            (b"/a\0", None),
            (b"/\0/..", None),
            (b"", None),
            (b"a", None),
            (b"../a", None),
        ];
        for (decoded, expected) in cases {
            let path = SitePath::from_decoded(decoded.to_vec());
            assert_eq!(path.as_ref().map(SitePath::as_bytes), expected, "{}", decoded.escape_ascii());
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for (path, borrowed) in [("/", true), ("/a/b.c/d", true), ("/a%20", false), ("//a", false), ("/.a", false)] {
            let path = SitePath::parse(path).expect("each row is a valid path");
            assert_eq!(matches!(path.decoded, Cow::Borrowed(_)), borrowed, "{path:?}");
        }
    }
}
