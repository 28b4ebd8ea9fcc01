//! What lies in a socket of what was given to it: bytes that the peer has not acknowledged.
//!
//! Invariant: asking changes nothing, and waits for nothing.

// The kernel's answer is written into memory of ours; the one call is argued beside it.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};
use std::ffi::c_int;
use std::os::fd::AsFd;

/// `SIOCOUTQ` of linux/sockios.h, which is `TIOCOUTQ` of asm-generic/ioctls.h. (MIPS, PowerPC and SPARC number it otherwise; none of
/// them is served.)
const OUTQ: Opcode = 0x5411;

/// Bytes in the send queue of `socket` that its peer has not acknowledged (tcp(7)), or not read (unix(7), which counts the memory).
pub(super) fn unacknowledged_bytes(socket: impl AsFd) -> Result<u64, Errno> {
    // SAFETY: SIOCOUTQ writes one int where the getter has room for one, and keeps no pointer to it.
    let bytes = unsafe { ioctl(socket, Getter::<OUTQ, c_int>::new()) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn what_the_peer_took_is_told_from_what_it_did_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let ours = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (mut theirs, _) = listener.accept().expect("it was connected to");
        assert_eq!(unacknowledged_bytes(&ours), Ok(0));
        ours.set_nonblocking(true).expect("it is open");
        let mut taken = 0;
        while let Ok(count) = (&ours).write(&[0; 65536]) {
            taken += count;
        }
        let before = unacknowledged_bytes(&ours).expect("it is a socket");
        assert!(before > 0 && before < taken as u64, "{before} of {taken}: the peer's own buffer has taken some");
        let mut half = vec![0; taken / 2];
        theirs.read_exact(&mut half).expect("as much is there");
        // The peer tells of room that it has in its own time.
        let has_moved = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            unacknowledged_bytes(&ours).is_ok_and(|now| now < before)
        });
        assert!(has_moved, "it has read half of it");
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        (&ours).write_all(b"abc").expect("there is room");
        assert!(unacknowledged_bytes(&ours).expect("it is a socket") > 0);
        (&theirs).read_exact(&mut [0; 3]).expect("as much is there");
        assert_eq!(unacknowledged_bytes(&ours), Ok(0));
    }
}
