//! What is meant: the configuration file and the command line together, with every default, and
//! from them the options of the layers below.
//!
//! Order: command line, then file, then default: the first that says something counts. [`keys`] names every key,
//! `table` reads them one by one and shows what is wrong where it stands, `site` has the keys of sites, `value` the
//! values with a grammar of their own.
//!
//! Invariant: an effective [`Config`] is complete and consistent; nothing below asks again.

mod access_log;
mod admin;
mod doors;
pub mod examine;
mod files;
mod general;
pub mod keys;
mod limits;
pub mod manual;
mod memory;
mod print;
mod rights;
pub mod sample;
mod site;
mod table;
mod tls;
mod value;

use crate::cli::{Args, Workers};
use crate::connection::roster;
use crate::defence::requests::RequestLimit;
use crate::http::request::{HEAD_BYTES_CEILING, HeadLimits};
use crate::http2;
use crate::observe::log;
use crate::server::{self, Listen, privileges, sandbox};
use crate::shard::{self, Trusted};
use crate::site::hosts::Hosts;
use crate::site::https::Https;
use crate::site::policy::PolicyKeys;
use crate::site::{self as sites};
use crate::storage::cache::Budget;
use crate::tls::Plan;
use access_log::error_log;
use doors::Doors;
use files::{Document, Sources};
use general::{bytes, seconds, trusted, workers};
use limits::Limits;
use print::Typed;
use site::Written;
use std::sync::Arc;
use std::time::Duration;
use table::{Problem, Table, World};
use tls::Planned;
use toml::de::DeTable;

/// Read when no other file is named, if it exists.
pub const DEFAULT_FILE: &str = "/etc/otus-httpd.conf";

/// Everything that can be said in the configuration file, with the values in force.
#[derive(Clone, Debug)]
pub struct Config {
    listen: Vec<Listen>,
    /// For each listener, its sites.
    hosts: Vec<Hosts>,
    sites: Vec<sites::Options>,
    tls: Plan,
    http2: http2::Options,
    handshake_limit: Option<Arc<RequestLimit>>,
    trusted: Trusted,
    privileges: privileges::Options,
    sandbox: sandbox::Options,
    /// Number of workers.
    pub workers: usize,
    /// Seconds a client has for a request head.
    pub read_timeout: u32,
    /// Seconds an idle connection is kept open.
    pub keepalive_timeout: u32,
    /// Seconds in which a client must take something of an answer.
    pub send_timeout: u32,
    /// Seconds that transfers in flight may go on after a stop was asked for.
    pub drain_timeout: u32,
    /// Seconds that the server serves on after a stop was asked for.
    pub drain_delay: u32,
    admin: server::admin::Options,
    /// Seconds between looks of the supervisor after its workers.
    pub checkalive: u32,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    limits: Limits,
    /// Bytes of file content that all workers together keep in memory.
    pub cache_size: u64,
    /// Bytes of the largest file that is kept in memory.
    pub cache_file_size_max: u64,
    /// The error log.
    log: log::Options,
    /// The addresses of sites that name none.
    general_listen: Vec<Listen>,
    /// Keys that the command line sets.
    typed: Vec<Typed>,
    /// The files, for printing.
    sources: Arc<Sources>,
}

/// What is wrong with the configuration: what is meant, and the place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An option on the command line.
    #[error("{0}")]
    CommandLine(String),
    /// The configuration file, or what it and the command line make together.
    #[error("{0}")]
    File(String),
}

/// What of the command line must be looked up: addresses, and the user.
type Looked = (Vec<Listen>, Option<rights::TypedUser>);

fn look_up(args: &Args) -> Result<Looked, ConfigError> {
    Ok((doors::typed_addresses(args)?, rights::typed_user(args)?))
}

impl Config {
    /// The configuration in force for this command line.
    pub fn load(args: &Args) -> Result<Config, ConfigError> {
        let typed = look_up(args)?;
        let sources = Sources::load(args.config.as_deref()).map_err(ConfigError::File)?;
        Config::of_sources(args, typed, sources)
    }

    /// The configuration of a file of this text; `name` is what problems of the file are told of.
    pub fn of_text(args: &Args, text: &str, name: &str) -> Result<Config, ConfigError> {
        let typed = look_up(args)?;
        Config::of_sources(args, typed, Sources::of_text(name, text))
    }

    fn of_sources(args: &Args, typed: Looked, sources: Sources) -> Result<Config, ConfigError> {
        let sources = Arc::new(sources);
        let config = Config::read(args, typed, &sources, World::Asked);
        config.map_err(|problem| ConfigError::File(sources.show(&problem)))
    }

    fn read(args: &Args, typed: Looked, sources: &Arc<Sources>, world: World) -> Result<Config, Problem> {
        let Document { table, problems } = sources.document();
        match problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Config::of_document(args, typed, sources, &table, world),
        }
    }

    fn of_document(
        args: &Args,
        typed: Looked,
        sources: &Arc<Sources>,
        document: &DeTable<'_>,
        world: World,
    ) -> Result<Config, Problem> {
        let (typed, typed_user) = typed;
        let known: Vec<&str> =
            keys::names(keys::SERVER).chain(keys::names(keys::SITE)).chain(["site", "location"]).collect();
        let of_site: [(&[&str], &str); 1] = [(&["server_name", "path"], "into a [[site]], or a [[location]]")];
        let table = Table::new(document, &known, &of_site, world)?;

        let mut general = site::keys(&table, "")?;
        if let Some(root) = &args.document_root {
            general.root = Some(Some(Arc::from(root.as_path())));
        }
        let locations = site::locations(&table, "")?;
        let mut written = Vec::new();
        if let Some(value) = table.get("site") {
            for one in value.list()? {
                written.push(site::site(one, written.len())?);
            }
            if written.len() > usize::from(u16::MAX) {
                return Err(value.wrong("more sites than can be told apart"));
            }
        }
        let trusted = trusted(&table)?;
        let has_root = general.root.is_some() || written.iter().any(|site| site.keys.root.is_some());
        let doors = Doors::open(args, typed, &table, &written, has_root, &trusted)?;
        let http2 = table.read("http2", |value| value.boolean())?.unwrap_or(true);
        let Planned { plan: tls, https } = tls::plan(&table, &doors, &written, http2)?;
        let redirected_at: Vec<_> = written.iter().map(|site| site.redirected_at).collect();
        let with_https = |(number, (site, https)): (usize, (sites::Options, Arc<Https>))| {
            let redirects = site.keys.redirect_https == Some(true)
                || site.locations.iter().any(|location| location.keys.redirect_https == Some(true));
            if redirects && https.elsewhere.is_none() && !doors.is_typed {
                let own = redirected_at.get(number).copied().flatten();
                return Err(tls::nowhere(own.or(table.get("redirect_https"))));
            }
            Ok(sites::Options { keys: PolicyKeys { https: Some(https), ..site.keys }, ..site })
        };
        let sites: Vec<_> = if written.is_empty() {
            vec![sites::Options { names: Vec::new(), keys: general, locations }]
        } else {
            let whole = |site: Written<'_>| sites::Options {
                names: site.names,
                keys: site.keys.over(&general),
                locations: locations.iter().cloned().chain(site.locations).collect(),
            };
            written.into_iter().map(whole).collect()
        };
        let sites = sites.into_iter().zip(https).enumerate().map(with_https).collect::<Result<_, _>>()?;
        let workers = match (args.workers, table.read("workers", workers)?) {
            (Some(workers), _) | (None, Some(workers)) => workers,
            (None, None) => Workers::Auto,
        };
        let head_bytes_max = table.read("head_bytes_max", |value| value.number(1024, HEAD_BYTES_CEILING as u64))?;
        let head_bytes_max = head_bytes_max.unwrap_or(16 * 1024);
        let target_bytes_max =
            table.read("target_bytes_max", |value| value.number(128, head_bytes_max - 1))?.unwrap_or(8 * 1024);
        let to_usize = |bytes: u64| usize::try_from(bytes).expect("below HEAD_BYTES_CEILING");
        let seconds = |key, typed: Option<u32>, default| -> Result<u32, Problem> {
            Ok(typed.or(table.read(key, seconds)?).unwrap_or(default))
        };
        let workers = match workers {
            Workers::Fixed(number) => number,
            // Affinity and the cgroup's quota are both taken into account.
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let cache_size = match table.read("cache_size", bytes)? {
            Some(bytes) => bytes,
            None => general::default_cache_bytes(world),
        };
        let cache_file_size_max = table.read("cache_file_size_max", bytes)?;
        Ok(Config {
            listen: doors.listen,
            hosts: doors.hosts,
            sites,
            tls,
            http2: limits::http2(&table)?,
            handshake_limit: limits::handshakes(&table)?,
            trusted,
            privileges: rights::privileges(&table, typed_user)?,
            sandbox: rights::sandbox(&table)?,
            workers,
            read_timeout: seconds("read_timeout", args.read_timeout, 15)?,
            keepalive_timeout: seconds("keepalive_timeout", None, 65)?,
            send_timeout: seconds("send_timeout", None, 60)?,
            drain_timeout: seconds("drain_timeout", None, 30)?,
            drain_delay: table.read("drain_delay", general::seconds_or_none)?.unwrap_or(0),
            admin: admin::admin(&table)?,
            checkalive: seconds("checkalive", args.checkalive, 5)?,
            head_bytes_max: to_usize(head_bytes_max),
            target_bytes_max: to_usize(target_bytes_max.min(head_bytes_max - 1)),
            limits: Limits::read(&table, world)?,
            cache_size,
            log: error_log(args, &table)?,
            cache_file_size_max: cache_file_size_max.unwrap_or(cache_size / workers as u64 / general::CONTENT_PART),
            general_listen: doors.general,
            typed: print::typed(args),
            sources: sources.clone(),
        })
    }

    /// The options of the server.
    pub fn server_options(&self) -> server::Options {
        server::Options {
            listen: self.listen.clone(),
            workers: self.workers,
            checkalive: Duration::from_secs(self.checkalive.into()),
            drain_timeout: Duration::from_secs(self.drain_timeout.into()),
            drain_delay: Duration::from_secs(self.drain_delay.into()),
            admin: self.admin.clone(),
            connection_limits: self.limits.of_connections(roster::Limits {
                head_seconds: self.read_timeout,
                idle_seconds: self.keepalive_timeout,
                send_seconds: self.send_timeout,
                disk_seconds: DISK_SECONDS,
                linger_seconds: LINGER_SECONDS,
                ..roster::Limits::default()
            }),
            privileges: self.privileges.clone(),
            sandbox: self.sandbox.clone(),
            log: self.log.clone(),
            tls: self.tls.clone(),
            shard: shard::Options {
                sites: self.sites.clone().into(),
                hosts: self.hosts.clone().into(),
                head_limits: HeadLimits {
                    head_bytes_max: self.head_bytes_max,
                    target_bytes_max: self.target_bytes_max,
                    field_lines_max: self.limits.fields_max,
                },
                cache: Budget {
                    bytes_max: self.cache_size / self.workers as u64,
                    content_bytes_max: self.cache_file_size_max,
                },
                trusted: Arc::new(self.trusted.clone()),
                http2: self.http2,
                // The server reads the files.
                tls: vec![None; self.listen.len()].into(),
                handshake_limit: self.handshake_limit.clone(),
            },
        }
    }
}

/// Judges a text as a configuration file by itself: no name is resolved for it, and no file opened. What is wrong comes as
/// `LINE:COLUMN: message`, in one line.
pub fn check_text(text: &str) -> Result<(), String> {
    let sources = Arc::new(Sources::of_text("", text));
    let read = Config::read(&Args::default(), (Vec::new(), None), &sources, World::LeftAlone);
    read.map(drop).map_err(|problem| sources.line(&problem))
}

/// One read of the disk; a disk that takes longer is broken.
const DISK_SECONDS: u32 = 60;

/// Reading away unwanted content, before a connection is dropped.
const LINGER_SECONDS: u32 = 5;

#[cfg(test)]
mod tests;
