//! Encodes the heads of answers (RFC 7541 §6).
//!
//! Fields that most answers share are inserted into the table at once; those of one file when they come a second time
//! (a client that asks once for each of many files would else push out what it needs); a part's range never.
//! Where a field line stands in the table is looked up by its hash, and believed only after its bytes are compared.
//!
//! Order: the connection's encoder, the writer of one block, how one field line is written.
//!
//! Invariant: a block goes onto the wire before the next one is begun, for the peer's table follows this one.

use super::table::{Name, Table};
use super::{ENTRY_OVERHEAD_BYTES, STATIC, STATIC_ENTRIES, TABLE_BYTES_DEFAULT, write_integer};
use crate::http::status::Status;
use crate::http::writer::{AnswerField, FieldWriter};
use crate::http2::huffman;

/// What the heads of one connection are encoded with.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// The smallest size that the peer has asked for since the last block.
    smallest_bytes_max: usize,
    /// The last one.
    bytes_max: usize,
    seen: [[Slot; WAYS]; SETS],
    /// The entry that each of the server's own fields was last written by: most are written with the same value again.
    last: [u32; AnswerField::ALL.len()],
}

/// A field line that was written: its hash, and the number of the entry that it became, or would have become.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    entry: u32,
}

impl Slot {
    /// Nothing yet, and as old as can be.
    const FREE: Slot = Slot { tag: 0, entry: 1 << 31 };
}

/// Places for one hash, of which the oldest is taken.
const WAYS: usize = 4;
/// Sets of places; the last third is for field lines of one file, which would else push out the others.
const SETS: usize = 24;
const SETS_SHARED: usize = 16;

/// Whether a field line is worth a place in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recurs {
    /// In most answers.
    Always,
    /// Where the same file is asked for again.
    Perhaps,
    Never,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder for a peer that has not said anything about its table.
    pub fn new() -> Encoder {
        Encoder {
            table: Table::new(TABLE_BYTES_DEFAULT),
            smallest_bytes_max: TABLE_BYTES_DEFAULT,
            bytes_max: TABLE_BYTES_DEFAULT,
            seen: [[Slot::FREE; WAYS]; SETS],
            last: [Slot::FREE.entry; AnswerField::ALL.len()],
        }
    }

    /// Takes what the peer's SETTINGS_HEADER_TABLE_SIZE says; the next block tells it what became of that.
    pub fn set_table_bytes_max(&mut self, bytes_max: u32) {
        // More than the default would cost memory and win nothing: an answer has few field lines.
        self.bytes_max = (bytes_max as usize).min(TABLE_BYTES_DEFAULT);
        self.smallest_bytes_max = self.smallest_bytes_max.min(self.bytes_max);
    }

    /// Begins a block, which is appended to `out`.
    pub fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if self.smallest_bytes_max < self.table.bytes_max() {
            // RFC 7541 §4.2: the smallest size first, for the peer has evicted by it.
            self.table.set_bytes_max(self.smallest_bytes_max);
            write_integer(0x20, 5, self.smallest_bytes_max, out);
        }
        if self.bytes_max != self.table.bytes_max() {
            self.table.set_bytes_max(self.bytes_max);
            write_integer(0x20, 5, self.bytes_max, out);
        }
        self.smallest_bytes_max = self.bytes_max;
        Block { encoder: self, out }
    }

    /// Where a field stands in the table, if it was last written with this value.
    fn again(&self, name: AnswerField, value: &[u8]) -> Option<usize> {
        let index = self.table.inserted().wrapping_sub(self.last[name as usize]).wrapping_sub(1) as usize;
        let is_same = |entry: (&[u8], &[u8])| entry.1 == value && entry.0 == name.lower().as_bytes();
        self.table.get(index).is_some_and(is_same).then_some(index)
    }

    /// Writes a line; gives the entry that it is now, if it is one.
    fn write(&mut self, line: Line<'_>, recurs: Recurs, out: &mut Vec<u8>) -> Option<u32> {
        let size_bytes = line.name.len() + line.value.len() + ENTRY_OVERHEAD_BYTES;
        // What is almost as large as the table would leave nothing else in it.
        if recurs == Recurs::Never || size_bytes > self.table.bytes_max() / 4 * 3 {
            literal(&line, 0x00, 4, false, out);
            return None;
        }
        let hash = line.hash();
        let tag = (hash >> 32) as u32;
        let set = match recurs {
            Recurs::Always => (hash >> 16) as usize % SETS_SHARED,
            _ => SETS_SHARED + (hash >> 16) as usize % (SETS - SETS_SHARED),
        };
        let next = self.table.inserted();
        let set = &mut self.seen[set];
        let slot = match set.iter_mut().position(|slot| slot.tag == tag) {
            Some(at) => {
                let index = next.wrapping_sub(set[at].entry).wrapping_sub(1) as usize;
                if self.table.get(index).is_some_and(|entry| line.is(entry)) {
                    write_integer(0x80, 7, STATIC_ENTRIES + 1 + index, out);
                    return Some(set[at].entry);
                }
                &mut set[at]
            }
            None => {
                let oldest = (0..WAYS).max_by_key(|at| next.wrapping_sub(set[*at].entry)).unwrap_or(0);
                let slot = &mut set[oldest];
                *slot = Slot { tag, entry: next };
                if recurs == Recurs::Perhaps {
                    literal(&line, 0x00, 4, false, out);
                    return None;
                }
                slot
            }
        };
        slot.entry = next;
        literal(&line, 0x40, 6, true, out);
        let start = out.len();
        // The table's names are in lower case, as the peer has them.
        out.extend(line.name.iter().map(u8::to_ascii_lowercase));
        self.table.insert(Name::Text(&out[start..]), line.value);
        out.truncate(start);
        Some(next)
    }
}

/// One block that is being written.
#[derive(Debug)]
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// A field line with any name, in any case; one that HTTP/2 knows no use for is left out (RFC 9113 §8.2.2).
    fn line(&mut self, name: &[u8], value: &[u8]) {
        const OF_CONNECTIONS: [&[u8]; 5] =
            [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
        if OF_CONNECTIONS.iter().any(|one| name.eq_ignore_ascii_case(one)) {
            return;
        }
        self.encoder.write(Line { name_index: None, name, value }, Recurs::Always, self.out);
    }
}

impl FieldWriter for Block<'_> {
    fn status(&mut self, status: Status) {
        // RFC 7541 Appendix A has seven of them whole.
        let index = match status {
            Status::OK => 8,
            Status::NO_CONTENT => 9,
            Status::PARTIAL_CONTENT => 10,
            Status::NOT_MODIFIED => 11,
            Status::BAD_REQUEST => 12,
            Status::NOT_FOUND => 13,
            Status::INTERNAL_SERVER_ERROR => 14,
            _ => {
                let value = &status.line()["HTTP/1.1 ".len()..][..3];
                let line = Line { name_index: Some(STATUS_INDEX), name: b":status", value };
                self.encoder.write(line, Recurs::Always, self.out);
                return;
            }
        };
        self.out.push(0x80 | index);
    }

    fn field(&mut self, name: AnswerField, value: &[u8]) {
        if let Some(index) = self.encoder.again(name, value) {
            return write_integer(0x80, 7, STATIC_ENTRIES + 1 + index, self.out);
        }
        let recurs = match name {
            AnswerField::ContentRange => Recurs::Never,
            AnswerField::ContentLength
            | AnswerField::LastModified
            | AnswerField::EntityTag
            | AnswerField::Expires
            | AnswerField::Location => Recurs::Perhaps,
            _ => Recurs::Always,
        };
        let line = Line { name_index: Some(NAME_INDICES[name as usize]), name: name.lower().as_bytes(), value };
        if let Some(entry) = self.encoder.write(line, recurs, self.out) {
            self.encoder.last[name as usize] = entry;
        }
    }

    fn lines(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = &rest[end + 1..];
            if let Some(colon) = memchr::memchr(b':', line) {
                self.line(&line[..colon], line[colon + 1..].trim_ascii());
            }
        }
    }
}

/// A field line that is to be written.
struct Line<'a> {
    /// Where the static table has the name, 0 if nowhere; None if nobody has looked yet.
    name_index: Option<u8>,
    name: &'a [u8],
    value: &'a [u8],
}

impl Line<'_> {
    fn is(&self, (name, value): (&[u8], &[u8])) -> bool {
        let is_named = if self.name_index.is_some() { self.name == name } else { self.name.eq_ignore_ascii_case(name) };
        is_named && self.value == value
    }

    /// Not proof against somebody who looks for collisions, who would only find less compression.
    fn hash(&self) -> u64 {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(FACTOR);
        // Of up to 32 bytes each counts, which is a date; of more, those at both ends, where values differ.
        let of = |start: u64, bytes: &[u8]| {
            let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if bytes.len() < 8 {
                return bytes.iter().fold(start, |sum, byte| mix(sum, u64::from(*byte)));
            }
            let sum = mix(mix(start, word(bytes.first_chunk())), word(bytes.last_chunk()));
            let inner = bytes.get(8..bytes.len() - 8).unwrap_or_default();
            mix(mix(sum, word(inner.first_chunk())), word(inner.last_chunk()))
        };
        let start = match self.name_index {
            Some(index) if index > 0 => mix(1, u64::from(index)),
            _ => of(2, self.name),
        };
        let sum = of(start ^ self.value.len() as u64, self.value);
        sum ^ sum >> 32
    }
}

/// Appends a line as a literal (RFC 7541 §6.2). What goes into the tables goes over the wire once, and is worth the
/// shorter code; what goes each time is worth no time.
fn literal(line: &Line<'_>, pattern: u8, prefix_bits: u32, is_coded: bool, out: &mut Vec<u8>) {
    let name_index = line.name_index.map_or_else(|| static_index(line.name), usize::from);
    write_integer(pattern, prefix_bits, name_index, out);
    if name_index == 0 {
        write_integer(0x00, 7, line.name.len(), out);
        out.extend(line.name.iter().map(u8::to_ascii_lowercase));
    }
    let coded_bytes = if is_coded { huffman::coded_bytes(line.value) } else { usize::MAX };
    if coded_bytes < line.value.len() {
        write_integer(0x80, 7, coded_bytes, out);
        huffman::encode(line.value, out);
    } else {
        write_integer(0x00, 7, line.value.len(), out);
        out.extend_from_slice(line.value);
    }
}

/// Where the static table has a name first, 0 if nowhere.
const fn static_index(name: &[u8]) -> usize {
    let mut at = 0;
    while at < STATIC_ENTRIES {
        let one = STATIC[at].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() && byte < one.len() && one[byte] == name[byte].to_ascii_lowercase() {
            byte += 1;
        }
        if byte == name.len() && byte == one.len() {
            return at + 1;
        }
        at += 1;
    }
    0
}

const STATUS_INDEX: u8 = static_index(b":status") as u8;

/// Where the static table has the names of the server's own fields.
static NAME_INDICES: [u8; AnswerField::ALL.len()] = {
    let mut indices = [0; AnswerField::ALL.len()];
    let mut at = 0;
    while at < indices.len() {
        indices[at] = static_index(AnswerField::ALL[at].lower().as_bytes()) as u8;
        at += 1;
    }
    indices
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::Decoder;

    /// Encodes answers with one encoder, and decodes each with one decoder, which says the same.
    struct Pair {
        encoder: Encoder,
        decoder: Decoder,
    }

    impl Pair {
        fn new() -> Pair {
            Pair { encoder: Encoder::new(), decoder: Decoder::new(TABLE_BYTES_DEFAULT) }
        }

        /// Bytes of the block.
        fn check(
            &mut self,
            status: Status,
            fields: &[(AnswerField, &str)],
            lines: &str,
            expected_lines: &str,
        ) -> usize {
            let mut block = Vec::new();
            let mut writer = self.encoder.block(&mut block);
            writer.status(status);
            let mut expected = format!(":status: {}\n", status.code());
            for (name, value) in fields {
                writer.field(*name, value.as_bytes());
                expected += &format!("{}: {value}\n", name.lower());
            }
            writer.lines(lines.as_bytes());
            expected += expected_lines;
            let mut decoded = String::new();
            let outcome = self.decoder.decode(&block, |name, value| {
                decoded += &format!("{}: {}\n", name.escape_ascii(), String::from_utf8_lossy(value));
            });
            assert_eq!(outcome, Ok(()));
            assert_eq!(decoded, expected);
            block.len()
        }
    }

    const SHARED: [(AnswerField, &str); 3] = [
        (AnswerField::Server, "otus-httpd"),
        (AnswerField::ContentType, "text/html; charset=utf-8"),
        (AnswerField::AllowCredentials, "true"),
    ];

    #[test]
    fn what_recurs_is_one_byte() {
        let mut pair = Pair::new();
        let lines = "X-Frame-Options: DENY\r\nLink:  </a>; rel=preload \r\n";
        let expected = "x-frame-options: DENY\nlink: </a>; rel=preload\n";
        let first = pair.check(Status::OK, &SHARED, lines, expected);
        assert!(first > 60, "{first}");
        assert_eq!(pair.check(Status::OK, &SHARED, lines, expected), 6);
        assert_eq!(pair.check(Status::FORBIDDEN, &SHARED, "", ""), 8);
        assert_eq!(pair.check(Status::FORBIDDEN, &SHARED, "", ""), 4);
    }

    #[test]
    fn what_may_recur_is_remembered_the_second_time() {
        let mut pair = Pair::new();
        let file = [(AnswerField::ContentLength, "1234"), (AnswerField::EntityTag, "\"5f2-64\"")];
        let literal = pair.check(Status::OK, &file, "", "");
        assert_eq!(pair.encoder.table.inserted(), 0);
        assert!(pair.check(Status::OK, &file, "", "") <= literal);
        assert_eq!(pair.check(Status::OK, &file, "", ""), 3);
        let range = [(AnswerField::ContentRange, "bytes 0-1/2")];
        let part = pair.check(Status::PARTIAL_CONTENT, &range, "", "");
        assert_eq!(pair.check(Status::PARTIAL_CONTENT, &range, "", ""), part);
    }

    #[test]
    fn fields_of_a_connection_are_left_out() {
        let lines = "Connection: x\r\nKeep-Alive: 5\r\nX-A: b\r\nUpgrade: h2\r\nTransfer-Encoding: chunked\r\n";
        Pair::new().check(Status::OK, &[], lines, "x-a: b\n");
    }

    /// RFC 7541 §4.2.
    #[test]
    fn the_peer_sets_the_size_of_the_table() {
        let mut pair = Pair::new();
        let first = pair.check(Status::OK, &SHARED, "", "");
        pair.encoder.set_table_bytes_max(0);
        pair.check(Status::OK, &SHARED, "", "");
        assert_eq!(pair.encoder.table.size_bytes(), 0);
        // Down and up between two blocks: both are said.
        pair.encoder.set_table_bytes_max(4096);
        assert_eq!(pair.check(Status::OK, &SHARED, "", ""), first + 3);
        pair.encoder.set_table_bytes_max(10);
        pair.encoder.set_table_bytes_max(1_000_000);
        assert_eq!(pair.check(Status::OK, &SHARED, "", ""), first + 4);
        assert_eq!(pair.check(Status::OK, &SHARED, "", ""), 4);
        // No more than the default is taken.
        assert_eq!(pair.encoder.table.bytes_max(), TABLE_BYTES_DEFAULT);
    }

    /// Many files, dates and lines through a small table and the default one.
    #[test]
    fn the_tables_stay_the_same_on_both_sides() {
        for bytes_max in [0, 31, 100, 300, 4096] {
            let mut pair = Pair::new();
            pair.encoder.set_table_bytes_max(bytes_max);
            for number in 0..3000u32 {
                let step = number.wrapping_mul(2_654_435_761) >> 16;
                let (length, tag) = (format!("{}", step % 50), format!("\"{}\"", step % 70));
                let (date, kind) = (format!("second {}", number / 20), format!("text/{}", step % 5));
                let fields = [
                    (AnswerField::Server, "otus-httpd"),
                    (AnswerField::Date, &date[..]),
                    (AnswerField::ContentType, &kind[..]),
                    (AnswerField::ContentLength, &length[..]),
                    (AnswerField::EntityTag, &tag[..]),
                ];
                let long = "v".repeat((step % 11) as usize * 30);
                pair.check(Status::OK, &fields, &format!("X-Long: {long}\r\n"), &format!("x-long: {long}\n"));
            }
        }
    }
}
