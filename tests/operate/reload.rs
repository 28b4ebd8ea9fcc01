//! SIGHUP: the configuration is read anew, and takes effect between requests, or not at all.
//!
//! Invariant: no request fails because of a reload.

use super::systemd::NotifySocket;
use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::{Client, Fault, HANG, Method, Server, Site, eventually, holds_within};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A server whose configuration file changes.
struct Changing {
    server: Server,
    file: PathBuf,
    taken: usize,
    refused: usize,
}

/// What all these configurations begin with.
const GENERAL: &str = "workers = 2\ndrain_timeout = 5\ncheckalive = 1\n";

impl Changing {
    fn start(site: &Site, text: &str) -> Changing {
        Changing::set_up(site, text, |setup| setup)
    }

    fn set_up(site: &Site, text: &str, also: impl FnOnce(Setup) -> Setup) -> Changing {
        let file = site.outside().join("changing.conf");
        write(&file, format!("{GENERAL}{text}"));
        let server = also(Setup::flags([""; 0]).config_file(&file)).start();
        Changing { server, file, taken: 0, refused: 0 }
    }

    /// Changes the file and says so.
    fn change(&mut self, text: &str) {
        write(&self.file, format!("{GENERAL}{text}"));
        self.server.signal(Signal::HUP);
    }

    /// Changes to what is taken over.
    fn change_to(&mut self, text: &str) {
        self.change(text);
        self.taken += 1;
        eventually("the reload", || self.server.log().matches("reloaded in").count() == self.taken);
    }

    /// Changes to what is refused, and waits until the log has said all this of it, line by line.
    fn change_in_vain(&mut self, text: &str, said: &[&str]) {
        self.change(text);
        self.refused += 1;
        let is_refused = || self.server.log().matches("the reload is refused").count() == self.refused;
        eventually("the refusal", is_refused);
        let log = || self.server.log();
        let refusal = log().rfind("the reload is refused").expect("it is there");
        for part in said {
            assert!(holds_within(HANG, || log()[refusal..].contains(part)), "{part}: {}", log());
        }
    }
}

fn listening(address: &str, site: &Site, more: &str) -> String {
    format!("listen = ['{address}']\nroot = '{}'\n{more}\n", site.root().display())
}

/// Ends the load also when a check fails, which would else be waited for without end.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn what_changed_holds_from_the_next_request_on() {
    let (site, other) = (Site::new(), Site::new());
    site.file("a.txt", "of the first root");
    other.file("a.txt", "of the second root");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    // With the sandbox off, for another root is beyond what the workers' threads were confined to.
    let general = "sandbox = 'off'\n";
    let mut changing = Changing::start(&site, &listening(&address, &site, general));
    // The kernel gives both workers some.
    let mut clients: Vec<_> = (0..16).map(|_| changing.server.client()).collect();
    let mut check = |content: &str, generation: Option<&str>, status: u16, target: &str| {
        for client in &mut clients {
            let response = client.get(target);
            assert_eq!((response.status, response.field("X-Generation")), (status, generation), "{target}");
            assert!(response.content.starts_with(content.as_bytes()) && !response.closes(), "{response:?}");
        }
    };
    check("of the first root", None, 200, "/a.txt");
    changing.change_to(&listening(&address, &site, "sandbox = 'off'\nheaders = [{ set = { X-Generation = '2' } }]"));
    check("of the first root", Some("2"), 200, "/a.txt");
    changing.change_to(&listening(&address, &other, "sandbox = 'off'\nredirect = [{ from = '/b', to = '/c' }]"));
    check("of the second root", None, 200, "/a.txt");
    check("", None, 301, "/b");
    changing.change_to(&listening(
        &address,
        &other,
        "sandbox = 'off'\ntarget_bytes_max = 200\n[[site]]\n[[site.location]]\npath = '*.txt'\ndeny = ['all']",
    ));
    check("", None, 403, "/a.txt");
    let long = format!("/{}", "a".repeat(300));
    assert_eq!(changing.server.get(&long).status, 414);
}

/// A thread is confined once and for good. What the new configuration needs beyond that, other threads serve; those of before
/// finish what they have.
#[test]
fn a_root_beyond_the_sandbox_is_served_by_other_threads() {
    let (site, other) = (Site::new(), Site::new());
    site.file("a.txt", "of the first root");
    let large = site.pattern("large.bin", 40 << 20);
    other.file("a.txt", "of the second root");
    let address = format!("127.0.0.1:{}", free_port());
    let mut changing = Changing::start(&site, &listening(&address, &site, ""));
    let mut download = changing.server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    let descriptors = changing.server.descriptors().len();
    for (root, content) in
        [(&other, "of the second root"), (&site, "of the first root"), (&other, "of the second root")]
    {
        let mut old = changing.server.client();
        assert_eq!(old.get("/a.txt").status, 200);
        changing.change_to(&listening(&address, root, ""));
        for _ in 0..8 {
            assert_eq!(changing.server.get("/a.txt").content, content.as_bytes());
        }
        // It learns with its next answer, or by its end, that it has to come anew.
        match old.try_send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").map(|()| old.receive(Method::Get)) {
            Ok(Ok(response)) => assert!(response.content == content.as_bytes() || response.closes(), "{response:?}"),
            Ok(Err(Fault::End | Fault::Reset)) | Err(_) => {}
            Ok(Err(fault)) => panic!("{fault:?}"),
        }
    }
    assert!(download.answer(Method::Get).content == large, "what is in flight is finished");
    drop(download);
    // The engine leaks an eventfd with each of its executors.
    eventually("the threads of before to end", || changing.server.descriptors().len() <= descriptors + 12);
}

#[test]
fn no_request_fails_in_a_hundred_reloads_under_load() {
    const CONNECTIONS: usize = 200;
    const THREADS: usize = 8;
    const RELOADS: usize = 100;
    let site = Site::new();
    let small = site.pattern("small.bin", 3000);
    let large = site.pattern("large.bin", 300_000);
    let address = format!("127.0.0.1:{}", free_port());
    let text = |generation: usize| {
        let more = format!("headers = [{{ set = {{ X-Generation = '{generation}' }} }}]");
        listening(&address, &site, &more)
    };
    let mut changing = Changing::start(&site, &text(0));
    let server_address = changing.server.address();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (over, answered, small, large) = (&over, &answered, &small, &large);
            scope.spawn(move || {
                let mut clients: Vec<_> = (0..CONNECTIONS / THREADS).map(|_| Client::connect(server_address)).collect();
                let mut round = thread;
                while !over.load(Ordering::Relaxed) {
                    round += 1;
                    for (number, client) in clients.iter_mut().enumerate() {
                        // Some come anew each time, and so meet the moment in which nobody accepts, were there one.
                        if (round + number) % 16 == 0 {
                            *client = Client::connect(server_address);
                        }
                        let (target, expected) =
                            if (round + number) % 8 == 1 { ("/large.bin", large) } else { ("/small.bin", small) };
                        let response = client.get(target);
                        assert_eq!(response.status, 200);
                        assert!(response.content == *expected, "{target}: other bytes");
                        assert!(!response.closes(), "a reload is no reason to close");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let over = SetWhenDropped(&over);
        for generation in 1..=RELOADS {
            changing.change_to(&text(generation));
            let response = changing.server.get("/small.bin");
            assert_eq!(response.field("X-Generation"), Some(generation.to_string().as_str()));
        }
        drop(over);
    });
    assert!(answered.load(Ordering::Relaxed) > CONNECTIONS, "there was no load");
    let before = changing.server.descriptors().len();
    for generation in 0..10 {
        changing.change_to(&text(generation));
    }
    eventually("the descriptors of what is gone to be closed", || changing.server.descriptors().len() <= before);
}

/// Each row: a change for the worse, and what the log says of it.
#[test]
fn a_bad_configuration_changes_nothing_and_is_shown_where_it_is_bad() {
    let site = Site::new();
    site.file("a.txt", "as before");
    let address = format!("127.0.0.1:{}", free_port());
    let good = listening(&address, &site, "headers = [{ set = { X-Generation = '1' } }]");
    let mut changing = Changing::start(&site, &good);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken_port = taken.local_addr().expect("it is bound").port();
    let new_and_taken = format!(
        "listen = ['{address}', '127.0.0.1:{}', '127.0.0.1:{taken_port}']\nroot = '{}'\n",
        free_port(),
        site.root().display()
    );
    let mut client = changing.server.client();
    let descriptors = changing.server.descriptors().len();
    for (text, named) in [
        ("listen = [\n".to_owned(), vec!["changing.conf:4:11: unclosed array", "4 | listen = [", "^"]),
        (
            format!("{good}wrokers = 5\n"),
            vec!["changing.conf:7:1: unknown key `wrokers`", "did you mean", "7 | wrokers = 5", "^^^^^^^"],
        ),
        (listening(&address, &site, "max_ranges = -1"), vec!["changing.conf:6:14: max_ranges", "^^"]),
        (good.replace("root = '", "root = '/no/such"), vec!["document root /no/such", "no such directory"]),
        (new_and_taken, vec!["another program listens there"]),
        (listening("192.0.2.77:80", &site, ""), vec!["no such address"]),
    ] {
        changing.change_in_vain(&text, &named);
        let response = client.get("/a.txt");
        assert_eq!((response.content.as_slice(), response.field("X-Generation")), (&b"as before"[..], Some("1")));
        assert_eq!(changing.server.get("/a.txt").field("X-Generation"), Some("1"));
    }
    eventually("what was opened in vain to be closed", || changing.server.descriptors().len() <= descriptors + 1);
    std::fs::remove_file(&changing.file).expect("it is there");
    changing.server.signal(Signal::HUP);
    changing.server.wait_for_log("cannot be read");
    assert_eq!(client.get("/a.txt").status, 200);
    changing.change_to(&good);
}

#[test]
fn listeners_come_and_go() {
    let site = Site::new();
    site.file("a.txt", "a");
    let large = site.pattern("large.bin", 40 << 20);
    let (first, second) = (free_port(), free_port());
    let text = |ports: &[u16]| {
        let listen: Vec<_> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        format!("listen = [{}]\nroot = '{}'\n", listen.join(", "), site.root().display())
    };
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut changing = Changing::start(&site, &text(&[first]));
    assert!(Client::try_connect(at(second)).is_err(), "nobody listens there yet");
    // Before the one that stays, so that positions move and connections must not.
    changing.change_to(&text(&[second, first]));
    assert_eq!(changing.server.announcements().len(), 2, "the new one is announced, the old one not again");
    for port in [first, second] {
        assert_eq!(Client::connect(at(port)).get("/a.txt").content, b"a");
    }
    let mut idle = Client::connect(at(second));
    assert_eq!(idle.get("/a.txt").status, 200);
    let mut stays = Client::connect(at(first));
    assert_eq!(stays.get("/a.txt").status, 200);
    let mut downloads: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(at(second));
            client.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
            client.take_some(1 << 20);
            client
        })
        .collect();
    changing.change_to(&text(&[first]));
    eventually("the port to be free", || Client::try_connect(at(second)).is_err());
    idle.expect_end("its listener is gone");
    for download in &mut downloads {
        let response = download.answer(Method::Get);
        assert!(response.content == large, "what is in flight is finished");
        // The request behind it had come in already.
        let last = download.answer(Method::Get);
        assert!(last.content == b"a" && last.closes(), "{last:?}");
        download.expect_end("its listener is gone");
    }
    assert_eq!(stays.get("/a.txt").status, 200);
    // The port is for others now, and then for us again.
    drop(TcpListener::bind(at(second)).expect("the port is free"));
    changing.change_to(&text(&[second]));
    assert_eq!(Client::connect(at(second)).get("/a.txt").status, 200);
    assert!(matches!(stays.receive(Method::Get), Err(Fault::End)));
}

/// Whoever came in by a listener that is gone is not taken for a client of the next that is opened.
#[test]
fn what_a_listener_leaves_behind_is_not_another_ones() {
    let site = Site::new();
    site.file("a.txt", "a");
    let large = site.pattern("large.bin", 40 << 20);
    let ports = [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let mut changing = Changing::start(&site, &listening(&ports[0], &site, ""));
    let mut download = changing.server.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    download.take_some(1 << 20);
    for port in &ports[1..] {
        changing.change_to(&listening(port, &site, ""));
    }
    assert!(download.answer(Method::Get).content == large);
    let last = download.answer(Method::Get);
    assert!(last.content == b"a" && last.closes(), "{last:?}");
}

#[test]
fn unix_sockets_come_and_go() {
    let site = Site::new();
    site.file("a.txt", "a");
    let path = site.outside().join("socket");
    let address = format!("127.0.0.1:{}", free_port());
    let with = format!("listen = ['{address}', 'unix:{}']\nroot = '{}'\n", path.display(), site.root().display());
    let mut changing = Changing::start(&site, &listening(&address, &site, ""));
    for _ in 0..3 {
        changing.change_to(&with);
        assert_eq!(Client::connect_unix(&path).get("/a.txt").content, b"a");
        changing.change_to(&listening(&address, &site, ""));
        assert!(!path.exists(), "the file goes with its listener");
    }
}

#[test]
fn the_other_way_of_naming_a_client_takes_effect_for_new_connections() {
    let site = Site::new();
    site.file("a.txt", "a");
    let address = format!("127.0.0.1:{}", free_port());
    let plain = listening(&address, &site, "real_ip_from = ['127.0.0.1']");
    let proxied = plain.replace(&address, &format!("{address} proxy_protocol"));
    let mut changing = Changing::start(&site, &plain);
    let mut old = changing.server.client();
    assert_eq!(old.get("/a.txt").status, 200);
    changing.change_to(&proxied);
    assert_eq!(old.get("/a.txt").status, 200, "an open connection has had its beginning");
    let mut new = changing.server.client();
    new.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    assert_eq!(new.get("/a.txt").status, 200);
    changing.change_to(&plain);
    assert_eq!(changing.server.get("/a.txt").status, 200);
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_taken() {
    let site = Site::new();
    site.file("a.txt", "a");
    let address = format!("127.0.0.1:{}", free_port());
    let changing = Changing::start(&site, &listening(&address, &site, ""));
    let more = listening(&address, &site, "headers = [{ set = { X-Generation = '2' } }]");
    write(&changing.file, more.replace("listen", "workers = 3\nlisten"));
    changing.server.signal(Signal::HUP);
    changing.server.wait_for_log("`workers` is 2 until the server is restarted");
    changing.server.wait_for_log("reloaded in");
    assert_eq!(changing.server.get("/a.txt").field("X-Generation"), Some("2"));
}

/// Successors have copies of the workers' sockets: one that was told to end before it served shut them down for both, and
/// the server listened on, to nobody.
#[test]
fn a_refused_reload_leaves_every_listener_as_it_was() {
    let (site, other) = (Site::new(), Site::new());
    site.file("a.txt", "of the first root");
    other.file("a.txt", "of the second root");
    let socket = site.outside().join("socket");
    let text = |site: &Site, address: &str| {
        format!("listen = ['{address}', 'unix:{}']\nroot = '{}'\n", socket.display(), site.root().display())
    };
    let address = format!("127.0.0.1:{}", free_port());
    let mut changing = Changing::start(&site, &text(&site, &address));
    let hard = getrlimit(Resource::Nofile).maximum;
    let unlimited = Rlimit { current: hard, maximum: hard };
    // From too few for any successor to enough for all.
    for room in (4..).step_by(3) {
        let open: Vec<_> = changing.server.descriptors().iter().map(|descriptor| descriptor.number).collect();
        let beyond = (0..).filter(|number| !open.contains(number)).nth(room).expect("numbers have no end");
        let limit = Rlimit { current: Some(u64::from(beyond)), maximum: hard };
        prlimit(Some(changing.server.pid()), Resource::Nofile, limit).expect("it is our child");
        changing.change(&text(&other, &address));
        let count = |what: &str| changing.server.log().matches(what).count();
        eventually("an answer", || count("reloaded in") + count("the reload is refused") > changing.refused);
        prlimit(Some(changing.server.pid()), Resource::Nofile, unlimited).expect("it is our child");
        if count("reloaded in") > 0 {
            break;
        }
        changing.refused += 1;
        // The kernel gives each worker some.
        for _ in 0..24 {
            assert_eq!(changing.server.get("/a.txt").content, b"of the first root");
            assert_eq!(Client::connect_unix(&socket).get("/a.txt").content, b"of the first root");
        }
    }
    assert!(changing.refused >= 3, "{}", changing.server.log());
    for _ in 0..24 {
        assert_eq!(changing.server.get("/a.txt").content, b"of the second root");
    }
}

/// The way in which most sites are deployed: a link is switched, and a key changed, and then comes the signal. The sandbox was
/// asked where the link leads now, and not where it led when the threads were confined.
#[test]
fn a_root_that_was_switched_a_moment_ago_is_no_reason_to_refuse() {
    let site = Site::new();
    for release in ["r1", "r2"] {
        std::fs::create_dir(site.outside().join(release)).expect("a directory of this test");
        write(&site.outside().join(release).join("a.txt"), release);
    }
    let current = site.outside().join("current");
    std::os::unix::fs::symlink("r1", &current).expect("a link of this test");
    let address = format!("127.0.0.1:{}", free_port());
    let text = |more: &str| format!("listen = ['{address}']\nroot = '{}'\n{more}\n", current.display());
    let mut changing = Changing::start(&site, &text(""));
    assert_eq!(changing.server.get("/a.txt").content, b"r1");
    let new = site.outside().join("new");
    std::os::unix::fs::symlink("r2", &new).expect("a link of this test");
    std::fs::rename(&new, &current).expect("it is there");
    changing.change_to(&text("headers = [{ set = { X-Generation = '2' } }]"));
    for _ in 0..16 {
        let response = changing.server.get("/a.txt");
        assert_eq!((response.content.as_slice(), response.field("X-Generation")), (&b"r2"[..], Some("2")));
    }
}

/// What systemd hears, in order: a unit of `Type=notify-reload` waits for it.
#[test]
fn systemd_is_told_of_each_step() {
    let site = Site::new();
    let systemd = NotifySocket::listen(&site);
    // Between the steps it hears of connections, and is given sockets to store.
    let hear = || systemd.hear(|words| !words.starts_with("STATUS=") && !words.starts_with("FDSTORE"));
    let good = listening(&format!("127.0.0.1:{}", free_port()), &site, "");
    let mut changing = Changing::set_up(&site, &good, |setup| setup.environment("NOTIFY_SOCKET", &systemd.path));
    assert!(hear().starts_with("READY=1\nSTATUS=serving with 2 workers"));
    changing.change_to(&good);
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(hear().starts_with("READY=1\n"));
    changing.change_in_vain("wrokers = 1", &[]);
    assert!(hear().starts_with("RELOADING=1\n"));
    let refused = hear();
    assert!(refused.starts_with("READY=1\nSTATUS=serving with 2 workers"), "{refused}");
    assert!(refused.ends_with("; a reload was refused, and the log says why\n"), "{refused}");
    changing.change_to(&good);
    assert!(hear().starts_with("RELOADING=1\n"));
    let accepted = hear();
    assert!(accepted.starts_with("READY=1\n") && !accepted.contains("refused"), "{accepted}");
    changing.server.signal(Signal::TERM);
    assert!(hear().starts_with("STOPPING=1"));
    assert_eq!(changing.server.exit_code(), Some(0));
}

/// A worker that dies after a reload must not come back with the configuration of before.
#[cfg(debug_assertions)]
#[test]
fn a_worker_that_is_replaced_serves_what_was_reloaded() {
    let site = Site::new();
    site.file("a.txt", "a");
    let fault = site.outside().join("fault");
    let (first, second) = (free_port(), free_port());
    let before = listening(&format!("127.0.0.1:{first}"), &site, "");
    let after = format!(
        "listen = ['127.0.0.1:{second}', '127.0.0.1:{first}']\nroot = '{}'\nheaders = [{{ set = {{ X-Generation = '2' }} }}]\n",
        site.root().display()
    );
    let also = |setup: Setup| setup.environment("OTUS_HTTPD_FAULT_FILE", &fault).panics_expected();
    let mut changing = Changing::set_up(&site, &before, also);
    changing.change_to(&after);
    for worker in 0..2 {
        write(&fault, format!("panic {worker}"));
        changing.server.wait_for_log(&format!("worker {worker} serves again"));
    }
    for port in [first, second] {
        for _ in 0..8 {
            let response = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).get("/a.txt");
            assert_eq!(response.field("X-Generation"), Some("2"));
        }
    }
    changing.change_to(&before);
    assert_eq!(changing.server.get("/a.txt").field("X-Generation"), None);
}
