//! Who comes in, and who makes room: the limits of connections.
//!
//! Order, when there are too many: the connection of this core that is idle for longest ends · where none is idle, the newcomer is told to
//! come again, and closed.
//!
//! Invariant: whoever has a request under way is never touched, and who is turned away is not counted.

use super::phase::Phase;
use super::roster::{Place, Roster};
use crate::counters;
use crate::defence::client::Client;
use crate::defence::connections;
use crate::defence::episode;
use crate::defence::memory::{self, Level};
use crate::http::status::Status;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::time::Instant;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Connections,
    /// The client has as many as it may have.
    OfClient,
    /// Memory is scarce.
    Memory,
    /// Descriptors have run out.
    Descriptors,
}

impl Refused {
    /// What it is answered with.
    pub(super) fn status(self) -> Status {
        match self {
            Refused::OfClient => Status::TOO_MANY_REQUESTS,
            Refused::Connections | Refused::Memory | Refused::Descriptors => Status::SERVICE_UNAVAILABLE,
        }
    }

    /// One word for it, in docs/logging.md.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Refused::Connections => "max_connections",
            Refused::OfClient => "max_connections_per_client",
            Refused::Memory => "memory",
            Refused::Descriptors => "descriptors",
        }
    }

    /// Counts one.
    pub(super) fn count(self) {
        let refused = match self {
            Refused::Connections => counters::Refused::Total,
            Refused::OfClient => counters::Refused::PerClient,
            Refused::Memory => counters::Refused::Memory,
            Refused::Descriptors => counters::Refused::Descriptors,
        };
        counters::here().refused(refused).add(1);
    }
}

/// What a roster remembers of who could make room.
#[derive(Default)]
pub(super) struct Shedding {
    /// Idle connections by key, with the tick in which they became it; the one that is idle for longest is the last.
    candidates: RefCell<Vec<(u32, usize)>>,
    /// Newcomers that are not worth another look at all connections, as the last one found none idle.
    looks_spared: Cell<usize>,
    /// The most connections that there were lately.
    crowd: Cell<usize>,
    /// The tick in which a crowd was told to have gone.
    crowd_gone_tick: Cell<u32>,
}

/// Candidates that one look at all connections brings, so that a crowd of newcomers does not have each look at all of them.
const CANDIDATES_MAX: usize = 64;

/// So many connections are a crowd: what they took is worth giving back.
const CROWD_MIN: usize = 128;

/// Seconds between two crowds: what goes and comes all the time is better kept.
const CROWD_SECONDS: u32 = 10;

/// Seconds after which one that has said nothing yet counts as idle.
const FRESH_SECONDS_MIN: u32 = 2;

impl Place {
    /// Lets the connection in, which is already counted, unless there are too many.
    pub(super) fn admit(&self) -> Result<(), Refused> {
        if memory::level() == Level::Scarce {
            return Err(Refused::Memory);
        }
        let limit = self.roster.limits().connections_max;
        if limit == 0 || connections::count() <= limit || self.roster.shed(1) > 0 {
            return Ok(());
        }
        if episode::CONNECTIONS.note(Instant::now()) {
            tracing::warn!(
                "there are {limit} connections, as many as `max_connections` allows, and none of them is idle: newcomers are \
                 turned away with 503"
            );
        }
        Err(Refused::Connections)
    }

    /// Counts the connection for the client at this address, unless that has too many; nobody knows who is behind a Unix socket.
    pub(super) fn admit_client(&self, address: Option<IpAddr>) -> Result<(), Refused> {
        let limit = self.roster.limits().connections_of_client_max;
        match address {
            Some(address) if limit > 0 && !self.watch.count_for(Client::of(address), limit) => Err(Refused::OfClient),
            _ => Ok(()),
        }
    }

    /// The connection is not served, and counted no more.
    pub(super) fn release(&self) {
        self.watch.release();
    }
}

impl Roster {
    /// Ends `count` connections that are idle, those that are for longest first; gives how many there were to end.
    pub fn shed(&self, count: usize) -> usize {
        let shed = (0..count).take_while(|_| self.shed_one()).count();
        if shed > 0 {
            tracing::debug!("{shed} idle connections make room");
        }
        shed
    }

    fn shed_one(&self) -> bool {
        if self.take_candidate() {
            return true;
        }
        let spared = self.shedding.looks_spared.get();
        if spared > 0 {
            self.shedding.looks_spared.set(spared - 1);
            return false;
        }
        self.look_for_candidates();
        let found = self.take_candidate();
        if !found {
            self.shedding.looks_spared.set(self.len() / CANDIDATES_MAX);
        }
        found
    }

    /// Ends the candidate that is idle for longest, of those that still are.
    fn take_candidate(&self) -> bool {
        while let Some((begun_tick, key)) = self.next_candidate() {
            let watches = self.watches.borrow();
            let Some(watch) = watches.get(key) else { continue };
            if watch.begun_tick.get() == begun_tick && !watch.shed.get() && self.is_idle(watch.phase.get(), begun_tick)
            {
                watch.shed.set(true);
                watch.wake();
                counters::here().connections_shed.add(1);
                return true;
            }
        }
        false
    }

    fn next_candidate(&self) -> Option<(u32, usize)> {
        self.shedding.candidates.borrow_mut().pop()
    }

    fn look_for_candidates(&self) {
        let mut candidates = self.shedding.candidates.borrow_mut();
        candidates.clear();
        for (key, watch) in self.watches.borrow().iter() {
            let begun_tick = watch.begun_tick.get();
            if !watch.shed.get() && self.is_idle(watch.phase.get(), begun_tick) {
                candidates.push((begun_tick, key));
            }
        }
        if candidates.len() > CANDIDATES_MAX {
            candidates.select_nth_unstable(CANDIDATES_MAX);
            candidates.truncate(CANDIDATES_MAX);
        }
        candidates.shrink_to(CANDIDATES_MAX);
        candidates.sort_unstable_by(|one, other| other.cmp(one));
    }

    fn is_idle(&self, phase: Phase, begun_tick: u32) -> bool {
        match phase {
            Phase::Idle => true,
            // A browser opens some before it needs them; so does who wants to keep others out.
            Phase::Fresh => self.tick_now() - begun_tick >= FRESH_SECONDS_MIN,
            _ => false,
        }
    }

    /// Whether most of many connections have gone, which is told once; asked about once a second.
    pub fn crowd_is_gone(&self) -> bool {
        let Shedding { crowd, crowd_gone_tick, .. } = &self.shedding;
        crowd.set(crowd.get().max(self.len()));
        let is_due = self.tick_now() >= crowd_gone_tick.get() + CROWD_SECONDS;
        let is_gone = is_due && crowd.get() >= CROWD_MIN && self.len() < crowd.get() / 4;
        if is_gone {
            crowd.set(self.len());
            crowd_gone_tick.set(self.tick_now());
        }
        is_gone
    }

    /// Counts none of its connections any more: nobody will look after them, and they will never end.
    pub fn abandon(&self) {
        self.watches.borrow().iter().for_each(|(_, watch)| watch.release());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::roster::tests::LIMITS;
    use crate::connection::roster::{Interrupt, Limits};
    use futures_lite::future::{block_on, pending, poll_once};

    fn is_shed(place: &Place) -> bool {
        block_on(poll_once(place.guard(pending::<()>()))) == Some(Err(Interrupt::Shed))
    }

    #[test]
    fn who_is_idle_for_longest_makes_room_first() {
        let roster = Roster::new(Limits { head_seconds: 1000, idle_seconds: 1000, ..LIMITS });
        let mut idle: Vec<Place> = (0..200)
            .map(|_| {
                let place = roster.enter(0);
                place.begin(Phase::Idle);
                roster.tick();
                place
            })
            .collect();
        let busy: Vec<Place> = [Phase::Head, Phase::Send, Phase::Disk, Phase::Linger]
            .map(|phase| {
                let place = roster.enter(0);
                place.begin(phase);
                place
            })
            .into();
        // One of the candidates asks for something in between.
        assert_eq!(roster.shed(3), 3);
        idle[3].begin(Phase::Disk);
        assert_eq!(roster.shed(97), 97);
        let shed: Vec<usize> = (0..200).filter(|number| is_shed(&idle[*number])).collect();
        assert_eq!(shed, (0..3).chain(4..101).collect::<Vec<_>>());
        idle.drain(..101);
        let fresh = roster.enter(0);
        assert_eq!(roster.shed(1000), 99, "and nobody else");
        assert!(busy.iter().all(|place| !is_shed(place)) && !is_shed(&fresh));
        drop(idle);
        roster.tick();
        roster.tick();
        // Those who were found wanting spare the next ones a look.
        assert_eq!((0..10).map(|_| roster.shed(1)).sum::<usize>(), 1, "by now it has been silent for long");
        assert!(is_shed(&fresh));
    }

    #[test]
    fn a_crowd_goes_once_in_a_while() {
        let roster = Roster::new(LIMITS);
        let pass = |seconds| (0..seconds).for_each(|_| roster.tick());
        pass(CROWD_SECONDS);
        let mut places: Vec<Place> = (0..4 * CROWD_MIN).map(|_| roster.enter(0)).collect();
        assert!(!roster.crowd_is_gone());
        places.truncate(CROWD_MIN);
        assert!(!roster.crowd_is_gone());
        places.truncate(CROWD_MIN - 1);
        assert!(roster.crowd_is_gone() && !roster.crowd_is_gone());
        places.extend((0..CROWD_MIN).map(|_| roster.enter(0)));
        assert!(!roster.crowd_is_gone());
        places.clear();
        assert!(!roster.crowd_is_gone(), "it was only just told");
        pass(CROWD_SECONDS);
        assert!(roster.crowd_is_gone());
    }

    #[test]
    fn a_client_is_counted_while_it_is_there() {
        let roster = Roster::new(Limits { connections_of_client_max: 2, ..LIMITS });
        let address = Some("192.0.2.77".parse().expect("an address"));
        let places = [roster.enter(0), roster.enter(0), roster.enter(0)];
        let outcomes = places.each_ref().map(|place| place.admit_client(address));
        assert_eq!(outcomes, [Ok(()), Ok(()), Err(Refused::OfClient)]);
        assert_eq!(places[2].admit_client(None), Ok(()), "nobody counts who comes by a Unix socket");
        let [first, _second, third] = places;
        drop(first);
        assert_eq!(third.admit_client(address), Ok(()));
    }
}
