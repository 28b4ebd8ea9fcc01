//! What is meant: the configuration file and the command line together, with every default, and
//! from them the options of the layers below.
//!
//! Order: command line, then file, then default: the first that says something counts.
//!
//! Invariant: an effective [`Config`] is complete and consistent; nothing below asks again.

use crate::cli::{Args, WORKERS_MAX, Workers, parse_workers};
use crate::connection::roster;
use crate::http::request::{HEAD_BYTES_CEILING, HeadLimits};
use crate::server::{self, Listen};
use crate::storage::cache::Budget;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Read when no other file is named, if it exists.
pub const DEFAULT_FILE: &str = "/etc/otus-httpd.conf";

const DEFAULT_PORT: u16 = 8080;

/// Everything that can be said in the configuration file, with the values in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Addresses to listen on, each with its port.
    pub listen: Vec<SocketAddr>,
    /// The document root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Names tried, in order, for a path that names a directory.
    pub index: Vec<String>,
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
    /// Ranges of one request that are answered.
    pub max_ranges: usize,
    /// Bytes of file content that all workers together keep in memory.
    pub cache_size: u64,
    /// Bytes of the largest file that is kept in memory.
    pub cache_file_size_max: u64,
    /// Whether nobody chose the addresses: one that this machine lacks is then no error.
    #[serde(skip)]
    listen_is_default: bool,
}

/// The configuration file as it is written; every key may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Vec<String>>,
    root: Option<PathBuf>,
    index: Option<Vec<String>>,
    workers: Option<FileWorkers>,
    read_timeout: Option<u32>,
    keepalive_timeout: Option<u32>,
    send_timeout: Option<u32>,
    drain_timeout: Option<u32>,
    checkalive: Option<u32>,
    head_bytes_max: Option<usize>,
    target_bytes_max: Option<usize>,
    max_ranges: Option<usize>,
    cache_size: Option<Bytes>,
    cache_file_size_max: Option<Bytes>,
}

/// `workers = 4` and `workers = "auto"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileWorkers {
    Number(usize),
    Text(String),
}

/// `cache_size = 67108864` and `cache_size = "64m"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Number(u64),
    Text(String),
}

/// What is wrong with the configuration: one line that names the place and the remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An option on the command line.
    #[error("{0}")]
    CommandLine(String),
    /// The configuration file, or what it and the command line make together.
    #[error("{0}")]
    File(String),
}

impl Config {
    /// The configuration in force for this command line.
    pub fn load(args: &Args) -> Result<Config, ConfigError> {
        let default_file = Path::new(DEFAULT_FILE);
        match &args.config {
            Some(path) => Config::merge(args, read_file(path)?, path),
            None if default_file.exists() => Config::merge(args, read_file(default_file)?, default_file),
            None => Config::merge(args, File::default(), Path::new("defaults")),
        }
    }

    /// `name` is what errors of the file are told of.
    fn merge(args: &Args, file: File, name: &Path) -> Result<Config, ConfigError> {
        let wrong_file = |what: String| ConfigError::File(format!("{}: {what}", name.display()));
        let port = args.port.unwrap_or(DEFAULT_PORT);
        let typed = addresses(&args.address, port)
            .map_err(|what| ConfigError::CommandLine(format!("invalid value for '--address <ADDR>': {what}")))?;
        Config::merge_checked(args, file, typed).map_err(wrong_file)
    }

    fn merge_checked(args: &Args, file: File, typed: Vec<SocketAddr>) -> Result<Config, String> {
        let root = args.document_root.clone().or(file.root);
        let workers = match (args.workers, file.workers) {
            (Some(typed), _) => typed,
            (None, None) => Workers::Auto,
            (None, Some(FileWorkers::Text(text))) => parse_workers(&text).map_err(|what| format!("workers: {what}"))?,
            (None, Some(FileWorkers::Number(number))) if (1..=WORKERS_MAX).contains(&number) => Workers::Fixed(number),
            (None, Some(FileWorkers::Number(_))) => {
                return Err(format!("workers: expected \"auto\" or a number from 1 to {WORKERS_MAX}"));
            }
        };
        // A port on the command line moves the server away from the addresses of the file.
        let port = args.port.unwrap_or(DEFAULT_PORT);
        let listen = match file.listen {
            _ if !typed.is_empty() => typed,
            Some(texts) if args.port.is_none() => addresses(&texts, port).map_err(|what| format!("listen: {what}"))?,
            _ => Vec::new(),
        };
        let listen_is_default = listen.is_empty();
        let listen = if listen_is_default { default_listen(root.is_some(), port) } else { listen };
        let config = Config {
            listen,
            root,
            index: file.index.unwrap_or_else(|| vec!["index.html".to_owned()]),
            workers: match workers {
                Workers::Fixed(number) => number,
                // Affinity and the cgroup's quota are both taken into account.
                Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            },
            read_timeout: seconds("read_timeout", args.read_timeout.or(file.read_timeout), 15)?,
            keepalive_timeout: seconds("keepalive_timeout", file.keepalive_timeout, 65)?,
            send_timeout: seconds("send_timeout", file.send_timeout, 60)?,
            drain_timeout: seconds("drain_timeout", file.drain_timeout, 30)?,
            checkalive: seconds("checkalive", args.checkalive.or(file.checkalive), 5)?,
            head_bytes_max: file.head_bytes_max.unwrap_or(16 * 1024),
            target_bytes_max: file.target_bytes_max.unwrap_or(8 * 1024),
            max_ranges: file.max_ranges.unwrap_or(16),
            cache_size: bytes("cache_size", file.cache_size, 128 * 1024 * 1024)?,
            cache_file_size_max: bytes("cache_file_size_max", file.cache_file_size_max, 1024 * 1024)?,
            listen_is_default,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !(1024..=HEAD_BYTES_CEILING).contains(&self.head_bytes_max) {
            return Err(format!("head_bytes_max: expected a number from 1024 to {HEAD_BYTES_CEILING}"));
        }
        if self.target_bytes_max < 128 || self.target_bytes_max >= self.head_bytes_max {
            return Err("target_bytes_max: expected a number from 128 to less than head_bytes_max".to_owned());
        }
        if self.max_ranges > RANGES_CEILING {
            return Err(format!("max_ranges: expected a number from 0 to {RANGES_CEILING}"));
        }
        for name in &self.index {
            if name.is_empty() || name.contains('/') || name.contains('\0') || name.starts_with('.') {
                return Err(format!("index: {name:?} is not the name of a file in a directory"));
            }
        }
        Ok(())
    }

    /// The options of the server.
    pub fn server_options(&self) -> server::Options {
        let optional = self.listen_is_default;
        server::Options {
            listen: self.listen.iter().map(|address| Listen { address: *address, optional }).collect(),
            root: self.root.clone(),
            index: self.index.clone(),
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
            head_limits: HeadLimits { head_bytes_max: self.head_bytes_max, target_bytes_max: self.target_bytes_max },
            ranges_max: self.max_ranges,
            cache: Budget {
                bytes_max: self.cache_size / self.workers as u64,
                content_bytes_max: self.cache_file_size_max,
            },
        }
    }

    /// The configuration in force as a configuration file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers, texts and lists can be written")
    }
}

/// One read of the disk; a disk that takes longer is broken.
const DISK_SECONDS: u32 = 60;

/// Reading away unwanted content, before a connection is dropped.
const LINGER_SECONDS: u32 = 5;

/// Whoever names a directory wants it served to others; the welcome page is for this machine.
fn default_listen(has_root: bool, port: u16) -> Vec<SocketAddr> {
    if has_root {
        vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
    } else {
        vec![(Ipv4Addr::LOCALHOST, port).into()]
    }
}

/// The addresses that `texts` name, each once.
fn addresses(texts: &[String], port: u16) -> Result<Vec<SocketAddr>, String> {
    let mut listen = Vec::new();
    for text in texts {
        for address in parse_address(text, port).map_err(|what| format!("{text:?}: {what}"))? {
            // Named twice, it could not be bound twice; port 0 is another port each time.
            if address.port() == 0 || !listen.contains(&address) {
                listen.push(address);
            }
        }
    }
    Ok(listen)
}

/// `127.0.0.1`, `127.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`, `localhost`, `localhost:80`.
fn parse_address(text: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, number)) => {
            let number = number.parse().map_err(|_| format!("{number:?} is not a port from 0 to 65535"))?;
            (host, number)
        }
        None => (text, port),
    };
    match (host, port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(format!("not an address, and no name that resolves to one: {error}")),
    }
}

/// A head of the usual limit names few more.
const RANGES_CEILING: usize = 1000;

const SECONDS_MAX: u32 = 86_400;

fn seconds(key: &str, value: Option<u32>, default: u32) -> Result<u32, String> {
    match value.unwrap_or(default) {
        seconds @ 1..=SECONDS_MAX => Ok(seconds),
        _ => Err(format!("{key}: expected seconds from 1 to {SECONDS_MAX}")),
    }
}

fn bytes(key: &str, value: Option<Bytes>, default: u64) -> Result<u64, String> {
    let text = match value {
        None => return Ok(default),
        Some(Bytes::Number(number)) => return Ok(number),
        Some(Bytes::Text(text)) => text,
    };
    let lower = text.trim().to_ascii_lowercase();
    let (digits, unit) = match lower.char_indices().next_back() {
        Some((at, 'k')) => (&lower[..at], 1 << 10),
        Some((at, 'm')) => (&lower[..at], 1 << 20),
        Some((at, 'g')) => (&lower[..at], 1 << 30),
        _ => (&lower[..], 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| format!("{key}: expected bytes, such as 1048576 or \"64m\""))
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::File(format!("{}: cannot be read: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text.as_bytes()[..at];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
        let message: Vec<_> = error.message().split_whitespace().collect();
        ConfigError::File(format!("{}:{line}:{column}: {}", path.display(), message.join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(args: Args, file: &str) -> Result<Config, String> {
        let file = toml::from_str(file).map_err(|error| error.message().to_owned())?;
        Config::merge(&args, file, Path::new("test")).map_err(|error| error.to_string())
    }

    fn with_root() -> Args {
        Args { document_root: Some("/srv".into()), ..Args::default() }
    }

    fn listen(config: &Config) -> Vec<String> {
        config.listen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults() {
        let config = merged(Args::default(), "").expect("nothing is valid");
        assert_eq!(listen(&config), ["127.0.0.1:8080"]);
        assert_eq!(config.index, ["index.html"]);
        let times = (config.read_timeout, config.keepalive_timeout, config.send_timeout, config.drain_timeout);
        assert_eq!(times, (15, 65, 60, 30));
        assert_eq!(config.checkalive, 5);
        assert!(config.workers >= 1);
        let config = merged(with_root(), "").expect("a root is enough");
        assert_eq!(listen(&config), ["0.0.0.0:8080", "[::]:8080"]);
    }

    #[test]
    fn the_command_line_beats_the_file() {
        let file = "root = '/file'\nlisten = ['127.0.0.2:81']\nworkers = 3\nread_timeout = 9\ncache_size = '2m'";
        let config = merged(Args::default(), file).expect("valid");
        assert_eq!((config.root.as_deref(), config.workers), (Some(Path::new("/file")), 3));
        assert_eq!((config.read_timeout, config.cache_size), (9, 2 << 20));
        assert_eq!(listen(&config), ["127.0.0.2:81"]);
        let args = Args {
            address: vec!["[::1]:82".to_owned(), "127.0.0.1".to_owned()],
            port: Some(83),
            workers: Some(Workers::Fixed(1)),
            ..with_root()
        };
        let config = merged(args, file).expect("valid");
        assert_eq!(listen(&config), ["[::1]:82", "127.0.0.1:83"]);
        assert_eq!((config.root.as_deref(), config.workers), (Some(Path::new("/srv")), 1));
    }

    #[test]
    fn addresses_in_every_form() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("::1", "[::1]:80"),
            ("[::1]", "[::1]:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            let addresses = parse_address(text, 80).expect(text);
            assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
        // A bare system may know no names at all; whatever it says of this one, we say.
        let resolved = ("localhost", 81).to_socket_addrs().ok().map(Vec::from_iter);
        assert_eq!(parse_address("localhost:81", 80).ok(), resolved);
        for text in ["", "127.0.0.1:http", "127.0.0.1:99999", "no.such.name.invalid"] {
            assert!(parse_address(text, 80).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, named) in [
            ("wrokers = 5", "wrokers"),
            ("workers = 0", "workers"),
            ("workers = 'many'", "workers"),
            ("read_timeout = 0", "read_timeout"),
            ("keepalive_timeout = 100000", "keepalive_timeout"),
            ("cache_size = '64 lightyears'", "cache_size"),
            ("head_bytes_max = 1000000", "head_bytes_max"),
            ("target_bytes_max = 20000", "target_bytes_max"),
            ("max_ranges = 2000", "max_ranges"),
            ("index = ['../x']", "index"),
            ("listen = ['here']", "here"),
        ] {
            let message = merged(Args::default(), file).expect_err(file);
            assert!(message.contains(named), "{file}: {message}");
        }
    }

    #[test]
    fn a_bad_address_is_told_of_the_side_that_named_it() {
        let args = Args { address: vec!["here".to_owned()], ..Args::default() };
        let typed = Config::merge(&args, File::default(), Path::new("test")).expect_err("no address");
        assert!(matches!(&typed, ConfigError::CommandLine(line) if line.contains("--address")), "{typed}");
        let file = File { listen: Some(vec!["here".to_owned()]), ..File::default() };
        let written = Config::merge(&Args::default(), file, Path::new("test")).expect_err("no address");
        assert!(matches!(&written, ConfigError::File(line) if line.starts_with("test: listen")), "{written}");
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let config = merged(with_root(), "workers = 2\nlisten = ['127.0.0.1:81']").expect("valid");
        let again = merged(Args::default(), &config.to_toml()).expect("what we print, we read");
        assert_eq!(again, config);
    }
}
