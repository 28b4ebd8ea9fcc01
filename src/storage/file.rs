//! One open regular file: the facts of the moment it was opened, and reads through the ring.
//!
//! Reads are direct (O_DIRECT, past the page cache) where the file is large and the file system can, and buffered reads
//! of the ring where it is small or the file system cannot (FUSE, some overlays). Both are asynchronous.
//!
//! Invariant: bytes are given out only while the file is the version that was opened. One that
//! shrank or was rewritten ends the reading with [`ReadFault::Changed`], never with other bytes.

// SAFETY of the one unsafe call is argued beside it.
#![allow(unsafe_code)]

use super::demand::Demand;
use super::refusal::Refusal;
use super::span::AlignedSpan;
use crate::counters;
use crate::engine;
use glommio::io::{BufferedFile, ReadResult};
use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in a file's life, as the file system keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970, possibly negative.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Nanoseconds since 1970.
    pub fn unix_nanoseconds(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }
}

/// What tells one version of one file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When its content last changed.
    pub modified: Timestamp,
    /// When its content or its attributes last changed; no program can set it back.
    pub changed: Timestamp,
}

impl Identity {
    /// The identity in what `statx` said.
    pub(super) fn of(facts: &Statx) -> Identity {
        Identity {
            device: u64::from(facts.stx_dev_major) << 32 | u64::from(facts.stx_dev_minor),
            inode: facts.stx_ino,
            length: facts.stx_size,
            modified: Timestamp { seconds: facts.stx_mtime.tv_sec, nanoseconds: facts.stx_mtime.tv_nsec },
            changed: Timestamp { seconds: facts.stx_ctime.tv_sec, nanoseconds: facts.stx_ctime.tv_nsec },
        }
    }
}

/// What kind of thing a path names, as far as a server of files cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: it can be served.
    Regular,
    /// A directory.
    Directory,
    /// A FIFO, a socket, a device: never opened, for opening alone may hang or act.
    Special,
}

impl Kind {
    /// The kind in what `statx` said; a symlink that was not followed is special.
    pub(super) fn of(facts: &Statx) -> Kind {
        match FileType::from_raw_mode(facts.stx_mode.into()) {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            _ => Kind::Special,
        }
    }
}

/// Whether asking for a file's facts may wait for a disk or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Take what the kernel holds: for an executor's thread.
    Never,
    /// Ask the file system: for the blocking pool.
    AsNeeded,
}

/// What is known of an open descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What kind of thing it refers to.
    pub kind: Kind,
    /// Which version of which thing.
    pub identity: Identity,
    /// Opening the file reads more than its inode: it is encrypted, or verified against digests.
    pub is_prepared_at_open: bool,
}

/// The facts of an open descriptor, O_PATH ones included.
pub fn facts(fd: impl AsFd, patience: Patience) -> Result<Facts, Errno> {
    let patience = match patience {
        Patience::Never => AtFlags::STATX_DONT_SYNC,
        Patience::AsNeeded => AtFlags::empty(),
    };
    let facts = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH | patience, StatxFlags::BASIC_STATS)?;
    let is_prepared_at_open = facts.stx_attributes.intersects(StatxAttributes::ENCRYPTED | StatxAttributes::VERITY);
    Ok(Facts { kind: Kind::of(&facts), identity: Identity::of(&facts), is_prepared_at_open })
}

/// Why a read gave no bytes.
#[derive(Debug)]
pub enum ReadFault {
    /// The file is no longer the version that was opened.
    Changed,
    /// The disk or the ring failed.
    Failed(std::io::Error),
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// Owns the descriptor. Closed by drop even when the executor is gone, which the engine's own
    /// type would not do.
    fd: OwnedFd,
    reader: ManuallyDrop<BufferedFile>,
    identity: Identity,
    beginning: Option<Box<[u8]>>,
    direct: Cell<bool>,
    /// Counts what is sent of it, where that may earn it a place in memory.
    demand: Option<Demand>,
}

/// A descriptor opened for reading, not yet bound to an executor.
#[derive(Debug)]
pub struct Opened {
    fd: OwnedFd,
    identity: Identity,
    /// The first bytes of a file that was being written shortly before: it may be a log, and grow
    /// while it is read. As long as it begins like this, it was not rewritten.
    beginning: Option<Box<[u8]>>,
    direct: bool,
}

impl Opened {
    /// Of a descriptor that was opened with NONBLOCK, and with O_DIRECT where it is `direct`; the file had this
    /// identity after that.
    pub(super) fn new(
        fd: OwnedFd,
        direct: bool,
        identity: Identity,
        beginning: Option<Box<[u8]>>,
    ) -> Result<Opened, Errno> {
        // NONBLOCK guarded the open only; on regular files it would make the ring give up reads
        // that must wait for the disk.
        let status = if direct { OFlags::DIRECT } else { OFlags::empty() };
        rustix::fs::fcntl_setfl(&fd, status)?;
        Ok(Opened { fd, identity, beginning, direct })
    }

    /// The identity of the file at the moment it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Binds the descriptor to this thread's executor.
    pub fn bind(self) -> OpenFile {
        // SAFETY: the descriptor is open and stays so for the life of the reader: both are fields
        // of one OpenFile, and ManuallyDrop keeps the reader from closing it.
        let reader = unsafe { BufferedFile::from_raw_fd(self.fd.as_raw_fd()) };
        OpenFile {
            fd: self.fd,
            reader: ManuallyDrop::new(reader),
            identity: self.identity,
            beginning: self.beginning,
            direct: Cell::new(self.direct),
            demand: None,
        }
    }
}

/// A file modified this recently is taken for one that may still be appended to.
const RECENT: Duration = Duration::from_secs(2);

/// Whether the file was modified just now.
pub(super) fn is_recent(identity: &Identity) -> bool {
    let modified = Duration::new(u64::try_from(identity.modified.seconds).unwrap_or(0), identity.modified.nanoseconds);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    modified + RECENT >= now
}

impl OpenFile {
    /// The identity of the file at the moment it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The same file; from here on it is counted what is sent of it.
    pub fn counted(self) -> OpenFile {
        OpenFile { demand: Some(Demand::of(self.identity)), ..self }
    }

    /// Takes note of bytes that were sent.
    pub fn count_sent(&self, bytes: u64) {
        if let Some(demand) = &self.demand {
            demand.count(bytes);
        }
    }

    /// Reads one span through the ring.
    pub async fn read(&self, span: AlignedSpan) -> Result<SpanBytes, ReadFault> {
        let result = self.read_aligned(span).await?;
        // Looked at after the read: a change before it shows here, one after it cannot have
        // touched the bytes.
        if !self.is_unchanged().await? {
            return Err(ReadFault::Changed);
        }
        let wanted = span.wanted(result.len()).ok_or(ReadFault::Changed)?;
        Ok(SpanBytes { result, wanted })
    }

    /// Begins to read one span in a task of its own, so that several reads run at the same time. Dropping the task cancels
    /// the read, which is safe, as dropping an open would not be.
    pub fn begin_read(self: &Rc<OpenFile>, span: AlignedSpan) -> glommio::Task<Result<SpanBytes, ReadFault>> {
        // From here on, and not from the moment on in which the engine gets to it.
        let under_way = engine::under_way();
        let file = self.clone();
        glommio::spawn_local(async move {
            let outcome = file.read(span).await;
            drop(under_way);
            outcome
        })
    }

    async fn read_aligned(&self, span: AlignedSpan) -> Result<ReadResult, ReadFault> {
        let _under_way = engine::under_way();
        let _in_flight = InFlight::begin();
        let outcome = self.read_once_or_again(span).await;
        if let Ok(result) = &outcome {
            counters::here().disk_reads.add(1);
            counters::here().disk_read_bytes.add(result.len() as u64);
        }
        outcome
    }

    async fn read_once_or_again(&self, span: AlignedSpan) -> Result<ReadResult, ReadFault> {
        match self.reader.read_at(span.start(), span.length()).await {
            Ok(result) => Ok(result),
            Err(error) => self.read_again_buffered(span, error.into()).await,
        }
    }

    /// Some file systems take O_DIRECT at the open and refuse it at the read.
    async fn read_again_buffered(&self, span: AlignedSpan, error: std::io::Error) -> Result<ReadResult, ReadFault> {
        let refused = error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        if !(refused && self.direct.replace(false)) {
            return Err(ReadFault::Failed(error));
        }
        rustix::fs::fcntl_setfl(&self.fd, OFlags::empty()).map_err(|errno| ReadFault::Failed(errno.into()))?;
        self.reader.read_at(span.start(), span.length()).await.map_err(|error| ReadFault::Failed(error.into()))
    }

    /// Whether the bytes of the opened version can still be read from the file. One that was at
    /// rest must not have been written to at all; one that was being written may have grown.
    async fn is_unchanged(&self) -> Result<bool, ReadFault> {
        let now = facts(&self.fd, Patience::Never).map_err(|errno| ReadFault::Failed(errno.into()))?.identity;
        if now.modified == self.identity.modified && now.length == self.identity.length {
            return Ok(true);
        }
        match &self.beginning {
            Some(beginning) if now.length > self.identity.length => self.begins_with(beginning).await,
            _ => Ok(false),
        }
    }

    async fn begins_with(&self, beginning: &[u8]) -> Result<bool, ReadFault> {
        if beginning.is_empty() {
            return Ok(true);
        }
        let span = AlignedSpan::first_of(0, beginning.len() as u64);
        Ok(self.read_aligned(span).await?.starts_with(beginning))
    }
}

/// Counts a read while it is under way; one that is given up is under way no longer.
struct InFlight;

impl InFlight {
    fn begin() -> InFlight {
        counters::here().disk_reads_in_flight.add(1);
        InFlight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        counters::here().disk_reads_in_flight.sub(1);
    }
}

impl From<ReadFault> for Refusal {
    fn from(fault: ReadFault) -> Refusal {
        match fault {
            // Another version is on its way into its place.
            ReadFault::Changed => Refusal::Exhausted,
            ReadFault::Failed(_) => Refusal::Broken,
        }
    }
}

/// The wanted bytes of one span.
#[derive(Debug)]
pub struct SpanBytes {
    result: ReadResult,
    wanted: Range<usize>,
}

impl std::ops::Deref for SpanBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.result[self.wanted.clone()]
    }
}
