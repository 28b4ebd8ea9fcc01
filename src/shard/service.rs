//! What the configuration says is to be served: the sites with their catalogue, and the limits of requests.
//!
//! A reload opens another one beside it, and requests that begin after it go there; one that is under way holds on to its own.
//!
//! Invariant: a service never changes but for what it remembers of files.

use super::Peer;
use crate::defence::requests::RequestLimit;
use crate::http::fields::{FieldName, Fields};
use crate::http::forwarded;
use crate::http::request::HeadLimits;
use crate::http2;
use crate::site::access::Networks;
use crate::site::catalogue::Catalogue;
use crate::site::gate::Gate;
use crate::site::hosts::Hosts;
use crate::site::{self, Site};
use crate::storage::cache::Budget;
use crate::storage::root::{Denied, Root};
use crate::tls;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What a service is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is served.
    pub sites: Arc<[site::Options]>,
    /// For each listener, which of the sites it serves.
    pub hosts: Arc<[Hosts]>,
    /// Limits on request heads.
    pub head_limits: HeadLimits,
    /// What may be kept in memory.
    pub cache: Budget,
    /// Proxies whose word on a client's address is taken.
    pub trusted: Arc<Trusted>,
    /// How HTTP/2 is spoken.
    pub http2: http2::Options,
    /// For each listener, the certificates that it shows; none where connections are not encrypted.
    pub tls: Arc<[Option<Arc<tls::Listener>>]>,
    /// How many TLS handshakes each client may begin.
    pub handshake_limit: Option<Arc<RequestLimit>>,
}

/// Proxies whose word is taken, and where they say it.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Their addresses.
    pub networks: Networks,
    /// The field in which they name the client.
    pub field: ClientField,
}

/// A request field in which a proxy names the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientField {
    /// What most proxies write.
    #[default]
    XForwardedFor,
    /// RFC 7239
    Forwarded,
}

/// What is served.
pub struct Service {
    sites: Vec<Site>,
    hosts: Arc<[Hosts]>,
    roots: Vec<Rc<Root>>,
    catalogue: Rc<Catalogue>,
    gate: Rc<Gate>,
    trusted: Arc<Trusted>,
    /// Limits on request heads.
    pub head_limits: HeadLimits,
    /// How HTTP/2 is spoken.
    pub http2: http2::Options,
    tls: Arc<[Option<Arc<tls::Listener>>]>,
    /// How many TLS handshakes each client may begin.
    pub handshake_limit: Option<Arc<RequestLimit>>,
}

impl Service {
    /// A service of these options. Opens roots and password files, which may wait for the disk.
    pub fn open(options: &Options) -> Result<Service, String> {
        let catalogue = Rc::new(Catalogue::new(options.cache));
        let gate = Rc::new(Gate::default());
        let mut roots: HashMap<Arc<Path>, Rc<Root>> = HashMap::new();
        let mut sites = Vec::with_capacity(options.sites.len());
        for (number, site) in options.sites.iter().enumerate() {
            let number = u16::try_from(number).map_err(|_| "more sites than can be told apart".to_owned())?;
            sites.push(Site::open(site, number, &mut roots, &catalogue, &gate)?);
        }
        Ok(Service {
            sites,
            hosts: options.hosts.clone(),
            roots: roots.into_values().collect(),
            catalogue,
            gate,
            trusted: options.trusted.clone(),
            head_limits: options.head_limits,
            http2: options.http2,
            tls: options.tls.clone(),
            handshake_limit: options.handshake_limit.clone(),
        })
    }

    /// The site that a request is for, which came in by the listener at this position of the options.
    pub fn site(&self, position: usize, authority: Option<&str>) -> &Site {
        &self.sites[self.hosts[position].find(authority)]
    }

    /// The certificates that the listener at this position of the options shows, where its connections are encrypted.
    pub fn tls(&self, position: usize) -> Option<&Arc<tls::Listener>> {
        self.tls.get(position)?.as_ref()
    }

    /// The client that a request comes from: the peer, or whom a trusted proxy names.
    pub fn client(&self, peer: &Peer, fields: &Fields<'_>) -> Option<IpAddr> {
        let Trusted { networks, field } = &*self.trusted;
        let name = match field {
            ClientField::XForwardedFor => FieldName::XForwardedFor,
            ClientField::Forwarded => FieldName::Forwarded,
        };
        if networks.is_empty() || !fields.has(name) || !self.trusts(peer) {
            return peer.address;
        }
        let is_trusted = |address| networks.contains(Some(address));
        // A proxy on a Unix socket has no address; no client has this one.
        let proxy = peer.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let lines = fields.values(name);
        let client = match field {
            ClientField::XForwardedFor => forwarded::client_of_x_forwarded_for(lines, proxy, is_trusted),
            ClientField::Forwarded => forwarded::client_of_forwarded(lines, proxy, is_trusted),
        };
        if client == proxy { peer.address } else { Some(client) }
    }

    /// Whether a peer may say on whose behalf it connects.
    pub fn trusts(&self, peer: &Peer) -> bool {
        self.trusted.networks.contains(peer.address)
    }

    /// Whether one more message that whoever connects can cause may be told now.
    pub fn admits_message(&self) -> bool {
        self.catalogue.throttle.admits()
    }

    /// Gives back memory that only makes it quick, or may take it again.
    pub(super) fn fit_into_memory(&self, is_short: bool) {
        if is_short { self.catalogue.give_back() } else { self.catalogue.regrow() }
    }

    /// Looks after what time changes and the disk may delay; called about once a second. The error is that a document root
    /// was replaced by another that this thread may not read.
    pub(super) async fn tick(&self) -> Result<(), Denied> {
        self.catalogue.tick();
        let mut outcome = Ok(());
        for root in &self.roots {
            outcome = outcome.and(root.refresh().await);
        }
        self.gate.refresh().await;
        outcome
    }
}
