//! What one core owns: the sites with their catalogue, the clock, the spare buffers, the limits.
//!
//! One shard belongs to one executor and is never shared, so plain cells suffice and nothing
//! is locked.
//!
//! Invariant: within a tick (about a second) the clock stands still; whatever is cheap enough to be
//! a second old reads it instead of asking the kernel.

use crate::http::date::HttpDate;
use crate::http::fields::{FieldName, Fields};
use crate::http::forwarded;
use crate::http::multipart::Boundary;
use crate::http::request::HeadLimits;
use crate::http::respond::Now;
use crate::site::access::Networks;
use crate::site::catalogue::Catalogue;
use crate::site::gate::Gate;
use crate::site::hosts::Hosts;
use crate::site::{self, Site};
use crate::socket::bulk::Bulk;
use crate::storage::cache::Budget;
use crate::storage::root::Root;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a shard is made of.
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

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The listener that the connection came in by.
    pub listener: u16,
    /// Its address, or that of the client whose connection a trusted proxy passes on; none on a Unix socket.
    pub address: Option<IpAddr>,
}

/// What one core owns.
pub struct Shard {
    sites: Vec<Site>,
    hosts: Arc<[Hosts]>,
    roots: Vec<Rc<Root>>,
    catalogue: Rc<Catalogue>,
    gate: Rc<Gate>,
    trusted: Arc<Trusted>,
    /// Limits on request heads.
    pub head_limits: HeadLimits,
    /// What separates the parts of an answer.
    pub boundary: Boundary,
    /// The time of this tick.
    pub clock: Clock,
    /// Spare buffers for heads that come in and answers that go out.
    pub buffers: Buffers,
    /// Turns of those who send much.
    pub bulk: Bulk,
    /// Leave to read ahead.
    pub read_ahead: Rc<ReadAhead>,
    /// Set once, when the worker stops: answers then say that the connection closes.
    pub draining: Cell<bool>,
}

impl Shard {
    /// A shard of these options. Opens roots and password files: for start-up.
    pub fn open(options: &Options) -> Result<Shard, String> {
        let catalogue = Rc::new(Catalogue::new(options.cache));
        let gate = Rc::new(Gate::default());
        let mut roots: HashMap<Arc<Path>, Rc<Root>> = HashMap::new();
        let mut sites = Vec::with_capacity(options.sites.len());
        for (number, site) in options.sites.iter().enumerate() {
            let number = u16::try_from(number).map_err(|_| "more sites than can be told apart".to_owned())?;
            sites.push(Site::open(site, number, &mut roots, &catalogue, &gate)?);
        }
        Ok(Shard {
            sites,
            hosts: options.hosts.clone(),
            roots: roots.into_values().collect(),
            catalogue,
            gate,
            trusted: options.trusted.clone(),
            head_limits: options.head_limits,
            boundary: Boundary::new(random_bits()),
            clock: Clock::new(),
            buffers: Buffers::default(),
            bulk: Bulk::default(),
            read_ahead: Rc::default(),
            draining: Cell::new(false),
        })
    }

    /// The site that a request is for.
    pub fn site(&self, listener: u16, authority: Option<&str>) -> &Site {
        &self.sites[self.hosts[usize::from(listener)].find(authority)]
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

    /// Looks after what time changes and the disk may delay; called about once a second.
    pub async fn tick(&self) {
        self.catalogue.tick();
        for root in &self.roots {
            root.refresh().await;
        }
        self.gate.refresh().await;
    }
}

/// Bits that nobody who writes a file can know.
fn random_bits() -> u128 {
    // Each state is seeded by the system; hashing nothing gives away the seed's digest only.
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

/// The time as of the last tick, in every form that answers need.
pub struct Clock {
    now: Cell<Now>,
    tick: Cell<u64>,
}

impl Clock {
    fn new() -> Clock {
        Clock { now: Cell::new(Now::new(system_date())), tick: Cell::new(0) }
    }

    /// Reads the system's clock; called about once a second.
    pub fn tick(&self) {
        self.now.set(Now::new(system_date()));
        self.tick.set(self.tick.get() + 1);
    }

    /// The date of this tick.
    pub fn now(&self) -> Now {
        self.now.get()
    }

    /// Ticks since the shard began: never set back, unlike the date.
    pub fn ticks(&self) -> u64 {
        self.tick.get()
    }
}

fn system_date() -> HttpDate {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HttpDate::from_unix(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// Buffers that no connection needs at the moment. A connection takes one when bytes come in, and
/// gives it back when it has nothing in it, so that an idle connection holds none.
#[derive(Default)]
pub struct Buffers {
    /// For bytes that come in; initialised once, and then filled over and over.
    inbound: RefCell<Vec<Box<[u8]>>>,
    /// For bytes that go out; always empty here.
    outbound: RefCell<Vec<Vec<u8>>>,
}

/// Bytes of a fresh buffer: a browser's head, or a few answers, fit.
pub const BUFFER_BYTES: usize = 8 * 1024;

/// An outbound buffer that has grown past this is not kept.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// Buffers of each sort kept at most: enough for what one core has in work at one moment, where the disk is not waited for.
const SPARE_MAX: usize = 32;

impl Buffers {
    /// A buffer of [`BUFFER_BYTES`] to read into. What it holds is of no meaning.
    pub fn take_inbound(&self) -> Box<[u8]> {
        self.inbound.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    /// Gives back a buffer to read into.
    pub fn give_inbound(&self, buffer: Box<[u8]>) {
        let mut spare = self.inbound.borrow_mut();
        if buffer.len() == BUFFER_BYTES && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }

    /// An empty buffer to write into.
    pub fn take_outbound(&self) -> Vec<u8> {
        self.outbound.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Gives back a buffer to write into.
    pub fn give_outbound(&self, mut buffer: Vec<u8>) {
        let mut spare = self.outbound.borrow_mut();
        if (BUFFER_BYTES..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && spare.len() < SPARE_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Counts the reads ahead that all transfers of one core have in flight or in hand, so that
/// reading ahead never takes more memory than this many spans.
#[derive(Default)]
pub struct ReadAhead {
    spans: Cell<usize>,
}

/// Spans read ahead on one core: 32 MiB of 128 KiB each.
const SPANS_AHEAD_MAX: usize = 256;

impl ReadAhead {
    /// Leave to read one more span ahead, held for as long as the span is.
    pub fn permit(self: &Rc<ReadAhead>) -> Option<ReadAheadPermit> {
        if self.spans.get() >= SPANS_AHEAD_MAX {
            return None;
        }
        self.spans.set(self.spans.get() + 1);
        Some(ReadAheadPermit(self.clone()))
    }
}

/// Leave to hold one span that was read ahead.
pub struct ReadAheadPermit(Rc<ReadAhead>);

impl Drop for ReadAheadPermit {
    fn drop(&mut self) {
        debug_assert!(self.0.spans.get() > 0);
        self.0.spans.set(self.0.spans.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_are_bounded() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take_outbound();
        buffer.extend_from_slice(b"of another client");
        buffers.give_outbound(buffer);
        assert!(buffers.take_outbound().is_empty());
        for _ in 0..2 * SPARE_MAX {
            buffers.give_outbound(Vec::with_capacity(BUFFER_BYTES));
            buffers.give_inbound(vec![0; BUFFER_BYTES].into());
        }
        buffers.give_outbound(Vec::with_capacity(2 * KEPT_BYTES_MAX));
        buffers.give_inbound(vec![0; 2 * BUFFER_BYTES].into());
        assert_eq!(buffers.outbound.borrow().len(), SPARE_MAX);
        assert_eq!(buffers.inbound.borrow().len(), SPARE_MAX);
    }

    #[test]
    fn reading_ahead_has_an_end_and_a_new_beginning() {
        let ahead = Rc::new(ReadAhead::default());
        let permits: Vec<_> = std::iter::from_fn(|| ahead.permit()).collect();
        assert_eq!(permits.len(), SPANS_AHEAD_MAX);
        drop(permits);
        assert!(ahead.permit().is_some());
    }
}
