//! The description of an answer, and the fields of its head in their order (RFC 9110 §6, RFC 9112 §4–§5).
//!
//! Invariant: a [`Response`] says which bytes are content and never holds them, but for the short
//! fixed texts; its Content-Length is known before the status line is written.

use super::date::DateText;
use super::framing::Persistence;
use super::method::Method;
use super::range::ByteRange;
use super::status::Status;
use super::validator::EntityTag;
use super::writer::{AnswerField, FieldWriter, TextWriter};

/// What `Server` says. No version: it would help an attacker more than an administrator.
pub const SERVER: &str = "otus-httpd";

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status.
    pub status: Status,
    /// The fields beside those of every answer.
    pub fields: ResponseFields<'a>,
    /// Which bytes follow the head.
    pub content: Content,
}

/// The fields that only some answers have; absent ones are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFields<'a> {
    /// RFC 9110 §8.3
    pub content_type: Option<&'a str>,
    /// RFC 9110 §8.6; absent only where the standard says so (304).
    pub content_length: Option<u64>,
    /// RFC 9110 §14.4
    pub content_range: Option<ContentRange>,
    /// RFC 9110 §8.8.2
    pub last_modified: Option<&'a DateText>,
    /// RFC 9110 §8.8.3
    pub entity_tag: Option<&'a EntityTag>,
    /// RFC 9110 §14.3
    pub accept_ranges: Option<&'static str>,
    /// RFC 9110 §10.2.2
    pub location: Option<&'a str>,
    /// RFC 9110 §10.2.1
    pub allow: Option<&'static str>,
    /// RFC 9110 §10.2.3, in seconds.
    pub retry_after_seconds: Option<u32>,
    /// RFC 9110 §8.4
    pub content_encoding: Option<&'static str>,
    /// RFC 9110 §12.5.5
    pub vary: Vary,
    /// RFC 9111 §5.2
    pub cache_control: Option<&'a str>,
    /// RFC 9111 §5.3
    pub expires: Option<DateText>,
    /// RFC 9110 §11.6.1
    pub www_authenticate: Option<&'a str>,
    /// RFC 6797 §6.1
    pub strict_transport: Option<&'a str>,
    /// What another origin may do with the answer.
    pub sharing: Option<Sharing<'a>>,
    /// Whole field lines, each with its line end, that the site adds.
    pub lines: &'a [u8],
    /// Fields that are not written although they have a value.
    pub omitted: Omitted,
}

/// A set of bits with names; what `Vary` lists, and what a site leaves out.
macro_rules! set_of_fields {
    ($(#[$doc:meta])* $set:ident { $($constant:ident = $bit:literal $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $set(u8);

        impl $set {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: $set = $set(1 << $bit);)*

            /// The field of this name, if it is one of these; names are case-insensitive.
            pub fn of_name(name: &str) -> Option<$set> {
                $(if name.eq_ignore_ascii_case($name) {
                    return Some($set::$constant);
                })*
                None
            }

            /// The names of the fields in the set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$(($set::$constant, $name)),*].into_iter().filter(move |(one, _)| self.has(*one)).map(|(_, name)| name)
            }

            /// This set and the other.
            #[must_use]
            pub fn with(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }

            /// This set without the other.
            #[must_use]
            pub fn without(self, other: $set) -> $set {
                $set(self.0 & !other.0)
            }

            /// Whether all of `other` is in the set.
            pub fn has(self, other: $set) -> bool {
                self.0 & other.0 == other.0
            }
        }
    };
}

set_of_fields! {
    /// The request fields that another answer might have depended on.
    Vary {
        ACCEPT_ENCODING = 0 "Accept-Encoding";
        ACCEPT = 1 "Accept";
        ORIGIN = 2 "Origin";
        METHOD = 3 "Access-Control-Request-Method";
        HEADERS = 4 "Access-Control-Request-Headers";
    }
}

set_of_fields! {
    /// Fields of the server's own that a site may leave out, or replace by its own lines.
    Omitted {
        SERVER = 0 "Server";
        ETAG = 1 "ETag";
        LAST_MODIFIED = 2 "Last-Modified";
        ACCEPT_RANGES = 3 "Accept-Ranges";
        CACHE_CONTROL = 4 "Cache-Control";
        EXPIRES = 5 "Expires";
        STRICT_TRANSPORT = 6 "Strict-Transport-Security";
    }
}

/// What another origin may do with an answer (Fetch standard, CORS protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing<'a> {
    /// `Access-Control-Allow-Origin`
    pub origin: &'a str,
    /// `Access-Control-Allow-Credentials`
    pub credentials: bool,
    /// What a preflight is told beside that.
    pub preflight: Option<Preflight<'a>>,
}

/// What a preflight is told of the request that is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preflight<'a> {
    /// `Access-Control-Allow-Headers`, where some are allowed.
    pub headers: Option<&'a str>,
    /// `Access-Control-Max-Age`
    pub max_age_seconds: u32,
}

/// Which bytes are the content of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The answer has none (304).
    Absent,
    /// HEAD: it would have some, and its fields say which.
    Withheld,
    /// A fixed text of the server's own.
    Text(&'static str),
    /// A text that was made for this answer; the caller has it.
    Generated,
    /// The whole selected representation.
    Whole,
    /// One part of it.
    Part(ByteRange),
    /// Several parts of it, framed by [`multipart`](super::multipart).
    Parts(Box<[ByteRange]>),
}

/// A Content-Range value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes first-last/complete`
    Part {
        /// The part that is sent.
        range: ByteRange,
        /// The length of the whole.
        complete_length: u64,
    },
    /// `bytes */complete`: no part could be sent (416).
    Unsatisfied {
        /// The length of the whole.
        complete_length: u64,
    },
}

impl Response<'_> {
    /// Bytes of content that follow the head: none for HEAD, whatever its Content-Length says.
    pub fn content_bytes(&self) -> u64 {
        match self.content {
            Content::Absent | Content::Withheld => 0,
            _ => self.fields.content_length.unwrap_or(0),
        }
    }

    /// Appends the head as text to `out`, and the content where it is a fixed text. `date` is the moment of the answer;
    /// `persistence` what `Connection` says.
    pub fn encode(&self, date: &DateText, persistence: Persistence, out: &mut Vec<u8>) {
        self.write_fields(date, &mut TextWriter(out));
        out.extend_from_slice(match persistence {
            Persistence::KeepAlive => b"Connection: keep-alive\r\n\r\n",
            Persistence::Close => b"Connection: close\r\n\r\n",
        });
        if let Content::Text(text) = &self.content {
            debug_assert_eq!(self.fields.content_length, Some(text.len() as u64));
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes the status and the fields, all but those of a connection, which only some versions of HTTP have.
    #[inline]
    pub fn write_fields(&self, date: &DateText, writer: &mut impl FieldWriter) {
        let fields = &self.fields;
        let omitted = fields.omitted;
        writer.status(self.status);
        if !omitted.has(Omitted::SERVER) {
            writer.field(AnswerField::Server, SERVER.as_bytes());
        }
        writer.field(AnswerField::Date, date.as_bytes());
        if let Some(value) = fields.content_type {
            writer.field(AnswerField::ContentType, value.as_bytes());
        }
        if let Some(value) = fields.content_encoding {
            writer.field(AnswerField::ContentEncoding, value.as_bytes());
        }
        if let Some(length) = fields.content_length {
            write_number(AnswerField::ContentLength, length, writer);
        }
        if let Some(value) = fields.content_range {
            write_content_range(value, writer);
        }
        if let (Some(value), false) = (fields.last_modified, omitted.has(Omitted::LAST_MODIFIED)) {
            writer.field(AnswerField::LastModified, value.as_bytes());
        }
        if let (Some(value), false) = (fields.entity_tag, omitted.has(Omitted::ETAG)) {
            writer.field(AnswerField::EntityTag, value.as_bytes());
        }
        if let (Some(value), false) = (fields.accept_ranges, omitted.has(Omitted::ACCEPT_RANGES)) {
            writer.field(AnswerField::AcceptRanges, value.as_bytes());
        }
        if let (Some(value), false) = (fields.cache_control, omitted.has(Omitted::CACHE_CONTROL)) {
            writer.field(AnswerField::CacheControl, value.as_bytes());
        }
        if let (Some(value), false) = (fields.expires, omitted.has(Omitted::EXPIRES)) {
            writer.field(AnswerField::Expires, value.as_bytes());
        }
        if fields.vary != Vary::default() {
            write_vary(fields.vary, writer);
        }
        if let Some(value) = fields.location {
            writer.field(AnswerField::Location, value.as_bytes());
        }
        if let Some(value) = fields.allow {
            writer.field(AnswerField::Allow, value.as_bytes());
        }
        if let Some(seconds) = fields.retry_after_seconds {
            write_number(AnswerField::RetryAfter, u64::from(seconds), writer);
        }
        if let Some(value) = fields.www_authenticate {
            writer.field(AnswerField::WwwAuthenticate, value.as_bytes());
        }
        if let (Some(value), false) = (fields.strict_transport, omitted.has(Omitted::STRICT_TRANSPORT)) {
            writer.field(AnswerField::StrictTransport, value.as_bytes());
        }
        if let Some(sharing) = fields.sharing {
            write_sharing(sharing, writer);
        }
        writer.lines(fields.lines);
    }
}

fn write_vary(vary: Vary, writer: &mut impl FieldWriter) {
    let mut value = ShortText::<VARY_BYTES_MAX>::new();
    for name in vary.names() {
        if value.length > 0 {
            value.push(b", ");
        }
        value.push(name.as_bytes());
    }
    writer.field(AnswerField::Vary, value.as_bytes());
}

/// All names that `Vary` may list, with what separates them.
const VARY_BYTES_MAX: usize =
    "Accept-Encoding, Accept, Origin, Access-Control-Request-Method, Access-Control-Request-Headers".len();

fn write_sharing(sharing: Sharing<'_>, writer: &mut impl FieldWriter) {
    writer.field(AnswerField::AllowOrigin, sharing.origin.as_bytes());
    if sharing.credentials {
        writer.field(AnswerField::AllowCredentials, b"true");
    }
    let Some(preflight) = sharing.preflight else { return };
    writer.field(AnswerField::AllowMethods, Method::ALLOWED.as_bytes());
    if let Some(headers) = preflight.headers {
        writer.field(AnswerField::AllowHeaders, headers.as_bytes());
    }
    write_number(AnswerField::MaxAge, u64::from(preflight.max_age_seconds), writer);
}

fn write_number(name: AnswerField, value: u64, writer: &mut impl FieldWriter) {
    writer.field(name, itoa::Buffer::new().format(value).as_bytes());
}

/// Writes Content-Range; parts of a multipart answer have one of their own.
pub(super) fn write_content_range(value: ContentRange, writer: &mut impl FieldWriter) {
    let mut number = itoa::Buffer::new();
    let mut text = ShortText::<CONTENT_RANGE_BYTES_MAX>::new();
    text.push(b"bytes ");
    let complete_length = match value {
        ContentRange::Part { range, complete_length } => {
            debug_assert!(range.end() <= complete_length);
            text.push(number.format(range.start()).as_bytes());
            text.push(b"-");
            // The one place where a range becomes inclusive (RFC 9110 §14.4).
            text.push(number.format(range.end() - 1).as_bytes());
            complete_length
        }
        ContentRange::Unsatisfied { complete_length } => {
            text.push(b"*");
            complete_length
        }
    };
    text.push(b"/");
    text.push(number.format(complete_length).as_bytes());
    writer.field(AnswerField::ContentRange, text.as_bytes());
}

/// Three numbers of 64 bits, and what stands between them.
const CONTENT_RANGE_BYTES_MAX: usize = "bytes 18446744073709551615-18446744073709551615/18446744073709551615".len();

/// A value that is made of pieces.
struct ShortText<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl<const BYTES_MAX: usize> ShortText<BYTES_MAX> {
    fn new() -> Self {
        ShortText { bytes: [0; BYTES_MAX], length: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.length..][..piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::date::HttpDate;

    fn encoded(response: &Response<'_>) -> String {
        let mut out = Vec::new();
        response.encode(&HttpDate::from_unix(784_111_777).text(), Persistence::KeepAlive, &mut out);
        String::from_utf8(out).expect("heads are ASCII")
    }

    #[test]
    fn heads_are_written_field_by_field() {
        let response = Response {
            status: Status::PARTIAL_CONTENT,
            fields: ResponseFields {
                content_type: Some("text/html"),
                content_length: Some(3),
                content_range: Some(ContentRange::Part {
                    range: ByteRange::new(2, 5).expect("not empty"),
                    complete_length: 10,
                }),
                accept_ranges: Some("bytes"),
                retry_after_seconds: Some(1),
                ..ResponseFields::default()
            },
            content: Content::Part(ByteRange::new(2, 5).expect("not empty")),
        };
        assert_eq!(
            encoded(&response),
            "HTTP/1.1 206 Partial Content\r\nServer: otus-httpd\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/html\r\nContent-Length: 3\r\nContent-Range: bytes 2-4/10\r\n\
             Accept-Ranges: bytes\r\nRetry-After: 1\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn an_unsatisfied_range_names_the_length() {
        let mut out = Vec::new();
        write_content_range(ContentRange::Unsatisfied { complete_length: 0 }, &mut TextWriter(&mut out));
        assert_eq!(out, b"Content-Range: bytes */0\r\n");
    }

    /// The longest values have the room that they need.
    #[test]
    fn values_of_several_pieces_may_be_long() {
        let mut out = Vec::new();
        let range = ByteRange::new(u64::MAX - 1, u64::MAX).expect("not empty");
        let longest = ContentRange::Part { range, complete_length: u64::MAX };
        write_content_range(longest, &mut TextWriter(&mut out));
        let all =
            ["Accept-Encoding", "Accept", "Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"];
        let vary = all.into_iter().filter_map(Vary::of_name).fold(Vary::default(), Vary::with);
        write_vary(vary, &mut TextWriter(&mut out));
        let number = u64::MAX;
        let expected =
            format!("Content-Range: bytes {}-{}/{number}\r\nVary: {}\r\n", number - 1, number - 1, all.join(", "));
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
