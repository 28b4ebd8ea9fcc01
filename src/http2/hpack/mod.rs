//! HPACK: header compression for HTTP/2 (RFC 7541).
//!
//! In reading order: the static table and the integers here, [`table`] the dynamic table that both directions have,
//! [`decoder`] and [`encoder`].
//!
//! Invariant: an index counts from 1; those up to [`STATIC_ENTRIES`] are of the static table, those behind it of the
//! dynamic one, where the youngest comes first.

pub mod decoder;
pub mod encoder;
pub mod table;

pub use decoder::{Decoder, Malformed};
pub use encoder::Encoder;

/// Bytes that a dynamic table may have where nobody says otherwise (RFC 9113 §6.5.2, SETTINGS_HEADER_TABLE_SIZE).
pub const TABLE_BYTES_DEFAULT: usize = 4096;

/// What an entry costs beside its name and value (RFC 7541 §4.1); a field line of a header list too (RFC 9113 §6.5.2).
pub const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Entries of the static table.
pub const STATIC_ENTRIES: usize = STATIC.len();

/// RFC 7541 Appendix A.
pub const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The number at the start of `block`, whose prefix has `prefix_bits` bits, and what stands behind it (RFC 7541 §5.1).
/// None if it is cut off, or above what a block may need.
fn read_integer(block: &[u8], prefix_bits: u32) -> Option<(usize, &[u8])> {
    let prefix_max = (1u32 << prefix_bits) - 1;
    let (first, mut rest) = block.split_first()?;
    let prefix = u32::from(*first) & prefix_max;
    if prefix < prefix_max {
        return Some((prefix as usize, rest));
    }
    let mut value = prefix;
    // Four bytes, for no number of a block that is kept in memory is above 28 bits; more of them would be a way to
    // make us read zeros.
    for shift in [0, 7, 14, 21] {
        let (next, behind) = rest.split_first()?;
        rest = behind;
        value += u32::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some((value as usize, rest));
        }
    }
    None
}

/// Appends a number whose prefix has `prefix_bits` bits; `pattern` is what stands before it in its first byte.
#[inline]
fn write_integer(pattern: u8, prefix_bits: u32, value: usize, out: &mut Vec<u8>) {
    let prefix_max = (1usize << prefix_bits) - 1;
    if value < prefix_max {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | prefix_max as u8);
    let mut rest = value - prefix_max;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 §C.1, and where numbers end.
    #[test]
    fn integers_have_a_prefix_and_seven_bits_a_byte() {
        for (value, prefix_bits, bytes) in [
            (10, 5, &[10][..]),
            (1337, 5, &[31, 154, 10]),
            (42, 8, &[42]),
            (30, 5, &[30]),
            (31, 5, &[31, 0]),
            (127, 7, &[127, 0]),
            (255, 7, &[127, 0x80, 1]),
            ((1 << 28) - 1 + 127, 7, &[127, 0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut out = Vec::new();
            write_integer(0, prefix_bits, value, &mut out);
            assert_eq!(out, bytes, "{value}");
            out.push(7);
            assert_eq!(read_integer(&out, prefix_bits), Some((value, &[7][..])), "{value}");
        }
        for bytes in
            [&[][..], &[31], &[31, 0x80], &[31, 0x80, 0x80, 0x80, 0x80, 0], &[31, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(read_integer(bytes, 5), None, "{bytes:?}");
        }
    }
}
