//! The configuration file, over the real program: what is wrong is shown where it stands, what is right is served, and what
//! is printed can be read back.
//!
//! Invariant: whoever mistypes a key or a value sees the line, and a caret under what is meant.

use crate::harness::server::{Outcome, Setup, bare};
use crate::harness::site::write;
use crate::harness::tls::Pair;
use crate::harness::{Client, Method, Server, Site, eventually};
use otus_httpd::config::keys;
use std::path::{Path, PathBuf};

const ANN_SECRET: &str = "ann:$2y$04$PLMkgcyO4XLf3LRry8NdnulQCY1LMGj7osfY.tTC/hwSG7t1tDXHy\n";

/// Runs the program to its end with this file and these flags.
fn run(path: &Path, flags: &[&str]) -> Outcome {
    Setup::flags(flags).config_file(path).outcome()
}

/// Writes the file, and tells where.
fn file(site: &Site, text: &str) -> PathBuf {
    let path = site.outside().join("the.conf");
    write(&path, text);
    path
}

/// What is meant stands in `text` between guillemets; the message begins with `said`.
fn check(site: &Site, text: &str, said: &str) {
    let (before, rest) = text.split_once('\u{ab}').expect("each row marks a place");
    let (meant, behind) = rest.split_once('\u{bb}').expect("each row marks a place");
    let path = file(site, &[before, meant, behind].concat());
    let (above, left) = before.rsplit_once('\n').unwrap_or(("", before));
    let number = 1 + before.matches('\n').count();
    let column = 1 + left.chars().count();
    let line =
        [left, meant.lines().next().unwrap_or_default(), if meant.contains('\n') { "" } else { behind }].concat();
    let line = line.lines().next().unwrap_or_default().trim_end();
    let margin = " ".repeat(number.to_string().len());
    let indent: String = left.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let carets = "^".repeat(meant.lines().next().unwrap_or_default().chars().count().max(1));
    for flags in [&[][..], &["-t"], &["-T"]] {
        let outcome = run(&path, flags);
        assert_eq!(outcome.code, Some(1), "{text}: {}", outcome.stderr);
        // What a check reports has the error too.
        assert_eq!(outcome.stdout.contains("error    configuration: "), flags == ["-t"], "{text}: {}", outcome.stdout);
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 4, "{text}: {}", outcome.stderr);
        let place = format!("otus-httpd: {}:{number}:{column}: ", path.display());
        let message = lines[0].strip_prefix(&place).unwrap_or_else(|| panic!("{text} ({above}): {}", lines[0]));
        assert!(message.starts_with(said), "{text}: {message}");
        let shown = [format!("{margin} |"), format!("{number} | {line}"), format!("{margin} | {indent}{carets}")];
        assert_eq!(lines[1..], shown, "{text}");
    }
}

#[test]
fn what_is_wrong_is_shown_where_it_stands() {
    let site = Site::new();
    write(&site.outside().join("md5"), "# staff\nann:$apr1$UWtZmNhe$pWe93BPn0TPfGV50AhRu4.\n");
    let md5 = format!("basic_auth = {{ file = «'{}'» }}", site.outside().join("md5").display());
    for (text, said) in [
        // Names of keys, and what is near
        ("«wrokers» = 5", "unknown key `wrokers`; did you mean `workers`?"),
        ("\n\n  «rot» = '/x'", "unknown key `rot`; did you mean `root`?"),
        ("«autoidnex» = 'html'", "unknown key `autoidnex`; did you mean `autoindex`?"),
        ("\t«tryfiles» = []", "unknown key `tryfiles`; did you mean `try_files`?"),
        ("«real-ip-from» = []", "unknown key `real-ip-from`; did you mean `real_ip_from`?"),
        ("«nothing_like_it» = 1", "unknown key `nothing_like_it`"),
        ("«ROOT» = '/x'", "unknown key `ROOT`"),
        ("workers = 2\r\n«wrokers» = 2\r\nroot = '/'\r\n", "unknown key `wrokers`"),
        ("# größe\nindex = «['größe', '../x']»", "index: \"../x\" is not the name of a file"),
        ("types = { 'größe' = 'a/b', x = «'text'» }", "types: "),
        ("[[site]]\n«wrokers» = 2", "unknown key `wrokers`"),
        ("[[site]]\n[[site.location]]\npath = '/'\n«indx» = ['x']", "unknown key `indx`; did you mean `index`?"),
        ("redirect = { «form» = '/a', to = '/b' }", "unknown key `form`; did you mean `from`?"),
        ("cors = { «origin» = ['*'] }", "unknown key `origin`; did you mean `origins`?"),
        ("\n\n\n\n\n\n\n\n\n«x» = 1", "unknown key `x`"),
        // Keys in the wrong place
        ("«server_name» = 'a'", "`server_name` belongs into a [[site]]"),
        ("«path» = '/a'", "`path` belongs into a [[site]], or a [[location]]"),
        ("[[site]]\n«workers» = 2", "`workers` belongs to the whole server, above the first [[site]]"),
        ("[[site]]\n«real_ip_from» = []", "`real_ip_from` belongs to the whole server"),
        ("[[location]]\npath = '/'\n«listen» = []", "`listen` belongs to a whole [[site]]"),
        ("[[location]]\npath = '/'\n«server_name» = 'a'", "`server_name` belongs to a whole [[site]]"),
        ("[[site]]\n«[[site.location]]»\nindex = ['x']", "`path` is missing"),
        ("[site]\nroot = '/'", ""),
        // TOML itself
        ("root = «»", ""),
        ("root = '/a'\n«root» = '/b'", "duplicate key"),
        // Numbers, words, sizes, texts
        ("workers = «0»", "workers: expected a number from 1 to 1024, found 0"),
        ("workers = «1.5»", "workers: expected a number from 1 to 1024, found a fraction"),
        ("workers = «'many'»", "workers: expected auto or a number from 1 to 1024"),
        ("workers = «[2]»", "workers: expected a number from 1 to 1024, found a list"),
        ("read_timeout = «-1»", "read_timeout: expected a number from 1 to 86400, found -1"),
        ("read_timeout = «'5'»", "read_timeout: expected a number from 1 to 86400, found a text"),
        ("keepalive_timeout = «86401»", "keepalive_timeout: expected a number from 1 to 86400, found 86401"),
        ("send_timeout = «0x0»", "send_timeout: expected a number"),
        ("drain_timeout = «99999999999999999999»", "drain_timeout: expected a number from 1 to 86400"),
        ("checkalive = «true»", "checkalive: expected a number from 1 to 86400, found true or false"),
        ("head_bytes_max = «1000»", "head_bytes_max: expected a number from 1024 to"),
        ("target_bytes_max = «20000»", "target_bytes_max: expected a number from 128 to 16383"),
        ("cache_size = «'64 lightyears'»", "cache_size: expected bytes, such as 1048576 or \"64m\""),
        ("cache_file_size_max = «-1»", "cache_file_size_max: expected a number"),
        ("root = «5»", "root: expected a text in quotes, found a number"),
        (
            "autoindex = «'htlm'»",
            "autoindex: expected one of \"off\", \"html\", \"json\", \"auto\", found \"htlm\"; did you mean `html`?",
        ),
        ("autoindex_entries_max = «0»", "autoindex_entries_max: expected a number from 1 to"),
        ("hidden = «'yes'»", "hidden: expected one of \"deny\", \"allow\""),
        ("symlinks = «'below'»", "symlinks: expected one of \"beneath\", \"deny\", \"follow\""),
        ("nosniff = «'yes'»", "nosniff: expected true or false, found a text"),
        ("etag = «1»", "etag: expected true or false, found a number"),
        ("max_ranges = «1001»", "max_ranges: expected a number from 0 to 1000, found 1001"),
        ("charset = «'utf 8'»", "charset: \"utf 8\" is not a charset"),
        ("default_type = «'text'»", "default_type: \"text\" is not a media type"),
        ("types = { a = 'a/b', x = «'text'» }", "types: \"text\" is not a media type"),
        // Addresses
        ("listen = ['127.0.0.1:80', «'here'»]", "listen: \"here\": not an address"),
        ("listen = «'127.0.0.1:http'»", "listen: \"127.0.0.1:http\": \"http\" is not a port"),
        ("listen = «5»", "listen: expected a text in quotes, found a number"),
        ("listen = [«'unix:relative'»]", "listen: \"unix:relative\": the path of a Unix socket begins with a slash"),
        ("listen = [«'80 proxy_protocl'»]", "listen: \"80 proxy_protocl\": unknown word \"proxy_protocl\""),
        ("listen = [«'80 proxy_protocol'»]", "listen: proxy_protocol needs `real_ip_from`"),
        ("[[site]]\nlisten = [«'80 proxy_protocol'»]", "listen: proxy_protocol needs `real_ip_from`"),
        (
            "real_ip_from = ['all']\nlisten = «['127.0.0.1:80', '127.0.0.1:80 proxy_protocol']»",
            "listen: 127.0.0.1:80 is named with proxy_protocol in one place and without in another",
        ),
        (
            "real_ip_from = ['all']\nlisten = ['127.0.0.1:80']\n[[site]]\n[[site]]\nlisten = «['127.0.0.1:80 proxy_protocol']»",
            "listen: 127.0.0.1:80 is named with proxy_protocol",
        ),
        ("real_ip_from = «['10.0.0.0/33']»", "real_ip_from: \"10.0.0.0/33\" is no network"),
        ("real_ip_header = «'X-Real-IP'»", "real_ip_header: expected one of \"X-Forwarded-For\", \"Forwarded\""),
        ("allow = «['10.0.0.0/8', 'there']»", "allow: \"there\" is no network"),
        ("deny = «['10.1.2.3/8']»", "deny: \"10.1.2.3/8\" has bits behind its prefix; write `10.0.0.0/8`"),
        // Sites
        ("[[site]]\nserver_name = «'a b'»", "server_name: \"a b\" is no host name"),
        ("[[site]]\nserver_name = «'a:80'»", "server_name: \"a:80\" is no host name"),
        ("[[site]]\nserver_name = «['a', 'b.*']»", "server_name: \"b.*\" is no host name"),
        ("[[site]]\nserver_name = 'a'\n[[site]]\nserver_name = «['b', 'A']»", "server_name: another site"),
        ("[[site]]\nserver_name = '*.a'\n[[site]]\nserver_name = «'*.A'»", "server_name: another site"),
        // Patterns and rules
        ("[[location]]\npath = «'x/y'»", "path: a pattern with a slash in it"),
        ("[[location]]\npath = «'/a%20b'»", "path: patterns are held against decoded paths"),
        ("[[location]]\npath = «''»", "path: the pattern is empty"),
        ("index = «['index.html', '../x']»", "index: \"../x\" is not the name of a file"),
        ("try_files = ['$uri', «'index.html'»]", "try_files: \"index.html\" is none of"),
        ("try_files = «['=404', '/x']»", "try_files: \"=404\" ends the list"),
        ("try_files = ['$uri', «'=500'»]", "try_files: \"=500\" is none of"),
        ("redirect = «{ from = '/a' }»", "`to` is missing"),
        (
            "redirect = [{ from = '/a', to = '/b' }, «{ from = '/a', to = '/$1' }»]",
            "redirect: to: `$1` has no wildcard",
        ),
        ("redirect = { from = '/a', to = '/b', status = «200» }", "status: expected a number from 300 to 399"),
        ("redirect = «{ from = '/a', to = '/b', status = 304 }»", "redirect: status: 304 does not redirect"),
        ("redirect = «{ from = '/a', to = '//b' }»", "redirect: to: `//` in front means another host"),
        ("rewrite = «{ from = '/a', to = '/b?c' }»", "rewrite: to: a rewrite leads to a path of this site"),
        ("rewrite = «'/a /b'»", "rewrite: expected a table"),
        // Fields
        ("headers = { set = { 'X Y' = «'z'» } }", "set: \"X Y\" is not a field name"),
        ("headers = { set = { Content-Length = «'5'» } }", ""),
        ("headers = { set = { X = «\"a\\nb\"» } }", ""),
        ("cache_control = { 'a/b/c' = «'x'» }", "cache_control: \"a/b/c\" is neither a media type nor a path"),
        ("expires = «'30 days'»", "expires: expected \"off\", \"epoch\", \"max\""),
        ("cors = «{ origins = ['*'], credentials = true }»", "cors: "),
        ("cors = «'on'»", "cors: expected one of \"off\""),
        ("error_page = { 200 = «'/x'» }", "error_page: \"200\" is no error"),
        ("error_page = { 404 = «'x'» }", "error_page: \"x\" is not a path"),
        ("precompressed = [«'brotli'»]", "precompressed: expected one of \"br\", \"zstd\", \"gzip\""),
        ("compress = ['br', «'br'»]", "compress: it stands in the list already"),
        // Users, whose file is read while somebody looks
        ("basic_auth = { file = «'/no/such/file'» }", "file: /no/such/file: cannot be read"),
        (&md5, "file: "),
        ("basic_auth = «{ realm = 'a\"b', file = '/x' }»", "basic_auth: realm: only visible characters"),
        ("basic_auth = «{ realm = 'a' }»", "`file` is missing"),
        ("basic_auth = «'on'»", "basic_auth: expected one of \"off\""),
        // A terminal is not told what to do
        ("«\"\\u001b[2J\"» = 1", "unknown key `\\u{1b}[2J`"),
    ] {
        let text = if text == "[site]\nroot = '/'" { "«[site]»\nroot = '/'" } else { text };
        check(&site, text, said);
    }
}

/// Files that cannot be read at all are named as well.
#[test]
fn files_that_are_none() {
    let site = Site::new();
    std::fs::write(site.path("latin1"), b"root = '/gr\xf6\xdfe'\n").expect("a file of the test");
    for (path, cause) in [
        (PathBuf::from("/no/such/file.conf"), "cannot be read: No such file"),
        (site.root(), "cannot be read: "),
        (site.path("latin1"), "cannot be read: "),
    ] {
        for flags in [&[][..], &["-t"], &["-T"]] {
            let outcome = run(&path, flags);
            assert_eq!((outcome.code, outcome.stdout.is_empty()), (Some(1), flags != ["-t"]), "{}", outcome.stderr);
            let expected = format!("otus-httpd: {}: {cause}", path.display());
            assert!(outcome.stderr.starts_with(&expected), "{}", outcome.stderr);
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        }
    }
}

/// Every key, with a value other than its default.
const EVERY_KEY: &str = "\
listen = ['127.0.0.1:0', '127.0.0.2:0 proxy_protocol', 'unix:OUTSIDE/socket', '127.0.0.3:0 tls']
real_ip_from = ['127.0.0.0/8', 'unix']
real_ip_header = 'Forwarded'
workers = 1
user = 'MYSELF'
group = 'MYGROUP'
core_dumps = true
sandbox = 'on'
sandbox_read = ['OUTSIDE']
read_timeout = 14
keepalive_timeout = 64
send_timeout = 59
head_rate_min = 99
send_rate_min = '1k/s'
max_connections = 1000
max_connections_per_client = 100
keepalive_requests = 1000
fields_max = 50
drain_timeout = 1
drain_delay = 0
admin = { listen = ['unix:OUTSIDE/admin', '127.0.0.1:0'], public = false }
checkalive = 4
error_log = 'OUTSIDE/error.log'
log_level = 'warn'
access_log = [{ to = 'OUTSIDE/access.log', format = '$status $uri', escape = 'json', sample = 3, only = 'errors' }, 'OUTSIDE/x.log']
tls = { certificate = 'OUTSIDE/example.org.crt', key = 'OUTSIDE/example.org.key', min_version = '1.3', hsts = '1d' }
http2 = false
h2c = true
http2_streams_max = 100
tls_handshakes = { rate = '100/s', burst = 200 }
head_bytes_max = 8192
target_bytes_max = 4096
cache_size = '16m'
cache_file_size_max = '64k'
root = 'ROOT/main'
index = ['start.html', 'index.html']
autoindex = 'auto'
autoindex_entries_max = 100
try_files = ['$uri', '$uri.html', '$uri/', '/fallback.txt']
redirect = [{ from = '/old/**', to = '/new/$1', status = 308 }, { from = '/away', to = 'https://$host/?q=1#x' }]
rewrite = { from = '/v1/*', to = '/data/$1.json' }
headers = [{ set = { X-All = 'yes' } }, { path = '*.txt', add = { X-Txt = ['a', 'b'] }, remove = ['Server'] }]
cache_control = { '*.txt' = 'no-cache', 'application/*' = 'max-age=7', '*' = 'off' }
expires = { 'application/json' = '1h', '*.png' = 'max', '*' = 'epoch' }
# All else here is asked for without TLS.
redirect_https = false
cors = { origins = ['https://app.example'], headers = ['X-Asked'], max_age = 60, credentials = true }
basic_auth = 'off'
allow = ['all']
deny = ['192.0.2.0/24', '2001:db8::/32']
hidden = 'allow'
symlinks = 'deny'
precompressed = ['br', 'gzip']
compress = ['zstd']
types = { foo = 'text/x-foo' }
default_type = 'text/plain'
charset = 'utf-8'
nosniff = true
etag = false
max_ranges = 2
error_page = { 403 = '/403.html', 40x = '/40x.html', 50x = '/50x.html' }
limit_rate = '100m'
limit_rate_after = '1m'
limit_requests = { rate = '1000/s', burst = 2000 }

[[location]]
path = '/staff/'
basic_auth = { realm = 'staff', file = 'OUTSIDE/users' }

[[site]]
server_name = ['example.org', '*.example.org', '[::1]']

[[site]]
server_name = 'other.example'
listen = ['unix:OUTSIDE/other', '127.0.0.1:0']
root = 'ROOT/other'

[[site.location]]
path = '/closed/**/*.txt'
deny = ['all']
error_page = {}
";

fn full_site() -> (Site, String) {
    let site = Site::new();
    for name in ["main/start.html", "main/about.html", "main/fallback.txt", "main/data/a.json", "main/x.foo"] {
        site.file(name, name);
    }
    for name in ["main/.dot", "main/403.html", "main/40x.html", "main/staff/x.html", "other/start.html", "main/README"]
    {
        site.file(name, name);
    }
    site.file("main/list/b", "b");
    site.file("other/closed/x/y.txt", "y");
    write(&site.outside().join("users"), ANN_SECRET);
    Pair::new(&site, &["example.org"]);
    let text = EVERY_KEY
        .replace("ROOT", &site.root().display().to_string())
        .replace("OUTSIDE", &site.outside().display().to_string())
        .replace("MYSELF", &rustix::process::geteuid().as_raw().to_string())
        .replace("MYGROUP", &rustix::process::getegid().as_raw().to_string());
    (site, text)
}

/// Answers of a server with [`EVERY_KEY`]: each shows some of the keys at work.
fn check_full(site: &Site, server: &Server) {
    eventually("a line an address", || server.announcements().len() == 6);
    let client = |host: &str| server.client().host(host);
    for (host, target, status, content) in [
        ("example.org", "/", 200, "main/start.html"),
        ("example.org", "/about", 200, "main/about.html"),
        ("nobody.example", "/none", 200, "main/fallback.txt"),
        ("example.org", "/v1/a", 200, "main/data/a.json"),
        ("example.org", "/.dot", 200, "main/.dot"),
        ("example.org", "/old/x", 308, ""),
        ("example.org", "/away", 301, ""),
        ("example.org", "/staff/x.html", 401, "main/40x.html"),
        ("example.org", "/list/", 200, ""),
        // The first listener is not that of the other site
        ("other.example", "/", 200, "main/start.html"),
    ] {
        let response = client(host).get(target);
        assert_eq!(response.status, status, "{host}: {target}");
        assert!(content.is_empty() || response.content == content.as_bytes(), "{host}: {target}");
        assert_eq!(response.field("X-All"), Some("yes"), "{host}: {target}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"), "{host}: {target}");
        assert_eq!(response.field("ETag"), None, "{host}: {target}");
    }
    let typed = client("a.example.org").get("/x.foo");
    assert_eq!(typed.field("Content-Type"), Some("text/x-foo; charset=utf-8"));
    assert_eq!(client("a").get("/README").field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(client("[::1]:80").get("/away").field("Location"), Some("https://[::1]/?q=1#x"));
    let denied = client("a").ask(Method::Get, "/", "Forwarded: for=192.0.2.9\r\n");
    assert_eq!((denied.status, &denied.content[..]), (403, &b"main/403.html"[..]));
    let staff = client("a").ask(Method::Get, "/staff/x.html", "Authorization: Basic YW5uOnNlY3JldA==\r\n");
    assert_eq!((staff.status, &staff.content[..]), (200, &b"main/staff/x.html"[..]));
    let shared = client("a").ask(Method::Get, "/v1/a", "Origin: https://app.example\r\n");
    assert_eq!(shared.field("Access-Control-Allow-Origin"), Some("https://app.example"));
    assert_eq!(shared.field("Cache-Control"), Some("max-age=7"));
    // PROXY headers, and the Unix sockets
    let proxied = server.addresses().into_iter().find(|address| address.ip().to_string() == "127.0.0.2");
    let mut client = Client::connect(proxied.expect("it is announced"));
    client.send("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n");
    assert_eq!(client.get("/").status, 403);
    let mut client = Client::connect_unix(&site.outside().join("socket"));
    assert_eq!(client.get("/").content, b"main/start.html");
    let mut client = Client::connect_unix(&site.outside().join("other"));
    assert_eq!(client.get("/").content, b"other/start.html");
    assert_eq!(client.get("/closed/x/y.txt").status, 403);
}

#[test]
fn a_file_with_every_key() {
    for key in keys::SERVER.iter().chain(keys::SITE) {
        assert!(EVERY_KEY.lines().any(|line| line.starts_with(&format!("{} = ", key.name))), "{} is missing", key.name);
    }
    let (site, text) = full_site();
    let path = file(&site, &text);
    let good = run(&path, &["-t"]);
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), "otus-httpd: the configuration is good\n"));
    assert!(!site.outside().join("socket").exists(), "a check leaves nothing");
    check_full(&site, &Setup::flags([""; 0]).config_file(&path).start());

    // What is printed is the same configuration: it prints itself, and serves the same.
    let printed = run(&path, &["-T"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let path = file(&site, &printed.stdout);
    assert_eq!(bare(&run(&path, &["-T"]).stdout), bare(&printed.stdout));
    check_full(&site, &Setup::flags([""; 0]).config_file(&path).start());
}

/// What is printed is what is in force: the command line beats the file, and defaults are filled in.
#[test]
fn what_is_in_force_is_printed() {
    let site = Site::new();
    let of_sites = "listen = ['127.0.0.8:1']\n[[site]]\nserver_name = 'a'\nlisten = ['127.0.0.9:1']\n[[site]]\nserver_name = 'b'\n";
    for (text, flags, said, unsaid) in [
        ("", &[][..], &["listen = [\"127.0.0.1:8080\"]", "read_timeout = 15"][..], &[][..]),
        ("root = '/srv'", &[], &["root = \"/srv\"", "listen = [\"0.0.0.0:8080\", \"[::]:8080\"]"], &[]),
        ("root = '/srv'", &["-r", "/tmp"], &["root = \"/tmp\""], &["/srv"]),
        ("root = '/srv'", &["-p", "81"], &["listen = [\"0.0.0.0:81\", \"[::]:81\"]"], &[":8080"]),
        ("listen = ['82']", &["-p", "81"], &["listen = [\"127.0.0.1:81\"]"], &[":82"]),
        ("listen = ['82']", &["-a", "::1", "-p", "81"], &["listen = [\"[::1]:81\"]"], &[":82"]),
        (
            "workers = 3\nread_timeout = 9",
            &["-w", "2", "--read-timeout", "7"],
            &["workers = 2", "read_timeout = 7"],
            &[],
        ),
        ("checkalive = 3", &["--checkalive", "8"], &["checkalive = 8"], &[]),
        ("workers = 2\ncache_size = '64m'", &[], &["cache_file_size_max = 8388608"], &[]),
        ("cache_size = '2k'\ncache_file_size_max = 5", &[], &["cache_size = 2048", "cache_file_size_max = 5"], &[]),
        // Sites with addresses of their own keep them, unless the command line moves them
        (of_sites, &[], &["listen = [\"127.0.0.8:1\"]", "listen = [\"127.0.0.9:1\"]"], &[]),
        (of_sites, &["-a", "127.0.0.1:5"], &["listen = [\"127.0.0.1:5\"]"], &["127.0.0.8", "127.0.0.9"]),
        (of_sites, &["-p", "5"], &["listen = [\"127.0.0.1:5\"]"], &["127.0.0.8", "127.0.0.9"]),
    ] {
        let path = file(&site, text);
        let flags: Vec<_> = flags.iter().copied().chain(["-T"]).collect();
        let printed = run(&path, &flags);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{text}");
        for line in said {
            assert!(bare(&printed.stdout).contains(line), "{text} {flags:?}: {line} in {}", printed.stdout);
        }
        for part in unsaid {
            assert!(
                !bare(&printed.stdout).iter().any(|line| line.contains(part)),
                "{text} {flags:?}: {part} in {}",
                printed.stdout
            );
        }
        let path = file(&site, &printed.stdout);
        assert_eq!(bare(&run(&path, &["-T"]).stdout), bare(&printed.stdout), "{text}: what is printed prints itself");
    }
}

/// Small files that are good, in every form in which people write TOML.
#[test]
fn files_that_are_good() {
    let site = Site::new();
    for text in [
        "",
        "\n",
        "# nothing but a comment",
        "workers = 2\r\nread_timeout = 5\r\n",
        "workers = \"auto\"",
        "workers = 0x2",
        "workers = 1_000",
        "listen = '127.0.0.1:0'",
        "listen = [\n  '127.0.0.1:0', # a comment\n]",
        "error_page.404 = '/x'\nerror_page.50x = '/y'",
        "[error_page]\n404 = '/x'",
        "[[redirect]]\nfrom = '/a'\nto = '/b'\n[[redirect]]\nfrom = '/c'\nto = '/d'",
        "[types]\nfoo = 'a/b'\n[[site]]\nserver_name = []",
        "allow = []\ndeny = []",
        "charset = 'off'\nexpires = 'off'\ncors = 'off'\nbasic_auth = 'off'",
        "[[site]]\nserver_name = ['a', 'A']",
        "\"workers\" = 2\n'root' = '/'",
    ] {
        let workers = if text.contains("1_000") { "-T" } else { "-t" };
        let outcome = Setup::flags(["-p", "0", workers]).config_file(file(&site, text)).outcome();
        assert_eq!(outcome.code, Some(0), "{text:?}: {}", outcome.stderr);
    }
}
