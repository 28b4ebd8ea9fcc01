//! The header that a proxy puts before a connection: the verdict is the same however it comes in
//! pieces, and a header of version 1 says what a naive reading of its line says.
//!
//! Invariant: a verdict, once given, is that on every longer buffer; and one is given soon.

use super::cuts;
use otus_httpd::http::proxy_header::{BYTES_MAX, Parse, ProxyHeader, parse};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Parses `buffer` as a whole and cut.
pub fn proxy_header(buffer: &[u8]) {
    let whole = parse(buffer);
    for cut in cuts(buffer) {
        match parse(&buffer[..cut]) {
            Ok(Parse::Partial) => match whole {
                Ok(Parse::Complete { len, .. }) => assert!(cut < len, "partial at {cut}"),
                // Who never comes to an end would be waited for until its time is up.
                _ => assert!(cut < BYTES_MAX, "partial at {cut}"),
            },
            verdict => assert_eq!(verdict, whole, "another verdict at {cut}"),
        }
    }
    if let Ok(Parse::Complete { header, len }) = whole {
        assert!(len <= buffer.len() && len <= BYTES_MAX);
        let bytes = &buffer[..len];
        match bytes.strip_prefix(b"PROXY ") {
            Some(line) => check_v1(line, header),
            None => check_v2(bytes, header),
        }
        // What stands behind a header is no part of it.
        assert_eq!(parse(&[bytes, b"\r\nPROXY \0"].concat()), whole);
    }
}

fn check_v1(line: &[u8], header: ProxyHeader) {
    assert!(line.len() <= 107 - "PROXY ".len());
    let line = line.strip_suffix(b"\r\n").expect("a whole line has its end");
    assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n')));
    if line.starts_with(b"UNKNOWN") {
        return assert_eq!(header, ProxyHeader::Local);
    }
    let ProxyHeader::Proxied { source, destination } = header else { panic!("{header:?}") };
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    let words: Vec<&str> = std::str::from_utf8(line).expect("addresses and ports are ASCII").split(' ').collect();
    let [protocol, source_ip, destination_ip, source_port, destination_port] = words[..] else { panic!("{words:?}") };
    assert_eq!(protocol, if source.is_ipv4() { "TCP4" } else { "TCP6" });
    for (address, ip, port) in [(source, source_ip, source_port), (destination, destination_ip, destination_port)] {
        assert_eq!(Ok(address.ip()), ip.parse::<IpAddr>());
        assert_eq!(address.port().to_string(), port);
    }
}

fn check_v2(bytes: &[u8], header: ProxyHeader) {
    assert!(bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    assert_eq!(bytes.len(), 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
    let expected = match (bytes[12], bytes[13]) {
        (0x21, 0x11) => proxied(bytes, |at| Ipv4Addr::from(<[u8; 4]>::try_from(at).expect("four bytes")).into(), 4),
        (0x21, 0x21) => {
            proxied(bytes, |at| Ipv6Addr::from(<[u8; 16]>::try_from(at).expect("sixteen bytes")).into(), 16)
        }
        // Anything else that is accepted tells of no address that could be believed.
        (0x20, _) => ProxyHeader::Local,
        _ => return assert!(!matches!(header, ProxyHeader::Proxied { .. })),
    };
    assert_eq!(header, expected);
}

/// Section 2.2: both addresses, and then both ports.
fn proxied(bytes: &[u8], ip: impl Fn(&[u8]) -> IpAddr, length: usize) -> ProxyHeader {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (first, ports) = (16, 16 + 2 * length);
    ProxyHeader::Proxied {
        source: SocketAddr::new(ip(&bytes[first..][..length]), port(ports)),
        destination: SocketAddr::new(ip(&bytes[first + length..][..length]), port(ports + 2)),
    }
}
