//! The keys of `[tls]` and `[site.tls]`, which of them is for whom on each listener, and what a site demands of connections.
//!
//! Invariant: every listener whose connections are encrypted has a certificate for whoever comes.

use super::doors::Doors;
use super::keys;
use super::site::Written;
use super::table::{Problem, Table, Value, World};
use crate::server::{Address, Listen};
use crate::site::https::{Demand, Https, redirect};
use crate::site::lifetime;
use crate::tls::numbers::InForce;
use crate::tls::{Clients, Names, Options, Plan};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// One such table.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    options: Options,
    /// The value of Strict-Transport-Security.
    strict_transport: Option<Arc<str>>,
}

/// The keys of one such table; one that says nothing says that there is none.
pub(super) fn certificate(written: Value<'_>) -> Result<Option<Certificate>, Problem> {
    if written.entries()?.is_empty() {
        return Ok(None);
    }
    let known: Vec<&str> = keys::names(keys::TLS).collect();
    let table = written.table(&known)?;
    let certificate = path(table.required("certificate", written.span())?)?;
    let key = path(table.required("key", written.span())?)?;
    let only_1_3 = table.read("min_version", |value| value.one_of(&[("1.2", false), ("1.3", true)]))?.unwrap_or(false);
    let verify = [("off", None), ("optional", Some(false)), ("required", Some(true))];
    let verify = table.read("client_verify", |value| Ok((value, value.one_of(&verify)?)))?;
    let clients = match (table.read("client_ca", path)?, verify) {
        (None, None | Some((_, None))) | (Some(_), Some((_, None))) => None,
        (None, Some((value, Some(_)))) => {
            let what = "it needs `client_ca`: the file of the authorities that sign certificates of clients";
            return Err(value.wrong(what));
        }
        (Some(authorities), None) => Some(Clients { authorities, is_required: true }),
        (Some(authorities), Some((_, Some(is_required)))) => Some(Clients { authorities, is_required }),
    };
    let strict_transport = table.read("hsts", hsts)?.flatten();
    let options = Options { certificate, key, only_1_3, clients, names: Vec::new() };
    Ok(Some(Certificate { options, strict_transport }))
}

/// What stands before the name of a credential that systemd passes (LoadCredential= of systemd.exec(5)).
const CREDENTIAL: &str = "credential:";

/// The way to a file.
fn path(value: Value<'_>) -> Result<PathBuf, Problem> {
    let text = value.text()?;
    let Some(name) = text.strip_prefix(CREDENTIAL) else {
        return if text.is_empty() { Err(value.wrong("it names no file")) } else { Ok(PathBuf::from(text)) };
    };
    if name.is_empty() || name.contains('/') {
        return Err(value.wrong(format!("{text:?} names no credential, such as \"credential:example.org.key\"")));
    }
    let directory = match (std::env::var_os("CREDENTIALS_DIRECTORY"), value.world()) {
        (Some(directory), World::Asked) => PathBuf::from(directory),
        // Where systemd has those of the service: for whoever checks a configuration from outside of it.
        _ => PathBuf::from("/run/credentials/otus-httpd.service"),
    };
    Ok(directory.join(name))
}

/// `31536000`, `"1y"`, `"1y; includeSubDomains"`; zero has browsers forget it.
fn hsts(value: Value<'_>) -> Result<Option<Arc<str>>, Problem> {
    if !value.is_text() {
        return Ok(Some(Arc::from(format!("max-age={}", value.number(0, u32::MAX.into())?))));
    }
    let text = value.text()?;
    if text == "off" {
        return Ok(None);
    }
    let mut parts = text.split(';').map(str::trim);
    let seconds = parts.next().and_then(lifetime::seconds);
    let mut said = seconds.map(|seconds| format!("max-age={seconds}"));
    for part in parts {
        let known = ["includeSubDomains", "preload"].into_iter().find(|known| known.eq_ignore_ascii_case(part));
        said = said.zip(known).map(|(said, known)| format!("{said}; {known}"));
    }
    let what = || {
        format!(
            "expected seconds, a time such as \"1y\" with \"; includeSubDomains\" and \"; preload\" behind it or without, or \
             \"off\"; found {text:?}"
        )
    };
    said.map(|said| Some(Arc::from(said))).ok_or_else(|| value.wrong(what()))
}

/// What the listeners offer, and for each site what goes with its certificate.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) https: Vec<Arc<Https>>,
}

/// The table of each site is its own, or else that of the top. A site that has neither is met with what the default site of the listener
/// has.
pub(super) fn plan(
    table: &Table<'_>,
    doors: &Doors,
    sites: &[Written<'_>],
    offers_http2: bool,
) -> Result<Planned, Problem> {
    let mut plan = Plan { offers_http2, ..Plan::default() };
    let mut hsts = Vec::new();
    let mut add = |certificate: Certificate, plan: &mut Plan| {
        plan.tables.push(certificate.options);
        plan.in_force.push(InForce::default());
        hsts.push(certificate.strict_transport);
        u16::try_from(plan.tables.len() - 1).expect("sites are not more")
    };
    let general = table.read("tls", certificate)?.flatten().map(|certificate| add(certificate, &mut plan));
    let of_sites: Vec<Option<u16>> = if sites.is_empty() {
        vec![general]
    } else {
        sites.iter().map(|site| site.tls.clone().map(|own| add(own, &mut plan)).or(general)).collect()
    };
    let mut met: Vec<Option<u16>> = of_sites.clone();
    for (listen, (hosts, served)) in doors.listen.iter().zip(doors.hosts.iter().zip(&doors.served)) {
        if !listen.is_tls {
            plan.listeners.push(None);
            continue;
        }
        let of_site = |site: &usize| of_sites[*site];
        let Some(default) = of_site(&hosts.default_site()).or_else(|| served.iter().find_map(of_site)) else {
            return Err(without_certificate(listen, served, sites, table));
        };
        let mut names = Names::all(default);
        for site in served {
            let place = *met[*site].get_or_insert(default);
            for name in sites.get(*site).map_or(&[][..], |site| &site.names[..]) {
                names.add(name, of_site(site).unwrap_or(default));
                let listed = &mut plan.tables[usize::from(place)].names;
                if !listed.contains(name) {
                    listed.push(name.clone());
                }
            }
        }
        plan.listeners.push(Some(names));
    }
    let https = (0..of_sites.len().max(1)).map(|site| {
        // Where clients from elsewhere come in, and best of all where no port need be named.
        let addresses =
            doors.listen.iter().zip(&doors.served).filter_map(|(listen, served)| address_of(listen, served, site));
        let port =
            addresses.min_by_key(|address| (address.ip().is_loopback(), address.port() != 443)).map(|one| one.port());
        let own = of_sites[site].map(usize::from);
        Arc::new(Https {
            elsewhere: port.map(|port| Arc::new(redirect(port))),
            demand: own.and_then(|place| demand(&plan.tables[place], &plan.in_force[place])),
            strict_transport: met[site].and_then(|place| hsts[usize::from(place)].clone()),
        })
    });
    let https = https.collect();
    Ok(Planned { plan, https })
}

fn without_certificate(listen: &Listen, served: &[usize], sites: &[Written<'_>], table: &Table<'_>) -> Problem {
    let what = format!(
        "{} has no certificate to show; add `certificate` and `key` in [tls], or in the [site.tls] of a site",
        listen.address
    );
    let named = served.iter().find_map(|site| sites.get(*site)?.listen).or(table.get("listen"));
    named.map_or_else(|| Problem::new(0..0, what.clone()), |value| value.wrong(&what))
}

/// The address at which a site is served over TLS, if it is at this listener.
fn address_of(listen: &Listen, served: &[usize], site: usize) -> Option<SocketAddr> {
    match listen.address {
        Address::Tcp(address) if listen.is_tls && served.contains(&site) => Some(address),
        _ => None,
    }
}

/// What these keys ask for that those of another site need not.
fn demand(options: &Options, terms: &InForce) -> Option<Demand> {
    let forbids_plain = options.clients.as_ref().is_some_and(|clients| clients.is_required);
    (options.only_1_3 || options.clients.is_some()).then(|| Demand { terms: terms.clone(), forbids_plain })
}

/// That a place sends clients to a site's HTTPS, which it does not have.
pub(super) fn nowhere(value: Option<Value<'_>>) -> Problem {
    let what = "the site has no address with `tls` to send clients to; add one to `listen`, such as \"443 tls\"";
    value.map_or_else(|| Problem::new(0..0, what), |value| value.wrong(what))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, check_text};
    use crate::cli::Args;
    use crate::tls::numbers::TermsNumber;

    const TLS: &str = "[tls]\ncertificate = 'c'\nkey = 'k'\n";

    #[test]
    fn what_is_wrong_is_told() {
        let tls = |more: &str| format!("listen = ['443 tls']\n{TLS}{more}");
        for (text, expected) in [
            (tls(""), None),
            (tls("hsts = 0"), None),
            (tls("hsts = '1y; includesubdomains; preload'"), None),
            (tls("hsts = 'for ever'"), Some("5:8: hsts: expected seconds")),
            (tls("hsts = '1y; nothing'"), Some("hsts: expected")),
            (tls("min_version = '1.1'"), Some("expected one of \"1.2\", \"1.3\"")),
            (tls("client_verify = 'optional'"), Some("needs `client_ca`")),
            (tls("client_ca = 'a'\nclient_verify = 'off'"), None),
            (tls("ciphers = 'ALL'"), Some("unknown key `ciphers`")),
            ("listen = ['443 tls']".to_owned(), Some("1:10: listen: 0.0.0.0:443 has no certificate")),
            ("listen = ['443 tls']\n[tls]\ncertificate = 'c'".to_owned(), Some("`key` is missing")),
            (
                format!("listen = ['80']\nredirect_https = true\n{TLS}"),
                Some("2:18: redirect_https: the site has no address"),
            ),
            (format!("listen = ['80', '443 tls']\nredirect_https = true\n{TLS}"), None),
            (format!("listen = ['80 tls', '80']\n{TLS}"), Some("with tls in one place and without")),
            (tls("").replace("'c'", "'credential:'"), Some("names no credential")),
            (
                "listen = ['443 tls']\n[[site]]\nserver_name = 'a.example'\n[site.tls]\ncertificate = 'c'\nkey = 'k'"
                    .to_owned(),
                None,
            ),
        ] {
            let outcome = check_text(&text);
            match (&outcome, expected) {
                (Ok(()), None) => {}
                (Err(what), Some(expected)) if what.contains(expected) => {}
                _ => panic!("{text}\n{outcome:?}"),
            }
        }
    }

    #[test]
    fn each_name_is_met_with_the_certificate_of_its_site() {
        let text = "listen = ['443 tls']\n[tls]\ncertificate = 'general'\nkey = 'k'\n\
                    [[site]]\nserver_name = 'a.example'\n\
                    [[site]]\nserver_name = ['b.example', '*.b.example']\n[site.tls]\ncertificate = 'b'\nkey = 'k'\nhsts = '1d'\n\
                    client_ca = 'ca'\n";
        let config = Config::of_text(&Args::default(), text, "t").expect("it is right");
        let options = config.server_options();
        let (plan, sites) = (&options.tls, &options.shard.sites);
        let names = plan.listeners[0].as_ref().expect("it has TLS");
        let found = |name| plan.tables[usize::from(names.find(name))].certificate.display().to_string();
        assert_eq!(
            [None, Some("a.example"), Some("b.example"), Some("x.b.example"), Some("c.example")].map(found),
            ["general", "general", "b", "b", "general"]
        );
        assert_eq!(plan.tables[1].names, ["b.example", "*.b.example"]);
        let https = |site: usize| sites[site].keys.https.as_ref().expect("each site has it");
        assert_eq!(https(1).strict_transport.as_deref(), Some("max-age=86400"));
        assert!(https(0).demand.is_none() && https(0).strict_transport.is_none() && https(0).elsewhere.is_some());
        let demand = https(1).demand.as_ref().expect("it has authorities");
        plan.in_force[1].put(TermsNumber::new(3));
        assert!(demand.forbids_plain && demand.terms.number() == Some(TermsNumber::new(3)));
    }
}
