//! From a path to a file: the paths to try, the index of a directory, its listing.
//!
//! Invariant: nothing hidden is looked up.

use super::catalogue::{KeyOf, Known};
use super::listing::{self, Format, Listing, Sorting};
use super::negotiate::Siblings;
use super::policy::{Autoindex, Policy};
use super::try_files::Candidate;
use super::{Asked, Listed, Located, Site, Step, welcome};
use crate::http::accept;
use crate::http::coding::Coding;
use crate::http::fields::FieldName;
use crate::http::status::Status;
use crate::http::target::SitePath;
use crate::storage::file::Kind;
use crate::storage::pool;
use crate::storage::refusal::{CONFINED, Refusal};
use crate::storage::root::{Found, Root, Symlinks};
use rustix::io::Errno;
use std::rc::Rc;

/// Stands for a FIFO, a socket or a device: what opening a socket by its path gives.
const NOT_REGULAR: Errno = Errno::NXIO;

/// Says of a listing in JSON what its page says in a note: there are more entries.
const TRUNCATED: &[u8] = b"X-Autoindex-Truncated: true\r\n";

/// What was found at a path.
pub(super) struct Target {
    /// The file.
    pub(super) found: Found,
    /// Its path below the root: the asked one, or that of an index file.
    pub(super) relative: Vec<u8>,
    /// The same file in other codings.
    pub(super) siblings: Siblings,
}

/// What a path names on disk.
enum Named {
    File(Target),
    /// A directory asked for without its slash.
    MissingSlash,
    /// A directory without an index file.
    Directory,
}

impl Site {
    /// What is at `path`, or which path to look at in its place.
    pub(super) async fn find(&self, path: &SitePath<'_>, policy: &Policy, asked: &Asked<'_>) -> Step {
        if let Some(located) = self.fresh(path, policy, asked) {
            return Step::Found(located);
        }
        let Some(root) = self.root(policy) else { return Step::Found(welcome::locate(path)) };
        if self.is_missing(path, asked.now.tick) {
            return Step::Found(Located::Refused(Refusal::NotFound));
        }
        if policy.hides(path) {
            let path = path.as_bytes().escape_ascii();
            tracing::debug!(%path, reason = "hidden", "hidden: a name begins with a dot");
            return Step::Found(Located::Refused(Refusal::NotFound));
        }
        if !policy.try_files.is_empty() {
            return self.try_in_turn(root, path, policy, asked).await;
        }
        let outcome = match self.name(root, path, policy).await {
            Ok(Named::File(target)) => return self.serve_or_go_on(path, policy, target, asked).await,
            Ok(Named::MissingSlash) => Ok(elsewhere(path, asked)),
            Ok(Named::Directory) if policy.autoindex == Autoindex::Off => Err(Errno::NOENT),
            Ok(Named::Directory) => self.list(root, path, policy, asked).await,
            Err(errno) => Err(errno),
        };
        Step::Found(self.settle(path, policy, asked.now.tick, outcome))
    }

    /// Serves what is at `path`. An index file for whose own path something else holds is judged by that path: what is
    /// denied there must not be had by the address of its directory.
    async fn serve_or_go_on(&self, path: &SitePath<'_>, policy: &Policy, target: Target, asked: &Asked<'_>) -> Step {
        if path.is_directory() {
            let index = SitePath::from_decoded([b"/", &target.relative[..]].concat());
            if let Some(index) = index.filter(|index| !std::ptr::eq(&*self.policies.of(index), policy)) {
                let known = Known::of_directory(index.clone(), target.found.identity(), asked.now.tick);
                self.catalogue.remember(KeyOf::new(self.number, path, Coding::Identity), known);
                return Step::GoOn(index);
            }
        }
        let outcome = self.serve(path, policy, target, asked).await;
        Step::Found(self.settle(path, policy, asked.now.tick, outcome))
    }

    async fn try_in_turn(&self, root: &Root, path: &SitePath<'_>, policy: &Policy, asked: &Asked<'_>) -> Step {
        let last = policy.try_files.len() - 1;
        for (number, candidate) in policy.try_files.iter().enumerate() {
            let Some(other) = candidate.path(path) else { break };
            let is_same = other.as_bytes() == path.as_bytes();
            // A fixed path at the end is taken whatever is there; one made of the path would be made of itself again.
            if number == last && !is_same && matches!(candidate, Candidate::Fixed(_)) {
                return Step::GoOn(other);
            }
            if policy.hides(&other) {
                continue;
            }
            // Relative links in the page of a directory need the slash in its address.
            let adds_slash = !path.is_directory() && other.as_bytes().strip_suffix(b"/") == Some(path.as_bytes());
            match self.name(root, &other, policy).await {
                Ok(Named::File(_)) if adds_slash => return Step::Found(elsewhere(path, asked)),
                Ok(Named::File(target)) if is_same => return self.serve_or_go_on(path, policy, target, asked).await,
                Ok(Named::File(_)) => return Step::GoOn(other),
                Ok(Named::Directory) if policy.autoindex == Autoindex::Off => {}
                Ok(Named::Directory) if adds_slash => return Step::Found(elsewhere(path, asked)),
                Ok(Named::Directory) if is_same => {
                    let outcome = self.list(root, path, policy, asked).await;
                    return Step::Found(self.settle(path, policy, asked.now.tick, outcome));
                }
                // A directory is found by `$uri/` only, as a path that ends in a slash.
                Ok(Named::Directory | Named::MissingSlash) => {}
                Err(errno) if is_absence(errno) => {}
                Err(errno) => return Step::Found(self.settle(path, policy, asked.now.tick, Err(errno))),
            }
        }
        Step::Found(self.settle(path, policy, asked.now.tick, Err(Errno::NOENT)))
    }

    async fn name(&self, root: &Root, path: &SitePath<'_>, policy: &Policy) -> Result<Named, Errno> {
        let relative = path.relative().to_vec();
        let (found, relative) = if path.is_directory() {
            match look_up_index(root, relative, policy).await? {
                Some(index) => index,
                None => return directory(root, path, policy).await,
            }
        } else {
            (root.look_up(&relative, policy.symlinks).await?, relative)
        };
        match found.kind() {
            Kind::Directory if !path.is_directory() => Ok(Named::MissingSlash),
            Kind::Directory => Err(Errno::NOENT),
            Kind::Special => Err(NOT_REGULAR),
            Kind::Regular => {
                let siblings = Siblings::look_up(root, &relative, &found, policy).await;
                Ok(Named::File(Target { found, relative, siblings }))
            }
        }
    }

    async fn list(
        &self,
        root: &Root,
        path: &SitePath<'_>,
        policy: &Policy,
        asked: &Asked<'_>,
    ) -> Result<Located, Errno> {
        let accept = asked.head.fields.values(FieldName::Accept);
        let format = match policy.autoindex {
            Autoindex::Json => Format::Json,
            Autoindex::Auto if accept::preferred(accept, &["text/html", "application/json"]) == 1 => Format::Json,
            Autoindex::Off | Autoindex::Html | Autoindex::Auto => Format::Html,
        };
        let hides = policy.hidden;
        let keep = move |name: &[u8]| !hides.hides_name(name);
        let entries_max = policy.autoindex_entries_max;
        let directory = root.list(path.relative(), entries_max, keep, policy.symlinks).await?;
        let sorting = Sorting::parse(asked.query);
        let is_truncated = directory.truncated;
        let own_path = path.clone().into_owned();
        // Ten thousand entries take their time to write, and others wait for this core.
        let render = move || listing::render(&Listing { path: &own_path, directory: &directory, sorting }, format);
        let text = pool::run(render).await.into_bytes();
        let media_type = match format {
            Format::Html => "text/html; charset=utf-8",
            Format::Json => "application/json",
        };
        let mut fields = policy.fields(path, Some(media_type));
        if is_truncated && format == Format::Json {
            // An array has no place for it.
            fields.lines = [&fields.lines, TRUNCATED].concat().into();
        }
        let negotiated = policy.autoindex == Autoindex::Auto;
        Ok(Located::Listing(Rc::new(Listed { media_type, text, negotiated, fields })))
    }

    /// Whether nothing was at `path` in this tick.
    pub(super) fn is_missing(&self, path: &SitePath<'_>, tick: u64) -> bool {
        self.catalogue.missing.has(KeyOf::new(self.number, path, Coding::Identity), tick)
    }

    /// What is answered for an outcome; tells the log why a path is refused.
    fn settle(&self, path: &SitePath<'_>, policy: &Policy, tick: u64, outcome: Result<Located, Errno>) -> Located {
        outcome.unwrap_or_else(|errno| {
            self.forget(path, policy);
            if is_absence(errno) {
                self.catalogue.missing.note(KeyOf::new(self.number, path, Coding::Identity), tick);
            }
            self.tell_refusal(path, policy, errno);
            Located::Refused(errno.into())
        })
    }

    /// Tells the log why a path is refused. What every stray link causes is for the debug log;
    /// what an administrator may have to explain is told, within the quota.
    fn tell_refusal(&self, path: &SitePath<'_>, policy: &Policy, errno: Errno) {
        let path = path.as_bytes().escape_ascii();
        if is_absence(errno) {
            tracing::debug!(%path, reason = "not_found", "not found");
        } else if self.catalogue.throttle.admits() {
            match errno {
                Errno::XDEV => {
                    let reason = "symlink_outside";
                    tracing::warn!(%path, reason, "not served: a symbolic link leads out of the document root");
                }
                Errno::LOOP if policy.symlinks == Symlinks::Deny => {
                    let reason = "symlink_denied";
                    tracing::warn!(%path, reason, "not served: a symbolic link, and `symlinks` is \"deny\"");
                }
                Errno::LOOP => {
                    tracing::warn!(%path, reason = "symlink_loop", "not served: symbolic links go in circles");
                }
                CONFINED => {
                    let reason = "sandbox";
                    tracing::info!(
                        %path,
                        reason,
                        "not served: it lies outside of what workers may read; name its directory in `sandbox_read`"
                    );
                }
                NOT_REGULAR => {
                    let reason = "special_file";
                    tracing::warn!(%path, reason, "not served: neither a regular file nor a directory");
                }
                _ => {
                    let reason = match Refusal::from(errno) {
                        Refusal::Forbidden => "permission",
                        Refusal::Exhausted => "exhausted",
                        Refusal::NotFound | Refusal::Broken => "disk",
                    };
                    tracing::warn!(%path, reason, "not served: {}", std::io::Error::from(errno));
                }
            }
        }
    }
}

fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG)
}

/// The first index name that is no directory in the directory `relative`, and its path.
async fn look_up_index(root: &Root, mut relative: Vec<u8>, policy: &Policy) -> Result<Option<(Found, Vec<u8>)>, Errno> {
    let directory_bytes = relative.len();
    for name in policy.index.iter() {
        relative.truncate(directory_bytes);
        relative.extend_from_slice(name.as_bytes());
        match root.look_up(&relative, policy.symlinks).await {
            // No file, so that the directory has no index by that name.
            Ok(found) if found.kind() == Kind::Directory => {}
            Ok(found) => return Ok(Some((found, relative))),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// Whether a path that ends in a slash names a directory at all.
async fn directory(root: &Root, path: &SitePath<'_>, policy: &Policy) -> Result<Named, Errno> {
    match root.look_up(path.relative(), policy.symlinks).await?.kind() {
        Kind::Directory => Ok(Named::Directory),
        Kind::Regular | Kind::Special => Err(Errno::NOTDIR),
    }
}

/// The same path with a slash: the address of a directory.
fn elsewhere(path: &SitePath<'_>, asked: &Asked<'_>) -> Located {
    let mut location = path.encoded();
    location.push('/');
    if let Some(query) = asked.query {
        location.push('?');
        location.push_str(query);
    }
    Located::Elsewhere(Status::MOVED_PERMANENTLY, Rc::from(location))
}
