//! What a site demands of the connection that a request came by: TLS, or more of it than another site does.
//!
//! Order: [`Https::objection`] is asked before anything is looked up · where [`Https::shows_challenges_alone`], each further path that the
//! asked one leads to must be a challenge ([`is_challenge`]), too.
//!
//! Invariant: what a site shows to clients with certificates alone is shown to nobody whose connection was not asked for one, or was
//! vouched for by an authority that does not count any more.

use super::Located;
use super::rule::{Redirect, RequestParts};
use crate::http::status::Status;
use crate::http::target::SitePath;
use crate::tls::numbers::{InForce, TermsNumber};
use std::rc::Rc;
use std::sync::Arc;

/// What goes with the certificate of a site.
#[derive(Clone, Debug, Default)]
pub struct Https {
    /// Where its HTTPS is, for clients that come without.
    pub elsewhere: Option<Arc<Redirect>>,
    /// What a connection must have been met with.
    pub demand: Option<Demand>,
    /// The value of Strict-Transport-Security (RFC 6797).
    pub strict_transport: Option<Arc<str>>,
}

/// Terms that others of the same server do not stand for.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Their number, which is another when their authorities are.
    pub terms: InForce,
    /// Whether a request without TLS is turned away, too.
    pub forbids_plain: bool,
}

/// What authorities look at to see that a name is whose it seems to be (RFC 8555 §8.3): they ask without TLS, for there may be none yet.
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// Whether authorities look at this path.
pub fn is_challenge(path: &SitePath<'_>) -> bool {
    path.as_bytes().starts_with(CHALLENGES)
}

/// A way of each path to the same one by HTTPS, at this port.
pub fn redirect(port: u16) -> Redirect {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    Redirect::parse("/**", &format!("https://$host{port}$uri"), 301).expect("it follows the grammar of rules")
}

impl Https {
    /// What is to be said in the place of what the path leads to; `secured` is the number of the terms that the connection was met with.
    /// Clients without TLS are sent to it where the place `redirects`.
    pub fn objection<'a>(
        &self,
        redirects: bool,
        secured: Option<TermsNumber>,
        path: &SitePath<'_>,
        parts: impl FnOnce() -> RequestParts<'a>,
    ) -> Option<Located> {
        // Most places ask for nothing, and their requests need not pay for those that do.
        if !redirects && self.demand.is_none() {
            return None;
        }
        // An authority asks for these without TLS, and shows no certificate.
        let is_challenge = is_challenge(path);
        if secured.is_none() && redirects && !is_challenge {
            if let Some((redirect, captures)) =
                self.elsewhere.as_ref().and_then(|redirect| Some((redirect, redirect.from.captures(path.as_bytes())?)))
            {
                return Some(match redirect.to.expand_location(&captures, &parts()) {
                    Ok(location) => Located::Elsewhere(redirect.status, Rc::from(location)),
                    Err(why) => Located::Failed(why.status()),
                });
            }
        }
        // RFC 9110 §15.5.20: a client that takes this connection for the site's as well opens another one.
        let is_misdirected = self.demand.as_ref().is_some_and(|demand| match secured {
            Some(number) => demand.terms.number() != Some(number),
            None => demand.forbids_plain && !is_challenge,
        });
        is_misdirected.then_some(Located::Failed(Status::MISDIRECTED_REQUEST))
    }

    /// Whether a connection that was met with the terms of this number, or comes without TLS, is shown challenges and nothing else of the site.
    pub fn shows_challenges_alone(&self, secured: Option<TermsNumber>) -> bool {
        secured.is_none() && self.demand.as_ref().is_some_and(|demand| demand.forbids_plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_without_is_sent_on_or_away() {
        let in_force = InForce::default();
        in_force.put(TermsNumber::new(3));
        let demand = |forbids_plain| Some(Demand { terms: in_force.clone(), forbids_plain });
        type Case = (Option<Demand>, bool, Option<u16>, &'static str, Result<&'static str, Option<u16>>);
        let cases: [Case; 11] = [
            (None, true, None, "/a%20b", Ok("https://example.org:8443/a%20b?q")),
            (None, false, None, "/a", Err(None)),
            (None, true, Some(1), "/a", Err(None)),
            (None, true, None, "/.well-known/acme-challenge/token", Err(None)),
            (None, true, None, "/.well-known/security.txt", Ok("https://example.org:8443/.well-known/security.txt?q")),
            (demand(false), false, None, "/a", Err(None)),
            (demand(true), false, None, "/a", Err(Some(421))),
            (demand(true), true, None, "/a", Ok("https://example.org:8443/a?q")),
            (demand(false), false, Some(1), "/a", Err(Some(421))),
            (demand(true), true, Some(3), "/a", Err(None)),
            (demand(true), true, None, "/.well-known/acme-challenge/token", Err(None)),
        ];
        for (demand, redirects, secured, path, expected) in cases {
            let secured = secured.map(TermsNumber::new);
            let https = Https { elsewhere: Some(Arc::new(redirect(8443))), demand, strict_transport: None };
            let site_path = SitePath::parse(path).expect("each row is a path");
            let parts = RequestParts { path: site_path.as_bytes(), query: Some("q"), host: Some("example.org") };
            let found = match https.objection(redirects, secured, &site_path, || parts) {
                Some(Located::Elsewhere(_, location)) => Ok(location.to_string()),
                Some(Located::Failed(status)) => Err(Some(status.code())),
                None => Err(None),
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(found, expected.map(str::to_owned), "{https:?} {redirects} {secured:?} {path}");
        }
        for (demand, secured, expected) in [
            (None, None, false),
            (demand(false), None, false),
            (demand(true), None, true),
            (demand(true), Some(3), false),
            (demand(true), Some(1), false),
        ] {
            let https = Https { demand, ..Https::default() };
            let secured = secured.map(TermsNumber::new);
            assert_eq!(https.shows_challenges_alone(secured), expected, "{https:?} {secured:?}");
        }
        assert!(matches!(
            redirect(443).to.expand_location(
                &redirect(443).from.captures(b"/").expect("it fits all"),
                &RequestParts { path: b"/", query: None, host: Some("a.example") }
            ),
            Ok(location) if location == "https://a.example/"
        ));
    }
}
