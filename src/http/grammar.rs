//! The small productions that several fields share (RFC 9110 §5.6).
//!
//! Invariant: every function takes bytes that httparse accepted as a field value, and none of
//! them allocates.

/// `value` without optional white space (SP and HTAB) at either end (RFC 9110 §5.6.3).
pub fn trim_whitespace(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|b| !is_whitespace(*b));
    let Some(start) = start else { return &[] };
    let end = value.iter().rposition(|b| !is_whitespace(*b)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The members of a comma-separated list without quoted strings, empty members left out
/// (RFC 9110 §5.6.1.2).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim_whitespace).filter(|member| !member.is_empty())
}

/// A number written as `1*DIGIT`: no sign, no space, nothing else.
///
/// Says what was wrong, because a caller treats "not a number" and "too large" differently.
pub fn digits(value: &[u8]) -> Result<u64, NotDigits> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(NotDigits::Malformed);
    }
    value.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(digit - b'0'))).ok_or(NotDigits::Overflow)
    })
}

/// Why [`digits`] gave no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDigits {
    /// Empty, or a byte that is no digit.
    Malformed,
    /// All digits, but past what 64 bits hold.
    Overflow,
}

fn is_whitespace(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_trimmed_at_both_ends_only() {
        for (value, expected) in [("", ""), (" \t ", ""), ("a", "a"), ("\t a b \t", "a b"), ("a ", "a"), (" a", "a")] {
            assert_eq!(trim_whitespace(value.as_bytes()), expected.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn list_members_skip_the_empty_ones() {
        for (value, expected) in [
            ("", vec![]),
            (",, ,", vec![]),
            ("close", vec!["close"]),
            (" keep-alive ,, close\t", vec!["keep-alive", "close"]),
        ] {
            let members: Vec<_> =
                list_members(value.as_bytes()).map(|m| std::str::from_utf8(m).expect("the table is text")).collect();
            assert_eq!(members, expected, "{value:?}");
        }
    }

    #[test]
    fn digits_take_nothing_but_digits() {
        for (value, expected) in [
            ("0", Ok(0)),
            ("007", Ok(7)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(NotDigits::Overflow)),
            ("99999999999999999999999", Err(NotDigits::Overflow)),
            ("", Err(NotDigits::Malformed)),
            ("+5", Err(NotDigits::Malformed)),
            ("-5", Err(NotDigits::Malformed)),
            ("0x10", Err(NotDigits::Malformed)),
            ("5 ", Err(NotDigits::Malformed)),
            ("5, 5", Err(NotDigits::Malformed)),
        ] {
            assert_eq!(digits(value.as_bytes()), expected, "{value:?}");
        }
    }
}
