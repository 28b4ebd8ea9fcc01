//! Which coding of a file is sent: itself, a sibling that lies beside it, or one that was made of it in memory
//! (RFC 9110 §12.5.3).
//!
//! Invariant: what a sibling or a compression holds is the file as it is now: a sibling older than its file is not
//! looked at, and a compression goes with the identity of what it was made of.

use super::catalogue::{KeyOf, Known};
use super::compress::Made;
use super::find::Target;
use super::load::Loading;
use super::policy::Policy;
use super::{Asked, Located, Site, compress};
use crate::counters;
use crate::http::coding::{AcceptedCodings, Coding, Codings};
use crate::http::fields::FieldName;
use crate::http::media_type;
use crate::http::status::Status;
use crate::http::target::SitePath;
use crate::storage::file::Kind;
use crate::storage::refusal::Refusal;
use crate::storage::root::{Found, Root};
use rustix::io::Errno;
use std::rc::Rc;

/// A file's siblings: the same content in other codings.
#[derive(Default)]
pub(super) struct Siblings(Vec<(Coding, Found)>);

impl Siblings {
    /// Those that the policy asks for and that are there. One older than its file is left out: the file was changed
    /// and its sibling forgotten. Whole seconds are compared, for copying may cut off what is finer.
    pub(super) async fn look_up(root: &Root, relative: &[u8], file: &Found, policy: &Policy) -> Siblings {
        let mut siblings = Vec::new();
        for coding in policy.precompressed.iter() {
            let name = [relative, coding.extension().as_bytes()].concat();
            let Ok(found) = root.look_up(&name, policy.symlinks).await else { continue };
            let is_older = found.identity().modified.seconds < file.identity().modified.seconds;
            if found.kind() == Kind::Regular && !is_older {
                siblings.push((*coding, found));
            }
        }
        Siblings(siblings)
    }

    fn codings(&self) -> Codings {
        self.0.iter().fold(Codings::EMPTY, |codings, (coding, _)| codings.with(*coding))
    }

    fn into_one(self, wanted: Coding) -> Option<Found> {
        self.0.into_iter().find(|(coding, _)| *coding == wanted).map(|(_, found)| found)
    }
}

fn count_hit(located: &Located) {
    if let Located::Representation(_) = located {
        counters::here().cache_hits.add(1);
    }
}

impl Site {
    /// What is sent of a path whose file was looked at in this tick, if the coding that the client wants is in memory.
    pub(super) fn fresh(&self, path: &SitePath<'_>, policy: &Policy, asked: &Asked<'_>) -> Option<Located> {
        let known = self.catalogue.get(KeyOf::new(self.number, path, Coding::Identity))?;
        if known.checked_tick.get() != asked.now.tick || known.index.is_some() {
            return None;
        }
        self.select(path, policy, &known, asked).inspect(count_hit)
    }

    /// The same of a directory whose index file is judged by its own path, where nothing keeps anybody from that.
    pub(super) fn fresh_index(&self, asked: &Asked<'_>) -> Option<Located> {
        let known = self.catalogue.get(KeyOf::new(self.number, asked.path, Coding::Identity))?;
        let index = known.index.as_ref().filter(|_| known.checked_tick.get() == asked.now.tick)?;
        let policy = self.policies.of(index);
        if policy.is_open { self.fresh(index, &policy, asked) } else { None }
    }

    /// What is sent of a known file, if the coding that the client wants is in memory.
    fn select(&self, path: &SitePath<'_>, policy: &Policy, known: &Rc<Known>, asked: &Asked<'_>) -> Option<Located> {
        let mut offered = known.siblings.union(known.compressible.get());
        // Not whether something is offered now: a coding that was not worth making leaves a file that is negotiated.
        if known.representation.as_ref().is_some_and(|one| !one.metadata.negotiated) {
            return known.representation.clone().map(Located::Representation);
        }
        let accepted = AcceptedCodings::parse(asked.head.fields.values(FieldName::AcceptEncoding));
        loop {
            let Some(coding) = accepted.choose(offered, &policy.codings) else {
                return Some(Located::Failed(Status::NOT_ACCEPTABLE));
            };
            if coding == Coding::Identity {
                return known.representation.clone().map(Located::Representation);
            }
            let variant = self.catalogue.get(KeyOf::new(self.number, path, coding));
            if known.siblings.contains(coding) {
                let variant = variant.filter(|variant| variant.checked_tick.get() == asked.now.tick)?;
                return variant.representation.clone().map(Located::Representation);
            }
            if let Some(variant) = variant.filter(|variant| variant.identity == known.identity) {
                return variant.representation.clone().map(Located::Representation);
            }
            if !accepted.accepts_identity() {
                return None;
            }
            // This client gets the next best; the one after it, most likely, what is made meanwhile.
            compress::start(&self.catalogue, KeyOf::new(self.number, path, coding), known);
            offered = offered.without(coding);
        }
    }

    /// What is sent of a file that was just looked up.
    pub(super) async fn serve(
        &self,
        path: &SitePath<'_>,
        policy: &Policy,
        target: Target,
        asked: &Asked<'_>,
    ) -> Result<Located, Errno> {
        if let Some(known) = self.still_known(path, &target, asked.now.tick) {
            if let Some(located) = self.select(path, policy, &known, asked).inspect(count_hit) {
                return Ok(located);
            }
        }
        let Target { found, relative, siblings } = target;
        let beside = siblings.codings();
        let media_type = policy.media_type(&relative);
        let compressible = self.compressible(policy, &media_type, found.identity().length, beside);
        let accepted = AcceptedCodings::parse(asked.head.fields.values(FieldName::AcceptEncoding));
        let offered = beside.union(compressible);
        let chosen =
            if offered.is_empty() { Some(Coding::Identity) } else { accepted.choose(offered, &policy.codings) };
        let Some(chosen) = chosen else { return Ok(Located::Failed(Status::NOT_ACCEPTABLE)) };
        let own_path = SitePath::from_decoded([b"/", &relative[..]].concat());
        let loading = Loading {
            path,
            own_path: own_path.as_ref().unwrap_or(path),
            policy,
            media_type,
            coding: Coding::Identity,
            siblings: beside,
            compressible,
            now: asked.now,
        };
        if beside.contains(chosen) {
            self.note(&loading, &found);
            let sibling = siblings.into_one(chosen).expect("it is one of those that lie beside the file");
            match self.load(Loading { coding: chosen, ..loading.clone() }, sibling).await {
                // One that cannot be opened is as good as none, to a client that takes the file itself.
                Err(errno) if accepted.accepts_identity() => self.tell_sibling(path, chosen, errno),
                outcome => return outcome,
            }
        }
        let located = self.load(loading, found).await?;
        if chosen == Coding::Identity || accepted.accepts_identity() {
            return Ok(located);
        }
        // A client that takes the file in no other form is worth the wait.
        let known = self.catalogue.get(KeyOf::new(self.number, path, Coding::Identity));
        let key = KeyOf::new(self.number, path, chosen);
        let made = match &known {
            Some(known) => compress::make(&self.catalogue, key.to_key(), known).await,
            None => Made::Nothing,
        };
        Ok(match made {
            Made::Coding(representation) => Located::Representation(representation),
            Made::Nothing => Located::Failed(Status::NOT_ACCEPTABLE),
            Made::NotNow => Located::Refused(Refusal::Exhausted),
        })
    }

    /// What is remembered of a file, when it is the one that was just looked up; it is fresh again from here, and so
    /// are those of its siblings that did not change.
    fn still_known(&self, path: &SitePath<'_>, target: &Target, tick: u64) -> Option<Rc<Known>> {
        let known = self.catalogue.get(KeyOf::new(self.number, path, Coding::Identity))?;
        if known.identity != target.found.identity() || known.unsettled || known.siblings != target.siblings.codings() {
            return None;
        }
        known.checked_tick.set(tick);
        for (coding, sibling) in &target.siblings.0 {
            let key = KeyOf::new(self.number, path, *coding);
            if let Some(variant) = self.catalogue.get(key) {
                if variant.identity == sibling.identity() && !variant.unsettled {
                    variant.checked_tick.set(tick);
                }
            }
        }
        Some(known)
    }

    fn tell_sibling(&self, path: &SitePath<'_>, coding: Coding, errno: Errno) {
        if self.catalogue.throttle.admits() {
            let path = path.as_bytes().escape_ascii();
            let (extension, error) = (coding.extension(), std::io::Error::from(errno));
            tracing::warn!(%path, reason = "sibling", "the file beside it that ends in {extension} is not served: {error}");
        }
    }

    /// Codings that can be made of a file in memory: where it is text of a size worth it, and nobody made them before.
    fn compressible(&self, policy: &Policy, media_type: &str, length: u64, beside: Codings) -> Codings {
        let lengths = compress::CONTENT_BYTES_MIN..=self.catalogue.content_bytes_max.min(compress::CONTENT_BYTES_MAX);
        if policy.compress.is_empty() || !lengths.contains(&length) || !media_type::is_compressible(media_type) {
            return Codings::EMPTY;
        }
        let made = policy.compress.iter().filter(|coding| !beside.contains(**coding));
        made.fold(Codings::EMPTY, |codings, coding| codings.with(*coding))
    }

    /// Forgets all that is remembered of a path.
    pub(super) fn forget(&self, path: &SitePath<'_>, policy: &Policy) {
        self.catalogue.forget(KeyOf::new(self.number, path, Coding::Identity));
        for coding in policy.codings.iter() {
            self.catalogue.forget(KeyOf::new(self.number, path, *coding));
        }
    }
}
