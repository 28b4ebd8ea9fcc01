//! Who may come, judged by the address of the peer.
//!
//! Order: names and networks are read, and sorted by specificity · the first that holds the
//! address decides · what is not named is judged by whether anybody is allowed by name.
//!
//! `all` is everybody. `unix` is a peer on a Unix socket, which has no address; it is as specific
//! as one address is. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address in it, in
//! rules and in peers, so that a rule means the same on a dual-stack socket.
//!
//! Invariant: with anything in `allow`, whoever no rule names is denied.

use core::net::IpAddr;
use ipnet::IpNet;
use std::cmp::Reverse;

/// The `allow` and `deny` of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRules {
    /// The longest prefix first; of the same length, `Deny` first.
    networks: Vec<(IpNet, Verdict)>,
    /// For addresses in none of them.
    others: Verdict,
    /// For peers on a Unix socket.
    unix: Verdict,
}

/// Declared in the order in which a tie is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Deny,
    Admit,
}

/// Why a list of networks was refused, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// Neither an address nor a network.
    #[error("{0:?} is no network; expected an address, `10.0.0.0/8`, `2001:db8::/32`, `all` or `unix`")]
    NotANetwork(String),
    /// An address within a network, with the network's prefix: one of both is a mistake.
    #[error("{text:?} has bits behind its prefix; write `{network}` for the network, or the address alone")]
    HostBits {
        /// As it was written.
        text: String,
        /// The network with that prefix.
        network: IpNet,
    },
    /// More than [`NETWORKS_MAX`].
    #[error("more than {NETWORKS_MAX} networks; join some, or leave this to the firewall")]
    TooMany,
}

/// Every request looks through them.
pub const NETWORKS_MAX: usize = 10_000;

impl AddressRules {
    /// Reads the two lists. With both empty, everybody is admitted.
    pub fn parse(allow: &[String], deny: &[String]) -> Result<AddressRules, BadNetwork> {
        if allow.len() + deny.len() > NETWORKS_MAX {
            return Err(BadNetwork::TooMany);
        }
        let denied = deny.iter().map(|text| (text, Verdict::Deny));
        let admitted = allow.iter().map(|text| (text, Verdict::Admit));
        let mut networks = Vec::new();
        // What is said of `all`, and what of `unix`; the lists come in the order of a tie.
        let (mut all, mut unix) = (None, None);
        for (text, verdict) in denied.chain(admitted) {
            match parse_peers(text)? {
                Peers::Network(network) => networks.push((network, verdict)),
                Peers::All => all = all.or(Some(verdict)),
                Peers::Unix => unix = unix.or(Some(verdict)),
            }
        }
        networks.sort_by_key(|(network, verdict)| (Reverse(network.prefix_len()), *verdict));
        let unnamed = if allow.is_empty() { Verdict::Admit } else { Verdict::Deny };
        let others = all.unwrap_or(unnamed);
        Ok(AddressRules { networks, others, unix: unix.unwrap_or(others) })
    }

    /// Whether a peer may come; `None` is one on a Unix socket.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let verdict = match address.map(|address| address.to_canonical()) {
            None => self.unix,
            Some(address) => {
                let first = self.networks.iter().find(|(network, _)| network.contains(&address));
                first.map_or(self.others, |(_, verdict)| *verdict)
            }
        };
        verdict == Verdict::Admit
    }
}

/// A set of peers, such as the proxies whose word is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    all: bool,
    unix: bool,
}

impl Networks {
    /// Reads a list; of an empty one, nobody is part.
    pub fn parse(texts: &[String]) -> Result<Networks, BadNetwork> {
        if texts.len() > NETWORKS_MAX {
            return Err(BadNetwork::TooMany);
        }
        let mut set = Networks::default();
        for text in texts {
            match parse_peers(text)? {
                Peers::Network(network) => set.networks.push(network),
                Peers::All => set.all = true,
                Peers::Unix => set.unix = true,
            }
        }
        Ok(set)
    }

    /// Whether nobody is part of it.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.all && !self.unix
    }

    /// Whether a peer is part of it; `None` is one on a Unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        let named = match address.map(|address| address.to_canonical()) {
            None => self.unix,
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
        };
        named || self.all
    }
}

/// Whom one entry of a list names.
enum Peers {
    Network(IpNet),
    Unix,
    All,
}

fn parse_peers(text: &str) -> Result<Peers, BadNetwork> {
    match text {
        "all" => return Ok(Peers::All),
        "unix" => return Ok(Peers::Unix),
        _ => {}
    }
    let network = parse_network(text).ok_or_else(|| BadNetwork::NotANetwork(text.to_owned()))?;
    // Who writes 10.1.2.0/8 meant 10.1.2.0/24, or less likely 10.0.0.0/8: not to be guessed.
    if network.addr() != network.network() {
        return Err(BadNetwork::HostBits { text: text.to_owned(), network: network.trunc() });
    }
    Ok(Peers::Network(network))
}

/// An address, or an address and the length of its prefix.
fn parse_network(text: &str) -> Option<IpNet> {
    let (address, prefix) = match text.split_once('/') {
        None => (text, None),
        // A sign or a leading zero is no part of a number here.
        Some((_, digits)) if digits.len() > 1 && !digits.starts_with(|c: char| matches!(c, '1'..='9')) => return None,
        Some((address, digits)) => (address, Some(digits.parse::<u8>().ok()?)),
    };
    let address: IpAddr = address.parse().ok()?;
    let canonical = address.to_canonical();
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    if address == canonical {
        return IpNet::new(address, prefix).ok();
    }
    // Of a mapped address, the last 32 bits are the IPv4 address.
    IpNet::new(canonical, prefix.checked_sub(128 - 32)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn peer(text: &str) -> Option<IpAddr> {
        (text != "unix").then(|| text.parse().expect("each row names an address"))
    }

    #[test]
    fn the_longest_prefix_decides() {
        // allow · deny · admitted · denied
        for (allow, deny, admitted, denied) in [
            ("", "", "1.2.3.4 ::1 unix", ""),
            ("10.0.0.0/8", "", "10.0.0.0 10.255.255.255", "11.0.0.0 9.255.255.255 ::1 unix"),
            ("", "10.0.0.0/8", "11.0.0.1 ::1 unix", "10.0.0.1"),
            ("10.0.0.0/8 ::1", "10.1.2.3", "10.1.2.4 ::1", "10.1.2.3 ::2 1.1.1.1"),
            ("10.1.2.3", "10.0.0.0/8", "10.1.2.3", "10.1.2.4 11.0.0.1"),
            ("10.1.0.0/16", "10.0.0.0/8 10.1.2.0/24", "10.1.1.1 10.1.3.1", "10.1.2.1 10.2.0.1 8.8.8.8"),
            // A tie
            ("10.0.0.0/8", "10.0.0.0/8", "", "10.0.0.1"),
            ("all", "all", "", "1.1.1.1 ::1 unix"),
            // All, and both families
            ("all", "", "1.2.3.4 ::1 unix", ""),
            ("", "all", "", "1.2.3.4 ::1 unix"),
            ("all", "10.0.0.0/8", "1.1.1.1 ::1 unix", "10.0.0.1"),
            ("10.0.0.0/8", "all", "10.0.0.1", "1.1.1.1 ::1 unix"),
            ("0.0.0.0/0", "", "1.1.1.1 ::ffff:1.1.1.1", "::1 unix"),
            ("::/0", "", "::1 2001:db8::1", "1.1.1.1 ::ffff:1.1.1.1 unix"),
            // A network of all IPv4 addresses says more than `all`
            ("0.0.0.0/0", "all", "1.1.1.1", "::1 unix"),
            // Unix sockets
            ("unix", "", "unix", "127.0.0.1 ::1"),
            ("", "unix", "127.0.0.1 ::1", "unix"),
            ("unix", "all", "unix", "127.0.0.1"),
            ("all", "unix", "127.0.0.1 ::1", "unix"),
            ("unix", "unix", "", "unix"),
            ("unix 10.0.0.0/8", "", "unix 10.0.0.1", "1.1.1.1"),
            // Mapped addresses are what they map
            ("10.0.0.0/8", "", "::ffff:10.1.2.3 ::ffff:a00:1", "::ffff:11.0.0.1 ::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "", "10.1.2.3 ::ffff:10.1.2.3", "11.0.0.1"),
            ("::ffff:10.1.2.3", "", "10.1.2.3", "10.1.2.4"),
            ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:2::1", "2001:db8:1::1 2001:db9::1"),
            ("fe80::/10", "", "fe80::1 febf::1", "fec0::1"),
            ("192.0.2.1/32", "", "192.0.2.1", "192.0.2.0"),
        ] {
            let rules = AddressRules::parse(&list(allow), &list(deny)).expect("each row is valid");
            let check = |peers: &str, expected: bool| {
                for text in list(peers) {
                    assert_eq!(rules.admits(peer(&text)), expected, "allow {allow:?} deny {deny:?}: {text}");
                }
            };
            check(admitted, true);
            check(denied, false);
        }
    }

    #[test]
    fn sets_of_networks() {
        for (texts, inside, outside) in [
            ("", "", "127.0.0.1 ::1 unix"),
            ("10.0.0.0/8 ::1", "10.0.0.1 ::ffff:10.0.0.1 ::1", "11.0.0.1 ::2 unix"),
            ("unix", "unix", "127.0.0.1"),
            ("all", "127.0.0.1 ::1 unix", ""),
        ] {
            let networks = Networks::parse(&list(texts)).expect("each row is valid");
            assert_eq!(networks.is_empty(), texts.is_empty());
            list(inside).iter().for_each(|text| assert!(networks.contains(peer(text)), "{texts}: {text}"));
            list(outside).iter().for_each(|text| assert!(!networks.contains(peer(text)), "{texts}: {text}"));
        }
    }

    #[test]
    fn networks_that_are_refused() {
        for text in [
            "",
            " ",
            "*",
            "ALL",
            "Unix",
            "localhost",
            "example.org",
            "10",
            "10.0.0",
            "10.0.0.0.0",
            "010.0.0.1",
            "256.0.0.1",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/8 ",
            "/8",
            "::/129",
            "[::1]",
            "fe80::1%eth0",
            "::ffff:10.0.0.0/8",
            ":::",
            "10.0.0.1:80",
            "unix:/run/x",
        ] {
            let expected = BadNetwork::NotANetwork(text.to_owned());
            assert_eq!(Networks::parse(&[text.to_owned()]), Err(expected.clone()), "{text}");
            assert_eq!(AddressRules::parse(&[], &[text.to_owned()]), Err(expected), "{text}");
        }
        for (text, remedy) in [("10.1.2.0/8", "10.0.0.0/8"), ("::1/64", "::/64"), ("::ffff:10.0.0.1/104", "10.0.0.0/8")]
        {
            let error = Networks::parse(&[text.to_owned()]).expect_err(text).to_string();
            assert!(error.contains(&format!("`{remedy}`")), "{error}");
        }
        let many = vec!["10.0.0.1".to_owned(); NETWORKS_MAX + 1];
        assert_eq!(AddressRules::parse(&many, &[]), Err(BadNetwork::TooMany));
        assert_eq!(Networks::parse(&many), Err(BadNetwork::TooMany));
    }
}
