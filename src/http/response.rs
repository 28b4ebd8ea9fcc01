//! The description of an answer, and its head as bytes (RFC 9112 §4–§5).
//!
//! Invariant: a [`Response`] says which bytes are content and never holds them, but for the short
//! fixed texts; its Content-Length is known before the status line is written.

use super::date::DateText;
use super::framing::Persistence;
use super::range::ByteRange;
use super::status::Status;
use super::validator::EntityTag;

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
    /// Appends the head to `out`, and the content where it is a text. `date` is the moment of the
    /// answer; `persistence` what `Connection` says.
    pub fn encode(&self, date: &DateText, persistence: Persistence, out: &mut Vec<u8>) {
        let fields = &self.fields;
        out.extend_from_slice(self.status.line());
        line(out, "Server", SERVER.as_bytes());
        line(out, "Date", date.as_bytes());
        if let Some(value) = fields.content_type {
            line(out, "Content-Type", value.as_bytes());
        }
        if let Some(length) = fields.content_length {
            number_line(out, "Content-Length", length);
        }
        if let Some(value) = fields.content_range {
            write_content_range(value, out);
        }
        if let Some(value) = fields.last_modified {
            line(out, "Last-Modified", value.as_bytes());
        }
        if let Some(value) = fields.entity_tag {
            line(out, "ETag", value.as_bytes());
        }
        if let Some(value) = fields.accept_ranges {
            line(out, "Accept-Ranges", value.as_bytes());
        }
        if let Some(value) = fields.location {
            line(out, "Location", value.as_bytes());
        }
        if let Some(value) = fields.allow {
            line(out, "Allow", value.as_bytes());
        }
        if let Some(seconds) = fields.retry_after_seconds {
            number_line(out, "Retry-After", u64::from(seconds));
        }
        line(
            out,
            "Connection",
            match persistence {
                Persistence::KeepAlive => b"keep-alive",
                Persistence::Close => b"close",
            },
        );
        out.extend_from_slice(b"\r\n");
        if let Content::Text(text) = &self.content {
            debug_assert_eq!(fields.content_length, Some(text.len() as u64));
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a value never ends its own line");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number_line(out: &mut Vec<u8>, name: &str, value: u64) {
    line(out, name, itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a Content-Range line; parts of a multipart answer have one of their own.
pub(super) fn write_content_range(value: ContentRange, out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"Content-Range: bytes ");
    let complete_length = match value {
        ContentRange::Part { range, complete_length } => {
            debug_assert!(range.end() <= complete_length);
            out.extend_from_slice(number.format(range.start()).as_bytes());
            out.push(b'-');
            // The one place where a range becomes inclusive (RFC 9110 §14.4).
            out.extend_from_slice(number.format(range.end() - 1).as_bytes());
            complete_length
        }
        ContentRange::Unsatisfied { complete_length } => {
            out.push(b'*');
            complete_length
        }
    };
    out.push(b'/');
    out.extend_from_slice(number.format(complete_length).as_bytes());
    out.extend_from_slice(b"\r\n");
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
        write_content_range(ContentRange::Unsatisfied { complete_length: 0 }, &mut out);
        assert_eq!(out, b"Content-Range: bytes */0\r\n");
    }
}
