//! One peer that speaks HTTP/2: many requests at a time, each answered as those of HTTP/1.1 are.
//!
//! Order of a round: what came in becomes events · requests are answered, as far as they need not wait · [`answers`] of those that had to
//! wait · content, by the client's priorities · one send of all of it. It waits when a round brought nothing.
//!
//! Invariant: no stream waits for another, but for its turn to be sent; what is made for a peer that takes nothing is bounded by
//! [`OUT_BYTES_MAX`] and the streams that it may open.

mod answers;
mod body;
mod endings;
mod talk;
mod wait;

use super::close::{self, Close};
use super::inbox::Inbox;
use super::phase::Phase;
use super::roster::{Interrupt, Place};
use crate::http2::hpack::Encoder;
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use answers::{Answers, answer};
use futures_lite::future::yield_now;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use talk::{Round, Talk};

/// Bytes that wait to be sent, from which on nothing is added to them.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// Serves a peer until its connection ends. `inbox` holds what has come already.
pub(super) async fn converse(
    stream: &mut Stream,
    peer: Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<Close, Close> {
    let encoder = Rc::new(RefCell::new(Encoder::new()));
    let mut answers = Answers::new(|ask| answer(shard.clone(), peer, encoder.clone(), ask));
    let mut talk = Talk::new(peer, shard, place, encoder.clone());
    let outcome = loop {
        let round = poll_fn(|cx| talk.poll_round(cx, stream, inbox, &mut answers)).await;
        match round {
            Ok(Round::Yield) => yield_now().await,
            Ok(Round::Turn) => {
                let _turn = shard.bulk.turn().await;
                if let Err(error) = talk.send_now(stream) {
                    break Err(error);
                }
            }
            Ok(Round::End(close)) => break Ok(close),
            Err(close) => break Err(close),
        }
    };
    talk.end(stream, outcome).await
}

impl Talk<'_> {
    /// Sends what is left, says why it ends, and closes.
    async fn end(mut self, stream: &mut Stream, outcome: Result<Close, Close>) -> Result<Close, Close> {
        let is_told = match &outcome {
            Err(Close::Protocol(error)) => {
                self.core.fail(error, &mut self.out);
                true
            }
            Ok(_) | Err(Close::Interrupted(Interrupt::TimedOut(_) | Interrupt::Shed | Interrupt::Draining)) => {
                self.core.settle(&mut self.out);
                true
            }
            Err(_) => false,
        };
        let is_gone = matches!(&outcome, Ok(Close::ByPeer) | Err(Close::Interrupted(Interrupt::TimedOut(Phase::Send))));
        if is_told && !is_gone && self.flush(stream).await.is_ok() {
            close::linger(stream, self.shard, self.place).await?;
        }
        outcome
    }
}
