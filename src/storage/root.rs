//! A document root: paths are resolved beneath its descriptor and never lead out of it.
//!
//! Look-ups try the kernel's name cache first, on the executor; only what is not in it goes to
//! the blocking pool, where the disk may be waited for. A file that was found in the name cache is
//! opened on the executor too, where its file system is known not to wait for that.
//!
//! Invariant: unless all symlinks are to be followed, what a look-up returns lay beneath the root when it was
//! resolved, whatever symlinks are in the tree and whoever renames within it meanwhile (openat2 with
//! RESOLVE_BENEATH).

use super::beneath;
use super::directory::{self, Directory};
use super::file::{Facts, Identity, Kind, Patience, facts};
use super::file_system::{FileSystem, Medium};
use super::opening::{self, Opening};
use super::pool;
use super::refusal::blamed;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory beneath which paths are looked up.
#[derive(Debug)]
pub struct Root {
    path: Arc<Path>,
    /// Replaced when the path comes to name another directory: a deployment may switch a symlink.
    directory: RefCell<Arc<Base>>,
    /// Cleared for good when the kernel does not know RESOLVE_CACHED (before 5.12).
    cached_look_ups: Cell<bool>,
}

/// The directory that a root's path names.
#[derive(Debug)]
struct Base {
    fd: OwnedFd,
    file_system: FileSystem,
}

/// Which symbolic links a look-up follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Those that stay beneath the root.
    Beneath,
    /// None.
    Deny,
    /// All, wherever they lead.
    Follow,
}

impl Symlinks {
    pub(super) fn flags(self) -> ResolveFlags {
        match self {
            Symlinks::Beneath => BENEATH,
            Symlinks::Deny => BENEATH | ResolveFlags::NO_SYMLINKS,
            Symlinks::Follow => ResolveFlags::NO_MAGICLINKS,
        }
    }
}

/// What a path beneath a root names.
#[derive(Debug)]
pub struct Found {
    /// An O_PATH descriptor: it names the thing, and cannot read it.
    path_fd: Arc<OwnedFd>,
    facts: Facts,
    /// Where its content is, if it can be opened without waiting.
    medium: Option<Medium>,
}

impl Found {
    /// What kind of thing it is.
    pub fn kind(&self) -> Kind {
        self.facts.kind
    }

    /// Its identity when it was looked up.
    pub fn identity(&self) -> Identity {
        self.facts.identity
    }

    /// Opens the file for reading, and reads it, if that waits for nothing and it has at most `whole_bytes_max`: at
    /// once where it can, and on the blocking pool where it cannot.
    pub async fn open(&self, whole_bytes_max: u64) -> Result<Opening, Errno> {
        let identity = self.facts.identity;
        if let Some(medium) = self.medium {
            let opening = opening::at_once(&self.path_fd, identity, medium, whole_bytes_max);
            if let Some(opening) = opening.map_err(|errno| blamed(errno, &self.path_fd))? {
                return Ok(opening);
            }
        }
        let path_fd = self.path_fd.clone();
        pool::run(move || {
            opening::patiently(&path_fd, identity, whole_bytes_max).map_err(|errno| blamed(errno, &path_fd))
        })
        .await
    }
}

impl Root {
    /// Opens the directory at `path`; it must be readable, and look-ups beneath it permitted. May
    /// block: for start-up.
    pub fn open(path: &Path) -> std::io::Result<Root> {
        let directory = open_directory(path)?;
        // A look-up that a filter forbids would else make every file seem forbidden.
        resolve(&directory.fd, b".", BENEATH)?;
        Ok(Root {
            path: Arc::from(path),
            directory: RefCell::new(Arc::new(directory)),
            cached_look_ups: Cell::new(true),
        })
    }

    /// Looks up `relative`, a path without a leading slash, dot segments and NUL.
    pub async fn look_up(&self, relative: &[u8], symlinks: Symlinks) -> Result<Found, Errno> {
        if self.cached_look_ups.get() {
            let directory = self.directory.borrow();
            match resolve(&directory.fd, relative, symlinks.flags() | ResolveFlags::CACHED) {
                // Its name and its inode are in memory, and the descriptor keeps them there.
                Ok(found) => {
                    return Ok(Found { medium: directory.file_system.medium_of(&found.facts), ..found });
                }
                // Not in the name cache: the disk must be asked, elsewhere.
                Err(Errno::AGAIN | Errno::XDEV) => {}
                Err(Errno::INVAL) => self.cached_look_ups.set(false),
                Err(errno) => return Err(errno),
            }
        }
        let directory = self.directory.borrow().clone();
        let root = self.path.clone();
        let relative = relative.to_vec();
        pool::run(move || resolve_patiently(&directory.fd, &root, &relative, symlinks)).await
    }

    /// Lists the directory at `relative`: at most `entries_max` of its entries, and of these only
    /// files and directories whose names `keep` accepts. A symlink among them is looked up as a
    /// path beneath this root is, and left out where that fails. On the blocking pool.
    pub async fn list(
        &self,
        relative: &[u8],
        entries_max: usize,
        keep: impl Fn(&[u8]) -> bool + Send + 'static,
        symlinks: Symlinks,
    ) -> Result<Directory, Errno> {
        let root_directory = self.directory.borrow().clone();
        let root = self.path.clone();
        let mut relative = relative.to_vec();
        pool::run(move || {
            let found = resolve_patiently(&root_directory.fd, &root, &relative, symlinks)?;
            if !relative.is_empty() && !relative.ends_with(b"/") {
                relative.push(b'/');
            }
            let listed = directory::read(&found.path_fd, entries_max, keep, |name| {
                let target = resolve_patiently(&root_directory.fd, &root, &[&relative, name].concat(), symlinks)?;
                Ok((target.facts.kind, target.facts.identity))
            });
            listed.map_err(|errno| blamed(errno, &found.path_fd))
        })
        .await
    }

    /// Takes up the directory that the path names now, if it is another one. A path that names
    /// none leaves all as it is. The error is that this thread may not read the other one.
    pub async fn refresh(&self) -> Result<(), Denied> {
        let path = self.path.clone();
        let current = self.directory.borrow().clone();
        let other = pool::run(move || {
            let there = rustix::fs::stat(&*path).ok()?;
            let here = rustix::fs::fstat(&current.fd).ok()?;
            let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
            if same { None } else { Some(open_directory(&path)) }
        })
        .await;
        match other {
            Some(Ok(directory)) => {
                tracing::info!(root = %self.path.display(), "the document root was replaced: serving the new one");
                self.directory.replace(Arc::new(directory));
                Ok(())
            }
            Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Denied),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

/// This thread may not read the directory that a root's path names now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// A race between a rename and `..` in a symlink makes the kernel give up with EAGAIN; trying
/// again is what openat2(2) advises. Bounded, for a busy tree could go on for ever.
const RACES_MAX: usize = 16;

fn open_directory(path: &Path) -> std::io::Result<Base> {
    let fd = rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let file_system = FileSystem::of(&fd)?;
    Ok(Base { fd, file_system })
}

fn resolve(directory: &OwnedFd, relative: &[u8], flags: ResolveFlags) -> Result<Found, Errno> {
    let relative = if relative.is_empty() { b"." } else { relative };
    let path_fd = beneath::open_path(directory, relative, flags)?;
    let patience = if flags.contains(ResolveFlags::CACHED) { Patience::Never } else { Patience::AsNeeded };
    let facts = facts(&path_fd, patience)?;
    Ok(Found { path_fd: Arc::new(path_fd), facts, medium: None })
}

/// A look-up that may wait for the disk.
fn resolve_patiently(directory: &OwnedFd, root: &Path, relative: &[u8], symlinks: Symlinks) -> Result<Found, Errno> {
    for _ in 0..RACES_MAX {
        match resolve(directory, relative, symlinks.flags()) {
            Err(Errno::AGAIN) => {}
            Err(Errno::XDEV) if symlinks == Symlinks::Beneath => {
                return resolve_absolute_links(directory, root, relative);
            }
            settled => return settled,
        }
    }
    Err(Errno::AGAIN)
}

/// RESOLVE_BENEATH refuses every absolute symlink, also one that points back into the root, as
/// deployment tools like to make. So its target is worked out by name, and then opened beneath
/// the root by a path that may not hold a symlink any more: if someone plants one meanwhile, the
/// open fails, and nothing outside can be reached.
fn resolve_absolute_links(directory: &OwnedFd, root: &Path, relative: &[u8]) -> Result<Found, Errno> {
    let absolute: PathBuf = root.join(OsStr::from_bytes(relative));
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let target = std::fs::canonicalize(absolute).map_err(errno)?;
    let root = std::fs::canonicalize(root).map_err(errno)?;
    match target.strip_prefix(&root) {
        Ok(inside) => resolve(directory, inside.as_os_str().as_bytes(), BENEATH | ResolveFlags::NO_SYMLINKS),
        Err(_) => Err(Errno::XDEV),
    }
}
