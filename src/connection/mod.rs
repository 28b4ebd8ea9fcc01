//! One TCP peer, from the accepted socket to the close.
//!
//! [`serve`] is the loop: `proxied` learns who a proxy speaks for, `secure` makes it one with TLS, the [`inbox`] collects a head, `exchange` answers it, the [`outbox`]
//! sends; the [`roster`] sees to it that no wait is endless; [`close`] names why it ended.
//!
//! Invariant: answers leave in the order of their requests, and after an answer that says
//! `Connection: close` nothing more is read as a request.

pub mod admission;
pub mod close;
mod http2;
pub mod inbox;
pub mod outbox;
mod paced;
mod patience;
mod phase;
mod proxied;
pub mod roster;
mod secure;
mod shown;
mod telling;
mod transfer;
mod turned_away;
mod watch;

pub use turned_away::{refuse_at_once, refuse_gently};

use crate::counters::{self, Closed};
use crate::exchange::{self, Answer, HeadForm, Outgoing, Piece};
use crate::http::framing::{Persistence, RequestContent};
use crate::http::request::{self, BadRequest, Parse, RequestHead};
use crate::http2::frame::PREFACE;
use crate::observe::exchanged::Unfinished;
use crate::observe::live;
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use admission::Refused;
use close::Close;
use inbox::{Fill, Inbox, narrow};
use outbox::Outbox;
use phase::Phase;
use roster::{Interrupt, Place, Roster};
use shown::Shown;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use telling::Telling;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its number; there are few.
    pub listener: u16,
    /// Whether a PROXY header comes before the first request.
    pub is_proxied: bool,
    /// Whether TLS is spoken on it.
    pub is_tls: bool,
}

/// Serves one peer until its connection ends. It is in the register from this call on, and not from the first poll: who stops
/// meanwhile waits for it.
pub fn serve(
    mut stream: Stream,
    door: Door,
    shard: Rc<Shard>,
    roster: &Rc<Roster>,
) -> impl Future<Output = ()> + use<> {
    let place = roster.enter(door.listener);
    // A block, for an async function would keep its arguments twice.
    async move {
        let mut end = End(Closed::Panicked);
        let mut inbox = Inbox::default();
        let mut outbox = Outbox::default();
        if let Err(refused) = admit(&place, stream.peer(), door) {
            end.0 = Closed::Refused;
            let peer = Peer { listener: door.listener, address: stream.peer(), secured: None };
            return Box::pin(turned_away::turn_away(&mut stream, door, &peer, &shard, &place, refused)).await;
        }
        let close = match converse(&mut stream, door, &shard, &place, &mut inbox, &mut outbox).await {
            Ok(close) | Err(close) => close,
        };
        if close.leaves_promises() {
            // What was gathered before goes out whole; the peer may be gone, which changes nothing.
            let _ = outbox.flush(&mut stream, &place).await;
        }
        inbox.give_back(&shard.buffers);
        outbox.give_back(&shard.buffers);
        if close.is_orderly() {
            stream.say_goodbye();
        }
        end.0 = close.counted();
        tracing::debug!(client = ?stream.peer(), reason = close.reason(), "connection closed: {close}");
    }
}

/// Whom a proxy speaks for is counted when it has said so.
fn admit(place: &Place, address: Option<IpAddr>, door: Door) -> Result<(), Refused> {
    place.admit()?;
    if door.is_proxied { Ok(()) } else { place.admit_client(address) }
}

/// Counts how a connection ended, also when a panic unwinds it.
struct End(Closed);

impl Drop for End {
    fn drop(&mut self) {
        counters::here().closed(self.0).add(1);
    }
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
    let mut peer = Peer { listener: door.listener, address: stream.peer(), secured: None };
    if door.is_proxied {
        // Boxed: the state of what comes once would be carried to the end.
        peer.address = Box::pin(proxied::client(stream, &peer, shard, place, inbox)).await?;
        if let Err(refused) = place.admit_client(peer.address) {
            Box::pin(turned_away::turn_away(stream, door, &peer, shard, place, refused)).await;
            return Ok(Close::Refused);
        }
    }
    if door.is_tls {
        // Boxed, as above.
        Box::pin(secure::establish(stream, &mut peer, shard, place, inbox)).await?;
    }
    if speaks_http2(stream, door, shard, place, inbox).await? {
        // Boxed, as above.
        return Box::pin(http2::converse(stream, peer, shard, place, inbox)).await;
    }
    let mut gathered = 0;
    loop {
        let (content, persistence, head_bytes, request_content) = match parse(inbox, shard) {
            Ok(Parse::Partial) => {
                outbox.flush(stream, place).await?;
                gathered = 0;
                await_head(stream, &peer, shard, place, inbox, outbox).await?;
                continue;
            }
            Ok(Parse::Complete(mut head)) => {
                place.begin(Phase::Disk);
                if place.is_at_last_request() {
                    head.persistence = Persistence::Close;
                }
                let answer = {
                    let answering =
                        pin!(exchange::answer(shard, &peer, &head, HeadForm::Text, outbox.buffer(&shard.buffers)));
                    place.guard(answering).await?
                };
                let (content, persistence) = tell(Some(&head), answer, &peer, place, inbox, outbox);
                (content, persistence, narrow(head.len), head.content)
            }
            Err(bad) => {
                let answer = exchange::refuse(shard, &peer, bad, false, HeadForm::Text, outbox.buffer(&shard.buffers));
                let (content, persistence) = tell(None, answer, &peer, place, inbox, outbox);
                (content, persistence, narrow(inbox.unread().len()), RequestContent::Present)
            }
        };
        send_content(stream, shard, place, outbox, content).await?;
        inbox.consume(head_bytes as usize);
        if persistence == Persistence::Close {
            outbox.flush(stream, place).await?;
            // Over TLS even the client's last word is something to read, and a close with unread bytes is a reset, which takes
            // away what is still on its way.
            let has_more = request_content == RequestContent::Present || !inbox.unread().is_empty();
            if has_more || stream.session().is_some() {
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

/// Whether HTTP/2 was agreed upon with TLS, or comes without being asked for.
async fn speaks_http2(
    stream: &mut Stream,
    door: Door,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<bool, Close> {
    if door.is_tls {
        return Ok(stream.negotiated_http2());
    }
    if !shard.served(door.listener).service.http2.in_plain_text {
        return Ok(false);
    }
    begins_http2(stream, shard, place, inbox).await
}

/// Whether a client that was not asked begins with the preface of HTTP/2 (RFC 9113 §3.3). It is read no further than it may be one.
async fn begins_http2(stream: &mut Stream, shard: &Rc<Shard>, place: &Place, inbox: &mut Inbox) -> Result<bool, Close> {
    loop {
        let unread = inbox.unread();
        let came = unread.len().min(PREFACE.len());
        if unread[..came] != PREFACE[..came] {
            return Ok(false);
        }
        if came == PREFACE.len() {
            return Ok(true);
        }
        if came > 0 && place.phase() != Phase::Head {
            place.begin(Phase::Head);
        }
        match inbox.fill(stream, shard, place).await? {
            Fill::Some => {}
            Fill::End if inbox.unread().is_empty() => return Err(Close::ByPeer),
            Fill::End => return Err(Close::MidHead),
        }
    }
}

/// Apart, so that connections do not carry the limits.
fn parse<'a>(inbox: &'a Inbox, shard: &Shard) -> Result<Parse<'a>, BadRequest> {
    request::parse(inbox.unread(), &shard.head_limits.get())
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
        place.head_came(inbox.unread().len());
    } else {
        outbox.give_back(&shard.buffers);
        if place.phase() != Phase::Fresh {
            place.begin_idle();
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
        Err(Close::Interrupted(Interrupt::Draining | Interrupt::Shed)) if stream.has_unread() => {
            place.begin(Phase::Head);
            place.note_request();
            inbox.fill(stream, shard, place).await.map(drop)
        }
        Ok(Fill::End) if inbox.unread().is_empty() => Err(Close::ByPeer),
        Ok(Fill::End) => Err(Close::MidHead),
        Err(Close::Interrupted(Interrupt::TimedOut(Phase::Head))) if !inbox.unread().is_empty() => {
            tell_time_out(peer, shard, place, inbox, outbox);
            outbox.flush(stream, place).await?;
            close::linger(stream, shard, place).await?;
            Err(Close::Interrupted(Interrupt::TimedOut(Phase::Head)))
        }
        Err(close) => Err(close),
    }
}

/// Answers 408. Apart from its caller, so that connections do not carry the answer.
fn tell_time_out(peer: &Peer, shard: &Shard, place: &Place, inbox: &Inbox, outbox: &mut Outbox) {
    counters::here().slow_peers_cut.add(1);
    let answer = exchange::time_out(shard, peer, outbox.buffer(&shard.buffers));
    tell(None, answer, peer, place, inbox, outbox);
}

/// Tells of an answer; gives its content, which is followed to its end where that is still to be told.
fn tell(
    head: Option<&RequestHead<'_>>,
    answer: Answer,
    peer: &Peer,
    place: &Place,
    inbox: &Inbox,
    outbox: &Outbox,
) -> (Outgoing, Persistence) {
    let summary = &answer.summary;
    let told = Telling {
        head,
        unparsed: if head.is_some() { &[] } else { inbox.unread() },
        answer_head: outbox.last_head(summary.written_bytes, summary.head_bytes),
        summary,
        begun: place.next_request_begun(),
        answered: place.answered_at(),
        leaves_with_head: answer.content.leaves_with_head(),
    };
    if let Some(head) = head.filter(|_| !told.leaves_with_head && live::is_watched()) {
        place.show(Some(Box::new(Shown::new(head, summary, told.begun, place.sent_bytes()))));
    }
    let content = match told.tell(peer, place) {
        None => answer.content,
        Some(unfinished) => Outgoing::Followed(Box::new((answer.content, unfinished))),
    };
    (content, answer.persistence)
}

/// Tells how an exchange ended, also when its connection is dropped in the middle of it.
struct Ending<'a> {
    unfinished: Option<Unfinished>,
    place: &'a Place,
    /// Bytes that had been sent when its head was the next.
    before: u64,
}

impl Ending<'_> {
    /// `gathered_bytes` of it will be sent with the next flush.
    fn end(&mut self, gathered_bytes: u64) {
        if let Some(unfinished) = self.unfinished.take() {
            let sent_bytes = (self.place.sent_bytes() + gathered_bytes).saturating_sub(self.before);
            let shown = self.place.show(None);
            telling::end(unfinished, shown.as_ref().map(|shown| shown.asked()), sent_bytes);
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.end(0);
    }
}

/// Sends content that is told of when it was sent, or could not be.
async fn send_and_tell(
    stream: &mut Stream,
    shard: &Rc<Shard>,
    place: &Place,
    outbox: &mut Outbox,
    both: Box<(Outgoing, Unfinished)>,
) -> Result<(), Close> {
    let (content, unfinished) = *both;
    // What was gathered before belongs to other answers; its own head is gathered too.
    let before = place.sent_bytes() + outbox.gathered_bytes() - unfinished.head_bytes();
    let mut ending = Ending { unfinished: Some(unfinished), place, before };
    let outcome = send_content(stream, shard, place, outbox, content).await;
    // What is gathered when a send failed is never sent.
    ending.end(if outcome.is_ok() { outbox.gathered_bytes() } else { 0 });
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
        Outgoing::Fixed(text) => outbox.send(stream, place, text.as_bytes()).await,
        // Boxed, as below: idle connections would carry its state.
        Outgoing::Followed(both) => Box::pin(send_and_tell(stream, shard, place, outbox, both)).await,
        Outgoing::Piece(piece) => send_piece(stream, shard, place, outbox, piece).await,
        // Boxed, as below: few answers have parts, and every connection would carry their state.
        Outgoing::Pieces(pieces) => Box::pin(send_pieces(stream, shard, place, outbox, pieces)).await,
        Outgoing::Paced(paced) => Box::pin(paced::send(stream, shard, place, outbox, paced)).await,
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
    use futures_lite::future::poll_once;
    use std::io::Write;
    use std::sync::Arc;
    use std::time::Instant;

    fn shard() -> Rc<Shard> {
        let options = Options {
            sites: Arc::from([site::Options::default()]),
            hosts: Arc::from([Hosts::new([(0, &[][..])]).expect("no name is wrong")]),
            head_limits: HeadLimits { head_bytes_max: 1024, target_bytes_max: 512, field_lines_max: 100 },
            cache: Budget { bytes_max: 0, content_bytes_max: 0 },
            trusted: Arc::new(Trusted::default()),
            http2: Default::default(),
            tls: Arc::from([None]),
            handshake_limit: None,
        };
        Rc::new(Shard::open(&options).expect("there is nothing to open"))
    }

    #[test]
    fn a_request_that_comes_in_when_the_server_stops_begins_then() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            let (socket, mut client) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            socket.set_nonblocking(true).expect("an open socket");
            let mut stream = Stream::new(socket.into(), None);
            let (shard, roster) = (shard(), Roster::new(roster::tests::LIMITS));
            let (place, peer) = (roster.enter(0), Peer { listener: 0, address: None, secured: None });
            let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
            place.begin(Phase::Disk);
            let mut waiting = pin!(await_head(&mut stream, &peer, &shard, &place, &mut inbox, &mut outbox));
            assert!(poll_once(waiting.as_mut()).await.is_none(), "nothing came yet");
            let before = Instant::now();
            // Between two looks at what has come in.
            client.write_all(b"GET").expect("it is open");
            roster.drain();
            assert!(matches!(poll_once(waiting.as_mut()).await, None | Some(Ok(()))));
            assert_eq!(place.phase(), Phase::Head, "it is not closed");
            assert!(place.answered_at() >= before, "its time does not begin with the wait");
        });
    }

    /// Futures that are moved into others once made a connection's task 25 KB, so that ten
    /// thousand idle clients took a quarter of a gigabyte.
    #[test]
    fn a_connection_is_small() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        let bytes = executor.run(async {
            let (socket, _) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            let stream = Stream::new(socket.into(), None);
            let roster = Roster::new(roster::tests::LIMITS);
            size_of_val(&serve(stream, Door { listener: 0, is_proxied: false, is_tls: false }, shard(), &roster))
        });
        assert!(bytes <= 784, "{bytes} bytes");
    }
}
