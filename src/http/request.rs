//! Parses one request head (RFC 9112 §2–§6): httparse for the grammar, a strict layer over it.
//!
//! Order: a leading empty line · line ends · limits · grammar · Host · framing · persistence.
//! Each refusal is a variant of [`BadRequest`] with one status. After a refusal the connection
//! must close: where the next request starts is no longer certain.
//!
//! Invariant: of a [`RequestHead`], the first `len` bytes of the buffer are exactly the head.

use super::fields::{FieldName, Fields, FirstLines};
use super::framing::{self, Expectation, Persistence, RequestContent};
use super::host;
use super::method::Method;
use super::status::Status;
use std::mem::MaybeUninit;

/// Limits on what a peer may send before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a whole head, request line and field lines; at most [`HEAD_BYTES_CEILING`].
    pub head_bytes_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
    /// Field lines, at most [`FIELD_LINES_MAX`].
    pub field_lines_max: usize,
}

/// No limit may be set above this: offsets within a head are kept in 16 bits.
pub const HEAD_BYTES_CEILING: usize = 60 * 1024;

/// Field lines in one head. Browsers send about twenty.
pub const FIELD_LINES_MAX: usize = 100;

/// One head, borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// What is asked for.
    pub method: Method,
    /// The method as it was written, for the log.
    pub method_token: &'a str,
    /// The target as it was written, not decoded.
    pub target: &'a str,
    /// The protocol version of the request.
    pub version: Version,
    /// The fields that the server acts on.
    pub fields: Fields<'a>,
    /// What the client expects of the server.
    pub expectation: Expectation,
    /// Whether content follows the head.
    pub content: RequestContent,
    /// Whether the client lets the connection live on.
    pub persistence: Persistence,
    /// Bytes of the head in the buffer, from its start.
    pub len: usize,
}

/// The protocol version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// What a buffer holds so far.
#[derive(Clone, Copy, Debug)]
pub enum Parse<'a> {
    /// Not yet a whole head: read on.
    Partial,
    /// A whole head.
    Complete(RequestHead<'a>),
}

/// Why a request is refused before anybody looks for its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// RFC 9112 §2.2: one empty line before a request may be skipped, not more.
    #[error("more than one empty line before the request line")]
    EmptyLines,
    /// RFC 9112 §2.2: a sender ends each line by CR LF; a lone LF is a door for smuggling.
    #[error("a line that ends in a bare LF")]
    BareLineFeed,
    /// RFC 9112 §3: the request line is not `method SP target SP version`.
    #[error("malformed request line")]
    RequestLine,
    /// RFC 9110 §2.5: a protocol version other than 1.0 and 1.1.
    #[error("protocol version not supported")]
    Version,
    /// The target is above its limit.
    #[error("request target too long")]
    TargetTooLong,
    /// The head is above its limit.
    #[error("request head too large")]
    HeadTooLarge,
    /// More lines than the limit allows.
    #[error("too many field lines")]
    TooManyFieldLines,
    /// RFC 9112 §5: not a field line: obs-fold, white space before the colon, a bad name.
    #[error("malformed field name or folded line")]
    FieldName,
    /// RFC 9110 §5.5: CR, NUL or another control character in a value.
    #[error("control character in a field value")]
    FieldValue,
    /// RFC 9112 §3.2: an HTTP/1.1 request without Host.
    #[error("Host is missing")]
    HostMissing,
    /// RFC 9112 §3.2: more than one Host line.
    #[error("Host is repeated")]
    HostRepeated,
    /// RFC 9112 §3.2: Host is not a host and an optional port.
    #[error("Host is not a valid authority")]
    HostInvalid,
    /// RFC 9112 §6.3: Content-Length repeated, or not a number that can be.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// RFC 9112 §6.1: Content-Length and Transfer-Encoding together: the smuggler's pair.
    #[error("Content-Length together with Transfer-Encoding")]
    ContentLengthAndTransferEncoding,
    /// RFC 9112 §6.1: Transfer-Encoding from a 1.0 client, or not ending in chunked.
    #[error("Transfer-Encoding does not frame the content")]
    TransferEncoding,
    /// RFC 9112 §3.2: a target in no form that GET and HEAD may have.
    #[error("malformed request target")]
    Target,
    /// RFC 3986 §2.1: a percent sign without two hexadecimal digits, or one that hides a NUL.
    #[error("invalid percent-encoding in the request target")]
    PercentEncoding,
    /// The path climbs above the root by `..`.
    #[error("the path climbs out of the root")]
    PathClimbs,
}

impl BadRequest {
    /// The status that answers this refusal.
    pub fn status(self) -> Status {
        match self {
            BadRequest::TargetTooLong => Status::URI_TOO_LONG,
            BadRequest::HeadTooLarge | BadRequest::TooManyFieldLines => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            BadRequest::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
            _ => Status::BAD_REQUEST,
        }
    }
}

/// The head at the start of `buffer`, if it is whole; an error as soon as it cannot become one.
pub fn parse<'a>(buffer: &'a [u8], limits: &HeadLimits) -> Result<Parse<'a>, BadRequest> {
    debug_assert!(limits.head_bytes_max <= HEAD_BYTES_CEILING);
    let Some(start) = skip_empty_line(buffer)? else { return Ok(Parse::Partial) };
    let Some(end) = head_end(&buffer[start..])? else {
        return partial(&buffer[start..], limits).map(|()| Parse::Partial);
    };
    let len = start + end;
    if end > limits.head_bytes_max {
        return Err(too_large(&buffer[start..len], limits));
    }
    let head = &buffer[start..len];

    // Uninitialised, so that room for a hundred lines costs nothing to a request of five.
    let mut lines = [const { MaybeUninit::uninit() }; FIELD_LINES_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut lines) {
        Ok(httparse::Status::Complete(parsed)) => debug_assert_eq!(parsed, head.len()),
        // Whole by our count of lines, not by the grammar's: white space where a line should be.
        Ok(httparse::Status::Partial) => return Err(BadRequest::RequestLine),
        Err(error) => return Err(refusal(error, head)),
    }
    let (Some(method_token), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(BadRequest::RequestLine);
    };
    if target.len() > limits.target_bytes_max {
        return Err(BadRequest::TargetTooLong);
    }
    if request.headers.len() > limits.field_lines_max {
        return Err(BadRequest::TooManyFieldLines);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let section_start = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    let fields = known_fields(&head[section_start..], request.headers);
    host::check(&fields, version)?;
    let content = framing::content(&fields, version)?;
    Ok(Parse::Complete(RequestHead {
        method: Method::from_token(method_token),
        method_token,
        target,
        version,
        fields,
        expectation: framing::expectation(&fields),
        content,
        persistence: framing::persistence(&fields, version, content),
        len,
    }))
}

/// Where the request line starts: behind one empty line at most (RFC 9112 §2.2). `None` while
/// that is not yet certain.
fn skip_empty_line(buffer: &[u8]) -> Result<Option<usize>, BadRequest> {
    match buffer {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', rest @ ..] => match rest {
            [] | [b'\r'] => Ok(None),
            [b'\r' | b'\n', ..] => Err(BadRequest::EmptyLines),
            _ => Ok(Some(2)),
        },
        _ => Ok(Some(0)),
    }
}

/// The number of bytes up to and with the empty line that ends the head; `None` while it has not
/// come. Refuses a line that does not end in CR LF.
fn head_end(head: &[u8]) -> Result<Option<usize>, BadRequest> {
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', head) {
        if at == line_start || head[at - 1] != b'\r' {
            return Err(BadRequest::BareLineFeed);
        }
        if at == line_start + 1 {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    Ok(None)
}

/// Whether more bytes could still make a head of what is there.
fn partial(head: &[u8], limits: &HeadLimits) -> Result<(), BadRequest> {
    if head.len() >= limits.head_bytes_max {
        return Err(too_large(head, limits));
    }
    // Only the request line is looked at early: it tells a stray protocol (TLS on a plain port)
    // at its first bytes, while looking at every line for every byte that drips in would cost
    // the square of the head.
    if memchr::memchr(b'\n', head).is_some() {
        return Ok(());
    }
    let target_start = memchr::memchr(b' ', head).map_or(head.len(), |at| at + 1);
    if head.len() - target_start > limits.target_bytes_max + " HTTP/1.1\r".len() {
        return Err(BadRequest::TargetTooLong);
    }
    match httparse::Request::new(&mut []).parse(head) {
        Ok(_) => Ok(()),
        // Which version it is shows at its last digit: until then, the refusal would depend on
        // how the network cut the line.
        Err(httparse::Error::Version) if ends_in_part_of_a_version(head) => Ok(()),
        Err(error) => Err(refusal(error, head)),
    }
}

/// Whether the last word is the beginning of `HTTP/`, a digit, a dot and a digit, and not all of it.
fn ends_in_part_of_a_version(head: &[u8]) -> bool {
    let word = head.rsplit(|b| *b == b' ').next().unwrap_or(head);
    let pattern = b"HTTP/0.0";
    let fits = |(byte, expected): (&u8, &u8)| if *expected == b'0' { byte.is_ascii_digit() } else { byte == expected };
    word.len() < pattern.len() && word.iter().zip(pattern).all(fits)
}

/// Which of the two limits an overlong head broke.
fn too_large(head: &[u8], limits: &HeadLimits) -> BadRequest {
    let request_line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if request_line > limits.target_bytes_max { BadRequest::TargetTooLong } else { BadRequest::HeadTooLarge }
}

fn refusal(error: httparse::Error, head: &[u8]) -> BadRequest {
    match error {
        httparse::Error::HeaderName => BadRequest::FieldName,
        httparse::Error::HeaderValue => BadRequest::FieldValue,
        httparse::Error::TooManyHeaders => BadRequest::TooManyFieldLines,
        httparse::Error::Version if names_a_version(head) => BadRequest::Version,
        _ => BadRequest::RequestLine,
    }
}

/// Whether the request line is well formed but for a version that is not ours, so that it is
/// refused for that alone.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\r').next().unwrap_or(head);
    let mut words = line.split(|b| *b == b' ');
    let (Some(_method), Some(_target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn known_fields<'a>(section: &'a [u8], lines: &[httparse::Header<'a>]) -> Fields<'a> {
    let mut first_lines = FirstLines::NONE;
    for line in lines {
        if let Some(name) = FieldName::from_token(line.name.as_bytes()) {
            first_lines.note(name, line.name.as_ptr() as usize - section.as_ptr() as usize);
        }
    }
    Fields::new(section, first_lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

    fn complete(bytes: &[u8]) -> RequestHead<'_> {
        match parse(bytes, &LIMITS) {
            Ok(Parse::Complete(head)) => head,
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }

    fn error(bytes: &[u8]) -> Option<BadRequest> {
        parse(bytes, &LIMITS).err()
    }

    #[test]
    fn a_head_is_taken_apart() {
        let bytes = b"HEAD /a%20b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nRange: bytes=0-\r\n\r\nGET / HTTP";
        let head = complete(bytes);
        assert_eq!(head.method, Method::Head);
        assert_eq!(head.target, "/a%20b?c=d");
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.content, RequestContent::Absent);
        assert_eq!(head.persistence, Persistence::KeepAlive);
        assert_eq!(&bytes[head.len..], b"GET / HTTP");
        assert_eq!(head.fields.only(FieldName::Range), Some(&b"bytes=0-"[..]));
        // RFC 9112 §3.2: 1.0 needs no Host, and an empty one is for a target without authority.
        complete(b"GET / HTTP/1.0\r\n\r\n");
        complete(b"GET / HTTP/1.1\r\nHost:\r\n\r\n");
    }

    #[test]
    fn refusals() {
        use BadRequest::*;
        for (bytes, expected) in [
            // RFC 9112 §2.2
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLineFeed),
            ("\n", BareLineFeed),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLineFeed),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", EmptyLines),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", FieldValue),
            // RFC 9112 §3
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", RequestLine),
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("GET / x HTTP/2.0\r\nHost: a\r\n\r\n", RequestLine),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("G<T / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
            ("GET\r\n\r\n", RequestLine),
            ("GET /\r\n\r\n", RequestLine),
            ("\x16\x03\x01\x02", RequestLine),
            // RFC 9110 §2.5
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", RequestLine),
            // RFC 9112 §5
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", FieldName),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", FieldName),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", FieldName),
            ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", FieldName),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", FieldValue),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", FieldValue),
            // RFC 9112 §3.2
            ("GET / HTTP/1.1\r\n\r\n", HostMissing),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HostRepeated),
            ("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", HostRepeated),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HostInvalid),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HostInvalid),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HostInvalid),
            ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HostInvalid),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HostInvalid),
            // RFC 9112 §6
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x10\r\n\r\n", ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", ContentLength),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                ContentLengthAndTransferEncoding,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", TransferEncoding),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", TransferEncoding),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", TransferEncoding),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncoding),
        ] {
            assert_eq!(error(bytes.as_bytes()), Some(expected), "{bytes:?}");
        }
    }

    #[test]
    fn limits_have_their_own_statuses() {
        let long = |n| "a".repeat(n);
        for (bytes, expected) in [
            (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(8191)), None),
            (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(8192)), Some(414)),
            (format!("GET /{}", long(8300)), Some(414)),
            (format!("GET /{}", long(20_000)), Some(414)),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(16_000)), None),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(16_384)), Some(431)),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long(16_384)), Some(431)),
            (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(99)), None),
            (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100)), Some(431)),
        ] {
            let code = error(bytes.as_bytes()).map(|bad| bad.status().code());
            assert_eq!(code, expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        use Persistence::*;
        for (rest, expected) in [
            ("HTTP/1.1\r\nHost: a\r\n\r\n", KeepAlive),
            ("HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Close),
            ("HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", Close),
            ("HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", Close),
            ("HTTP/1.0\r\n\r\n", Close),
            ("HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", KeepAlive),
            ("HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Close),
            ("HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", KeepAlive),
            ("HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Close),
            ("HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Close),
        ] {
            assert_eq!(complete(format!("GET / {rest}").as_bytes()).persistence, expected, "{rest:?}");
        }
    }

    #[test]
    fn expectations() {
        for (line, expected) in [
            ("", Expectation::Answer),
            ("Expect: 100-continue\r\n", Expectation::Answer),
            ("Expect: 100-Continue\r\n", Expectation::Answer),
            ("Expect: 200-ok\r\n", Expectation::Unknown),
            ("Expect: 100-continue, more\r\n", Expectation::Unknown),
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n");
            assert_eq!(complete(bytes.as_bytes()).expectation, expected, "{line}");
        }
    }

    /// However a head is cut, its first part is either still partial or refused for the same
    /// reason as the whole.
    #[test]
    fn the_outcome_does_not_depend_on_the_cut() {
        let heads: [&[u8]; 5] = [
            b"GET /a HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\n\r\n",
            b"\r\nGET /a HTTP/1.0\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: a\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        ];
        for head in heads {
            let whole = parse(head, &LIMITS);
            for cut in 0..head.len() {
                match (parse(&head[..cut], &LIMITS), &whole) {
                    (Ok(Parse::Partial), _) => {}
                    (Err(early), Err(late)) => assert_eq!(early, *late, "{} at {cut}", head.escape_ascii()),
                    (early, _) => panic!("{} at {cut}: {early:?}", head.escape_ascii()),
                }
            }
        }
    }
}
