//! Calls on a socket that the engine's stream has no way for. None of them waits.

// The one unsafe call is argued beside it.
#![allow(unsafe_code)]

use glommio::net::TcpStream;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends as much of two pieces, in one call, as the socket takes without waiting.
pub(super) fn send_now(stream: &TcpStream, pieces: [&[u8]; 2]) -> std::io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut no_control = SendAncillaryBuffer::default();
    none_or_some(rustix::net::sendmsg(descriptor(stream), &pieces.map(IoSlice::new), &mut no_control, flags))
}

/// Sends as much of `bytes` as the socket takes without waiting, and tells the kernel that more follows.
pub(super) fn send_more_now(stream: &TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
    none_or_some(rustix::net::send(descriptor(stream), bytes, flags))
}

/// Makes system calls on the socket return instead of waiting: sendfile(2) has no flag for that. The engine's own
/// calls have one, and do not care.
pub(super) fn set_nonblocking(stream: &TcpStream) -> std::io::Result<()> {
    let socket = descriptor(stream);
    let flags = rustix::fs::fcntl_getfl(socket)?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(socket, flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// The most that one call sends: others on this core have their turn in between.
const SENDFILE_BYTES_MAX: u64 = 1024 * 1024;

/// Sends as much of `range` of a file in memory as the socket, which must not block, takes now.
pub(super) fn send_file_now(stream: &TcpStream, file: BorrowedFd<'_>, range: Range<u64>) -> std::io::Result<u64> {
    let count = usize::try_from((range.end - range.start).min(SENDFILE_BYTES_MAX)).expect("at most a MiB");
    let mut position = range.start;
    none_or_some(rustix::fs::sendfile(descriptor(stream), file, Some(&mut position), count)).map(|count| count as u64)
}

fn none_or_some(sent: Result<usize, Errno>) -> std::io::Result<usize> {
    match sent {
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
