//! What holds for a path: every key of the configuration that may differ from path to path.
//!
//! Each key is written once, in `keys!`: a [`PolicyKeys`] holds what one place of the configuration sets, and a
//! [`Policy`] all of them, inherited one by one and with defaults where nobody said anything.
//!
//! Invariant: a policy is complete; whoever has one never asks where a value came from.

use super::cors::Cors;
use super::gate::BasicAuth;
use super::header::HeaderRule;
use super::https::Https;
use super::lifetime::Lifetimes;
use super::pattern::Pattern;
use super::rule::{Redirect, Rewrite};
use super::{access::AddressRules, error_page::ErrorPages, try_files::Candidate};
use crate::defence::requests::RequestLimit;
use crate::http::coding::Coding;
use crate::http::media_type;
use crate::http::respond::SiteFields;
use crate::http::target::SitePath;
use crate::observe::access::{AccessLog, Logs};
use crate::storage::root::Symlinks;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// The keys that one place of the configuration sets.
        #[derive(Clone, Debug, Default)]
        pub struct PolicyKeys {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl PolicyKeys {
            /// These keys, and those of a less specific place where these say nothing.
            #[must_use]
            pub fn over(&self, general: &PolicyKeys) -> PolicyKeys {
                PolicyKeys { $($name: self.$name.clone().or_else(|| general.$name.clone()),)* }
            }
        }

        /// What holds for a path.
        #[derive(Clone, Debug)]
        pub struct Policy {
            $($(#[$doc])* pub $name: $type,)*
            /// Whether a representation may be sent without asking who wants it, and from where.
            pub is_open: bool,
            /// All codings besides the file itself, best first.
            pub codings: Box<[Coding]>,
            /// What writes the access logs, where there are any.
            pub logs: Option<Rc<Logs>>,
            /// What answers without a representation say, where that is the same for all paths.
            general_fields: Option<SiteFields>,
        }

        impl Policy {
            fn new(keys: PolicyKeys) -> Policy {
                let mut policy = Policy {
                    $($name: keys.$name.unwrap_or_else(|| $default),)*
                    is_open: false,
                    codings: Box::default(),
                    logs: None,
                    general_fields: None,
                };
                policy.is_open = policy.redirect.is_empty()
                    && policy.rewrite.is_empty()
                    && policy.addresses.is_none()
                    && policy.basic_auth.is_none();
                if policy.headers.iter().all(|rule| rule.path.is_none()) {
                    policy.general_fields = Some(policy.fields(&SitePath::root(), None));
                }
                // Copies of this core's own: a pattern keeps scratch memory, for which cores would wait in turn.
                policy.redirect = policy.redirect.iter().cloned().collect();
                policy.rewrite = policy.rewrite.iter().cloned().collect();
                policy.logs = Logs::new(&policy.access_log, &policy.server_name);
                policy.codings = policy.precompressed.iter().chain(&*policy.compress).copied().collect();
                policy
            }
        }
    };
}

keys! {
    /// Where paths are looked up; without one the welcome page is served.
    root: Option<Arc<Path>> = None;
    /// Names tried, in order, for a path that names a directory.
    index: Arc<[String]> = Arc::from(["index.html".to_owned()]);
    /// What is sent of a directory without an index file.
    autoindex: Autoindex = Autoindex::Off;
    /// Entries of a directory that are listed.
    autoindex_entries_max: usize = 10_000;
    /// What is tried, in order, for a path; empty for the path itself.
    try_files: Arc<[Candidate]> = Arc::from([]);
    /// Paths that are elsewhere now.
    redirect: Arc<[Redirect]> = Arc::from([]);
    /// Paths that stand for other paths.
    rewrite: Arc<[Rewrite]> = Arc::from([]);
    /// Field lines to add and to leave out.
    headers: Arc<[HeaderRule]> = Arc::from([]);
    /// What Cache-Control says.
    cache_control: Lifetimes = Lifetimes::default();
    /// What Expires says, and Cache-Control where nothing else says it.
    expires: Lifetimes = Lifetimes::default();
    /// What other origins may read.
    cors: Option<Arc<Cors>> = None;
    /// Whose password is asked for.
    basic_auth: Option<Arc<BasicAuth>> = None;
    /// From where clients may come.
    addresses: Option<Arc<AddressRules>> = None;
    /// Whether names that begin with a dot are served.
    hidden: Hidden = Hidden::Deny;
    /// Which symbolic links are followed.
    symlinks: Symlinks = Symlinks::Beneath;
    /// Codings of which a file's siblings are sent in its place, best first.
    precompressed: Arc<[Coding]> = Arc::from([]);
    /// Codings that are made of files in memory, best first.
    compress: Arc<[Coding]> = Arc::from([]);
    /// Media types by extension in lower case, before the built-in ones.
    types: Arc<HashMap<String, String>> = Arc::default();
    /// The media type of names that say nothing.
    default_type: Arc<str> = Arc::from("application/octet-stream");
    /// The charset parameter of textual types.
    charset: Option<Arc<str>> = None;
    /// Whether browsers are told to believe the media type.
    nosniff: bool = false;
    /// Whether answers have an entity tag.
    etag: bool = true;
    /// Ranges of one request that are answered.
    max_ranges: usize = 16;
    /// Documents to send with errors.
    error_page: Arc<ErrorPages> = Arc::default();
    /// Where exchanges are logged.
    access_log: Arc<[AccessLog]> = Arc::from([]);
    /// The first name of the site; no key of its own.
    server_name: Arc<str> = Arc::from("");
    /// Bytes of content a second that a connection is sent; zero for as many as it takes.
    limit_rate: u64 = 0;
    /// Bytes of an answer that are sent before that rate holds.
    limit_rate_after: u64 = 0;
    /// Whether clients without TLS are sent to it.
    redirect_https: bool = false;
    /// What goes with the certificate of the site; no key of its own.
    https: Arc<Https> = Arc::default();
    /// How many requests of a client are let through.
    limit_requests: Option<Arc<RequestLimit>> = None;
}

/// What is sent of a directory without an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoindex {
    /// 404.
    Off,
    /// A page.
    Html,
    /// JSON.
    Json,
    /// Whichever the client prefers.
    Auto,
}

/// Whether names that begin with a dot are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// They are not: 404.
    Deny,
    /// They are.
    Allow,
}

impl Hidden {
    /// Whether an entry of this name is not for the public.
    pub fn hides_name(self, name: &[u8]) -> bool {
        self == Hidden::Deny && name.starts_with(b".")
    }
}

impl Policy {
    /// Whether `path` names something that is not for the public: a segment that begins with a dot, such
    /// as `.git` or `.env`. What lies beneath `/.well-known/` is meant for the public (RFC 8615).
    pub fn hides(&self, path: &SitePath<'_>) -> bool {
        let mut segments = path.segments().peekable();
        if segments.peek() == Some(&&b".well-known"[..]) {
            segments.next();
        }
        segments.any(|segment| self.hidden.hides_name(segment))
    }

    /// The media type of the file named by `path`.
    pub fn media_type(&self, path: &[u8]) -> Rc<str> {
        let named = match media_type::extension(path) {
            Some(extension) if !self.types.is_empty() => self.types.get(&extension.to_ascii_lowercase()),
            _ => None,
        };
        let named = named.map(String::as_str).or_else(|| media_type::of_path(path)).unwrap_or(&self.default_type);
        match &self.charset {
            Some(charset) if media_type::is_text(named) && !named.contains(';') => {
                Rc::from(format!("{named}; charset={charset}"))
            }
            _ => Rc::from(named),
        }
    }

    /// What answers about `path` that have no representation say.
    pub fn fields_alone(&self, path: &SitePath<'_>) -> Cow<'_, SiteFields> {
        self.general_fields.as_ref().map_or_else(|| Cow::Owned(self.fields(path, None)), Cow::Borrowed)
    }

    /// What answers about `path` say beside what its representation says; without a media type, those that
    /// have no representation.
    pub fn fields(&self, path: &SitePath<'_>, media_type: Option<&str>) -> SiteFields {
        let mut fields = SiteFields::default();
        HeaderRule::apply(&self.headers, self.nosniff, path, &mut fields);
        if let Some(media_type) = media_type {
            let expires = self.expires.of(path, media_type);
            let said = self.cache_control.of(path, media_type).or(expires);
            fields.cache_control = said.and_then(|lifetime| lifetime.cache_control.as_deref().map(Box::from));
            fields.expiry = expires.and_then(|lifetime| lifetime.expiry);
        }
        fields
    }
}

/// The policies of one site: one for each set of locations that a path lies in.
pub struct Policies {
    base: Rc<Policy>,
    keys: PolicyKeys,
    /// The most specific first.
    locations: Vec<Location>,
    merged: RefCell<HashMap<Box<[u16]>, Rc<Policy>>>,
    /// The locations that the path of the moment lies in; kept for its memory.
    matching: RefCell<Vec<u16>>,
}

/// Some paths, and the keys that are set for them.
#[derive(Clone, Debug)]
pub struct Location {
    /// Which paths.
    pub path: Pattern,
    /// What is set for them.
    pub keys: PolicyKeys,
}

/// Sets of locations whose policies are kept. A configuration has a handful; one whose globs cross in more
/// ways than this has its policies put together anew for each request.
const MERGED_MAX: usize = 1024;

impl Policies {
    /// The policies of a site with these keys and locations, the latter in the order of the file.
    pub fn new(keys: PolicyKeys, mut locations: Vec<Location>) -> Policies {
        // Of two that are equally specific the later one wins: the sort is stable.
        locations.reverse();
        locations.sort_by_key(|location| std::cmp::Reverse(location.path.literal_bytes()));
        let base = Rc::new(Policy::new(keys.clone()));
        Policies { base, keys, locations, merged: RefCell::default(), matching: RefCell::default() }
    }

    /// What holds for paths that no location is for.
    pub fn general(&self) -> &Policy {
        &self.base
    }

    /// What holds for `path`.
    pub fn of(&self, path: &SitePath<'_>) -> Rc<Policy> {
        if self.locations.is_empty() {
            return self.base.clone();
        }
        let mut matching = self.matching.borrow_mut();
        matching.clear();
        for (number, location) in (0..).zip(&self.locations) {
            if location.path.matches(path.as_bytes()) {
                matching.push(number);
            }
        }
        if matching.is_empty() {
            return self.base.clone();
        }
        if let Some(policy) = self.merged.borrow().get(&matching[..]) {
            return policy.clone();
        }
        let policy = Rc::new(self.merge(&matching));
        let mut merged = self.merged.borrow_mut();
        if merged.len() < MERGED_MAX {
            merged.insert(Box::from(&matching[..]), policy.clone());
        }
        policy
    }

    /// The keys of these locations, the most specific first, over those of the site.
    fn merge(&self, locations: &[u16]) -> Policy {
        let of = |number: &u16| &self.locations[usize::from(*number)].keys;
        let keys = locations.iter().fold(PolicyKeys::default(), |keys, number| keys.over(of(number)));
        Policy::new(keys.over(&self.keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &'static str) -> SitePath<'static> {
        SitePath::parse(text).expect("each row is a valid path")
    }

    #[test]
    fn dotfiles_are_hidden() {
        let policy = Policy::new(PolicyKeys::default());
        let open = Policy::new(PolicyKeys { hidden: Some(Hidden::Allow), ..PolicyKeys::default() });
        for (text, expected) in [
            ("/", false),
            ("/a.b/c.d", false),
            ("/a..b", false),
            ("/.git/config", true),
            ("/a/.env", true),
            ("/%2egit/config", true),
            ("/...", true),
            ("/.well-known/acme-challenge/x", false),
            ("/.well-known", false),
            ("/.well-known/.git", true),
            ("/a/.well-known/x", true),
            ("/.well-known2", true),
        ] {
            assert_eq!(policy.hides(&path(text)), expected, "{text}");
            assert!(!open.hides(&path(text)), "{text}");
        }
    }

    fn location(path: &str, keys: PolicyKeys) -> Location {
        Location { path: Pattern::parse_glob(path).expect("each row is a valid pattern"), keys }
    }

    #[test]
    fn the_most_specific_location_wins_and_keys_are_inherited_one_by_one() {
        let ranges = |max_ranges| PolicyKeys { max_ranges: Some(max_ranges), ..PolicyKeys::default() };
        let locations = vec![
            location("*.js", PolicyKeys { nosniff: Some(true), ..ranges(1) }),
            location("/assets/", ranges(2)),
            location("/assets/deep/", PolicyKeys { etag: Some(false), ..PolicyKeys::default() }),
            location("/twice/", ranges(3)),
            location("/twice/", ranges(4)),
        ];
        let policies = Policies::new(PolicyKeys { etag: Some(true), ..ranges(9) }, locations);
        for (text, max_ranges, nosniff, etag) in [
            ("/", 9, false, true),
            ("/a.js", 1, true, true),
            // The folder has more literal bytes than the glob; what it does not set comes from the glob.
            ("/assets/a.js", 2, true, true),
            ("/assets/deep/a.js", 2, true, false),
            ("/assets/deep/a.css", 2, false, false),
            ("/twice/x", 4, false, true),
        ] {
            for _ in 0..2 {
                let policy = policies.of(&path(text));
                assert_eq!((policy.max_ranges, policy.nosniff, policy.etag), (max_ranges, nosniff, etag), "{text}");
            }
        }
    }

    #[test]
    fn media_types_of_names() {
        let types = HashMap::from([("webmanifest".to_owned(), "application/manifest+json".to_owned())]);
        let keys = PolicyKeys { types: Some(Arc::new(types)), ..PolicyKeys::default() };
        let plain = Policy::new(keys.clone());
        let keys =
            PolicyKeys { charset: Some(Some(Arc::from("utf-8"))), default_type: Some(Arc::from("text/plain")), ..keys };
        let with_charset = Policy::new(keys);
        for (name, expected, with) in [
            ("/a.html", "text/html", "text/html; charset=utf-8"),
            ("/a.WEBMANIFEST", "application/manifest+json", "application/manifest+json"),
            ("/a.svg", "image/svg+xml", "image/svg+xml; charset=utf-8"),
            ("/a.png", "image/png", "image/png"),
            ("/README", "application/octet-stream", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(&*plain.media_type(name.as_bytes()), expected, "{name}");
            assert_eq!(&*with_charset.media_type(name.as_bytes()), with, "{name}");
        }
    }
}
