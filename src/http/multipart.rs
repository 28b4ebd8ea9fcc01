//! Several ranges in one answer: multipart/byteranges (RFC 9110 §14.6).
//!
//! Invariant: [`content_length`] is exactly the number of bytes of the heads of all parts, the
//! parts, and the end, as [`write_part_head`] and [`write_end`] write them.

use super::range::ByteRange;
use super::response::{ContentRange, write_content_range};
use super::writer::TextWriter;

/// What separates the parts: as good as certain not to occur in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The whole value of Content-Type, the delimiter at its end.
    content_type: String,
}

const CONTENT_TYPE: &str = "multipart/byteranges; boundary=";

impl Boundary {
    /// The boundary made of these random bits.
    pub fn new(random: u128) -> Boundary {
        Boundary { content_type: format!("{CONTENT_TYPE}{random:032x}") }
    }

    /// The value of Content-Type of an answer with parts.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    fn delimiter(&self) -> &[u8] {
        &self.content_type.as_bytes()[CONTENT_TYPE.len()..]
    }
}

/// Appends what stands before a part: delimiter and fields (RFC 2046 §5.1.1).
pub fn write_part_head(
    boundary: &Boundary,
    media_type: &str,
    range: ByteRange,
    complete_length: u64,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.delimiter());
    out.extend_from_slice(b"\r\nContent-Type: ");
    out.extend_from_slice(media_type.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_content_range(ContentRange::Part { range, complete_length }, &mut TextWriter(out));
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands behind the last part.
pub fn write_end(boundary: &Boundary, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.delimiter());
    out.extend_from_slice(b"--\r\n");
}

/// Bytes of the whole content.
pub fn content_length(boundary: &Boundary, media_type: &str, parts: &[ByteRange], complete_length: u64) -> u64 {
    let mut text = Vec::new();
    for range in parts {
        write_part_head(boundary, media_type, *range, complete_length, &mut text);
    }
    write_end(boundary, &mut text);
    text.len() as u64 + parts.iter().map(ByteRange::length).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed_as_the_standard_shows_them() {
        let boundary = Boundary::new(0xabc);
        let delimiter = "00000000000000000000000000000abc";
        assert_eq!(boundary.content_type(), format!("multipart/byteranges; boundary={delimiter}"));
        let range = ByteRange::new(2, 5).expect("not empty");
        let mut out = Vec::new();
        write_part_head(&boundary, "text/plain", range, 10, &mut out);
        out.extend_from_slice(b"cde");
        write_end(&boundary, &mut out);
        let expected = format!(
            "\r\n--{delimiter}\r\nContent-Type: text/plain\r\nContent-Range: bytes 2-4/10\r\n\r\ncde\r\n--{delimiter}--\r\n"
        );
        assert_eq!(out, expected.as_bytes());
        assert_eq!(content_length(&boundary, "text/plain", &[range], 10), expected.len() as u64);
    }
}
