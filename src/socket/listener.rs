//! A listening socket, as one worker accepts from it.
//!
//! Invariant: where workers share one socket, a new connection wakes one of them, and none is ever held up in accept(2).

use super::Stream;
use super::readiness::{Interest, Registration};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::Poll;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    descriptor: OwnedFd,
    registration: Registration,
}

impl Listener {
    /// Takes connections from `socket`, which listens and is non-blocking.
    pub fn new(socket: impl Into<OwnedFd>) -> std::io::Result<Listener> {
        let descriptor = socket.into();
        let registration = Registration::of_listener(&descriptor)?;
        Ok(Listener { descriptor, registration })
    }

    /// The next connection, once there is one.
    pub async fn accept(&self) -> std::io::Result<Stream> {
        poll_fn(|cx| {
            loop {
                if self.registration.poll(Interest::Read, cx).is_pending() {
                    return Poll::Pending;
                }
                match self.accept_now() {
                    Err(Errno::AGAIN) => self.registration.use_up(Interest::Read),
                    outcome => return Poll::Ready(outcome.map_err(Into::into)),
                }
            }
        })
        .await
    }

    /// A connection that waits to be accepted; `EAGAIN` when there is none.
    pub fn accept_now(&self) -> Result<Stream, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (descriptor, address) = rustix::net::acceptfrom_with(&self.descriptor, flags)?;
        // An IPv4 client of an IPv6 socket is still an IPv4 client.
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        Ok(Stream::new(descriptor, address.map(|address| address.ip().to_canonical())))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Copies of it may live on, and the set would go on to tell of it.
        self.registration.withdraw(&self.descriptor);
    }
}
