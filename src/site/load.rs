//! Opens a file and, where it is small enough, reads it into memory.
//!
//! Invariant: a file that changes while it is read is never remembered: bytes, length and validators are of one
//! version.

use super::catalogue::{Catalogue, KeyOf, Known};
use super::policy::Policy;
use super::{Body, Located, Moment, Representation, Site, keep};
use crate::counters;
use crate::http::coding::{Coding, Codings};
use crate::http::date::HttpDate;
use crate::http::respond::RepresentationMetadata;
use crate::http::target::SitePath;
use crate::http::validator::Validators;
use crate::storage::file::{Identity, Opened, ReadFault};
use crate::storage::held::{self, Share};
use crate::storage::opening::Opening;
use crate::storage::root::Found;
use crate::storage::shared::Filling;
use crate::storage::span;
use rustix::io::Errno;
use std::cell::Cell;
use std::rc::Rc;

/// What is to be loaded, and what is known of it.
#[derive(Clone)]
pub(super) struct Loading<'a> {
    /// What was asked for.
    pub(super) path: &'a SitePath<'a>,
    /// Its own path: that of the index file, where `path` names a directory.
    pub(super) own_path: &'a SitePath<'a>,
    pub(super) policy: &'a Policy,
    /// The type of what is coded.
    pub(super) media_type: Rc<str>,
    /// The coding of what is loaded.
    pub(super) coding: Coding,
    /// Codings that lie beside the file.
    pub(super) siblings: Codings,
    /// Codings that can be made of it.
    pub(super) compressible: Codings,
    pub(super) now: Moment,
}

/// How often a file that changes while it is read is read in all, for one answer.
const READ_ATTEMPTS_MAX: u32 = 3;

impl Site {
    /// Loads a file, once for all who want it at the same time.
    pub(super) async fn load(&self, loading: Loading<'_>, found: Found) -> Result<Located, Errno> {
        counters::here().cache_misses.add(1);
        let key = KeyOf::new(self.number, loading.path, loading.coding).to_key();
        self.catalogue.loading.join(&key, || self.load_now(&loading, found)).await
    }

    async fn load_now(&self, loading: &Loading<'_>, found: Found) -> Result<Located, Errno> {
        let whole_bytes_max = self.catalogue.content_bytes_max.min(SHARED_BYTES_MIN - 1);
        let mut attempts = 0;
        let (identity, body) = loop {
            attempts += 1;
            let opening = found.open(whole_bytes_max).await?;
            let identity = opening.identity();
            let settled = !is_unsettled(&identity, loading.now.date);
            let body = match opening {
                Opening::Content(_, bytes) => {
                    counters::here().page_cache_reads.add(1);
                    counters::here().page_cache_read_bytes.add(bytes.len() as u64);
                    Ok(Body::Held(Rc::from(bytes)))
                }
                Opening::File(opened) => read_whole(&self.catalogue, opened, settled).await,
            };
            match body {
                Ok(body) => break (identity, body),
                Err(ReadFault::Changed) if attempts < READ_ATTEMPTS_MAX => {}
                Err(fault) => {
                    tell_read_fault(&self.catalogue, loading.path, &fault);
                    return Ok(Located::Refused(fault.into()));
                }
            }
        };
        let fields = loading.policy.fields(loading.own_path, Some(&loading.media_type));
        let ranges_max = loading.policy.max_ranges;
        let representation = Rc::new(Representation {
            metadata: loading.metadata(&identity),
            body,
            fields,
            ranges_max,
            is_new: Cell::new(true),
        });
        let known = loading.known(Some(representation.clone()), identity);
        self.catalogue.remember(KeyOf::new(self.number, loading.path, loading.coding), known);
        Ok(Located::Representation(representation))
    }

    /// Remembers a file whose content was not asked for, but that of a sibling.
    pub(super) fn note(&self, loading: &Loading<'_>, found: &Found) {
        let key = KeyOf::new(self.number, loading.path, Coding::Identity);
        let known = self.catalogue.get(key);
        let is_known = known.is_some_and(|known| {
            known.identity == found.identity()
                && known.siblings == loading.siblings
                && known.checked_tick.get() == loading.now.tick
        });
        if !is_known {
            self.catalogue.remember(key, loading.known(None, found.identity()));
        }
    }
}

impl Loading<'_> {
    fn known(&self, representation: Option<Rc<Representation>>, identity: Identity) -> Known {
        Known {
            representation,
            index: None,
            identity,
            checked_tick: Cell::new(self.now.tick),
            unsettled: is_unsettled(&identity, self.now.date),
            siblings: self.siblings,
            compressible: Cell::new(self.compressible),
        }
    }

    fn metadata(&self, identity: &Identity) -> RepresentationMetadata {
        let modified = identity.modified.unix_nanoseconds();
        let mut validators = Validators::new(modified, identity.length, self.coding);
        if !self.policy.etag {
            validators.entity_tag = None;
        }
        RepresentationMetadata {
            media_type: self.media_type.clone(),
            content_coding: self.coding,
            negotiated: !self.siblings.union(self.compressible).is_empty(),
            complete_length: identity.length,
            validators,
        }
    }
}

impl Known {
    /// What is known of a coding that was made of the file of this identity.
    pub(super) fn of_coding(representation: Rc<Representation>, identity: Identity) -> Known {
        Known { representation: Some(representation), ..Known::bare(identity) }
    }

    /// What is known in this tick of a directory whose index file, of this identity, is judged by its own path.
    pub(super) fn of_directory(index: SitePath<'static>, identity: Identity, tick: u64) -> Known {
        Known { index: Some(index), checked_tick: Cell::new(tick), ..Known::bare(identity) }
    }

    fn bare(identity: Identity) -> Known {
        Known {
            representation: None,
            index: None,
            identity,
            checked_tick: Cell::new(0),
            unsettled: false,
            siblings: Codings::EMPTY,
            compressible: Cell::new(Codings::EMPTY),
        }
    }
}

/// From here on content is kept for all cores and sent by sendfile: below it, a copy into one send with the head costs
/// less than a second system call.
pub(super) const SHARED_BYTES_MIN: u64 = 64 * 1024;

/// The bytes of a file that is small enough to hold, or the file. Only a settled one may be found by other cores.
async fn read_whole(catalogue: &Rc<Catalogue>, opened: Opened, settled: bool) -> Result<Body, ReadFault> {
    let identity = opened.identity();
    let length = identity.length;
    let is_shared = settled && length >= SHARED_BYTES_MIN;
    if is_shared {
        if let Some(content) = held::find(&identity) {
            return Ok(Body::Shared(content));
        }
    }
    let file = opened.bind();
    let is_too_much = || catalogue.loading_bytes.get() + length > catalogue.loading_bytes_max;
    if length > catalogue.content_bytes_max || (length <= keep::WHOLE_BYTES_MAX && is_too_much()) {
        return Ok(Body::File(Rc::new(file)));
    }
    if length > keep::WHOLE_BYTES_MAX {
        return Ok(Body::File(if settled { keep::count(catalogue, file) } else { Rc::new(file) }));
    }
    let mut claim = None;
    if is_shared {
        match held::share(&identity).await {
            Share::Content(content) => return Ok(Body::Shared(content)),
            Share::Claim(leave) => claim = Some(leave),
        }
        // Asked again: meanwhile this core may have begun with others.
        if is_too_much() {
            return Ok(Body::File(Rc::new(file)));
        }
    }
    let _loading = LoadingBytes::take(&catalogue.loading_bytes, length);
    // Without a descriptor to spare, it is held by this core alone.
    let filling = if length >= SHARED_BYTES_MIN { Filling::begin(length).ok() } else { None };
    if let Some(mut filling) = filling {
        let failed = |errno: Errno| ReadFault::Failed(errno.into());
        for span in span::spans(0..length) {
            filling.append(&file.read(span).await?).map_err(failed)?;
        }
        return Ok(Body::Shared(filling.finish(claim).map_err(failed)?));
    }
    drop(claim);
    let mut bytes = Vec::with_capacity(usize::try_from(length).expect("content_bytes_max fits in memory"));
    for span in span::spans(0..length) {
        bytes.extend_from_slice(&file.read(span).await?);
    }
    assert_eq!(bytes.len() as u64, length);
    Ok(Body::Held(Rc::from(bytes)))
}

/// Bytes that are being read, counted for as long as they are.
struct LoadingBytes<'a> {
    count: &'a Cell<u64>,
    bytes: u64,
}

impl LoadingBytes<'_> {
    fn take(count: &Cell<u64>, bytes: u64) -> LoadingBytes<'_> {
        count.set(count.get() + bytes);
        LoadingBytes { count, bytes }
    }
}

impl Drop for LoadingBytes<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.bytes);
    }
}

fn tell_read_fault(catalogue: &Catalogue, path: &SitePath<'_>, fault: &ReadFault) {
    if !catalogue.throttle.admits() {
        return;
    }
    let path = path.as_bytes().escape_ascii();
    match fault {
        ReadFault::Changed => tracing::info!(%path, reason = "changed", "the file changed while it was read"),
        ReadFault::Failed(error) => tracing::error!(%path, reason = "disk", "reading failed: {error}"),
    }
}

/// Times are kept by a clock that advances in steps, of 10 ms on the coarsest kernels; this is
/// well above, and below the second after which the file is looked at again.
const UNSETTLED_SECONDS: u64 = 1;

fn is_unsettled(identity: &Identity, date: HttpDate) -> bool {
    let changed = u64::try_from(identity.changed.seconds).unwrap_or(0);
    changed.saturating_add(UNSETTLED_SECONDS) >= date.unix_seconds()
}
