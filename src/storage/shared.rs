//! Content that is kept once for the whole process, in memory that the kernel sends from by itself.
//!
//! It lies in a file in [`memory`]: sendfile(2) hands its pages to the socket, and no byte of it is copied
//! through the memory of the process. Workers find each other's content by the identity of its file ([`held`]).
//!
//! Invariant: content never changes and never shrinks; it goes when the last one that holds it lets go. All of it
//! together takes at most a part of the descriptors that the process may have.

use super::file::Identity;
use super::held::{self, Claim};
use super::memory::{self, Draft};
use crate::counters;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// Content in memory that any thread may send.
#[derive(Debug)]
pub struct SharedContent {
    /// Taken when it is dropped, and never before.
    memory: Option<OwnedFd>,
    length: u64,
    memory_bytes: u64,
    /// By which other workers find it.
    identity: Option<Identity>,
    _place: Place,
}

/// Content that is being read into memory.
#[derive(Debug)]
pub struct Filling {
    memory: Draft,
    filled: u64,
    length: u64,
    place: Place,
}

/// Counts one that has a descriptor.
#[derive(Debug)]
struct Place;

static PLACES: AtomicU64 = AtomicU64::new(0);

/// Of four descriptors that the process may have, one may hold content; the others are for clients and files.
const DESCRIPTORS_PER_PLACE: u64 = 4;

impl Place {
    fn take() -> Result<Place, Errno> {
        static PLACES_MAX: LazyLock<u64> =
            LazyLock::new(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTORS_PER_PLACE);
        // Counted before it is known to fit: dropping the place takes that back.
        let place = Place;
        if PLACES.fetch_add(1, Ordering::Relaxed) < *PLACES_MAX { Ok(place) } else { Err(Errno::MFILE) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        PLACES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SharedContent {
    /// Bytes of it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of memory that it takes; large pages may be more than it fills.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The descriptor to send from.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_ref().expect("only drop takes it").as_fd()
    }

    /// Copies what stands at `position` into `buffer`; fewer bytes than it takes only at the end.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::pread(self.descriptor(), buffer, position)
    }

    /// Appends the `count` bytes at `position`, which it has.
    pub fn append_to(&self, out: &mut Vec<u8>, position: u64, count: usize) -> std::io::Result<()> {
        let start = out.len();
        out.resize(start + count, 0);
        let read = self.read(position, &mut out[start..])?;
        assert_eq!(read, count, "sealed content never shrinks, and memory gives all that is asked for");
        Ok(())
    }

    /// A copy of all of it.
    pub fn to_vec(&self) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; usize::try_from(self.length).expect("it is in memory")];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(filled as u64, &mut bytes[filled..])? {
                0 => return Err(Errno::IO),
                count => filled += count,
            }
        }
        Ok(bytes)
    }
}

impl Drop for SharedContent {
    fn drop(&mut self) {
        counters::process().shared_content.sub(1);
        counters::process().shared_content_bytes.sub(self.memory_bytes);
        if let Some(identity) = &self.identity {
            held::let_go(identity);
        }
        if let Some(memory) = self.memory.take() {
            memory::close(memory, self.length);
        }
    }
}

impl Filling {
    /// Memory for `length` bytes that are to come; `EMFILE` when its part of the descriptors is used up.
    pub fn begin(length: u64) -> Result<Filling, Errno> {
        let place = Place::take()?;
        Ok(Filling { memory: Draft::new(length)?, filled: 0, length, place })
    }

    /// Puts `bytes` behind what is there. The kernel takes its pages as large as what is written at once: the more, the better.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        assert!(bytes.len() as u64 <= self.length - self.filled, "no more comes than was said");
        while !bytes.is_empty() {
            let count = rustix::io::pwrite(self.memory.file(), bytes, self.filled)?;
            self.filled += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends the writing. With a claim, other workers find it from here on; content that may yet change without its
    /// identity changing has none.
    pub fn finish(self, claim: Option<Claim>) -> Result<Arc<SharedContent>, Errno> {
        assert_eq!(self.filled, self.length, "all came that was said");
        let memory = self.memory.freeze()?;
        let blocks = u64::try_from(rustix::fs::fstat(&memory)?.st_blocks).unwrap_or(0);
        let content = Arc::new(SharedContent {
            memory: Some(memory),
            length: self.length,
            memory_bytes: self.length.max(blocks * BLOCK_BYTES),
            identity: claim.as_ref().map(Claim::identity),
            _place: self.place,
        });
        counters::process().shared_content.add(1);
        counters::process().shared_content_bytes.add(content.memory_bytes);
        if let Some(claim) = claim {
            claim.fulfil(&content);
        }
        Ok(content)
    }
}

/// What stat(2) counts in, on every file system.
const BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::Timestamp;

    fn identity(inode: u64) -> Identity {
        let time = Timestamp { seconds: 1, nanoseconds: 0 };
        Identity { device: u64::MAX, inode, length: 3, modified: time, changed: time }
    }

    fn content(claim: Option<Claim>) -> Arc<SharedContent> {
        let mut filling = Filling::begin(3).expect("memory");
        filling.append(b"a").expect("memory");
        filling.append(b"bc").expect("memory");
        filling.finish(claim).expect("it can be frozen")
    }

    #[test]
    fn what_one_worker_holds_another_finds_until_it_is_let_go() {
        assert!(held::find(&identity(1)).is_none());
        let first = content(held::claim(&identity(1)));
        let found = held::find(&identity(1)).expect("it is held");
        assert!(Arc::ptr_eq(&first, &found));
        drop(first);
        assert!(held::find(&identity(1)).is_some());
        drop(found);
        assert!(held::find(&identity(1)).is_none());
        assert!(!held::has(&identity(1)), "nothing is left of it");
        drop(content(None));
    }

    #[test]
    fn content_is_what_was_put_in_and_is_charged_for_what_it_takes() {
        let content = content(None);
        assert_eq!((content.length(), content.to_vec()), (3, Ok(b"abc".to_vec())));
        assert_eq!(content.memory_bytes(), 4096);
        let mut buffer = [0; 8];
        assert_eq!((content.read(1, &mut buffer), &buffer[..2]), (Ok(2), &b"bc"[..]));
        assert!(rustix::io::pwrite(content.descriptor(), b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(content.descriptor(), 0).is_err());
    }
}
