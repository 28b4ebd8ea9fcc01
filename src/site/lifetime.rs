//! How long caches may keep an answer: Cache-Control and Expires, by path or by media type.
//!
//! Invariant: of several rules that fit, the one with the most literal bytes counts, whatever their order.

use super::pattern::Pattern;
use crate::http::date::HttpDate;
use crate::http::media_type;
use crate::http::respond::Expiry;
use crate::http::target::SitePath;
use std::sync::Arc;

/// What is said of how long an answer may be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// `Cache-Control`
    pub cache_control: Option<Box<str>>,
    /// `Expires`
    pub expiry: Option<Expiry>,
}

/// For which answers.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of them.
    All,
    /// Those about these paths.
    Path(Pattern),
    /// Those of a media type, `type/subtype` or `type/*`, in lower case.
    MediaType(String),
}

/// Rules, the most specific first.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes(Arc<[(Scope, Lifetime)]>);

impl Lifetimes {
    /// Puts the rules into the order in which they count.
    pub fn new(mut rules: Vec<(Scope, Lifetime)>) -> Lifetimes {
        rules.sort_by_key(|(scope, _)| std::cmp::Reverse(scope.literal_bytes()));
        Lifetimes(rules.into())
    }

    /// What is said of an answer about `path` of this media type.
    pub fn of(&self, path: &SitePath<'_>, media_type: &str) -> Option<&Lifetime> {
        self.0.iter().find(|(scope, _)| scope.holds(path, media_type)).map(|(_, lifetime)| lifetime)
    }
}

impl Scope {
    fn literal_bytes(&self) -> usize {
        match self {
            Scope::All => 0,
            Scope::Path(pattern) => pattern.literal_bytes(),
            Scope::MediaType(media_type) => media_type.trim_end_matches('*').len(),
        }
    }

    fn holds(&self, path: &SitePath<'_>, media_type: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Path(pattern) => pattern.matches(path.as_bytes()),
            Scope::MediaType(wanted) => {
                let essence = media_type::essence(media_type);
                match wanted.strip_suffix('*') {
                    Some(prefix) => essence.get(..prefix.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(prefix)),
                    None => essence.eq_ignore_ascii_case(wanted),
                }
            }
        }
    }
}

/// Seconds of `max`: ten years, as nginx says it.
const TEN_YEARS_SECONDS: u32 = 315_360_000;

impl Lifetime {
    /// What `expires = TEXT` means: `off`, `epoch`, `max`, or a time such as `30d`, `12h`, `10m`, `45s`, `2w`, `1y`.
    pub fn of_expires(text: &str) -> Option<Lifetime> {
        let lifetime = |cache_control: &str, expiry| Lifetime {
            cache_control: Some(Box::from(cache_control)),
            expiry: Some(expiry),
        };
        Some(match text {
            "off" => Lifetime::default(),
            "epoch" => lifetime("no-cache", Expiry::At(HttpDate::from_unix(1))),
            "max" => lifetime(&format!("max-age={TEN_YEARS_SECONDS}"), Expiry::After(TEN_YEARS_SECONDS)),
            _ => {
                let seconds = seconds(text)?;
                lifetime(&format!("max-age={seconds}"), Expiry::After(seconds))
            }
        })
    }
}

/// A number and a unit: `"30d"`.
pub fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u32>().ok()?.checked_mul(unit_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("30d", Some(30 * 86_400)),
            ("1s", Some(1)),
            ("0s", Some(0)),
            ("2w", Some(14 * 86_400)),
            ("1y", Some(31_536_000)),
            ("", None),
            ("d", None),
            ("30", None),
            ("-1d", None),
            ("+1d", None),
            ("1.5h", None),
            ("1 d", None),
            ("9999y", None),
            ("1ä", None),
        ] {
            let lifetime = Lifetime::of_expires(text);
            assert_eq!(lifetime.and_then(|lifetime| lifetime.expiry), expected.map(Expiry::After), "{text:?}");
        }
        assert_eq!(Lifetime::of_expires("off"), Some(Lifetime::default()));
        assert_eq!(Lifetime::of_expires("epoch").and_then(|l| l.cache_control).as_deref(), Some("no-cache"));
    }

    #[test]
    fn the_most_specific_rule_counts() {
        let says = |text: &str| Lifetime { cache_control: Some(Box::from(text)), expiry: None };
        let glob = |text| Scope::Path(Pattern::parse_glob(text).expect("a valid glob"));
        let lifetimes = Lifetimes::new(vec![
            (Scope::All, says("all")),
            (Scope::MediaType("image/*".to_owned()), says("images")),
            (Scope::MediaType("image/png".to_owned()), says("pngs")),
            (glob("*.html"), says("pages")),
            (glob("/assets/**"), says("assets")),
        ]);
        for (path, media_type, expected) in [
            ("/a.txt", "text/plain", "all"),
            ("/a.html", "text/html", "pages"),
            ("/a.jpg", "image/jpeg", "images"),
            ("/a.png", "image/png", "pngs"),
            ("/assets/a.html", "text/html; charset=utf-8", "assets"),
            ("/assets/a.jpg", "image/jpeg", "assets"),
            // RFC 9110 §8.3.1: types are case-insensitive
            ("/b.png", "Image/PNG", "pngs"),
            ("/b.gif", "IMAGE/gif", "images"),
        ] {
            let path = SitePath::parse(path).expect("a valid path");
            let said = lifetimes.of(&path, media_type).and_then(|lifetime| lifetime.cache_control.as_deref());
            assert_eq!(said, Some(expected), "{path:?}");
        }
        assert_eq!(Lifetimes::default().of(&SitePath::parse("/").expect("a path"), "text/html"), None);
    }
}
