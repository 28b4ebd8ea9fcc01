//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: codes of one length follow one another in the order of their symbols, and shorter codes
//! stand before longer ones. So the lengths alone say everything, and the compiler makes the tables of both
//! directions from them. Decoding looks ten bits up at once, which settles every printable character but eight.
//!
//! Order: encode, decode, the tables.
//!
//! Invariant: decoding appends at most eight bytes for five that came, the length of the shortest code.

/// Bytes that are no Huffman code of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHuffman;

/// Bytes that the code of `text` has.
pub fn coded_bytes(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text`, padded by the most significant bits of the end-of-string symbol.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0u64;
    let mut count = 0;
    for byte in text {
        let symbol = usize::from(*byte);
        let length = u32::from(LENGTHS[symbol]);
        bits = bits << length | u64::from(TABLES.codes[symbol]);
        count += length;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    let padding = (8 - count % 8) % 8;
    bits = bits << padding | ((1 << padding) - 1);
    count += padding;
    while count > 0 {
        count -= 8;
        out.push((bits >> count) as u8);
    }
}

/// Appends the text whose code `coded` is.
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), NotHuffman> {
    out.reserve(coded.len() * 8 / SHORTEST_BITS);
    // The bits that are not yet decoded stand at the left of `bits`, and zeros behind them.
    let mut bits = 0u64;
    let mut count = 0u32;
    let mut rest = coded;
    loop {
        if count <= 32 {
            if let Some((next, behind)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*next)) << (32 - count);
                count += 32;
                rest = behind;
            } else {
                while let (true, Some((next, behind))) = (count <= 56, rest.split_first()) {
                    bits |= u64::from(*next) << (56 - count);
                    count += 8;
                    rest = behind;
                }
            }
        }
        let (symbol, length) = symbol_at(bits);
        if length > count {
            // What is left is no whole code. RFC 7541 §5.2: padding is shorter than a byte, and all ones.
            let is_padding = count < 8 && bits == !(u64::MAX >> count);
            return if is_padding { Ok(()) } else { Err(NotHuffman) };
        }
        // RFC 7541 §5.2: the end of the string is never written out.
        let byte = u8::try_from(symbol).map_err(|_| NotHuffman)?;
        out.push(byte);
        bits <<= length;
        count -= length;
    }
}

/// The symbol whose code stands at the left of `bits`, and how many bits that is.
#[inline]
fn symbol_at(bits: u64) -> (u16, u32) {
    let near = TABLES.near[(bits >> (u64::BITS - NEAR_BITS)) as usize];
    if near != 0 {
        return (near >> 8, u32::from(near & 0xff));
    }
    let code = (bits >> 32) as u32;
    let mut length = NEAR_BITS + 1;
    while length < LONGEST_BITS && u64::from(code) >= TABLES.ends[length as usize] {
        length += 1;
    }
    let rank = TABLES.ranks[length as usize] + (code >> (32 - length)) - TABLES.firsts[length as usize];
    (TABLES.symbols[rank as usize], length)
}

/// Bits that are looked up at once.
const NEAR_BITS: u32 = 10;
const SHORTEST_BITS: usize = 5;
const LONGEST_BITS: u32 = 30;
const SYMBOLS: usize = 257;

struct Tables {
    /// By symbol, right-aligned.
    codes: [u32; SYMBOLS],
    /// By the next bits: the symbol, and the length of its code in the low byte; 0 where the code is longer.
    near: [u16; 1 << NEAR_BITS],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// By length: the first code, where its symbol stands in `symbols`, and the end of the codes, left-aligned in 32 bits.
    firsts: [u32; LONGEST_BITS as usize + 1],
    ranks: [u32; LONGEST_BITS as usize + 1],
    ends: [u64; LONGEST_BITS as usize + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut made = Tables {
        codes: [0; SYMBOLS],
        near: [0; 1 << NEAR_BITS],
        symbols: [0; SYMBOLS],
        firsts: [0; LONGEST_BITS as usize + 1],
        ranks: [0; LONGEST_BITS as usize + 1],
        ends: [0; LONGEST_BITS as usize + 1],
    };
    let mut code = 0u32;
    let mut rank = 0;
    let mut length = SHORTEST_BITS as u32;
    while length <= LONGEST_BITS {
        made.firsts[length as usize] = code;
        made.ranks[length as usize] = rank as u32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as u32 == length {
                made.codes[symbol] = code;
                made.symbols[rank] = symbol as u16;
                if length <= NEAR_BITS {
                    let mut at = (code << (NEAR_BITS - length)) as usize;
                    let end = ((code + 1) << (NEAR_BITS - length)) as usize;
                    while at < end {
                        made.near[at] = (symbol as u16) << 8 | length as u16;
                        at += 1;
                    }
                }
                code += 1;
                rank += 1;
            }
            symbol += 1;
        }
        made.ends[length as usize] = (code as u64) << (32 - length);
        code <<= 1;
        length += 1;
    }
    // The code is complete: behind the last one of the longest there is no bit pattern left.
    assert!(made.ends[LONGEST_BITS as usize] == 1 << 32);
    made
}

/// Bits of the code of each byte, and of the end of the string.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), coded_bytes(text), "{}", text.escape_ascii());
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, NotHuffman> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// Codes of RFC 7541 Appendix B: of each length one.
    #[test]
    fn codes_are_those_of_the_standard() {
        for (symbol, code) in [
            (b'0', 0x0),
            (b't', 0x9),
            (b' ', 0x14),
            (b':', 0x5c),
            (b'Z', 0xfd),
            (b'!', 0x3f8),
            (b'+', 0x7fb),
            (b'#', 0xffa),
            (b'$', 0x1ff9),
            (b'^', 0x3ffc),
            (b'<', 0x7ffc),
            (b'\\', 0x7fff0),
            (128, 0xfffe6),
            (153, 0x1fffdc),
            (129, 0x3fffd2),
            (1, 0x7fffd8),
            (9, 0xffffea),
            (199, 0x1ffffec),
            (192, 0x3ffffe0),
            (203, 0x7ffffde),
            (249, 0xffffffe),
            (22, 0x3ffffffe),
        ] {
            assert_eq!(TABLES.codes[usize::from(symbol)], code, "{symbol}");
        }
    }

    #[test]
    fn every_text_of_two_bytes_comes_back() {
        for pair in 0..=u16::MAX {
            let text = pair.to_be_bytes();
            assert_eq!(decoded(&encoded(&text)).as_deref(), Ok(&text[..]), "{pair}");
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encoded(&all)), Ok(all));
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        for (coded, expected) in [
            (&[][..], Ok(&b""[..])),
            // "0" is 00000.
            (&[0x07], Ok(b"0")),
            (&[0x06], Err(NotHuffman)),
            (&[0x00], Err(NotHuffman)),
            // Eight bits of padding, and more.
            (&[0x07, 0xff], Err(NotHuffman)),
            (&[0xff], Err(NotHuffman)),
            (&[0xff, 0xff, 0xff], Err(NotHuffman)),
            // The end of the string, written out.
            (&[0xff, 0xff, 0xff, 0xff], Err(NotHuffman)),
            (&[0xff, 0xff, 0xff, 0xfc], Err(NotHuffman)),
            (&[0x07, 0xff, 0xff, 0xff, 0xff], Err(NotHuffman)),
            // A long code that is cut off.
            (&[0xff, 0xff, 0xea], Ok(b"\t")),
            (&[0xff, 0xff], Err(NotHuffman)),
        ] {
            assert_eq!(decoded(coded).as_deref(), expected.as_ref().copied(), "{coded:02x?}");
        }
    }
}
