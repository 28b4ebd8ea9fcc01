//! Every key of the configuration file, with its default and its meaning: what the check knows, and what
//! docs/configuration.md says.
//!
//! Invariant: a key stands here once, and the document holds exactly the tables that [`markdown`] makes.

/// A key of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, in Markdown: the value as it would be written, in backquotes, with a word behind it or none; or words alone,
    /// where no value says it.
    pub default: &'static str,
    /// What it is for, in Markdown.
    pub meaning: &'static str,
    sample: Option<&'static str>,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning, sample: None }
}

impl Key {
    /// The same key with a value for the sample, in TOML: for those whose default is no value, or would show nothing.
    const fn sample(self, value: &'static str) -> Key {
        Key { sample: Some(value), ..self }
    }

    /// The default as a value in TOML, where one says it.
    pub fn default_value(&self) -> Option<&'static str> {
        self.default.strip_prefix('`')?.split_once('`').map(|(value, _)| value)
    }

    /// The value that the sample shows.
    pub fn sample_value(&self) -> &'static str {
        self.sample.or_else(|| self.default_value()).expect("a test sees to it")
    }
}

/// Keys of the whole server.
pub const SERVER: &[Key] = &[
    key(
        "listen",
        "with a root `[\"8080\"]`, without one `[\"127.0.0.1:8080\"]`",
        "addresses: `\"127.0.0.1:80\"`, `\"[::1]:80\"`, `\"80\"` (all addresses of the machine), `\"unix:/run/otus.sock\"`. \
         `[::]` is IPv6 alone. A default address that the machine lacks is left out; one that you name must work. \
         `proxy_protocol` behind an address: connections begin with a PROXY header, version 1 or 2. `tls` behind an address: HTTPS, with \
         the certificates of `[tls]` and `[site.tls]`: `\"443 tls\"`",
    )
    .sample("[\"80\"]"),
    key(
        "real_ip_from",
        "`[]`",
        "proxies whose word on a client's address is taken: addresses, networks such as `\"10.0.0.0/8\"`, `\"unix\"` for those \
         on a Unix socket",
    ),
    key(
        "real_ip_header",
        "`\"X-Forwarded-For\"`",
        "the field in which they name the client; or `\"Forwarded\"`. The right-most address that is none of the proxies counts",
    ),
    key(
        "workers",
        "`\"auto\"`",
        "threads, each bound to one core; `\"auto\"` is one for each core that the process may use, by affinity and by the \
         cgroup's quota",
    ),
    key(
        "user",
        "started as root: the first of `otus-httpd`, `www-data`, `nobody` that there is",
        "the account that the server takes on once its addresses are bound; by name or number. Root only if this says `\"root\"`. \
         A server that was not started as root can be nobody but who it is",
    )
    .sample("\"otus-httpd\""),
    key("group", "that of `user`", "its group; those that the account is a further member of are kept").sample("\"otus-httpd\""),
    key("core_dumps", "`false`", "whether the kernel may write the memory of a server that crashed to disk"),
    key(
        "sandbox",
        "`\"on\"`",
        "workers reach nothing but what they serve, by the kernel's Landlock; before Linux 5.13 they do without, and the log says so; \
         `\"off\"`: whatever the account may",
    ),
    key(
        "sandbox_read",
        "`[]`",
        "directories that workers may read beside the document roots, by their absolute paths: where `symlinks = \"follow\"` leads",
    ),
    key(
        "read_timeout",
        "`15`",
        "seconds for a request head, from its first byte to its last, and for that first byte on a new connection",
    ),
    key("keepalive_timeout", "`65`", "seconds that an idle connection is kept"),
    key(
        "send_timeout",
        "`60`",
        "seconds in which a client must take something of an answer: what it has acknowledged counts",
    ),
    key(
        "head_rate_min",
        "`100`",
        "bytes a second of a request head that must come, counted from its beginning once 5 seconds are over; else 408; `0` is none",
    ),
    key(
        "send_rate_min",
        "`250`",
        "bytes a second of an answer that a client must take, as far as it acknowledges them, averaged over half of `send_timeout` and 30 seconds \
         at most; else its connection is reset; `0` is none",
    ),
    key(
        "max_connections",
        "half of the limit of open files",
        "connections of all workers together. Above it the one that is idle for longest ends; where none is idle, the newcomer is answered with \
         503 and Retry-After; `0` is no limit",
    )
    .sample("10000"),
    key(
        "max_connections_per_client",
        "`0`",
        "connections of one IPv4 address, or of one IPv6 network of 64 bits; a newcomer above it is answered with 429 and Retry-After; `0` is no \
         limit. Behind a PROXY header, the client that it names counts; Unix sockets do not count",
    ),
    key("keepalive_requests", "`0`", "requests after which a connection ends with its answer; `0` is no limit"),
    key("drain_timeout", "`30`", "seconds that transfers in flight may go on after SIGTERM"),
    key(
        "error_log",
        "`\"stderr\"`",
        "where messages go: a path, `\"stderr\"`, `\"stdout\"`, `\"syslog\"` or `\"journald\"`; see docs/logging.md",
    ),
    key(
        "log_level",
        "`\"info\"`",
        "how much is told: `\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"` (reasons of refusals too), `\"trace\"`; `-v` and `-vv` beat it",
    ),
    key(
        "drain_delay",
        "`0`",
        "seconds for which the server serves on after SIGTERM while `/ready` of `[admin]` says 503 already, so that a load balancer \
         stops sending to it",
    ),
    key("checkalive", "`5`", "seconds between looks of the supervisor after its workers"),
    key(
        "admin",
        "`{}`",
        "where administrators come in, for metrics and the state of the server: `{ listen = \"unix:/run/otus-httpd/admin.sock\", \
         public = false }`. Without `listen` nowhere; an address that other machines can reach needs `public = true`",
    )
    .sample("{ listen = \"unix:/run/otus-httpd/admin.sock\" }"),
    key(
        "tls",
        "`{}`",
        "the certificate of all sites that have none of their own in `[site.tls]`: `{ certificate = \"/etc/ssl/example.pem\", key = \
         \"/etc/ssl/private/example.key\" }`",
    )
    .sample("{ certificate = \"/etc/ssl/certs/ssl-cert-snakeoil.pem\", key = \"/etc/ssl/private/ssl-cert-snakeoil.key\" }"),
    key("http2", "`true`", "whether HTTP/2 is offered over TLS"),
    key(
        "h2c",
        "`false`",
        "whether HTTP/2 is understood without TLS too, from clients that begin with it (prior knowledge): for proxies",
    ),
    key(
        "tls_handshakes",
        "1000 a second, 2000 at once",
        "TLS handshakes of one IPv4 address, or one IPv6 network of 64 bits, as in `limit_requests`; above it connections are closed at once. \
         This machine itself and Unix sockets do not count; `\"off\"` is no limit",
    )
    .sample("{ rate = \"1000/s\", burst = 2000 }"),
    key("http2_streams_max", "`128`", "requests that one HTTP/2 connection may have open at a time"),
    key("head_bytes_max", "`16384`", "bytes of a request head; above it 431"),
    key("fields_max", "`100`", "field lines of a request head, 100 at most; above it 431"),
    key("target_bytes_max", "`8192`", "bytes of a request target; above it 414"),
    key(
        "cache_size",
        "a quarter of the memory that the process may use",
        "bytes of file content that all workers together keep in memory; a number, or a text with `k`, `m`, `g`. The default goes by \
         the memory that is available at the start, or the limit of the control group",
    )
    .sample("\"256m\""),
    key(
        "cache_file_size_max",
        "a quarter of `cache_size` divided by `workers`",
        "bytes of the largest file that is kept there, at most two thirds of a worker's part; larger ones are read from disk, past the page cache. So are those above 16 MiB \
         until as many bytes of one were sent as it has",
    )
    .sample("\"16m\""),
];

/// Keys of `[admin]`.
pub const ADMIN: &[Key] = &[
    key(
        "listen",
        "none: no such listener",
        "an address of this machine alone, or a list of them: `\"unix:/run/otus-httpd/admin.sock\"`, `\"127.0.0.1:8081\"`",
    ),
    key(
        "public",
        "`false`",
        "`true` lets `listen` name addresses that other machines can reach. Whoever reaches them sees paths and addresses of clients: \
         there is no password",
    ),
];

/// Keys of `[tls]` and `[site.tls]`.
pub const TLS: &[Key] = &[
    key(
        "certificate",
        "must be there",
        "the file of the certificate, with those between it and its authority behind it (PEM): what certbot calls `fullchain.pem`",
    ),
    key("key", "must be there", "the file of its private key (PEM): RSA, ECDSA or Ed25519, not encrypted"),
    key("min_version", "`\"1.2\"`", "the oldest version of TLS that is spoken; or `\"1.3\"`"),
    key(
        "hsts",
        "`\"off\"`",
        "the field Strict-Transport-Security of answers over TLS, by which browsers come by HTTPS alone from then on: seconds, or a time such \
         as `\"1y\"`, with `; includeSubDomains` and `; preload` behind it or without. `0` has them forget it",
    ),
    key("client_ca", "none", "the file of the authorities whose certificates clients may show (PEM)"),
    key(
        "client_verify",
        "with `client_ca` `\"required\"`, without it `\"off\"`",
        "whether clients must show one: `\"required\"`, `\"optional\"`, `\"off\"`",
    ),
];

/// Keys that may differ from path to path.
pub const SITE: &[Key] = &[
    key("root", "none: the welcome page", "the document root").sample("\"/srv/www\""),
    key("index", "`[\"index.html\"]`", "names tried, in order, for a path that ends in a slash"),
    key(
        "autoindex",
        "`\"off\"`",
        "what is sent of a directory without an index file: `\"html\"` a page, `\"json\"` an array, `\"auto\"` whichever the \
         client's Accept prefers; `\"off\"` is 404. Sorted by `?sort=name`, `size` or `time` and `&order=asc` or `desc`",
    ),
    key(
        "autoindex_entries_max",
        "`10000`",
        "entries that are listed; of a larger directory the first ones that the file system gives, and the page says so (JSON: the field \
         `X-Autoindex-Truncated`)",
    ),
    key(
        "try_files",
        "`[]`: the path itself",
        "what is tried, in order: `\"$uri\"` with text before or behind it (`\"$uri.html\"`, `\"$uri/\"`), a path, `\"=404\"`. \
         The last one, where it is a fixed path, is taken whatever is there",
    ),
    key(
        "redirect",
        "`[]`",
        "`{ from = \"/old/**\", to = \"/new/$1\", status = 301 }`, or a list of them; the first that fits counts. In `from`, `*` is \
         anything but a slash and `**` anything. In `to`: `$1` to `$9`, `$uri`, `$host`, `$query`, `$$` for a dollar. The \
         query goes along unless `to` has one. 301, 302, 303, 307 or 308",
    ),
    key(
        "rewrite",
        "`[]`",
        "`{ from = \"/v1/*\", to = \"/files/$1.json\" }`, or a list of them: the path is looked for elsewhere in the site, \
         and the client does not see it. The first that fits counts, once",
    ),
    key(
        "headers",
        "`[]`",
        "`{ path = \"*.html\", set = { NAME = VALUE }, add = { NAME = VALUE }, remove = [NAME] }`, or a list of them, applied in \
         order to all answers, errors too; without `path` to all paths",
    ),
    key(
        "cache_control",
        "none",
        "the value of Cache-Control in answers with content (200, 206, 304): a text, or a table by path or media type, `{ \"*.html\" = \
         \"no-cache\", \"image/*\" = \"max-age=86400\" }`. The key with the most literal bytes counts; `\"off\"` says nothing",
    )
    .sample("\"no-cache\""),
    key(
        "expires",
        "`\"off\"`",
        "the same for Expires: `\"30d\"`, `\"12h\"`, `\"epoch\"`, `\"max\"`; gives Cache-Control too where `cache_control` does not",
    ),
    key(
        "redirect_https",
        "`false`",
        "whether clients that come without TLS are sent to the same path with `https:` (301), at the port of the site's address with \
         `tls`. Paths below `/.well-known/acme-challenge/` are served as they are",
    ),
    key(
        "cors",
        "`\"off\"`",
        "`{ origins = [\"https://app.example\"], headers = [], max_age = 600, credentials = false }`: what other origins may read; \
         `[\"*\"]` is all of them. Their preflights are answered with 204",
    ),
    key(
        "basic_auth",
        "`\"off\"`",
        "`{ realm = \"staff\", file = \"/etc/otus-httpd.htpasswd\" }`: users and bcrypt hashes as `htpasswd -B` writes them. \
         The file is read anew when it changes",
    ),
    key(
        "allow",
        "`[]`: everybody",
        "addresses and networks that may come; with it, all others may not. `\"all\"`, and `\"unix\"` for peers on a Unix \
         socket, are understood. The longest prefix that fits counts, and `deny` before `allow`",
    ),
    key("deny", "`[]`", "those that may not. `allow` and `deny` are inherited together"),
    key(
        "hidden",
        "`\"deny\"`",
        "`\"allow\"` serves names that begin with a dot; otherwise they are 404, but for `/.well-known/`",
    ),
    key(
        "symlinks",
        "`\"beneath\"`",
        "symbolic links that stay beneath the root are followed; with `\"deny\"` none, with `\"follow\"` all, wherever they lead; \
         outside of the roots that takes `sandbox_read`",
    ),
    key(
        "precompressed",
        "`[]`",
        "codings, best first, of `\"br\"`, `\"zstd\"`, `\"gzip\"`: `FILE.br`, `FILE.zst`, `FILE.gz` are sent in the place of FILE to \
         clients that accept them, where they are not older than it",
    ),
    key(
        "compress",
        "`[]`",
        "codings, best first, that are made of textual files in memory when they are asked for again, in the background, and kept",
    ),
    key(
        "types",
        "`{}`",
        "media types by extension, before the built-in ones: `{ webmanifest = \"application/manifest+json\" }`",
    ),
    key("default_type", "`\"application/octet-stream\"`", "the media type of names that say nothing"),
    key("charset", "`\"off\"`", "the charset parameter of text, XML and SVG, such as `\"utf-8\"`"),
    key("nosniff", "`false`", "`X-Content-Type-Options: nosniff`: browsers believe the media type"),
    key("etag", "`true`", "whether answers have an ETag"),
    key(
        "max_ranges",
        "`16`",
        "ranges of one request that are answered; a request for more is answered with the whole file, and with `0` every request is",
    ),
    key(
        "error_page",
        "`{}`",
        "documents in the place of the built-in texts: `{ 404 = \"/404.html\", 50x = \"/50x.html\" }`; `40x` and `50x` stand for \
         all of 4xx and 5xx",
    ),
    key(
        "access_log",
        "`\"off\"`",
        "a line for each request: a path, `\"stdout\"`, `\"stderr\"`, `\"syslog\"`, `\"journald\"`, or `{ to = \"/var/log/otus-httpd/access.log\", \
         format = \"combined\", sample = 1, only = \"all\" }`, or a list of these. `format` is `\"combined\"`, `\"common\"`, `\"json\"` or a \
         text with fields (`escape = \"json\"` for one that is JSON); with `sample = 10` one of ten is told, and all errors; \
         `only = \"errors\"` tells those from 400 on. See docs/logging.md",
    ),
    key(
        "limit_rate",
        "`0`",
        "bytes of content a second that a connection is sent, over HTTP/2 each answer: a number, or a text such as `\"500k\"`; `0` is as many as it takes",
    ),
    key("limit_rate_after", "`0`", "bytes of an answer that are sent as fast as they can before `limit_rate` holds"),
    key(
        "limit_requests",
        "`\"off\"`",
        "`{ rate = \"10/s\", burst = 20 }`: requests a second (`/s`), minute (`/m`) or hour (`/h`) of one IPv4 address, or one IPv6 network of 64 \
         bits; `burst` of them may come at once, by default as many as a second's worth. Above it 429 with Retry-After. Counted for all paths \
         together for which the key is set at one place, and by all workers together",
    )
    .sample("{ rate = \"10/s\", burst = 20 }"),
];

/// The names of these keys.
pub(super) fn names(keys: &'static [Key]) -> impl Iterator<Item = &'static str> {
    keys.iter().map(|key| key.name)
}

/// The keys as a table of docs/configuration.md.
pub fn markdown(keys: &[Key]) -> String {
    let rows = keys.iter().map(|key| format!("| `{}` | {} | {} |\n", key.name, key.default, key.meaning));
    format!("| key | default | meaning |\n|---|---|---|\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_these_tables() {
        let document = include_str!("../../docs/configuration.md");
        for keys in [SERVER, ADMIN, TLS, SITE] {
            let table = markdown(keys);
            assert!(document.contains(&table), "docs/configuration.md must have this table:\n{table}");
        }
    }

    #[test]
    fn every_key_has_a_value_to_show() {
        for key in SERVER.iter().chain(SITE) {
            let shown = key.sample.or(key.default_value());
            let line = format!("{} = {}", key.name, shown.unwrap_or_else(|| panic!("{} needs .sample(…)", key.name)));
            toml::from_str::<toml::Table>(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_key_stands_here_once() {
        let mut all: Vec<_> = names(SERVER).chain(names(SITE)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
