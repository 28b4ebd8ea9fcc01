//! Why a file is not served, in the four words that matter to an answer.

use rustix::fs::Access;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// Why nothing can be sent. The cause itself goes to the log, never to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is there, or nothing that is for the public.
    NotFound,
    /// It is there, and the server's user may not read it.
    Forbidden,
    /// Descriptors or memory have run out: later it may work.
    Exhausted,
    /// The disk failed.
    Broken,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        match errno {
            // XDEV: a symlink leads out of the root. It is not for the public, and telling it
            // from "absent" would tell the peer what lies outside.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::XDEV
            | Errno::NXIO
            | Errno::STALE => Refusal::NotFound,
            Errno::ACCESS | Errno::PERM | CONFINED => Refusal::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Refusal::Exhausted,
            _ => Refusal::Broken,
        }
    }
}

/// Stands for EACCES where it is not the permissions of the file that deny it, but what this thread is confined to: a number
/// that the kernel never gives for a file.
pub const CONFINED: Errno = Errno::UNATCH;

/// `errno`, which came of opening what `path_fd` refers to, with the two causes of EACCES told apart. May ask another
/// machine where the file is on one.
pub(super) fn blamed(errno: Errno, path_fd: &OwnedFd) -> Errno {
    // Landlock has no part in access(2), which goes by the permissions alone.
    let path = format!("/proc/self/fd/{}", path_fd.as_raw_fd());
    let is_permitted = || rustix::fs::access(path, Access::READ_OK).is_ok();
    if errno == Errno::ACCESS && is_permitted() { CONFINED } else { errno }
}
