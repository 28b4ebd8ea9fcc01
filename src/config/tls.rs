//! The keys of `[tls]` and `[site.tls]`, and which of them is for whom on each listener.
//!
//! Invariant: every listener whose connections are encrypted has a certificate for whoever comes.

use super::doors::Doors;
use super::keys;
use super::site::Written;
use super::table::{Problem, Table, Value};
use crate::tls::{Clients, Names, Options, Plan};
use std::path::PathBuf;

/// The keys of one such table; one that says nothing says that there is none.
pub(super) fn options(written: Value<'_>) -> Result<Option<Options>, Problem> {
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
            return Err(
                value.wrong("it needs `client_ca`: the file of the authorities that sign certificates of clients")
            );
        }
        (Some(authorities), None) => Some(Clients { authorities, is_required: true }),
        (Some(authorities), Some((_, Some(is_required)))) => Some(Clients { authorities, is_required }),
    };
    Ok(Some(Options { certificate, key, only_1_3, clients, names: Vec::new() }))
}

/// The way to a file.
fn path(value: Value<'_>) -> Result<PathBuf, Problem> {
    match value.text()? {
        "" => Err(value.wrong("it names no file")),
        text => Ok(PathBuf::from(text)),
    }
}

/// What the listeners offer: the table of each site, or else that of the top. A site that has neither is met with what the default site
/// of the listener has.
pub(super) fn plan(
    table: &Table<'_>,
    doors: &Doors,
    sites: &[Written<'_>],
    offers_http2: bool,
) -> Result<Plan, Problem> {
    let mut plan = Plan { offers_http2, ..Plan::default() };
    let number = |options: Options, tables: &mut Vec<Options>| {
        tables.push(options);
        u16::try_from(tables.len() - 1).expect("sites are not more")
    };
    let general = table.read("tls", options)?.flatten().map(|options| number(options, &mut plan.tables));
    let of_sites: Vec<Option<u16>> = if sites.is_empty() {
        vec![general]
    } else {
        let own =
            sites.iter().map(|site| site.tls.clone().map(|options| number(options, &mut plan.tables)).or(general));
        own.collect()
    };
    for (listen, (hosts, served)) in doors.listen.iter().zip(doors.hosts.iter().zip(&doors.served)) {
        if !listen.is_tls {
            plan.listeners.push(None);
            continue;
        }
        let of_site = |site: &usize| of_sites[*site];
        let Some(default) = of_site(&hosts.default_site()).or_else(|| served.iter().find_map(of_site)) else {
            let what = format!(
                "{} has no certificate to show; add `certificate` and `key` in [tls], or in the [site.tls] of a site",
                listen.address
            );
            let named = served.iter().find_map(|site| sites.get(*site)?.listen).or(table.get("listen"));
            return Err(named.map_or_else(|| Problem::new(0..0, what.clone()), |value| value.wrong(&what)));
        };
        let mut names = Names::all(default);
        for site in served {
            let own = sites.get(*site).map_or(&[][..], |site| &site.names[..]);
            let number = of_site(site).unwrap_or(default);
            for name in own {
                names.add(name, number);
                let listed = &mut plan.tables[usize::from(number)].names;
                if !listed.contains(name) {
                    listed.push(name.clone());
                }
            }
        }
        plan.listeners.push(Some(names));
    }
    Ok(plan)
}
