//! The TLS handshake of a connection, before anything else is said on it.
//!
//! Order: the rate of its client · the first byte shows whether it is TLS at all · the ClientHello, by which the terms are chosen · the rest,
//! step by step, each in its turn ([`Shard::handshakes`](crate::shard::Shard)), for one step takes as long as many small requests ·
//! what came of it.
//!
//! Invariant: nothing is computed for a client that comes too often, or does not speak TLS; and whoever is refused by an alert sees it.

use super::close::{self, Close};
use super::inbox::{Fill, Inbox};
use super::outbox::Outbox;
use super::phase::Phase;
use super::roster::{Interrupt, Place};
use super::tell;
use crate::counters::{self, HandshakeFailure, HandshakeKind};
use crate::exchange;
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use crate::tls::Listener;
use crate::tls::session::{Broken, Fault, Opening, Session, TlsFacts, Version};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

/// The type of a record that holds a handshake (RFC 8446 §5.1): what a ClientHello begins with.
const HANDSHAKE_RECORD: u8 = 22;

/// Makes the connection one with TLS, and notes its terms.
pub(super) async fn establish(
    stream: &mut Stream,
    peer: &mut Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<(), Close> {
    let outcome = attempt(stream, peer, shard, place, inbox).await;
    let failure = match &outcome {
        Ok(()) => return outcome,
        Err(Close::Handshake(failure)) => *failure,
        Err(Close::Interrupted(Interrupt::TimedOut(Phase::Handshake))) => HandshakeFailure::TimedOut,
        // We end it, and not for anything about it.
        Err(Close::Interrupted(_)) => return outcome,
        // Who has not said a word has not begun one.
        Err(_) if place.phase() != Phase::Handshake => return outcome,
        Err(_) => HandshakeFailure::ByPeer,
    };
    counters::here().handshakes_failed(failure).add(1);
    outcome
}

async fn attempt(
    stream: &mut Stream,
    peer: &mut Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<(), Close> {
    begin(stream, peer, shard, place, inbox).await?;
    // A reload may have made another sort of listener of it.
    let listener = shard.served(peer.listener).tls().cloned();
    let listener = listener.ok_or(Close::Handshake(HandshakeFailure::Protocol))?;
    let session = open(stream, &listener, shard, place, inbox).await?;
    inbox.give_back(&shard.buffers);
    stream.secure(session);
    go_on(stream, shard, place).await?;
    if let Some(facts) = stream.session().and_then(Session::finish_handshake) {
        counters::here().handshakes(kind_of(facts)).add(1);
        peer.secured = Some(facts.terms);
        place.note_tls(facts);
    }
    // Its first request has the time that one has on a connection without TLS.
    place.begin(Phase::Fresh);
    place.note_request();
    Ok(())
}

/// Waits for the first bytes, if the client may shake hands, and sees that they are those of a handshake.
async fn begin(
    stream: &mut Stream,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<(), Close> {
    if let Some(limit) = &shard.served(peer.listener).service.handshake_limit {
        if peer.address.is_some_and(|address| !is_our_own(address) && limit.admit(address).is_err()) {
            return Err(Close::Handshake(HandshakeFailure::Limited));
        }
    }
    if inbox.unread().is_empty() && inbox.fill(stream, shard, place).await? == Fill::End {
        return Err(Close::ByPeer);
    }
    place.begin(Phase::Handshake);
    match inbox.unread()[0] {
        HANDSHAKE_RECORD => Ok(()),
        // A method begins so.
        b'A'..=b'Z' => {
            say_that_it_is_tls(stream, peer, shard, place, inbox).await?;
            Err(Close::Handshake(HandshakeFailure::PlainHttp))
        }
        _ => Err(Close::Handshake(HandshakeFailure::Protocol)),
    }
}

/// Takes in the ClientHello, and chooses the terms by it.
async fn open(
    stream: &mut Stream,
    listener: &Listener,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<Box<Session>, Close> {
    let mut opening = Opening::default();
    loop {
        let opened = {
            let _turn = shard.handshakes.turn().await;
            // Asked for when the ClientHello is there: the certificate may have been renewed a moment ago.
            opening.take_in(inbox.unread(), &listener.terms())
        };
        inbox.consume(inbox.unread().len());
        match opened {
            Ok(Some(session)) => return Ok(session),
            Ok(None) => {}
            Err(broken) => return Err(refuse(stream, shard, place, &broken).await),
        }
        if inbox.fill(stream, shard, place).await? == Fill::End {
            return Err(Close::ByPeer);
        }
    }
}

/// Goes on until the handshake has been finished. What the server says last waits for the first answer, or until the first request is
/// waited for.
async fn go_on(stream: &mut Stream, shard: &Rc<Shard>, place: &Place) -> Result<(), Close> {
    while stream.session().is_some_and(|session| session.is_handshaking()) {
        place.guard(poll_fn(|cx| stream.poll_give_out(cx))).await??;
        if place.guard(poll_fn(|cx| stream.poll_take_in(cx))).await?? == 0 {
            return Err(Close::ByPeer);
        }
        let processed = {
            let _turn = shard.handshakes.turn().await;
            stream.process()
        };
        if let Err(broken) = processed {
            return Err(refuse(stream, shard, place, &broken).await);
        }
    }
    Ok(())
}

fn kind_of(facts: &TlsFacts) -> HandshakeKind {
    match (facts.version, facts.is_resumed) {
        (Version::Tls12, false) => HandshakeKind::Full12,
        (Version::Tls12, true) => HandshakeKind::Resumed12,
        (Version::Tls13, false) => HandshakeKind::Full13,
        (Version::Tls13, true) => HandshakeKind::Resumed13,
    }
}

/// This machine's own programs may come as often as they like: a proxy on it speaks for everybody.
fn is_our_own(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Has the alert arrive, and gives why the connection ends.
async fn refuse(stream: &mut Stream, shard: &Rc<Shard>, place: &Place, broken: &Broken) -> Close {
    let failure = match broken.fault {
        Fault::NoCertificate => HandshakeFailure::NoCertificate,
        Fault::ByPeer => HandshakeFailure::ByPeer,
        Fault::Protocol => HandshakeFailure::Protocol,
    };
    tracing::debug!(client = ?stream.peer(), reason = failure.word(), "the TLS handshake failed: {broken}");
    // Where there is a session, the alert has left with it.
    if !broken.alert.is_empty() {
        // Who is gone already needs none; and what a fresh socket does not take is not worth a wait.
        let _ = stream.send_now([&broken.alert, &[]]);
    }
    if failure != HandshakeFailure::ByPeer {
        stream.forget_session();
        // Whatever ends this is less than what ended the handshake.
        let _ = pin!(close::linger(stream, shard, place)).await;
    }
    Close::Handshake(failure)
}

/// Answers a request that came without TLS; what went wrong can be read then, and not only guessed.
async fn say_that_it_is_tls(
    stream: &mut Stream,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<(), Close> {
    let mut outbox = Outbox::default();
    let answer = exchange::say_that_it_is_tls(shard, peer, outbox.buffer(&shard.buffers));
    tell(None, answer, peer, place, inbox, &outbox);
    let flushed = outbox.flush(stream, place).await;
    outbox.give_back(&shard.buffers);
    flushed?;
    close::linger(stream, shard, place).await
}

#[cfg(test)]
mod tests {
    use crate::connection::roster::{self, Roster};
    use crate::connection::{Door, serve};
    use crate::defence::requests::RequestLimit;
    use crate::http::request::HeadLimits;
    use crate::shard::{Options, Shard, Trusted};
    use crate::site::{self, hosts::Hosts};
    use crate::socket::Stream;
    use crate::storage::cache::Budget;
    use crate::tls::session::tests::Both;
    use futures_lite::future::yield_now;
    use std::io::{Read, Write};
    use std::net::IpAddr;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    fn shard(both: &Both, handshake_limit: Option<Arc<RequestLimit>>) -> Rc<Shard> {
        let all = Hosts::new([(0, &[][..])]).expect("no name is wrong");
        let options = Options {
            sites: Arc::from([site::Options::default()]),
            hosts: Arc::from([all.clone(), all]),
            head_limits: HeadLimits { head_bytes_max: 1024, target_bytes_max: 512, field_lines_max: 100 },
            cache: Budget { bytes_max: 0, content_bytes_max: 0 },
            trusted: Arc::new(Trusted::default()),
            http2: Default::default(),
            tls: Arc::from([Some(both.listener.clone()), None]),
            handshake_limit,
        };
        Rc::new(Shard::open(&options).expect("there is nothing to open"))
    }

    fn connection(said: &[u8], peer: Option<IpAddr>) -> (Stream, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("an open socket");
        theirs.write_all(said).expect("there is room");
        (Stream::new(ours.into(), peer), theirs)
    }

    fn has_answer(client: &UnixStream) -> bool {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(client, &mut [0u8; 1], flags), Ok((1.., _)))
    }

    /// A crowd begins its handshakes, and one small request comes in behind all of them: it waits for one step of one of them, and not for all.
    #[test]
    fn a_request_does_not_wait_for_the_handshakes_of_a_crowd() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            let both = Both::new();
            let (shard, roster) = (shard(&both, None), Roster::new(roster::tests::LIMITS));
            let mut crowd = Vec::new();
            for _ in 0..20 {
                let (stream, client) = connection(&both.begin().1, None);
                let door = Door { listener: 0, is_proxied: false, is_tls: true };
                glommio::spawn_local(serve(stream, door, shard.clone(), &roster)).detach();
                crowd.push(client);
            }
            let (stream, small) = connection(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
            let door = Door { listener: 1, is_proxied: false, is_tls: false };
            glommio::spawn_local(serve(stream, door, shard.clone(), &roster)).detach();
            while !has_answer(&small) {
                yield_now().await;
            }
            let served = crowd.iter().filter(|client| has_answer(client)).count();
            assert!(served <= 2, "{served} handshakes came first");
            while !crowd.iter().all(has_answer) {
                yield_now().await;
            }
        });
    }

    /// Who begins too many is closed before anything is computed; this machine's own programs, and who comes by a Unix socket, may come as often as
    /// they like.
    #[test]
    fn a_client_may_begin_so_many() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            let both = Both::new();
            let limit = RequestLimit::new(1, Duration::from_secs(3600), 2, "handshakes of a test");
            let (shard, roster) = (shard(&both, Some(Arc::new(limit))), Roster::new(roster::tests::LIMITS));
            for (address, answered) in
                [("192.0.2.44", 2), ("2001:db8::44", 2), ("127.0.0.1", 5), ("::1", 5), ("unix", 5)]
            {
                for count in 1..=5 {
                    let (stream, mut client) = connection(&both.begin().1, address.parse().ok());
                    let door = Door { listener: 0, is_proxied: false, is_tls: true };
                    let mut serving = std::pin::pin!(serve(stream, door, shard.clone(), &roster));
                    while !has_answer(&client) && futures_lite::future::poll_once(serving.as_mut()).await.is_none() {
                        yield_now().await;
                    }
                    assert_eq!(has_answer(&client), count <= answered, "{address}, {count}");
                    if count > answered {
                        let closed = client.read(&mut [0]);
                        assert!(!matches!(closed, Ok(1..)), "{address}, {count}");
                    }
                }
            }
        });
    }
}
