//! Who may have what: `allow` and `deny` by address, `basic_auth` by name and password (RFC 7617).
//!
//! Invariant: a byte of a protected file is in an answer only to a client that may have it, however it asks and whoever
//! asked before.

use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Client, HANG, Method, Server, Site, eventually, holds_within};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

// Made by `htpasswd -B -C 4`; the last one, of `secret`, is slower.
const ANN_SECRET: &str = "ann:$2y$04$PLMkgcyO4XLf3LRry8NdnulQCY1LMGj7osfY.tTC/hwSG7t1tDXHy\n";
const BOB_HUNTER2: &str = "bob:$2y$04$0dhUtwVZVxkiiufkO5F27eVv8adZYzIMogVtqCXwHZu2GnZ3kR1C.\n";
const JOERG_PAESSWORD: &str = "j\u{f6}rg:$2y$04$7ETpARvz9avN9gWwuoPC8uy7VfoCD6oQVTus2Q9wgqv9wd0s6lZDu\n";
const NO_PASSWORD: &str = "empty:$2y$04$HCPsfCndrjmxr9FGybVYaOVfYmM0zStiPtvZoQsuRbgKbYqFtmQ/u\n";
const SLOW_SECRET: &str = "slow:$2y$08$RWBjc92coU.HOBNE5kEN/ubOv1h2iy5IVra1L5KakwDBAtVJQvOny\n";

const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
const BOB: &str = "Authorization: Basic Ym9iOmh1bnRlcjI=\r\n";
const WRONG: &str = "Authorization: Basic YW5uOndyb25n\r\n";

/// Starts a server of the site; in `text` USERS is the file of passwords.
fn start(site: &Site, text: &str) -> Server {
    let head = format!("listen = ['127.0.0.1:0']\nroot = '{}'\n", site.root().display());
    Setup::configured(head + &text.replace("USERS", &users(site).display().to_string())).start()
}

fn users(site: &Site) -> PathBuf {
    site.outside().join("users")
}

/// Each row is a location of a server behind a proxy on this machine; nothing is there, so that 404 says who may come
/// and 403 who may not.
#[test]
fn addresses_that_may_come() {
    // allow · deny · who may come · who may not; `direct` is this machine, `unix` a peer on a Unix socket
    let rows = [
        ("", "", "direct 1.2.3.4 ::1 unix", ""),
        // With `allow`, all others may not
        ("127.0.0.1", "", "direct", "127.0.0.2 1.2.3.4 ::1 unix"),
        ("192.0.2.1", "", "192.0.2.1", "direct 192.0.2.2 unix"),
        ("127.0.0.0/8", "", "direct 127.1.2.3", "128.0.0.1 126.255.255.255"),
        // With `deny` alone, all others may
        ("", "127.0.0.1", "127.0.0.2 ::1 unix", "direct"),
        ("", "10.0.0.0/8 ::1", "direct 11.0.0.0 ::2 unix", "10.0.0.0 10.255.255.255 ::1"),
        // The longest prefix that fits counts
        ("10.1.0.0/16", "10.0.0.0/8 10.1.2.0/24", "10.1.1.1 10.1.3.255", "10.1.2.1 10.2.0.1 direct"),
        ("127.0.0.1", "127.0.0.0/8", "direct", "127.0.0.2 10.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "127.0.0.2", "direct"),
        // …and `deny` before `allow`
        ("10.0.0.0/8", "10.0.0.0/8", "", "10.0.0.1 direct"),
        ("127.0.0.1", "127.0.0.1", "", "direct"),
        ("all", "all", "", "direct ::1 unix"),
        // Everybody, of both families and on Unix sockets
        ("all", "", "direct ::1 unix 1.2.3.4", ""),
        ("", "all", "", "direct ::1 unix 1.2.3.4"),
        ("all", "10.0.0.0/8", "direct ::1 unix", "10.0.0.1"),
        ("10.0.0.0/8", "all", "10.0.0.1", "direct ::1 unix"),
        ("0.0.0.0/0", "", "direct 1.2.3.4", "::1 unix"),
        ("::/0", "", "::1 2001:db8::1", "direct unix"),
        // Peers on a Unix socket
        ("unix", "", "unix", "direct ::1"),
        ("", "unix", "direct ::1", "unix"),
        ("all", "unix", "direct", "unix"),
        ("unix 127.0.0.1", "", "unix direct", "127.0.0.2"),
        // RFC 4291 §2.5.5.2: an IPv4 client counts as IPv4
        ("10.0.0.0/8", "", "::ffff:10.1.2.3", "::ffff:11.0.0.1 ::10.1.2.3"),
        ("::ffff:10.1.2.3", "", "10.1.2.3", "10.1.2.4"),
        ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:2::1", "2001:db8:1::1 2001:db9::1"),
    ];
    let site = Site::new();
    let socket = site.outside().join("socket");
    let list = |words: &str| words.split_whitespace().map(|word| format!("'{word}', ")).collect::<String>();
    let location = |(number, (allow, deny, ..)): (usize, &(&str, &str, &str, &str))| {
        format!("[[location]]\npath = '/{number}/'\nallow = [{}]\ndeny = [{}]\n", list(allow), list(deny))
    };
    let locations: String = rows.iter().enumerate().map(location).collect();
    let server = Setup::configured(format!(
        "listen = ['127.0.0.1:0', 'unix:{}']\nroot = '{}'\nreal_ip_from = ['127.0.0.1']\n{locations}",
        socket.display(),
        site.root().display()
    ))
    .start();
    let (mut tcp, mut unix) = (server.client(), Client::connect_unix(&socket));
    for (number, (allow, deny, admitted, denied)) in rows.iter().enumerate() {
        for (whom, status) in [(admitted, 404), (denied, 403)] {
            for client in whom.split_whitespace() {
                let target = format!("/{number}/x");
                let response = match client {
                    "direct" => tcp.get(&target),
                    "unix" => unix.get(&target),
                    address => tcp.ask(Method::Get, &target, &format!("X-Forwarded-For: {address}\r\n")),
                };
                assert_eq!(response.status, status, "allow {allow:?}, deny {deny:?}: {client}");
            }
        }
    }
}

/// `allow` and `deny` are one key: a location that sets one of them unsets the other of its site.
#[test]
fn addresses_are_inherited_together() {
    let site = Site::new();
    let server = start(
        &site,
        "deny = ['127.0.0.1']\n\
         [[location]]\npath = '/allowed/'\nallow = ['127.0.0.1']\n\
         [[location]]\npath = '/allowed/but/'\nallow = ['192.0.2.1']\n\
         [[location]]\npath = '/others/'\ndeny = ['192.0.2.1']\n\
         [[location]]\npath = '/open/'\nallow = []\n\
         [[location]]\npath = '/untouched/'\nnosniff = true\n",
    );
    for (target, status) in [
        ("/", 403),
        ("/x", 403),
        ("/allowed/", 404),
        ("/allowed/but/x", 403),
        ("/others/", 404),
        ("/open/", 404),
        ("/untouched/", 403),
    ] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
    // RFC 9110 §9.1: of methods that do nothing here nobody is told whether he might have come
    let mut client = server.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer(Method::Get).status, 405);
}

/// An IPv6 client of an IPv6 socket, where the machine has one.
#[test]
fn addresses_of_ipv6_clients() {
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::harness::skipped("clients of ::1", "this machine has no IPv6");
    }
    let site = Site::new();
    let text = |rules: &str| format!("listen = ['[::1]:0']\nroot = '{}'\n{rules}", site.root().display());
    for (rules, status) in [
        ("allow = ['::1']", 404),
        ("allow = ['::/0']", 404),
        ("deny = ['::1']", 403),
        ("allow = ['127.0.0.1']", 403),
        ("deny = ['127.0.0.0/8']", 404),
    ] {
        let server = Setup::configured(text(rules)).start();
        assert_eq!(server.get("/").status, status, "{rules}");
    }
}

/// A site with files that need a password, and one that needs none.
fn protected() -> (Site, Server) {
    let site = Site::new();
    for name in ["locked/x", "locked/y", "locked/401.html", "open", "other/x", "free/x"] {
        site.file(name, format!("content of {name}"));
    }
    site.pattern("locked/large", 3_000_000);
    write(&users(&site), [ANN_SECRET, "# staff\n\n", BOB_HUNTER2, JOERG_PAESSWORD, NO_PASSWORD].concat());
    let server = start(
        &site,
        "[[location]]\npath = '/locked/'\nbasic_auth = { realm = 'the staff', file = 'USERS' }\n\
         error_page = { 404 = '/open' }\n\
         [[location]]\npath = '/other/'\nbasic_auth = { file = 'USERS' }\nerror_page = { 401 = '/locked/401.html' }\n\
         [[location]]\npath = '/other/free/'\nbasic_auth = 'off'\n",
    );
    (site, server)
}

/// RFC 7617 §2: what counts as a user's name and password, and what does not.
#[test]
fn credentials() {
    let (_site, server) = protected();
    let mut client = server.client();
    let long = "a".repeat(3000);
    let accepted: &[&str] = &[
        ANN,
        BOB,
        // RFC 9110 §5.1, §11.1: field names and schemes are without case, white space around a value is not of it
        "authorization: basic YW5uOnNlY3JldA==\r\n",
        "AUTHORIZATION:BASIC YW5uOnNlY3JldA==\r\n",
        "Authorization: Basic   YW5uOnNlY3JldA==\t \r\n",
        // RFC 7617 §2.1: names and passwords in UTF-8
        "Authorization: Basic asO2cmc6cMOkc3N3b3Jk\r\n",
        // An empty password is one, if the file says so
        "Authorization: Basic ZW1wdHk6\r\n",
    ];
    let refused: &[&str] = &[
        "",
        // Another password, an unknown user, another case of either
        WRONG,
        "Authorization: Basic YW5uOlNlY3JldA==\r\n",
        "Authorization: Basic QW5uOnNlY3JldA==\r\n",
        "Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n",
        "Authorization: Basic ZW1wdHk6eA==\r\n",
        "Authorization: Basic YW5uOg==\r\n",
        "Authorization: Basic Og==\r\n",
        "Authorization: Basic OnNlY3JldA==\r\n",
        // One user's name, another's password
        "Authorization: Basic YW5uOmh1bnRlcjI=\r\n",
        // The hash itself is no password
        "Authorization: Basic YW5uOiQyeSQwNCRQTE1rZ2N5TzRYTGYzTFJyeThOZG51bFFDWTFMTUdqN29zZlkudFRDL2h3U0c3dDF0RFhIeQ==\r\n",
        // "ann:secret" and a byte more: a space, a line end, NUL
        "Authorization: Basic YW5uOnNlY3JldCA=\r\n",
        "Authorization: Basic YW5uOnNlY3JldAo=\r\n",
        "Authorization: Basic YW5uOnNlY3JldAA=\r\n",
        "Authorization: Basic YW5uADpzZWNyZXQ=\r\n",
        "Authorization: Basic IGFubjpzZWNyZXQ=\r\n",
        // The comment in the file is no user
        "Authorization: Basic IyBzdGFmZjo=\r\n",
        // No colon; nothing; no base64, or not all of it (RFC 4648 §3.2, §3.5, §5)
        "Authorization: Basic YW5uc2VjcmV0\r\n",
        "Authorization:\r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic \r\n",
        "Authorization: Basic =\r\n",
        "Authorization: Basic ann:secret\r\n",
        "Authorization: Basic YW5uOnNlY3JldA\r\n",
        "Authorization: Basic YW5uOnNlY3JldA=\r\n",
        "Authorization: Basic YW5uOnNlY3JldA===\r\n",
        "Authorization: Basic YW5uOnNlY3JldB==\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==YQ\r\n",
        "Authorization: Basic YW5u OnNlY3JldA==\r\n",
        "Authorization: Basic YW5uOnNlY3JldA== x\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==, Basic YW5uOnNlY3JldA==\r\n",
        "Authorization: Basic \"YW5uOnNlY3JldA==\"\r\n",
        "Authorization: Basic realm=\"the staff\"\r\n",
        "Authorization: BasicYW5uOnNlY3JldA==\r\n",
        "Authorization: Basic\tYW5uOnNlY3JldA==\r\n",
        "Authorization: YW5uOnNlY3JldA==\r\n",
        // Other schemes
        "Authorization: Bearer YW5uOnNlY3JldA==\r\n",
        "Authorization: Digest username=\"ann\"\r\n",
        "Authorization: Negotiate YW5uOnNlY3JldA==\r\n",
        // Other fields, and two of one
        "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n",
        "X-Authorization: Basic YW5uOnNlY3JldA==\r\n",
        "Cookie: Authorization=Basic YW5uOnNlY3JldA==\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==\r\nAuthorization: Basic YW5uOndyb25n\r\n",
        "Authorization: Basic YW5uOndyb25n\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n",
    ];
    // Twice: what was verified, and what was not, is remembered or asked anew.
    for _ in 0..2 {
        for lines in accepted {
            let response = client.ask(Method::Get, "/locked/x", lines);
            assert_eq!((response.status, &response.content[..]), (200, &b"content of locked/x"[..]), "{lines}");
            assert_eq!(response.field("WWW-Authenticate"), None, "{lines}");
            assert_eq!(client.ask(Method::Get, "/locked/none", lines).status, 404, "{lines}");
        }
        for lines in refused.iter().copied().chain([&*format!("Authorization: Basic {long}\r\n")]) {
            // RFC 9110 §15.5.2: the same for a file that is there and one that is not
            for target in ["/locked/x", "/locked/none", "/locked/", "/locked/.env"] {
                check_unauthorized(&mut client, target, lines);
            }
            assert_eq!(client.ask(Method::Get, "/open", lines).status, 200, "{lines}");
        }
    }
    // RFC 7617 §2: the realm of each protection space
    let challenge = |target: &str| server.get(target).field("WWW-Authenticate").map(str::to_owned);
    assert_eq!(challenge("/other/x").as_deref(), Some("Basic realm=\"restricted\", charset=\"UTF-8\""));
    assert_eq!(challenge("/other/free/x"), None);
}

/// 401 by GET and by HEAD, with the challenge, and a connection that lives on.
fn check_unauthorized(client: &mut Client, target: &str, lines: &str) {
    let response = client.ask(Method::Get, target, lines);
    assert_eq!(response.status, 401, "{target}: {lines}");
    let challenge = "Basic realm=\"the staff\", charset=\"UTF-8\"";
    assert_eq!(response.field("WWW-Authenticate"), Some(challenge), "{target}: {lines}");
    assert!(!response.closes(), "{target}: {lines}");
    for name in ["ETag", "Last-Modified", "Accept-Ranges", "Content-Range", "Location"] {
        assert_eq!(response.field(name), None, "{target}: {lines}");
    }
    assert!(!String::from_utf8_lossy(&response.content).contains("content of"), "{target}: {lines}");
    let headed = client.ask(Method::Head, target, lines);
    assert_eq!((headed.status, headed.lasting_fields()), (401, response.lasting_fields()), "{target}: {lines}");
}

/// What somebody was sent is in memory, and stays nobody else's.
#[test]
fn what_is_in_memory_needs_the_password_too() {
    let (_site, server) = protected();
    // Several connections, so that both workers have one.
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for target in ["/locked/x", "/locked/large"] {
        let tags: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let response = client.ask(Method::Get, target, ANN);
                assert_eq!(response.status, 200);
                response.field("ETag").expect("files have tags").to_owned()
            })
            .collect();
        for (client, tag) in clients.iter_mut().zip(tags) {
            for lines in [
                String::new(),
                WRONG.to_owned(),
                "Range: bytes=0-0\r\n".to_owned(),
                "Range: bytes=0-0,2-3\r\n".to_owned(),
                "Range: bytes=99999999-\r\n".to_owned(),
                // RFC 9110 §13.2.1: no precondition counts where the answer is neither 2xx nor 412
                format!("If-None-Match: {tag}\r\n"),
                format!("If-Match: {tag}\r\n"),
                "If-Match: \"other\"\r\n".to_owned(),
                format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n"),
                "If-Modified-Since: Thu, 31 Dec 2099 23:59:59 GMT\r\n".to_owned(),
                "Accept-Encoding: gzip\r\n".to_owned(),
                "Cache-Control: only-if-cached\r\n".to_owned(),
            ] {
                check_unauthorized(client, target, &lines);
                assert_eq!(client.ask(Method::Get, target, ANN).status, 200);
            }
            // The other spellings of the same file
            for spelling in [target.replace("locked", "%6cocked"), format!("/{target}"), format!("/open/..{target}")] {
                check_unauthorized(client, &spelling, "");
            }
        }
    }
    // RFC 9112 §9.3.2: requests that come together have each their own credentials
    let request = |lines: &str| format!("GET /locked/x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for _ in 0..8 {
        let mut client = server.client();
        client.send([ANN, "", BOB, WRONG, "", ANN].map(request).concat());
        for status in [200, 401, 200, 401, 401, 200] {
            assert_eq!(client.answer(Method::Get).status, status);
        }
    }
}

/// A document of the site goes with 401, even one that lies where a password is needed; the challenge goes along.
#[test]
fn a_document_with_the_challenge() {
    let (_site, server) = protected();
    for lines in ["", WRONG, "If-None-Match: *\r\n", "Range: bytes=0-3\r\n"] {
        let mut client = server.client();
        for method in [Method::Get, Method::Head] {
            let response = client.ask(method, "/other/x", lines);
            assert_eq!(response.status, 401, "{lines}");
            assert!(response.field("WWW-Authenticate").is_some_and(|it| it.starts_with("Basic realm=")), "{lines}");
            let content: &[u8] = if method == Method::Get { b"content of locked/401.html" } else { b"" };
            assert_eq!(response.content, content, "{lines}");
        }
    }
    // The document of 404 is for those who may know that nothing is there.
    assert_eq!(server.get("/locked/none").status, 401);
    let response = server.client().ask(Method::Get, "/locked/none", ANN);
    assert_eq!((response.status, &response.content[..]), (404, &b"content of open"[..]));
}

/// The file of users is read anew when it changes, and stays as it was while it cannot be read.
#[test]
fn users_come_and_go_while_the_server_runs() {
    let (site, server) = protected();
    // Several connections, so that both workers have one.
    let mut clients: Vec<_> = (0..12).map(|_| server.client()).collect();
    let mut statuses = |lines: &str| -> Vec<u16> {
        clients.iter_mut().map(|client| client.ask(Method::Get, "/locked/x", lines).status).collect()
    };
    let mut all_are = |ann: u16, bob: u16| {
        [(ANN, ann), (BOB, bob)].iter().all(|(lines, status)| statuses(lines).iter().all(|one| one == status))
    };
    assert!(all_are(200, 200));
    // Bob, who was asked for his password a moment ago, goes; a user's password changes.
    write(&users(&site), ANN_SECRET);
    eventually("bob is gone", || all_are(200, 401));
    write(&users(&site), BOB_HUNTER2.replace("bob", "ann") + BOB_HUNTER2);
    eventually("bob is back, and ann's old password is not", || all_are(401, 200));
    // By renaming, as editors and htpasswd do
    let beside = site.outside().join("users.new");
    write(&beside, [ANN_SECRET, BOB_HUNTER2].concat());
    std::fs::rename(&beside, users(&site)).expect("a file of the test can be renamed");
    eventually("both are there", || all_are(200, 200));

    let complaint = "the users that it had before may still pass";
    let complaints = || server.log().matches(complaint).count();
    assert_eq!(complaints(), 0);
    for (number, broken) in [Some("ann:plain\n"), None].into_iter().enumerate() {
        match broken {
            Some(text) => write(&users(&site), text),
            None => std::fs::remove_file(users(&site)).expect("a file of the test can be removed"),
        }
        // Each worker reads for itself, and tells once.
        eventually("each worker tells of it", || complaints() >= 2 * (number + 1));
        assert!(!holds_within(Duration::from_secs(3), || complaints() > 2 * (number + 1)), "{}", server.log());
        assert!(all_are(200, 200));
        write(&users(&site), BOB_HUNTER2);
        eventually("a good file counts again", || all_are(401, 200));
        write(&users(&site), [ANN_SECRET, BOB_HUNTER2].concat());
        eventually("and so does the next", || all_are(200, 200));
    }
    server.wait_for_log("users: line 1: the password of \"ann\" is plain text");
    // Neither a hash nor a password is ever told
    for secret in ["$2y$", "secret", "hunter2", "YW5u"] {
        assert!(!server.log().contains(secret), "{secret} is in {}", server.log());
    }
}

/// Passwords take long to check, by design: not at the expense of whoever needs none.
#[test]
fn guessing_holds_nobody_up() {
    let site = Site::new();
    site.file("locked/x", "locked");
    site.file("open", "open");
    write(&users(&site), SLOW_SECRET);
    let server = start(&site, "[[location]]\npath = '/locked/'\nbasic_auth = { file = 'USERS' }\n");
    let guess = |user: &str| format!("GET /locked/x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {user}\r\n\r\n");
    let mut guessing: Vec<_> = (0..160).map(|_| server.client()).collect();
    for (number, client) in guessing.iter_mut().enumerate() {
        // slow:wrong, nobody:wrong
        client.send(guess(["c2xvdzp3cm9uZw==", "bm9ib2R5Ondyb25n"][number % 2]));
    }
    for _ in 0..8 {
        assert_eq!(server.get("/open").content, b"open");
    }
    let mut waits = 0;
    for mut client in guessing {
        let response = client.answer(Method::Get);
        match response.status {
            401 => {}
            // Too many at once may be told to come again.
            503 => {
                assert!(response.field("Retry-After").is_some());
                waits += 1;
            }
            other => panic!("{other}"),
        }
        assert!(!response.closes());
        assert_eq!(client.get("/open").content, b"open");
    }
    assert!(waits < 160, "nobody was asked");
    // Whoever knows the password is let in among them.
    let granted = || server.client().ask(Method::Get, "/locked/x", "Authorization: Basic c2xvdzpzZWNyZXQ=\r\n").status;
    assert!(holds_within(HANG, || granted() == 200));
}
