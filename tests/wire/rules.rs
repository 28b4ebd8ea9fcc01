//! Rules that lead to other paths: `redirect`, `rewrite` and `try_files`, in the order of docs/configuration.md.
//!
//! Invariant: a request is led to no path that it could not have asked for itself, and a client to no host that the
//! configuration does not name.

use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Method, Response, Server, Site};

/// The bcrypt hash of `secret`, of the lowest cost.
const SECRET: &str = "$2y$04$PLMkgcyO4XLf3LRry8NdnulQCY1LMGj7osfY.tTC/hwSG7t1tDXHy";

/// A site whose files say their own names, as many as rules and applications need.
fn site() -> Site {
    let site = Site::new();
    for name in [
        "index.html",
        "about.html",
        "both.html",
        "both/index.html",
        "docs/index.html",
        "empty/other.txt",
        "files/a.json",
        "files/b c.json",
        "deep/x/y.txt",
        "locked/x",
        "locked/fallback.html",
        "cached/about",
        "a-x/index.html",
        ".env",
        ".well-known/x",
        "with.dot/.hidden",
    ] {
        site.file(name, name);
    }
    write(&site.outside().join("users"), format!("ann:{SECRET}\n"));
    write(&site.outside().join("outside"), "outside");
    site
}

/// Starts a server of the site with this configuration, in which USERS is the file of passwords.
fn start(site: &Site, text: &str) -> Server {
    let users = site.outside().join("users").display().to_string();
    let head = format!("listen = ['127.0.0.1:0']\nroot = '{}'\n", site.root().display());
    Setup::configured(head + &text.replace("USERS", &users)).start()
}

/// The answer to GET, twice, for the second is from memory; HEAD must have the same fields.
fn get(server: &Server, target: &str, lines: &str) -> Response {
    let mut client = server.client().host("example.org:8080");
    let response = client.ask(Method::Get, target, lines);
    let again = client.ask(Method::Get, target, lines);
    assert_eq!((again.status, again.lasting_fields()), (response.status, response.lasting_fields()), "{target}");
    assert_eq!(again.content, response.content, "{target}");
    if lines.starts_with("Range") {
        // RFC 9110 §14.2: Range is defined for GET only.
        return response;
    }
    let headed = client.ask(Method::Head, target, lines);
    assert_eq!((headed.status, headed.lasting_fields()), (response.status, response.lasting_fields()), "HEAD {target}");
    response
}

/// `target` is answered with `status`, and with `said`: the Location of a redirect, or the content of a file. An error's
/// text is the server's own.
fn check(server: &Server, target: &str, status: u16, said: &str) {
    let response = get(server, target, "");
    assert_eq!(response.status, status, "{target}: {}", String::from_utf8_lossy(&response.content));
    match status {
        200 => assert_eq!(String::from_utf8_lossy(&response.content), said, "{target}"),
        300..=399 => assert_eq!(response.field("Location"), Some(said), "{target}"),
        _ => {}
    }
    assert_eq!(response.field("Location").is_some(), (300..=399).contains(&status), "{target}");
    // RFC 9110 §15.4: a short text with a link for clients that do not follow by themselves
    assert!(response.field("Content-Length").is_some(), "{target}");
}

#[test]
fn redirects() {
    let site = site();
    let server = start(
        &site,
        "redirect = [\n\
         { from = '/old', to = '/new' },\n\
         { from = '/found', to = '/new', status = 302 },\n\
         { from = '/other', to = '/new', status = 303 },\n\
         { from = '/temporary', to = '/new', status = 307 },\n\
         { from = '/permanent', to = '/new', status = 308 },\n\
         { from = '/query', to = '/new?x=1' },\n\
         { from = '/both', to = '/new?x=1&$query' },\n\
         { from = '/dropped', to = '/new?' },\n\
         { from = '/part', to = '/new#part' },\n\
         { from = '/blog/**', to = '/news/$1' },\n\
         { from = '/swap/*/*', to = '/$2/$1' },\n\
         { from = '/r/**', to = '/$1' },\n\
         { from = '/rr**', to = '/$1' },\n\
         { from = '/slash/**', to = '$uri/' },\n\
         { from = '/secure/**', to = 'https://$host$uri' },\n\
         { from = '/moved/**', to = 'https://a.example:8443/x/$1' },\n\
         { from = '/cost', to = '/$$1' },\n\
         { from = '/first', to = '/1' },\n\
         { from = '/first', to = '/2' },\n\
         { from = '/back', to = '/new?back=$uri' },\n\
         { from = '/find/*', to = '/new?q=$1' },\n\
         { from = '/ä b', to = '/c d/é' },\n\
         { from = '/about.html', to = '/about' },\n\
         { from = '/long/**', to = '/$1/$1/$1/$1/$1' },\n\
         ]\n\
         [[location]]\npath = '/own/'\nredirect = { from = '/own/*', to = '/of-location/$1' }\n\
         [[location]]\npath = '/none/'\nredirect = []\n\
         [[location]]\npath = '/locked/'\nredirect = { from = '/locked/open', to = '/' }\n\
         basic_auth = { file = 'USERS' }\n\
         [[location]]\npath = '/denied/'\nredirect = { from = '/denied/open', to = '/' }\ndeny = ['all']\n",
    );
    for (target, status, location) in [
        // RFC 9110 §15.4: the statuses that send somebody elsewhere; 301 where nothing is said
        ("/old", 301, "/new"),
        ("/found", 302, "/new"),
        ("/other", 303, "/new"),
        ("/temporary", 307, "/new"),
        ("/permanent", 308, "/new"),
        // The query goes along unless `to` has one
        ("/old?a=b&c=%20", 301, "/new?a=b&c=%20"),
        ("/old?", 301, "/new"),
        ("/old?a?b", 301, "/new?a?b"),
        ("/query?a=b", 301, "/new?x=1"),
        ("/both?a=b", 301, "/new?x=1&a=b"),
        ("/dropped?a=b", 301, "/new"),
        ("/part?a=b", 301, "/new?a=b#part"),
        // `from` is the whole path
        ("/old/", 404, ""),
        ("/older", 404, ""),
        ("/x/old", 404, ""),
        ("/OLD", 404, ""),
        // Captures
        ("/blog/", 301, "/news/"),
        ("/blog/a/b/?c", 301, "/news/a/b/?c"),
        ("/blog", 404, ""),
        ("/swap/a/b", 301, "/b/a"),
        ("/swap/a", 404, ""),
        ("/swap/a/b/c", 404, ""),
        ("/slash/a", 301, "/slash/a/"),
        ("/cost", 301, "/$1"),
        // The first that fits counts
        ("/first", 301, "/1"),
        // RFC 3986 §2.1: paths are compared decoded, and written anew where they stand
        ("/%6fld", 301, "/new"),
        ("//old", 301, "/new"),
        ("/./x/../old", 301, "/new"),
        ("http://other/old", 301, "/new"),
        ("/blog/a%20b%3fc%23d%25e", 301, "/news/a%20b%3Fc%23d%25e"),
        ("/blog/%d0%b4%ff", 301, "/news/%D0%B4%FF"),
        ("/find/a%26b=c%23", 301, "/new?q=a%26b%3Dc%23"),
        ("/back", 301, "/new?back=/back"),
        ("/%C3%A4%20b", 301, "/c%20d/%C3%A9"),
        // RFC 9110 §7.2: the host of the request, without its port; the target's before Host's
        ("/secure/a?q", 301, "https://example.org/secure/a?q"),
        ("http://b.example:81/secure/a", 301, "https://b.example/secure/a"),
        ("http://[::1]:81/secure/a", 301, "https://[::1]/secure/a"),
        ("/moved/a%20b/c?d", 301, "https://a.example:8443/x/a%20b/c?d"),
        // No client is sent to a host that the configuration does not name, nor given a field
        ("/r//evil.example", 301, "/evil.example"),
        ("/r/%2fevil.example", 301, "/evil.example"),
        ("/r/%2f%2f/evil.example", 301, "/evil.example"),
        ("/rr/evil.example", 301, "/evil.example"),
        ("/rr%2f%2fevil.example", 301, "/evil.example"),
        ("/r/%5cevil.example", 301, "/%5Cevil.example"),
        ("/r/%5c%5cevil.example", 301, "/%5C%5Cevil.example"),
        ("/r/https:%2f%2fevil.example", 301, "/https:/evil.example"),
        ("/r/%09/evil.example", 301, "/%09/evil.example"),
        ("/r/%0d%0aSet-Cookie:%20a=b", 301, "/%0D%0ASet-Cookie:%20a=b"),
        ("/moved/@evil.example", 301, "https://a.example:8443/x/@evil.example"),
        ("/moved/../moved/x", 301, "https://a.example:8443/x/x"),
        // A file that is there does not matter
        ("/about.html", 301, "/about"),
        // Keys of a location take the place of the site's
        ("/own/a", 301, "/of-location/a"),
        ("/own/old", 301, "/of-location/old"),
        ("/none/old", 404, ""),
        // The order: redirect, then allow and deny, then basic_auth
        ("/locked/open", 301, "/"),
        ("/locked/x", 401, ""),
        ("/denied/open", 301, "/"),
        ("/denied/x", 403, ""),
    ] {
        check(&server, target, status, location);
    }
    // RFC 9112 §3.2: a host is said by HTTP/1.1; whoever names none cannot be sent to it
    for (request, status) in [
        ("GET /secure/a HTTP/1.0\r\n\r\n", 400),
        ("GET /secure/a HTTP/1.0\r\nHost:\r\n\r\n", 400),
        ("GET /old HTTP/1.0\r\n\r\n", 301),
        ("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
    ] {
        let mut client = server.client();
        client.send(request);
        assert_eq!(client.answer(Method::Get).status, status, "{request}");
    }
    // A Location that no client would take: 414, whatever `to` repeats
    let long = "a".repeat(7000);
    check(&server, &format!("/long/{long}"), 414, "");
    check(&server, &format!("/blog/{long}"), 301, &format!("/news/{long}"));
    // RFC 9110 §13.2.1: preconditions are for what would be 2xx
    for lines in ["If-None-Match: *\r\n", "If-Match: \"x\"\r\n", "Range: bytes=0-0\r\n"] {
        assert_eq!(get(&server, "/old", lines).status, 301, "{lines}");
    }
}

/// The content is that of another path, once, and the client does not see it.
#[test]
fn rewrites() {
    let site = site();
    let server = start(
        &site,
        "cache_control = { '/files/' = 'max-age=1', '/v1/' = 'max-age=2' }\n\
         rewrite = [\n\
         { from = '/v1/*', to = '/files/$1.json' },\n\
         { from = '/v1/*', to = '/about.html' },\n\
         { from = '/all/**', to = '/$1' },\n\
         { from = '/a*b', to = '/deep/x/$1/y.txt' },\n\
         { from = '/up*', to = '/docs/$1/../../$1' },\n\
         { from = '/folder', to = '/docs/' },\n\
         { from = '/slashless', to = '/docs' },\n\
         { from = '/chain/1', to = '/chain/2' },\n\
         { from = '/chain/2', to = '/about.html' },\n\
         { from = '/self', to = '/self' },\n\
         { from = '/dot', to = '/.env' },\n\
         { from = '/well', to = '/.well-known/x' },\n\
         { from = '/to-locked', to = '/locked/x' },\n\
         { from = '/to-denied', to = '/denied' },\n\
         { from = '/literal', to = '/files/b c.json' },\n\
         { from = '/encoded', to = '/files/b%20c.json' },\n\
         ]\n\
         [[location]]\npath = '/locked/'\nbasic_auth = { file = 'USERS' }\n\
         [[location]]\npath = '/denied'\ndeny = ['all']\n\
         [[location]]\npath = '/guarded/'\nrewrite = { from = '/guarded/*', to = '/$1' }\nbasic_auth = { file = 'USERS' }\n",
    );
    for (target, status, content) in [
        ("/v1/a", 200, "files/a.json"),
        ("/v1/b%20c", 200, "files/b c.json"),
        ("/v1/a?x=y", 200, "files/a.json"),
        ("/%761/a", 200, "files/a.json"),
        // The first that fits counts, even where nothing is there
        ("/v1/none", 404, ""),
        ("/v1/a/b", 404, ""),
        // Once
        ("/chain/2", 200, "about.html"),
        ("/chain/1", 404, ""),
        ("/self", 404, ""),
        ("/all/chain/2", 404, ""),
        ("/all/about.html", 200, "about.html"),
        ("/all/", 200, "index.html"),
        ("/folder", 200, "docs/index.html"),
        ("/literal", 200, "files/b c.json"),
        // A rule's `to` is no part of a URL: it is not decoded
        ("/encoded", 404, ""),
        // What a capture holds does not climb out of the root
        ("/ab", 200, "deep/x/y.txt"),
        ("/a..b", 404, ""),
        ("/up", 404, ""),
        ("/up..", 404, ""),
        ("/all/%2e%2e/outside", 404, ""),
        // Dotfiles stay hidden
        ("/dot", 404, ""),
        ("/all/.env", 404, ""),
        ("/well", 200, ".well-known/x"),
        // The location of the path that it leads to is asked, not that of the path that was asked for
        ("/to-locked", 401, ""),
        ("/to-denied", 403, ""),
        ("/all/locked/x", 401, ""),
        ("/all//locked/%78", 401, ""),
        ("/guarded/about.html", 200, "about.html"),
        // A directory has its slash in the address, as everywhere
        ("/slashless", 301, "/docs/"),
    ] {
        check(&server, target, status, content);
    }
    // What is said of a file is said of the path that it has
    assert_eq!(get(&server, "/v1/a", "").field("Cache-Control"), Some("max-age=1"));
    let tag = get(&server, "/files/a.json", "").field("ETag").expect("files have tags").to_owned();
    for (lines, status) in [(format!("If-None-Match: {tag}\r\n"), 304), ("Range: bytes=0-4\r\n".to_owned(), 206)] {
        assert_eq!(get(&server, "/v1/a", &lines).status, status, "{lines}");
    }
    let authorized = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(get(&server, "/to-locked", authorized).content, b"locked/x");
    // …and what somebody was sent is still nobody else's
    check(&server, "/to-locked", 401, "");
}

/// Files, and where there is none the page of an application.
#[test]
fn the_fallback_of_an_application() {
    let site = site();
    let server = start(
        &site,
        "try_files = ['$uri', '/index.html']\n\
         cache_control = { '/index.html' = 'no-cache', '*' = 'max-age=9' }\n\
         [[location]]\npath = '/files/'\ntry_files = ['$uri', '=404']\n\
         [[location]]\npath = '/app/'\ntry_files = ['$uri', '/locked/fallback.html']\n\
         [[location]]\npath = '/locked/'\nbasic_auth = { file = 'USERS' }\n\
         [[location]]\npath = '/plain/'\ntry_files = []\n",
    );
    for (target, status, content) in [
        ("/", 200, "index.html"),
        ("/index.html", 200, "index.html"),
        ("/about.html", 200, "about.html"),
        ("/users/7", 200, "index.html"),
        ("/users/7/", 200, "index.html"),
        ("/users/7?tab=1", 200, "index.html"),
        ("/%D0%B4", 200, "index.html"),
        // A directory is no file; with its slash it has an index
        ("/docs", 200, "index.html"),
        ("/docs/", 200, "docs/index.html"),
        ("/empty/", 200, "index.html"),
        // A path below a file is not there either
        ("/about.html/x", 200, "index.html"),
        // A missing script is 404, and not the page
        ("/files/a.json", 200, "files/a.json"),
        ("/files/b", 404, ""),
        ("/files/", 404, ""),
        ("/plain/x", 404, ""),
        // Names that begin with a dot are hidden before anything is tried
        ("/.env", 404, ""),
        ("/.git/config", 404, ""),
        ("/x/.y", 404, ""),
        ("/.well-known/x", 200, ".well-known/x"),
        // RFC 9112 §3.2, RFC 3986 §5.2.4
        ("/../outside", 400, ""),
        ("/%2e%2e/outside", 400, ""),
        ("/x/../about.html", 200, "about.html"),
        ("/x%00", 400, ""),
        // A fallback under a protected location is asked for its password
        ("/app/x", 401, ""),
        ("/locked/x", 401, ""),
        ("/locked/absent", 401, ""),
    ] {
        if status == 400 {
            let mut client = server.client();
            assert_eq!(client.get(target).status, 400, "{target}");
            continue;
        }
        check(&server, target, status, content);
    }
    let authorized = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(get(&server, "/app/x", authorized).content, b"locked/fallback.html");
    check(&server, "/app/x", 401, "");
    // What is said of a fallback is said of the file that it is
    let fallback = get(&server, "/users/7", "");
    let itself = get(&server, "/index.html", "");
    assert_eq!(fallback.lasting_fields(), itself.lasting_fields());
    assert_eq!(fallback.field("Cache-Control"), Some("no-cache"));
    assert_eq!(get(&server, "/about.html", "").field("Cache-Control"), Some("max-age=9"));
    // RFC 9110 §13, §14: conditions and ranges are those of the file
    let (tag, date) = (itself.field("ETag").expect("a tag"), itself.field("Last-Modified").expect("a date"));
    for (lines, status, content) in [
        (format!("If-None-Match: {tag}\r\n"), 304, ""),
        (format!("If-Modified-Since: {date}\r\n"), 304, ""),
        ("If-Match: \"other\"\r\n".to_owned(), 412, "?"),
        ("Range: bytes=0-4\r\n".to_owned(), 206, "index"),
        (format!("Range: bytes=-4\r\nIf-Range: {tag}\r\n"), 206, "html"),
        ("Range: bytes=99-\r\n".to_owned(), 416, "?"),
    ] {
        let response = get(&server, "/users/8", &lines);
        assert_eq!(response.status, status, "{lines}");
        if content != "?" {
            assert_eq!(response.content, content.as_bytes(), "{lines}");
        }
    }
}

/// Addresses without `.html`, and what else lists of paths to try can say.
#[test]
fn lists_of_paths_to_try() {
    let site = site();
    let usual = "try_files = ['$uri', '$uri.html', '$uri/', '=404']\n";
    let listed = format!("{usual}autoindex = 'html'\n");
    for (text, rows) in [
        (
            usual,
            &[
                ("/about", 200, "about.html"),
                ("/about.html", 200, "about.html"),
                ("/about?x", 200, "about.html"),
                ("/%61bout", 200, "about.html"),
                ("/", 200, "index.html"),
                ("/index", 200, "index.html"),
                // The order of the list
                ("/both", 200, "both.html"),
                ("/both/", 200, "both/index.html"),
                // Relative links need the slash in the address
                ("/docs", 301, "/docs/"),
                ("/docs?a=b", 301, "/docs/?a=b"),
                ("/docs/", 200, "docs/index.html"),
                ("//docs", 301, "/docs/"),
                ("/empty", 404, ""),
                ("/empty/", 404, ""),
                ("/none", 404, ""),
                ("/about/", 404, ""),
                ("/about.html.html", 404, ""),
                ("/.env", 404, ""),
                // What the list makes of a name may be hidden as well
                ("/with.dot/", 404, ""),
            ][..],
        ),
        // A directory that can be listed is found by `$uri/`
        (&listed, &[("/empty", 301, "/empty/"), ("/docs", 301, "/docs/"), ("/none", 404, "")]),
        // The last one is tried as the others are, where it is made of the path
        (
            "try_files = ['$uri', '$uri/']\n",
            &[
                ("/docs", 301, "/docs/"),
                ("/docs/", 200, "docs/index.html"),
                ("/about.html", 200, "about.html"),
                ("/empty", 404, ""),
                ("/none", 404, ""),
                ("/none/", 404, ""),
            ],
        ),
        (
            "try_files = ['$uri', '$uri.html']\n",
            &[
                ("/about", 200, "about.html"),
                ("/none", 404, ""),
                ("/docs", 404, ""),
                ("/docs/", 200, "docs/index.html"),
            ],
        ),
        ("try_files = ['$uri']\n", &[("/about.html", 200, "about.html"), ("/none", 404, ""), ("/docs", 404, "")]),
        ("try_files = ['=404']\n", &[("/about.html", 404, ""), ("/", 404, "")]),
        // Text before it, and another name behind it
        (
            "try_files = ['/cached$uri', '$uri-x/', '$uri', '=404']\n",
            &[
                ("/about", 200, "cached/about"),
                ("/about.html", 200, "about.html"),
                ("/a", 200, "a-x/index.html"),
                ("/none", 404, ""),
            ],
        ),
        // A fixed path is looked at as any other: hidden, or not there
        ("try_files = ['$uri', '/.env']\n", &[("/none", 404, ""), ("/.env", 404, "")]),
        ("try_files = ['$uri', '/none.html']\n", &[("/none", 404, ""), ("/none.html", 404, "")]),
        ("try_files = ['/.env', '$uri', '=404']\n", &[("/about.html", 200, "about.html")]),
        ("try_files = ['$uri', '/docs/']\n", &[("/none", 200, "docs/index.html"), ("/docs/", 200, "docs/index.html")]),
        ("try_files = ['$uri', '/%61bout.html']\n", &[("/none", 200, "about.html")]),
    ] {
        let server = start(&site, text);
        for (target, status, said) in rows {
            check(&server, target, *status, said);
        }
    }
}

/// Locations that lead to each other: the administrator's mistake, which the log names.
#[test]
fn paths_that_lead_in_circles() {
    let site = site();
    let server =
        start(&site, "[[location]]\npath = '/x'\ntry_files = ['/y']\n[[location]]\npath = '/y'\ntry_files = ['/x']\n");
    for target in ["/x", "/y", "/x/z"] {
        check(&server, target, 500, "");
    }
    server.wait_for_log("try_files leads from path to path without an end");
    check(&server, "/about.html", 200, "about.html");
    // Ten steps are enough for anybody who means it
    let steps = |count: usize| -> String {
        let step = |n| format!("[[location]]\npath = '/s{n}'\ntry_files = ['/s{}']\n", n + 1);
        (0..count).map(step).collect::<String>()
            + &format!("[[location]]\npath = '/s{count}'\ntry_files = ['/about.html']\n")
    };
    check(&start(&site, &steps(5)), "/s0", 200, "about.html");
}

/// The order of a request: redirect, rewrite, then what is found; a location of the path that a rule led to.
#[test]
fn rules_in_their_order() {
    let site = site();
    let server = start(
        &site,
        "redirect = { from = '/both-rules', to = '/redirected' }\n\
         rewrite = [{ from = '/both-rules', to = '/about.html' }, { from = '/then-try', to = '/made-up' }]\n\
         try_files = ['$uri', '/index.html']\n\
         [[location]]\npath = '/made-up'\nheaders = { set = { X-Is = 'made-up' } }\ntry_files = ['/about.html']\n\
         [[location]]\npath = '/then-try'\ntry_files = ['=404']\n\
         [[location]]\npath = '/about.html'\nredirect = { from = '/about.html', to = '/never' }\n\
         rewrite = { from = '/about.html', to = '/never' }\n",
    );
    for (target, status, said) in [
        ("/both-rules", 301, "/redirected"),
        // Rules hold for the path that is asked, not for those that rules lead to
        ("/then-try", 200, "about.html"),
        ("/made-up", 200, "about.html"),
        ("/about.html", 301, "/never"),
        ("/none", 200, "index.html"),
    ] {
        check(&server, target, status, said);
    }
}
