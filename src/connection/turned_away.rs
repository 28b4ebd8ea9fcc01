//! Connections that are not served: each is told so at once, and when to come again. Where TLS is spoken, each is just closed: an answer that it
//! could read would cost a handshake.
//!
//! Invariant: of those that linger, so that the answer is not lost, a core has at most [`LINGERING_MAX`]; none of them is counted.

use super::admission::Refused;
use super::close::{self, Close};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::roster::{Place, Roster};
use super::{Door, tell};
use crate::counters::{self, Closed};
use crate::exchange;
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use std::rc::Rc;

/// Connections of a core that linger after they were turned away; others are closed at once.
const LINGERING_MAX: usize = 256;

/// Turns a connection away that has come in, or whose client a proxy has named since.
pub(super) async fn turn_away(
    stream: &mut Stream,
    door: Door,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    refused: Refused,
) {
    place.release();
    if door.is_tls {
        note(peer, refused);
        return;
    }
    let lingering = place.roster.lingering.clone();
    if Rc::strong_count(&lingering) > LINGERING_MAX {
        answer_at_once(stream, peer, shard, place, refused);
        return;
    }
    let mut outbox = Outbox::default();
    let ended = tell_and_close(stream, peer, shard, place, &mut outbox, refused).await;
    outbox.give_back(&shard.buffers);
    drop((ended, lingering));
}

/// Turns a connection away for which there was no descriptor, and waits a moment so that it sees the answer.
pub async fn refuse_gently(mut stream: Stream, door: Door, shard: Rc<Shard>, roster: Rc<Roster>) {
    count();
    let place = roster.enter(door.listener);
    let peer = Peer { listener: door.listener, address: stream.peer(), secured: None };
    turn_away(&mut stream, door, &peer, &shard, &place, Refused::Descriptors).await;
}

/// The same, without waiting.
pub fn refuse_at_once(mut stream: Stream, door: Door, shard: &Shard, roster: &Rc<Roster>) {
    count();
    let place = roster.enter(door.listener);
    let peer = Peer { listener: door.listener, address: stream.peer(), secured: None };
    if door.is_tls {
        note(&peer, Refused::Descriptors);
        return;
    }
    answer_at_once(&mut stream, &peer, shard, &place, Refused::Descriptors);
}

/// Counts a connection that did not come to be served, as one that came and went.
fn count() {
    counters::here().accepted.add(1);
    counters::here().closed(Closed::Refused).add(1);
}

/// Answers a connection that will not be served, and closes it so that the answer arrives.
async fn tell_and_close(
    stream: &mut Stream,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    refused: Refused,
) -> Result<(), Close> {
    answer(peer, shard, place, outbox, refused);
    outbox.flush(stream, place).await?;
    close::linger(stream, shard, place).await
}

fn answer_at_once(stream: &mut Stream, peer: &Peer, shard: &Shard, place: &Place, refused: Refused) {
    let mut outbox = Outbox::default();
    answer(peer, shard, place, &mut outbox, refused);
    // Who is gone already needs no answer.
    let _ = stream.answer_and_shut_down(outbox.buffer(&shard.buffers));
    outbox.give_back(&shard.buffers);
}

/// Counts a connection that is not served.
fn note(peer: &Peer, refused: Refused) {
    refused.count();
    tracing::debug!(client = ?peer.address, reason = refused.reason(), "refused: the connection is not served");
}

/// Puts the answer into the outbox, and tells of it.
fn answer(peer: &Peer, shard: &Shard, place: &Place, outbox: &mut Outbox, refused: Refused) {
    note(peer, refused);
    let answer = exchange::turn_away(shard, peer, refused.status(), outbox.buffer(&shard.buffers));
    tell(None, answer, peer, place, &Inbox::default(), outbox);
}
