//! What other origins may read (the CORS protocol of the Fetch standard).
//!
//! Invariant: an origin is allowed by being named whole, or by `*`, which never goes with credentials.

use crate::http::fields::{FieldName, Fields};
use crate::http::response::{Preflight, Sharing, Vary};

/// What other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    origins: Origins,
    headers: Option<String>,
    max_age_seconds: u32,
    credentials: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Named(Vec<String>),
}

/// Why a `cors` key cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCors {
    /// Not `scheme://host[:port]`.
    #[error("{0:?} is no origin: scheme, host and port only, such as \"https://app.example.org\", or \"*\"")]
    Origin(String),
    /// Nobody may read anything.
    #[error("origins is empty; name some, or \"*\" alone for all")]
    NoOrigin,
    /// The standard forbids it, and browsers refuse it.
    #[error("credentials cannot be allowed to every origin; name the origins instead of \"*\"")]
    AnyWithCredentials,
    /// Not a field name.
    #[error("{0:?} is not a field name")]
    Header(String),
}

impl Cors {
    /// The rules of these origins (`*` alone for all), request fields, seconds that a preflight is remembered, and
    /// whether cookies may go along.
    pub fn new(
        origins: &[String],
        headers: &[String],
        max_age_seconds: u32,
        credentials: bool,
    ) -> Result<Cors, BadCors> {
        let is_token = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(bad) = headers.iter().find(|name| !is_token(name)) {
            return Err(BadCors::Header(bad.clone()));
        }
        let origins = match origins {
            [] => return Err(BadCors::NoOrigin),
            [any] if any == "*" && credentials => return Err(BadCors::AnyWithCredentials),
            [any] if any == "*" => Origins::Any,
            named => match named.iter().find(|origin| !is_origin(origin)) {
                Some(bad) => return Err(BadCors::Origin(bad.clone())),
                None => Origins::Named(named.to_vec()),
            },
        };
        let headers = (!headers.is_empty()).then(|| headers.join(", "));
        Ok(Cors { origins, headers, max_age_seconds, credentials })
    }

    /// What the origin of this request may do, if it is allowed.
    pub fn sharing(&self, fields: &Fields<'_>) -> Option<Sharing<'_>> {
        let origin = fields.only(FieldName::Origin)?;
        let origin = match &self.origins {
            Origins::Any => "*",
            Origins::Named(named) => named.iter().find(|named| named.as_bytes() == origin)?,
        };
        Some(Sharing { origin, credentials: self.credentials, preflight: None })
    }

    /// What the origin of a preflight may do, if it is one and its origin is allowed.
    pub fn preflight(&self, fields: &Fields<'_>) -> Option<Sharing<'_>> {
        if !fields.has(FieldName::AccessControlRequestMethod) {
            return None;
        }
        let preflight = Preflight { headers: self.headers.as_deref(), max_age_seconds: self.max_age_seconds };
        Some(Sharing { preflight: Some(preflight), ..self.sharing(fields)? })
    }

    /// What answers vary by: another origin may get another answer, also where this one got none.
    pub fn vary(&self) -> Vary {
        match self.origins {
            Origins::Any => Vary::default(),
            Origins::Named(_) => Vary::ORIGIN,
        }
    }
}

/// `scheme "://" host [ ":" port ]`, as browsers write it (RFC 6454 §6.2), or `null`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return text == "null" };
    let is_scheme =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let is_host = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    is_scheme && is_host && !rest.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{HeadLimits, Parse, parse};

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn shared(cors: &Cors, lines: &str) -> (Option<String>, Option<String>) {
        let bytes = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let limits = HeadLimits { head_bytes_max: 4096, target_bytes_max: 1024, field_lines_max: 100 };
        let Ok(Parse::Complete(head)) = parse(bytes.as_bytes(), &limits) else { panic!("{bytes}") };
        let origin = |sharing: Option<Sharing<'_>>| sharing.map(|sharing| sharing.origin.to_owned());
        (origin(cors.sharing(&head.fields)), origin(cors.preflight(&head.fields)))
    }

    #[test]
    fn origins_are_allowed_whole() {
        let named = Cors::new(&strings(&["https://a.example", "http://b.example:81"]), &[], 5, true).expect("valid");
        let any = Cors::new(&strings(&["*"]), &[], 5, false).expect("valid");
        for (lines, by_name, by_any, preflight) in [
            ("", None, None, false),
            ("Origin: https://a.example\r\n", Some("https://a.example"), Some("*"), false),
            (
                "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n",
                Some("https://a.example"),
                Some("*"),
                true,
            ),
            ("Access-Control-Request-Method: GET\r\n", None, None, true),
            ("Origin: https://a.example.evil\r\n", None, Some("*"), false),
            ("Origin: https://A.example\r\n", None, Some("*"), false),
            ("Origin: http://a.example\r\n", None, Some("*"), false),
            ("Origin: http://b.example:81\r\n", Some("http://b.example:81"), Some("*"), false),
            ("Origin: null\r\n", None, Some("*"), false),
            ("Origin: https://a.example\r\nOrigin: https://a.example\r\n", None, None, false),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let expected = |origin: Option<&str>| (owned(origin), if preflight { owned(origin) } else { None });
            assert_eq!(shared(&named, lines), expected(by_name), "{lines:?}");
            assert_eq!(shared(&any, lines), expected(by_any), "{lines:?}");
        }
        assert_eq!((named.vary(), any.vary()), (Vary::ORIGIN, Vary::default()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (origins, headers, credentials) in [
            (&[][..], &[][..], false),
            (&["*"], &[], true),
            (&["*", "https://a.example"], &[], false),
            (&["https://a.example/"], &[], false),
            (&["a.example"], &[], false),
            (&["https://A.example"], &[], false),
            (&["https://a.example\r\nX: y"], &[], false),
            (&["https://a.example"], &["X Y"], false),
            (&["https://a.example"], &["X\r\nY"], false),
        ] {
            assert!(
                Cors::new(&strings(origins), &strings(headers), 5, credentials).is_err(),
                "{origins:?} {headers:?}"
            );
        }
    }
}
