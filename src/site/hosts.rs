//! Which of the sites on one listener a request is for, by its host (RFC 9110 §7.2).
//!
//! Invariant: there is always one: the default, when no name fits.

use std::collections::HashMap;

/// The sites of one listener.
#[derive(Clone, Debug)]
pub struct Hosts {
    exact: HashMap<Box<str>, usize>,
    /// By the name below which they answer: `example.org` of `*.example.org`.
    below: HashMap<Box<str>, usize>,
    default: usize,
}

/// Why a `server_name` cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not a host name.
    #[error("{0:?} is no host name: letters, digits, dashes and dots, such as \"example.org\" or \"*.example.org\"")]
    Form(String),
    /// Two sites on one listener have it.
    #[error("another site on the same address has the name {0:?}")]
    Taken(String),
}

/// The longest name that the DNS knows (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

impl Hosts {
    /// The sites of a listener, by number and names. The first without names is the default, else the first.
    pub fn new<'a>(sites: impl IntoIterator<Item = (usize, &'a [String])>) -> Result<Hosts, BadName> {
        let mut hosts = Hosts { exact: HashMap::new(), below: HashMap::new(), default: 0 };
        let (mut first, mut nameless) = (None, None);
        for (site, names) in sites {
            first = first.or(Some(site));
            if names.is_empty() {
                nameless = nameless.or(Some(site));
            }
            for name in names {
                check(name)?;
                let lower = name.to_ascii_lowercase();
                let taken = match lower.strip_prefix("*.") {
                    Some(suffix) => hosts.below.insert(Box::from(suffix), site),
                    None => hosts.exact.insert(Box::from(lower), site),
                };
                if taken.is_some_and(|other| other != site) {
                    return Err(BadName::Taken(name.clone()));
                }
            }
        }
        hosts.default = nameless.or(first).unwrap_or(0);
        Ok(hosts)
    }

    /// The site for an authority: `host`, with a port or without.
    pub fn find(&self, authority: Option<&str>) -> usize {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.default;
        }
        authority.and_then(|authority| self.named(host_of(authority))).unwrap_or(self.default)
    }

    /// The site that is called when no name fits.
    pub fn default_site(&self) -> usize {
        self.default
    }

    fn named(&self, host: &str) -> Option<usize> {
        if host.len() > NAME_BYTES_MAX {
            return None;
        }
        // Here and not in a text of its own: this is on the way of every request.
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host.as_bytes());
        lower.make_ascii_lowercase();
        let lower = std::str::from_utf8(lower).ok()?;
        if let Some(site) = self.exact.get(lower) {
            return Some(*site);
        }
        // The longest name first: a.b.example.org is below *.b.example.org before *.example.org.
        let mut suffixes = lower.match_indices('.').map(|(at, _)| &lower[at + 1..]);
        suffixes.find_map(|suffix| self.below.get(suffix)).copied()
    }
}

/// The host without a port and without the dot that ends an absolute name.
pub fn host_of(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(_) => authority.find(']').map_or(authority, |close| &authority[..=close]),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn check(name: &str) -> Result<(), BadName> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let is_address = host.starts_with('[') && host.trim_matches(['[', ']']).parse::<core::net::Ipv6Addr>().is_ok();
    let is_name = host.len() <= NAME_BYTES_MAX && host.split('.').all(is_label);
    if is_name || is_address { Ok(()) } else { Err(BadName::Form(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_most_specific_name_wins() {
        let sites = [
            names(&["example.org", "www.example.org"]),
            names(&["*.example.org"]),
            names(&["*.deep.example.org", "[::1]"]),
            names(&[]),
        ];
        let hosts = Hosts::new(sites.iter().enumerate().map(|(site, names)| (site, &names[..]))).expect("valid");
        for (host, site) in [
            ("example.org", 0),
            ("EXAMPLE.org", 0),
            ("example.org:8080", 0),
            ("example.org.", 0),
            ("example.org.:80", 0),
            ("www.example.org", 0),
            ("a.example.org", 1),
            ("a.b.example.org", 1),
            ("deep.example.org", 1),
            ("a.deep.example.org", 2),
            ("[::1]:80", 2),
            ("[::2]:80", 3),
            ("example.com", 3),
            ("notexample.org", 3),
            (".example.org", 1),
            ("", 3),
            ("127.0.0.1", 3),
        ] {
            assert_eq!(hosts.find(Some(host)), site, "{host:?}");
        }
        assert_eq!(hosts.find(None), 3);
    }

    #[test]
    fn without_a_nameless_site_the_first_is_the_default() {
        let sites = [names(&["a.example"]), names(&["b.example"])];
        let hosts = Hosts::new([(7, &sites[0][..]), (8, &sites[1][..])]).expect("valid");
        assert_eq!((hosts.find(Some("b.example")), hosts.find(Some("c.example"))), (8, 7));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for name in ["", "a b", "*", "a.*.b", "*a.example", "a..b", "http://a", "a:80", "a/b", "[::x]", "größe.example"]
        {
            let names = names(&[name]);
            assert_eq!(Hosts::new([(0, &names[..])]).map(drop), Err(BadName::Form(name.to_owned())), "{name:?}");
        }
        let twice = [names(&["a.example"]), names(&["A.example"])];
        let taken = Hosts::new([(0, &twice[0][..]), (1, &twice[1][..])]).map(drop);
        assert_eq!(taken, Err(BadName::Taken("A.example".to_owned())));
    }
}
