//! Where the fields of an answer are written: as text (RFC 9112 §5), or compressed ([`http2::hpack`](crate::http2::hpack)).
//!
//! [`Response::write_fields`](super::response::Response::write_fields) knows which fields an answer has and in which
//! order; a [`FieldWriter`] knows how one is written.
//!
//! Invariant: a value never holds CR, LF or NUL.

use super::status::Status;

/// Takes the status and the fields of an answer, in order.
pub trait FieldWriter {
    /// The status: first, and once.
    fn status(&mut self, status: Status);
    /// One field.
    fn field(&mut self, name: AnswerField, value: &[u8]);
    /// Whole field lines, each with its line end, that a site adds.
    fn lines(&mut self, lines: &[u8]);
}

macro_rules! answer_fields {
    ($($variant:ident $name:literal $lower:literal;)*) => {
        /// The name of a field of the server's own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum AnswerField {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl AnswerField {
            /// All of them, in the order of their discriminants.
            pub const ALL: &'static [AnswerField] = &[$(AnswerField::$variant),*];

            /// As HTTP/1.1 has it, with the colon and the space behind it.
            #[inline(always)]
            pub const fn before_value(self) -> &'static str {
                match self {
                    $(AnswerField::$variant => concat!($name, ": "),)*
                }
            }

            /// In lower case, as HTTP/2 wants it (RFC 9113 §8.2).
            pub const fn lower(self) -> &'static str {
                match self {
                    $(AnswerField::$variant => $lower,)*
                }
            }
        }
    };
}

answer_fields! {
    Server "Server" "server";
    Date "Date" "date";
    ContentType "Content-Type" "content-type";
    ContentEncoding "Content-Encoding" "content-encoding";
    ContentLength "Content-Length" "content-length";
    ContentRange "Content-Range" "content-range";
    LastModified "Last-Modified" "last-modified";
    EntityTag "ETag" "etag";
    AcceptRanges "Accept-Ranges" "accept-ranges";
    CacheControl "Cache-Control" "cache-control";
    Expires "Expires" "expires";
    Vary "Vary" "vary";
    Location "Location" "location";
    Allow "Allow" "allow";
    RetryAfter "Retry-After" "retry-after";
    WwwAuthenticate "WWW-Authenticate" "www-authenticate";
    AllowOrigin "Access-Control-Allow-Origin" "access-control-allow-origin";
    AllowCredentials "Access-Control-Allow-Credentials" "access-control-allow-credentials";
    AllowMethods "Access-Control-Allow-Methods" "access-control-allow-methods";
    AllowHeaders "Access-Control-Allow-Headers" "access-control-allow-headers";
    StrictTransport "Strict-Transport-Security" "strict-transport-security";
    MaxAge "Access-Control-Max-Age" "access-control-max-age";
}

/// Writes field lines as HTTP/1.1 has them, the status line first.
#[derive(Debug)]
pub struct TextWriter<'a>(pub &'a mut Vec<u8>);

impl FieldWriter for TextWriter<'_> {
    #[inline(always)]
    fn status(&mut self, status: Status) {
        self.0.extend_from_slice(status.line());
    }

    #[inline(always)]
    fn field(&mut self, name: AnswerField, value: &[u8]) {
        debug_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a value never ends its own line");
        self.0.extend_from_slice(name.before_value().as_bytes());
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    #[inline(always)]
    fn lines(&mut self, lines: &[u8]) {
        self.0.extend_from_slice(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_writings_of_a_name_are_the_same() {
        for (at, name) in AnswerField::ALL.iter().enumerate() {
            assert_eq!(*name as usize, at);
            assert_eq!(name.before_value().to_ascii_lowercase(), format!("{}: ", name.lower()));
        }
    }
}
