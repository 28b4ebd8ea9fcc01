//! Files in memory: where content lies that the kernel sends by itself.
//!
//! With the right to (CAP_SYS_ADMIN), they lie in a tmpfs(5) that is mounted nowhere: no path leads to it, and it goes with
//! its descriptor. It has what memfd_create(2) lacks where the machine is left at its defaults: pages larger than 4 KiB, which
//! make sendfile(2) as cheap as from the page cache. Without the right, each is a memfd.
//!
//! Invariant: what `Draft::freeze` gives never changes. A memfd is sealed; a file of the tmpfs, which cannot be sealed, has
//! no name, and the one descriptor that could write to it is closed.

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// A file in memory that is being written.
#[derive(Debug)]
pub(super) struct Draft {
    file: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A memfd.
    Sealable,
    /// Without a name, in a file system that only this process has.
    Private,
}

/// The file system for all content of this process, where it may have one.
static MOUNT: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Makes the file system, which takes a system call or two: for start-up, as long as the right to is there. It belongs to
/// `owner`, a user and a group, where that is not who the process is.
pub fn prepare(owner: Option<(u32, u32)>) {
    mounted_for(owner);
}

/// The file system, where there is one: for who says what a thread may write to.
pub fn mounted() -> Option<BorrowedFd<'static>> {
    mounted_for(None).map(AsFd::as_fd)
}

fn mounted_for(owner: Option<(u32, u32)>) -> Option<&'static OwnedFd> {
    let mount = MOUNT.get_or_init(|| match mount(owner) {
        Ok(mount) => {
            tracing::debug!("content in memory lies in a tmpfs of the server's own, in large pages");
            Some(mount)
        }
        Err(why) => {
            tracing::debug!("content in memory lies in memfds: {why}");
            None
        }
    });
    mount.as_ref()
}

impl Draft {
    /// An empty file that is to have `length` bytes.
    pub(super) fn new(length: u64) -> Result<Draft, Errno> {
        Draft::new_in(mounted_for(None), length)
    }

    fn new_in(mount: Option<&OwnedFd>, length: u64) -> Result<Draft, Errno> {
        let private = mount.and_then(|mount| {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::openat(mount, c".", flags, Mode::RUSR).ok()
        });
        let draft = match private {
            Some(file) => Draft { file, kind: Kind::Private },
            None => {
                let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
                Draft { file: rustix::fs::memfd_create(c"content", flags)?, kind: Kind::Sealable }
            }
        };
        // Told beforehand: `within_size` gives no page that would reach past the end.
        rustix::fs::ftruncate(&draft.file, length)?;
        Ok(draft)
    }

    /// The file, for as long as it may be written.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The same file, for reading only from here on.
    pub(super) fn freeze(self) -> Result<OwnedFd, Errno> {
        match self.kind {
            Kind::Sealable => {
                let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
                rustix::fs::fcntl_add_seals(&self.file, seals)?;
                Ok(self.file)
            }
            Kind::Private => {
                let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            }
        }
    }
}

/// From here on, giving memory back takes so long (50 ms a GiB, in pages of 4 KiB) that others would notice.
const CLOSED_AT_ONCE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Closes a file of this length, without keeping this thread for long.
pub(super) fn close(file: OwnedFd, length: u64) {
    if length > CLOSED_AT_ONCE_BYTES_MAX {
        // Without a thread to be had, what it should have done is done here: the failure drops the file.
        let _ = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(file));
    }
}

/// A tmpfs that no path leads to; why not, where it may not be.
fn mount(owner: Option<(u32, u32)>) -> Result<OwnedFd, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    may_mount(&status)?;
    let told = |errno: Errno| format!("a tmpfs cannot be made: {}", std::io::Error::from(errno));
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(told)?;
    for (key, value) in [
        // Large pages for what fills them, so that a file takes no more memory than it has bytes.
        (c"huge", c"within_size"),
        (c"mode", c"0700"),
        // As for memfds, there is no bound here: the caches have theirs.
        (c"size", c"0"),
        (c"nr_inodes", c"0"),
    ] {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value).map_err(told)?;
    }
    if let Some((user, group)) = owner {
        for (key, number) in [(c"uid", user), (c"gid", group)] {
            let number = CString::new(number.to_string()).expect("digits have no NUL");
            rustix::mount::fsconfig_set_string(context.as_fd(), key, number.as_c_str()).map_err(told)?;
        }
    }
    rustix::mount::fsconfig_create(context.as_fd()).map_err(told)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(told)
}

/// The number of CAP_SYS_ADMIN (capabilities(7)).
const CAPABILITY: u32 = 21;

/// Whether the process that /proc tells this of may mount, and asking for it harms nobody.
fn may_mount(status: &str) -> Result<(), &'static str> {
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let effective = value("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    if effective & 1 << CAPABILITY == 0 {
        return Err("the server lacks CAP_SYS_ADMIN");
    }
    // A filter may kill who asks for what it does not allow, and many a service manager's does.
    if value("Seccomp:") != Some("0") {
        return Err("a seccomp filter is in force");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both kinds, where there are both.
    fn mounts() -> Vec<Option<OwnedFd>> {
        let mut mounts = vec![None];
        match mount(None) {
            Ok(mount) => mounts.push(Some(mount)),
            Err(why) => eprintln!("memfds only: {why}"),
        }
        mounts
    }

    #[test]
    fn what_is_frozen_is_what_was_written_and_stays_it() {
        for mount in mounts() {
            for length in [1, 4096, 70_000, 955_000, 5_000_000] {
                let draft = Draft::new_in(mount.as_ref(), length).expect("memory");
                assert_eq!(draft.kind == Kind::Private, mount.is_some());
                let bytes = vec![7; usize::try_from(length).expect("small")];
                assert_eq!(rustix::io::pwrite(draft.file(), &bytes, 0), Ok(bytes.len()));
                let file = draft.freeze().expect("it can be frozen");
                let mut read = vec![0; bytes.len() + 1];
                assert_eq!(rustix::io::pread(&file, &mut read, 0), Ok(bytes.len()));
                assert!(read[..bytes.len()] == bytes);
                assert!(matches!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM | Errno::BADF)));
                assert!(matches!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM | Errno::INVAL)));
                let facts = rustix::fs::fstat(&file).expect("it is open");
                let taken = u64::try_from(facts.st_blocks).expect("no less than nothing") * 512;
                assert_eq!(taken, length.next_multiple_of(4096), "no large page reaches past the end");
            }
        }
    }

    #[test]
    fn asking_for_a_mount_harms_nobody() {
        for (status, expected) in [
            ("Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n", true),
            ("CapEff:\t0000000000200000\nSeccomp:\t0\n", true),
            // A filter may kill
            ("CapEff:\t000001ffffffffff\nSeccomp:\t2\n", false),
            // It would be refused
            ("CapEff:\t0000000000000400\nSeccomp:\t0\n", false),
            // Nothing is known
            ("CapEff:\tmany\nSeccomp:\t0\n", false),
            ("CapEff:\t000001ffffffffff\n", false),
            ("", false),
        ] {
            assert_eq!(may_mount(status).is_ok(), expected, "{status:?}");
        }
    }
}
