//! A listing as data: what nginx's `autoindex_format json` writes, so that its clients work here.
//!
//! Invariant: the text is valid JSON (RFC 8259) in UTF-8, whatever the names are. A name that is
//! not UTF-8 has U+FFFD in the place of what is not.

use super::is_directory;
use crate::http::date::HttpDate;
use crate::storage::directory::Entry;

/// An array of one object for each entry: `name`, `type`, `mtime`, and of a file its `size`.
pub(super) fn render(entries: &[&Entry]) -> String {
    let names_bytes: usize = entries.iter().map(|entry| entry.name.len()).sum();
    let mut json = String::with_capacity(8 + names_bytes + entries.len() * OBJECT_BYTES);
    json.push('[');
    for (index, entry) in entries.iter().enumerate() {
        json.push_str(if index == 0 { "\n" } else { ",\n" });
        push_object(&mut json, entry);
    }
    json.push_str("\n]\n");
    json
}

/// About what an object takes beside its name.
const OBJECT_BYTES: usize = 100;

fn push_object(json: &mut String, entry: &Entry) {
    json.push_str("{ \"name\":");
    push_string(json, &entry.name);
    json.push_str(if is_directory(entry) { ", \"type\":\"directory\"" } else { ", \"type\":\"file\"" });
    json.push_str(", \"mtime\":");
    push_string(json, HttpDate::from_unix(entry.modified.seconds).text().as_bytes());
    if !is_directory(entry) {
        json.push_str(", \"size\":");
        json.push_str(itoa::Buffer::new().format(entry.length));
    }
    json.push_str(" }");
}

/// Writes a string of JSON (RFC 8259 §7): quotes, backslashes and control characters are escaped.
fn push_string(json: &mut String, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    json.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                '\0'..='\x1f' | '\x7f' => {
                    let byte = c as usize;
                    json.push_str("\\u00");
                    json.push(char::from(DIGITS[byte >> 4]));
                    json.push(char::from(DIGITS[byte & 15]));
                }
                c => json.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            json.push(char::REPLACEMENT_CHARACTER);
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{entry, rendered};
    use super::*;
    use crate::storage::file::Kind;

    #[test]
    fn strings_are_escaped() {
        for (name, expected) in [
            (&b"plain.txt"[..], r#""plain.txt""#),
            (b"a\"b\\c/d", r#""a\"b\\c/d""#),
            (b"\x01\t\n\r\x1f\x7f", r#""\u0001\u0009\u000a\u000d\u001f\u007f""#),
            (b"<script>&'", r#""<script>&'""#),
            ("ä€😀".as_bytes(), r#""ä€😀""#),
            (b"a\xffb\xe2\x82", "\"a\u{FFFD}b\u{FFFD}\""),
            (b"", r#""""#),
        ] {
            let mut json = String::new();
            push_string(&mut json, name);
            assert_eq!(json, expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_listing_is_an_array() {
        let entries = vec![
            entry("b.txt", Kind::Regular, 12, 1_714_570_620),
            entry("a", Kind::Directory, 4096, 1_714_570_620),
            entry("c", Kind::Regular, u64::MAX, -1),
        ];
        let expected = r#"[
{ "name":"a", "type":"directory", "mtime":"Wed, 01 May 2024 13:37:00 GMT" },
{ "name":"b.txt", "type":"file", "mtime":"Wed, 01 May 2024 13:37:00 GMT", "size":12 },
{ "name":"c", "type":"file", "mtime":"Thu, 01 Jan 1970 00:00:00 GMT", "size":18446744073709551615 }
]
"#;
        assert_eq!(rendered("/d/", entries.clone(), false, Format::Json), expected);
        assert_eq!(rendered("/d/", entries, true, Format::Json), expected);
        assert_eq!(rendered("/d/", vec![], false, Format::Json), "[\n]\n");
    }
}
