//! What is in a directory, as far as a visitor may see it.
//!
//! Order for each name: the caller's choice · its kind, where the directory already tells it · its
//! facts, or those of a symlink's target.
//!
//! Invariant: an entry is a regular file or a directory, and its facts are those of something that
//! a look-up beneath the root would find.

use super::file::{Identity, Kind, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RawDirEntry, StatxFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The entries of a directory, in the order in which the file system keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The entries, without `.` and `..`.
    pub entries: Vec<Entry>,
    /// Whether there are more than were asked for, or than memory is spent on.
    pub truncated: bool,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, never empty and without a slash; not necessarily UTF-8.
    pub name: Vec<u8>,
    /// What kind of thing it is, never a special one.
    pub kind: Kind,
    /// Its length in bytes; of a directory, whatever the file system makes of it.
    pub length: u64,
    /// When its content last changed.
    pub modified: Timestamp,
}

/// Reads the directory that `path_fd`, an O_PATH descriptor, refers to: at most `entries_max`
/// entries whose names `keep` accepts. `resolve` tells the facts of what a symlink in it leads to;
/// where it fails, or finds something special, the symlink is left out. May block: not for an
/// executor's thread.
///
/// `ENOTDIR` where it is no directory; `EACCES` where it may not be read, or not searched.
pub(super) fn read(
    path_fd: &OwnedFd,
    entries_max: usize,
    keep: impl Fn(&[u8]) -> bool,
    resolve: impl Fn(&[u8]) -> Result<(Kind, Identity), Errno>,
) -> Result<Directory, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(path_fd, c".", flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut names = RawDir::new(&descriptor, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    let mut name_bytes = 0;
    let mut names_read = 0;
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        names_read += 1;
        if names_read > NAMES_READ_MAX {
            return Ok(Directory { entries, truncated: true });
        }
        if matches!(name, b"." | b"..") || !keep(name) {
            continue;
        }
        let Some((kind, identity)) = facts(&descriptor, &entry, &resolve)? else { continue };
        if entries.len() >= entries_max || name_bytes + name.len() > NAME_BYTES_MAX {
            return Ok(Directory { entries, truncated: true });
        }
        name_bytes += name.len();
        entries.push(Entry { name: name.to_vec(), kind, length: identity.length, modified: identity.modified });
    }
    Ok(Directory { entries, truncated: false })
}

/// Names come from the kernel in portions of this size: about a thousand usual ones, and a hundred
/// of the longest, which have 255 bytes.
const BUFFER_BYTES: usize = 32 * 1024;

/// All the names of one listing. At the usual length of a name it is entries_max that ends a
/// listing; this is for the names that someone made as long as they can be.
const NAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many names are read in all: a directory may hold millions that are left out, and a thread
/// of the pool must come back.
const NAMES_READ_MAX: usize = 1_000_000;

/// The facts of one entry, or none where it is left out. What is wrong with one entry is no fault
/// of the directory; want of descriptors or memory is, for it would silently empty the listing.
fn facts(
    descriptor: &OwnedFd,
    entry: &RawDirEntry<'_>,
    resolve: impl Fn(&[u8]) -> Result<(Kind, Identity), Errno>,
) -> Result<Option<(Kind, Identity)>, Errno> {
    let result = match entry.file_type() {
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => return Ok(None),
        FileType::Symlink => resolve(entry.file_name().to_bytes()),
        FileType::RegularFile | FileType::Directory | FileType::Unknown => {
            // NO_AUTOMOUNT: that a name is listed must not mount what lies behind it.
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            match rustix::fs::statx(descriptor, entry.file_name(), flags, StatxFlags::BASIC_STATS) {
                // Not every file system keeps kinds beside names, and names come to name other things.
                Ok(facts) if FileType::from_raw_mode(facts.stx_mode.into()) == FileType::Symlink => {
                    resolve(entry.file_name().to_bytes())
                }
                Ok(facts) => Ok((Kind::of(&facts), Identity::of(&facts))),
                Err(errno) => Err(errno),
            }
        }
    };
    match result {
        Ok((Kind::Special, _)) => Ok(None),
        Ok(facts) => Ok(Some(facts)),
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::root::{Root, Symlinks};
    use rustix::fs::{CWD, mknodat};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory of its own for one test, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("otus-directory-{test}-{}", std::process::id()));
            std::fs::create_dir(&path).expect("the temporary directory is writable");
            Scratch(path)
        }

        fn file(&self, name: impl AsRef<std::path::Path>, length: usize) {
            std::fs::write(self.0.join(name), vec![b'x'; length]).expect("the scratch is writable");
        }

        /// What `relative` beneath the root `below` holds, sorted by name.
        fn list(&self, below: &str, relative: &str, entries_max: usize) -> Result<Directory, Errno> {
            let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
            let root = Root::open(&self.0.join(below)).expect("the scratch is readable");
            let mut directory =
                executor.run(root.list(relative.as_bytes(), entries_max, |name| name[0] != b'.', Symlinks::Beneath))?;
            directory.entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(directory)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_visitor_may_see_is_listed() {
        let scratch = Scratch::new("kinds");
        let root = scratch.0.join("root");
        std::fs::create_dir_all(root.join("d/sub")).expect("the scratch is writable");
        scratch.file("outside.txt", 9);
        scratch.file("root/target.txt", 7);
        scratch.file("root/d/plain.txt", 5);
        scratch.file("root/d/.hidden", 5);
        scratch.file(PathBuf::from("root/d").join(std::ffi::OsStr::from_bytes(b"\xff:?#")), 1);
        mknodat(CWD, root.join("d/fifo"), FileType::Fifo, Mode::RWXU, 0).expect("the scratch takes a FIFO");
        for (target, name) in [
            ("../target.txt", "inside"),
            ("sub", "inside-directory"),
            ("nowhere", "dangling"),
            ("circle", "circle"),
            ("fifo", "to-fifo"),
            ("../../outside.txt", "outside"),
            ("/etc", "outside-absolute"),
            (root.join("target.txt").to_str().expect("the scratch has a plain name"), "inside-absolute"),
        ] {
            symlink(target, root.join("d").join(name)).expect("the scratch takes symlinks");
        }
        for relative in ["d/", "d"] {
            let directory = scratch.list("root", relative, 100).expect("the directory is there");
            let seen = directory.entries.iter().map(|entry| {
                assert!(entry.modified.seconds > 1_600_000_000);
                let length = if entry.kind == Kind::Regular { entry.length } else { 0 };
                (&entry.name[..], entry.kind, length)
            });
            assert_eq!(
                seen.collect::<Vec<_>>(),
                [
                    (&b"inside"[..], Kind::Regular, 7),
                    (b"inside-absolute", Kind::Regular, 7),
                    (b"inside-directory", Kind::Directory, 0),
                    (b"plain.txt", Kind::Regular, 5),
                    (b"sub", Kind::Directory, 0),
                    (b"\xff:?#", Kind::Regular, 1),
                ],
                "{relative}"
            );
            assert!(!directory.truncated);
        }
        for (relative, expected) in
            [("target.txt", Errno::NOTDIR), ("d/fifo", Errno::NOTDIR), ("no", Errno::NOENT), ("..", Errno::XDEV)]
        {
            assert_eq!(scratch.list("root", relative, 100), Err(expected), "{relative}");
        }
        assert_eq!(scratch.list("root", "", 100).expect("the root can be listed").entries.len(), 2);
    }

    #[test]
    fn a_listing_ends_at_its_limit() {
        let scratch = Scratch::new("limit");
        (0..20).for_each(|number| scratch.file(format!("{number}.txt"), 0));
        // What is left out anyway does not count.
        (0..20).for_each(|number| scratch.file(format!(".{number}"), 0));
        symlink("nowhere", scratch.0.join("dangling")).expect("the scratch takes symlinks");
        for (entries_max, listed, truncated) in [(0, 0, true), (19, 19, true), (20, 20, false), (21, 20, false)] {
            let directory = scratch.list("", "", entries_max).expect("the directory is there");
            assert_eq!((directory.entries.len(), directory.truncated), (listed, truncated), "{entries_max}");
        }
    }

    /// Names longer than a listing of entries_max would lead one to expect: memory stays bounded,
    /// and a full buffer of names is not the end of the directory.
    #[test]
    fn many_long_names_are_read_in_portions() {
        let scratch = Scratch::new("long");
        let name = |number: usize| format!("{number:0>255}");
        (0..1000).for_each(|number| scratch.file(name(number), 0));
        let directory = scratch.list("", "", 10_000).expect("the directory is there");
        assert!(!directory.truncated);
        assert!(directory.entries.iter().enumerate().all(|(number, entry)| entry.name == name(number).as_bytes()));
        assert_eq!(directory.entries.len(), 1000);
    }
}
