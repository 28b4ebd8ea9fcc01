//! Why a connection ended, and how to end one without losing its last answer.

use super::phase::Phase;
use super::roster::{Interrupt, Place};
use crate::counters::{Closed, HandshakeFailure};
use crate::http2::ConnectionError;
use crate::shard::Shard;
use crate::socket::Stream;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

/// Why a connection ended. Most are no errors.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The last answer said that it was the last.
    #[error("finished")]
    Finished,
    /// The peer closed between requests.
    #[error("closed by the peer")]
    ByPeer,
    /// The peer closed within a head.
    #[error("closed by the peer within a request head")]
    MidHead,
    /// The server ended a wait.
    #[error("{0}")]
    Interrupted(#[from] Interrupt),
    /// The file changed or could not be read while it was sent. The head had promised its
    /// length, so ending short is the only honest thing left.
    #[error("cut short: the file changed or could not be read")]
    CutShort,
    /// A connection to a listener for proxies, not from one that is trusted, or without a valid PROXY header.
    #[error("no trusted proxy")]
    Distrusted,
    /// No TLS came to be.
    #[error("no TLS: {}", .0.word())]
    Handshake(HandshakeFailure),
    /// The client has as many connections as it may have, which showed when a proxy had named it.
    #[error("refused")]
    Refused,
    /// The peer broke a rule of HTTP/2, or asked for more than it may.
    #[error("HTTP/2: {0}")]
    Protocol(#[from] ConnectionError),
    /// The socket failed, mostly because the peer is gone.
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
}

impl Close {
    /// One word for it, in docs/logging.md.
    pub fn reason(&self) -> &'static str {
        match self {
            Close::Finished => "finished",
            Close::ByPeer => "by_peer",
            Close::MidHead => "mid_head",
            Close::Interrupted(Interrupt::TimedOut(phase)) => match phase {
                Phase::Fresh | Phase::Head => "head_timeout",
                Phase::Handshake => "handshake_timeout",
                Phase::Idle => "idle_timeout",
                Phase::Send | Phase::Window => "send_timeout",
                Phase::Disk => "disk_timeout",
                Phase::Paced => "paced_timeout",
                Phase::Linger => "linger_timeout",
            },
            Close::Interrupted(Interrupt::TooSlow) => "too_slow",
            Close::Interrupted(Interrupt::Shed) => "shed",
            Close::Interrupted(Interrupt::Draining) => "draining",
            Close::Interrupted(Interrupt::Aborted) => "worker_died",
            Close::CutShort => "cut_short",
            Close::Distrusted => "distrusted",
            Close::Handshake(_) => "handshake",
            Close::Refused => "refused",
            Close::Protocol(_) => "http2_error",
            Close::Socket(_) => "socket",
        }
    }

    /// As what it is counted.
    pub(super) fn counted(&self) -> Closed {
        match self {
            Close::Finished => Closed::Finished,
            Close::ByPeer => Closed::ByPeer,
            Close::MidHead => Closed::MidHead,
            Close::Interrupted(Interrupt::TimedOut(phase)) => match phase {
                Phase::Fresh => Closed::FreshTimeout,
                Phase::Handshake => Closed::HandshakeTimeout,
                Phase::Head => Closed::HeadTimeout,
                Phase::Idle => Closed::IdleTimeout,
                Phase::Send | Phase::Window | Phase::Paced => Closed::SendTimeout,
                Phase::Disk => Closed::DiskTimeout,
                Phase::Linger => Closed::LingerTimeout,
            },
            Close::Interrupted(Interrupt::Draining) => Closed::Draining,
            Close::Interrupted(Interrupt::Shed) => Closed::Shed,
            Close::Interrupted(Interrupt::TooSlow) => Closed::TooSlow,
            Close::Interrupted(Interrupt::Aborted) => Closed::Aborted,
            Close::CutShort => Closed::CutShort,
            Close::Distrusted => Closed::Distrusted,
            Close::Handshake(_) => Closed::Handshake,
            Close::Refused => Closed::Refused,
            Close::Protocol(_) => Closed::Protocol,
            Close::Socket(_) => Closed::SocketError,
        }
    }

    /// Whether what was said is whole, so that the end may be said too.
    pub(super) fn is_orderly(&self) -> bool {
        match self {
            Close::Finished | Close::ByPeer | Close::MidHead => true,
            Close::Interrupted(Interrupt::TimedOut(phase)) => {
                matches!(phase, Phase::Fresh | Phase::Head | Phase::Idle | Phase::Linger)
            }
            Close::Interrupted(Interrupt::Draining | Interrupt::Shed) => true,
            _ => false,
        }
    }

    /// Whether answers may wait in the outbox that can still be sent.
    pub(super) fn leaves_promises(&self) -> bool {
        matches!(self, Close::CutShort | Close::Interrupted(Interrupt::TimedOut(Phase::Disk)))
    }
}

/// Bytes of unwanted content that are read away before the connection is dropped.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Closes for writing, and reads away what the peer still sends, within bounds. Closing with
/// unread bytes would make the kernel send a reset, and the reset may overtake the answer on its
/// way to the peer's program (RFC 9112 §9.6).
pub(super) async fn linger(stream: &mut Stream, shard: &Rc<Shard>, place: &Place) -> Result<(), Close> {
    place.begin(Phase::Linger);
    if stream.session().is_some() {
        // What TLS says at the end has to leave before the socket takes no more; whether it does makes no difference to us.
        stream.say_goodbye();
        let _ = place.guard(poll_fn(|cx| stream.poll_give_out(cx))).await;
        place.begin(Phase::Linger);
    }
    stream.shut_down()?;
    let mut buffer = shard.buffers.take_inbound();
    let mut read_bytes = 0;
    while read_bytes < LINGER_BYTES_MAX {
        match place.guard(pin!(stream.read(&mut buffer))).await? {
            Ok(0) | Err(_) => break,
            Ok(count) => read_bytes += count,
        }
    }
    shard.buffers.give_inbound(buffer);
    Ok(())
}
