//! How an HTTP/2 connection waits, and how it comes to its end.
//!
//! Order of an end: the peer is told that it will come, with a ping · when the ping is answered, all that the peer had asked for before has come, and
//! it is told which stream is the last · the connection ends when that was answered.
//!
//! Invariant: a wait has a phase with a deadline, and a stream that does not move on ends by itself.

use super::answers::Answering;
use super::talk::Talk;
use crate::connection::close::Close;
use crate::connection::inbox::Inbox;
use crate::connection::outbox;
use crate::connection::phase::Phase;
use crate::connection::roster::Interrupt;
use crate::counters;
use crate::http2::Event;
use crate::socket::Stream;
use std::task::Context;

/// How long a peer that was told that the connection ends may take to say that it has heard, in ticks.
const NOTICE_TICKS: u32 = 2;

impl Talk<'_> {
    /// Looks after the end of the connection, and after streams that do not move on.
    pub(super) fn watch_over(&mut self, cx: &mut Context<'_>, answers: &mut impl Answering) {
        let must_go = self.place.is_closing() || self.shard.draining.get();
        if must_go || self.shard.generation() != self.generation {
            self.say_that_it_ends();
        }
        if self.input_has_ended {
            while let Some(event) = self.core.give_up(&mut self.out) {
                self.take_event(event, cx, answers);
            }
        }
        let tick = self.place.tick_now();
        if tick == self.looked_tick {
            return;
        }
        self.looked_tick = tick;
        if self.core.is_going() && tick >= self.noticed_tick + NOTICE_TICKS {
            self.core.settle(&mut self.out);
        }
        let limits = self.place.limits();
        self.core.reset_answered(tick.saturating_sub(limits.linger_seconds), &mut self.out);
        while let Some(event) = self.core.overdue(tick, limits.head_seconds, limits.send_seconds, &mut self.out) {
            if matches!(event, Event::Ended(_)) {
                counters::here().slow_peers_cut.add(1);
            }
            self.take_event(event, cx, answers);
        }
    }

    /// Tells the peer that the connection will end, once; what it has asked for until it knows is answered.
    pub(super) fn say_that_it_ends(&mut self) {
        if !self.core.is_going() {
            self.core.notice(&mut self.out);
            self.noticed_tick = self.place.tick_now();
        }
    }

    /// Whether all is done that will be.
    pub(super) fn ended(&self, has_no_answers: bool) -> Option<Close> {
        let is_over = self.core.is_settled() || self.input_has_ended;
        if !is_over || self.core.has_streams() || !has_no_answers || self.backlog() > 0 {
            return None;
        }
        Some(if self.input_has_ended { Close::ByPeer } else { Close::Finished })
    }

    /// Begins the phase of what is waited for now.
    pub(super) fn begin_wait(&mut self, inbox: &Inbox, has_no_answers: bool) {
        let mut sendings = self.sending.iter().flatten();
        let phase = if self.backlog() > 0 {
            Phase::Send
        } else if self.core.is_stalled() {
            Phase::Window
        } else if self.timer.is_some() {
            Phase::Paced
        } else if !has_no_answers || sendings.any(|sending| sending.body.is_read()) {
            Phase::Disk
        } else if self.core.amid_bytes() == Some(0) && self.place.phase() == Phase::Fresh {
            Phase::Fresh
        } else if self.core.amid_bytes().is_some() || !inbox.unread().is_empty() || self.core.has_streams() {
            Phase::Head
        } else if self.core.is_going() || self.core.has_answered() {
            Phase::Linger
        } else {
            Phase::Idle
        };
        if phase == Phase::Idle && self.out.capacity() > 0 {
            self.shard.buffers.give_outbound(std::mem::take(&mut self.out));
            self.written = Vec::new();
        }
        if self.place.phase() != phase {
            if phase == Phase::Idle { self.begin_idle() } else { self.place.begin(phase) }
        }
        if let Some(bytes) = self.core.amid_bytes().filter(|_| phase == Phase::Head) {
            self.place.head_came(bytes + inbox.unread().len());
        }
    }

    /// A connection is idle while nothing is asked for: pings and settings do not prolong it.
    fn begin_idle(&mut self) {
        self.place.begin_idle();
        match self.idle {
            Some((requests, deadline)) if requests == self.place.requests() => self.place.set_deadline(deadline),
            _ => self.idle = Some((self.place.requests(), self.place.deadline())),
        }
    }

    /// After an interrupted wait: whether to go on.
    pub(super) fn go_on(&mut self, stream: &Stream, interrupt: Interrupt) -> Result<(), Close> {
        match interrupt {
            Interrupt::TimedOut(Phase::Send) => outbox::go_on(stream, self.place, interrupt),
            // Streams whose windows stay closed are ended in the next round.
            Interrupt::TimedOut(Phase::Window) => {
                self.place.begin(Phase::Window);
                Ok(())
            }
            // Streams whose content does not come are answered in the next round.
            Interrupt::TimedOut(Phase::Head) if self.core.amid_bytes().is_none() && self.core.has_streams() => {
                self.place.begin(Phase::Head);
                Ok(())
            }
            Interrupt::TimedOut(Phase::Linger) if self.core.reset_answered(u32::MAX, &mut self.out) => Ok(()),
            Interrupt::TimedOut(Phase::Linger) if !self.core.is_settled() => {
                self.core.settle(&mut self.out);
                Ok(())
            }
            // It is told in the next round, and the phase is no longer the idle one.
            Interrupt::Draining => Ok(()),
            other => Err(other.into()),
        }
    }
}
