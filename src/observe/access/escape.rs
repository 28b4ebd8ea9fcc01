//! Values of a request in a line, so that no client can end the line or a value in it.
//!
//! Invariant: what is written holds no control character; as text, no quote but behind a backslash and nothing but ASCII;
//! as JSON, the inside of a string in valid UTF-8.

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As nginx does: quotes, backslashes, control characters and all above 0x7E are `\xHH`.
    Text,
    /// For the inside of a JSON string (RFC 8259 §7); bytes that are no UTF-8 are `\u00HH`.
    Json,
}

impl Escape {
    /// Appends `value`.
    pub fn write(self, value: &[u8], out: &mut Vec<u8>) {
        let mut rest = value;
        while let Some(at) = rest.iter().position(|byte| SPECIAL[usize::from(*byte)]) {
            out.extend_from_slice(&rest[..at]);
            let taken = match self {
                Escape::Text => {
                    hexadecimal(b"\\x", rest[at], out);
                    1
                }
                Escape::Json => json(&rest[at..], out),
            };
            rest = &rest[at + taken..];
        }
        out.extend_from_slice(rest);
    }
}

/// Bytes that are not written as they are; above ASCII, JSON takes what is UTF-8, and has to look. A table, for each byte of
/// each value is looked at.
const SPECIAL: [bool; 256] = {
    let mut special = [true; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        special[byte as usize] = byte == b'"' || byte == b'\\';
        byte += 1;
    }
    special
};

/// Writes what `rest` begins with; gives how many bytes that were.
fn json(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let short = match rest[0] {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        byte if byte < b' ' || byte == 0x7f => {
            hexadecimal(b"\\u00", byte, out);
            return 1;
        }
        byte => {
            let length = match byte {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            match rest.get(..length).filter(|character| std::str::from_utf8(character).is_ok()) {
                Some(character) => {
                    // C1 controls move the cursors of some terminals.
                    if character[0] == 0xc2 && character[1] < 0xa0 {
                        hexadecimal(b"\\u00", character[1], out);
                    } else {
                        out.extend_from_slice(character);
                    }
                    return length;
                }
                None => {
                    hexadecimal(b"\\u00", byte, out);
                    return 1;
                }
            }
        }
    };
    out.extend_from_slice(short);
    1
}

fn hexadecimal(prefix: &[u8], byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(prefix);
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(escape: Escape, value: &[u8]) -> String {
        let mut out = Vec::new();
        escape.write(value, &mut out);
        String::from_utf8(out).expect("what is written is text")
    }

    #[test]
    fn values_cannot_leave_their_place() {
        for (value, text, json) in [
            (&b"plain /~'"[..], "plain /~'", "plain /~'"),
            (b"", "", ""),
            (b"a\"b\\c", "a\\x22b\\x5Cc", "a\\\"b\\\\c"),
            (b"a\r\nb\tc\0\x1b[1m\x7f", "a\\x0D\\x0Ab\\x09c\\x00\\x1B[1m\\x7F", "a\\r\\nb\\tc\\u0000\\u001B[1m\\u007F"),
            ("ü€😀".as_bytes(), "\\xC3\\xBC\\xE2\\x82\\xAC\\xF0\\x9F\\x98\\x80", "ü€😀"),
            ("\u{85}\u{9b}".as_bytes(), "\\xC2\\x85\\xC2\\x9B", "\\u0085\\u009B"),
            (b"\xff\xc3", "\\xFF\\xC3", "\\u00FF\\u00C3"),
            // Overlong, a surrogate, and above the last character.
            (b"\xc0\xaf", "\\xC0\\xAF", "\\u00C0\\u00AF"),
            (b"\xed\xa0\x80", "\\xED\\xA0\\x80", "\\u00ED\\u00A0\\u0080"),
            (b"\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80", "\\u00F4\\u0090\\u0080\\u0080"),
        ] {
            assert_eq!(written(Escape::Text, value), text);
            assert_eq!(written(Escape::Json, value), json);
        }
    }

    /// Every pair of bytes: one line, no lone quote, and text.
    #[test]
    fn no_bytes_break_out() {
        for first in 0..=255 {
            for second in 0..=255 {
                for escape in [Escape::Text, Escape::Json] {
                    let written = written(escape, &[first, second]);
                    let bare = written.replace("\\\\", "").replace("\\\"", "");
                    assert!(!bare.contains('"') && !written.contains(char::is_control), "{first} {second}");
                    let is_ascii = escape == Escape::Json || written.is_ascii();
                    assert!(is_ascii, "{first} {second}");
                }
            }
        }
    }
}
