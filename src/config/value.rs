//! Values of the configuration with a grammar of their own: addresses, sizes.

use super::table::World;
use crate::server::{Address, Listen};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The word behind an address whose connections begin with a PROXY header.
const PROXY_PROTOCOL: &str = "proxy_protocol";

/// The word behind an address whose connections are encrypted.
const TLS: &str = "tls";

/// What one entry of `listen` names: `127.0.0.1:80`, `[::1]`, `localhost:80`, `80` (all addresses),
/// `unix:/run/otus.sock`; with `proxy_protocol` and `tls` behind it or without.
pub(super) fn listen(text: &str, port: u16, world: World) -> Result<Vec<Listen>, String> {
    let mut words = text.split_whitespace();
    let address = words.next().unwrap_or_default();
    let (mut is_proxied, mut is_tls) = (false, false);
    for word in words {
        let is_said = match word {
            PROXY_PROTOCOL => &mut is_proxied,
            TLS => &mut is_tls,
            _ => return Err(format!("unknown word {word:?} behind the address; known are {PROXY_PROTOCOL} and {TLS}")),
        };
        if std::mem::replace(is_said, true) {
            return Err(format!("{word:?} stands twice behind the address"));
        }
    }
    let listen = |address, optional| Listen { address, optional, is_proxied, is_tls };
    if let Some(path) = address.strip_prefix("unix:") {
        if !path.starts_with('/') || path.len() > UNIX_PATH_BYTES_MAX {
            let what =
                format!("the path of a Unix socket begins with a slash and has {UNIX_PATH_BYTES_MAX} bytes at most");
            return Err(what);
        }
        return Ok(vec![listen(Address::Unix(PathBuf::from(path)), false)]);
    }
    if let Ok(port) = address.parse::<u16>() {
        // A machine without IPv6 is no reason not to serve, when nobody named an IPv6 address.
        return Ok(all_addresses(port).map(|(address, optional)| listen(Address::Tcp(address), optional)).to_vec());
    }
    Ok(tcp(address, port, world)?.into_iter().map(|address| listen(Address::Tcp(address), false)).collect())
}

/// What the kernel takes (unix(7)), less the NUL behind it.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// All addresses of the machine, and whether each may be missing.
fn all_addresses(port: u16) -> [(SocketAddr, bool); 2] {
    [((Ipv4Addr::UNSPECIFIED, port).into(), false), ((Ipv6Addr::UNSPECIFIED, port).into(), true)]
}

/// `127.0.0.1`, `127.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`, `localhost`, `localhost:80`.
fn tcp(text: &str, port: u16, world: World) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, number)) => {
            let number = number.parse().map_err(|_| format!("{number:?} is not a port from 0 to 65535"))?;
            (host, number)
        }
        None => (text, port),
    };
    if host.is_empty() || host.bytes().all(|b| b.is_ascii_digit()) {
        return Err("neither an address nor a port from 0 to 65535".to_owned());
    }
    if world == World::LeftAlone {
        return Err("not an address, and names are not resolved here".to_owned());
    }
    match (host, port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(format!("not an address, and no name that resolves to one: {error}")),
    }
}

/// `67108864`, `"64m"`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, unit) = match lower.char_indices().next_back() {
        Some((at, 'k')) => (&lower[..at], 1 << 10),
        Some((at, 'm')) => (&lower[..at], 1 << 20),
        Some((at, 'g')) => (&lower[..at], 1 << 30),
        _ => (&lower[..], 1),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_form() {
        for (text, expected) in [
            ("127.0.0.1", &["127.0.0.1:80"][..]),
            ("127.0.0.1:8080", &["127.0.0.1:8080"]),
            ("::1", &["[::1]:80"]),
            ("[::1]", &["[::1]:80"]),
            ("[::1]:8080", &["[::1]:8080"]),
            ("0.0.0.0:0", &["0.0.0.0:0"]),
            ("8080", &["0.0.0.0:8080", "[::]:8080"]),
            ("unix:/run/a.sock", &["unix:/run/a.sock"]),
        ] {
            for (behind, words) in [
                ("", (false, false)),
                ("  proxy_protocol", (true, false)),
                (" tls", (false, true)),
                (" tls proxy_protocol", (true, true)),
            ] {
                let listens = listen(&format!("{text}{behind}"), 80, World::Asked).expect(text);
                assert_eq!(listens.iter().map(|one| one.address.to_string()).collect::<Vec<_>>(), expected);
                assert!(listens.iter().all(|one| (one.is_proxied, one.is_tls) == words), "{text}{behind}");
            }
        }
        // A bare system may know no names at all; whatever it says of this one, we say.
        let resolved = ("localhost", 81).to_socket_addrs().ok().map(Vec::from_iter);
        assert_eq!(tcp("localhost:81", 80, World::Asked).ok(), resolved);
        for text in [
            "",
            "127.0.0.1:http",
            "127.0.0.1:99999",
            "99999",
            "no.such.name.invalid",
            "unix:",
            "unix:relative",
            "127.0.0.1 proxy",
            "127.0.0.1 proxy_protocol proxy_protocol",
            "127.0.0.1 tls ssl",
            "127.0.0.1 tls tls",
        ] {
            assert!(listen(text, 80, World::Asked).is_err(), "{text:?}");
        }
        assert!(listen(&format!("unix:/{}", "a".repeat(107)), 80, World::Asked).is_err());
    }

    #[test]
    fn sizes_with_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("2k", Some(2048)),
            ("64M", Some(64 << 20)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("k", None),
            ("-1", None),
            ("1.5m", None),
            ("64 lightyears", None),
            ("99999999999g", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
