//! Which of a few media types an Accept field prefers (RFC 9110 §12.5.1).
//!
//! Order: for each offered type, the most specific media range that matches it gives its weight ·
//! the type that weighs most is preferred, and of equal ones the one that is named most closely.
//!
//! Invariant: there is always an answer, because an error page is better than none.

use super::grammar::{WEIGHT_MAX, parts_outside_quotes, weight};

/// The index of the type in `offered` that the values of the Accept lines prefer. Of those that weigh the
/// same, one that is named goes before one that `*/*` covers, for whoever names it wants it; of those that are
/// named alike, the first. 0 when there is no field, or when nothing offered is acceptable.
pub fn preferred<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, offered: &[&str]) -> usize {
    let mut best = (0, None);
    for (index, media_type) in offered.iter().enumerate() {
        let preference = preference_of(media_type, lines.clone());
        if preference > best.1 {
            best = (index, preference);
        }
    }
    best.0
}

/// The weight of `media_type` and how closely it is named; none when it is not acceptable. RFC 9110 §12.5.1:
/// the most specific range that matches counts; of equally specific ones, the highest weight.
fn preference_of<'a>(media_type: &str, lines: impl Iterator<Item = &'a [u8]>) -> Option<(u16, Specificity)> {
    lines
        .flat_map(|line| parts_outside_quotes(line, b','))
        .filter_map(MediaRange::parse)
        .filter_map(|range| Some((range.specificity(media_type.as_bytes())?, range.weight)))
        .max()
        .filter(|(_, weight)| *weight > 0)
        .map(|(specificity, weight)| (weight, specificity))
}

/// One member of the field. Its parameters are not kept: no offered type has any to tell apart.
struct MediaRange<'a> {
    type_name: &'a [u8],
    subtype: &'a [u8],
    weight: u16,
}

/// How closely a range names a type, the least first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    AnyType,
    AnySubtype,
    Exact,
}

impl MediaRange<'_> {
    /// None if the member is malformed.
    fn parse(member: &[u8]) -> Option<MediaRange<'_>> {
        let mut parts = parts_outside_quotes(member, b';');
        // A part that is empty is skipped, so a member that begins with `;` must not pass.
        let media_range = parts.next().filter(|_| member[0] != b';')?;
        let slash = memchr::memchr(b'/', media_range)?;
        let (type_name, subtype) = (&media_range[..slash], &media_range[slash + 1..]);
        // `*/html` is no range: the subtype is free when the type is.
        if !is_name(type_name) || !is_name(subtype) || (type_name == b"*" && subtype != b"*") {
            return None;
        }
        let mut stated = None;
        for parameter in parts {
            let equals = memchr::memchr(b'=', parameter)?;
            if parameter[..equals].eq_ignore_ascii_case(b"q") && stated.is_none() {
                stated = Some(weight(parameter)?);
            }
        }
        Some(MediaRange { type_name, subtype, weight: stated.unwrap_or(WEIGHT_MAX) })
    }

    /// How closely the range names `media_type`; None if it does not match. Names of types are
    /// case-insensitive (RFC 9110 §8.3.1).
    fn specificity(&self, media_type: &[u8]) -> Option<Specificity> {
        let slash = memchr::memchr(b'/', media_type)?;
        let (type_name, subtype) = (&media_type[..slash], &media_type[slash + 1..]);
        match (self.type_name, self.subtype) {
            (b"*", _) => Some(Specificity::AnyType),
            (own, _) if !own.eq_ignore_ascii_case(type_name) => None,
            (_, b"*") => Some(Specificity::AnySubtype),
            (_, own) => own.eq_ignore_ascii_case(subtype).then_some(Specificity::Exact),
        }
    }
}

/// Whether `name` may be a token: not empty, and without what only a malformed member has there.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|b| b" \t\"/=".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: usize = 0;
    const JSON: usize = 1;
    const PLAIN: usize = 2;
    const OFFERED: [&str; 3] = ["text/html", "application/json", "text/plain"];

    fn check(lines: &[&str], expected: usize) {
        assert_eq!(preferred(lines.iter().map(|line| line.as_bytes()), &OFFERED), expected, "{lines:?}");
    }

    #[test]
    fn the_type_that_weighs_most_is_preferred() {
        for (line, expected) in [
            // What clients send: curl, Firefox, Chrome, an image element, axios, jQuery
            ("*/*", HTML),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", HTML),
            ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", HTML),
            ("application/json", JSON),
            ("application/json, text/plain, */*", JSON),
            ("application/json, text/javascript, */*; q=0.01", JSON),
            ("text/plain", PLAIN),
            // Weights
            ("text/html;q=0.5, application/json", JSON),
            ("text/html;q=0.5, application/json;q=0.4, text/plain;q=0.501", PLAIN),
            ("text/plain, application/json", JSON),
            ("text/html;q=0, */*", JSON),
            // The most specific range counts, wherever it stands and however little it weighs
            ("text/*;q=0.9, text/html;q=0.1, application/json;q=0.5", PLAIN),
            ("text/html;q=0.1, text/*;q=0.2, */*;q=0.3", JSON),
            ("*/*;q=0.3, text/*;q=0.2, text/html;q=0.9", HTML),
            ("text/*", HTML),
            ("application/*", JSON),
            ("text/*;q=0, */*;q=0.1", JSON),
            ("text/html;q=0.2, text/html;q=0.6, text/plain;q=0.5", HTML),
            // Nothing matches, or all is refused
            ("", HTML),
            ("image/png", HTML),
            ("*/*;q=0", HTML),
            ("text/html;q=0, application/json;q=0, text/plain;q=0", HTML),
            // Letter case and white space
            ("Application/JSON", JSON),
            ("text/plain ;\tQ=0.2 , application/json ; q=0.3", JSON),
            // Parameters do not matter for the match, and may hold what separates elsewhere
            ("application/json;charset=utf-8", JSON),
            ("text/html;level=1;q=0.1, application/json;q=0.2", JSON),
            ("text/html;q=0.1;level=1, application/json;q=0.2", JSON),
            ("text/html;a=\"x, text/plain;q=1\";q=0.1, application/json;q=0.2", JSON),
            ("text/html;a=\"\\\", text/plain\";q=0.1, application/json;q=0.2", JSON),
            ("text/plain;;q=0.5;", PLAIN),
            // Malformed members are ignored
            ("text/html;q=2, application/json;q=0.1", JSON),
            ("text/html;q=, application/json;q=0.1", JSON),
            ("text/html;q, application/json;q=0.1", JSON),
            ("text/html;level, application/json;q=0.1", JSON),
            ("*;q=.2, text/plain;q=0.1", PLAIN),
            ("*/html, text/plain;q=0.1", PLAIN),
            ("*/, /*, /, text, text/plain;q=0.1", PLAIN),
            ("text /html, text/plain;q=0.1", PLAIN),
            ("text/html/x, text/plain;q=0.1", PLAIN),
            (";text/html, text/plain;q=0.1", PLAIN),
            ("text/html text/plain, application/json;q=0.1", JSON),
            (",,, text/plain", PLAIN),
        ] {
            check(&[line], expected);
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        check(&[], HTML);
        check(&["text/html;q=0.5", "application/json"], JSON);
        check(&["*/*;q=0.1", "", "text/plain;q=0.2"], PLAIN);
    }

    #[test]
    fn an_offer_of_one_is_taken() {
        for line in ["", "*/*", "image/png", "text/html;q=0"] {
            assert_eq!(preferred([line.as_bytes()].into_iter(), &["text/html"]), 0, "{line}");
        }
    }
}
