//! A connection whose bytes go through TLS: what [`Stream`] does where it has a session.
//!
//! Order of a write: what is owed leaves · a step of the caller's bytes is sealed · its records leave, and only then are its bytes told of
//! as sent. Whoever is told of none, or waits, comes again with the same bytes, as without TLS.
//!
//! Invariant: records leave in the order in which they were sealed, and none is sealed while some wait.

use super::readiness::Interest;
use super::stream::Stream;
use crate::counters;
use crate::tls::session::{Broken, STEP_BYTES_MAX, Session, TlsFacts};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::cell::RefCell;
use std::io::{IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

thread_local! {
    /// Where a step of a file in memory lies until it is sealed.
    static STEP: RefCell<Box<[u8]>> = RefCell::new(vec![0; STEP_BYTES_MAX].into_boxed_slice());
}

/// The socket as the session sees it.
struct Wire<'a> {
    socket: BorrowedFd<'a>,
    flags: SendFlags,
    /// The last read brought less than there was room for.
    is_drained: bool,
}

impl<'a> Wire<'a> {
    fn new(socket: &'a impl AsFd) -> Wire<'a> {
        Wire { socket: socket.as_fd(), flags: SendFlags::NOSIGNAL, is_drained: false }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = buffer.len();
        let (count, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(self.socket, &mut *buffer, RecvFlags::empty()))?;
        counters::here().received_bytes.add(count as u64);
        self.is_drained = count < room;
        Ok(count)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> std::io::Result<usize> {
        let mut no_control = SendAncillaryBuffer::default();
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::sendmsg(self.socket, pieces, &mut no_control, self.flags))?;
        counters::here().sent_bytes.add(sent as u64);
        Ok(sent)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether it is no error, but a wait.
fn is_wait(error: &std::io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AGAIN)
}

impl From<Broken> for std::io::Error {
    fn from(broken: Broken) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, broken)
    }
}

impl Stream {
    /// Has all that is said from here on go through this session.
    pub fn secure(&mut self, session: Box<Session>) {
        self.session = Some(session);
    }

    /// Has what comes from here on be read as it is: of a session that has failed, nothing can be made.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// The session, while it has not been finished or is to be looked at.
    pub fn session(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut()
    }

    /// What is known of its TLS; none without.
    pub fn tls(&self) -> Option<&Rc<TlsFacts>> {
        self.session.as_ref()?.facts()
    }

    /// Whether HTTP/2 was agreed on.
    pub fn negotiated_http2(&self) -> bool {
        self.tls().is_some_and(|facts| facts.is_http2)
    }

    /// Bytes that the socket has taken, where they are others than those that were sent: records.
    pub fn record_bytes(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.given_bytes())
    }

    pub(super) fn poll_read_secured(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        loop {
            if let Some(count) = self.session.as_mut().and_then(|session| session.read(buffer)) {
                return Poll::Ready(Ok(count));
            }
            // Tickets, or new keys that the peer has asked for. Where a request has come already, they leave with its answer, as they do if
            // the socket takes nothing now; and where nothing can be sent any more, there may be more to read.
            let _ = self.give_out_now(SendFlags::empty());
            match self.poll_take_in(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            self.process()?;
        }
    }

    /// Has the session make of what came in what there is to make; tells the peer of an error.
    pub fn process(&mut self) -> Result<(), Broken> {
        let Some(session) = self.session.as_mut() else { return Ok(()) };
        let processed = session.process();
        if processed.is_err() {
            // The connection ends; who is gone already needs no alert.
            let _ = self.give_out_now(SendFlags::empty());
        }
        processed
    }

    /// Takes records in, once some are there; zero bytes are the end.
    pub fn poll_take_in(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        loop {
            if self.is_waiting(Interest::Read, cx) {
                return Poll::Pending;
            }
            let session = self.session.as_mut().expect("it is asked for by who has one");
            let mut wire = Wire::new(&self.descriptor);
            match session.take_in(&mut wire) {
                Ok(count) => {
                    let registration = self.registration.as_ref().filter(|_| wire.is_drained);
                    registration.inspect(|registration| registration.use_up_read());
                    return Poll::Ready(Ok(count));
                }
                Err(error) if is_wait(&error) => self.enter(Interest::Read)?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives records out, until the socket takes no more; gives whether all have left.
    fn give_out_now(&mut self, flags: SendFlags) -> std::io::Result<bool> {
        let Some(session) = self.session.as_mut().filter(|session| session.has_records()) else { return Ok(true) };
        let mut wire = Wire::new(&self.descriptor);
        wire.flags |= flags;
        match session.give_out(&mut wire) {
            Ok(()) => Ok(true),
            Err(error) if is_wait(&error) => self.enter(Interest::Write).map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Waits until all records have left.
    pub fn poll_give_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.is_waiting(Interest::Write, cx) {
                return Poll::Pending;
            }
            if self.give_out_now(SendFlags::empty())? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends a step of two pieces; gives the bytes of it once all its records have left, and zero before.
    pub(super) fn send_secured(&mut self, pieces: [&[u8]; 2], flags: SendFlags) -> std::io::Result<usize> {
        let session = self.session.as_mut().expect("it is asked for by who has one");
        if session.owed_bytes() == 0 {
            session.seal(pieces, Instant::now())?;
        }
        debug_assert!(
            session.owed_bytes() <= pieces.iter().map(|piece| piece.len()).sum(),
            "the same bytes come again"
        );
        let is_settled = self.give_out_now(flags)?;
        Ok(self.session.as_mut().filter(|_| is_settled).map_or(0, |session| session.settle()))
    }

    /// The same of a file in memory.
    pub(super) fn send_file_secured(&mut self, file: BorrowedFd<'_>, range: Range<u64>) -> std::io::Result<usize> {
        let session = self.session.as_mut().expect("it is asked for by who has one");
        if session.owed_bytes() > 0 {
            let is_settled = self.give_out_now(SendFlags::empty())?;
            return Ok(self.session.as_mut().filter(|_| is_settled).map_or(0, |session| session.settle()));
        }
        STEP.with_borrow_mut(|step| {
            let count = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(step.len());
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut step[..count], range.start))?;
            self.send_secured([&step[..read], &[]], SendFlags::empty())
        })
    }

    /// Says that nothing more will be sent, as far as the socket takes that now.
    pub fn say_goodbye(&mut self) {
        if let Some(session) = self.session.as_mut() {
            session.say_goodbye();
            // Who is gone already needs no goodbye.
            let _ = self.give_out_now(SendFlags::empty());
        }
    }
}
