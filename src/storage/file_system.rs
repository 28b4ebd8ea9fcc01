//! What is known of the file system that a document root is on: whether its files open without waiting.
//!
//! Invariant: a file system that is not known is taken for one that waits.

use super::file::{Facts, Kind, Patience, facts};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Where a file system keeps what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// In memory alone.
    Memory,
    /// On a disk of this machine, with what was read lately in the page cache.
    Disk,
}

/// The file system of one directory.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem {
    device: u64,
    medium: Option<Medium>,
}

impl FileSystem {
    /// That of `directory`. May block.
    pub fn of(directory: impl AsFd) -> Result<FileSystem, Errno> {
        let device = facts(&directory, Patience::AsNeeded)?.identity.device;
        // The numbers have 32 bits, whatever the width of the field. One that cannot be had is that of none known.
        let number = rustix::fs::fstatfs(&directory).map_or(0, |answer| answer.f_type as u32);
        Ok(FileSystem { device, medium: medium(number) })
    }

    /// Where the file of these facts is, if opening it waits for nothing once its name and its inode are in the
    /// kernel's memory; nothing, where it may wait.
    pub fn medium_of(&self, facts: &Facts) -> Option<Medium> {
        // Another file system may be mounted below the directory, and a symlink may lead to one.
        let is_here = facts.identity.device == self.device;
        // The open of an encrypted file reads its key's name, and that of a verified one its digests.
        (is_here && facts.kind == Kind::Regular && !facts.is_prepared_at_open).then_some(self.medium).flatten()
    }
}

/// By its number (statfs(2)). The `open` of these finds all that it needs in the inode. Those that ask another machine
/// or a process (NFS, FUSE), or that open a second file below (overlays), are left out.
fn medium(number: u32) -> Option<Medium> {
    match number {
        TMPFS | RAMFS => Some(Medium::Memory),
        EXT | XFS | BTRFS | F2FS => Some(Medium::Disk),
        _ => None,
    }
}

/// ext2, ext3 and ext4 share it.
const EXT: u32 = 0xEF53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683E;
const F2FS: u32 = 0xF2F5_2010;
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58F6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::{Identity, Timestamp};

    #[test]
    fn what_is_not_known_waits() {
        let rows = [
            (EXT, Some(Medium::Disk)),
            (TMPFS, Some(Medium::Memory)),
            // FUSE, NFS, an overlay, /proc
            (0x6573_5546, None),
            (0x6969, None),
            (0x794C_7630, None),
            (0x9FA0, None),
        ];
        for (number, expected) in rows {
            assert_eq!(medium(number), expected, "{number:x}");
        }
        let proc = FileSystem::of(std::fs::File::open("/proc/self").expect("/proc is mounted")).expect("it tells");
        assert_eq!(proc.medium, None);
    }

    #[test]
    fn only_plain_files_of_the_same_file_system_open_at_once() {
        let file_system = FileSystem { device: 1, medium: Some(Medium::Disk) };
        let time = Timestamp { seconds: 1, nanoseconds: 0 };
        let facts = |device, kind, is_prepared_at_open| Facts {
            kind,
            identity: Identity { device, inode: 1, length: 1, modified: time, changed: time },
            is_prepared_at_open,
        };
        let rows = [
            ("a file", facts(1, Kind::Regular, false), Some(Medium::Disk)),
            ("a file of another file system", facts(2, Kind::Regular, false), None),
            ("an encrypted file", facts(1, Kind::Regular, true), None),
            ("a directory", facts(1, Kind::Directory, false), None),
            ("a FIFO", facts(1, Kind::Special, false), None),
        ];
        for (what, facts, expected) in rows {
            assert_eq!(file_system.medium_of(&facts), expected, "{what}");
        }
    }
}
