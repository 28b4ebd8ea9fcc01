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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, with 200: no range, or one that is ignored (RFC 9110 §14.2).
    Whole,
    /// One part, with 206.
    Part(ByteRange),
    /// Several parts that do not overlap, with 206 and multipart/byteranges.
    Parts(Box<[ByteRange]>),
    /// Nothing, with 416.
    Unsatisfiable,
}

/// What the value of a Range field selects of `complete_length` bytes. A set of more than
/// `ranges_max` ranges is ignored: whoever asks for that many means harm (RFC 9110 §14.2).
pub fn select(value: &[u8], complete_length: u64, ranges_max: usize) -> Selection {
    let Some(equals) = memchr::memchr(b'=', value) else { return Selection::Whole };
    // RFC 9110 §14.2: an unknown range unit is ignored. Unit names are case-insensitive (§14.1).
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return Selection::Whole;
    }
    let mut specs = list_members(&value[equals + 1..]);
    match (specs.next(), specs.next()) {
        // A limit of none: one range is more.
        _ if ranges_max == 0 => Selection::Whole,
        (Some(spec), None) => select_one(spec, complete_length),
        (Some(_), Some(_)) => select_several(&value[equals + 1..], complete_length, ranges_max),
        (None, _) => Selection::Whole,
    }
}

fn select_several(set: &[u8], complete_length: u64, ranges_max: usize) -> Selection {
    let mut parts = Vec::new();
    for (number, spec) in list_members(set).enumerate() {
        match select_one(spec, complete_length) {
            _ if number >= ranges_max => return Selection::Whole,
            Selection::Part(range) => parts.push(range),
            // One that cannot be satisfied is left out of a set that can (RFC 9110 §14.1.2).
            Selection::Unsatisfiable => {}
            // One that cannot be read makes the whole set invalid; a suffix of the empty
            // representation is all of it.
            Selection::Whole | Selection::Parts(_) => return Selection::Whole,
        }
    }
    coalesce(&mut parts);
    match parts[..] {
        [] => Selection::Unsatisfiable,
        [range] => Selection::Part(range),
        _ => Selection::Parts(parts.into_boxed_slice()),
    }
}

/// Joins ranges that overlap or touch (RFC 9110 §15.3.7.2), so that no byte is sent twice. Ranges
/// that do neither keep the order in which the client wants them.
fn coalesce(parts: &mut Vec<ByteRange>) {
    let mut sorted = parts.clone();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<ByteRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    if joined.len() < parts.len() {
        *parts = joined;
    }
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
            ("bytes=0-0,x", 10, Whole),
            ("bytes=0-0,5-2", 10, Whole),
        ] {
            assert_eq!(select(value.as_bytes(), length, 16), expected, "{value} of {length}");
        }
    }

    #[test]
    fn sets_of_ranges() {
        let parts = |ranges: &[(u64, u64)]| {
            Selection::Parts(ranges.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect())
        };
        for (value, expected) in [
            ("bytes=0-0,5-5", parts(&[(0, 1), (5, 6)])),
            ("bytes=5-5,0-0", parts(&[(5, 6), (0, 1)])),
            ("bytes=0-0,-1", parts(&[(0, 1), (9, 10)])),
            ("bytes=0-0, 2-2 ,,4-4", parts(&[(0, 1), (2, 3), (4, 5)])),
            // Unsatisfiable members are left out
            ("bytes=0-0,20-30", part(0, 1)),
            ("bytes=0-0,20-30,5-", parts(&[(0, 1), (5, 10)])),
            ("bytes=10-,20-30", Selection::Unsatisfiable),
            ("bytes=-0,10-", Selection::Unsatisfiable),
            // Overlapping and touching ones are joined
            ("bytes=0-4,3-7", part(0, 8)),
            ("bytes=0-4,5-7", part(0, 8)),
            ("bytes=5-9,0-1,1-2", parts(&[(0, 3), (5, 10)])),
            ("bytes=0-,0-,0-", part(0, 10)),
            // More than are allowed
            ("bytes=0-0,2-2,4-4,6-6,8-8", Selection::Whole),
        ] {
            assert_eq!(select(value.as_bytes(), 10, 4), expected, "{value}");
        }
    }

    /// Whatever is asked for, the parts are the bytes that a naive reading selects, each once.
    #[test]
    fn parts_equal_a_naive_model() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..20_000 {
            let length = 1 + random(40);
            let mut wanted = vec![false; length as usize];
            let mut specs = Vec::new();
            for _ in 0..1 + random(6) {
                let (first, last) = (random(50), random(50));
                if random(4) == 0 {
                    specs.push(format!("-{last}"));
                    (length.saturating_sub(last)..length).for_each(|at| wanted[at as usize] = true);
                } else {
                    let (first, last) = (first.min(last), first.max(last));
                    specs.push(format!("{first}-{last}"));
                    (first..length.min(last + 1)).for_each(|at| wanted[at as usize] = true);
                }
            }
            let value = format!("bytes={}", specs.join(","));
            let ranges: Vec<ByteRange> = match select(value.as_bytes(), length, 16) {
                Selection::Whole => panic!("{value} is valid"),
                Selection::Part(range) => vec![range],
                Selection::Parts(ranges) => ranges.into_vec(),
                Selection::Unsatisfiable => vec![],
            };
            let mut sent = vec![false; length as usize];
            for range in ranges {
                for at in range.start()..range.end() {
                    assert!(!std::mem::replace(&mut sent[at as usize], true), "{value} of {length}: byte {at} twice");
                }
            }
            assert_eq!(sent, wanted, "{value} of {length}");
        }
    }

    #[test]
    fn an_empty_range_cannot_be_made() {
        assert_eq!(ByteRange::new(0, 0), None);
        assert_eq!(ByteRange::new(5, 4), None);
        assert_eq!(ByteRange::new(4, 5).map(|range| range.length()), Some(1));
    }
}
