//! The client's address behind proxies: X-Forwarded-For, and Forwarded (RFC 7239).
//!
//! Order: the elements of all lines are one chain, to whose right end each proxy adds the address
//! it was connected from · the chain is walked from there, for as long as trusted proxies wrote it.
//!
//! Invariant: nothing to the left of an untrusted address has a say. The client wrote it.

use super::grammar::{digits, list_members, parts_outside_quotes};
use core::net::{IpAddr, Ipv6Addr};

/// Elements that are looked at, from the right. A chain of honest proxies has a handful.
const ELEMENTS_MAX: usize = 64;

/// The client's address by the values of the X-Forwarded-For lines: the right-most in the chain
/// that is not `trusted`; if all are, the left-most.
///
/// `peer` is the address the connection came from, and the caller trusts it. The walk ends at an
/// element that cannot be read: the last good address counts. Addresses are handed to `trusted`,
/// and returned, in their canonical form: an IPv4-mapped one as IPv4.
pub fn client_of_x_forwarded_for<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    walk(lines.flat_map(list_members), node_address, peer, trusted)
}

/// The client's address by the values of the Forwarded lines, found as in
/// [`client_of_x_forwarded_for`].
pub fn client_of_forwarded<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    walk(lines.flat_map(|line| parts_outside_quotes(line, b',')), element_address, peer, trusted)
}

fn walk<'a>(
    elements: impl Iterator<Item = &'a [u8]>,
    read: fn(&[u8]) -> Option<IpAddr>,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    // Field lines are found from the left, so a ring keeps the last elements.
    let mut ring: [&[u8]; ELEMENTS_MAX] = [&[]; ELEMENTS_MAX];
    let mut count = 0;
    for element in elements {
        ring[count % ELEMENTS_MAX] = element;
        count += 1;
    }
    let mut client = peer.to_canonical();
    for number in (count.saturating_sub(ELEMENTS_MAX)..count).rev() {
        let Some(address) = read(ring[number % ELEMENTS_MAX]) else { return client };
        client = address.to_canonical();
        if !trusted(client) {
            return client;
        }
    }
    client
}

/// The address in one `forwarded-element` (RFC 7239 §4). All its pairs must be well-formed: a
/// quote that the client left open swallows what the proxy added, and such an element must not
/// pass for one that the proxy wrote.
fn element_address(element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    for pair in parts_outside_quotes(element, b';') {
        let equals = memchr::memchr(b'=', pair)?;
        let value = pair_value(&pair[equals + 1..])?;
        if pair[..equals].eq_ignore_ascii_case(b"for") {
            // RFC 7239 §4: a parameter must not occur twice in an element.
            if node.replace(value).is_some() {
                return None;
            }
        }
    }
    node_address(node?)
}

/// A token, or what a quoted string holds. Escapes in it stay: none is needed in an address. A
/// token may have the bytes of an address too, for not all proxies quote those of IPv6.
fn pair_value(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', text @ .., b'"'] => closes_at_end(text).then_some(text),
        _ => memchr::memchr2(b'"', b'\\', value).is_none().then_some(value),
    }
}

/// Whether the text of a quoted string has no quote that would end it early, and no backslash
/// that would escape the quote at its end.
fn closes_at_end(text: &[u8]) -> bool {
    let mut escaped = false;
    for byte in text {
        if *byte == b'"' && !escaped {
            return false;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    !escaped
}

/// The address of a `node` (RFC 7239 §6), with or without a port. An IPv6 address may stand
/// without its brackets if it has no port, as it does in X-Forwarded-For. `unknown` and
/// obfuscated names have no address.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    if let [b'[', rest @ ..] = node {
        let close = memchr::memchr(b']', rest)?;
        let address = core::str::from_utf8(&rest[..close]).ok()?.parse::<Ipv6Addr>().ok()?;
        return match &rest[close + 1..] {
            [] => Some(address.into()),
            [b':', port @ ..] => is_port(port).then_some(address.into()),
            _ => None,
        };
    }
    let text = core::str::from_utf8(node).ok()?;
    match text.split_once(':') {
        // More than one colon: IPv6.
        Some((address, port)) if !port.contains(':') => {
            let address = address.parse().ok()?;
            is_port(port.as_bytes()).then_some(IpAddr::V4(address))
        }
        _ => text.parse().ok(),
    }
}

/// RFC 7239 §6.3: a port may be obfuscated, too.
fn is_port(port: &[u8]) -> bool {
    match port {
        [b'_', name @ ..] => !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b)),
        _ => digits(port).is_ok_and(|number| number <= u64::from(u16::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1";

    fn address(text: &str) -> IpAddr {
        text.parse().expect("each row has addresses")
    }

    /// Private addresses of the tables are proxies: 10.0.0.0/8 and fd00::/8.
    fn trusted(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    fn lines<'a>(lines: &'a [&str]) -> impl Iterator<Item = &'a [u8]> {
        lines.iter().map(|line| line.as_bytes())
    }

    fn check_x_forwarded_for(values: &[&str], expected: &str) {
        let client = client_of_x_forwarded_for(lines(values), address(PEER), trusted);
        assert_eq!(client, address(expected), "X-Forwarded-For: {values:?}");
    }

    fn check_forwarded(values: &[&str], expected: &str) {
        let client = client_of_forwarded(lines(values), address(PEER), trusted);
        assert_eq!(client, address(expected), "Forwarded: {values:?}");
    }

    #[test]
    fn x_forwarded_for() {
        for (values, expected) in [
            (&[][..], PEER),
            (&[""], PEER),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            // The right-most that is not trusted; what stands left of it is the client's word
            (&["192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2, fd00::1"], "192.0.2.1"),
            (&["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            (&["10.0.0.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&["garbage, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            // All trusted: the left-most
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["fd00::2"], "fd00::2"),
            // Several lines are one chain
            (&["198.51.100.1", "192.0.2.1, 10.0.0.3", "10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1", "", "10.0.0.2"], "192.0.2.1"),
            // White space and empty members
            (&[" 192.0.2.1\t,, 10.0.0.2 , "], "192.0.2.1"),
            (&["192.0.2.1,10.0.0.2"], "192.0.2.1"),
            // Ports
            (&["192.0.2.1:1234, 10.0.0.2:80"], "192.0.2.1"),
            (&["[2001:db8::1]:1234"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            // IPv4-mapped addresses are IPv4
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1, [::ffff:a00:2]:80"], "192.0.2.1"),
            // What cannot be read ends the walk
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.1, _hidden"], PEER),
            (&["192.0.2.1, garbage, 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["192.0.2.1 10.0.0.2"], PEER),
            (&["\"192.0.2.1\""], PEER),
            (&["192.0.2.256"], PEER),
            (&["192.0.2.01"], PEER),
            (&["192.0.2"], PEER),
            (&["192.0.2.1:"], PEER),
            (&["192.0.2.1:65536"], PEER),
            (&["192.0.2.1:+80"], PEER),
            (&["192.0.2.1:80:80"], PEER),
            (&["[192.0.2.1]:80"], PEER),
            (&["[2001:db8::1"], PEER),
            (&["[2001:db8::1]80"], PEER),
            (&["[2001:db8::1]:"], PEER),
            (&["[]"], PEER),
            (&[":80"], PEER),
            (&["2001:db8::1]:80"], PEER),
            (&["fe80::1%eth0"], PEER),
            (&["example.org"], PEER),
            (&["192.0.2.1\u{e9}"], PEER),
        ] {
            check_x_forwarded_for(values, expected);
        }
    }

    #[test]
    fn forwarded() {
        for (values, expected) in [
            (&[][..], PEER),
            (&[""], PEER),
            // The examples of RFC 7239 §4 and §7
            (&["for=\"_gazonk\""], PEER),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            (&["for=192.0.2.43, for=\"[fd00:db8:cafe::17]\", for=unknown"], PEER),
            (&["for=_hidden, for=_SEVKISEK"], PEER),
            // The walk
            (&["for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
            (&["for=192.0.2.1", "for=\"[fd00::1]\", for=10.0.0.2"], "192.0.2.1"),
            (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
            (&["for=192.0.2.1, for=unknown, for=10.0.0.2"], "10.0.0.2"),
            (&["for=192.0.2.1, proto=https, for=10.0.0.2"], "10.0.0.2"),
            (&["for=192.0.2.1, for=\"[::ffff:10.0.0.2]\""], "192.0.2.1"),
            // Spellings
            (&["by=10.0.0.2;FOR=192.0.2.1"], "192.0.2.1"),
            (&["proto=http; for=192.0.2.1 ;"], "192.0.2.1"),
            (&["for=\"192.0.2.1\""], "192.0.2.1"),
            (&["for=\"192.0.2.1:80\""], "192.0.2.1"),
            (&["for=\"192.0.2.1:_obfuscated\""], "192.0.2.1"),
            (&["for=192.0.2.1:80"], "192.0.2.1"),
            (&["for=[2001:db8::1]:80"], "2001:db8::1"),
            (&["for=\"2001:db8::1\""], "2001:db8::1"),
            (&["for=192.0.2.1;host=\"a,b;for=x\\\"\""], "192.0.2.1"),
            // Malformed elements
            (&["for"], PEER),
            (&["for="], PEER),
            (&["for=\"\""], PEER),
            (&["for=\""], PEER),
            (&["for =192.0.2.1"], PEER),
            (&["for= 192.0.2.1"], PEER),
            (&["192.0.2.1"], PEER),
            (&["for=192.0.2.1;for=192.0.2.2"], PEER),
            (&["for=192.0.2.1;host"], PEER),
            (&["for=192.0.2.1;host=a\"b"], PEER),
            (&["for=192.0.2.1;host=\"a\"b\""], PEER),
            (&["for=192.0.2.1;host=\"a\\\""], PEER),
            (&["for=\"192.0.2.1:_\""], PEER),
            (&["for=\"192.0.2.1:_a b\""], PEER),
        ] {
            check_forwarded(values, expected);
        }
    }

    /// The proxy added `for=192.0.2.1…` behind what the client sent. A quote that the client left
    /// open must not give it the choice of an address.
    #[test]
    fn an_open_quote_does_not_forge_an_address() {
        for added in ["for=192.0.2.1", "for=\"[2001:db8::1]:80\"", "for=192.0.2.1;host=\";for=9.9.9.9;x=\""] {
            for sent in ["for=\"", "for=9.9.9.9;x=\"", "for=9.9.9.9;x=\"\\", "for=9.9.9.9;x=\\\"", "\""] {
                check_forwarded(&[&format!("{sent}, {added}")], PEER);
            }
        }
        // On a line of its own it takes nothing with it.
        check_forwarded(&["for=9.9.9.9;x=\"", "for=192.0.2.1"], "192.0.2.1");
    }

    #[test]
    fn an_untrusting_server_takes_the_last_address() {
        let client = client_of_x_forwarded_for(lines(&["192.0.2.1, 10.0.0.2"]), address(PEER), |_| false);
        assert_eq!(client, address("10.0.0.2"));
        let client = client_of_x_forwarded_for(lines(&[]), address("::ffff:192.0.2.9"), |_| true);
        assert_eq!(client, address("192.0.2.9"));
    }

    #[test]
    fn a_long_chain_is_cut_at_its_left() {
        let proxies = |count: usize| ", 10.0.0.2".repeat(count);
        check_x_forwarded_for(&[&format!("192.0.2.1{}", proxies(ELEMENTS_MAX - 1))], "192.0.2.1");
        check_x_forwarded_for(&[&format!("192.0.2.1, 10.0.0.3{}", proxies(ELEMENTS_MAX - 1))], "10.0.0.3");
        check_x_forwarded_for(&[&format!("192.0.2.1{}, 192.0.2.2, 10.0.0.2", proxies(500))], "192.0.2.2");
    }
}
