//! The small productions that several fields share (RFC 9110 §5.6).
//!
//! Invariant: every function takes any bytes, and none of them allocates.

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

/// The parts of `value` between separators that stand outside of quoted strings, trimmed, empty
/// ones left out. A quoted string that is not closed runs to the end of the value: it is for the
/// reader of the last part to refuse it.
pub fn parts_outside_quotes(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    // `split` shows its predicate each byte once and in order, so the predicate may remember.
    let is_separator = move |byte: &u8| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'"' => quoted = !quoted,
            // RFC 9110 §5.6.4: a backslash has a meaning inside of a quoted string only.
            b'\\' => escaped = quoted,
            _ => {}
        }
        !quoted && *byte == separator
    };
    value.split(is_separator).map(trim_whitespace).filter(|part| !part.is_empty())
}

/// The weight that a parameter (`q=0.5`) states, in thousandths: at most [`WEIGHT_MAX`], and 0
/// for "not acceptable" (RFC 9110 §12.4.2). None if the parameter is another one, or malformed.
pub fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, decimals) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = |scale: u16, digit: &u8| scale * u16::from(digit - b'0');
    let fraction = [100, 10, 1].into_iter().zip(decimals).map(|(scale, digit)| thousandths(scale, digit)).sum();
    match (whole, fraction) {
        (b'0', fraction) => Some(fraction),
        (b'1', 0) => Some(WEIGHT_MAX),
        _ => None,
    }
}

/// The weight of what states none: `q=1`.
pub const WEIGHT_MAX: u16 = 1000;

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
    fn separators_in_quoted_strings_do_not_separate() {
        for (value, expected) in [
            ("", vec![]),
            (" , ,", vec![]),
            ("a, b ,,c", vec!["a", "b", "c"]),
            ("a=\"1,2\", b", vec!["a=\"1,2\"", "b"]),
            // A quote that is escaped does not close, an escaped backslash does not escape
            ("a=\"1\\\",2\", b", vec!["a=\"1\\\",2\"", "b"]),
            ("a=\"1\\\\\", b", vec!["a=\"1\\\\\"", "b"]),
            // Outside of quotes a backslash is a byte like others
            ("a\\, b", vec!["a\\", "b"]),
            // Not closed
            ("a, \"b, c", vec!["a", "\"b, c"]),
        ] {
            let parts: Vec<_> = parts_outside_quotes(value.as_bytes(), b',')
                .map(|part| std::str::from_utf8(part).expect("the table is text"))
                .collect();
            assert_eq!(parts, expected, "{value:?}");
        }
    }

    #[test]
    fn weights_follow_the_grammar() {
        for (parameter, expected) in [
            ("q=0", Some(0)),
            ("q=1", Some(1000)),
            ("Q=0.5", Some(500)),
            ("q=0.25", Some(250)),
            ("q=0.001", Some(1)),
            ("q=0.999", Some(999)),
            ("q=0.000", Some(0)),
            ("q=1.000", Some(1000)),
            // RFC 9110 §12.4.2: the point may come without decimals
            ("q=0.", Some(0)),
            ("q=1.", Some(1000)),
            // Above one, too many decimals
            ("q=1.001", None),
            ("q=1.5", None),
            ("q=2", None),
            ("q=10", None),
            ("q=0.0000", None),
            ("q=1.0000", None),
            // Not a weight
            ("", None),
            ("q", None),
            ("q=", None),
            ("q=.5", None),
            ("q=-1", None),
            ("q=+1", None),
            ("q=0,5", None),
            ("q=0.5x", None),
            ("q=00.5", None),
            ("q =1", None),
            ("q= 1", None),
            ("q=\"1\"", None),
            ("level=1", None),
            ("qs=1", None),
        ] {
            assert_eq!(weight(parameter.as_bytes()), expected, "{parameter:?}");
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
