//! Where clients come in, and to which sites: the addresses of the command line, of the server and of each site.
//!
//! Invariant: each address stands in the list once, with all the sites that are served on it.

use super::site::Written;
use super::table::{Problem, Table, Value, World};
use super::{ConfigError, value};
use crate::cli::Args;
use crate::server::{Address, Listen};
use crate::shard::Trusted;
use crate::site::hosts::Hosts;
use std::net::{Ipv4Addr, SocketAddr};

const DEFAULT_PORT: u16 = 8080;

/// Where clients come in, and to which sites.
pub(super) struct Doors {
    pub(super) listen: Vec<Listen>,
    /// For each listener, its sites.
    pub(super) hosts: Vec<Hosts>,
    /// For each listener, the numbers of these sites.
    pub(super) served: Vec<Vec<usize>>,
    /// The addresses of sites that name none.
    pub(super) general: Vec<Listen>,
    /// Whether the command line has moved the server elsewhere.
    pub(super) is_typed: bool,
}

impl Doors {
    pub(super) fn open(
        args: &Args,
        typed: Vec<Listen>,
        table: &Table<'_>,
        sites: &[Written<'_>],
        has_root: bool,
        trusted: &Trusted,
    ) -> Result<Doors, Problem> {
        // An address or a port on the command line moves the whole server there.
        let is_typed = !typed.is_empty() || args.port.is_some();
        let port = args.port.unwrap_or(DEFAULT_PORT);
        let written = if is_typed { None } else { table.get("listen") };
        let general = match written {
            Some(value) => addresses(value, port, trusted)?,
            None if typed.is_empty() => default_listen(has_root, port),
            None => typed,
        };
        let mut listen: Vec<Listen> = Vec::new();
        let mut of_listener: Vec<Vec<usize>> = Vec::new();
        // Gives the number of the listener; `noted` is that of an entry that another site was noted for.
        let mut note = |one: &Listen, site: usize, noted: Option<usize>| {
            // Named twice, it could not be bound twice; port 0 is another port each time that it is written.
            let is_new = matches!(&one.address, Address::Tcp(address) if address.port() == 0);
            let same = || listen.iter().position(|other| !is_new && other.address == one.address);
            let at = noted.or_else(same).unwrap_or_else(|| {
                listen.push(one.clone());
                of_listener.push(Vec::new());
                listen.len() - 1
            });
            for (is_said, other, word) in
                [(one.is_proxied, listen[at].is_proxied, "proxy_protocol"), (one.is_tls, listen[at].is_tls, "tls")]
            {
                if is_said != other {
                    return Err(format!("{} is named with {word} in one place and without in another", one.address));
                }
            }
            if !of_listener[at].contains(&site) {
                of_listener[at].push(site);
            }
            Ok(at)
        };
        let clash = |value: Option<Value<'_>>, message: String| {
            value.or(written).map_or_else(|| Problem::new(0..0, message.clone()), |value| value.wrong(&message))
        };
        if sites.is_empty() {
            for one in &general {
                note(one, 0, None).map_err(|what| clash(None, what))?;
            }
        }
        let mut of_general = vec![None; general.len()];
        for (number, site) in sites.iter().enumerate() {
            match site.listen {
                Some(value) if !is_typed => {
                    for one in addresses(value, port, trusted)? {
                        note(&one, number, None).map_err(|what| clash(site.listen, what))?;
                    }
                }
                _ => {
                    for (one, noted) in general.iter().zip(&mut of_general) {
                        *noted = Some(note(one, number, *noted).map_err(|what| clash(site.listen, what))?);
                    }
                }
            }
        }
        let names = |number: usize| sites.get(number).map_or(&[][..], |site| &site.names[..]);
        let mut hosts = Vec::new();
        for numbers in &of_listener {
            let of_names = Hosts::new(numbers.iter().map(|number| (*number, names(*number))));
            hosts.push(of_names.map_err(|bad| {
                let named_at = numbers.iter().rev().find_map(|number| sites.get(*number)?.named_at);
                named_at.map_or_else(|| Problem::new(0..0, bad.to_string()), |value| value.wrong(&bad))
            })?);
        }
        Ok(Doors { listen, hosts, served: of_listener, general, is_typed })
    }
}

/// The addresses of the command line.
pub(super) fn typed_addresses(args: &Args) -> Result<Vec<Listen>, ConfigError> {
    let port = args.port.unwrap_or(DEFAULT_PORT);
    let mut typed = Vec::new();
    for text in &args.address {
        let listens = value::listen(text, port, World::Asked).map_err(|what| {
            ConfigError::CommandLine(format!("invalid value for '--address <ADDR>': {text:?}: {what}"))
        })?;
        typed.extend(listens);
    }
    if typed.iter().any(|listen| listen.is_proxied) {
        let what = "proxy_protocol needs `real_ip_from`, and with it a configuration file; name both there";
        return Err(ConfigError::CommandLine(format!("invalid value for '--address <ADDR>': {what}")));
    }
    Ok(typed)
}

fn addresses(value: Value<'_>, port: u16, trusted: &Trusted) -> Result<Vec<Listen>, Problem> {
    let mut listen = Vec::new();
    for one in value.one_or_list() {
        let text = one.text()?;
        let named = value::listen(text, port, one.world()).map_err(|what| one.wrong(format!("{text:?}: {what}")))?;
        if named.iter().any(|listen| listen.is_proxied) && trusted.networks.is_empty() {
            return Err(one.wrong("proxy_protocol needs `real_ip_from`: whose PROXY headers are believed"));
        }
        listen.extend(named);
    }
    if listen.is_empty() {
        return Err(value.wrong("it names no address"));
    }
    Ok(listen)
}

/// Whoever names a directory wants it served to others; the welcome page is for this machine.
fn default_listen(has_root: bool, port: u16) -> Vec<Listen> {
    if has_root {
        let listen = value::listen(&port.to_string(), port, World::LeftAlone).expect("a port alone is an address");
        return listen.into_iter().map(|listen| Listen { optional: true, ..listen }).collect();
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    vec![Listen { address: Address::Tcp(address), optional: true, is_proxied: false, is_tls: false }]
}
