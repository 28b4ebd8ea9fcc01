//! Header compression: blocks are read as a naive decoder reads them, and what the encoder writes is read back.
//!
//! The first byte of an input sets the size of the table; behind it stand blocks, each behind a byte with its length.
//! The same bytes are taken as fields of answers to encode.
//!
//! Invariant: after each block that was read, both decoders have the same table.

use otus_httpd::http::status::Status;
use otus_httpd::http::writer::{AnswerField, FieldWriter};
use otus_httpd::http2::hpack::{Decoder, Encoder, STATIC};
use otus_httpd::http2::huffman;
use std::collections::HashMap;
use std::sync::OnceLock;

type Line = (Vec<u8>, Vec<u8>);

/// Decodes and encodes.
pub fn hpack(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    decode(usize::from(*first) * 16, rest);
    encode(rest);
}

fn decode(table_bytes_max: usize, mut rest: &[u8]) {
    let mut decoder = Decoder::new(table_bytes_max);
    let mut naive = Naive { entries: Vec::new(), table_bytes_max, limit: table_bytes_max };
    while let Some((length, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let mut lines = Vec::new();
        let outcome = decoder.decode(block, |name, value| lines.push((name.to_vec(), value.to_vec())));
        let expected = naive.decode(block);
        assert_eq!(outcome.is_ok(), expected.is_some(), "{}: {outcome:?}", block.escape_ascii());
        let Some(expected) = expected else { return };
        assert_eq!(lines, expected, "{}", block.escape_ascii());
        // Each entry, and none behind the last.
        for at in 0..=naive.entries.len() {
            let mut found = None;
            let index = 0x7f - 62 >= at;
            let block = if index { vec![0x80 | (62 + at) as u8] } else { long_index(62 + at) };
            let outcome = decoder.decode(&block, |name, value| found = Some((name.to_vec(), value.to_vec())));
            assert_eq!(found.as_ref(), naive.entries.get(at));
            assert_eq!(outcome.is_ok(), at < naive.entries.len());
        }
    }
}

/// An indexed field line whose index does not fit into its first byte.
fn long_index(index: usize) -> Vec<u8> {
    let rest = index - 0x7f;
    if rest < 0x80 { vec![0xff, rest as u8] } else { vec![0xff, 0x80 | (rest & 0x7f) as u8, (rest >> 7) as u8] }
}

/// A decoder that copies everything and looks at each bit alone.
struct Naive {
    entries: Vec<Line>,
    table_bytes_max: usize,
    limit: usize,
}

impl Naive {
    fn decode(&mut self, block: &[u8]) -> Option<Vec<Line>> {
        let (mut at, mut lines, mut updates) = (0, Vec::new(), 0);
        while at < block.len() {
            let first = block[at];
            if first >= 0x80 {
                let index = integer(block, &mut at, 0x7f)?;
                lines.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                let size = integer(block, &mut at, 0x1f)?;
                updates += 1;
                if !lines.is_empty() || updates > 2 || size > self.limit {
                    return None;
                }
                self.table_bytes_max = size;
                self.evict();
            } else {
                let inserts = first & 0x40 != 0;
                let index = integer(block, &mut at, if inserts { 0x3f } else { 0x0f })?;
                let name = if index == 0 { string(block, &mut at)? } else { self.entry(index)?.0 };
                let value = string(block, &mut at)?;
                lines.push((name.clone(), value.clone()));
                if inserts {
                    self.entries.insert(0, (name, value));
                    self.evict();
                }
            }
        }
        Some(lines)
    }

    fn entry(&self, index: usize) -> Option<Line> {
        match index {
            0 => None,
            1..=61 => Some((STATIC[index - 1].0.into(), STATIC[index - 1].1.into())),
            _ => self.entries.get(index - 62).cloned(),
        }
    }

    fn evict(&mut self) {
        let size = |entries: &[Line]| entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>();
        while size(&self.entries) > self.table_bytes_max {
            self.entries.pop();
        }
    }
}

fn integer(block: &[u8], at: &mut usize, prefix: u8) -> Option<usize> {
    let mut value = usize::from(*block.get(*at)? & prefix);
    *at += 1;
    if value < usize::from(prefix) {
        return Some(value);
    }
    for place in 0..4 {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte % 128) * 128usize.pow(place);
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

fn string(block: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let is_coded = *block.get(*at)? >= 0x80;
    let length = integer(block, at, 0x7f)?;
    let bytes = block.get(*at..*at + length)?;
    *at += length;
    if is_coded { naive_text(bytes) } else { Some(bytes.to_vec()) }
}

/// The codes of all bytes, as ones and zeros: eight of one come to whole bytes.
fn codes() -> &'static HashMap<String, u8> {
    static CODES: OnceLock<HashMap<String, u8>> = OnceLock::new();
    CODES.get_or_init(|| {
        let code = |byte: u8| {
            let mut coded = Vec::new();
            huffman::encode(&[byte; 8], &mut coded);
            (bits(&coded)[..coded.len()].to_owned(), byte)
        };
        (0..=255).map(code).collect()
    })
}

fn bits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:08b}")).collect()
}

fn naive_text(coded: &[u8]) -> Option<Vec<u8>> {
    let bits = bits(coded);
    let (mut rest, mut text) = (&bits[..], Vec::new());
    let next = |rest: &str| (1..=rest.len().min(30)).find_map(|length| Some((length, *codes().get(&rest[..length])?)));
    while let Some((length, byte)) = next(rest) {
        text.push(byte);
        rest = &rest[length..];
    }
    (rest.len() < 8 && !rest.contains('0')).then_some(text)
}

/// Each two bytes of the input are a step: a field of an answer, the end of a block, or a word of the peer about its table.
fn encode(input: &[u8]) {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    for steps in input.chunks(16) {
        let mut expected = vec![(b":status".to_vec(), b"403".to_vec())];
        let mut block = Vec::new();
        let mut writer = encoder.block(&mut block);
        writer.status(Status::FORBIDDEN);
        let mut table_bytes = None;
        for step in steps.chunks_exact(2) {
            let value = [b'a' + step[1] % 8].repeat(usize::from(step[1] / 2) * (1 + usize::from(step[0] % 5)));
            match usize::from(step[0]) {
                at if at < 8 * AnswerField::ALL.len() => {
                    let name = AnswerField::ALL[at / 8];
                    writer.field(name, &value);
                    expected.push((name.lower().into(), value));
                }
                at if at < 240 => {
                    let name = ["X-A", "Link", "x-b", "Set-Cookie"][at % 4];
                    writer.lines(&[name.as_bytes(), b": ", &value[..], b"\r\n"].concat());
                    expected.push((name.to_ascii_lowercase().into(), value));
                }
                _ => table_bytes = Some(u32::from(step[1]) * 24),
            }
        }
        let mut lines = Vec::new();
        let outcome = decoder.decode(&block, |name, value| lines.push((name.to_vec(), value.to_vec())));
        assert_eq!(outcome, Ok(()), "{}", block.escape_ascii());
        assert_eq!(lines, expected);
        if let Some(bytes) = table_bytes {
            encoder.set_table_bytes_max(bytes);
        }
    }
}
