//! A listening socket, as one worker accepts from it.
//!
//! Invariant: where workers share one socket, a new connection wakes one of them, and none is ever held up in accept(2).

use super::Stream;
use super::readiness::{Interest, Registration};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
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
        accept_from(&self.descriptor)
    }
}

/// A connection that waits to be accepted from `socket`, which this thread does not wait for: where others do, an event must not come
/// here.
pub fn accept_from(socket: impl AsFd) -> Result<Stream, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (descriptor, address) = rustix::net::acceptfrom_with(socket, flags)?;
    // An IPv4 client of an IPv6 socket is still an IPv4 client.
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    Ok(Stream::new(descriptor, address.map(|address| address.ip().to_canonical())))
}

impl Listener {
    /// Whether a connection waits to be accepted. Where none does, [`Listener::accept`] waits for the next from here on: without a
    /// descriptor to spare, accept(2) fails before it looks.
    pub fn has_waiting(&self) -> bool {
        let mut queue = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let has_waiting = poll(&mut queue, Some(&Timespec::default())).map_or(true, |ready| ready > 0);
        if !has_waiting {
            self.registration.use_up(Interest::Read);
        }
        has_waiting
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Copies of it may live on, and the set would go on to tell of it.
        self.registration.withdraw(&self.descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn whoever_waits_is_seen_without_a_descriptor() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        socket.set_nonblocking(true).expect("it is open");
        let address = socket.local_addr().expect("it is bound");
        let listener = Listener::new(socket).expect("epoll works");
        assert!(!listener.has_waiting());
        let _client = TcpStream::connect(address).expect("it listens");
        assert!(listener.has_waiting() && listener.has_waiting());
        let _stream = listener.accept_now().expect("it waits");
        assert!(!listener.has_waiting());
    }
}
