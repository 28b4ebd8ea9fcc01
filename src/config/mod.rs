//! What is meant: the configuration file and the command line together, with every default, and
//! from them the options of the layers below.
//!
//! Order: command line, then file, then default: the first that says something counts. [`keys`] names every key,
//! `table` reads them one by one and shows what is wrong where it stands, `site` has the keys of sites, `value` the
//! values with a grammar of their own.
//!
//! Invariant: an effective [`Config`] is complete and consistent; nothing below asks again.

mod doors;
pub mod keys;
mod memory;
mod rights;
mod site;
mod table;
mod value;

use crate::cli::{Args, WORKERS_MAX, Workers, parse_workers};
use crate::connection::roster;
use crate::http::request::{HEAD_BYTES_CEILING, HeadLimits};
use crate::server::{self, Listen, privileges, sandbox};
use crate::shard::{self, ClientField, Trusted};
use crate::site::access::Networks;
use crate::site::hosts::Hosts;
use crate::site::{self as sites};
use crate::storage::cache::Budget;
use doors::Doors;
use site::Written;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use table::{Problem, Table, Value, World};
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
    /// Seconds between looks of the supervisor after its workers.
    pub checkalive: u32,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    /// Bytes of file content that all workers together keep in memory.
    pub cache_size: u64,
    /// Bytes of the largest file that is kept in memory.
    pub cache_file_size_max: u64,
    /// The file as it was written, for printing.
    written: toml::Table,
    /// The root, when the command line names it.
    typed_root: Option<PathBuf>,
    /// The user, when the command line names it.
    typed_user: Option<String>,
    /// Whether the command line says where all sites listen.
    is_moved: bool,
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
type Typed = (Vec<Listen>, Option<rights::TypedUser>);

impl Config {
    /// The configuration in force for this command line.
    pub fn load(args: &Args) -> Result<Config, ConfigError> {
        let default_file = Path::new(DEFAULT_FILE);
        let path = match &args.config {
            Some(path) => path,
            None if default_file.exists() => default_file,
            None => return Config::of_text(args, "", "defaults"),
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::File(format!("{name}: cannot be read: {error}")))?;
        Config::of_text(args, &text, &name)
    }

    /// The configuration of a file of this text; `name` is what problems of the file are told of.
    pub fn of_text(args: &Args, text: &str, name: &str) -> Result<Config, ConfigError> {
        let typed = (doors::typed_addresses(args)?, rights::typed_user(args)?);
        Config::read(args, typed, text, World::Asked).map_err(|problem| ConfigError::File(problem.show(name, text)))
    }

    fn read(args: &Args, typed: Typed, text: &str, world: World) -> Result<Config, Problem> {
        let (typed, typed_user) = typed;
        let document = DeTable::parse(text)?;
        let known: Vec<&str> =
            keys::names(keys::SERVER).chain(keys::names(keys::SITE)).chain(["site", "location"]).collect();
        let of_site: [(&[&str], &str); 1] = [(&["server_name", "path"], "into a [[site]], or a [[location]]")];
        let table = Table::new(document.get_ref(), &known, &of_site, world)?;

        let mut general = site::keys(&table)?;
        if let Some(root) = &args.document_root {
            general.root = Some(Some(Arc::from(root.as_path())));
        }
        let locations = site::locations(&table)?;
        let mut written = Vec::new();
        if let Some(value) = table.get("site") {
            for one in value.list()? {
                written.push(site::site(one)?);
            }
            if written.len() > usize::from(u16::MAX) {
                return Err(value.wrong("more sites than can be told apart"));
            }
        }
        let trusted = trusted(&table)?;
        let has_root = general.root.is_some() || written.iter().any(|site| site.keys.root.is_some());
        let doors = Doors::open(args, typed, &table, &written, has_root, &trusted)?;
        let sites = if written.is_empty() {
            vec![sites::Options { names: Vec::new(), keys: general, locations }]
        } else {
            let whole = |site: Written<'_>| sites::Options {
                names: site.names,
                keys: site.keys.over(&general),
                locations: locations.iter().cloned().chain(site.locations).collect(),
            };
            written.into_iter().map(whole).collect()
        };
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
            None => default_cache_bytes(world),
        };
        let cache_file_size_max = table.read("cache_file_size_max", bytes)?;
        Ok(Config {
            listen: doors.listen,
            hosts: doors.hosts,
            sites,
            trusted,
            privileges: rights::privileges(&table, typed_user)?,
            sandbox: rights::sandbox(&table)?,
            workers,
            read_timeout: seconds("read_timeout", args.read_timeout, 15)?,
            keepalive_timeout: seconds("keepalive_timeout", None, 65)?,
            send_timeout: seconds("send_timeout", None, 60)?,
            drain_timeout: seconds("drain_timeout", None, 30)?,
            checkalive: seconds("checkalive", args.checkalive, 5)?,
            head_bytes_max: to_usize(head_bytes_max),
            target_bytes_max: to_usize(target_bytes_max.min(head_bytes_max - 1)),
            cache_size,
            cache_file_size_max: cache_file_size_max.unwrap_or(cache_size / workers as u64 / CONTENT_PART),
            written: toml::from_str(text)?,
            typed_root: args.document_root.clone(),
            typed_user: args.user.clone(),
            is_moved: !args.address.is_empty() || args.port.is_some(),
        })
    }

    /// The options of the server.
    pub fn server_options(&self) -> server::Options {
        server::Options {
            listen: self.listen.clone(),
            workers: self.workers,
            checkalive: Duration::from_secs(self.checkalive.into()),
            drain_timeout: Duration::from_secs(self.drain_timeout.into()),
            connection_limits: roster::Limits {
                head_seconds: self.read_timeout,
                idle_seconds: self.keepalive_timeout,
                send_seconds: self.send_timeout,
                disk_seconds: DISK_SECONDS,
                linger_seconds: LINGER_SECONDS,
            },
            privileges: self.privileges.clone(),
            sandbox: self.sandbox.clone(),
            shard: shard::Options {
                sites: self.sites.clone().into(),
                hosts: self.hosts.clone().into(),
                head_limits: HeadLimits {
                    head_bytes_max: self.head_bytes_max,
                    target_bytes_max: self.target_bytes_max,
                },
                cache: Budget {
                    bytes_max: self.cache_size / self.workers as u64,
                    content_bytes_max: self.cache_file_size_max,
                },
                trusted: Arc::new(self.trusted.clone()),
            },
        }
    }

    /// The configuration in force as a configuration file: the server's keys with their values, and the rest as
    /// it was written.
    pub fn to_toml(&self) -> String {
        let mut table = self.written.clone();
        let number = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        for (key, value) in [
            ("workers", self.workers as u64),
            ("read_timeout", self.read_timeout.into()),
            ("keepalive_timeout", self.keepalive_timeout.into()),
            ("send_timeout", self.send_timeout.into()),
            ("drain_timeout", self.drain_timeout.into()),
            ("checkalive", self.checkalive.into()),
            ("head_bytes_max", self.head_bytes_max as u64),
            ("target_bytes_max", self.target_bytes_max as u64),
            ("cache_size", self.cache_size),
            ("cache_file_size_max", self.cache_file_size_max),
        ] {
            table.insert(key.to_owned(), number(value));
        }
        if let Some(root) = &self.typed_root {
            table.insert("root".to_owned(), root.display().to_string().into());
        }
        if let Some(user) = &self.typed_user {
            let (user, group) = user.split_once(':').map_or((user.as_str(), None), |(user, group)| (user, Some(group)));
            table.insert("user".to_owned(), user.into());
            table.remove("group");
            group.map(|group| table.insert("group".to_owned(), group.into()));
        }
        // With sites that have addresses of their own, each keeps its own.
        let mut sites: Vec<_> =
            table.get_mut("site").and_then(toml::Value::as_array_mut).into_iter().flatten().collect();
        if self.is_moved {
            // …unless the command line moved them all.
            sites.iter_mut().filter_map(|site| site.as_table_mut()).for_each(|site| drop(site.remove("listen")));
        }
        let has_own = |site: &&mut toml::Value| site.get("listen").is_some();
        if !sites.iter().any(has_own) {
            let listen: Vec<_> = self.listen.iter().map(|listen| toml::Value::from(listen.to_string())).collect();
            table.insert("listen".to_owned(), listen.into());
        }
        toml::to_string(&table).expect("what was read can be written")
    }
}

/// Judges a text as a configuration file by itself: no name is resolved for it, and no file opened. What is wrong comes as
/// `LINE:COLUMN: message`, in one line.
pub fn check_text(text: &str) -> Result<(), String> {
    let read = Config::read(&Args::default(), (Vec::new(), None), text, World::LeftAlone);
    read.map(drop).map_err(|problem| problem.line(text))
}

/// Of the memory that the process may use, one part in this many is for the content of files: the kernel and other
/// programs need theirs.
const CACHE_PART: u64 = 4;

/// Of what one worker may hold, one part in this many is for the largest file: whatever it puts out, most stays.
const CONTENT_PART: u64 = 4;

/// Where the system does not say how much memory there is.
const CACHE_BYTES_OF_UNKNOWN: u64 = 128 << 20;

fn default_cache_bytes(world: World) -> u64 {
    let usable = if world == World::Asked { memory::usable_bytes() } else { None };
    usable.map_or(CACHE_BYTES_OF_UNKNOWN, |bytes| bytes / CACHE_PART)
}

/// One read of the disk; a disk that takes longer is broken.
const DISK_SECONDS: u32 = 60;

/// Reading away unwanted content, before a connection is dropped.
const LINGER_SECONDS: u32 = 5;

fn trusted(table: &Table<'_>) -> Result<Trusted, Problem> {
    let networks =
        table.read("real_ip_from", |value| Networks::parse(&value.texts()?).map_err(|bad| value.wrong(bad)))?;
    let fields = [("X-Forwarded-For", ClientField::XForwardedFor), ("Forwarded", ClientField::Forwarded)];
    let field = table.read("real_ip_header", |value| value.one_of(&fields))?;
    Ok(Trusted { networks: networks.unwrap_or_default(), field: field.unwrap_or_default() })
}

fn workers(value: Value<'_>) -> Result<Workers, Problem> {
    if value.is_text() {
        return parse_workers(value.text()?).map_err(|what| value.wrong(what));
    }
    let number = value.number(1, WORKERS_MAX as u64)?;
    Ok(Workers::Fixed(usize::try_from(number).expect("at most WORKERS_MAX")))
}

const SECONDS_MAX: u64 = 86_400;

fn seconds(value: Value<'_>) -> Result<u32, Problem> {
    value.number(1, SECONDS_MAX).map(|seconds| u32::try_from(seconds).expect("at most SECONDS_MAX"))
}

fn bytes(value: Value<'_>) -> Result<u64, Problem> {
    if value.is_text() {
        let text = value.text()?;
        return value::bytes(text)
            .ok_or_else(|| value.wrong(format!("expected bytes, such as 1048576 or \"64m\", found {text:?}")));
    }
    value.number(0, u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::policy::PolicyKeys;

    fn config(args: &Args, file: &str) -> Result<Config, String> {
        Config::of_text(args, file, "test").map_err(|error| error.to_string())
    }

    fn with_root() -> Args {
        Args { document_root: Some("/srv".into()), ..Args::default() }
    }

    fn listen(config: &Config) -> Vec<String> {
        config.listen.iter().map(ToString::to_string).collect()
    }

    fn root(keys: &PolicyKeys) -> Option<&Path> {
        keys.root.as_ref()?.as_deref()
    }

    #[test]
    fn defaults() {
        let nothing = config(&Args::default(), "").expect("nothing is valid");
        assert_eq!(listen(&nothing), ["127.0.0.1:8080"]);
        let times = (nothing.read_timeout, nothing.keepalive_timeout, nothing.send_timeout, nothing.drain_timeout);
        assert_eq!((times, nothing.checkalive), ((15, 65, 60, 30), 5));
        assert!(nothing.workers >= 1);
        let config = config(&with_root(), "").expect("a root is enough");
        assert_eq!(listen(&config), ["0.0.0.0:8080", "[::]:8080"]);
        assert!(config.listen.iter().all(|listen| listen.optional));
    }

    #[test]
    fn the_command_line_beats_the_file() {
        let file = "root = '/file'\nlisten = ['127.0.0.2:81']\nworkers = 3\nread_timeout = 9\ncache_size = '2m'";
        let written = config(&Args::default(), file).expect("valid");
        assert_eq!((root(&written.sites[0].keys), written.workers), (Some(Path::new("/file")), 3));
        assert_eq!((written.read_timeout, written.cache_size), (9, 2 << 20));
        assert_eq!(listen(&written), ["127.0.0.2:81"]);
        let args = Args {
            address: vec!["[::1]:82".to_owned(), "127.0.0.1".to_owned()],
            port: Some(83),
            workers: Some(Workers::Fixed(1)),
            ..with_root()
        };
        let typed = config(&args, file).expect("valid");
        assert_eq!(listen(&typed), ["[::1]:82", "127.0.0.1:83"]);
        assert_eq!((root(&typed.sites[0].keys), typed.workers), (Some(Path::new("/srv")), 1));
    }

    #[test]
    fn sites_have_addresses_names_and_inherit_the_rest() {
        let file = "root = '/top'\nlisten = ['127.0.0.1:80']\nmax_ranges = 5\n\
                    [[location]]\npath = '*.js'\nnosniff = true\n\
                    [[site]]\nserver_name = 'a.example'\n\
                    [[site]]\nserver_name = ['b.example']\nlisten = ['127.0.0.1:80', '127.0.0.1:81']\nroot = '/b'\n\
                    [[site.location]]\npath = '/x/'\nmax_ranges = 1\n";
        let config = config(&Args::default(), file).expect("valid");
        assert_eq!(listen(&config), ["127.0.0.1:80", "127.0.0.1:81"]);
        let find = |listener: usize, host| config.hosts[listener].find(Some(host));
        assert_eq!((find(0, "a.example"), find(0, "b.example"), find(0, "c"), find(1, "a.example")), (0, 1, 0, 1));
        let keys = |site: usize| (root(&config.sites[site].keys), config.sites[site].keys.max_ranges);
        assert_eq!(keys(0), (Some(Path::new("/top")), Some(5)));
        assert_eq!(keys(1), (Some(Path::new("/b")), Some(5)));
        assert_eq!((config.sites[0].locations.len(), config.sites[1].locations.len()), (1, 2));
    }

    /// Each row: a file, where the problem is, and what its message names.
    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        for (file, place, named) in [
            ("user = 'no-such-one'", "1:8", "user: there is no user \"no-such-one\"; make it"),
            ("user = 0", "1:8", "user: expected a text"),
            ("group = 'no-such-one'", "1:9", "group: there is no group \"no-such-one\""),
            ("core_dumps = 'yes'", "1:14", "core_dumps: expected true or false"),
            ("sandbox = 'strict'", "1:11", "sandbox: expected one of \"on\", \"off\""),
            ("sandbox_read = ['/', 'srv']", "1:22", "sandbox_read: \"srv\" does not begin with a slash"),
            ("sandbox_read = '/no/such/place'", "1:16", "sandbox_read: \"/no/such/place\" is no directory"),
            ("wrokers = 5", "1:1", "unknown key `wrokers`; did you mean `workers`?"),
            ("\n  rot = '/x'", "2:3", "did you mean `root`?"),
            ("workers = 0", "1:11", "workers: expected a number from 1"),
            ("workers = 'many'", "1:11", "workers: expected auto or a number"),
            ("workers = 1.5", "1:11", "found a fraction"),
            ("read_timeout = 0", "1:16", "read_timeout: expected a number from 1 to 86400, found 0"),
            ("read_timeout = -1", "1:16", "read_timeout"),
            ("read_timeout = '5'", "1:16", "read_timeout: expected a number from 1 to 86400, found a text"),
            ("keepalive_timeout = 100000", "1:21", "keepalive_timeout"),
            ("cache_size = '64 lightyears'", "1:14", "cache_size: expected bytes"),
            ("head_bytes_max = 1000000", "1:18", "head_bytes_max"),
            ("target_bytes_max = 20000", "1:20", "target_bytes_max"),
            ("max_ranges = 2000", "1:14", "max_ranges"),
            ("index = ['../x']", "1:9", "index: \"../x\" is not the name of a file"),
            ("listen = ['127.0.0.1:80', 'here']", "1:27", "listen: \"here\": not an address"),
            ("listen = ['127.0.0.1:80 proxy_protocol']", "1:11", "real_ip_from"),
            ("real_ip_from = ['10.0.0.0/33']", "1:16", "real_ip_from"),
            ("autoindex = 'htlm'", "1:13", "did you mean `html`?"),
            ("autoindex = true", "1:13", "autoindex: expected \"off\", \"html\""),
            ("server_name = 'a'", "1:1", "`server_name` belongs into a [[site]]"),
            ("[[site]]\nworkers = 2", "2:1", "`workers` belongs to the whole server"),
            ("[[site]]\nserver_name = 'a b'", "2:15", "server_name"),
            ("[[site]]\nserver_name = 'a'\n[[site]]\nserver_name = 'A'", "4:15", "another site"),
            ("[[site]]\n[[site.location]]\nindex = ['x']", "2:1", "`path` is missing"),
            ("[[location]]\npath = 'x/y'", "2:8", "path"),
            ("[[location]]\npath = '/'\nlisten = []", "3:1", "`listen` belongs to a whole [[site]]"),
            ("\"\\u0007\" = 1", "1:1", "unknown key `\\u{7}`"),
            ("try_files = ['$uri', 'index.html']", "1:22", "try_files"),
            ("try_files = ['=404', '/x']", "1:13", "=404"),
            ("redirect = { from = '/a' }", "1:12", "`to` is missing"),
            ("redirect = { from = '/a', to = '/b', status = 200 }", "1:47", "status"),
            ("redirect = { from = '/a', to = '/$1' }", "1:12", "redirect: to: "),
            ("rewrite = { from = '/a', to = 'b' }", "1:11", "rewrite: to: "),
            ("headers = { set = { 'X Y' = 'z' } }", "1:29", "set: \"X Y\" is not a field name"),
            ("headers = { set = { Content-Length = '5' } }", "1:38", "the server's own"),
            ("headers = { set = { X = \"a\\nb\" } }", "1:25", "no line ends"),
            ("cache_control = { 'a/b/c' = 'x' }", "1:29", "neither a media type nor a path"),
            ("expires = '30 days'", "1:11", "expires: expected"),
            ("cors = { origins = ['*'], credentials = true }", "1:8", "credentials"),
            ("cors = 'on'", "1:8", "cors: expected one of \"off\""),
            ("basic_auth = { file = '/no/such/file' }", "1:23", "cannot be read"),
            ("allow = ['10.0.0.0/8', 'there']", "1:9", "allow: \"there\" is no network"),
            ("deny = ['10.1.2.3/8']", "1:8", "deny: "),
            ("precompressed = ['brotli']", "1:18", "expected one of \"br\""),
            ("compress = ['br', 'br']", "1:19", "already"),
            ("types = { x = 'text' }", "1:15", "not a media type"),
            ("charset = 'utf 8'", "1:11", "not a charset"),
            ("nosniff = 'yes'", "1:11", "expected true or false"),
            ("error_page = { 200 = '/x' }", "1:22", "no error"),
            ("error_page = { 404 = 'x' }", "1:22", "not a path"),
            ("root = ", "1:8", ""),
            ("root = 'a'\nroot = 'b'", "2:1", "duplicate key"),
            ("[site]\nroot = 'a'", "1:1", "site: expected a list"),
        ] {
            let message = config(&Args::default(), file).expect_err(file);
            let first = message.lines().next().expect("a message has a line");
            assert!(first.starts_with(&format!("test:{place}: ")), "{file:?}: {message}");
            assert!(first.contains(named), "{file:?}: {message}");
            assert!(message.lines().count() == 4 && message.ends_with('^'), "{file:?}: {message}");
        }
    }

    #[test]
    fn a_bad_address_is_told_of_the_side_that_named_it() {
        let args = Args { address: vec!["here".to_owned()], ..Args::default() };
        let typed = Config::of_text(&args, "", "test").expect_err("no address");
        assert!(matches!(&typed, ConfigError::CommandLine(line) if line.contains("--address")), "{typed}");
        let written = Config::of_text(&Args::default(), "listen = ['here']", "test").expect_err("no address");
        assert!(matches!(&written, ConfigError::File(line) if line.contains("listen")), "{written}");
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let file = "workers = 2\nlisten = ['127.0.0.1:81', 'unix:/run/x']\nerror_page = { 404 = '/x' }\n\
                    [[site]]\nserver_name = 'a'\n[[site.location]]\npath = '/x'\nindex = ['y']";
        let printed = config(&with_root(), file).expect("valid").to_toml();
        let again = config(&Args::default(), &printed).expect("what we print, we read").to_toml();
        assert_eq!(again, printed);
        assert!(printed.contains("/srv") && printed.contains("[[site.location]]"), "{printed}");
    }
}
