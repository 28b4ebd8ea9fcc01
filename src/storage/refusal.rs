//! Why a file is not served, in the four words that matter to an answer.

use rustix::io::Errno;

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
            Errno::ACCESS | Errno::PERM => Refusal::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Refusal::Exhausted,
            _ => Refusal::Broken,
        }
    }
}
