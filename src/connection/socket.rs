//! Calls on a socket that the engine's stream has no way for. None of them waits.

// The one unsafe call is argued beside it.
#![allow(unsafe_code)]

use glommio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends as much of two pieces, in one call, as the socket takes without waiting.
pub(super) fn send_now(stream: &TcpStream, pieces: [&[u8]; 2]) -> std::io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut no_control = SendAncillaryBuffer::default();
    match rustix::net::sendmsg(descriptor(stream), &pieces.map(IoSlice::new), &mut no_control, flags) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// The address of the other end; none on a Unix socket, nor where the peer is gone already.
pub(super) fn peer_address(stream: &TcpStream) -> Option<IpAddr> {
    let address = rustix::net::getpeername(descriptor(stream)).ok()??;
    // An IPv4 client of an IPv6 socket is still an IPv4 client.
    SocketAddr::try_from(address).ok().map(|address| address.ip().to_canonical())
}

/// Whether bytes wait in the socket that nobody has read.
pub(super) fn has_unread(stream: &TcpStream) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    matches!(rustix::net::recv(descriptor(stream), &mut [0u8; 1], flags), Ok((1.., _)))
}

fn descriptor(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `stream`, which outlives this borrow.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}
