//! Listening sockets that were there before the server, and that are there after it: of socket units, and in systemd's store.
//!
//! Invariant: a client that waits in a queue is answered by whoever reads the queue next.

use crate::harness::load::{Habit, Load};
use crate::harness::server::Setup;
use crate::harness::systemd::Systemd;
use crate::harness::{Client, Method, Server, Site, eventually};
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

/// Sockets that listen on one port, as a socket unit opens them.
fn unit(address: &str, count: usize) -> (SocketAddr, Vec<Socket>) {
    let mut address: SocketAddr = address.parse().expect("an address");
    let open = |_| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket.set_reuse_port(count > 1).expect("an option");
        socket.bind(&SockAddr::from(address)).expect("the port is free");
        socket.listen(128).expect("it is bound");
        address = socket.local_addr().expect("it is bound").as_socket().expect("an address");
        socket
    };
    let sockets = (0..count).map(open).collect();
    (address, sockets)
}

fn named<'a>(name: &str, sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<(String, OwnedFd)> {
    let copy = |socket: &Socket| (name.to_owned(), socket.try_clone().expect("a copy").into());
    sockets.into_iter().map(copy).collect()
}

fn listening(site: &Site, workers: usize, listen: &str, more: &str) -> Setup {
    let text = format!(
        "listen = [{listen}]\nroot = '{}'\nworkers = {workers}\ndrain_timeout = 20\n{more}",
        site.root().display()
    );
    Setup::flags([""; 0]).config_text(text)
}

fn site() -> Site {
    let site = Site::new();
    site.file("a.txt", "content");
    site
}

/// Clients that wait to be accepted, each with its request.
fn waiting(address: SocketAddr, count: usize) -> Vec<Client> {
    let ask = |_| {
        let mut client = Client::connect(address);
        client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    (0..count).map(ask).collect()
}

fn are_answered(clients: Vec<Client>) {
    for (number, mut client) in clients.into_iter().enumerate() {
        let answer = client.receive(Method::Get);
        assert!(answer.as_ref().is_ok_and(|answer| answer.content == b"content"), "client {number}: {answer:?}");
    }
}

#[test]
fn sockets_of_a_unit_are_served_however_many_they_are() {
    let (site, systemd) = (site(), Systemd::new());
    for (sockets, workers) in [(1, 1), (1, 3), (2, 2), (3, 1), (5, 2), (2, 3)] {
        let (address, held) = unit("127.0.0.1:0", sockets);
        let early = waiting(address, 30);
        let setup = listening(&site, workers, &format!("'{address}'"), "");
        // The unit's, however much its name is like those of the server's own.
        let mut server = systemd.passes(setup, named("otus-httpd-tls.socket", &held)).start();
        are_answered(early);
        are_answered(waiting(address, 30));
        // A worker that is replaced reads its queues again, and a reload leaves them as they are.
        server.signal(Signal::HUP);
        server.wait_for_log("reloaded in");
        are_answered(waiting(address, 30));
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        // The unit's own go on: whoever comes now waits for the next process.
        let late = waiting(address, 10);
        drop(
            systemd.passes(listening(&site, workers, &format!("'{address}'"), ""), named("web.socket", &held)).start(),
        );
        are_answered(late);
    }
}

#[test]
fn a_socket_of_both_families_serves_both_addresses() {
    let (site, systemd) = (site(), Systemd::new());
    let open = |address: &SocketAddr| std::net::TcpListener::bind(address).is_ok();
    if !open(&"[::]:0".parse().expect("an address")) {
        return crate::harness::skipped("a socket of both families", "no IPv6 here");
    }
    let (address, held) = unit("[::]:0", 1);
    let port = address.port();
    for listen in [format!("'0.0.0.0:{port}', '[::]:{port}'"), format!("'[::]:{port}'"), format!("'0.0.0.0:{port}'")] {
        let server = systemd.passes(listening(&site, 2, &listen, ""), named("web.socket", &held)).start();
        are_answered(waiting(SocketAddr::from(([127, 0, 0, 1], port)), 4));
        server.signal(Signal::HUP);
        server.wait_for_log("reloaded in");
        are_answered(waiting(SocketAddr::from(([127, 0, 0, 1], port)), 4));
    }
}

#[test]
fn what_nobody_serves_is_told_of() {
    let (site, systemd) = (site(), Systemd::new());
    let (address, held) = unit("127.0.0.1:0", 1);
    let (other, others) = unit("127.0.0.1:0", 1);
    let mut passed = named("web.socket", held.iter().chain(&others));
    passed.push(("null".to_owned(), std::fs::File::open("/dev/null").expect("it is there").into()));
    let server = systemd.passes(listening(&site, 1, &format!("'{address}'"), ""), passed).start();
    let log = server.log();
    assert!(
        log.contains(&format!("{other} comes from the socket unit \"web.socket\", and no `listen` names it")),
        "{log}"
    );
    assert!(log.contains("the inherited descriptor \"null\" is no stream socket that listens"), "{log}");
    assert!(!log.contains(&format!("{address} comes from")), "{log}");
    are_answered(waiting(address, 3));
}

/// Names of the store but that of its probe.
fn sockets_in(systemd: &Systemd) -> Vec<String> {
    systemd.stored().into_iter().filter(|name| name != "otus-httpd-probe").collect()
}

#[test]
fn the_store_has_each_listener_once_and_none_that_is_gone() {
    let (site, systemd) = (site(), Systemd::new());
    let path = site.outside().join("config.toml");
    let (first, _) = unit("127.0.0.1:0", 1);
    let (second, _) = unit("127.0.0.1:0", 1);
    let text = |listen: &str| format!("listen = [{listen}]\nroot = '{}'\nworkers = 2\n", site.root().display());
    let change_to = |listen: &str| std::fs::write(&path, text(listen)).expect("a file of this test");
    change_to(&format!("'{first}'"));
    let server = Setup::flags([""; 0]).config_file(&path).environment("NOTIFY_SOCKET", systemd.path()).start();
    systemd.wait_for("READY=1");
    let at_first = sockets_in(&systemd);
    assert_eq!(at_first.len(), 2, "{at_first:?}");
    assert!(at_first.iter().all(|name| name.starts_with("otus-httpd-127.0.0.1_")), "{at_first:?}");
    let reload = |listen: &str, count: usize| {
        change_to(listen);
        server.signal(Signal::HUP);
        eventually("a reload", || server.log().matches("reloaded in").count() == count);
        sockets_in(&systemd)
    };
    let unix = site.outside().join("web.sock");
    let both = reload(&format!("'{first}', '{second}', 'unix:{}'", unix.display()), 1);
    assert_eq!(both.len(), 5, "{both:?}");
    assert!(at_first.iter().all(|name| both.contains(name)), "{both:?}");
    let mut distinct = both.clone();
    distinct.dedup();
    assert_eq!(distinct, both);
    let one = reload(&format!("'{second}'"), 2);
    eventually("what is gone to be taken out", || sockets_in(&systemd).len() == 2);
    assert!(one.iter().all(|name| !at_first.contains(name)), "{one:?}");
}

fn restart(systemd: &Systemd, mut server: Server, setup: Setup) -> Server {
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    drop(server);
    systemd.restarts(setup).start()
}

#[test]
fn a_restart_loses_nobody() {
    let (site, systemd) = (site(), Systemd::new());
    let (address, _) = unit("127.0.0.1:0", 1);
    let setup = || listening(&site, 2, &format!("'{address}'"), "");
    let mut server = systemd.restarts(setup()).start();
    let load = Load::start(address, "/a.txt", b"content", &[(Habit::Fresh, 4)]);
    for _ in 0..4 {
        load.wait_for_more(20);
        server = restart(&systemd, server, setup());
    }
    load.wait_for_more(20);
    assert_eq!(load.end(), [""; 0]);
    assert_eq!(sockets_in(&systemd).len(), 2, "the same two all the time");
    drop(server);
}

#[test]
fn no_queue_is_left_without_a_reader_when_the_number_of_workers_changes() {
    let (site, systemd) = (site(), Systemd::new());
    let (address, _) = unit("127.0.0.1:0", 1);
    let setup = |workers| listening(&site, workers, &format!("'{address}'"), "");
    let mut server = systemd.restarts(setup(1)).start();
    for (workers, sockets) in [(3, 3), (1, 3), (4, 4), (2, 4)] {
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        drop(server);
        // Nobody accepts now.
        let clients = waiting(address, 40);
        server = systemd.restarts(setup(workers)).start();
        are_answered(clients);
        are_answered(waiting(address, 40));
        assert_eq!(sockets_in(&systemd).len(), sockets, "{workers} workers");
    }
}

#[test]
fn unix_sockets_and_the_admin_door_outlive_a_restart() {
    let (site, systemd) = (site(), Systemd::new());
    let (path, admin) = (site.outside().join("web.sock"), site.outside().join("admin.sock"));
    let more = format!("[admin]\nlisten = 'unix:{}'\n", admin.display());
    let setup = || listening(&site, 2, &format!("'unix:{}', '127.0.0.1:0'", path.display()), &more);
    let mut server = systemd.restarts(setup()).start();
    let inodes = || [&path, &admin].map(|path| std::fs::metadata(path).map(|file| (file.ino(), file.mode())).ok());
    let (before, port) = (inodes(), server.addresses()[0].port());
    assert!(before.iter().all(Option::is_some), "{before:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    drop(server);
    assert_eq!(inodes(), before, "the files stay");
    let mut client = Client::connect_unix(&path);
    client.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut health = Client::connect_unix(&admin);
    health.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let server = systemd.restarts(setup()).start();
    are_answered(vec![client]);
    // Workers that have just begun may not have had a heartbeat yet.
    assert!(matches!(health.answer(Method::Get).status, 200 | 503));
    assert_eq!(inodes(), before, "and are not made anew");
    assert_eq!(server.addresses()[0].port(), port, "the port that the kernel chose is kept");
    assert_eq!(sockets_in(&systemd).len(), 4);
}

#[test]
fn newcomers_are_served_while_a_stop_waits_for_a_download() {
    const LENGTH: u64 = 1 << 28;
    let (site, systemd) = (site(), Systemd::new());
    site.sparse("large.bin", LENGTH);
    let (address, _) = unit("127.0.0.1:0", 1);
    let mut server = systemd.restarts(listening(&site, 2, &format!("'{address}'"), "")).start();
    let mut download = Client::connect(address);
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    server.signal(Signal::TERM);
    systemd.wait_for("STOPPING=1");
    for _ in 0..5 {
        are_answered(waiting(address, 10));
    }
    assert!(server.exited().is_none(), "it waits for the download");
    let rest = download.receive(Method::Get).expect("all of it");
    assert_eq!(rest.content.len() as u64, LENGTH);
    assert_eq!(server.exit_code(), Some(0));
}

/// Without a store nobody would ever take what waits: the port is closed at once, as without systemd.
#[test]
fn a_service_without_a_store_closes_its_ports() {
    let site = site();
    site.sparse("large.bin", 1 << 30);
    let path = site.outside().join("notify");
    // It takes words and no descriptors.
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).expect("a path of this test");
    std::thread::spawn(move || while systemd.recv(&mut [0; 4096]).is_ok() {});
    let mut server = Setup::root(&site.root()).environment("NOTIFY_SOCKET", &path).start();
    let address = server.address();
    let mut download = server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    server.signal(Signal::TERM);
    eventually("newcomers to be refused", || Client::try_connect(address).is_err());
    drop(download);
    assert_eq!(server.exit_code(), Some(0));
}

/// A store may give back what is of no use any more: whose file is gone, and which no client can reach.
#[test]
fn a_socket_whose_file_is_gone_is_stored_anew() {
    let (site, systemd) = (site(), Systemd::new());
    let path = site.outside().join("web.sock");
    let setup = || listening(&site, 2, &format!("'unix:{}'", path.display()), "");
    let mut server = systemd.restarts(setup()).start();
    std::fs::remove_file(&path).expect("it is there");
    for _ in 0..2 {
        server = restart(&systemd, server, setup());
        assert_eq!(Client::connect_unix(&path).get("/a.txt").content, b"content");
        assert_eq!(sockets_in(&systemd).len(), 1, "{:?}", systemd.stored());
    }
    drop(server);
}

/// What is stored has the port until it is closed, on every address of the machine.
#[test]
fn an_address_may_take_the_place_of_another_with_its_port() {
    let (site, systemd) = (site(), Systemd::new());
    let (port, admin_port) = (unit("127.0.0.1:0", 1).0.port(), unit("127.0.0.1:0", 1).0.port());
    let setup = |address: &str| {
        let more = format!("[admin]\nlisten = '{address}:{admin_port}'\npublic = true\n");
        listening(&site, 2, &format!("'{address}:{port}'"), &more)
    };
    let mut server = systemd.restarts(setup("0.0.0.0")).start();
    for address in ["127.0.0.1", "0.0.0.0"] {
        server = restart(&systemd, server, setup(address));
        let is_of_it = |name: &String| name.contains(&format!("{address}_"));
        eventually("the others to be gone", || sockets_in(&systemd).iter().all(is_of_it));
        are_answered(waiting(SocketAddr::from(([127, 0, 0, 1], port)), 10));
    }
    drop(server);
}
