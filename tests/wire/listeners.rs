//! Where clients come in: Unix sockets, ports that the kernel chooses, several addresses, and what the command line says.
//!
//! Invariant: no socket file is left behind, and none is taken away that somebody else listens on or that is no socket.

use crate::harness::server::{Outcome, Setup};
use crate::harness::site::pattern;
use crate::harness::{Client, HANG, Method, NOBODY, Server, Site, eventually, holds_within, is_root, skipped};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A site with a file, and the path of a socket beside its root.
fn site() -> (Site, PathBuf) {
    let site = Site::new();
    site.file("a.txt", "a");
    let socket = site.outside().join("socket");
    (site, socket)
}

/// A server of the site that listens where this list says.
fn listening(site: &Site, listen: &str) -> Setup {
    Setup::configured(format!("listen = {listen}\nroot = '{}'\n", site.root().display()))
}

fn unix(path: &Path) -> String {
    format!("['unix:{}']", path.display())
}

/// Ends a server as an administrator does, and waits for it.
fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "{}", server.log());
    for word in ["ERROR", "WARN"] {
        assert!(!server.log().contains(word), "{}", server.log());
    }
}

/// It did not start, and says why in one line that names all of this.
fn check_refused(outcome: &Outcome, named: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    // What a check reports stands there, with the error.
    let has_error = outcome.stdout.lines().any(|line| line.starts_with("error    listen: "));
    assert!(outcome.stdout.is_empty() || has_error, "{}", outcome.stdout);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    for name in named {
        assert!(outcome.stderr.contains(name), "{name} is not in {}", outcome.stderr);
    }
}

#[test]
fn a_unix_socket_is_as_good_as_an_address() {
    let (site, socket) = site();
    let content = site.pattern("large", 5_000_000);
    let server = listening(&site, &unix(&socket)).start();
    let announced = server.announcements().remove(0);
    let expected = format!("serving {} on unix:{} with 2 workers", site.root().display(), socket.display());
    assert_eq!(announced, expected);
    let metadata = std::fs::symlink_metadata(&socket).expect("the socket is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o666, "whoever may enter its directory may connect");

    let mut client = Client::connect_unix(&socket);
    for _ in 0..3 {
        let response = client.get("/a.txt");
        assert_eq!((response.status, &response.content[..], response.closes()), (200, &b"a"[..], false));
        let headed = client.ask(Method::Head, "/a.txt", "");
        assert_eq!(headed.lasting_fields(), response.lasting_fields());
        let part = client.ask(Method::Get, "/large", "Range: bytes=1000000-1999999\r\n");
        assert_eq!(part.status, 206);
        assert_eq!(part.content, content[1_000_000..2_000_000]);
        assert_eq!(client.get("/large").content, content);
        assert_eq!(client.get("/none").status, 404);
    }
    // Requests that come together, and the last of a connection
    let request = |more: &str| format!("GET /a.txt HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    client.send(request("").repeat(100) + &request("Connection: close\r\n"));
    for _ in 0..101 {
        assert_eq!(client.answer(Method::Get).content, b"a");
    }
    client.expect_end("the last answer");
    // RFC 9112 §2.2: what is no request
    let mut client = Client::connect_unix(&socket);
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer(Method::Get).status, 400);
    client.expect_end("nonsense");
    drop(client);

    let mut clients: Vec<_> = (0..300).map(|_| Client::connect_unix(&socket)).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send(request(""));
        }
        for client in &mut clients {
            assert_eq!(client.answer(Method::Get).content, b"a");
        }
    }
    drop(clients);
    stop(server);
    assert!(!socket.exists(), "the file is removed at the end");
}

#[test]
fn several_addresses_of_either_kind() {
    let (site, socket) = site();
    let other = site.outside().join("other");
    let listen = format!("['unix:{}', '127.0.0.1:0', '127.0.0.2:0', 'unix:{}']", socket.display(), other.display());
    let server = listening(&site, &listen).start();
    eventually("a line an address", || server.announcements().len() == 4);
    for path in [&socket, &other] {
        assert_eq!(Client::connect_unix(path).get("/a.txt").content, b"a");
    }
    assert_eq!(server.addresses().len(), 2);
    for address in server.addresses() {
        assert_eq!(Client::connect(address).get("/a.txt").content, b"a");
    }
    stop(server);
    assert!(!socket.exists() && !other.exists());
}

/// A server that was killed leaves its file, and the next one starts all the same: at once too, while the kernel still
/// closes the rings of what was killed and somebody seems to listen. A restart under load once failed on that.
#[test]
fn a_stale_socket_is_replaced() {
    let (site, socket) = site();
    for _ in 0..2 {
        let mut server = listening(&site, &unix(&socket)).start();
        assert_eq!(Client::connect_unix(&socket).get("/a.txt").content, b"a");
        server.signal(Signal::KILL);
        assert_eq!(server.exit_code(), None);
        assert!(socket.exists());
    }
    // `-t` looks at what is there now, and does not wait.
    eventually("nobody listens there", || UnixStream::connect(&socket).is_err());
    let good = listening(&site, &unix(&socket)).flag("-t").outcome();
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    stop(listening(&site, &unix(&socket)).start());
    assert!(!socket.exists());
}

/// All workers accept on one socket. One of them was once stuck in accept(2) until the next client came, because another
/// had undone the flag that keeps it from waiting: one start in ten never got as far as serving. (Now nobody changes it.)
#[test]
fn quiet_sockets_hold_no_worker_up() {
    let (site, _) = site();
    let sockets: String =
        (0..4).map(|n| format!("'unix:{}', ", site.outside().join(n.to_string()).display())).collect();
    let text = format!(
        "workers = 4\ndrain_timeout = 1\nlisten = ['127.0.0.1:0', {sockets}]\nroot = '{}'\n",
        site.root().display()
    );
    for _ in 0..15 {
        let server = Setup::flags([""; 0]).config_text(text.clone()).start();
        // Enough connections that each worker most likely has some.
        for mut client in (0..16).map(|_| server.client()).collect::<Vec<_>>() {
            assert_eq!(client.get("/a.txt").content, b"a");
        }
        stop(server);
    }
}

/// What somebody listens on, and what is no socket, is not taken away.
#[test]
fn what_is_not_ours_is_left_alone() {
    let (site, socket) = site();
    let server = listening(&site, &unix(&socket)).start();
    for flag in ["-t", "-v"] {
        let outcome = listening(&site, &unix(&socket)).flag(flag).outcome();
        let line = outcome.stderr.lines().last().unwrap_or_default().to_owned() + "\n";
        check_refused(
            &Outcome { stderr: line, ..outcome },
            &[&format!("unix:{}", socket.display()), "another program listens there"],
        );
        assert_eq!(Client::connect_unix(&socket).get("/a.txt").content, b"a");
    }
    stop(server);
    let listener = UnixListener::bind(&socket).expect("the path is free");
    check_refused(&listening(&site, &unix(&socket)).outcome(), &["another program listens there"]);
    assert!(socket.exists());
    drop(listener);

    let at = |name: &str| site.outside().join(name);
    std::fs::write(at("file"), "precious").expect("a file of the test");
    std::fs::create_dir(at("directory")).expect("a directory of the test");
    std::os::unix::fs::symlink("/no/such/file", at("dangling")).expect("a link of the test");
    std::os::unix::fs::symlink(&socket, at("link")).expect("a link of the test");
    for name in ["file", "directory", "dangling", "link"] {
        for flag in [None, Some("-t")] {
            let setup = listening(&site, &unix(&at(name)));
            let outcome = flag.into_iter().fold(setup, Setup::flag).outcome();
            check_refused(&outcome, &[name, "the file is no socket"]);
        }
        assert!(at(name).symlink_metadata().is_ok(), "{name} is still there");
    }
    assert_eq!(std::fs::read(at("file")).expect("it is still there"), b"precious");
    check_refused(&listening(&site, &unix(&at("none/socket"))).outcome(), &["directory does not exist"]);
    check_refused(&listening(&site, &unix(&at("file/socket"))).outcome(), &["directory does not exist"]);
    if is_root() {
        let outcome = listening(&site, &unix(&at("denied"))).user(NOBODY).outcome();
        check_refused(&outcome, &["denied", "permission denied"]);
    }
}

/// A start that fails at a later address leaves nothing of an earlier one, and neither does a check.
#[test]
fn nothing_is_left_of_a_start_that_fails() {
    let (site, socket) = site();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = taken.local_addr().expect("it is bound");
    let listen = format!("['unix:{}', '{address}']", socket.display());
    for flag in [None, Some("-t")] {
        let outcome = flag.into_iter().fold(listening(&site, &listen), Setup::flag).outcome();
        check_refused(&outcome, &[&address.to_string(), "another program listens there"]);
        assert!(!socket.exists(), "{flag:?}");
    }
    let outcome = listening(&site, &unix(&socket)).flag("-t").outcome();
    assert_eq!((outcome.code, socket.exists()), (Some(0), false), "{}", outcome.stderr);
}

/// A new server may start while the old one finishes what is in flight: the file is then the new one's, and the old one
/// does not take it away at its end.
#[test]
fn a_successor_keeps_its_socket() {
    let (site, socket) = site();
    let content = site.pattern("large", 50_000_000);
    let root = site.root();
    let text = format!("workers = 1\ndrain_timeout = 60\nlisten = {}\nroot = '{}'\n", unix(&socket), root.display());
    let mut old = Setup::flags([""; 0]).config_text(text.clone()).start();
    let mut client = Client::connect_unix(&socket);
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    client.take_some(1);
    old.signal(Signal::TERM);
    eventually("the old server stops listening", || UnixStream::connect(&socket).is_err());
    let new = Setup::flags([""; 0]).config_text(text).start();
    assert_eq!(Client::connect_unix(&socket).get("/a.txt").content, b"a");
    // What was in flight comes whole.
    assert_eq!(client.answer(Method::Get).content, content);
    drop(client);
    assert_eq!(old.exit_code(), Some(0));
    assert_eq!(Client::connect_unix(&socket).get("/a.txt").content, b"a", "the new one's file is still there");
    stop(new);
    assert!(!socket.exists());
}

/// A port alone is that port of all addresses; the kernel chooses for 0.
#[test]
fn a_port_alone() {
    let (site, _) = site();
    let has_ipv6 = TcpListener::bind("[::]:0").is_ok();
    for listen in ["['0']", "'0'", "['0.0.0.0:0', '[::]:0']"] {
        if !has_ipv6 && listen.contains("::") {
            skipped(listen, "this machine has no IPv6");
            continue;
        }
        let server = listening(&site, listen).start();
        let expected = if has_ipv6 { 2 } else { 1 };
        eventually("a line an address", || server.addresses().len() >= expected);
        let addresses = server.addresses();
        assert_eq!(addresses.len(), expected, "{addresses:?}");
        for address in addresses {
            assert!(address.ip().is_unspecified() && address.port() != 0, "{address}");
            let local: &str = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
            let local = SocketAddr::new(local.parse().expect("an address"), address.port());
            assert_eq!(Client::connect(local).get("/a.txt").content, b"a", "{local}");
            // `[::]` is IPv6 alone
            let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", address.port()).parse().expect("an address");
            assert!(address.is_ipv4() || Client::try_connect(mapped).is_err(), "{mapped}");
        }
    }
}

/// Starts a server on a port that is free now; PORT stands for it.
fn on_free_port(start: impl Fn(u16) -> Setup) -> (Server, u16) {
    for _ in 0..10 {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("some port is free");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        match start(port).try_start() {
            Ok(server) => return (server, port),
            // A test that runs beside this one was quicker.
            Err(why) if why.contains("another program listens there") => {}
            Err(why) => panic!("{why}"),
        }
    }
    panic!("every free port was taken at once");
}

/// An address that is named twice is one listener.
#[test]
fn the_same_address_named_twice() {
    let (site, socket) = site();
    let socket = socket.display();
    for (list, count) in [
        ("['127.0.0.1:PORT', '127.0.0.1:PORT']", 1),
        ("['127.0.0.1:PORT', '127.0.0.2:PORT', '127.0.0.1:PORT']", 2),
        ("['unix:SOCKET', 'unix:SOCKET', '127.0.0.1:PORT']", 2),
        // Port 0 is another port each time that it is written
        ("['127.0.0.1:0', '127.0.0.1:0']", 2),
    ] {
        let (server, _) = on_free_port(|port| {
            listening(&site, &list.replace("PORT", &port.to_string()).replace("SOCKET", &socket.to_string()))
        });
        // The lines come together; one more would be there by then.
        eventually("a line an address", || server.announcements().len() >= count);
        assert_eq!(server.announcements().len(), count, "{list}");
        for address in server.addresses() {
            assert_eq!(Client::connect(address).get("/a.txt").content, b"a", "{list}");
        }
    }
    // …by two sites as well
    let root = site.root();
    let (server, port) = on_free_port(|port| {
        let of_site = |name: &str| {
            format!("[[site]]\nserver_name = '{name}'\nroot = '{}'\nlisten = ['127.0.0.1:{port}']\n", root.display())
        };
        Setup::configured(of_site("a") + &of_site("b"))
    });
    assert_eq!(server.announcements().len(), 1);
    for host in ["a", "b"] {
        let client = Client::connect((Ipv4Addr::LOCALHOST, port).into());
        assert_eq!(client.host(host).get("/a.txt").content, b"a");
    }
}

/// `-a` and `-p` move all sites to the addresses that they name.
#[test]
fn the_command_line_moves_all_sites() {
    let (site, socket) = site();
    let text = |site: &Site| {
        let of_site = |name: &str, listen: &str| {
            site.file(format!("{name}/who"), name);
            format!("[[site]]\nserver_name = '{name}'\nroot = '{}'\n{listen}", site.path(name).display())
        };
        let own = format!("listen = ['unix:{}', '127.0.0.9:1']\n", socket.display());
        format!("workers = 1\nlisten = ['127.0.0.8:1']\n{}{}", of_site("a", &own), of_site("b", ""))
    };
    for (flags, count) in
        [(&["-a", "127.0.0.1:0"][..], 1), (&["-a", "127.0.0.1", "-a", "127.0.0.2", "-p", "0"], 2), (&["-p", "0"], 1)]
    {
        let server = Setup::flags(flags).config_text(text(&site)).start();
        eventually("a line an address", || server.addresses().len() >= count);
        let addresses = server.addresses();
        assert!(addresses.len() == count || flags[0] == "-p", "{flags:?}: {addresses:?}");
        for address in addresses.into_iter().filter(SocketAddr::is_ipv4) {
            let address = if address.ip().is_unspecified() { server.address() } else { address };
            for host in ["a", "b"] {
                let content = Client::connect(address).host(host).get("/who").content;
                assert_eq!(content, host.as_bytes(), "{flags:?}: {address}");
            }
        }
        assert!(!socket.exists(), "{flags:?}");
    }
    // A Unix socket can be typed as well.
    let typed = format!("unix:{}", socket.display());
    let server = Setup::flags(["-a", &typed]).config_text(text(&site)).start();
    for host in ["a", "b"] {
        assert_eq!(Client::connect_unix(&socket).host(host).get("/who").content, host.as_bytes());
    }
    assert_eq!(server.announcements().len(), 1);
}

/// Where the machine has IPv6, its addresses in every form.
#[test]
fn addresses_of_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skipped("listening on [::1]", "this machine has no IPv6");
    }
    let (site, _) = site();
    for (flags, listen) in [(&[][..], "['[::1]:0']"), (&["-a", "::1", "-p", "0"], "[]"), (&["-a", "[::1]:0"], "[]")] {
        let text = format!("workers = 2\nlisten = {listen}\nroot = '{}'\n", site.root().display());
        let server = Setup::flags(flags).config_text(text).start();
        let address = server.address();
        assert!(address.is_ipv6(), "{address}");
        assert!(server.announcements()[0].contains(&format!("http://[::1]:{}/", address.port())));
        let mut client = Client::connect(address).host(&format!("[::1]:{}", address.port()));
        assert_eq!(client.get("/a.txt").content, b"a");
    }
}

/// Clients that wait in the queue of a Unix socket when the server is told to stop are answered or refused, not left.
#[test]
fn clients_at_the_moment_of_the_end() {
    let (site, socket) = site();
    site.file("b.bin", pattern(100_000));
    for _ in 0..5 {
        let server = listening(&site, &unix(&socket)).start();
        let mut clients: Vec<_> = (0..50).map(|_| Client::connect_unix(&socket)).collect();
        for client in &mut clients {
            client.send("GET /b.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        stop(server);
        for mut client in clients {
            assert_eq!(client.answer(Method::Get).content.len(), 100_000);
        }
        assert!(holds_within(HANG, || !socket.exists()));
    }
}
