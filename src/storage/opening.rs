//! Opens a file that was looked up, and reads a small one on the spot, from the page cache of the kernel.
//!
//! The stages: open; read what is small, if that waits for nothing; compare the facts; else, bind what is open to reads
//! through the ring. The executor's own thread goes through them where nothing waits (`at_once`), and a thread of the
//! pool where something may (`patiently`).
//!
//! Small content passes through the page cache, which is thus a second level behind our own: asking it costs less than
//! a read from the disk. All other content is read past it (O_DIRECT), so that large files do not push small ones out.
//!
//! Invariant: content is given out only between two looks at the open file that found one and the same identity.

use super::file::{Identity, Opened, Patience, facts, is_recent};
use super::file_system::Medium;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};
use std::os::fd::{AsRawFd, OwnedFd};

/// What opening a file gave.
#[derive(Debug)]
pub enum Opening {
    /// All bytes of a small file, of the version of this identity.
    Content(Identity, Vec<u8>),
    /// A file to be read: a large one, or one that the page cache does not hold.
    File(Opened),
}

impl Opening {
    /// The identity of the file at the moment it was opened.
    pub fn identity(&self) -> Identity {
        match self {
            Opening::Content(identity, _) => *identity,
            Opening::File(opened) => opened.identity(),
        }
    }
}

/// Opens what `path_fd` refers to, an O_PATH descriptor of a regular file that is on `medium`, and had the identity
/// `found` when it was looked up. Waits for nothing: nothing comes of it where it would have to.
///
/// Content of at most `whole_bytes_max` is read.
pub(super) fn at_once(
    path_fd: &OwnedFd,
    found: Identity,
    medium: Medium,
    whole_bytes_max: u64,
) -> Result<Option<Opening>, Errno> {
    let is_small = found.length <= whole_bytes_max;
    let (fd, is_direct) = open(path_fd, is_small)?;
    let identity = if is_small {
        match read_whole(&fd, found, medium, whole_bytes_max, Patience::Never)? {
            (identity, Some(bytes)) => return Ok(Some(Opening::Content(identity, bytes))),
            (identity, None) => identity,
        }
    } else {
        facts(&fd, Patience::Never)?.identity
    };
    if is_small && identity.length > whole_bytes_max {
        // It has grown, and wants another sort of descriptor.
        return at_once(path_fd, identity, medium, whole_bytes_max);
    }
    if is_recent(&identity) {
        // Its beginning is to be remembered, and reading that may wait.
        return Ok(None);
    }
    Ok(Some(Opening::File(Opened::new(fd, is_direct, identity, None)?)))
}

/// The same of any file. May block: not for an executor's thread. It does not wait for content, so that a slow
/// disk leaves the threads of the pool to those who look up names: what is not in the page cache is left to the ring.
pub(super) fn patiently(path_fd: &OwnedFd, found: Identity, whole_bytes_max: u64) -> Result<Opening, Errno> {
    let is_small = found.length <= whole_bytes_max;
    let (fd, is_direct) = open(path_fd, is_small)?;
    let mut identity = if is_small {
        match read_whole(&fd, found, Medium::Disk, whole_bytes_max, Patience::AsNeeded)? {
            (identity, Some(bytes)) => return Ok(Opening::Content(identity, bytes)),
            (identity, None) => identity,
        }
    } else {
        facts(&fd, Patience::AsNeeded)?.identity
    };
    if is_small && identity.length > whole_bytes_max {
        return patiently(path_fd, identity, whole_bytes_max);
    }
    let mut beginning = None;
    if is_recent(&identity) {
        beginning = Some(read_beginning(path_fd)?);
        // Asked again, so that the beginning is of this version or of none.
        identity = facts(&fd, Patience::AsNeeded)?.identity;
    }
    Ok(Opening::File(Opened::new(fd, is_direct, identity, beginning)?))
}

/// A descriptor to read from, and whether its reads go past the page cache.
///
/// Going through /proc/self/fd opens this very file, whatever has become of its name.
fn open(path_fd: &OwnedFd, is_small: bool) -> Result<(OwnedFd, bool), Errno> {
    let path = format!("/proc/self/fd/{}", path_fd.as_raw_fd());
    if !is_small {
        match rustix::fs::open(&path, FLAGS | OFlags::DIRECT, Mode::empty()) {
            // A file system without direct reads.
            Err(Errno::INVAL) => tell_once(),
            settled => return Ok((settled?, true)),
        }
    }
    Ok((rustix::fs::open(&path, FLAGS, Mode::empty())?, false))
}

/// An administrator who wonders where the page cache goes is told, once.
fn tell_once() {
    static TOLD: std::sync::Once = std::sync::Once::new();
    TOLD.call_once(|| {
        let reason = "no_direct_reads";
        tracing::info!(
            reason,
            "the file system of a root has no direct reads (O_DIRECT): its large files go through the page cache"
        );
    });
}

/// NONBLOCK: a lease that another program holds on the file is an error then, and not a wait for that program.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Bytes by which a file that was rewritten is told from one that was appended to.
const BEGINNING_BYTES: usize = 4096;

/// The first bytes of a file. May block.
fn read_beginning(path_fd: &OwnedFd) -> Result<Box<[u8]>, Errno> {
    // By a descriptor of its own, for a direct one wants aligned memory.
    let (plain, _) = open(path_fd, true)?;
    let mut beginning = vec![0; BEGINNING_BYTES];
    let count = rustix::io::pread(plain, &mut beginning[..], 0)?;
    beginning.truncate(count);
    Ok(beginning.into_boxed_slice())
}

/// How often a file is read that turns out to be another version than before. More often, it is being written, and
/// [`Opened`] knows how to read what grows.
const READ_ATTEMPTS_MAX: u32 = 2;

/// What the file is now, and all bytes of that version, if they could be had without waiting.
///
/// The bytes lie between two looks that found one and the same identity. The first of these is the one at the O_PATH
/// descriptor, when the file was found. It is as good as one at `fd`: both refer to one inode, whatever became of its
/// name, and it is the inode's facts that are told. That it is older does no harm: what was written since then shows.
fn read_whole(
    fd: &OwnedFd,
    found: Identity,
    medium: Medium,
    bytes_max: u64,
    patience: Patience,
) -> Result<(Identity, Option<Vec<u8>>), Errno> {
    let mut before = found;
    for _ in 0..READ_ATTEMPTS_MAX {
        if before.length > bytes_max {
            break;
        }
        let bytes = read_cached(fd, before.length, medium);
        let now = facts(fd, patience)?.identity;
        if now == before {
            return Ok((now, bytes));
        }
        before = now;
    }
    Ok((before, None))
}

/// The first `length` bytes of a file, if all of them are in memory.
fn read_cached(fd: &OwnedFd, length: u64, medium: Medium) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    if bytes.is_empty() {
        return Some(bytes);
    }
    let count = match medium {
        // It knows no NOWAIT, and needs none. What was swapped out is waited for, as our own memory would be.
        Medium::Memory => rustix::io::pread(fd, &mut bytes[..], 0),
        // Before the kernel says that it does not hold something, it asks the disk for it (since 5.9), as it does for a
        // buffered read of the ring; who reads it through the ring then waits for what is under way.
        Medium::Disk => rustix::io::preadv2(fd, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT),
    };
    // Whatever the error is (AGAIN: not in the page cache; OPNOTSUPP: a file system that does not know NOWAIT), the
    // ring reads it again. Fewer bytes: only a part is in the page cache, or the file has shrunk.
    count.is_ok_and(|count| count == bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::{OpenFile, ReadFault};
    use crate::storage::root::{Found, Root, Symlinks};
    use crate::storage::span::spans;
    use futures_lite::future::poll_once;
    use rustix::fs::Advice;
    use std::fs::File;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, SystemTime};

    const WHOLE_BYTES_MAX: u64 = 10_000;

    /// A directory of one test, and a root there.
    struct Place {
        path: PathBuf,
        root: Root,
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    impl Place {
        fn under(parent: &Path) -> Place {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("otus-httpd-opening-{}-{number}", std::process::id()));
            std::fs::create_dir(&path).expect("a directory for this test can be made");
            let root = Root::open(&path).expect("it is a directory");
            Place { path, root }
        }

        /// On the disk and in memory: of both, those whose file system is known here.
        fn all() -> Vec<Place> {
            let places = [std::env::temp_dir(), PathBuf::from("/dev/shm")].map(|parent| Place::under(&parent));
            places.into_iter().filter(|place| place.medium().is_some()).collect()
        }

        fn medium(&self) -> Option<Medium> {
            self.write("probe", b"", Age::Old);
            let probe = File::open(self.path.join("probe")).expect("it was just written");
            let file_system = crate::storage::file_system::FileSystem::of(&probe).expect("it tells");
            file_system.medium_of(&facts(&probe, Patience::AsNeeded).expect("it is open"))
        }

        fn write(&self, name: &str, content: &[u8], age: Age) {
            let path = self.path.join(name);
            std::fs::write(&path, content).expect("there is room");
            if age == Age::Old {
                set_back(&path);
            }
        }

        /// What is at `name`: found in the name cache, without a thread.
        async fn find(&self, name: &str) -> Found {
            let found = poll_once(self.root.look_up(name.as_bytes(), Symlinks::Follow)).await;
            found.expect("it was used a moment ago").expect("it is there")
        }

        /// Makes the page cache forget the file.
        fn forget(&self, name: &str) {
            let file = File::open(self.path.join(name)).expect("it is there");
            rustix::fs::fsync(&file).expect("the disk takes it");
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("it is a file");
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Age {
        Old,
        New,
    }

    fn set_back(path: &Path) {
        let file = File::options().write(true).open(path).expect("it is ours");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)).expect("it is ours");
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 7 % 251) as u8).collect()
    }

    fn on_executor<T>(future: impl Future<Output = T>) -> T {
        glommio::LocalExecutorBuilder::default().make().expect("io_uring works here").run(future)
    }

    fn content(opening: Opening) -> Vec<u8> {
        match opening {
            Opening::Content(identity, bytes) => {
                assert_eq!(identity.length, bytes.len() as u64);
                bytes
            }
            Opening::File(_) => panic!("it was not read"),
        }
    }

    fn file(opening: Opening) -> OpenFile {
        match opening {
            Opening::Content(..) => panic!("it was read"),
            Opening::File(opened) => opened.bind(),
        }
    }

    async fn read(file: &OpenFile, length: u64) -> Result<Vec<u8>, ReadFault> {
        let mut bytes = Vec::new();
        for span in spans(0..length) {
            bytes.extend_from_slice(&file.read(span).await?);
        }
        Ok(bytes)
    }

    #[test]
    fn what_the_kernel_holds_takes_no_thread() {
        on_executor(async {
            for place in Place::all() {
                for length in [0, 1, 4095, 4096, 4097, 9999, 10_000] {
                    for age in [Age::Old, Age::New] {
                        let expected = pattern(length);
                        place.write("file", &expected, age);
                        let found = place.find("file").await;
                        let opening = poll_once(found.open(WHOLE_BYTES_MAX)).await.expect("at once").expect("it opens");
                        assert_eq!(opening.identity(), found.identity());
                        assert!(content(opening) == expected, "{length} bytes in {}", place.path.display());
                    }
                }
                let expected = pattern(10_001);
                place.write("large", &expected, Age::Old);
                let found = place.find("large").await;
                let opening = poll_once(found.open(WHOLE_BYTES_MAX)).await.expect("at once").expect("it opens");
                assert!(read(&file(opening), 10_001).await.expect("it is at rest") == expected);
            }
        });
    }

    /// What is read in the ring, because the page cache had forgotten it, is in the page cache the next time.
    #[test]
    fn what_the_kernel_does_not_hold_is_read_through_the_ring() {
        on_executor(async {
            for place in Place::all().into_iter().filter(|place| place.medium() == Some(Medium::Disk)) {
                let expected = pattern(9000);
                place.write("file", &expected, Age::Old);
                place.forget("file");
                let found = place.find("file").await;
                let opening = poll_once(found.open(WHOLE_BYTES_MAX)).await.expect("at once").expect("it opens");
                // Something else may have read it meanwhile, as a backup does.
                if let Opening::File(opened) = opening {
                    assert_eq!(opened.identity(), found.identity());
                    assert!(read(&opened.bind(), 9000).await.expect("it is at rest") == expected);
                }
                let opening = poll_once(found.open(WHOLE_BYTES_MAX)).await.expect("at once").expect("it opens");
                assert!(content(opening) == expected);
            }
        });
    }

    /// What was found is opened, and what it holds by then is read, with the identity that goes with that.
    #[test]
    fn a_change_between_look_up_and_open_is_seen() {
        type Change = fn(&Path);
        let rows: [(&str, Change, &[u8]); 6] = [
            ("it grows", |path| std::fs::write(path, "new and longer").expect("there is room"), b"new and longer"),
            ("it shrinks", |path| std::fs::write(path, "n").expect("there is room"), b"n"),
            ("it is emptied", |path| std::fs::write(path, "").expect("there is room"), b""),
            (
                "it keeps its length and its date",
                |path| {
                    std::fs::write(path, "new").expect("there is room");
                    set_back(path);
                },
                b"new",
            ),
            ("it is removed", |path| std::fs::remove_file(path).expect("it is ours"), b"old"),
            (
                "another takes its name",
                |path| {
                    let other = path.with_extension("other");
                    std::fs::write(&other, "new").expect("there is room");
                    std::fs::rename(other, path).expect("it is ours");
                },
                b"old",
            ),
        ];
        on_executor(async {
            for place in Place::all() {
                for (what, change, expected) in &rows {
                    place.write("file", b"old", Age::Old);
                    let found = place.find("file").await;
                    // Longer than the coarsest clock of a file system takes to advance.
                    std::thread::sleep(Duration::from_millis(20));
                    change(&place.path.join("file"));
                    let opening = found.open(WHOLE_BYTES_MAX).await.expect("it opens");
                    assert_ne!(opening.identity(), found.identity(), "{what}: its times tell");
                    assert_eq!(content(opening), *expected, "{what}");
                }
                place.write("file", b"old", Age::Old);
                let found = place.find("file").await;
                let expected = pattern(20_000);
                place.write("file", &expected, Age::Old);
                let opening = found.open(WHOLE_BYTES_MAX).await.expect("it opens");
                assert!(read(&file(opening), 20_000).await.expect("it is at rest") == expected);
            }
        });
    }

    /// A file at rest must stay what it was; one that was just written may be a log, and grow.
    #[test]
    fn a_change_between_open_and_read_is_seen() {
        on_executor(async {
            for place in Place::all() {
                for (age, written, expected) in [
                    (Age::Old, "old, and more", None),
                    (Age::Old, "new", None),
                    (Age::Old, "", None),
                    (Age::New, "old, and more", Some(b"old")),
                    (Age::New, "new, and more", None),
                    (Age::New, "", None),
                ] {
                    place.write("file", b"old", age);
                    let found = place.find("file").await;
                    // Nothing is small enough to be read at once.
                    let file = file(found.open(0).await.expect("it opens"));
                    std::thread::sleep(Duration::from_millis(20));
                    std::fs::write(place.path.join("file"), written).expect("there is room");
                    match (read(&file, 3).await, expected) {
                        (Ok(bytes), Some(expected)) => assert_eq!(bytes, expected),
                        (Err(ReadFault::Changed), None) => {}
                        (outcome, _) => panic!("{written:?}: {outcome:?}"),
                    }
                }
            }
        });
    }

    /// The same by a thread of the pool, which asks the page cache too; and what is empty is not asked for.
    #[test]
    fn a_thread_of_the_pool_reads_what_the_kernel_holds() {
        for place in Place::all() {
            for (length, age) in [(0, Age::Old), (4096, Age::Old), (4096, Age::New), (10_001, Age::Old)] {
                let expected = pattern(length);
                place.write("file", &expected, age);
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let path_fd = rustix::fs::open(place.path.join("file"), flags, Mode::empty()).expect("it is there");
                let found = facts(&path_fd, Patience::AsNeeded).expect("it is open").identity;
                let opening = patiently(&path_fd, found, WHOLE_BYTES_MAX).expect("it opens");
                assert_eq!(opening.identity(), found);
                // A file system in memory does not know NOWAIT: the ring reads it then.
                let is_read = length == 0 || (length == 4096 && place.medium() == Some(Medium::Disk));
                match opening {
                    Opening::Content(_, bytes) => assert!(is_read && bytes == expected),
                    Opening::File(opened) => {
                        let bytes = on_executor(async { read(&opened.bind(), length as u64).await });
                        assert!(bytes.expect("it is at rest") == expected);
                    }
                }
            }
        }
    }

    /// A file on another file system than its root may be on one that waits.
    #[test]
    fn another_file_system_goes_to_the_pool() {
        on_executor(async {
            let (here, there) = (Place::under(&std::env::temp_dir()), Place::under(Path::new("/dev/shm")));
            there.write("file", b"elsewhere", Age::Old);
            std::os::unix::fs::symlink(there.path.join("file"), here.path.join("link")).expect("there is room");
            // Not every file system keeps the target of a symlink in memory.
            let found = here.root.look_up(b"link", Symlinks::Follow).await.expect("it leads somewhere");
            let root = facts(File::open(&here.path).expect("it is ours"), Patience::AsNeeded).expect("it is open");
            if found.identity().device == root.identity.device {
                return;
            }
            let mut open = Box::pin(found.open(WHOLE_BYTES_MAX));
            assert!(poll_once(&mut open).await.is_none());
            let bytes = match open.await.expect("it opens") {
                Opening::Content(_, bytes) => bytes,
                Opening::File(opened) => read(&opened.bind(), 9).await.expect("it is at rest"),
            };
            assert_eq!(bytes, b"elsewhere");
        });
    }
}
