//! One TCP peer, from the accepted socket to the close.
//!
//! [`serve`] is the loop: `proxied` learns who a proxy speaks for, the [`inbox`] collects a head, `exchange` answers it, the [`outbox`]
//! sends; the [`roster`] sees to it that no wait is endless; [`close`] names why it ended.
//!
//! Invariant: answers leave in the order of their requests, and after an answer that says
//! `Connection: close` nothing more is read as a request.

pub mod close;
pub mod inbox;
pub mod outbox;
mod proxied;
pub mod roster;
mod transfer;

use crate::exchange::{self, Answer, Outgoing, Piece};
use crate::http::framing::{Persistence, RequestContent};
use crate::http::request::{self, Parse, RequestHead};
use crate::observe::exchanged::{self, Unfinished};
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use close::Close;
use inbox::{Fill, Inbox, narrow};
use outbox::Outbox;
use roster::{Interrupt, Phase, Place, Roster};
use std::pin::pin;
use std::rc::Rc;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its number; there are few.
    pub listener: u16,
    /// Whether a PROXY header comes before the first request.
    pub is_proxied: bool,
}

/// Serves one peer until its connection ends.
pub async fn serve(mut stream: Stream, door: Door, shard: Rc<Shard>, roster: Rc<Roster>) {
    let place = roster.enter(door.listener);
    let mut inbox = Inbox::default();
    let mut outbox = Outbox::default();
    let close = match converse(&mut stream, door, &shard, &place, &mut inbox, &mut outbox).await {
        Ok(close) | Err(close) => close,
    };
    if close.leaves_promises() {
        // What was gathered before goes out whole; the peer may be gone, which changes nothing.
        let _ = outbox.flush(&mut stream, &place).await;
    }
    inbox.give_back(&shard.buffers);
    outbox.give_back(&shard.buffers);
    tracing::debug!("connection closed: {close}");
}

/// Answers gathered before they are sent and other connections have their turn.
const GATHERED_ANSWERS_MAX: u32 = 64;

async fn converse(
    stream: &mut Stream,
    door: Door,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
) -> Result<Close, Close> {
    let mut peer = Peer { listener: door.listener, address: stream.peer() };
    if door.is_proxied {
        // Boxed: the state of what comes once would be carried to the end.
        peer.address = Box::pin(proxied::client(stream, &peer, shard, place, inbox)).await?;
    }
    let mut gathered = 0;
    loop {
        let (Answer { content, persistence, .. }, unfinished, head_bytes, request_content) =
            match request::parse(inbox.unread(), &shard.head_limits.get()) {
                Ok(Parse::Partial) => {
                    outbox.flush(stream, place).await?;
                    gathered = 0;
                    await_head(stream, &peer, shard, place, inbox, outbox).await?;
                    continue;
                }
                Ok(Parse::Complete(head)) => {
                    place.begin(Phase::Disk);
                    let answering = pin!(exchange::answer(shard, &peer, &head, outbox.buffer(&shard.buffers)));
                    let answer = place.guard(answering).await?;
                    let unfinished = tell(Some(&head), &answer, place);
                    (answer, unfinished, narrow(head.len), head.content)
                }
                Err(bad) => {
                    let answer = exchange::refuse(shard, &peer, bad, outbox.buffer(&shard.buffers));
                    let unfinished = tell(None, &answer, place);
                    (answer, unfinished, narrow(inbox.unread().len()), RequestContent::Present)
                }
            };
        match unfinished {
            None => send_content(stream, shard, place, outbox, content).await?,
            // Boxed: idle connections would carry its state.
            Some(unfinished) => {
                Box::pin(send_and_tell(stream, shard, place, outbox, content, unfinished)).await?;
            }
        }
        inbox.consume(head_bytes as usize);
        if persistence == Persistence::Close {
            outbox.flush(stream, place).await?;
            if request_content == RequestContent::Present || !inbox.unread().is_empty() {
                close::linger(stream, shard, place).await?;
            }
            return Ok(Close::Finished);
        }
        gathered += 1;
        if gathered >= GATHERED_ANSWERS_MAX || outbox.is_full() {
            outbox.flush(stream, place).await?;
            gathered = 0;
            glommio::executor().yield_if_needed().await;
        }
    }
}

/// Waits for more bytes of a head. Answers 408 when some came and the rest did not.
async fn await_head(
    stream: &mut Stream,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
) -> Result<(), Close> {
    if !inbox.unread().is_empty() {
        // Once for each head: its time does not begin anew with every byte that drips in.
        if place.phase() != Phase::Head {
            place.begin(Phase::Head);
        }
    } else {
        outbox.give_back(&shard.buffers);
        if place.phase() != Phase::Fresh {
            place.begin(Phase::Idle);
        }
    }
    match inbox.fill(stream, shard, place).await {
        Ok(Fill::Some) => {
            if place.phase() != Phase::Head {
                place.note_request();
            }
            Ok(())
        }
        // A request came in the moment in which the server began to stop: it is answered.
        Err(Close::Interrupted(Interrupt::Draining)) if stream.has_unread() => {
            place.begin(Phase::Head);
            inbox.fill(stream, shard, place).await.map(drop)
        }
        Ok(Fill::End) if inbox.unread().is_empty() => Err(Close::ByPeer),
        Ok(Fill::End) => Err(Close::MidHead),
        Err(Close::Interrupted(Interrupt::TimedOut(Phase::Head))) if !inbox.unread().is_empty() => {
            let answer = exchange::time_out(shard, peer, outbox.buffer(&shard.buffers));
            tell(None, &answer, place);
            outbox.flush(stream, place).await?;
            close::linger(stream, shard, place).await?;
            Err(Close::Interrupted(Interrupt::TimedOut(Phase::Head)))
        }
        Err(close) => Err(close),
    }
}

/// Tells of an answer; gives what is to be ended when its content was sent.
fn tell(head: Option<&RequestHead<'_>>, answer: &Answer, place: &Place) -> Option<Unfinished> {
    exchanged::answered(head, answer.summary, place.next_request_begun(), answer.content.leaves_with_head())
}

/// Sends content that is told of when it was sent, or could not be.
async fn send_and_tell(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    content: Outgoing,
    unfinished: Unfinished,
) -> Result<(), Close> {
    // What was gathered before belongs to other answers; its own head is gathered too.
    let before = place.sent_bytes() + outbox.gathered_bytes() - unfinished.head_bytes();
    let outcome = send_content(stream, shard, place, outbox, content).await;
    // What is gathered when a send failed is never sent.
    let gathered_bytes = if outcome.is_ok() { outbox.gathered_bytes() } else { 0 };
    unfinished.end((place.sent_bytes() + gathered_bytes).saturating_sub(before));
    outcome
}

async fn send_content(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    content: Outgoing,
) -> Result<(), Close> {
    match content {
        Outgoing::Nothing => Ok(()),
        Outgoing::Piece(piece) => send_piece(stream, shard, place, outbox, piece).await,
        // Boxed, as below: few answers have parts, and every connection would carry their state.
        Outgoing::Pieces(pieces) => Box::pin(send_pieces(stream, shard, place, outbox, pieces)).await,
    }
}

async fn send_pieces(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    pieces: Vec<Piece>,
) -> Result<(), Close> {
    for piece in pieces {
        send_piece(stream, shard, place, outbox, piece).await?;
    }
    Ok(())
}

async fn send_piece(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    piece: Piece,
) -> Result<(), Close> {
    match piece {
        Piece::Text(bytes) => outbox.send(stream, place, &bytes).await,
        Piece::Held(bytes, range) => outbox.send(stream, place, &bytes[range]).await,
        Piece::Shared(content, range) => {
            // Boxed, so that the thousands of connections that send nothing large do not carry its state.
            Box::pin(outbox.send_shared(stream, place, &shard.bulk, &content, range)).await
        }
        Piece::File(file, range) => Box::pin(transfer::send_file(stream, shard, place, outbox, file, range)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::HeadLimits;
    use crate::shard::{Options, Trusted};
    use crate::site::{self, hosts::Hosts};
    use crate::storage::cache::Budget;
    use std::sync::Arc;

    /// Futures that are moved into others once made a connection's task 25 KB, so that ten
    /// thousand idle clients took a quarter of a gigabyte.
    #[test]
    fn a_connection_is_small() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        let bytes = executor.run(async {
            let (socket, _) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            let stream = Stream::new(socket.into(), None);
            let options = Options {
                sites: Arc::from([site::Options::default()]),
                hosts: Arc::from([Hosts::new([(0, &[][..])]).expect("no name is wrong")]),
                head_limits: HeadLimits { head_bytes_max: 1024, target_bytes_max: 512 },
                cache: Budget { bytes_max: 0, content_bytes_max: 0 },
                trusted: Arc::new(Trusted::default()),
            };
            let shard = Rc::new(Shard::open(&options).expect("there is nothing to open"));
            let roster = Roster::new(roster::Limits {
                head_seconds: 1,
                idle_seconds: 1,
                send_seconds: 1,
                disk_seconds: 1,
                linger_seconds: 1,
            });
            size_of_val(&serve(stream, Door { listener: 0, is_proxied: false }, shard, roster))
        });
        assert!(bytes <= 824, "{bytes} bytes");
    }
}
