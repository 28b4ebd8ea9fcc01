//! The header of the PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): who
//! connected to the proxy that connects to us.
//!
//! Order: the signature tells the version · version 1 is one line of text, judged when its end is
//! there · version 2 says its length in a fixed part, judged byte by byte, and then has the
//! addresses. A connection of a trusted proxy must begin with a header, so there is no verdict
//! "none": bytes that are none are refused, an ordinary request at its first byte.
//!
//! Invariant: the verdict on a buffer, unless it is Partial, is that on each longer one.

use super::grammar::digits;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// What a buffer holds so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// Not yet a whole header: read on.
    Partial,
    /// A whole header.
    Complete {
        /// What it says.
        header: ProxyHeader,
        /// Bytes of the header in the buffer, from its start.
        len: usize,
    },
}

/// What a header says about the connection behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Nothing that counts: the proxy speaks for itself, or of a protocol unknown to it or to us.
    /// The addresses of the connection are the true ones.
    Local,
    /// Relayed from `source`, which connected to `destination`.
    Proxied {
        /// The client, as the proxy saw it.
        source: SocketAddr,
        /// The address of the proxy that the client connected to.
        destination: SocketAddr,
    },
    /// Relayed from a socket of the file system, which has no address that could be logged.
    Unix,
}

/// Why bytes are refused as a header. The connection must close (proxy-protocol.txt, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxyHeader {
    /// Neither version begins like this.
    #[error("no PROXY header")]
    Signature,
    /// Version 1: neither TCP4, TCP6 nor UNKNOWN.
    #[error("unknown protocol in a PROXY header")]
    Protocol,
    /// Version 1: no end within the bytes that the longest line has.
    #[error("PROXY header line too long")]
    LineTooLong,
    /// Version 1: a CR or a LF alone.
    #[error("PROXY header line that does not end in CR LF")]
    LineEnd,
    /// Version 1: not two addresses and two ports with one space between them.
    #[error("PROXY header line without its four parts")]
    LineParts,
    /// Version 1: not an address of the family that was announced.
    #[error("malformed address in a PROXY header")]
    Address,
    /// Version 1: not a number up to 65535, or one with zeros before it.
    #[error("malformed port in a PROXY header")]
    Port,
    /// Version 2 by its signature, and yet another version.
    #[error("PROXY header of an unknown version")]
    Version,
    /// Version 2: neither LOCAL nor PROXY.
    #[error("unknown command in a PROXY header")]
    Command,
    /// Version 2: an address family or a transport that is not assigned.
    #[error("unknown address family or transport in a PROXY header")]
    Family,
    /// Version 2: shorter than the addresses of its family.
    #[error("PROXY header too short for its addresses")]
    TooShort,
    /// Version 2: longer than [`BYTES_MAX`].
    #[error("PROXY header too long")]
    TooLong,
}

/// The longest header that is accepted: a buffer of so many bytes never holds a Partial one.
pub const BYTES_MAX: usize = V2_FIXED_BYTES + V2_LENGTH_MAX;

/// The longest line of version 1, with its end (proxy-protocol.txt, section 2.1).
const V1_BYTES_MAX: usize = 107;

/// Signature, version and command, family and transport, length.
const V2_FIXED_BYTES: usize = 16;

/// Addresses and extensions of version 2. The largest addresses have 216 bytes; the extensions of
/// a TLS proxy are a few names and a certificate's subject.
const V2_LENGTH_MAX: usize = 2048;

const _: () = assert!(V1_BYTES_MAX <= BYTES_MAX);

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header at the start of `buffer`. What stands behind it is not looked at.
pub fn parse(buffer: &[u8]) -> Result<Parse, BadProxyHeader> {
    for (signature, parse_version) in [(V1_SIGNATURE, parse_v1 as ParseVersion), (V2_SIGNATURE, parse_v2)] {
        if buffer.starts_with(signature) {
            return parse_version(buffer);
        }
        if signature.starts_with(buffer) {
            return Ok(Parse::Partial);
        }
    }
    Err(BadProxyHeader::Signature)
}

type ParseVersion = fn(&[u8]) -> Result<Parse, BadProxyHeader>;

/// Section 2.1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and CR LF.
fn parse_v1(buffer: &[u8]) -> Result<Parse, BadProxyHeader> {
    let rest = &buffer[V1_SIGNATURE.len()..];
    let protocols: [&[u8]; 4] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN ", b"UNKNOWN\r"];
    if !protocols.iter().any(|protocol| rest.starts_with(protocol) || protocol.starts_with(rest)) {
        return Err(BadProxyHeader::Protocol);
    }
    // The CR has at least one byte behind it, so the last of the longest line is not for it.
    let may_hold_cr = &buffer[..buffer.len().min(V1_BYTES_MAX - 1)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', may_hold_cr) else {
        return if may_hold_cr.len() < V1_BYTES_MAX - 1 {
            Ok(Parse::Partial)
        } else {
            Err(BadProxyHeader::LineTooLong)
        };
    };
    match buffer[end..] {
        [b'\r'] => return Ok(Parse::Partial),
        [b'\r', b'\n', ..] => {}
        _ => return Err(BadProxyHeader::LineEnd),
    }
    let line = &buffer[V1_SIGNATURE.len()..end];
    let header = if let Some(parts) = line.strip_prefix(b"TCP4 ") {
        proxied_v1::<Ipv4Addr>(parts)?
    } else if let Some(parts) = line.strip_prefix(b"TCP6 ") {
        proxied_v1::<Ipv6Addr>(parts)?
    } else {
        // UNKNOWN, by the check above: the rest of the line must be ignored.
        ProxyHeader::Local
    };
    Ok(Parse::Complete { header, len: end + 2 })
}

fn proxied_v1<A: FromStr + Into<IpAddr>>(parts: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
    let mut parts = parts.split(|b| *b == b' ');
    let mut next = || parts.next();
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (next(), next(), next(), next(), next())
    else {
        return Err(BadProxyHeader::LineParts);
    };
    Ok(ProxyHeader::Proxied {
        source: SocketAddr::new(address::<A>(source)?, port(source_port)?),
        destination: SocketAddr::new(address::<A>(destination)?, port(destination_port)?),
    })
}

fn address<A: FromStr + Into<IpAddr>>(text: &[u8]) -> Result<IpAddr, BadProxyHeader> {
    let text = core::str::from_utf8(text).map_err(|_| BadProxyHeader::Address)?;
    text.parse::<A>().map(Into::into).map_err(|_| BadProxyHeader::Address)
}

fn port(text: &[u8]) -> Result<u16, BadProxyHeader> {
    // Section 2.1: heading zeros are not permitted; a reader might take them for octal.
    let heading_zero = text.len() > 1 && text[0] == b'0';
    let number = digits(text).ok().filter(|_| !heading_zero).ok_or(BadProxyHeader::Port)?;
    u16::try_from(number).map_err(|_| BadProxyHeader::Port)
}

/// Section 2.2: signature, version and command, family and transport, length, addresses, and
/// extensions, which are skipped.
fn parse_v2(buffer: &[u8]) -> Result<Parse, BadProxyHeader> {
    let Some(version_and_command) = buffer.get(12) else { return Ok(Parse::Partial) };
    if version_and_command >> 4 != 2 {
        return Err(BadProxyHeader::Version);
    }
    let is_local = match version_and_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(BadProxyHeader::Command),
    };
    let Some(family_and_transport) = buffer.get(13) else { return Ok(Parse::Partial) };
    // Section 2.2: of LOCAL even the family is ignored.
    let addresses = if is_local { Addresses::Ignored } else { Addresses::announced_by(*family_and_transport)? };
    let Some(length) = buffer.get(14..V2_FIXED_BYTES) else { return Ok(Parse::Partial) };
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    if length < addresses.bytes() {
        return Err(BadProxyHeader::TooShort);
    }
    if length > V2_LENGTH_MAX {
        return Err(BadProxyHeader::TooLong);
    }
    let len = V2_FIXED_BYTES + length;
    let Some(block) = buffer.get(V2_FIXED_BYTES..len) else { return Ok(Parse::Partial) };
    let header = match addresses {
        Addresses::Ignored => Some(ProxyHeader::Local),
        Addresses::Inet => proxied_v2::<4>(block),
        Addresses::Inet6 => proxied_v2::<16>(block),
        Addresses::Unix => Some(ProxyHeader::Unix),
    };
    Ok(Parse::Complete { header: header.expect("the length was found enough for the addresses"), len })
}

/// What the address block of version 2 begins with.
enum Addresses {
    Ignored,
    Inet,
    Inet6,
    Unix,
}

impl Addresses {
    fn announced_by(family_and_transport: u8) -> Result<Addresses, BadProxyHeader> {
        match (family_and_transport >> 4, family_and_transport & 0xf) {
            (1, 1) => Ok(Addresses::Inet),
            (2, 1) => Ok(Addresses::Inet6),
            (3, 1) => Ok(Addresses::Unix),
            // Unspecified, or datagrams, which no client of a stream sends. Section 2.2: what is
            // assigned but not supported is treated as unspecified, which is no reason to refuse.
            (0..=3, 0..=2) => Ok(Addresses::Ignored),
            _ => Err(BadProxyHeader::Family),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Addresses::Ignored => 0,
            Addresses::Inet => 2 * (4 + 2),
            Addresses::Inet6 => 2 * (16 + 2),
            Addresses::Unix => 2 * 108,
        }
    }
}

/// Two addresses of `N` bytes, then their ports.
fn proxied_v2<const N: usize>(block: &[u8]) -> Option<ProxyHeader>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _extensions) = rest.split_first_chunk()?;
    Some(ProxyHeader::Proxied {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(source: &str, destination: &str) -> ProxyHeader {
        let address = |text: &str| text.parse().expect("each row has addresses");
        ProxyHeader::Proxied { source: address(source), destination: address(destination) }
    }

    /// A header of version 2 with `block`, whose length is `length`.
    fn v2(version_and_command: u8, family_and_transport: u8, length: u16, block: &[u8]) -> Vec<u8> {
        let fixed = [V2_SIGNATURE, &[version_and_command, family_and_transport], &length.to_be_bytes()];
        [&fixed.concat()[..], block].concat()
    }

    fn check(bytes: &[u8], expected: Result<ProxyHeader, BadProxyHeader>) {
        let expected = expected.map(|header| Parse::Complete { header, len: bytes.len() });
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn lines_of_version_1() {
        use BadProxyHeader::*;
        let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {v6} {v6} 65535 65535");
        assert_eq!(longest.len() + 2, V1_BYTES_MAX);
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443", Ok(proxied("192.0.2.1:56324", "192.0.2.2:443"))),
            ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0", Ok(proxied("255.255.255.255:65535", "0.0.0.0:0"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 2", Ok(proxied("[2001:db8::1]:1", "[::1]:2"))),
            ("PROXY TCP6 2001:DB8:0:0:0:0:0:1 :: 1 2", Ok(proxied("[2001:db8::1]:1", "[::]:2"))),
            ("PROXY UNKNOWN", Ok(ProxyHeader::Local)),
            ("PROXY UNKNOWN ", Ok(ProxyHeader::Local)),
            ("PROXY UNKNOWN what is here is ignored", Ok(ProxyHeader::Local)),
            (&longest, Ok(ProxyHeader::Local)),
            (&format!("{longest}x"), Err(LineTooLong)),
            // Protocols
            ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2", Err(Protocol)),
            ("PROXY tcp4 192.0.2.1 192.0.2.2 1 2", Err(Protocol)),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2", Err(Protocol)),
            ("PROXY TCP4", Err(Protocol)),
            ("PROXY UNKNOWNS", Err(Protocol)),
            ("PROXY ", Err(Protocol)),
            ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2", Err(Protocol)),
            // Parts
            ("PROXY TCP4 ", Err(LineParts)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1", Err(LineParts)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3", Err(LineParts)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ", Err(LineParts)),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2", Err(LineParts)),
            ("PROXY TCP4 192.0.2.1\t192.0.2.2 1 2", Err(LineParts)),
            // Addresses
            ("PROXY TCP4 ::1 192.0.2.2 1 2", Err(Address)),
            ("PROXY TCP6 ::1 192.0.2.2 1 2", Err(Address)),
            ("PROXY TCP4 192.0.2.256 192.0.2.2 1 2", Err(Address)),
            ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2", Err(Address)),
            ("PROXY TCP4 192.0.2 192.0.2.2 1 2", Err(Address)),
            ("PROXY TCP6 [::1] ::1 1 2", Err(Address)),
            ("PROXY TCP6 fe80::1%eth0 ::1 1 2", Err(Address)),
            ("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2", Err(Address)),
            ("PROXY TCP4 1.2.3.\u{664} 192.0.2.2 1 2", Err(Address)),
            // Ports
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 02", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 00 2", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 -2", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 x", Err(Port)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 99999999999999999999999 2", Err(Port)),
            // Line ends
            ("PROXY UNKNOWN\nGET / HTTP/1.1", Err(Protocol)),
            ("PROXY UNKNOWN x\nGET / HTTP/1.1", Err(LineEnd)),
            ("PROXY UNKNOWN\rx", Err(LineEnd)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Err(LineEnd)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r", Err(LineEnd)),
        ] {
            check(format!("{line}\r\n").as_bytes(), expected);
        }
    }

    #[test]
    fn headers_of_version_2() {
        use BadProxyHeader::*;
        let inet = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];
        let mut inet6 = [0; 36];
        (inet6[0], inet6[15], inet6[31], inet6[33], inet6[35]) = (0xfe, 9, 1, 80, 90);
        let extended = [&inet[..], &[4, 0, 3, 1, 2, 3]].concat();
        let (of_inet, of_inet6) = (proxied("192.0.2.1:56324", "192.0.2.2:443"), proxied("[fe00::9]:80", "[::1]:90"));
        for (bytes, expected) in [
            (v2(0x21, 0x11, 12, &inet), Ok(of_inet)),
            (v2(0x21, 0x21, 36, &inet6), Ok(of_inet6)),
            (v2(0x21, 0x31, 216, &[b'/'; 216]), Ok(ProxyHeader::Unix)),
            // Extensions are skipped, even such as do not parse
            (v2(0x21, 0x11, 18, &extended), Ok(of_inet)),
            (v2(0x21, 0x11, 13, &[&inet[..], &[4]].concat()), Ok(of_inet)),
            (v2(0x21, 0x11, 2048, &[&inet[..], &[0xff; 2036]].concat()), Ok(of_inet)),
            // LOCAL, whatever its family and its block
            (v2(0x20, 0x00, 0, &[]), Ok(ProxyHeader::Local)),
            (v2(0x20, 0x11, 12, &inet), Ok(ProxyHeader::Local)),
            (v2(0x20, 0xff, 3, &[1, 2, 3]), Ok(ProxyHeader::Local)),
            // Unspecified, and what is treated so: datagrams, a family or a transport alone
            (v2(0x21, 0x00, 0, &[]), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x00, 5, &[1; 5]), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x12, 12, &inet), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x22, 36, &inet6), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x32, 216, &[0; 216]), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x10, 12, &inet), Ok(ProxyHeader::Local)),
            (v2(0x21, 0x01, 0, &[]), Ok(ProxyHeader::Local)),
            // Refused, before the block is there
            (v2(0x11, 0x11, 12, &inet), Err(Version)),
            (v2(0x31, 0x11, 12, &inet), Err(Version)),
            (v2(0x22, 0x11, 12, &inet), Err(Command)),
            (v2(0x2f, 0x11, 12, &inet), Err(Command)),
            (v2(0x21, 0x41, 12, &inet), Err(Family)),
            (v2(0x21, 0x13, 12, &inet), Err(Family)),
            (v2(0x21, 0x11, 11, &[]), Err(TooShort)),
            (v2(0x21, 0x21, 35, &[]), Err(TooShort)),
            (v2(0x21, 0x31, 215, &[]), Err(TooShort)),
            (v2(0x21, 0x11, 2049, &[]), Err(TooLong)),
            (v2(0x20, 0x00, 65535, &[]), Err(TooLong)),
        ] {
            check(&bytes, expected);
            if expected.is_err() {
                check(&bytes[..V2_FIXED_BYTES], expected);
            }
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_first_byte_that_tells() {
        for bytes in [&b"G"[..], b"\n", b" ", b"\x16", b"PRI", b"PROXY\r", b"\r\nG", b"\r\n\r\n\r"] {
            check(bytes, Err(BadProxyHeader::Signature));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(Parse::Partial), "{}", bytes.escape_ascii());
        }
    }

    fn generator() -> impl FnMut(u64) -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        }
    }

    /// A header made from its value, of either version.
    fn any_header(mut random: impl FnMut(u64) -> u64) -> (Vec<u8>, ProxyHeader) {
        let is_v6 = random(2) == 1;
        let mut socket_address = || {
            let mut octets = [0_u8; 16];
            octets.iter_mut().for_each(|octet| *octet = if random(3) == 0 { 0 } else { random(256) as u8 });
            let four = *octets.first_chunk::<4>().expect("there are 16");
            let address = if is_v6 { IpAddr::from(octets) } else { IpAddr::from(four) };
            SocketAddr::new(address, random(65536) as u16)
        };
        let (source, destination) = (socket_address(), socket_address());
        let header = ProxyHeader::Proxied { source, destination };
        if random(2) == 0 {
            let family = if is_v6 { 6 } else { 4 };
            let (from, to) = (source.ip(), destination.ip());
            let line = format!("PROXY TCP{family} {from} {to} {} {}\r\n", source.port(), destination.port());
            return (line.into_bytes(), header);
        }
        let mut block = Vec::new();
        for address in [source.ip(), destination.ip()] {
            match address {
                IpAddr::V4(address) => block.extend(address.octets()),
                IpAddr::V6(address) => block.extend(address.octets()),
            }
        }
        block.extend(source.port().to_be_bytes());
        block.extend(destination.port().to_be_bytes());
        block.extend((0..random(40)).map(|_| random(256) as u8).collect::<Vec<_>>());
        (v2(0x21, if is_v6 { 0x21 } else { 0x11 }, block.len() as u16, &block), header)
    }

    #[test]
    fn a_header_is_partial_until_it_is_whole() {
        let mut random = generator();
        for _ in 0..2_000 {
            let (mut bytes, header) = any_header(&mut random);
            let len = bytes.len();
            for cut in 0..len {
                assert_eq!(parse(&bytes[..cut]), Ok(Parse::Partial), "{cut} of {}", bytes.escape_ascii());
            }
            for _ in 0..4 {
                assert_eq!(parse(&bytes), Ok(Parse::Complete { header, len }), "{}", bytes.escape_ascii());
                bytes.push(random(256) as u8);
            }
        }
    }

    /// Bytes that arrive later never change a verdict, and there is one in the end.
    #[test]
    fn a_verdict_is_final() {
        let mut random = generator();
        for _ in 0..5_000 {
            let (mut bytes, _) = any_header(&mut random);
            let at = random(bytes.len() as u64) as usize;
            bytes[at] = b"\0\r\n !09:A\xff"[random(10) as usize];
            bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
            let verdicts = (0..=bytes.len()).map(|len| parse(&bytes[..len]));
            let mut later = verdicts.skip_while(|verdict| *verdict == Ok(Parse::Partial));
            let Some(first) = later.next() else { continue };
            assert!(later.all(|verdict| verdict == first), "{}", bytes.escape_ascii());
            bytes.resize(BYTES_MAX, b' ');
            assert_eq!(parse(&bytes), first);
        }
    }
}
