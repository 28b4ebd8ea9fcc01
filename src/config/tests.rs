//! What configurations mean, and what is said of bad ones: tables over texts.

use super::*;
use crate::site::policy::PolicyKeys;
use std::path::Path;

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
        ("max_connections = -1", "1:19", "max_connections: expected a number from 0"),
        ("fields_max = 101", "1:14", "fields_max: expected a number from 1 to 100"),
        ("send_rate_min = 'fast'", "1:17", "send_rate_min: expected bytes a second"),
        ("limit_rate = '1 parsec'", "1:14", "limit_rate: expected bytes a second"),
        ("limit_requests = 'on'", "1:18", "limit_requests: expected one of \"off\""),
        ("limit_requests = { burst = 5 }", "1:18", "`rate` is missing"),
        ("limit_requests = { rate = '10' }", "1:27", "rate: expected requests a second, minute or hour"),
        ("limit_requests = { rate = '1/s', burst = 0 }", "1:42", "burst: expected a number from 1"),
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

/// The lines without the places that they come from.
fn bare(printed: &str) -> Vec<&str> {
    printed.lines().map(|line| line.split_once("# ").map_or(line, |(line, _)| line).trim_end()).collect()
}

#[test]
fn what_is_printed_can_be_read_back() {
    let file = "workers = 2\nlisten = ['127.0.0.1:81', 'unix:/run/x']\nerror_page = { 404 = '/x' }\n\
                [[site]]\nserver_name = 'a'\n[[site.location]]\npath = '/x'\nindex = ['y']";
    let printed = config(&with_root(), file).expect("valid").to_toml();
    let again = config(&Args::default(), &printed).expect("what we print, we read").to_toml();
    assert_eq!(bare(&again), bare(&printed));
    for line in [
        "workers = 2  # test:1",
        "read_timeout = 15  # default",
        "root = \"/srv\"  # --document-root on the command line",
        "error_page = { 404 = \"/x\" }  # test:3",
        "autoindex = \"off\"  # default",
        "[[site]]  # test:4",
        "[[site.location]]  # test:6",
        "index = [\"y\"]  # test:8",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in {printed}");
    }
}

/// Every key stands in what an empty file comes to, and all of it means nothing new.
#[test]
fn every_key_is_printed_with_its_default() {
    let printed = config(&Args::default(), "").expect("valid").to_toml();
    for key in keys::SERVER.iter().chain(keys::SITE) {
        let is_there = |line: &str| line.starts_with(&format!("{} = ", key.name)) && line.ends_with("  # default");
        let is_said = |line: &str| line.starts_with(&format!("# {}: ", key.name));
        assert!(printed.lines().any(|line| is_there(line) || is_said(line)), "{} is not in {printed}", key.name);
    }
    let again = config(&Args::default(), &printed).expect("defaults are valid");
    assert_eq!(bare(&again.to_toml()), bare(&printed));
    let (again, before) = (again.server_options(), config(&Args::default(), "").expect("valid").server_options());
    assert_eq!(again.listen.len(), before.listen.len());
}
