//! One connection: read, write, send from files, and wait for the other side.
//!
//! Invariant: every attempt is made before it is waited for, so that a socket that is ready costs one call, and one that
//! is closed before it ever has to wait is in no set. Where there is a session, no byte passes by it: see `secured`.

use super::queue;
use super::readiness::{Interest, Registration};
use crate::counters;
use crate::tls::session::Session;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

/// A connection, TCP or of a Unix socket.
#[derive(Debug)]
pub struct Stream {
    pub(super) descriptor: OwnedFd,
    pub(super) registration: Option<Registration>,
    peer: Option<IpAddr>,
    /// Boxed: it is large, and most of those who read this have none.
    pub(super) session: Option<Box<Session>>,
}

/// The most that one call sends from a file: others on this core have their turn in between.
const SENDFILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads of what came in on a connection that is closed at once: more than a request head.
const AWAY_READS_MAX: usize = 8;

impl Stream {
    /// A connection that was accepted, non-blocking, from this peer; none on a Unix socket, nor where it is not known.
    pub fn new(descriptor: OwnedFd, peer: Option<IpAddr>) -> Stream {
        Stream { descriptor, registration: None, peer, session: None }
    }

    /// The address of the other end; none on a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Reads what is there; zero bytes are the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        if self.session.is_some() {
            return self.poll_read_secured(cx, buffer);
        }
        loop {
            if self.is_waiting(Interest::Read, cx) {
                return Poll::Pending;
            }
            match rustix::net::recv(&self.descriptor, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => {
                    counters::here().received_bytes.add(count as u64);
                    if let Some(registration) = self.registration.as_ref().filter(|_| count < buffer.len()) {
                        registration.use_up_read();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.enter(Interest::Read)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// Reads what is there, once something is; zero bytes are the end.
    pub async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Sends as much as the socket takes, once it takes some.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        loop {
            if self.is_waiting(Interest::Write, cx) {
                return Poll::Pending;
            }
            if self.session.is_some() {
                match self.send_secured([bytes, &[]], SendFlags::empty()) {
                    Ok(0) if !bytes.is_empty() => continue,
                    sent => return Poll::Ready(sent),
                }
            }
            match rustix::net::send(&self.descriptor, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    counters::here().sent_bytes.add(count as u64);
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.enter(Interest::Write)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// The same, as a future.
    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, bytes)).await
    }

    /// Waits until the socket may take something, as far as is known without trying.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_waiting(Interest::Write, cx) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Sends as much of two pieces, in one call, as the socket takes now; after nothing, [`Stream::poll_room`] waits.
    pub fn send_now(&mut self, pieces: [&[u8]; 2]) -> std::io::Result<usize> {
        if self.session.is_some() {
            return self.send_secured(pieces, SendFlags::empty());
        }
        let mut no_control = SendAncillaryBuffer::default();
        let pieces = pieces.map(IoSlice::new);
        self.none_or_some(rustix::net::sendmsg(&self.descriptor, &pieces, &mut no_control, SendFlags::NOSIGNAL))
    }

    /// Sends as much of `bytes` as the socket takes now, and tells the kernel that more follows.
    pub fn send_more_now(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.session.is_some() {
            return self.send_secured([bytes, &[]], SendFlags::MORE);
        }
        self.none_or_some(rustix::net::send(&self.descriptor, bytes, SendFlags::NOSIGNAL | SendFlags::MORE))
    }

    /// Sends as much of `range` of a file in memory as the socket takes now, within a bound.
    pub fn send_file_now(&mut self, file: BorrowedFd<'_>, range: Range<u64>) -> std::io::Result<usize> {
        if self.session.is_some() {
            return self.send_file_secured(file, range);
        }
        let count = usize::try_from((range.end - range.start).min(SENDFILE_BYTES_MAX)).expect("at most a MiB");
        let mut position = range.start;
        let sent = rustix::fs::sendfile(&self.descriptor, file, Some(&mut position), count);
        self.none_or_some(sent)
    }

    fn none_or_some(&mut self, sent: Result<usize, Errno>) -> std::io::Result<usize> {
        match sent {
            Ok(count) => {
                counters::here().sent_bytes.add(count as u64);
                Ok(count)
            }
            Err(Errno::INTR) => Ok(0),
            Err(Errno::AGAIN) => self.enter(Interest::Write).map(|()| 0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Bytes that the socket has taken and the peer has not acknowledged.
    pub fn unacknowledged_bytes(&self) -> std::io::Result<u64> {
        Ok(queue::unacknowledged_bytes(&self.descriptor)?)
    }

    /// From here on, closing it throws away what the peer has not taken, and tells the peer by a reset: else the kernel would hold
    /// that for minutes, for a peer that takes nothing.
    pub fn reset_at_close(&self) -> std::io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(&self.descriptor, Some(Duration::ZERO))?)
    }

    /// Sends what the socket takes of `bytes` now, says that nothing more will be sent, and reads away what has come in: bytes that nobody
    /// has read make a close a reset, which may overtake what was sent.
    pub fn answer_and_shut_down(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        rustix::net::send(&self.descriptor, bytes, SendFlags::NOSIGNAL)?;
        self.shut_down()?;
        let mut away = [0u8; 4096];
        for _ in 0..AWAY_READS_MAX {
            match rustix::net::recv(&self.descriptor, &mut away, RecvFlags::DONTWAIT) {
                Ok((1.., _)) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether bytes wait that nobody has read.
    pub fn has_unread(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unread())
            || matches!(rustix::net::recv(&self.descriptor, &mut [0u8; 1], RecvFlags::PEEK), Ok((1.., _)))
    }

    /// Says that nothing more will be sent.
    pub fn shut_down(&mut self) -> std::io::Result<()> {
        self.say_goodbye();
        Ok(rustix::net::shutdown(&self.descriptor, Shutdown::Write)?)
    }

    /// Whether the task is to be woken later; a socket that never had to wait is tried.
    pub(super) fn is_waiting(&self, interest: Interest, cx: &Context<'_>) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.poll(interest, cx).is_pending())
    }

    /// After an attempt in vain: from here on, what the socket is ready for is an event.
    pub(super) fn enter(&mut self, interest: Interest) -> std::io::Result<()> {
        match &self.registration {
            Some(registration) => {
                registration.use_up(interest);
                registration.widen(&self.descriptor, interest)?;
            }
            None => self.registration = Some(Registration::new(&self.descriptor, interest)?),
        }
        Ok(())
    }
}
