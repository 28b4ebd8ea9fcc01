//! The URL space of a site: from a path to what answers it.
//!
//! Order of [`Site::locate`]: the catalogue of what is in memory · redirects and rewrites · from where, and who ·
//! the paths to try · the disk (`find`, `load`) · the coding that the client wants (`negotiate`).
//!
//! Invariant: everything said of a [`Representation`] (length, validators) and every byte of it
//! come from one open file.

pub mod access;
pub mod catalogue;
mod compress;
pub mod cors;
pub mod error_page;
mod find;
pub mod gate;
pub mod header;
pub mod hosts;
pub mod https;
mod keep;
pub mod lifetime;
pub mod listing;
mod load;
mod missing;
mod negotiate;
pub mod page;
pub mod password;
pub mod pattern;
pub mod policy;
pub mod rule;
pub mod template;
pub mod try_files;
pub mod welcome;

use crate::http::date::HttpDate;
use crate::http::fields::FieldName;
use crate::http::method::Method;
use crate::http::request::RequestHead;
use crate::http::respond::{RepresentationMetadata, SiteFields};
use crate::http::status::Status;
use crate::http::target::SitePath;
use crate::observe::access::AccessLog;
use crate::storage::file::OpenFile;
use crate::storage::refusal::Refusal;
use crate::storage::root::Root;
use crate::storage::shared::SharedContent;
use catalogue::Catalogue;
use core::net::IpAddr;
use gate::{BasicAuth, Gate, Pass};
use policy::{Location, Policies, Policy, PolicyKeys};
use rule::RequestParts;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What a site is made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Host names that it answers to: `example.org`, or `*.example.org` for all below.
    pub names: Vec<String>,
    /// What holds for all of its paths.
    pub keys: PolicyKeys,
    /// What holds for some of them.
    pub locations: Vec<Location>,
}

impl Options {
    /// The keys of every place: of the site, and of each of its locations.
    fn places(&self) -> impl Iterator<Item = &PolicyKeys> {
        std::iter::once(&self.keys).chain(self.locations.iter().map(|location| &location.keys))
    }

    /// Every root that a path of the site may be looked up in.
    pub fn roots(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.places().filter_map(|keys| keys.root.as_ref()?.as_ref())
    }

    /// Every access log of the site.
    pub fn access_logs(&self) -> impl Iterator<Item = &AccessLog> {
        self.places().filter_map(|keys| keys.access_log.as_deref()).flatten()
    }

    /// Every password file of the site.
    pub fn password_files(&self) -> impl Iterator<Item = &Arc<BasicAuth>> {
        self.places().filter_map(|keys| keys.basic_auth.as_ref()?.as_ref())
    }
}

/// A site as one core serves it.
pub struct Site {
    number: u16,
    policies: Policies,
    roots: HashMap<Arc<Path>, Rc<Root>>,
    catalogue: Rc<Catalogue>,
    gate: Rc<Gate>,
}

/// What a request asks of a site.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The whole head.
    pub head: &'a RequestHead<'a>,
    /// The path of its target.
    pub path: &'a SitePath<'a>,
    /// The query of its target.
    pub query: Option<&'a str>,
    /// The authority that it was sent to.
    pub host: Option<&'a str>,
    /// Where it comes from; nothing is known of a client on a Unix socket.
    pub client: Option<IpAddr>,
    /// When it came.
    pub now: Moment,
    /// Whether nothing but what authorities look at may be shown to it: the site demands TLS of all other requests, and it came without.
    pub challenges_alone: bool,
}

/// The moment of a request, as far as a site cares.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Counts up about once a second.
    pub tick: u64,
    /// The date.
    pub date: HttpDate,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub enum Located {
    /// A representation to send.
    Representation(Rc<Representation>),
    /// A directory, listed.
    Listing(Rc<Listed>),
    /// Another address.
    Elsewhere(Status, Rc<str>),
    /// The client must say who it is.
    Unauthorized(Arc<BasicAuth>),
    /// The preflight of a request from an origin that is allowed.
    Preflight,
    /// The method does nothing here.
    NotAllowed,
    /// Nothing to send: the disk, or the rules, say so.
    Refused(Refusal),
    /// Nothing to send for so many seconds: the client has asked for more than its rate.
    TooMany(u32),
    /// Nothing to send: the request asks for what cannot be, as this status says.
    Failed(Status),
}

/// The text of a directory's listing.
#[derive(Debug)]
pub struct Listed {
    /// Its media type.
    pub media_type: &'static str,
    /// The text.
    pub text: Vec<u8>,
    /// Whether another client may get it in another form.
    pub negotiated: bool,
    /// What the site says beside it.
    pub fields: SiteFields,
}

/// The selected representation: what is said of it, and where its bytes are.
#[derive(Debug)]
pub struct Representation {
    /// What is said of it.
    pub metadata: RepresentationMetadata,
    /// Where its bytes are.
    pub body: Body,
    /// What the site says beside it.
    pub fields: SiteFields,
    /// Ranges of one request that are answered.
    pub ranges_max: usize,
    /// Whether no answer had it yet.
    pub is_new: Cell<bool>,
}

impl Representation {
    /// Whether this answer is the one for which it was read; so is each of a file that is read while it is sent.
    pub fn take_novelty(&self) -> bool {
        self.is_new.replace(false) || matches!(self.body, Body::File(_))
    }
}

/// Where the bytes of a representation are.
#[derive(Clone, Debug)]
pub enum Body {
    /// In the memory of this core, all of them.
    Held(Rc<[u8]>),
    /// In memory for all cores: sent without a copy.
    Shared(Arc<SharedContent>),
    /// On disk, to be read while they are sent.
    File(Rc<OpenFile>),
}

/// Paths that one request is led along within a site, by rules and by lists of paths to try: more go in circles.
const PATHS_MAX: usize = 10;

/// What came of looking at one path.
enum Step {
    /// The answer.
    Found(Located),
    /// Another path has it.
    GoOn(SitePath<'static>),
}

impl Site {
    /// The site of these options, the `number`th of this core. Opens its roots and password files: for start-up.
    pub fn open(
        options: &Options,
        number: u16,
        roots: &mut HashMap<Arc<Path>, Rc<Root>>,
        catalogue: &Rc<Catalogue>,
        gate: &Rc<Gate>,
    ) -> Result<Site, String> {
        for path in options.roots() {
            if !roots.contains_key(path) {
                let root = Root::open(path).map_err(|error| format!("document root {}: {error}", path.display()))?;
                roots.insert(path.clone(), Rc::new(root));
            }
        }
        for auth in options.password_files() {
            gate.open(auth)?;
        }
        let mine = options.roots().map(|path| (path.clone(), roots[path].clone())).collect();
        let policies = Policies::new(options.keys.clone(), options.locations.clone());
        Ok(Site { number, policies, roots: mine, catalogue: catalogue.clone(), gate: gate.clone() })
    }

    /// What holds for `path`.
    pub fn policy(&self, path: &SitePath<'_>) -> Rc<Policy> {
        self.policies.of(path)
    }

    /// What holds where there is no path.
    pub fn general_policy(&self) -> &Policy {
        self.policies.general()
    }

    /// What the asked path leads to, under `policy`, which is that of the path.
    pub async fn locate(&self, policy: &Policy, asked: &Asked<'_>) -> Located {
        let is_read = matches!(asked.head.method, Method::Get | Method::Head);
        if policy.is_open && is_read {
            if let Some(located) = self.fresh(asked.path, policy, asked).or_else(|| self.fresh_index(asked)) {
                return located;
            }
            if self.is_missing(asked.path, asked.now.tick) {
                return Located::Refused(Refusal::NotFound);
            }
        }
        // Boxed, so that the thousands of connections that wait for nothing do not carry the state
        // of a look-up.
        Box::pin(self.locate_slowly(policy, asked)).await
    }

    async fn locate_slowly(&self, policy: &Policy, asked: &Asked<'_>) -> Located {
        let parts =
            RequestParts { path: asked.path.as_bytes(), query: asked.query, host: asked.host.map(hosts::host_of) };
        for redirect in policy.redirect.iter() {
            if let Some(captures) = redirect.from.captures(asked.path.as_bytes()) {
                return match redirect.to.expand_location(&captures, &parts) {
                    Ok(location) => Located::Elsewhere(redirect.status, Rc::from(location)),
                    Err(why) => {
                        let path = asked.path.as_bytes().escape_ascii();
                        tracing::debug!(%path, reason = "redirect", "not redirected: {why:?}");
                        Located::Failed(why.status())
                    }
                };
            }
        }
        let mut path = match rewritten(policy, asked.path) {
            None => asked.path.clone(),
            Some(Some(path)) => path,
            // Decoded segments can climb only where a capture held what a rule did not expect.
            Some(None) => {
                let path = asked.path.as_bytes().escape_ascii();
                tracing::debug!(%path, reason = "rewrite", "refused: what `rewrite` makes of it is no path");
                return Located::Refused(Refusal::NotFound);
            }
        };
        for _ in 0..PATHS_MAX {
            if asked.challenges_alone && !https::is_challenge(&path) {
                let path = path.as_bytes().escape_ascii();
                tracing::debug!(%path, reason = "no_tls", "refused: a challenge leads to what is not shown without TLS");
                return Located::Failed(Status::MISDIRECTED_REQUEST);
            }
            let policy = self.policies.of(&path);
            if let Some(stopped) = self.stopped(&policy, asked).await {
                return stopped;
            }
            match self.find(&path, &policy, asked).await {
                Step::Found(located) => return located,
                Step::GoOn(other) => path = other,
            }
        }
        if self.catalogue.throttle.admits() {
            let path = asked.path.as_bytes().escape_ascii();
            let reason = "try_files_loop";
            tracing::error!(%path, reason, "not served: try_files leads from path to path without an end");
        }
        Located::Refused(Refusal::Broken)
    }

    /// Whatever keeps this client from this path, whether or not something is there.
    async fn stopped(&self, policy: &Policy, asked: &Asked<'_>) -> Option<Located> {
        if policy.addresses.as_ref().is_some_and(|rules| !rules.admits(asked.client)) {
            let path = asked.path.as_bytes().escape_ascii();
            tracing::debug!(%path, client = ?asked.client, reason = "address", "refused: its address is not allowed");
            return Some(Located::Refused(Refusal::Forbidden));
        }
        if asked.head.method == Method::Options {
            // Before the password: a preflight carries none.
            let allowed = policy.cors.as_ref().is_some_and(|cors| cors.preflight(&asked.head.fields).is_some());
            if !allowed {
                let path = asked.path.as_bytes().escape_ascii();
                tracing::debug!(%path, reason = "cors", "refused: no preflight that `cors` allows");
            }
            return Some(if allowed { Located::Preflight } else { Located::NotAllowed });
        }
        let auth = policy.basic_auth.as_ref()?;
        let authorization = asked.head.fields.only(FieldName::Authorization);
        match self.gate.pass(auth, authorization, &self.catalogue.checking, asked.now.tick).await {
            Pass::Granted => None,
            Pass::Denied => {
                let path = asked.path.as_bytes().escape_ascii();
                let user = gate::user_of(authorization);
                tracing::debug!(%path, user, reason = "password", "refused: no such user, or another password, or none");
                Some(Located::Unauthorized(auth.clone()))
            }
            Pass::Busy => {
                if self.catalogue.throttle.admits() {
                    let path = asked.path.as_bytes().escape_ascii();
                    tracing::info!(%path, reason = "password_busy", "refused: too many passwords are being checked");
                }
                Some(Located::Refused(Refusal::Exhausted))
            }
        }
    }

    /// The document that goes with `status` in the place of a fixed text, if there is one.
    pub async fn error_document(
        &self,
        policy: &Policy,
        status: Status,
        asked: &Asked<'_>,
    ) -> Option<Rc<Representation>> {
        let path = policy.error_page.of(status)?;
        let policy = self.policies.of(path);
        match Box::pin(self.find(path, &policy, asked)).await {
            Step::Found(Located::Representation(document)) => Some(document),
            _ => {
                if self.catalogue.throttle.admits() {
                    let path = path.as_bytes().escape_ascii();
                    tracing::warn!(%path, reason = "error_page", "the document for {} is not there", status.code());
                }
                None
            }
        }
    }

    fn root(&self, policy: &Policy) -> Option<&Rc<Root>> {
        policy.root.as_ref().map(|path| &self.roots[path])
    }
}

/// The path that the first rule that fits makes of `path`; `None` when none fits, `Some(None)` when what it makes is
/// no path of the site.
fn rewritten<'a>(policy: &Policy, path: &SitePath<'a>) -> Option<Option<SitePath<'a>>> {
    let fits = |rule: &rule::Rewrite| Some(rule.to.expand_path(&rule.from.captures(path.as_bytes())?));
    policy.rewrite.iter().find_map(fits).map(SitePath::from_decoded)
}
