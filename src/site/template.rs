//! The `to` of redirect and rewrite rules.
//!
//! Order: a template is read once, split where URLs are split (authority, path, query, fragment) ·
//! each request fills it in, every part escaped for the place where it stands.
//!
//! Invariant: a request chooses neither the scheme nor, but by its own Host, the authority of a
//! Location, and no byte of it that could end the field or the part of the URL it stands in is
//! left as it is.

use super::pattern::Captures;
use crate::http::status::Status;
use crate::http::target::encode_path;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

/// The `to` of a rule. `$1` to `$9` are what the wildcards matched, `$uri` is the path, `$host` the
/// host that was asked, `$query` the query; `$$` is a dollar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Of an absolute URL.
    origin: Option<Origin>,
    path: Vec<Piece>,
    query: Option<Vec<Piece>>,
    fragment: Vec<Piece>,
}

/// `https://`, and the authority behind it.
type Origin = (&'static str, Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// Counted from 1.
    Capture(usize),
    Path,
    Host,
    Query,
}

/// Why a template was refused, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// More than [`TEMPLATE_BYTES_MAX`].
    #[error("the address is longer than {TEMPLATE_BYTES_MAX} bytes; make it shorter")]
    TooLong,
    /// A line end or the like.
    #[error("the address has a control character in it; remove it")]
    Control,
    /// Neither a path nor a URL.
    #[error("expected a path that begins with `/` or `$uri`, or a URL that begins with `http://` or `https://`")]
    NotAnAddress,
    /// `//host/path`.
    #[error("`//` in front means another host; write `https://` for that, or a single `/`")]
    NetworkPath,
    /// The authority of a URL is empty, or has more than a host and a port in it.
    #[error("expected a host behind `://`, of letters, digits, `-`, `.` and a port, or `$host`; then a `/` or `$uri`")]
    Authority,
    /// `$name` of nothing.
    #[error("`${0}` is no variable; there are $1 to $9, $uri, $host and $query, and `$$` is a dollar")]
    UnknownVariable(String),
    /// `$2`, and fewer wildcards.
    #[error("`${number}` has no wildcard in `from`, which has {captures}; add a `*`, or leave it out")]
    NoSuchCapture {
        /// The number in the template.
        number: usize,
        /// Wildcards in the pattern.
        captures: usize,
    },
    /// `$query` in a path.
    #[error("`$query` stands behind a `?` only; without any `?` the query goes along by itself")]
    QueryNotInQuery,
    /// A rewrite to something other than a path.
    #[error("a rewrite leads to a path of this site; leave out host, query and fragment, or make it a redirect")]
    NotAPath,
}

/// Longer than any sensible address.
pub const TEMPLATE_BYTES_MAX: usize = 1024;

/// What a request gives to a Location.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// The decoded path, starting with `/`.
    pub path: &'a [u8],
    /// The query as it came, still encoded.
    pub query: Option<&'a str>,
    /// The host of a valid authority, without the port: `https://$host$uri` is then right on any.
    pub host: Option<&'a str>,
}

/// Why a request cannot be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLocation {
    /// The template has a `$host`, and the request names none, as HTTP/1.0 may.
    HostMissing,
    /// The Location would have more than [`LOCATION_BYTES_MAX`].
    TooLong,
}

impl NoLocation {
    /// The status that tells the client.
    pub fn status(self) -> Status {
        match self {
            NoLocation::HostMissing => Status::BAD_REQUEST,
            NoLocation::TooLong => Status::URI_TOO_LONG,
        }
    }
}

/// Clients take no longer ones; a template that repeats `$1` could otherwise multiply a request.
pub const LOCATION_BYTES_MAX: usize = 32 * 1024;

impl Template {
    /// Reads the `to` of a redirect, whose pattern has so many `captures`.
    pub fn parse(text: &str, captures: usize) -> Result<Template, BadTemplate> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(BadTemplate::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadTemplate::Control);
        }
        let (before_fragment, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (before_query, query) = match before_fragment.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (before_fragment, None),
        };
        let (origin, path) = split_origin(before_query)?;
        let is_path = path.starts_with('/') || path.starts_with("$uri") || (origin.is_some() && path.is_empty());
        if !is_path {
            return Err(BadTemplate::NotAnAddress);
        }
        // RFC 3986 §4.2: a reference that begins with two slashes names another host.
        if origin.is_none() && path.starts_with("//") {
            return Err(BadTemplate::NetworkPath);
        }
        let without_query = |text| match pieces(text, captures)? {
            pieces if pieces.contains(&Piece::Query) => Err(BadTemplate::QueryNotInQuery),
            pieces => Ok(pieces),
        };
        Ok(Template {
            origin,
            path: without_query(path)?,
            query: query.map(|query| pieces(query, captures)).transpose()?,
            fragment: without_query(fragment)?,
        })
    }

    /// Reads the `to` of a rewrite: a path, not percent-encoded, of `$uri`, captures and literals.
    pub fn parse_path(text: &str, captures: usize) -> Result<Template, BadTemplate> {
        let template = Template::parse(text, captures)?;
        let is_path = template.origin.is_none() && template.query.is_none() && template.fragment.is_empty();
        if !is_path || template.path.contains(&Piece::Host) {
            return Err(BadTemplate::NotAPath);
        }
        Ok(template)
    }

    /// The value of a Location field. The query goes along, unless the template has a `?`.
    pub fn expand_location(&self, captures: &Captures<'_>, request: &RequestParts<'_>) -> Result<String, NoLocation> {
        let fill = |text: &mut String, pieces, place| append(text, pieces, place, captures, request);
        let mut location = String::new();
        if let Some((scheme, authority)) = &self.origin {
            location.push_str(scheme);
            fill(&mut location, authority, Place::Authority)?;
        }
        let mut path = String::new();
        fill(&mut path, &self.path, Place::Path)?;
        // With one slash in front, whatever was captured, it cannot name another host.
        location.push('/');
        location.push_str(path.trim_start_matches('/'));
        let mut query = String::new();
        match &self.query {
            Some(pieces) => fill(&mut query, pieces, Place::Query)?,
            None => push_encoded(&mut query, request.query.unwrap_or("")),
        }
        if !query.is_empty() {
            location.push('?');
            location.push_str(&query);
        }
        if !self.fragment.is_empty() {
            location.push('#');
            fill(&mut location, &self.fragment, Place::Path)?;
        }
        if location.len() > LOCATION_BYTES_MAX { Err(NoLocation::TooLong) } else { Ok(location) }
    }

    /// The path that a rewrite leads to: decoded, starting with `/`, but not yet normalised.
    pub fn expand_path(&self, captures: &Captures<'_>) -> Vec<u8> {
        let mut path = Vec::new();
        for piece in &self.path {
            match piece {
                Piece::Literal(literal) => path.extend_from_slice(literal.as_bytes()),
                Piece::Capture(number) => path.extend_from_slice(captures.get(*number)),
                Piece::Path => path.extend_from_slice(captures.path()),
                // No template of a rewrite has them.
                Piece::Host | Piece::Query => {}
            }
        }
        debug_assert_eq!(path.first(), Some(&b'/'));
        path
    }
}

/// Where in a URL something is written.
#[derive(Clone, Copy)]
enum Place {
    Authority,
    Path,
    Query,
}

fn append(
    text: &mut String,
    pieces: &[Piece],
    place: Place,
    captures: &Captures<'_>,
    request: &RequestParts<'_>,
) -> Result<(), NoLocation> {
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => push_encoded(text, literal),
            Piece::Capture(number) => push_bytes(text, captures.get(*number), place),
            Piece::Path => push_bytes(text, request.path, place),
            Piece::Query => push_encoded(text, request.query.unwrap_or("")),
            Piece::Host => {
                // Without a host, `https:///a` would be read as the host `a`.
                let host = request.host.filter(|host| !host.is_empty()).ok_or(NoLocation::HostMissing)?;
                push_bytes(text, host.as_bytes(), place);
            }
        }
        // Looked at after each piece: a template has room for hundreds.
        if text.len() > LOCATION_BYTES_MAX {
            return Err(NoLocation::TooLong);
        }
    }
    Ok(())
}

/// What the client chose, written so that it stays within its place.
fn push_bytes(text: &mut String, bytes: &[u8], place: Place) {
    match place {
        Place::Authority => text.extend(percent_encode(bytes, UNSAFE_IN_AUTHORITY)),
        Place::Path => text.push_str(&encode_path(bytes).to_string()),
        Place::Query => text.extend(percent_encode(bytes, UNSAFE_IN_QUERY_VALUE)),
    }
}

/// What is encoded already, by the administrator or by the client in its query: escapes stay.
fn push_encoded(text: &mut String, encoded: &str) {
    text.extend(utf8_percent_encode(encoded, NEVER_IN_URL));
}

/// RFC 3986 §2: neither reserved nor unreserved, and no escape; and `#`, which is written apart.
const NEVER_IN_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What would end the authority or split it; a valid host has none of it.
const UNSAFE_IN_AUTHORITY: &AsciiSet = &NEVER_IN_URL.add(b'/').add(b'?').add(b'@').add(b',');

/// Form fields are told apart by `&`, `=`, `;` and `+`, so that none is left in a value.
const UNSAFE_IN_QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The origin of an absolute URL, and the path behind it.
fn split_origin(text: &str) -> Result<(Option<Origin>, &str), BadTemplate> {
    for scheme in ["http://", "https://"] {
        let Some(rest) = text.strip_prefix(scheme) else { continue };
        let end = rest.find('/').unwrap_or(rest.len()).min(rest.find("$uri").unwrap_or(rest.len()));
        let (authority, path) = rest.split_at(end);
        // A capture here would let whoever asks choose the host: `https://example.org$1` with
        // `.evil.example`.
        let pieces = pieces(authority, 0).map_err(|_| BadTemplate::Authority)?;
        let is_valid = |piece: &Piece| match piece {
            Piece::Literal(text) => text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b)),
            Piece::Host => true,
            Piece::Capture(_) | Piece::Path | Piece::Query => false,
        };
        let names_host = authority.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[' || c == '$');
        if !names_host || !pieces.iter().all(is_valid) {
            return Err(BadTemplate::Authority);
        }
        return Ok((Some((scheme, pieces)), path));
    }
    Ok((None, text))
}

fn pieces(text: &str, captures: usize) -> Result<Vec<Piece>, BadTemplate> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        literal.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, behind) = match behind.as_bytes() {
            [b'$', ..] => {
                literal.push('$');
                rest = &behind[1..];
                continue;
            }
            // One digit is the whole name: `$12` is `$1` and a 2.
            [b'0'..=b'9', ..] => behind.split_at(1),
            _ => behind.split_at(behind.find(|c| !is_name(c)).unwrap_or(behind.len())),
        };
        let piece = match name {
            "uri" => Piece::Path,
            "host" => Piece::Host,
            "query" => Piece::Query,
            _ => match name.parse() {
                Ok(number) if (1..=captures).contains(&number) => Piece::Capture(number),
                Ok(number) if number > 0 => return Err(BadTemplate::NoSuchCapture { number, captures }),
                _ => return Err(BadTemplate::UnknownVariable(name.to_owned())),
            },
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
        rest = behind;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_are_refused() {
        use BadTemplate::*;
        let unknown = |name: &str| UnknownVariable(name.to_owned());
        let long = format!("/{}", "a".repeat(TEMPLATE_BYTES_MAX));
        for (text, expected) in [
            ("", NotAnAddress),
            ("new", NotAnAddress),
            ("../new", NotAnAddress),
            ("?a", NotAnAddress),
            ("#a", NotAnAddress),
            ("$1", NotAnAddress),
            ("$host/a", NotAnAddress),
            ("ftp://a/", NotAnAddress),
            ("javascript:alert(1)", NotAnAddress),
            ("https:/a", NotAnAddress),
            ("//a/b", NetworkPath),
            ("/a\nb", Control),
            ("/a\u{85}b", Control),
            (&*long, TooLong),
            ("https://", Authority),
            ("https:///a", Authority),
            ("https://$uri", Authority),
            ("https://:80/", Authority),
            ("https://$1/", Authority),
            ("https://a$1", Authority),
            ("https://a.example$1/", Authority),
            ("https://$host$1", Authority),
            ("https://$query/", Authority),
            ("https://$$/", Authority),
            ("https://u@a/", Authority),
            ("https://a\\b/", Authority),
            ("https://a b/", Authority),
            ("https://$hostname/", Authority),
            ("/$", unknown("")),
            ("/$0", unknown("0")),
            ("/$ x", unknown("")),
            ("/${1}", unknown("")),
            ("/$name", unknown("name")),
            ("/$uri2", unknown("uri2")),
            ("/$query_string", unknown("query_string")),
            ("/$3", NoSuchCapture { number: 3, captures: 2 }),
            ("/a?b=$9", NoSuchCapture { number: 9, captures: 2 }),
            ("/a/$query", QueryNotInQuery),
            ("/a#$query", QueryNotInQuery),
        ] {
            assert_eq!(Template::parse(text, 2), Err(expected.clone()), "{text}");
            assert_eq!(Template::parse_path(text, 2), Err(expected), "{text}");
        }
        for text in ["https://a/", "/a?b", "/a?", "/a#b", "/$host"] {
            assert_eq!(Template::parse_path(text, 2), Err(NotAPath), "{text}");
        }
    }
}
