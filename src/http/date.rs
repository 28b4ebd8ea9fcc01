//! HTTP dates (RFC 9110 §5.6.7): whole seconds, three formats read, one written.
//!
//! Invariant: an [`HttpDate`] can always be written, for it lies between 1970 and 9999.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in whole seconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate(u64);

/// The last second that the format can write: 9999-12-31 23:59:59.
const SECONDS_MAX: u64 = 253_402_300_799;

impl HttpDate {
    /// The date `seconds` after (or before) 1970; what the format cannot write is moved to the
    /// nearest date that it can.
    pub fn from_unix(seconds: i64) -> HttpDate {
        HttpDate(u64::try_from(seconds).unwrap_or(0).min(SECONDS_MAX))
    }

    /// The date this many seconds later, or the last one that can be written.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> HttpDate {
        HttpDate((self.0 + u64::from(seconds)).min(SECONDS_MAX))
    }

    /// Seconds since 1970.
    pub fn unix_seconds(self) -> u64 {
        self.0
    }

    /// The date in a field value, in any of the three formats; `None` where it is none of them
    /// (a recipient ignores such a field: RFC 9110 §13.1).
    pub fn parse(value: &[u8]) -> Option<HttpDate> {
        let text = std::str::from_utf8(value).ok()?;
        let time = httpdate::parse_http_date(text).ok()?;
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Some(HttpDate(seconds.min(SECONDS_MAX)))
    }

    /// The date as `IMF-fixdate`, the one format that is written.
    pub fn text(self) -> DateText {
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(self.0);
        let text = httpdate::fmt_http_date(time);
        let mut bytes = [b' '; DATE_BYTES];
        bytes.copy_from_slice(text.as_bytes());
        DateText(bytes)
    }
}

const DATE_BYTES: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// A date written out; kept, because writing one costs more than the rest of a head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateText([u8; DATE_BYTES]);

impl DateText {
    /// The text as it stands in a field.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for DateText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: u64 = 784_111_777;

    #[test]
    fn all_three_formats_are_read() {
        for (value, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(EXAMPLE)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(EXAMPLE)),
            ("Sun Nov  6 08:49:37 1994", Some(EXAMPLE)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("", None),
            ("yesterday", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("784111777", None),
        ] {
            assert_eq!(HttpDate::parse(value.as_bytes()).map(HttpDate::unix_seconds), expected, "{value:?}");
        }
    }

    #[test]
    fn the_text_is_read_back() {
        for seconds in [0, 1, 951_782_400, EXAMPLE, 4_102_444_800, SECONDS_MAX] {
            let date = HttpDate(seconds);
            assert_eq!(HttpDate::parse(date.text().as_bytes()), Some(date));
        }
        assert_eq!(HttpDate(EXAMPLE).text().as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    /// A file's time may be before 1970 or absurdly late; the engine room of a date formatter
    /// panics on both.
    #[test]
    fn impossible_times_are_clamped() {
        assert_eq!(HttpDate::from_unix(-1).unix_seconds(), 0);
        assert_eq!(HttpDate::from_unix(i64::MIN).unix_seconds(), 0);
        assert_eq!(HttpDate::from_unix(i64::MAX).text().as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
