//! Field lines that a site adds to its answers, and fields that it leaves out.
//!
//! Invariant: a line is a token, a colon and a value without control characters, and never one of the fields that
//! frame a message or that only the server can know.

use super::pattern::Pattern;
use crate::http::respond::SiteFields;
use crate::http::response::Omitted;
use crate::http::target::SitePath;

/// What to do with the fields of answers about some paths; rules are applied in order.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    /// Which paths; all where there is none.
    pub path: Option<Pattern>,
    /// What to do.
    pub changes: Vec<Change>,
}

/// One change of the fields of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This field with this value, whatever it was.
    Set(FieldLine),
    /// One more line.
    Add(FieldLine),
    /// No such field.
    Remove(String),
}

/// A field line that may be written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLine {
    name: String,
    value: String,
}

/// Why a field cannot be set, added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    /// RFC 9110 §5.1
    #[error("{0:?} is not a field name: letters, digits and dashes, such as \"X-Frame-Options\"")]
    Name(String),
    /// RFC 9110 §5.5
    #[error("the value of {0} may hold visible characters, spaces and tabs only, no line ends")]
    Value(String),
    /// The server sets it, and knows better.
    #[error("{0} is the server's own to say{1}")]
    Reserved(String, &'static str),
}

/// Fields that frame a message, that the server computes, or that have a key of their own, which the message names.
const RESERVED: [(&str, &str); 18] = [
    ("Connection", ""),
    ("Content-Encoding", "; see `precompressed` and `compress`"),
    ("Content-Length", ""),
    ("Content-Range", ""),
    ("Content-Type", "; see `types`, `default_type` and `charset`"),
    ("Date", ""),
    ("Keep-Alive", ""),
    ("Location", "; see `redirect`"),
    ("Proxy-Authenticate", ""),
    ("Trailer", ""),
    ("Transfer-Encoding", ""),
    ("Upgrade", ""),
    ("WWW-Authenticate", "; see `basic_auth`"),
    ("Allow", ""),
    ("Retry-After", ""),
    ("Access-Control-Allow-Origin", "; see `cors`"),
    ("Access-Control-Allow-Credentials", "; see `cors`"),
    ("TE", ""),
];

impl FieldLine {
    /// The line `name: value`.
    pub fn new(name: &str, value: &str) -> Result<FieldLine, BadField> {
        check_name(name)?;
        if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7F) || value.trim() != value {
            return Err(BadField::Value(name.to_owned()));
        }
        Ok(FieldLine { name: name.to_owned(), value: value.to_owned() })
    }
}

impl Change {
    /// No field `name`.
    pub fn remove(name: &str) -> Result<Change, BadField> {
        check_name(name)?;
        check_replaceable(name)?;
        Ok(Change::Remove(name.to_owned()))
    }

    /// This line in place of those that are there.
    pub fn set(line: FieldLine) -> Result<Change, BadField> {
        check_replaceable(&line.name)?;
        Ok(Change::Set(line))
    }
}

/// `Vary` tells caches what an answer depends on: to set or remove it would unsay what the server depends on, so that it
/// can only be added to.
fn check_replaceable(name: &str) -> Result<(), BadField> {
    if name.eq_ignore_ascii_case("Vary") {
        return Err(BadField::Reserved(name.to_owned(), "; `add` adds to it"));
    }
    Ok(())
}

/// RFC 9110 §5.6.2: a token.
fn check_name(name: &str) -> Result<(), BadField> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(BadField::Name(name.to_owned()));
    }
    match RESERVED.iter().find(|(reserved, _)| reserved.eq_ignore_ascii_case(name)) {
        Some((reserved, hint)) => Err(BadField::Reserved((*reserved).to_owned(), hint)),
        None => Ok(()),
    }
}

impl HeaderRule {
    /// Applies those of `rules` that concern `path`.
    pub fn apply(rules: &[HeaderRule], nosniff: bool, path: &SitePath<'_>, fields: &mut SiteFields) {
        let mut lines: Vec<(&str, &str)> = Vec::new();
        if nosniff {
            lines.push(("X-Content-Type-Options", "nosniff"));
        }
        let concerns = |rule: &&HeaderRule| rule.path.as_ref().is_none_or(|pattern| pattern.matches(path.as_bytes()));
        for change in rules.iter().filter(concerns).flat_map(|rule| &rule.changes) {
            let name = match change {
                Change::Add(line) => {
                    lines.push((&line.name, &line.value));
                    continue;
                }
                Change::Set(line) => &line.name,
                Change::Remove(name) => name,
            };
            lines.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            if let Some(own) = Omitted::of_name(name) {
                fields.omitted = fields.omitted.with(own);
            }
            if let Change::Set(line) = change {
                lines.push((&line.name, &line.value));
            }
        }
        fields.lines =
            lines.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).flat_map(str::bytes).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: &str) -> FieldLine {
        FieldLine::new(name, value).expect("each row is a valid line")
    }

    #[test]
    fn changes_are_made_in_order() {
        use Change::*;
        let js = || Some(Pattern::parse_glob("*.js").expect("a valid glob"));
        let set = |name, value| Change::set(line(name, value)).expect("it may be set");
        let remove = |name| Change::remove(name).expect("it may be removed");
        let rules = [
            HeaderRule {
                path: None,
                changes: vec![set("X-A", "1"), Add(line("Link", "<a>")), Add(line("Link", "<b>"))],
            },
            HeaderRule { path: js(), changes: vec![set("x-a", "2"), remove("link"), remove("Server")] },
            HeaderRule { path: js(), changes: vec![set("ETag", "\"own\""), remove("X-Content-Type-Options")] },
        ];
        for (path, lines, omitted) in [
            ("/a.css", "X-Content-Type-Options: nosniff\r\nX-A: 1\r\nLink: <a>\r\nLink: <b>\r\n", Omitted::default()),
            ("/a.js", "x-a: 2\r\nETag: \"own\"\r\n", Omitted::SERVER.with(Omitted::ETAG)),
        ] {
            let mut fields = SiteFields::default();
            HeaderRule::apply(&rules, true, &SitePath::parse(path).expect("a valid path"), &mut fields);
            assert_eq!(fields.lines.escape_ascii().to_string(), lines.as_bytes().escape_ascii().to_string());
            assert_eq!(fields.omitted, omitted, "{path}");
        }
    }

    #[test]
    fn what_may_not_be_said() {
        for (name, value) in [
            ("", "x"),
            ("X A", "x"),
            ("X-A:", "x"),
            ("X-A", "x\r\nY: z"),
            ("X-A", "x\ny"),
            ("X-A", "\0"),
            ("X-A", " x"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "text/html"),
            ("Date", "now"),
        ] {
            assert!(FieldLine::new(name, value).is_err(), "{name:?}: {value:?}");
        }
        assert!(Change::remove("Date").is_err());
        assert!(Change::remove("Vary").is_err());
        assert!(Change::set(line("vary", "X")).is_err());
        assert!(FieldLine::new("X-Umlaut", "größe").is_ok());
    }
}
