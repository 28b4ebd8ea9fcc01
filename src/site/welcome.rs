//! The page that is served while nobody has said what to serve.

use super::{Body, Located, Representation};
use crate::http::coding::Coding;
use crate::http::respond::{RepresentationMetadata, SiteFields};
use crate::http::target::SitePath;
use crate::http::validator::Validators;
use crate::storage::refusal::Refusal;
use std::cell::Cell;
use std::rc::Rc;

const PAGE: &str = include_str!("welcome.html");

/// Ranges of the page that are answered: it is small.
const RANGES_MAX: usize = 16;

/// What `path` leads to on a server without a document root.
pub(super) fn locate(path: &SitePath<'_>) -> Located {
    if path.as_bytes() != b"/" {
        return Located::Refused(Refusal::NotFound);
    }
    let complete_length = PAGE.len() as u64;
    let metadata = RepresentationMetadata {
        media_type: Rc::from("text/html"),
        content_coding: Coding::Identity,
        negotiated: false,
        complete_length,
        // It is as old as the program, whose age nobody knows; its length tells versions apart.
        validators: Validators::new(0, complete_length, Coding::Identity),
    };
    let body = Body::Held(Rc::from(PAGE.as_bytes()));
    Located::Representation(Rc::new(Representation {
        metadata,
        body,
        fields: SiteFields::default(),
        ranges_max: RANGES_MAX,
        is_new: Cell::new(false),
    }))
}
