//! openat2(2), by which the kernel keeps a path beneath a directory: as a system call, or through a ring of the thread's own.
//!
//! Order: the call is tried · where a filter hides it (ENOSYS), every later one of this process goes through a ring. systemd's
//! `RestrictSUIDSGID=` is such a filter: it cannot look into the argument of openat2, so it pretends that there is no such call. The modes
//! that it is afraid of are not used here, and filters do not concern what a ring does.
//!
//! Invariant: both ways give the same answer; a path is never opened by a call that would not keep it beneath the directory.

// The ring takes pointers; the one unsafe call is argued beside it.
#![allow(unsafe_code)]

use io_uring::types::{Fd, OpenHow};
use io_uring::{IoUring, opcode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the system call was found to be hidden.
static IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Opens `path` as no more than a place in the tree (O_PATH), within the bounds that `resolve` sets.
pub(super) fn open_path(directory: &OwnedFd, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    if !IS_HIDDEN.load(Ordering::Relaxed) {
        match rustix::fs::openat2(directory, path, FLAGS, Mode::empty(), resolve) {
            Err(Errno::NOSYS) => {}
            settled => return settled,
        }
    }
    let opened = by_ring(directory, path, resolve);
    // Once it works: where it does not either, an administrator is told of the call.
    if !matches!(opened, Err(Errno::NOSYS)) && !IS_HIDDEN.swap(true, Ordering::Relaxed) {
        tracing::debug!("a filter hides openat2: paths are opened through a ring");
    }
    opened
}

const FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// One request at a time; the kernel has no ring of less than this.
const ENTRIES: u32 = 1;

thread_local! {
    static RING: RefCell<Option<IoUring>> = const { RefCell::new(None) };
}

/// The same by the ring of this thread, which is made with the first.
fn by_ring(directory: &OwnedFd, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let how = OpenHow::new().flags(u64::from(FLAGS.bits())).resolve(resolve.bits());
    RING.with_borrow_mut(|ring| {
        let ring = match ring {
            Some(ring) => ring,
            // A kernel that denies it has denied the engine its rings before.
            None => ring.insert(IoUring::new(ENTRIES).map_err(|_| Errno::NOSYS)?),
        };
        let request = opcode::OpenAt2::new(Fd(directory.as_raw_fd()), path.as_ptr(), &how).build();
        // SAFETY: the path, what it is opened with and the directory live until this returns, and that is not before the kernel has
        // answered: see below.
        let pushed = unsafe { ring.submission().push(&request) };
        pushed.expect("the queue is empty: every request before was waited for");
        loop {
            let waited = ring.submit_and_wait(1);
            if let Some(answer) = ring.completion().next() {
                let result = answer.result();
                if result < 0 {
                    return Err(Errno::from_raw_os_error(-result));
                }
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                return Ok(unsafe { OwnedFd::from_raw_fd(result) });
            }
            match waited {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                // The kernel may still read what we gave it, so there is no way back; none of the errors left is of a ring that works.
                Err(error) => panic!("a ring that was made cannot be waited for: {error}"),
            }
        }
    })
}

/// Whether the same call may succeed in a moment: a signal came, or the kernel lacks memory or room for the answer.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::root::Symlinks;
    use rustix::fs::CWD;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_give_the_same_answers() {
        let tree = std::env::temp_dir().join(format!("otus-httpd-beneath-{}", std::process::id()));
        std::fs::create_dir_all(tree.join("root/inner")).expect("a directory of this test");
        std::fs::write(tree.join("root/inner/a"), "a").expect("a file of this test");
        std::fs::write(tree.join("secret"), "s").expect("a file of this test");
        for (target, link) in [("inner", "in"), ("../secret", "out"), ("/etc", "absolute"), ("loop", "loop")] {
            symlink(target, tree.join("root").join(link)).expect("a link of this test");
        }
        let root = rustix::fs::openat(CWD, tree.join("root"), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.expect("it was just made");
        let mut refused = 0;
        let paths = [
            "inner/a",
            "in/a",
            "out",
            "absolute",
            "loop",
            "..",
            "../secret",
            "/etc",
            ".",
            "inner",
            "none",
            "inner/a/b",
        ];
        for path in paths {
            for symlinks in [Symlinks::Beneath, Symlinks::Deny, Symlinks::Follow] {
                let called = rustix::fs::openat2(&root, path, FLAGS, Mode::empty(), symlinks.flags());
                let ringed = by_ring(&root, path.as_bytes(), symlinks.flags());
                let inode = |fd: OwnedFd| rustix::fs::fstat(&fd).expect("it is open").st_ino;
                refused += usize::from(ringed.is_err());
                assert_eq!(ringed.map(inode), called.map(inode), "{path} {symlinks:?}");
            }
        }
        assert!(refused > paths.len(), "most of them lead out or nowhere");
        assert_eq!(by_ring(&root, b"a\0b", Symlinks::Beneath.flags()).map(drop), Err(Errno::INVAL));
        std::fs::remove_dir_all(&tree).expect("it is ours");
    }
}
