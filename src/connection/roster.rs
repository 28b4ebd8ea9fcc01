//! The register of one core's live connections: each has a phase, and each phase has a deadline.
//!
//! Deadlines are looked at once a tick (about a second), all together, so that setting one costs
//! a store and no timer. When one has passed, the connection's wait ends with an [`Interrupt`].
//!
//! Invariant: a deadline never fires early; it fires at most two ticks late.

use super::admission::Shedding;
use super::phase::Phase;
use super::shown::{self, Listed, Shown, Streams};
use super::watch::Watch;
use crate::counters::{self, State};
use crate::defence::progress::{self, Mark};
use crate::tls::session::TlsFacts;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a connection may stay in each phase, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A request head, from its first byte to its last; and as long to that first byte on a new
    /// connection.
    pub head_seconds: u32,
    /// Between an answer and the next request.
    pub idle_seconds: u32,
    /// A send of which the peer takes nothing.
    pub send_seconds: u32,
    /// One read of the disk.
    pub disk_seconds: u32,
    /// Reading away unwanted content before the close.
    pub linger_seconds: u32,
    /// Bytes a second of a request head that must come, once its first seconds are over; zero for none.
    pub head_bytes_per_second_min: u32,
    /// Bytes a second of an answer that a peer must take; zero for none.
    pub send_bytes_per_second_min: u32,
    /// Requests that are answered on one connection; zero for no limit.
    pub requests_max: u32,
    /// Connections of the whole process; zero for no limit.
    pub connections_max: u32,
    /// Connections of one client; zero for no limit.
    pub connections_of_client_max: u32,
}

/// Between two looks at answers that somebody waits for.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

const FRESH_SECONDS_WHEN_DRAINING: u32 = 1;

/// A piece of paced content waits for a second at most; the rest is for a timer that is late.
const PACED_SECONDS: u32 = 10;

/// Why a wait was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupt {
    /// The deadline of the phase has passed.
    #[error("timed out: {0:?}")]
    TimedOut(Phase),
    /// The peer takes less of an answer than it must.
    #[error("the peer takes too little")]
    TooSlow,
    /// The connection was idle, and another needed its place.
    #[error("idle, and made room for another")]
    Shed,
    /// The server stops, and the connection was idle.
    #[error("the server stops")]
    Draining,
    /// The worker dies.
    #[error("the worker dies")]
    Aborted,
}

/// The register of one core's connections.
pub struct Roster {
    limits: Cell<Limits>,
    tick: Cell<u32>,
    draining: Cell<bool>,
    aborted: Cell<bool>,
    pub(super) watches: RefCell<Slab<Rc<Watch>>>,
    pub(super) shedding: Shedding,
    /// Transfers of HTTP/2.
    streams: Rc<Streams>,
    /// Held once more by each connection that lingers after it was turned away.
    pub(super) lingering: Rc<()>,
}

impl Roster {
    /// An empty register.
    pub fn new(limits: Limits) -> Rc<Roster> {
        Rc::new(Roster {
            limits: Cell::new(limits),
            tick: Cell::new(0),
            draining: Cell::new(false),
            aborted: Cell::new(false),
            watches: RefCell::default(),
            shedding: Shedding::default(),
            streams: Rc::default(),
            lingering: Rc::default(),
        })
    }

    /// Replaces the limits; a phase that has begun keeps its deadline.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.set(limits);
    }

    /// Registers a connection that was just accepted, by the listener of this number.
    pub(super) fn enter(self: &Rc<Roster>, listener: u16) -> Place {
        let watch = Rc::new(Watch::new(listener, self.draining.get(), self.tick.get(), self.deadline(Phase::Fresh)));
        let key = self.watches.borrow_mut().insert(watch.clone());
        Place { roster: self.clone(), watch, key }
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Ticks so far.
    pub(super) fn tick_now(&self) -> u32 {
        self.tick.get()
    }

    /// Number of live connections.
    pub fn len(&self) -> usize {
        self.watches.borrow().len()
    }

    /// Whether there is no live connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more second has passed: ends the waits whose deadline is behind it.
    pub fn tick(&self) {
        self.tick.set(self.tick.get() + 1);
        let mut counts = [0; State::ALL.len()];
        let window = progress::window_seconds(self.limits().send_seconds);
        for (_, watch) in self.watches.borrow().iter() {
            counts[watch.phase.get().state() as usize] += 1;
            let mut is_due = watch.deadline_tick.get() <= self.tick.get();
            if watch.phase.get() == Phase::Send {
                // The first time, to see where it stands; from then on at the end of each window.
                let Mark { acknowledged_bytes, waited_seconds } = watch.mark.get();
                is_due |= waited_seconds % window == 0;
                watch.mark.set(Mark { acknowledged_bytes, waited_seconds: waited_seconds + 1 });
            }
            if is_due {
                watch.timed_out.set(true);
                watch.wake();
            }
        }
        for (state, _) in State::ALL {
            counters::here().connections(state).set(counts[state as usize]);
        }
    }

    /// Publishes the open transfers, for whoever looks in; called once a second.
    pub fn show(&self) {
        let watches = self.watches.borrow();
        shown::publish(watches.iter().map(|(_, watch)| (&watch.shown, watch.sent_bytes.get())), &self.streams);
    }

    /// Ends the idle waits, now and from here on. A new connection is given a moment more, for
    /// its request is most likely on its way.
    pub fn drain(&self) {
        self.draining.set(true);
        self.close_when_idle(|_| true);
    }

    /// The same for those that came in by the listener of this number, which is gone.
    pub fn close_listener(&self, listener: u16) {
        self.close_when_idle(|watch| watch.listener == listener);
    }

    fn close_when_idle(&self, concerns: impl Fn(&Watch) -> bool) {
        let soon = self.tick.get() + FRESH_SECONDS_WHEN_DRAINING + 1;
        for (_, watch) in self.watches.borrow().iter().filter(|(_, watch)| concerns(watch)) {
            watch.is_closing.set(true);
            if watch.phase.get() == Phase::Fresh {
                watch.deadline_tick.set(soon);
            }
            watch.wake();
        }
    }

    /// Waits for the answers that are under way now; not for what the same connections ask for afterwards.
    pub fn finished(&self) -> impl Future<Output = ()> + use<> {
        let is_busy =
            |watch: &Watch| matches!(watch.phase.get(), Phase::Send | Phase::Window | Phase::Paced | Phase::Disk);
        let watches = self.watches.borrow();
        let busy = watches.iter().filter(|(_, watch)| is_busy(watch));
        let mut busy: Vec<_> = busy.map(|(_, watch)| (Rc::downgrade(watch), watch.requests.get())).collect();
        async move {
            loop {
                busy.retain(|(watch, requests)| {
                    let is_same = |watch: Rc<Watch>| is_busy(&watch) && watch.requests.get() == *requests;
                    watch.upgrade().is_some_and(is_same)
                });
                if busy.is_empty() {
                    return;
                }
                glommio::timer::sleep(LOOK_PAUSE).await;
            }
        }
    }

    /// Whether no live connection came in by the listener of this number.
    pub fn is_empty_of(&self, listener: u16) -> bool {
        !self.watches.borrow().iter().any(|(_, watch)| watch.listener == listener)
    }

    /// Ends all waits, whatever for: nobody will look after these connections any more.
    pub fn abort(&self) {
        self.aborted.set(true);
        for (_, watch) in self.watches.borrow().iter() {
            watch.wake();
        }
    }

    pub(super) fn deadline(&self, phase: Phase) -> u32 {
        let limits = self.limits();
        let seconds = match phase {
            Phase::Fresh if self.draining.get() => FRESH_SECONDS_WHEN_DRAINING,
            Phase::Fresh | Phase::Handshake => limits.head_seconds,
            Phase::Head => limits.seconds_for_head(0),
            Phase::Idle => limits.idle_seconds,
            Phase::Send => limits.send_seconds,
            // Often enough to see each stream whose time is over soon.
            Phase::Window => limits.send_seconds / 2,
            Phase::Paced => PACED_SECONDS,
            Phase::Disk => limits.disk_seconds,
            Phase::Linger => limits.linger_seconds,
        };
        // The tick may be almost over already: without the one more, a deadline would come early.
        self.tick.get() + seconds + 1
    }
}

/// Numbers of connections that were given out.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// One connection's entry in the register; it leaves when this is dropped.
pub(super) struct Place {
    pub(super) roster: Rc<Roster>,
    pub(super) watch: Rc<Watch>,
    key: usize,
}

impl Place {
    /// What the connection is waiting for.
    pub(super) fn phase(&self) -> Phase {
        self.watch.phase.get()
    }

    /// Begins a phase, and its time anew.
    pub(super) fn begin(&self, phase: Phase) {
        self.watch.phase.set(phase);
        self.watch.begun_tick.set(self.roster.tick.get());
        self.watch.deadline_tick.set(self.roster.deadline(phase));
        self.watch.timed_out.set(false);
    }

    /// The peer has taken all it was sent, and what it takes is measured anew from here on.
    pub(super) fn begin_idle(&self) {
        self.begin(Phase::Idle);
        self.watch.mark.set(Mark::default());
    }

    /// Notes what is known of the connection's TLS.
    pub(super) fn note_tls(&self, facts: &Rc<TlsFacts>) {
        // Set once: a connection has one handshake.
        let _ = self.watch.tls.set(facts.clone());
    }

    /// What is known of the connection's TLS; none without.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        self.watch.tls.get().map(|facts| &**facts)
    }

    /// Whether the next request is the last that is answered on this connection.
    pub(super) fn is_at_last_request(&self) -> bool {
        let limit = self.roster.limits().requests_max;
        limit > 0 && self.watch.requests.get() + 1 >= limit
    }

    /// Whether the connection is to end as soon as it is idle.
    pub(super) fn is_closing(&self) -> bool {
        self.watch.is_closing.get()
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> Limits {
        self.roster.limits()
    }

    /// Ticks so far.
    pub(super) fn tick_now(&self) -> u32 {
        self.roster.tick_now()
    }

    /// Counts bytes that the socket took.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.watch.sent_bytes.set(self.watch.sent_bytes.get() + bytes as u64);
    }

    /// Bytes that the socket has taken since the connection began.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.watch.sent_bytes.get()
    }

    /// Notes that the first bytes of a request came in.
    pub(super) fn note_request(&self) {
        self.watch.request_begun.set(Instant::now());
    }

    /// When the last request was answered.
    pub(super) fn answered_at(&self) -> Instant {
        // The next one has begun then, as far as is known.
        self.watch.request_begun.get()
    }

    /// Shows a transfer to whoever looks in, or that there is none any more; gives the one before.
    pub(super) fn show(&self, shown: Option<Box<Shown>>) -> Option<Box<Shown>> {
        self.watch.shown.replace(shown)
    }

    /// Shows the transfer of a stream to whoever looks in, as long as what this gives is there.
    pub(super) fn show_stream(&self, shown: Shown) -> Listed {
        Listed::new(&self.roster.streams, shown)
    }

    /// When the first bytes of the request came in that is answered now. One that came together with it, which is the next,
    /// has begun when this is asked.
    pub(super) fn next_request_begun(&self) -> Instant {
        self.watch.request_begun.replace(Instant::now())
    }

    /// Counts one more request; gives how many there were.
    pub(super) fn count_request(&self) -> u32 {
        self.watch.requests.set(self.watch.requests.get().saturating_add(1));
        self.watch.requests.get()
    }

    /// A number that no other connection of the process has. It is given out when it is first asked for, for all cores
    /// would meet in it with each connection.
    pub(super) fn number(&self) -> u64 {
        if self.watch.number.get() == 0 {
            self.watch.number.set(1 + NUMBERS.fetch_add(1, Ordering::Relaxed));
        }
        self.watch.number.get()
    }

    /// Waits for `future`, but not past the deadline of the phase. It takes what can be moved (pin
    /// the rest where it stands), because a connection would carry a moved future twice.
    pub(super) fn guard<F: Future + Unpin>(&self, mut future: F) -> impl Future<Output = Result<F::Output, Interrupt>> {
        poll_fn(move |cx| {
            // First of all the future: what is already there is never thrown away.
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.interrupted(cx).map(Err)
        })
    }

    /// Whether the wait ends; where it does not, its task will be woken when it does.
    pub(super) fn interrupted(&self, cx: &Context<'_>) -> Poll<Interrupt> {
        let phase = self.phase();
        if self.watch.timed_out.replace(false) {
            return Poll::Ready(Interrupt::TimedOut(phase));
        }
        if self.roster.aborted.get() {
            return Poll::Ready(Interrupt::Aborted);
        }
        if phase == Phase::Idle && self.watch.is_closing.get() {
            return Poll::Ready(Interrupt::Draining);
        }
        if self.watch.shed.get() && matches!(phase, Phase::Idle | Phase::Fresh) {
            return Poll::Ready(Interrupt::Shed);
        }
        let waker = self.watch.waker.take().filter(|waker| waker.will_wake(cx.waker()));
        self.watch.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watch.release();
        self.roster.watches.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use futures_lite::future::{block_on, pending, poll_once};
    use std::pin::pin;

    pub(crate) const LIMITS: Limits = Limits {
        head_seconds: 2,
        idle_seconds: 5,
        send_seconds: 3,
        disk_seconds: 4,
        linger_seconds: 1,
        head_bytes_per_second_min: 0,
        send_bytes_per_second_min: 0,
        requests_max: 0,
        connections_max: 0,
        connections_of_client_max: 0,
    };

    fn ticks_until_interrupt(phase: Phase) -> u32 {
        let roster = Roster::new(LIMITS);
        let place = roster.enter(0);
        place.begin(phase);
        let mut wait = pin!(place.guard(pending::<()>()));
        let mut ticks = 0;
        while ticks < 100 {
            match block_on(poll_once(wait.as_mut())) {
                None => {
                    roster.tick();
                    ticks += 1;
                }
                // A look at what the peer has acknowledged, which is nothing.
                Some(Err(Interrupt::TimedOut(Phase::Send))) if place.look(None, 1).is_ok() => {}
                Some(outcome) => {
                    assert_eq!(outcome, Err(Interrupt::TimedOut(phase)));
                    return ticks;
                }
            }
            wait.set(place.guard(pending::<()>()));
        }
        panic!("never interrupted");
    }

    #[test]
    fn each_phase_has_its_deadline() {
        for (phase, seconds) in [
            (Phase::Fresh, 2),
            (Phase::Head, 2),
            (Phase::Idle, 5),
            (Phase::Send, 3),
            (Phase::Disk, 4),
            (Phase::Paced, PACED_SECONDS),
            (Phase::Linger, 1),
        ] {
            assert_eq!(ticks_until_interrupt(phase), seconds + 1, "{phase:?}");
        }
    }

    #[test]
    fn a_drain_ends_idle_waits_and_an_abort_all() {
        let roster = Roster::new(LIMITS);
        let (idle, sending) = (roster.enter(0), roster.enter(0));
        idle.begin(Phase::Idle);
        sending.begin(Phase::Send);
        assert_eq!(roster.len(), 2);
        roster.drain();
        assert_eq!(block_on(poll_once(idle.guard(pending::<()>()))), Some(Err(Interrupt::Draining)));
        assert_eq!(block_on(poll_once(sending.guard(pending::<()>()))), None);
        // A request that is already there is still taken.
        assert_eq!(block_on(idle.guard(std::future::ready(1))), Ok(1));
        roster.abort();
        assert_eq!(block_on(poll_once(sending.guard(pending::<()>()))), Some(Err(Interrupt::Aborted)));
        drop((idle, sending));
        assert!(roster.is_empty());
    }
}
