//! Descriptors passed to another process over a Unix socket (SCM_RIGHTS, unix(7)).
//!
//! Order: the sender gives a message with its descriptors, [`send`] · the receiver takes both together, [`receive`].
//!
//! Invariant: what is received is closed on exec, and at most [`DESCRIPTORS_MAX`] travel with one message.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors of one message; the kernel takes 253.
pub(super) const DESCRIPTORS_MAX: usize = 200;

const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// Sends a message, and with it these descriptors.
pub(super) fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::Error::other("too many descriptors for one message"));
    }
    sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message and all of its descriptors; an empty one is the end.
pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> std::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // The kernel gives as many as this process may have, and lets go of the others.
        return Err(std::io::Error::other(
            "descriptors were lost on the way: raise the limit of open files (LimitNOFILE=)",
        ));
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let (mut near, far) = UnixStream::pair().expect("a pair");
        send(&here, b"take it", &[far.as_fd()]).expect("there is room");
        drop(far);
        let mut buffer = [0; 64];
        let (length, mut descriptors) = receive(&there, &mut buffer).expect("it was sent");
        assert_eq!((&buffer[..length], descriptors.len()), (&b"take it"[..], 1));
        assert!(fcntl_getfd(&descriptors[0]).expect("it is open").contains(FdFlags::CLOEXEC));
        let mut passed = UnixStream::from(descriptors.pop().expect("one came"));
        passed.write_all(b"x").expect("the other end is open");
        let mut byte = [0];
        near.read_exact(&mut byte).expect("it was written");
        assert_eq!(byte, *b"x");
        let many: Vec<_> = (0..DESCRIPTORS_MAX).map(|_| here.as_fd()).collect();
        send(&here, b"many", &many).expect("the kernel takes them");
        assert_eq!(receive(&there, &mut buffer).expect("it was sent").1.len(), DESCRIPTORS_MAX);
        drop(here);
        assert_eq!(receive(&there, &mut buffer).expect("an end").0, 0);
    }
}
