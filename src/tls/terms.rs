//! What connections are met with: for each name that a client may ask for, a certificate and what goes with it.
//!
//! Order: [`offer`] makes what one `[tls]` stands for · [`Terms`] has all of them for one listener · [`Terms::choose`] finds the one
//! for a name · [`Listener`] holds the terms of this moment.
//!
//! Invariant: terms are complete: whatever name a client asks for, or none, there is a certificate for it.

use super::numbers::TermsNumber;
use super::pair::{self, Pair};
use super::{Offer, Options};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Which of the plan's tables is for which name, on one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    exact: HashMap<Box<str>, u16>,
    /// By the name below which they hold: `example.org` of `*.example.org`.
    below: HashMap<Box<str>, u16>,
    /// Where no name fits, and for clients that name none.
    pub default: u16,
}

impl Names {
    /// No names: all are met with the table at this place.
    pub fn all(default: u16) -> Names {
        Names { default, ..Names::default() }
    }

    /// Has a name be met with the table at this place: `example.org`, or `*.example.org` for all below.
    pub fn add(&mut self, name: &str, place: u16) {
        let lower = name.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(suffix) => self.below.insert(suffix.into(), place),
            None => self.exact.insert(lower.into(), place),
        };
    }

    /// The place of the table for this name: the whole name before one that it is below of, and the longest of those.
    pub fn find(&self, server_name: Option<&str>) -> u16 {
        let Some(name) = server_name.filter(|_| !self.exact.is_empty() || !self.below.is_empty()) else {
            return self.default;
        };
        let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let exact = self.exact.get(&*lower);
        let below = || lower.match_indices('.').find_map(|(at, _)| self.below.get(&lower[at + 1..]));
        exact.or_else(below).copied().unwrap_or(self.default)
    }

    /// Every place that may be found.
    pub fn places(&self) -> impl Iterator<Item = u16> {
        let named = self.exact.values().chain(self.below.values()).copied();
        named.chain([self.default])
    }
}

/// What a listener offers at one moment.
pub struct Terms {
    names: Names,
    /// Those of all tables of the plan, each with its number.
    offers: Arc<[(TermsNumber, Offer)]>,
}

impl fmt::Debug for Terms {
    /// Without what is behind them: keys have no business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Terms {
    /// The terms of a listener; `offers` are those of all tables of the plan.
    pub fn new(names: Names, offers: Arc<[(TermsNumber, Offer)]>) -> Terms {
        assert!(names.places().all(|place| usize::from(place) < offers.len()), "each name leads to an offer");
        Terms { names, offers }
    }

    /// The terms for a client that asks for this name, and their number ([`numbers`](super::numbers)).
    pub fn choose(&self, server_name: Option<&str>) -> (TermsNumber, &Offer) {
        let (number, offer) = &self.offers[usize::from(self.names.find(server_name))];
        (*number, offer)
    }
}

/// What one listener offers; it may be another the next moment.
#[derive(Debug)]
pub struct Listener {
    terms: RwLock<Arc<Terms>>,
}

impl Listener {
    /// One that offers this.
    pub fn new(terms: Terms) -> Listener {
        Listener { terms: RwLock::new(Arc::new(terms)) }
    }

    /// What it offers now.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has it offer something else from the next handshake on.
    pub fn offer(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }

    /// The same for other offers, under the names that it has.
    pub fn renew(&self, offers: &Arc<[(TermsNumber, Offer)]>) {
        let names = self.terms().names.clone();
        self.offer(Terms::new(names, offers.clone()));
    }
}

/// The cryptography, which all configurations share.
pub(super) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    // AES with 128 bits first, as browsers have it: it is safe for as long as the rest is, and costs the least.
    let is_first = |suite: &SupportedCipherSuite| suite.suite().as_str().is_some_and(|name| name.contains("AES_128"));
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite));
    Arc::new(provider)
});

/// One for the whole process, so that a client may go on with any worker. It changes its keys every six hours, and a ticket lives for twelve.
static TICKETER: LazyLock<Option<Arc<dyn ProducesTickets>>> = LazyLock::new(|| aws_lc_rs::Ticketer::new().ok());

/// By which protocols a connection may go on (RFC 7301), best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Of which file something is wrong, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadOffer {
    /// That of the authorities of clients.
    Authorities(String),
    /// That of the certificate.
    Certificate(String),
}

/// What the table `options` stands for, with what is in the files that it names.
pub fn offer(
    options: &Options,
    pair: &Pair,
    authorities: &[CertificateDer<'static>],
    offers_http2: bool,
) -> Result<Offer, BadOffer> {
    let versions: &[&SupportedProtocolVersion] = if options.only_1_3 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(PROVIDER.clone()).with_protocol_versions(versions);
    let builder =
        builder.map_err(|error| BadOffer::Certificate(format!("the cryptography has no such version: {error}")))?;
    let builder = match &options.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = verifier(authorities, clients.is_required).map_err(BadOffer::Authorities)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified())));
    // All suites are strong: the order is ours, so that it does not matter what a client puts first.
    config.ignore_client_order = true;
    config.alpn_protocols = PROTOCOLS[usize::from(!offers_http2)..].iter().map(|name| name.to_vec()).collect();
    // What is resumed is kept by the client, and not by each worker for itself.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match (&options.clients, &*TICKETER) {
        (None, Some(ticketer)) => config.ticketer = ticketer.clone(),
        // Where clients show certificates, each connection shows one anew: a ticket of another site must not stand for it.
        _ => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}

/// What clients' certificates are held against.
fn verifier(authorities: &[CertificateDer<'static>], is_required: bool) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| pair::told(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone());
    let verifier = if is_required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_come_before_those_below() {
        let mut names = Names::all(7);
        for (name, place) in [("example.org", 1), ("*.example.org", 2), ("*.b.Example.org", 3), ("a.example.org", 4)] {
            names.add(name, place);
        }
        for (name, expected) in [
            (None, 7),
            (Some("example.org"), 1),
            (Some("EXAMPLE.org."), 1),
            (Some("a.example.org"), 4),
            (Some("c.example.org"), 2),
            (Some("x.a.example.org"), 2),
            (Some("x.b.example.org"), 3),
            (Some("b.example.org"), 2),
            (Some("example.com"), 7),
            (Some(""), 7),
        ] {
            assert_eq!(names.find(name), expected, "{name:?}");
        }
        assert_eq!(Names::all(3).find(Some("example.org")), 3);
    }
}
