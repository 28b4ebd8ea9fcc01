//! The URL space of a site: from a path to the representation that answers it.
//!
//! Order of [`Site::locate`]: the cache · the policy · the disk · the cache again, for the next
//! one who asks.
//!
//! Invariant: everything said of a [`Representation`] (length, validators) and every byte of it
//! come from one open file.

pub mod page;
pub mod policy;
pub mod welcome;

use crate::http::date::HttpDate;
use crate::http::media_type;
use crate::http::respond::RepresentationMetadata;
use crate::http::target::SitePath;
use crate::http::validator::Validators;
use crate::observe::throttle::Throttle;
use crate::storage::cache::{Budget, Cache, Weight};
use crate::storage::file::{Identity, Kind, OpenFile, Opened, ReadFault};
use crate::storage::flight::Flights;
use crate::storage::refusal::Refusal;
use crate::storage::root::{Found, Root};
use crate::storage::span;
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a site is made of.
pub struct Options {
    /// Where its files are.
    pub source: Source,
    /// Names tried, in order, for a path that names a directory.
    pub index: Vec<String>,
    /// How much of it this core may keep in memory.
    pub cache: Budget,
}

/// Where the files of a site are.
pub enum Source {
    /// In a directory.
    Directory(Root),
    /// Nowhere yet: a page tells the administrator how to say where.
    Welcome,
}

/// A site as one core serves it.
pub struct Site {
    source: Source,
    index: Vec<String>,
    content_bytes_max: u64,
    cache: RefCell<Cache<Rc<Known>>>,
    loading: Flights<Result<Located, Errno>>,
    /// For messages that a request can cause.
    throttle: Throttle,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub enum Located {
    /// A representation to send.
    Representation(Rc<Representation>),
    /// A directory, asked for without its slash: the same path with one is the right address.
    MissingSlash,
    /// Nothing to send.
    Refused(Refusal),
}

/// The selected representation: what is said of it, and where its bytes are.
#[derive(Debug)]
pub struct Representation {
    /// What is said of it.
    pub metadata: RepresentationMetadata,
    /// Where its bytes are.
    pub body: Body,
}

/// Where the bytes of a representation are.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory, all of them.
    Held(Rc<[u8]>),
    /// On disk, to be read while they are sent.
    File(Rc<OpenFile>),
}

/// A cached representation and what tells whether it still is the file.
struct Known {
    representation: Rc<Representation>,
    identity: Identity,
    /// The tick in which the file was last looked at.
    checked_tick: Cell<u64>,
    /// The file was written so shortly before it was read that a second write might bear the
    /// same times: its identity proves nothing.
    unsettled: bool,
}

/// The moment of a request, as far as a site cares.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Counts up about once a second.
    pub tick: u64,
    /// The date.
    pub date: HttpDate,
}

impl Site {
    /// The site of these options.
    pub fn new(options: Options) -> Site {
        Site {
            source: options.source,
            index: options.index,
            content_bytes_max: options.cache.content_bytes_max.min(options.cache.bytes_max),
            cache: RefCell::new(Cache::new(options.cache)),
            loading: Flights::default(),
            throttle: Throttle::default(),
        }
    }

    /// What `path` leads to.
    pub async fn locate(&self, path: &SitePath<'_>, now: Moment) -> Located {
        if let Some(representation) = self.fresh(path, now) {
            return Located::Representation(representation);
        }
        let root = match &self.source {
            Source::Directory(root) => root,
            Source::Welcome => return welcome::locate(path),
        };
        if policy::is_hidden(path) {
            tracing::debug!(path = %path.as_bytes().escape_ascii(), "hidden: a name begins with a dot");
            return Located::Refused(Refusal::NotFound);
        }
        // Boxed, so that the thousands of connections that wait for nothing do not carry the state
        // of a look-up.
        match Box::pin(self.locate_on_disk(root, path, now)).await {
            Ok(located) => located,
            Err(errno) => {
                self.cache.borrow_mut().remove(path.as_bytes());
                self.tell_refusal(path, errno);
                Located::Refused(errno.into())
            }
        }
    }

    /// Looks after what time changes; called about once a second.
    pub async fn tick(&self) {
        let suppressed = self.throttle.tick();
        if suppressed > 0 {
            tracing::warn!("{suppressed} more messages of that sort within a second");
        }
        if let Source::Directory(root) = &self.source {
            root.refresh().await;
        }
    }

    /// The cached representation of a path whose file was looked at in this tick.
    fn fresh(&self, path: &SitePath<'_>, now: Moment) -> Option<Rc<Representation>> {
        let cache = self.cache.borrow();
        let known = cache.get(path.as_bytes())?;
        (known.checked_tick.get() == now.tick).then(|| known.representation.clone())
    }

    async fn locate_on_disk(&self, root: &Root, path: &SitePath<'_>, now: Moment) -> Result<Located, Errno> {
        let (found, media_type) = if path.is_directory() {
            match self.look_up_index(root, path).await? {
                Some(found) => found,
                None => return Err(Errno::NOENT),
            }
        } else {
            (root.look_up(path.relative()).await?, media_type::of_path(path.as_bytes()))
        };
        match found.kind() {
            Kind::Directory if !path.is_directory() => return Ok(Located::MissingSlash),
            Kind::Directory => return Err(Errno::NOENT),
            Kind::Special => return Err(NOT_REGULAR),
            Kind::Regular => {}
        }
        if let Some(representation) = self.unchanged(path, &found.identity(), now) {
            return Ok(Located::Representation(representation));
        }
        self.loading.join(path.as_bytes(), || self.load(path, found, media_type, now)).await
    }

    /// The first index name that exists in the directory `path`.
    async fn look_up_index(&self, root: &Root, path: &SitePath<'_>) -> Result<Option<(Found, &'static str)>, Errno> {
        let mut relative = path.relative().to_vec();
        let directory_bytes = relative.len();
        for name in &self.index {
            relative.truncate(directory_bytes);
            relative.extend_from_slice(name.as_bytes());
            match root.look_up(&relative).await {
                Ok(found) => return Ok(Some((found, media_type::of_path(name.as_bytes())))),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    /// The cached representation, when the file that the path leads to now is the one that was
    /// read; it is fresh again from here.
    fn unchanged(&self, path: &SitePath<'_>, identity: &Identity, now: Moment) -> Option<Rc<Representation>> {
        let cache = self.cache.borrow();
        let known = cache.get(path.as_bytes())?;
        if known.identity != *identity || known.unsettled {
            return None;
        }
        known.checked_tick.set(now.tick);
        Some(known.representation.clone())
    }

    /// Opens the file and, where it is small enough, reads it into the cache. A file that changes
    /// while it is read is read again: it was just being written.
    async fn load(
        &self,
        path: &SitePath<'_>,
        found: Found,
        media_type: &'static str,
        now: Moment,
    ) -> Result<Located, Errno> {
        let mut attempts = 0;
        let (identity, body) = loop {
            attempts += 1;
            let opened = found.open().await?;
            let identity = opened.identity();
            match self.read_whole(opened).await {
                Ok(body) => break (identity, body),
                Err(ReadFault::Changed) if attempts < READ_ATTEMPTS_MAX => {}
                Err(fault) => {
                    self.tell_read_fault(path, &fault);
                    return Ok(Located::Refused(fault.into()));
                }
            }
        };
        let representation = Rc::new(Representation { metadata: metadata(&identity, media_type), body });
        self.remember(path, &representation, identity, now);
        Ok(Located::Representation(representation))
    }

    /// The bytes of a file that is small enough to hold, or the file.
    async fn read_whole(&self, opened: Opened) -> Result<Body, ReadFault> {
        let length = opened.identity().length;
        let file = opened.bind();
        if length > self.content_bytes_max {
            return Ok(Body::File(Rc::new(file)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).expect("content_bytes_max fits in memory"));
        for span in span::spans(0..length) {
            bytes.extend_from_slice(&file.read(span).await?);
        }
        assert_eq!(bytes.len() as u64, length);
        Ok(Body::Held(Rc::from(bytes)))
    }

    /// Keeps content that is in memory. An open file is not kept: its descriptor would hold the
    /// disk space of a file that was deleted, for as long as nobody asks for it.
    fn remember(&self, path: &SitePath<'_>, representation: &Rc<Representation>, identity: Identity, now: Moment) {
        let mut cache = self.cache.borrow_mut();
        match representation.body {
            Body::File(_) => cache.remove(path.as_bytes()),
            Body::Held(_) => {
                let known = Known {
                    representation: representation.clone(),
                    identity,
                    checked_tick: Cell::new(now.tick),
                    unsettled: is_unsettled(&identity, now.date),
                };
                cache.insert(path.as_bytes(), Rc::new(known));
            }
        }
    }
}

/// How often a file that changes while it is read is read in all, for one answer.
const READ_ATTEMPTS_MAX: u32 = 3;

impl Site {
    /// Tells the log why a path is refused. What every stray link causes is for the debug log;
    /// what an administrator may have to explain is told, within the quota.
    fn tell_refusal(&self, path: &SitePath<'_>, errno: Errno) {
        let path = path.as_bytes().escape_ascii();
        if matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) {
            tracing::debug!(%path, "not found");
        } else if self.throttle.admits() {
            match errno {
                Errno::XDEV => tracing::warn!(%path, "not served: a symbolic link leads out of the document root"),
                Errno::LOOP => tracing::warn!(%path, "not served: symbolic links go in circles"),
                NOT_REGULAR => tracing::warn!(%path, "not served: neither a regular file nor a directory"),
                _ => tracing::warn!(%path, "not served: {}", std::io::Error::from(errno)),
            }
        }
    }

    fn tell_read_fault(&self, path: &SitePath<'_>, fault: &ReadFault) {
        if !self.throttle.admits() {
            return;
        }
        let path = path.as_bytes().escape_ascii();
        match fault {
            ReadFault::Changed => tracing::info!(%path, "the file changed while it was read"),
            ReadFault::Failed(error) => tracing::error!(%path, "reading failed: {error}"),
        }
    }
}

/// Stands for a FIFO, a socket or a device: what opening a socket by its path gives.
const NOT_REGULAR: Errno = Errno::NXIO;

impl Weight for Rc<Known> {
    fn bytes(&self) -> u64 {
        self.representation.metadata.complete_length
    }
}

/// Times are kept by a clock that advances in steps, of 10 ms on the coarsest kernels; this is
/// well above, and below the second after which the file is looked at again.
const UNSETTLED_SECONDS: u64 = 1;

fn is_unsettled(identity: &Identity, date: HttpDate) -> bool {
    let changed = u64::try_from(identity.changed.seconds).unwrap_or(0);
    changed.saturating_add(UNSETTLED_SECONDS) >= date.unix_seconds()
}

fn metadata(identity: &Identity, media_type: &'static str) -> RepresentationMetadata {
    RepresentationMetadata {
        media_type,
        complete_length: identity.length,
        validators: Validators::new(identity.modified.unix_nanoseconds(), identity.length),
    }
}
