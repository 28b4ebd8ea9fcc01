//! What one core owns: what is served now, the clock, the spare buffers.
//!
//! One shard belongs to one executor and is never shared, so plain cells suffice and nothing
//! is locked. What the configuration says is in a [`Service`], which a reload replaces; the rest lives as long as the worker.
//!
//! Invariant: within a tick (about a second) the clock stands still; whatever is cheap enough to be
//! a second old reads it instead of asking the kernel.

mod service;

pub use service::{ClientField, Options, Service, Trusted};

use crate::http::date::HttpDate;
use crate::http::multipart::Boundary;
use crate::http::request::HeadLimits;
use crate::http::respond::Now;
use crate::site::Site;
use crate::socket::bulk::Bulk;
use crate::storage::root::Denied;
use crate::tls;
use crate::tls::numbers::TermsNumber;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The listener that the connection came in by.
    pub listener: u16,
    /// Its address, or that of the client whose connection a trusted proxy passes on; none on a Unix socket.
    pub address: Option<IpAddr>,
    /// The number of the TLS terms that it was met with; none without TLS.
    pub secured: Option<TermsNumber>,
}

/// What one core owns.
pub struct Shard {
    /// What is served, by the number of a listener.
    served: RefCell<Vec<Option<Served>>>,
    /// How often that was replaced.
    generation: Cell<u64>,
    /// Limits on request heads.
    pub head_limits: Cell<HeadLimits>,
    /// What separates the parts of an answer.
    pub boundary: Boundary,
    /// The time of this tick.
    pub clock: Clock,
    /// Spare buffers for heads that come in and answers that go out.
    pub buffers: Buffers,
    /// Turns of those who send much.
    pub bulk: Bulk,
    /// Turns of TLS handshakes, each step of which takes as long as many small requests.
    pub handshakes: Bulk,
    /// Leave to read ahead.
    pub read_ahead: Rc<ReadAhead>,
    /// Set once, when the worker stops: answers then say that the connection closes.
    pub draining: Cell<bool>,
}

/// What is served on one listener.
#[derive(Clone)]
pub struct Served {
    /// The sites, and what goes with them.
    pub service: Rc<Service>,
    /// Which of the service's listeners it is.
    position: u16,
    /// A reload has done away with the listener: its connections end with the next answer.
    pub is_gone: bool,
}

impl Served {
    /// The site that a request is for.
    pub fn site(&self, authority: Option<&str>) -> &Site {
        self.service.site(self.position.into(), authority)
    }

    /// The certificates that the listener shows, where its connections are encrypted.
    pub fn tls(&self) -> Option<&Arc<tls::Listener>> {
        self.service.tls(self.position.into())
    }
}

impl Shard {
    /// A shard that serves what these options say, each listener under its position among them. Opens roots and password
    /// files: for start-up.
    pub fn open(options: &Options) -> Result<Shard, String> {
        let shard = Shard::new(options.head_limits);
        shard.serve(
            &Rc::new(Service::open(options)?),
            (0..).take(options.hosts.len()).map(|position| (position, position)),
        );
        Ok(shard)
    }

    /// A shard that serves nothing yet.
    pub fn new(head_limits: HeadLimits) -> Shard {
        Shard {
            served: RefCell::default(),
            generation: Cell::default(),
            head_limits: Cell::new(head_limits),
            boundary: Boundary::new(random_bits()),
            clock: Clock::new(),
            buffers: Buffers::default(),
            bulk: Bulk::default(),
            handshakes: Bulk::default(),
            read_ahead: Rc::default(),
            draining: Cell::new(false),
        }
    }

    /// Serves this from the next request on; `listeners` are the positions of its listeners among its options, and their
    /// numbers. Others are gone from then on, and what they served last is served to their connections until those end.
    pub fn serve(&self, service: &Rc<Service>, listeners: impl IntoIterator<Item = (u16, u16)>) {
        self.generation.set(self.generation.get() + 1);
        let mut served = self.served.borrow_mut();
        served.iter_mut().flatten().for_each(|one| one.is_gone = true);
        for (position, number) in listeners {
            let at = usize::from(number);
            if served.len() <= at {
                served.resize_with(at + 1, || None);
            }
            served[at] = Some(Served { service: service.clone(), position, is_gone: false });
        }
        self.head_limits.set(service.head_limits);
    }

    /// Which of the services that followed one another is served now.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// What is served to a connection that came in by this listener.
    pub fn served(&self, listener: u16) -> Served {
        let served = self.served.borrow();
        served[usize::from(listener)].clone().expect("a listener is forgotten after its last connection")
    }

    /// Whether one more message that whoever connects to this listener can cause may be told now.
    pub fn admits_message(&self, listener: u16) -> bool {
        let served = self.served.borrow();
        served.get(usize::from(listener)).and_then(Option::as_ref).is_some_and(|one| one.service.admits_message())
    }

    /// The listeners that are gone.
    pub fn gone(&self) -> Vec<u16> {
        let served = self.served.borrow();
        (0..)
            .zip(served.iter())
            .filter(|(_, one)| one.as_ref().is_some_and(|one| one.is_gone))
            .map(|(at, _)| at)
            .collect()
    }

    /// Forgets a listener that is gone, and has no connection left.
    pub fn forget(&self, listener: u16) {
        let forgotten = self.served.borrow_mut()[usize::from(listener)].take();
        debug_assert!(forgotten.is_some_and(|served| served.is_gone));
    }

    /// Looks after what time changes and the disk may delay; called about once a second. The error is that a document root
    /// was replaced by another that this thread may not read.
    pub async fn tick(&self) -> Result<(), Denied> {
        let mut outcome = Ok(());
        for service in self.services() {
            outcome = outcome.and(service.tick().await);
        }
        outcome
    }

    /// Gives back memory that only makes answers quick, while it is short, and takes it again afterwards; called about once a
    /// second.
    pub fn fit_into_memory(&self, is_short: bool) {
        self.services().iter().for_each(|service| service.fit_into_memory(is_short));
    }

    /// Each service that is in use.
    fn services(&self) -> Vec<Rc<Service>> {
        let mut services: Vec<Rc<Service>> = Vec::new();
        for served in self.served.borrow().iter().flatten() {
            if !services.iter().any(|service| Rc::ptr_eq(service, &served.service)) {
                services.push(served.service.clone());
            }
        }
        services
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
