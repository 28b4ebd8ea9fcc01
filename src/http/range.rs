//! Byte ranges (RFC 9110 §14): half-open inside, inclusive only where they are written.
//!
//! Invariant: a [`ByteRange`] is never empty and lies inside the representation it was made for.

use super::grammar::{NotDigits, digits, list_members};

/// Bytes `start..end` of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The range, unless it is empty.
    pub fn new(start: u64, end: u64) -> Option<ByteRange> {
        (start < end).then_some(ByteRange { start, end })
    }

    /// The first byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Number of bytes, at least one.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// What a Range field selects of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, with 200: no range, one that cannot be read, or several (a server may ignore
    /// Range: RFC 9110 §14.2).
    Whole,
    /// One part, with 206.
    Part(ByteRange),
    /// Nothing, with 416.
    Unsatisfiable,
}

/// What the value of a Range field selects of `complete_length` bytes.
pub fn select(value: &[u8], complete_length: u64) -> Selection {
    let Some(equals) = memchr::memchr(b'=', value) else { return Selection::Whole };
    // RFC 9110 §14.2: an unknown range unit is ignored. Unit names are case-insensitive (§14.1).
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return Selection::Whole;
    }
    let mut specs = list_members(&value[equals + 1..]);
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Selection::Whole };
    select_one(spec, complete_length)
}

/// One `int-range` or `suffix-range` (RFC 9110 §14.1.1).
fn select_one(spec: &[u8], complete_length: u64) -> Selection {
    let Some(dash) = memchr::memchr(b'-', spec) else { return Selection::Whole };
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        return select_suffix(last, complete_length);
    }
    let (Some(first), Some(last)) = (position(first), if last.is_empty() { Some(u64::MAX) } else { position(last) })
    else {
        return Selection::Whole;
    };
    // RFC 9110 §14.1.1: a last position before the first makes the spec invalid.
    if last < first {
        return Selection::Whole;
    }
    let end = last.saturating_add(1).min(complete_length);
    ByteRange::new(first, end).map_or(Selection::Unsatisfiable, Selection::Part)
}

fn select_suffix(length: &[u8], complete_length: u64) -> Selection {
    match position(length) {
        None => Selection::Whole,
        Some(0) => Selection::Unsatisfiable,
        // RFC 9110 §14.1.2: a suffix longer than the representation means all of it. Of an empty
        // one there is no part to name in Content-Range, so it is sent whole.
        Some(length) => ByteRange::new(complete_length.saturating_sub(length), complete_length)
            .map_or(Selection::Whole, Selection::Part),
    }
}

/// A position; one past 64 bits is past the end of any file, which is all that matters.
fn position(value: &[u8]) -> Option<u64> {
    match digits(value) {
        Ok(number) => Some(number),
        Err(NotDigits::Overflow) => Some(u64::MAX),
        Err(NotDigits::Malformed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, end: u64) -> Selection {
        Selection::Part(ByteRange::new(start, end).expect("each row names a range"))
    }

    #[test]
    fn selections() {
        use Selection::*;
        for (value, length, expected) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=0-9", 10, part(0, 10)),
            ("bytes=2-5", 10, part(2, 6)),
            ("bytes=2-", 10, part(2, 10)),
            ("bytes=9-", 10, part(9, 10)),
            ("bytes=0-99", 10, part(0, 10)),
            ("BYTES=0-0", 10, part(0, 1)),
            ("bytes= 0-0 ", 10, part(0, 1)),
            ("bytes=,0-0,", 10, part(0, 1)),
            ("bytes=-3", 10, part(7, 10)),
            ("bytes=-10", 10, part(0, 10)),
            ("bytes=-200", 10, part(0, 10)),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=-0", 0, Unsatisfiable),
            // 64-bit edges
            ("bytes=0-18446744073709551615", 10, part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=18446744073709551615-", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-18446744073709551616", 10, part(0, 10)),
            ("bytes=18446744073709551614-", u64::MAX, part(u64::MAX - 1, u64::MAX)),
            // Ignored: unreadable, another unit, several
            ("bytes=5-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 - 2", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=1", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes=0-0,5-5", 10, Whole),
        ] {
            assert_eq!(select(value.as_bytes(), length), expected, "{value} of {length}");
        }
    }

    #[test]
    fn an_empty_range_cannot_be_made() {
        assert_eq!(ByteRange::new(0, 0), None);
        assert_eq!(ByteRange::new(5, 4), None);
        assert_eq!(ByteRange::new(4, 5).map(|range| range.length()), Some(1));
    }
}
