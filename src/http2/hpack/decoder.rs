//! Decodes header blocks (RFC 7541 §3, §6).
//!
//! Order: at the start of a block, updates of the table's size · then one field line after the other, each shown to
//! the sink and inserted where it asks for it.
//!
//! Invariant: whatever the sink makes of a field line, the whole block is read, for the table must stay that of the
//! peer; after an error it no longer is, and the connection ends (RFC 7541 §2.2, RFC 9113 §4.3).

use super::table::{Name, Table};
use super::{STATIC, STATIC_ENTRIES, read_integer};
use crate::http2::huffman;

/// Why a block cannot be decoded: a connection error of type COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The block ends within a field line, or a number in it is above what a block can hold.
    #[error("a number or a string of a header block is cut off or too large")]
    Length,
    /// RFC 7541 §2.3.3: an index that neither table has.
    #[error("a header block uses an index that no table has")]
    Index,
    /// RFC 7541 §5.2: a string that is no Huffman code.
    #[error("a string of a header block is no Huffman code")]
    Huffman,
    /// RFC 7541 §4.2: a new size of the table elsewhere than at the start, above what we allow, or set a third time.
    #[error("a header block sets a size of the table that it must not set")]
    TableSize,
}

/// What one peer's header blocks are decoded with.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    table_bytes_max: usize,
    /// Strings that came in the Huffman code.
    text: Vec<u8>,
}

/// Bytes of decoded strings that a connection keeps room for between two blocks; a browser's values seldom exceed it.
const TEXT_BYTES_KEPT: usize = 1024;

/// RFC 7541 §4.2: the smallest size that was in force, and the last one.
const SIZE_UPDATES_MAX: usize = 2;

/// A string of a field line: where its bytes are.
enum Text<'a> {
    Plain(&'a [u8]),
    /// In `Decoder::text`, up to this offset.
    Decoded(usize),
}

impl Decoder {
    /// A decoder whose table may count `table_bytes_max`, which is what our SETTINGS_HEADER_TABLE_SIZE says.
    pub fn new(table_bytes_max: usize) -> Decoder {
        Decoder { table: Table::new(table_bytes_max), table_bytes_max, text: Vec::new() }
    }

    /// Reads a whole block, and shows `sink` the name and value of each field line in order.
    pub fn decode(&mut self, block: &[u8], mut sink: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        let mut rest = self.size_updates(block)?;
        while let Some(first) = rest.first() {
            rest = match first {
                // RFC 7541 §6.1: indexed.
                0x80.. => {
                    let (index, behind) = read_integer(rest, 7).ok_or(Malformed::Length)?;
                    let (name, value) = entry(&self.table, index)?;
                    sink(name, value);
                    behind
                }
                // §6.2.1: literal, inserted.
                0x40.. => self.literal(rest, 6, true, &mut sink)?,
                // §6.3: allowed at the start of a block only.
                0x20.. => return Err(Malformed::TableSize),
                // §6.2.2, §6.2.3: literal, not inserted; whether never or not this time is for proxies.
                _ => self.literal(rest, 4, false, &mut sink)?,
            };
        }
        self.text.clear();
        self.text.shrink_to(TEXT_BYTES_KEPT);
        Ok(())
    }

    /// What stands behind the updates of the table's size, of which there may be none.
    fn size_updates<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let mut rest = block;
        for _ in 0..SIZE_UPDATES_MAX {
            let Some(0x20..0x40) = rest.first() else { break };
            let (size_bytes, behind) = read_integer(rest, 5).ok_or(Malformed::Length)?;
            if size_bytes > self.table_bytes_max {
                return Err(Malformed::TableSize);
            }
            self.table.set_bytes_max(size_bytes);
            rest = behind;
        }
        Ok(rest)
    }

    fn literal<'a>(
        &mut self,
        line: &'a [u8],
        prefix_bits: u32,
        inserts: bool,
        sink: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<&'a [u8], Malformed> {
        self.text.clear();
        let (name_index, rest) = read_integer(line, prefix_bits).ok_or(Malformed::Length)?;
        let (name, rest) = match name_index {
            0 => self.string(rest).map(|(name, rest)| (Some(name), rest))?,
            _ => (None, rest),
        };
        let (value, rest) = self.string(rest)?;
        let name_end = match name {
            Some(Text::Decoded(end)) => end,
            _ => 0,
        };
        let value = match value {
            Text::Plain(value) => value,
            Text::Decoded(end) => &self.text[name_end..end],
        };
        let name = match name {
            Some(Text::Plain(name)) => Name::Text(name),
            Some(Text::Decoded(end)) => Name::Text(&self.text[..end]),
            None => match name_index.checked_sub(STATIC_ENTRIES + 1) {
                Some(at) => Name::OfEntry(at),
                None => Name::Text(STATIC[name_index - 1].0.as_bytes()),
            },
        };
        let name_text = match name {
            Name::Text(text) => text,
            Name::OfEntry(at) => self.table.get(at).ok_or(Malformed::Index)?.0,
        };
        sink(name_text, value);
        if inserts {
            self.table.insert(name, value);
        }
        Ok(rest)
    }

    /// RFC 7541 §5.2: a string, and what stands behind it.
    fn string<'a>(&mut self, bytes: &'a [u8]) -> Result<(Text<'a>, &'a [u8]), Malformed> {
        let is_coded = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let (length, rest) = read_integer(bytes, 7).ok_or(Malformed::Length)?;
        let (string, rest) = rest.split_at_checked(length).ok_or(Malformed::Length)?;
        if !is_coded {
            return Ok((Text::Plain(string), rest));
        }
        huffman::decode(string, &mut self.text).map_err(|_| Malformed::Huffman)?;
        Ok((Text::Decoded(self.text.len()), rest))
    }
}

/// Name and value of an index (RFC 7541 §2.3.3).
fn entry(table: &Table, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
    if let Some((name, value)) = STATIC.get(index.wrapping_sub(1)) {
        return Ok((name.as_bytes(), value.as_bytes()));
    }
    index.checked_sub(STATIC_ENTRIES + 1).and_then(|at| table.get(at)).ok_or(Malformed::Index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u8> = hexadecimal.bytes().filter(|b| *b != b' ').map(digit).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn digit(byte: u8) -> u8 {
        (byte as char).to_digit(16).expect("the table is hexadecimal") as u8
    }

    fn lines(decoder: &mut Decoder, block: &[u8]) -> Result<String, Malformed> {
        let mut lines = String::new();
        decoder.decode(block, |name, value| {
            lines += &format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
        })?;
        Ok(lines)
    }

    /// Decodes blocks in order with one decoder; beside each its lines and the size of the table behind it.
    fn check(table_bytes_max: usize, blocks: &[(&str, &str, usize)]) {
        let mut decoder = Decoder::new(table_bytes_max);
        for (block, expected, table_bytes) in blocks {
            let expected: String = expected.lines().map(|line| format!("{}\n", line.trim_start())).collect();
            assert_eq!(lines(&mut decoder, &bytes(block)), Ok(expected), "{block}");
            assert_eq!(decoder.table.size_bytes(), *table_bytes, "{block}");
        }
    }

    /// RFC 7541 §C.2.
    #[test]
    fn single_lines_of_the_standard() {
        check(
            4096,
            &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header", 55)],
        );
        check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", 0)]);
        check(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", 0)]);
        check(4096, &[("82", ":method: GET", 0)]);
    }

    /// RFC 7541 §C.3, §C.4.
    #[test]
    fn requests_of_the_standard() {
        let start = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
        let second = format!("{start}\ncache-control: no-cache");
        let third =
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value";
        check(
            4096,
            &[
                ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", start, 57),
                ("8286 84be 5808 6e6f 2d63 6163 6865", &second, 110),
                ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third, 164),
            ],
        );
        check(
            4096,
            &[
                ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", start, 57),
                ("8286 84be 5886 a8eb 1064 9cbf", &second, 110),
                ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third, 164),
            ],
        );
    }

    /// RFC 7541 §C.5, §C.6: entries are evicted.
    #[test]
    fn answers_of_the_standard() {
        let rest = "cache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com";
        let (first, second) = (format!(":status: 302\n{rest}"), format!(":status: 307\n{rest}"));
        let third = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
                     location: https://www.example.com\ncontent-encoding: gzip\n\
                     set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        check(
            256,
            &[
                (
                    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 \
                     3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                    &first,
                    222,
                ),
                ("4803 3330 37c1 c0bf", &second, 222),
                (
                    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                     6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                     6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                    third,
                    215,
                ),
            ],
        );
        check(
            256,
            &[
                (
                    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                     29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                    &first,
                    222,
                ),
                ("4883 640e ffc1 c0bf", &second, 222),
                (
                    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                     d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                     3d50 07",
                    third,
                    215,
                ),
            ],
        );
    }

    #[test]
    fn blocks_that_are_no_blocks() {
        use Malformed::*;
        for (block, expected) in [
            // RFC 7541 §6.1: index 0, and one that no table has.
            ("80", Index),
            ("be", Index),
            ("ff 00", Index),
            ("7f 00 00", Index),
            ("0f 80 01 00", Index),
            ("ff ff ff ff ff ff", Length),
            ("ff 80 80 80 80 00", Length),
            // Cut off.
            ("ff", Length),
            ("40", Length),
            ("40 01", Length),
            ("40 01 61", Length),
            ("40 01 61 05 61", Length),
            ("00 7f ff ff ff ff", Length),
            ("04 0c 2f", Length),
            // RFC 7541 §5.2.
            ("04 81 00", Huffman),
            ("04 82 07 ff", Huffman),
            ("04 84 ff ff ff ff", Huffman),
            ("00 81 ff 00", Huffman),
            // RFC 7541 §4.2, §6.3: 4097, a third one, one behind a field line.
            ("3f e2 1f", TableSize),
            ("20 20 20 82", TableSize),
            ("82 20", TableSize),
            ("3f", Length),
        ] {
            assert_eq!(lines(&mut Decoder::new(4096), &bytes(block)), Err(expected), "{block}");
        }
    }

    #[test]
    fn the_table_takes_the_size_that_is_set() {
        let custom = "4001 6101 62";
        check(
            4096,
            &[
                (custom, "a: b", 34),
                (custom, "a: b", 68),
                // To 34, and to 4096: one entry is left.
                ("3f03 3fe1 1f be", "a: b", 34),
                ("20 82", ":method: GET", 0),
                // Nothing fits now; the name of a static entry and a literal one go by.
                (custom, "a: b", 0),
                ("2f 82", ":method: GET", 0),
            ],
        );
    }

    /// RFC 7541 §4.4: the name of an entry that the new entry evicts.
    #[test]
    fn a_name_outlives_its_entry() {
        let block = "4001 6101 62 7e 01 63 7e 02 6364";
        check(35, &[(block, "a: b\na: c\na: cd", 35), ("be", "a: cd", 35)]);
        // The last one is too large, and empties the table.
        check(34, &[(block, "a: b\na: c\na: cd", 0)]);
    }

    /// The buffer of the table moves many times; its size stays what the bound allows.
    #[test]
    fn entries_survive_each_move_of_the_buffer() {
        let mut decoder = Decoder::new(300);
        for number in 0..2000 {
            let name = format!("n{}", number % 7);
            let value = format!("{number}").repeat(number % 9);
            let mut block = vec![0x40, name.len() as u8];
            block.extend_from_slice(name.as_bytes());
            block.push(value.len() as u8);
            block.extend_from_slice(value.as_bytes());
            // Twice by its index, the second time as the name of another value.
            block.extend_from_slice(&[0xbe, 0x7e, 1, b'x', 0xbe]);
            let expected = format!("{name}: {value}\n{name}: {value}\n{name}: x\n{name}: x\n");
            assert_eq!(lines(&mut decoder, &block), Ok(expected), "{number}");
        }
    }
}
