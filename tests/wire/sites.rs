//! Sites: which one a request is for (RFC 9110 §7.2, RFC 9112 §3.2), and what holds for a path of it.
//!
//! Invariant: every site here says its own name in what it serves, and every location its name in a field, so that an
//! answer tells who gave it.

use crate::harness::server::Setup;
use crate::harness::{Client, Method, Response, Server, Site, eventually};

/// Roots of these names, each with a file `who` that says it.
fn roots(names: &[&str]) -> Site {
    let site = Site::new();
    for name in names {
        site.file(format!("{name}/who"), name);
    }
    site
}

/// Starts a server with this configuration, in which ROOT stands for the directory of the roots.
fn start(site: &Site, text: &str) -> Server {
    let text = text.replace("ROOT", &site.root().display().to_string());
    Setup::configured(format!("listen = ['127.0.0.1:0']\n{text}")).start()
}

/// A request, whose target ends in `/who`, is answered by the site `expected`.
fn check(server: &Server, request: &str, expected: &str) {
    let mut client = server.client();
    client.send(format!("{request}\r\n\r\n"));
    let response = client.answer(Method::Get);
    let content = String::from_utf8_lossy(&response.content);
    assert_eq!((response.status, &*content), (200, expected), "{request:?}");
}

/// The same for every form in which a host can be said.
fn check_host(server: &Server, host: &str, expected: &str) {
    check(server, &format!("GET /who HTTP/1.1\r\nHost: {host}"), expected);
    check(server, &format!("GET /who HTTP/1.0\r\nHost: {host}"), expected);
    if !host.is_empty() && !host.starts_with(':') {
        // RFC 9112 §3.2.2: whatever Host says
        for other in ["example.org", "a.example.org", "no.example", ""] {
            check(server, &format!("GET http://{host}/who HTTP/1.1\r\nHost: {other}"), expected);
        }
        check(server, &format!("GET http://{host}/who HTTP/1.0"), expected);
    }
}

#[test]
fn the_most_specific_name_has_the_request() {
    let site = roots(&["exact", "below", "deep", "default", "later"]);
    let server = start(
        &site,
        "[[site]]\nserver_name = ['example.org', 'WWW.Example.ORG', '[2001:DB8::1]', '127.0.0.1', 'a_b', 'xn--p1ai']\n\
         root = 'ROOT/exact'\n\
         [[site]]\nserver_name = '*.example.org'\nroot = 'ROOT/below'\n\
         [[site]]\nserver_name = ['*.deep.example.org', '*.org']\nroot = 'ROOT/deep'\n\
         [[site]]\nroot = 'ROOT/default'\n\
         [[site]]\nroot = 'ROOT/later'\n",
    );
    for (host, expected) in [
        // RFC 9110 §4.2.3: hosts are compared without case
        ("example.org", "exact"),
        ("EXAMPLE.ORG", "exact"),
        ("www.example.org", "exact"),
        ("Www.eXample.org", "exact"),
        // …and a port, which the client adds as it needs it, is no part of them
        ("example.org:80", "exact"),
        ("example.org:1", "exact"),
        ("example.org:", "exact"),
        ("www.example.org:8080", "exact"),
        // RFC 1034 §3.1: the dot of an absolute name
        ("example.org.", "exact"),
        ("example.org.:80", "exact"),
        ("a.example.org.", "below"),
        // RFC 3986 §3.2.2: IP-literal and IPv4address
        ("[2001:db8::1]", "exact"),
        ("[2001:DB8::1]:8080", "exact"),
        ("[2001:db8::2]", "default"),
        ("127.0.0.1", "exact"),
        ("127.0.0.1:80", "exact"),
        ("127.0.0.2", "default"),
        ("a_b", "exact"),
        ("XN--P1AI", "exact"),
        // All names below it, not the name itself, and the longest first
        ("a.example.org", "below"),
        ("A.EXAMPLE.ORG:80", "below"),
        ("a.b.c.example.org", "below"),
        ("www.www.example.org", "below"),
        ("deep.example.org", "below"),
        ("a.deep.example.org", "deep"),
        ("a.b.deep.example.org", "deep"),
        ("notdeep.example.org", "below"),
        ("a.notdeep.example.org", "below"),
        ("example.com.org", "deep"),
        ("notexample.org", "deep"),
        ("org", "default"),
        // What no name fits is for the first site without one
        ("example.com", "default"),
        ("example.org.example.com", "default"),
        ("example", "default"),
        ("", "default"),
        (":80", "default"),
        ("example.org..", "default"),
        ("*.example.net", "default"),
        ("localhost", "default"),
        ("[::1]", "default"),
    ] {
        check_host(&server, host, expected);
    }
    // RFC 9112 §3.2: HTTP/1.0 need not name a host
    check(&server, "GET /who HTTP/1.0", "default");
    // RFC 9112 §3.2.2: https as well, and two slashes are a path
    check(&server, "GET https://a.example.org/who HTTP/1.1\r\nHost: b", "below");
    check(&server, "GET HTTP://A.EXAMPLE.ORG:443/who HTTP/1.1\r\nHost: b", "below");
    check(&server, "GET //who HTTP/1.1\r\nHost: example.org", "exact");
    // Nobody but Host says the host
    check(&server, "GET /who HTTP/1.1\r\nHost: b\r\nX-Forwarded-Host: example.org", "default");
    check(&server, "GET /who HTTP/1.1\r\nHost: b\r\nForwarded: host=example.org", "default");
    // One connection, many sites
    let mut client = server.client();
    for (host, expected) in [("example.org", "exact"), ("a.example.org", "below"), ("b", "default")].repeat(3) {
        client = client.host(host);
        assert_eq!(client.get("/who").content, expected.as_bytes(), "{host}");
    }
}

#[test]
fn without_a_nameless_site_the_first_is_the_default() {
    let site = roots(&["first", "second"]);
    let server = start(
        &site,
        "[[site]]\nserver_name = 'a.example'\nroot = 'ROOT/first'\n\
         [[site]]\nserver_name = 'b.example'\nroot = 'ROOT/second'\n",
    );
    for (host, expected) in [("a.example", "first"), ("b.example", "second"), ("c.example", "first"), ("", "first")] {
        check_host(&server, host, expected);
    }
    check(&server, "GET /who HTTP/1.0", "first");
    // A single site with a name has all the requests.
    let server = start(&site, "[[site]]\nserver_name = 'a.example'\nroot = 'ROOT/second'\n");
    for host in ["a.example", "b.example", ""] {
        check_host(&server, host, "second");
    }
}

/// `listen` in a site replaces the server's list for that site; any number of sites may share an address.
#[test]
fn sites_have_addresses_of_their_own_and_share_others() {
    let site = roots(&["shared", "both", "alone"]);
    let text = |own: &str| {
        format!(
            "[[site]]\nserver_name = 'shared.example'\nroot = 'ROOT/shared'\n\
             [[site]]\nserver_name = 'both.example'\nroot = 'ROOT/both'\n\
             [[site]]\nserver_name = 'alone.example'\nroot = 'ROOT/alone'\nlisten = {own}\n"
        )
    };
    let server = start(&site, &text("['127.0.0.2:0', '127.0.0.3:0']"));
    eventually("a line an address", || server.addresses().len() >= 3);
    let addresses = server.addresses();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for address in addresses {
        for host in ["shared", "both", "alone"] {
            let expected = match address.ip().to_string().as_str() {
                "127.0.0.1" if host == "alone" => "shared",
                "127.0.0.1" => host,
                _ => "alone",
            };
            let response = Client::connect(address).host(&format!("{host}.example")).get("/who");
            assert_eq!(response.content, expected.as_bytes(), "{host} at {address}");
        }
    }
    // On the command line an address moves all of them there.
    let text = text("['127.0.0.2:0', '127.0.0.3:0']").replace("ROOT", &site.root().display().to_string());
    let server = Setup::flags(["-a", "127.0.0.4:0"]).config_text(format!("workers = 2\n{text}")).start();
    eventually("a line", || !server.addresses().is_empty());
    for host in ["shared", "both", "alone"] {
        check_host(&server, &format!("{host}.example"), host);
    }
    assert_eq!(server.addresses().len(), 1, "{:?}", server.announcements());
}

/// Keys of a site are its own, and the others' stay as they are; keys at the top are for all.
#[test]
fn sites_have_keys_of_their_own() {
    let site = roots(&["a", "b"]);
    for root in ["a", "b"] {
        for name in ["first.html", "second.html", "404.html", "sorry.html", "x.foo"] {
            site.file(format!("{root}/{name}"), format!("{root}: {name}"));
        }
    }
    let server = start(
        &site,
        "index = ['first.html']\nerror_page = { 404 = '/404.html' }\ntypes = { foo = 'text/x-foo' }\n\
         [[location]]\npath = '*.foo'\ncharset = 'utf-8'\n\
         [[site]]\nserver_name = 'a'\nroot = 'ROOT/a'\n\
         [[site]]\nserver_name = 'b'\nroot = 'ROOT/b'\nindex = ['none.html', 'second.html']\n\
         error_page = { 404 = '/sorry.html' }\n[[site.location]]\npath = '/x.foo'\nnosniff = true\n",
    );
    for (host, target, status, content) in [
        ("a", "/", 200, "a: first.html"),
        ("b", "/", 200, "b: second.html"),
        ("a", "/absent", 404, "a: 404.html"),
        ("b", "/absent", 404, "b: sorry.html"),
        ("a", "/x.foo", 200, "a: x.foo"),
        ("b", "/x.foo", 200, "b: x.foo"),
    ] {
        // Twice: the second answer is from memory.
        for _ in 0..2 {
            let response = server.client().host(host).get(target);
            let found = (response.status, String::from_utf8_lossy(&response.content).into_owned());
            assert_eq!(found, (status, content.to_owned()), "{host}: {target}");
            if target == "/x.foo" {
                // Of the top, of its location, and of the location of one site
                assert_eq!(response.field("Content-Type"), Some("text/x-foo; charset=utf-8"), "{host}");
                assert_eq!(response.field("X-Content-Type-Options").is_some(), host == "b", "{host}");
            }
        }
    }
}

/// The answer to GET, which HEAD's equals but for the content.
fn get(server: &Server, host: &str, target: &str) -> Response {
    let response = server.client().host(host).get(target);
    let headed = server.client().host(host).ask(Method::Head, target, "");
    assert_eq!((headed.status, headed.lasting_fields()), (response.status, response.lasting_fields()), "HEAD {target}");
    response
}

/// `headers` is a key, and goes with errors too: no file is needed to see which location counts.
const LOCATIONS: &str = "\
    root = 'ROOT'\nheaders = [{ set = { X-Is = 'site' } }]\n\
    [[location]]\npath = '/'\nheaders = [{ set = { X-Is = '/' } }]\nnosniff = true\n\
    [[location]]\npath = '/assets/'\nheaders = [{ set = { X-Is = '/assets/' } }]\n\
    [[location]]\npath = '*.js'\nheaders = [{ set = { X-Is = '*.js' } }]\nnosniff = false\n\
    [[location]]\npath = '/docs'\nheaders = [{ set = { X-Is = '/docs' } }]\n\
    [[location]]\npath = '/docs/*.html'\nheaders = [{ set = { X-Is = '/docs/*.html' } }]\n\
    [[location]]\npath = '/docs/**/deep/*'\nheaders = [{ set = { X-Is = 'deep' } }]\n\
    [[location]]\npath = '*.tar.*'\nheaders = [{ set = { X-Is = '*.tar.*' } }]\n\
    [[location]]\npath = 'robots.txt'\nheaders = [{ set = { X-Is = 'robots.txt' } }]\n\
    [[location]]\npath = '/twice/'\nheaders = [{ set = { X-Is = 'first' } }]\n\
    [[location]]\npath = '/twice/'\nheaders = [{ set = { X-Is = 'second' } }]\n\
    [[location]]\npath = '/a?c'\nheaders = [{ set = { X-Is = '/a?c' } }]\n\
    [[location]]\npath = '/sp ace/ä'\nheaders = [{ set = { X-Is = 'space' } }]\n\
    [[location]]\npath = '/none/'\nheaders = []\n";

/// The location that has the most literal bytes counts, of equals the later one, each key by itself.
#[test]
fn the_most_literal_location_counts() {
    let site = roots(&[]);
    let server = start(&site, LOCATIONS);
    for (target, expected, nosniff) in [
        ("/", "/", true),
        ("/x", "/", true),
        // All below that folder, and not the folder without its slash
        ("/assets/", "/assets/", true),
        ("/assets/x", "/assets/", true),
        ("/assets/x/y/z", "/assets/", true),
        ("/assets", "/", true),
        ("/assetsfoo", "/", true),
        ("/assets.js", "*.js", false),
        ("/x/assets/y", "/", true),
        // Any file of such a name, in any folder; the folder has more literal bytes, but does not say nosniff
        ("/x.js", "*.js", false),
        ("/a/b/x.js", "*.js", false),
        ("/.js", "*.js", false),
        ("/assets/x.js", "/assets/", false),
        ("/x.js/", "/", true),
        ("/x.js/y", "/", true),
        ("/x.JS", "/", true),
        ("/x.jsx", "/", true),
        ("/robots.txt", "robots.txt", true),
        ("/a/robots.txt", "robots.txt", true),
        ("/xrobots.txt", "/", true),
        ("/x.tar.gz", "*.tar.*", true),
        ("/x.tar.js", "*.tar.*", false),
        // The folder or file and all below it, by whole segments
        ("/docs", "/docs", true),
        ("/docs/", "/docs", true),
        ("/docs/x", "/docs", true),
        ("/docsx", "/", true),
        ("/docs.html", "/", true),
        // A pattern of the whole path
        ("/docs/x.html", "/docs/*.html", true),
        ("/docs/x/y.html", "/docs", true),
        ("/docs/x.html/", "/docs", true),
        ("/docs/deep/x.html", "deep", true),
        ("/docs/a/deep/x", "deep", true),
        ("/docs/a/b/deep/x.js", "deep", false),
        ("/docs/deep/x/y", "/docs", true),
        ("/docs/xdeep/y", "/docs", true),
        ("/x/docs/y.html", "/", true),
        // Of two with equally many, the later one in the file
        ("/twice/", "second", true),
        ("/twice/x.js", "second", false),
        ("/abc", "/a?c", true),
        ("/a.c", "/a?c", true),
        ("/ac", "/", true),
        ("/abcd", "/", true),
        ("/a/c", "/", true),
        // RFC 3986 §2.1, §6.2.2: paths are compared decoded, once, and without dot segments
        ("/%61ssets/x", "/assets/", true),
        ("/assets%2Fx", "/assets/", true),
        ("/%61%73%73%65%74%73/x", "/assets/", true),
        ("//assets//x", "/assets/", true),
        ("/./assets/./x", "/assets/", true),
        ("/x/../assets/x", "/assets/", true),
        ("/assets/../x", "/", true),
        ("/assets/%2e%2e/x", "/", true),
        ("/assets/..%2fx.js", "*.js", false),
        ("/%2561ssets/x", "/", true),
        ("/x%2Ejs", "*.js", false),
        ("/x.js?y.css", "*.js", false),
        ("/x?y.js", "/", true),
        ("/x%3Fy.js", "*.js", false),
        ("http://b/assets/x", "/assets/", true),
        ("/sp%20ace/%C3%A4/x", "space", true),
        ("/sp+ace/%C3%A4/x", "/", true),
        // A list in a location replaces the list of its site, an empty one too
        ("/none/x", "", true),
    ] {
        let response = get(&server, "test", target);
        assert_eq!(response.status, 404, "{target}");
        assert_eq!(response.field("X-Is").unwrap_or(""), expected, "{target}");
        assert_eq!(response.field("X-Content-Type-Options").is_some(), nosniff, "{target}");
    }
}

/// A location at the top is for all sites, before those of the site; one may have a root of its own.
#[test]
fn locations_of_all_sites_and_of_one() {
    let site = roots(&["a", "b", "media"]);
    site.file("media/pictures/x", "picture");
    site.file("a/pictures/x", "hidden by the location");
    let server = start(
        &site,
        "[[location]]\npath = '/pictures/'\nroot = 'ROOT/media'\nheaders = [{ set = { X-Is = 'top' } }]\n\
         [[site]]\nserver_name = 'a'\nroot = 'ROOT/a'\n\
         [[site]]\nserver_name = 'b'\nroot = 'ROOT/b'\n\
         [[site.location]]\npath = '/pictures/'\nheaders = [{ set = { X-Is = 'b' } }]\n",
    );
    for (host, target, content, location) in [
        ("a", "/pictures/x", "picture", Some("top")),
        ("b", "/pictures/x", "picture", Some("b")),
        ("a", "//pictures/%78", "picture", Some("top")),
        ("a", "/who", "a", None),
        ("b", "/who", "b", None),
        ("a", "/pictures/../who", "a", None),
    ] {
        for _ in 0..2 {
            let response = get(&server, host, target);
            let found = (response.status, &*String::from_utf8_lossy(&response.content), response.field("X-Is"));
            assert_eq!(found, (200, content, location), "{host}: {target}");
        }
    }
    assert_eq!(get(&server, "a", "/pictures/who").status, 404, "the file of the other root is not there");
}

/// However a path is written, it lies in the same location: nothing that is denied can be had by another spelling.
#[test]
fn no_spelling_leads_around_a_location() {
    let site = Site::new();
    for name in ["secret/x", "a.key", "one", "dir/one", "secret/index.html", "locked/index.html"] {
        site.file(name, "precious");
    }
    site.file("index.html", "index");
    let server = start(
        &site,
        "root = 'ROOT'\n\
         [[location]]\npath = '/secret'\ndeny = ['all']\n\
         [[location]]\npath = '*.key'\ndeny = ['127.0.0.1']\n\
         [[location]]\npath = '/one'\ndeny = ['all']\n\
         [[location]]\npath = '/dir/*'\nallow = ['192.0.2.1']\n\
         [[location]]\npath = '/locked/index.html'\ndeny = ['all']\n",
    );
    let spellings = |path: &str| {
        let rest = &path[1..];
        let all: String = rest.bytes().map(|b| format!("%{b:02x}")).collect();
        let first = format!("%{:02X}{}", rest.as_bytes()[0], &rest[1..]);
        vec![
            path.to_owned(),
            format!("/{all}"),
            format!("/{first}"),
            format!("/{}", rest.replace('/', "%2f")),
            format!("/{}", rest.replace('/', "%2F")),
            format!("/%2f{rest}"),
            format!("//{rest}"),
            format!("///{}", rest.replace('/', "//")),
            format!("/./{}", rest.replace('/', "/./")),
            format!("/%2e/{}", rest.replace('/', "/%2E/")),
            format!("/x/../{rest}"),
            format!("/x%2f..%2f{rest}"),
            format!("/x/%2e%2e/{rest}"),
            format!("/x/y/../../{rest}"),
            format!("/secret/../{rest}"),
            format!("{path}?"),
            format!("{path}?x=/index.html"),
            format!("http://test{path}"),
            format!("http://other:80/{path}"),
        ]
    };
    for path in ["/secret/x", "/secret/", "/secret/index.html", "/secret", "/a.key", "/one", "/dir/one"] {
        for target in spellings(path) {
            let response = get(&server, "test", &target);
            assert_eq!(response.status, 403, "{target}");
            assert!(!response.content.starts_with(b"precious"), "{target}");
        }
    }
    // The name behind a slash at the end is a folder's, and there is none.
    for target in ["/a.key/", "/a.key/.", "/a.key/x/..", "/one/", "/dir/one/", "/a.key%2f", "/dir/one%2F"] {
        assert!(matches!(get(&server, "test", target).status, 403 | 404), "{target}");
    }
    // A path that an index leads to is a path of its own, as any is.
    for target in spellings("/locked/index.html").into_iter().chain(spellings("/locked/")) {
        for _ in 0..2 {
            assert_eq!(get(&server, "test", &target).status, 403, "{target}");
        }
    }
    assert_eq!(get(&server, "test", "/").content, b"index");
}
