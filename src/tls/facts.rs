//! What a certificate says of itself: for whom it is, and from when until when.
//!
//! Order: [`Facts::of`] reads it · [`Facts::concerns`] says what a client would not like about it.
//!
//! Invariant: nothing here decides whether a connection is accepted; it is what people are told.

use super::pair::Pair;
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses that it holds for.
    pub names: Vec<String>,
    /// The second from which it holds, as Unix time.
    pub begins: i64,
    /// The last second in which it does.
    pub ends: i64,
    /// Whether it is its own authority.
    pub is_self_signed: bool,
    /// Whether certificates between it and its authority go with it.
    has_company: bool,
}

/// RSA keys with fewer bits can be broken (BSI TR-02102, NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;

const DAY_SECONDS: i64 = 86_400;

/// A certificate that ends within these days should have been renewed: certbot and lego do it thirty days before, and of certificates
/// that live for a week or two, people are told each time.
pub const DAYS_LEFT_MIN: i64 = 14;

impl Facts {
    /// What the certificate of this pair says, or why nobody would take it.
    pub fn of(pair: &Pair) -> Result<Facts, String> {
        let damaged = || "the certificate is damaged; fetch or make it anew".to_owned();
        let own = pair.chain().first().ok_or_else(damaged)?;
        let (_, certificate) = X509Certificate::from_der(own).map_err(|_| damaged())?;
        if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() {
            if key.key_size() < RSA_BITS_MIN {
                let bits = key.key_size();
                return Err(format!(
                    "its RSA key of {bits} bits can be broken; make one with {RSA_BITS_MIN} bits or more"
                ));
            }
        }
        let named = certificate.subject_alternative_name().ok().flatten();
        let names = named.iter().flat_map(|named| &named.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        Ok(Facts {
            names: names.collect(),
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
            is_self_signed: certificate.subject() == certificate.issuer(),
            has_company: pair.chain().len() > 1,
        })
    }

    /// Whole days that are left of it; negative once it has ended.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.ends - now).div_euclid(DAY_SECONDS)
    }

    /// Whether it holds for this `server_name` (RFC 9525 §6.3): a star stands for one label.
    pub fn covers(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let host = name.trim_matches(['[', ']']);
        let is_of = |own: &String| {
            own == host
                || own
                    .strip_prefix("*.")
                    .is_some_and(|below| host.split_once('.').is_some_and(|(_, rest)| rest == below))
        };
        self.names.iter().any(is_of)
    }

    /// What about it keeps clients away, or will soon; `served` are the names of the sites that show it.
    pub fn concerns<'a>(&self, served: impl Iterator<Item = &'a str>, now: i64) -> Vec<String> {
        let mut concerns = Vec::new();
        let date = |seconds: i64| {
            let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(DATE_SECONDS_MAX));
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
        };
        if now > self.ends {
            concerns.push(format!("the certificate ended on {}, and clients refuse it; renew it", date(self.ends)));
        } else if now < self.begins {
            concerns.push(format!(
                "the certificate begins on {} only, and clients refuse it until then; is the clock right?",
                date(self.begins)
            ));
        } else if self.days_left(now) < DAYS_LEFT_MIN {
            let days = self.days_left(now);
            concerns.push(format!("the certificate ends in {days} days, on {}; renew it", date(self.ends)));
        }
        if self.names.is_empty() {
            concerns
                .push("the certificate names no host (subjectAltName), and clients refuse it; make it anew".to_owned());
        } else {
            let missing: Vec<_> = served.filter(|name| !self.covers(name)).collect();
            if !missing.is_empty() {
                concerns.push(format!(
                    "the certificate is for {}, and not for {}; get one that is, or give the site one of its own in [site.tls]",
                    self.names.join(", "),
                    missing.join(", ")
                ));
            }
        }
        if !self.is_self_signed && !self.has_company {
            let what = "no certificate stands behind the server's own, and many clients cannot find those between it and its authority; \
                        name the file with the whole chain (`fullchain.pem`)";
            concerns.push(what.to_owned());
        }
        concerns
    }
}

/// The last second of the year 9999, behind which no date can be written.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> Facts {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Facts { names, begins: 0, ends: 100 * DAY_SECONDS, is_self_signed: false, has_company: true }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let facts = facts(&["example.org", "*.example.org", "::1"]);
        for (name, expected) in [
            ("example.org", true),
            ("Example.ORG", true),
            ("a.example.org", true),
            ("a.b.example.org", false),
            ("*.example.org", true),
            ("*.a.example.org", false),
            ("example.com", false),
            ("[::1]", true),
        ] {
            assert_eq!(facts.covers(name), expected, "{name}");
        }
    }

    #[test]
    fn what_clients_would_not_like_is_told() {
        let day = DAY_SECONDS;
        for (now, served, expected) in [
            (50 * day, "example.org", None),
            (100 * day + 1, "example.org", Some("ended on")),
            (-1, "example.org", Some("begins on")),
            (90 * day, "example.org", Some("ends in 10 days")),
            (50 * day, "example.com", Some("and not for example.com; get one")),
        ] {
            let concerns = facts(&["example.org"]).concerns([served].into_iter(), now);
            assert_eq!(concerns.len(), usize::from(expected.is_some()), "{concerns:?}");
            assert!(expected.is_none_or(|expected| concerns[0].contains(expected)), "{concerns:?}");
        }
        let alone = Facts { has_company: false, ..facts(&[]) }.concerns(std::iter::empty(), 0);
        assert_eq!(alone.len(), 2, "{alone:?}");
    }
}
