//! The Host field (RFC 9112 §3.2): there must be one, and it must be an authority.

use super::fields::{FieldName, Fields};
use super::request::{BadRequest, Version};

/// RFC 9112 §3.2: exactly one valid Host in 1.1, at most one in 1.0. In HTTP/2 as in 1.1: the authority of the target
/// stands for it (RFC 9113 §8.3.1).
pub fn check(fields: &Fields<'_>, version: Version) -> Result<(), BadRequest> {
    if !fields.has(FieldName::Host) {
        return if version == Version::Http10 { Ok(()) } else { Err(BadRequest::HostMissing) };
    }
    let host = fields.only(FieldName::Host).ok_or(BadRequest::HostRepeated)?;
    if is_authority(host) { Ok(()) } else { Err(BadRequest::HostInvalid) }
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2); empty is allowed, for a target without an authority
/// sends an empty Host.
pub(super) fn is_authority(host: &[u8]) -> bool {
    let (is_host, rest) = match host {
        [b'[', literal @ ..] => {
            let Some(close) = memchr::memchr(b']', literal) else { return false };
            (is_address(&literal[..close]), &literal[close + 1..])
        }
        _ => {
            let (name, rest) = host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()));
            (is_name(name), rest)
        }
    };
    let is_port = match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_host && is_port
}

/// What stands in brackets: an IPv6 address, or what may come after it (`IPvFuture`).
fn is_address(literal: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = literal {
        let Some(dot) = memchr::memchr(b'.', future) else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|b| is_name_byte(*b) || matches!(b, b':' | b','));
    }
    core::str::from_utf8(literal).is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok())
}

/// `*( unreserved / pct-encoded / sub-delims )`
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
            [byte, behind @ ..] if is_name_byte(*byte) => behind,
            _ => return false,
        };
    }
}

/// An unreserved character or one of sub-delims, without the comma: a list of hosts is no host.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_valid() {
        for host in
            ["", "a", "example.org", "example.org:80", "127.0.0.1:8080", "[::1]", "[::1]:8080", "a_b.c", "xn--p1ai:"]
        {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
    }
}
