//! Ranges: what is selected are the bytes that a naive reading selects, each once, and they are
//! framed as they are counted.
//!
//! The input is the complete length in digits, a line feed, and the value of Range.
//!
//! Invariant: no part is empty, outside the representation, or in touch with another.

use otus_httpd::http::multipart::{Boundary, content_length, write_end, write_part_head};
use otus_httpd::http::range::{ByteRange, Selection, select};

const RANGES_MAX: usize = 16;

/// Selects by the value behind the first line of `data`.
pub fn range(data: &[u8]) {
    let Some(line_end) = data.iter().position(|b| *b == b'\n') else { return };
    let Some(complete_length) = number(&data[..line_end]) else { return };
    // No file is longer than the kernel's signed offsets can say.
    let Some(complete_length) = u64::try_from(complete_length).ok().filter(|length| *length <= i64::MAX as u64) else {
        return;
    };
    let value = &data[line_end + 1..];
    let parts = match (select(value, complete_length, RANGES_MAX), naive(value, complete_length)) {
        (Selection::Whole, None) => return,
        (Selection::Unsatisfiable, Some(expected)) => return assert_eq!(expected, []),
        (Selection::Part(range), Some(expected)) => {
            assert_eq!(vec![(range.start(), range.end())], expected);
            vec![range]
        }
        (Selection::Parts(parts), Some(expected)) => {
            let mut sent: Vec<_> = parts.iter().map(|range| (range.start(), range.end())).collect();
            sent.sort_unstable();
            assert!(sent.len() > 1);
            assert_eq!(sent, expected);
            parts.into_vec()
        }
        (selection, expected) => panic!("{selection:?}, by a naive reading {expected:?}"),
    };
    for range in &parts {
        assert!(range.start() < range.end() && range.end() <= complete_length);
        assert_eq!(range.length(), range.end() - range.start());
    }
    check_multipart(&parts, complete_length);
}

/// A part longer than this is counted and not made.
const PART_BYTES_MAX: u64 = 4096;

fn check_multipart(parts: &[ByteRange], complete_length: u64) {
    let boundary = Boundary::new(0x0123_4567_89AB_CDEF);
    let delimiter = boundary.content_type().rsplit('=').next().expect("a split has a last part");
    let mut bytes = Vec::new();
    let mut not_made = 0;
    for range in parts {
        write_part_head(&boundary, "text/plain", *range, complete_length, &mut bytes);
        let expected = format!(
            "\r\n--{delimiter}\r\nContent-Type: text/plain\r\nContent-Range: bytes {}-{}/{complete_length}\r\n\r\n",
            range.start(),
            range.end() - 1
        );
        assert!(bytes.ends_with(expected.as_bytes()), "{}", bytes.escape_ascii());
        let made = range.length().min(PART_BYTES_MAX);
        bytes.extend((0..made).map(|at| at as u8));
        not_made += range.length() - made;
    }
    write_end(&boundary, &mut bytes);
    assert_eq!(content_length(&boundary, "text/plain", parts, complete_length), bytes.len() as u64 + not_made);
}

/// The runs of bytes that RFC 9110 §14.1.2 selects, in order and joined where they overlap or
/// touch; `None` where the field is to be ignored.
fn naive(value: &[u8], complete_length: u64) -> Option<Vec<(u64, u64)>> {
    let (unit, set) = value.split_at(value.iter().position(|b| *b == b'=')?);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    let specs = set[1..].split(|b| *b == b',').map(|spec| {
        let start = spec.iter().position(|b| !is_space(b)).unwrap_or(spec.len());
        let end = spec.iter().rposition(|b| !is_space(b)).map_or(start, |last| last + 1);
        &spec[start..end]
    });
    let specs: Vec<&[u8]> = specs.filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > RANGES_MAX {
        return None;
    }
    let complete_length = u128::from(complete_length);
    let mut runs = Vec::new();
    for spec in specs {
        let (first, last) = spec.split_at(spec.iter().position(|b| *b == b'-')?);
        let (start, end) = match (first, &last[1..]) {
            (b"", suffix) => match number(suffix)? {
                // All of nothing: there is no part to name, so it is sent whole.
                1.. if complete_length == 0 => return None,
                suffix => (complete_length.saturating_sub(suffix), complete_length),
            },
            (first, b"") => (number(first)?, complete_length),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1).min(complete_length))
            }
        };
        if start < end {
            runs.push((start as u64, end as u64));
        }
    }
    runs.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in runs {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    Some(joined)
}

/// `1*DIGIT`; a position past 64 bits is past the end of any file, and all such are alike.
fn number(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u128, digit: &u8| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0'));
    Some(digits.iter().fold(0, add).min(u128::from(u64::MAX)))
}
