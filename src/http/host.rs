//! The Host field (RFC 9112 §3.2): there must be one, and it must be an authority.

use super::fields::{FieldName, Fields};
use super::request::{BadRequest, Version};

/// RFC 9112 §3.2: exactly one valid Host in 1.1, at most one in 1.0.
pub(super) fn check(fields: &Fields<'_>, version: Version) -> Result<(), BadRequest> {
    if !fields.has(FieldName::Host) {
        return if version == Version::Http11 { Err(BadRequest::HostMissing) } else { Ok(()) };
    }
    let host = fields.only(FieldName::Host).ok_or(BadRequest::HostRepeated)?;
    if is_authority(host) { Ok(()) } else { Err(BadRequest::HostInvalid) }
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2), judged by its characters; empty is allowed, for a
/// target without an authority sends an empty Host.
pub(super) fn is_authority(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', ..] => {
            let Some(close) = memchr::memchr(b']', host) else { return false };
            let address = &host[1..close];
            let valid = !address.is_empty()
                && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'v' | b'V'));
            if !valid {
                return false;
            }
            match &host[close + 1..] {
                [] => (&[][..], &[][..]),
                [b':', port @ ..] => (&[][..], port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', host) {
            Some(colon) => (&host[..colon], &host[colon + 1..]),
            None => (host, &[][..]),
        },
    };
    // unreserved / pct-encoded / sub-delims, without the comma: a list of hosts is no host.
    let is_name_byte = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
            )
    };
    name.iter().all(is_name_byte) && port.iter().all(u8::is_ascii_digit)
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
