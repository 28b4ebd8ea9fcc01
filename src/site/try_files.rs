//! What is tried, in order, for a path: single-page applications and addresses without `.html`.
//!
//! Invariant: a candidate is a path of the site, made of the asked path and fixed text; it is looked at as any
//! other path is.

use crate::http::target::SitePath;

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The path itself, with text around it: `$uri`, `$uri.html`, `$uri/`, `/cached$uri`.
    OfPath {
        /// What stands before the path; empty, or a path without a slash at its end.
        before: String,
        /// What stands behind it.
        behind: String,
    },
    /// A fixed path.
    Fixed(SitePath<'static>),
    /// `=404`: nothing; what follows is not tried.
    NotFound,
}

/// Why a `try_files` cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCandidate {
    /// Neither of the forms.
    #[error("{0:?} is none of \"$uri\" with text before or behind it, a path such as \"/index.html\", and \"=404\"")]
    Form(String),
    /// `=404` with something behind it.
    #[error("\"=404\" ends the list; what stands behind it is never tried")]
    BehindTheEnd,
}

impl Candidate {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Candidate, BadCandidate> {
        let bad = || BadCandidate::Form(text.to_owned());
        if text == "=404" {
            return Ok(Candidate::NotFound);
        }
        if let Some((before, behind)) = text.split_once("$uri") {
            let is_fine = |part: &str| !part.contains(['$', '?', '#', '\0']) && !part.split('/').any(|s| s == "..");
            let before_is_path = before.is_empty() || (before.starts_with('/') && !before.ends_with('/'));
            return if before_is_path && is_fine(before) && is_fine(behind) {
                Ok(Candidate::OfPath { before: before.to_owned(), behind: behind.to_owned() })
            } else {
                Err(bad())
            };
        }
        if !text.starts_with('/') || text.contains(['$', '?', '#']) {
            return Err(bad());
        }
        SitePath::parse(text).map(|path| Candidate::Fixed(path.into_owned())).map_err(|_| bad())
    }

    /// Checks a whole list.
    pub fn check(list: &[Candidate]) -> Result<(), BadCandidate> {
        let end = list.iter().position(|candidate| *candidate == Candidate::NotFound);
        if end.is_some_and(|at| at + 1 < list.len()) { Err(BadCandidate::BehindTheEnd) } else { Ok(()) }
    }

    /// The path to look at; `None` when there is none.
    pub fn path(&self, asked: &SitePath<'_>) -> Option<SitePath<'static>> {
        match self {
            Candidate::NotFound => None,
            Candidate::Fixed(path) => Some(path.clone()),
            Candidate::OfPath { before, behind } => {
                let bytes = [before.as_bytes(), asked.as_bytes(), behind.as_bytes()].concat();
                SitePath::from_decoded(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_become_paths() {
        for (candidate, asked, expected) in [
            ("$uri", "/a/b", Some("/a/b")),
            ("$uri.html", "/a/b", Some("/a/b.html")),
            ("$uri/", "/a/b", Some("/a/b/")),
            ("$uri/", "/a/", Some("/a/")),
            ("$uri/index.htm", "/", Some("/index.htm")),
            ("/cached$uri", "/a", Some("/cached/a")),
            ("/index.html", "/a", Some("/index.html")),
            ("/%61.html", "/x", Some("/a.html")),
            ("=404", "/a", None),
        ] {
            let parsed = Candidate::parse(candidate).expect(candidate);
            let path = parsed.path(&SitePath::parse(asked).expect("a valid path"));
            assert_eq!(path.as_ref().map(SitePath::as_bytes), expected.map(str::as_bytes), "{candidate} of {asked}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in
            ["", "index.html", "$args", "$uri$uri", "cached$uri", "/cached/$uri", "$uri/../x", "/../x", "=500", "/x?y"]
        {
            assert!(Candidate::parse(text).is_err(), "{text:?}");
        }
        let list = [Candidate::NotFound, Candidate::parse("/x").expect("valid")];
        assert!(Candidate::check(&list).is_err());
    }
}
