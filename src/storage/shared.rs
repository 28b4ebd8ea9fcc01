//! Content that is kept once for the whole process, in memory that the kernel sends from by itself.
//!
//! It lies in a sealed memfd (memfd_create(2)): sendfile(2) hands its pages to the socket, and no byte of it is copied
//! through the memory of the process. Workers find each other's content by the identity of its file.
//!
//! Invariant: sealed content never changes and never shrinks; it goes when the last one that holds it lets go. All of it
//! together takes at most a part of the descriptors that the process may have.

use super::file::Identity;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Content in memory that any thread may send.
#[derive(Debug)]
pub struct SharedContent {
    memory: OwnedFd,
    length: u64,
    /// By which other workers find it.
    identity: Option<Identity>,
    _place: Place,
}

/// Content that is being read into memory.
#[derive(Debug)]
pub struct Filling {
    memory: OwnedFd,
    filled: u64,
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

/// What the workers hold at the moment, by the file that it is from.
static HELD: LazyLock<Mutex<HashMap<Identity, Weak<SharedContent>>>> = LazyLock::new(Mutex::default);

impl SharedContent {
    /// The content of the file of this identity, when a worker holds it.
    pub fn of(identity: &Identity) -> Option<Arc<SharedContent>> {
        held().get(identity).and_then(Weak::upgrade)
    }

    /// Bytes of it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The descriptor to send from.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Copies what stands at `position` into `buffer`; fewer bytes than it takes only at the end.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::pread(&self.memory, buffer, position)
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
        let Some(identity) = &self.identity else { return };
        let mut held = held();
        // Two workers may have read it at the same time: the one that is found may be the other.
        if held.get(identity).is_some_and(|content| content.strong_count() == 0) {
            held.remove(identity);
        }
    }
}

impl Filling {
    /// Memory for content that is to come; `EMFILE` when its part of the descriptors is used up.
    pub fn begin() -> Result<Filling, Errno> {
        let place = Place::take()?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(Filling { memory: rustix::fs::memfd_create(c"content", flags)?, filled: 0, place })
    }

    /// Puts `bytes` behind what is there.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let count = rustix::io::pwrite(&self.memory, bytes, self.filled)?;
            self.filled += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Seals it. With an identity, other workers find it from here on; content that may yet change without its
    /// identity changing has none.
    pub fn finish(self, identity: Option<&Identity>) -> Result<Arc<SharedContent>, Errno> {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&self.memory, seals)?;
        let content = Arc::new(SharedContent {
            memory: self.memory,
            length: self.filled,
            identity: identity.copied(),
            _place: self.place,
        });
        if let Some(identity) = identity {
            held().insert(*identity, Arc::downgrade(&content));
        }
        Ok(content)
    }
}

fn held() -> std::sync::MutexGuard<'static, HashMap<Identity, Weak<SharedContent>>> {
    // A worker that panicked in here left the map as it was before or after one call.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::Timestamp;

    fn identity(inode: u64) -> Identity {
        let time = Timestamp { seconds: 1, nanoseconds: 0 };
        Identity { device: u64::MAX, inode, length: 3, modified: time, changed: time }
    }

    fn content(identity: Option<&Identity>) -> Arc<SharedContent> {
        let mut filling = Filling::begin().expect("memory");
        filling.append(b"a").expect("memory");
        filling.append(b"bc").expect("memory");
        filling.finish(identity).expect("it can be sealed")
    }

    #[test]
    fn what_one_worker_holds_another_finds_until_it_is_let_go() {
        assert!(SharedContent::of(&identity(1)).is_none());
        let first = content(Some(&identity(1)));
        let found = SharedContent::of(&identity(1)).expect("it is held");
        assert!(Arc::ptr_eq(&first, &found));
        drop(first);
        assert!(SharedContent::of(&identity(1)).is_some());
        drop(found);
        assert!(SharedContent::of(&identity(1)).is_none());
        assert!(!held().contains_key(&identity(1)), "nothing is left of it");
        drop(content(None));
    }

    #[test]
    fn sealed_content_is_what_was_put_in_and_stays_it() {
        let content = content(None);
        assert_eq!((content.length(), content.to_vec()), (3, Ok(b"abc".to_vec())));
        let mut buffer = [0; 8];
        assert_eq!((content.read(1, &mut buffer), &buffer[..2]), (Ok(2), &b"bc"[..]));
        assert_eq!(rustix::io::pwrite(content.descriptor(), b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(content.descriptor(), 0), Err(Errno::PERM));
    }
}
