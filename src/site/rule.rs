//! Redirect and rewrite rules: a pattern, and what becomes of the paths that match it.
//!
//! Order: `from`, whose wildcards are counted · `to`, which may name that many · `status`.
//!
//! Invariant: a rule that was read can be applied to every request, but for a Location that needs a
//! host when none was named, or would be too long.

pub use super::template::{BadTemplate, LOCATION_BYTES_MAX, NoLocation, RequestParts, Template};

use super::pattern::{BadPattern, Pattern};
use crate::http::status::Status;

/// Sends the client elsewhere.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The paths that it is for.
    pub from: Pattern,
    /// The Location.
    pub to: Template,
    /// One of 301, 302, 303, 307 and 308.
    pub status: Status,
}

/// Answers with another file of the site.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The paths that it is for.
    pub from: Pattern,
    /// The path to look up instead.
    pub to: Template,
}

/// Why a rule was refused, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// Its `from`.
    #[error("from: {0}")]
    From(#[from] BadPattern),
    /// Its `to`.
    #[error("to: {0}")]
    To(#[from] BadTemplate),
    /// Its `status`.
    #[error("status: {0} does not redirect; expected 301, 302, 303, 307 or 308")]
    Status(u16),
}

impl Redirect {
    /// Reads the three keys of a rule.
    pub fn parse(from: &str, to: &str, status: u16) -> Result<Redirect, BadRule> {
        let from = Pattern::parse_rule(from)?;
        let to = Template::parse(to, from.capture_count())?;
        // RFC 9110 §15.4: the others of this class do not send anybody elsewhere.
        let status = match status {
            301 => Status::MOVED_PERMANENTLY,
            302 => Status::FOUND,
            303 => Status::SEE_OTHER,
            307 => Status::TEMPORARY_REDIRECT,
            308 => Status::PERMANENT_REDIRECT,
            other => return Err(BadRule::Status(other)),
        };
        Ok(Redirect { from, to, status })
    }
}

impl Rewrite {
    /// Reads the two keys of a rule.
    pub fn parse(from: &str, to: &str) -> Result<Rewrite, BadRule> {
        let from = Pattern::parse_rule(from)?;
        let to = Template::parse_path(to, from.capture_count())?;
        Ok(Rewrite { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::target::{RequestTarget, SitePath};

    /// What becomes of a request target; `None` if `from` does not match its path.
    fn location(from: &str, to: &str, target: &str, host: Option<&str>) -> Option<Result<String, NoLocation>> {
        let redirect = Redirect::parse(from, to, 301).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        let target = RequestTarget::parse(target).expect("each row is a valid target");
        let path = SitePath::parse(target.path).expect("each row is a valid path");
        let captures = redirect.from.captures(path.as_bytes())?;
        let request = RequestParts { path: path.as_bytes(), query: target.query, host };
        Some(redirect.to.expand_location(&captures, &request))
    }

    #[test]
    fn redirects_lead_to() {
        for (from, to, target, expected) in [
            ("/old", "/new", "/old", "/new"),
            ("/old", "/new", "/old?a=b&c", "/new?a=b&c"),
            ("/old", "/new", "/old?", "/new"),
            ("/old", "/new?x=1", "/old?a=b", "/new?x=1"),
            ("/old", "/new?x=1&$query", "/old?a=b", "/new?x=1&a=b"),
            ("/old", "/new?$query", "/old", "/new"),
            ("/old", "/new?", "/old?a=b", "/new"),
            ("/old", "/new#part", "/old?a=b", "/new?a=b#part"),
            ("/old", "/new?x#part?y", "/old", "/new?x#part?y"),
            ("/blog/**", "/news/$1", "/blog/a/b?q", "/news/a/b?q"),
            ("/blog/**", "/news/$1", "/blog/", "/news/"),
            ("/*/*", "/$2/$1/$2", "/a/b", "/b/a/b"),
            ("/*", "/$12", "/a", "/a2"),
            ("/p/*", "/$$1/$1$$", "/p/a", "/$1/a$"),
            ("/a/*", "$uri/", "/a/b", "/a/b/"),
            ("/a/*", "/x$uri.html", "/a/b", "/x/a/b.html"),
            ("/**", "https://$host$uri", "/a/b?q", "https://example.org/a/b?q"),
            ("/**", "https://$host:8443/x/$1", "/a", "https://example.org:8443/x/a"),
            ("/**", "https://www.$host/$host", "/a", "https://www.example.org/example.org"),
            ("/**", "http://a.example", "/a?q", "http://a.example/?q"),
            ("/**", "http://[::1]:80?$uri#$uri", "/a", "http://[::1]:80/?/a#/a"),
            (
                "/**",
                "https://archive.example/https://b.example$uri",
                "/a",
                "https://archive.example/https://b.example/a",
            ),
            // Written anew for where it stands
            ("/s/*", "/t/$1", "/s/a%20b%3fc%23d%25e", "/t/a%20b%3Fc%23d%25e"),
            ("/s/*", "/t/$1", "/s/%d0%b4%ff", "/t/%D0%B4%FF"),
            ("/s/*", "/t?q=$1", "/s/a&b=c+d;e%2b", "/t?q=a%26b%3Dc%2Bd%3Be%2B"),
            ("/s/*", "/t?back=$uri", "/s/a%20b", "/t?back=/s/a%20b"),
            ("/s/*", "/t#$1", "/s/a%23b", "/t#a%23b"),
            ("/s", "/ä b%20c\\d", "/s", "/%C3%A4%20b%20c%5Cd"),
            ("/s", "/t", "/s?\"<é>\\%0d%0a%zz", "/t?%22%3C%C3%A9%3E%5C%0d%0a%zz"),
        ] {
            let found = location(from, to, target, Some("example.org"));
            assert_eq!(found, Some(Ok(expected.to_owned())), "{from} to {to}: {target}");
        }
    }

    #[test]
    fn no_request_leads_to_another_host_or_field() {
        for (from, to, target, expected) in [
            ("/r/**", "/$1", "/r//evil.example", "/evil.example"),
            ("/r/**", "/$1", "/r/%2f%2fevil.example", "/evil.example"),
            ("/r**", "/$1", "/r/evil.example", "/evil.example"),
            ("/r**", "/$1/$1", "/r", "/"),
            ("/r**", "/$1$1", "/r/evil.example", "/evil.example/evil.example"),
            ("/**", "$uri", "//evil.example", "/evil.example"),
            ("/**", "/$1", "/\\evil.example", "/%5Cevil.example"),
            ("/**", "/$1", "/%5c%5cevil.example", "/%5C%5Cevil.example"),
            ("/**", "/$1", "/https:%2f%2fevil.example", "/https:/evil.example"),
            ("/**", "/$1", "/%09/evil.example", "/%09/evil.example"),
            ("/**", "/$1", "/%0d%0aSet-Cookie:%20a=b", "/%0D%0ASet-Cookie:%20a=b"),
            ("/**", "/$1", "/%7f%1b%85", "/%7F%1B%85"),
            ("/**", "https://a.example/$1", "/@evil.example", "https://a.example/@evil.example"),
            ("/**", "https://a.example$uri", "/.evil.example", "https://a.example/.evil.example"),
        ] {
            assert_eq!(location(from, to, target, None), Some(Ok(expected.to_owned())), "{from} to {to}: {target}");
        }
        let from_host = |host| location("/**", "https://$host$uri", "/a", host).expect("it matches all");
        for host in [None, Some("")] {
            assert_eq!(from_host(host), Err(NoLocation::HostMissing), "https:///a would name the host a");
        }
        // No authority that is valid; if one came through, it would still be no more than a host.
        assert_eq!(from_host(Some("a\r\nb: c/@\\?#")), Ok("https://a%0D%0Ab:%20c%2F%40%5C%3F%23/a".to_owned()));
        let long = format!("/{}", "ä".repeat(LOCATION_BYTES_MAX / 8));
        let too_long = location("/**", "/$1/$1", &long, None).expect("it matches all");
        assert!(too_long == Err(NoLocation::TooLong));
    }

    #[test]
    fn rewrites_lead_to() {
        for (from, to, path, expected) in [
            ("/v1/*/x", "/files/$1.txt", &b"/v1/a/x"[..], Some(&b"/files/a.txt"[..])),
            ("/v1/*", "/a b/%20/$1", b"/v1/%41\xff\n", Some(b"/a b/%20/%41\xff\n")),
            ("/**", "$uri.html", b"/a/b", Some(b"/a/b.html")),
            ("/**", "/$1/$1", b"/", Some(b"/")),
            ("/**", "/$$1", b"/a", Some(b"/$1")),
            ("/a*b", "/x/$1/y", b"/a..b", Some(b"/y")),
            ("/a*b", "/$1/etc/passwd", b"/a..b", None),
            ("/a*b*", "/x/$1/$2/../etc", b"/a..b..", None),
        ] {
            let rewrite = Rewrite::parse(from, to).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
            let captures = rewrite.from.captures(path).expect("each row matches");
            let found = SitePath::from_decoded(rewrite.to.expand_path(&captures));
            assert_eq!(found.as_ref().map(SitePath::as_bytes), expected, "{from} to {to}");
        }
    }

    #[test]
    fn rules_that_are_refused() {
        for status in [0, 200, 300, 304, 305, 306, 309, 404] {
            assert_eq!(Redirect::parse("/a", "/b", status).err(), Some(BadRule::Status(status)));
        }
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(Redirect::parse("/a", "/b", status).map(|rule| rule.status.code()), Ok(status));
        }
        assert_eq!(Rewrite::parse("a/*", "/b").err(), Some(BadRule::From(BadPattern::RuleNotRooted)));
    }
}
