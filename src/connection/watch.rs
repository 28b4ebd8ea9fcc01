//! What the roster knows of one connection: its phase, its deadline, what it was last seen to do.
//!
//! Narrow, for each of ten thousand idle connections carries one: ticks are in 32 bits, which is more than a century of seconds.
//!
//! Invariant: what was counted for the whole process is taken back once, by [`Watch::release`].

use super::phase::Phase;

use super::shown::Shown;
use crate::defence::client::Client;
use crate::defence::connections;
use crate::defence::progress::Mark;
use crate::tls::session::TlsFacts;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

pub(super) struct Watch {
    /// The number of the listener that it came in by.
    pub(super) listener: u16,
    /// It ends when it is idle.
    pub(super) is_closing: Cell<bool>,
    pub(super) phase: Cell<Phase>,
    pub(super) timed_out: Cell<bool>,
    /// It ends when it is idle: another connection needs its place.
    pub(super) shed: Cell<bool>,
    is_counted: Cell<bool>,
    /// The tick in which the phase began.
    pub(super) begun_tick: Cell<u32>,
    pub(super) deadline_tick: Cell<u32>,
    /// Requests that were answered.
    pub(super) requests: Cell<u32>,
    pub(super) waker: Cell<Option<Waker>>,
    pub(super) sent_bytes: Cell<u64>,
    pub(super) request_begun: Cell<Instant>,
    /// What the peer had acknowledged when it was last looked at.
    pub(super) mark: Cell<Mark>,
    /// Its number among all connections, once somebody has asked for it.
    pub(super) number: Cell<u64>,
    /// The transfer that is shown to whoever looks in; in a box, for most connections have none.
    pub(super) shown: Cell<Option<Box<Shown>>>,
    /// What is known of its TLS.
    pub(super) tls: OnceCell<Rc<TlsFacts>>,
    /// The client that it is counted for.
    client: Cell<Option<Client>>,
}

impl Watch {
    /// Of a connection that was just accepted, and is counted from here on.
    pub(super) fn new(listener: u16, is_closing: bool, tick: u32, deadline_tick: u32) -> Watch {
        connections::enter();
        Watch {
            listener,
            is_closing: Cell::new(is_closing),
            phase: Cell::new(Phase::Fresh),
            timed_out: Cell::new(false),
            shed: Cell::new(false),
            is_counted: Cell::new(true),
            begun_tick: Cell::new(tick),
            deadline_tick: Cell::new(deadline_tick),
            requests: Cell::new(0),
            waker: Cell::new(None),
            sent_bytes: Cell::new(0),
            request_begun: Cell::new(Instant::now()),
            mark: Cell::new(Mark::default()),
            number: Cell::new(0),
            shown: Cell::new(None),
            tls: OnceCell::new(),
            client: Cell::new(None),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Counts it for a client, unless that has as many as it may have.
    pub(super) fn count_for(&self, client: Client, limit: u32) -> bool {
        let is_admitted = connections::enter_client(client, limit);
        if is_admitted {
            if let Some(other) = self.client.replace(Some(client)) {
                connections::leave_client(other);
            }
        }
        is_admitted
    }

    /// Counts it no more.
    pub(super) fn release(&self) {
        if self.is_counted.replace(false) {
            connections::leave();
        }
        if let Some(client) = self.client.take() {
            connections::leave_client(client);
        }
    }
}
