//! Makes a request of decoded field lines (RFC 9113 §8): pseudo-header fields into what a request line says, the others
//! into a section of lines as HTTP/1.1 has them, so that whatever reads fields reads those of both versions.
//!
//! Order: [`Assembler::begin`] · [`Assembler::field`] for each line of the block, as the decoder shows it ·
//! [`Assembler::finish`] judges, and gives the [`Assembled`] request, whose [`head`](Assembled::head) is at hand as often
//! as it is asked for · [`Assembler::take_back`] keeps its memory for the next one.
//!
//! Invariant: a section holds lines `name: value CRLF` with names in lower case, and is no longer than the limit of heads
//! allows. Whatever comes after the first fault changes nothing.

use crate::http::fields::{FieldName, Fields, FirstLines};
use crate::http::framing::{self, Expectation, Persistence, RequestContent};
use crate::http::grammar::digits;
use crate::http::host;
use crate::http::method::Method;
use crate::http::request::{BadRequest, HEAD_BYTES_CEILING, HeadLimits, RequestHead, Version};
use crate::http2::hpack::ENTRY_OVERHEAD_BYTES;

/// Why field lines are no request that can be answered as it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A stream error of type PROTOCOL_ERROR (RFC 9113 §8.1.1).
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// Answered with its status, as in HTTP/1.1.
    #[error(transparent)]
    Refused(#[from] BadRequest),
}

/// Why a request is malformed (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// RFC 9113 §8.3: behind a field that is none.
    #[error("a pseudo-header field behind other fields")]
    PseudoLate,
    /// RFC 9113 §8.3
    #[error("a pseudo-header field came twice")]
    PseudoRepeated,
    /// RFC 9113 §8.3: not one of those of requests.
    #[error("an unknown pseudo-header field")]
    PseudoUnknown,
    /// RFC 9113 §8.3.1, §8.5: one that must be there is not, or one is there that CONNECT must not have.
    #[error("not the pseudo-header fields that the method takes")]
    PseudoMissing,
    /// RFC 9113 §8.3.1: a value that it cannot have.
    #[error("a pseudo-header field without a valid value")]
    PseudoValue,
    /// RFC 9113 §8.2, §8.2.1: not a token, or not in lower case.
    #[error("a field name that is no token in lower case")]
    FieldName,
    /// RFC 9113 §8.2.1: control characters, or white space at an end.
    #[error("a field value with control characters, or white space at an end")]
    FieldValue,
    /// RFC 9113 §8.2.2
    #[error("a field that speaks of a connection")]
    OfConnection,
    /// RFC 9113 §8.3.1: two names for whom the request is.
    #[error("host is not :authority")]
    HostDiffers,
    /// RFC 9113 §8.1.1: not one number, or not that of a request without content.
    #[error("content-length is not one number, or there is no content")]
    ContentLength,
}

/// Collects the field lines of a request; one for each connection.
#[derive(Debug)]
pub struct Assembler {
    request: Box<Parts>,
    /// What the next request is made in.
    spare: Option<Box<Parts>>,
    limits: HeadLimits,
    /// What the lines count (RFC 9113 §6.5.2).
    list_bytes: usize,
    field_lines: usize,
    has_section: bool,
    has_cookie: bool,
    is_head: bool,
    bad: Option<Bad>,
}

/// A request made of field lines. In a box, for it goes through many hands.
#[derive(Debug)]
pub struct Assembled(Box<Parts>);

/// What a request is made of.
#[derive(Debug, Default)]
struct Parts {
    /// The values of the pseudo-header fields, and behind them the section.
    bytes: Vec<u8>,
    method: Option<Part>,
    scheme: Option<Part>,
    path: Option<Part>,
    authority: Option<Part>,
    section_start: u32,
    lines: FirstLines,
    kind: Kind,
    content_length: Option<u64>,
}

/// What the fields say, once they were judged.
#[derive(Clone, Copy, Debug)]
struct Kind {
    method: Method,
    expectation: Expectation,
    content: RequestContent,
}

impl Default for Kind {
    fn default() -> Kind {
        Kind { method: Method::Other, expectation: Expectation::Answer, content: RequestContent::Absent }
    }
}

/// Where a value stands in the bytes of a request.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u32,
    end: u32,
}

/// Memory that an assembler keeps between two requests; usual heads need less.
const KEPT_BYTES_MAX: usize = 4096;

/// Beyond it lines are counted and not looked at: a block that names an entry of the table again and again says four
/// thousand bytes with each of its own.
const JUDGED_BYTES_MAX: usize = 4 * HEAD_BYTES_CEILING;

impl Assembler {
    /// One that has begun a request.
    pub fn new(limits: &HeadLimits) -> Assembler {
        Assembler {
            request: Box::default(),
            spare: None,
            limits: *limits,
            list_bytes: 0,
            field_lines: 0,
            has_section: false,
            has_cookie: false,
            is_head: false,
            bad: None,
        }
    }

    /// Begins a request.
    pub fn begin(&mut self, limits: &HeadLimits) {
        debug_assert!(limits.head_bytes_max <= HEAD_BYTES_CEILING);
        self.request.clear();
        self.limits = *limits;
        (self.list_bytes, self.field_lines) = (0, 0);
        (self.has_section, self.has_cookie, self.is_head, self.bad) = (false, false, false, None);
    }

    /// Takes the next field line.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if let Some(Bad::Malformed(_)) = self.bad {
            return;
        }
        // A line that the limits leave no room for is judged like all others: malformed stays malformed.
        self.list_bytes = self.list_bytes.saturating_add(name.len() + value.len() + ENTRY_OVERHEAD_BYTES);
        if self.list_bytes > self.limits.head_bytes_max {
            self.refuse(BadRequest::HeadTooLarge);
            if self.list_bytes > JUDGED_BYTES_MAX {
                return;
            }
        }
        let outcome = match name.strip_prefix(b":") {
            Some(name) => self.pseudo(name, value),
            None => self.regular(name, value),
        };
        if let Err(malformed) = outcome {
            self.bad = Some(malformed.into());
        }
    }

    /// Whether the method is HEAD, as far as one came: an answer, also to a request that is refused, has no content then.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// The request. `has_content` says whether more follows on its stream: END_STREAM was not set.
    pub fn finish(&mut self, has_content: bool) -> Result<Assembled, Bad> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        self.open_section();
        let request = &mut self.request;
        request.bytes.extend_from_slice(b"\r\n");
        let content = if has_content { RequestContent::Present } else { RequestContent::Absent };
        if !has_content && request.content_length.is_some_and(|length| length > 0) {
            return Err(Malformed::ContentLength.into());
        }
        let Some(method) = request.method else { return Err(Malformed::PseudoMissing.into()) };
        let method = request.text(method);
        let kind = Method::from_token(method);
        match (method, request.path) {
            // RFC 9113 §8.5: nothing but whom to connect to.
            ("CONNECT", None)
                if request.scheme.is_none() && request.authority.is_some_and(|part| part.start < part.end) => {}
            ("CONNECT", _) | (_, None) => return Err(Malformed::PseudoMissing.into()),
            _ if request.scheme.is_none() => return Err(Malformed::PseudoMissing.into()),
            (_, Some(path)) => match request.text(path) {
                "" => return Err(Malformed::PseudoValue.into()),
                // RFC 9113 §8.3.1: an asterisk is for OPTIONS.
                "*" if kind == Method::Options => {}
                path if path.starts_with('/') => {}
                _ => return Err(BadRequest::Target.into()),
            },
        }
        let fields = request.fields();
        host::check(&fields, Version::Http2)?;
        request.kind = Kind { method: kind, expectation: framing::expectation(&fields), content };
        let next = self.spare.take().unwrap_or_default();
        Ok(Assembled(std::mem::replace(&mut self.request, next)))
    }

    /// Keeps the memory of a request that was answered.
    pub fn take_back(&mut self, request: Assembled) {
        if request.0.bytes.capacity() <= KEPT_BYTES_MAX {
            self.spare = Some(request.0);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.has_section || self.field_lines > 0 {
            return Err(Malformed::PseudoLate);
        }
        let is_valid: fn(&[u8]) -> bool = match name {
            b"method" => is_token,
            b"scheme" => is_scheme,
            b"path" => is_path,
            b"authority" => is_value,
            _ => return Err(Malformed::PseudoUnknown),
        };
        if !is_valid(value) {
            return Err(Malformed::PseudoValue);
        }
        let start = self.request.bytes.len() as u32;
        let part = Part { start, end: start + value.len() as u32 };
        let slot = match name {
            b"method" => &mut self.request.method,
            b"scheme" => &mut self.request.scheme,
            b"path" => &mut self.request.path,
            _ => &mut self.request.authority,
        };
        if slot.is_some() {
            return Err(Malformed::PseudoRepeated);
        }
        // Of a request that is refused, only which ones came is of interest.
        let is_kept = self.bad.is_none();
        *slot = Some(if is_kept { part } else { Part { start, end: start } });
        if is_kept {
            self.request.bytes.extend_from_slice(value);
        }
        if name == b"method" {
            self.is_head = value == b"HEAD";
        }
        if name == b"path" && value.len() > self.limits.target_bytes_max {
            self.bad = Some(BadRequest::TargetTooLong.into());
        }
        Ok(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        // RFC 9113 §8.2.3: a client may send each pair of a cookie as a line of its own.
        let is_crumb = name == b"cookie" && std::mem::replace(&mut self.has_cookie, true);
        self.field_lines += usize::from(!is_crumb);
        if self.field_lines > self.limits.field_lines_max {
            self.refuse(BadRequest::TooManyFieldLines);
        }
        if !is_name(name) {
            return Err(Malformed::FieldName);
        }
        if !is_value(value) {
            return Err(Malformed::FieldValue);
        }
        if is_of_connection(name, value) {
            return Err(Malformed::OfConnection);
        }
        if self.bad.is_some() {
            return Ok(());
        }
        self.open_section();
        let request = &mut self.request;
        let known = FieldName::from_token(name);
        match known {
            Some(FieldName::Host) => {
                if let Some(authority) = request.authority {
                    // The line that :authority made says it already.
                    let is_same = request.bytes(authority).eq_ignore_ascii_case(value);
                    return if is_same { Ok(()) } else { Err(Malformed::HostDiffers) };
                }
            }
            Some(FieldName::ContentLength) => {
                let length = digits(value).map_err(|_| Malformed::ContentLength)?;
                if request.content_length.replace(length).is_some() {
                    return Err(Malformed::ContentLength);
                }
            }
            _ => {}
        }
        if let Some(known) = known {
            request.lines.note(known, request.bytes.len() - request.section_start as usize);
        }
        request.push_line(name, value);
        Ok(())
    }

    /// Begins the section, behind the pseudo-header fields.
    fn open_section(&mut self) {
        if std::mem::replace(&mut self.has_section, true) {
            return;
        }
        let request = &mut self.request;
        request.section_start = request.bytes.len() as u32;
        if let Some(authority) = request.authority {
            // RFC 9113 §8.3.1: it takes the place of Host, and goes before the others.
            request.lines.note(FieldName::Host, 0);
            request.bytes.extend_from_slice(b"host: ");
            request.bytes.extend_from_within(authority.start as usize..authority.end as usize);
            request.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Refuses the request, unless it is refused already.
    fn refuse(&mut self, bad: BadRequest) {
        self.bad.get_or_insert(bad.into());
    }
}

impl Assembled {
    /// The head, as a head of HTTP/1.1 is given.
    pub fn head(&self) -> RequestHead<'_> {
        self.0.head()
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        self.0.bytes.capacity()
    }

    /// What Content-Length says, which the bytes of all DATA frames must come to (RFC 9113 §8.1.1).
    pub fn content_length(&self) -> Option<u64> {
        self.0.content_length
    }

    /// The scheme as it came; none with CONNECT.
    pub fn scheme(&self) -> Option<&str> {
        self.0.scheme.map(|scheme| self.0.text(scheme))
    }
}

impl Parts {
    /// As it is before the first line, but with the memory that it has.
    fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // That of a long head which came to nothing is not kept.
        bytes.shrink_to(KEPT_BYTES_MAX);
        *self = Parts { bytes, ..Parts::default() };
    }

    fn head(&self) -> RequestHead<'_> {
        // RFC 9113 §8.5: the authority is the target of CONNECT.
        let target = self.path.or(self.authority);
        RequestHead {
            method: self.kind.method,
            method_token: match self.kind.method {
                Method::Get => "GET",
                Method::Head => "HEAD",
                Method::Options => "OPTIONS",
                Method::Other => self.method.map_or("", |method| self.text(method)),
            },
            target: target.map_or("", |target| self.text(target)),
            version: Version::Http2,
            fields: self.fields(),
            expectation: self.kind.expectation,
            content: self.kind.content,
            persistence: Persistence::KeepAlive,
            len: self.bytes.len(),
        }
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes[self.section_start as usize..], self.lines)
    }

    fn bytes(&self, part: Part) -> &[u8] {
        &self.bytes[part.start as usize..part.end as usize]
    }

    fn text(&self, part: Part) -> &str {
        std::str::from_utf8(self.bytes(part))
            .expect("each pseudo-header field that is asked for was checked to be text")
    }

    fn push_line(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Whether a field line may stand in a trailer section (RFC 9113 §8.1), which is read past.
pub fn is_trailer(name: &[u8], value: &[u8]) -> bool {
    // A pseudo-header field begins with a colon, which no name has.
    is_name(name) && is_value(value) && !is_of_connection(name, value)
}

/// RFC 9110 §5.6.2, in lower case.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().fold(true, |all, byte| all & NAME_BYTES[usize::from(*byte)])
}

/// What may stand in a name: the bytes of a token without upper-case letters.
static NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let others = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < others.len() {
        allowed[others[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// RFC 9113 §8.2.1, and RFC 9110 §5.5 as strictly as in HTTP/1.1. Without an early end, for the compiler to look at
/// many bytes at once.
fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_visible = |byte: &u8| (*byte >= b' ') & (*byte != 0x7f) | (*byte == b'\t');
    value.iter().fold(true, |all, byte| all & is_visible(byte)) && !is_space(value.first()) && !is_space(value.last())
}

fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| NAME_BYTES[usize::from(byte.to_ascii_lowercase())])
}

/// RFC 3986 §3.1.
fn is_scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Bytes that a target of HTTP/1.1 may have too. An empty one is for [`Assembler::finish`] to judge.
fn is_path(value: &[u8]) -> bool {
    let is_visible = |byte: &u8| (*byte > b' ') & (*byte != 0x7f);
    value.iter().fold(true, |all, byte| all & is_visible(byte)) && std::str::from_utf8(value).is_ok()
}

/// RFC 9113 §8.2.2. Most names have a length that tells.
fn is_of_connection(name: &[u8], value: &[u8]) -> bool {
    match name.len() {
        2 => name == b"te" && !value.eq_ignore_ascii_case(b"trailers"),
        7 => name == b"upgrade",
        10 => name == b"connection" || name == b"keep-alive",
        16 => name == b"proxy-connection",
        17 => name == b"transfer-encoding",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
