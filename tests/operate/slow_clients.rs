//! Clients that are slow on purpose, and those who cannot help it.
//!
//! Invariant: who makes progress is served, however long it takes; who makes none is cut, however it dresses that up.

use crate::harness::server::Setup;
use crate::harness::{Client, Fault, HANG, Method, Server, Site, eventually, skipped};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A head that drips in is cut long before the time for heads is over; one that comes steadily is not.
#[test]
fn a_head_must_make_progress() {
    let site = Site::new();
    site.file("a.txt", "a");
    let server = Setup::root(&site.root()).set("read_timeout", 3600).set("head_rate_min", 100).start();
    let mut dripping = server.client();
    let mut steady = server.client();
    dripping.send("GET /a.txt HTTP/1.1\r\nHost: a\r\nX: ");
    steady.send("GET /a.txt HTTP/1.1\r\nHost: a\r\nX: ");
    let begun = Instant::now();
    let mut is_cut = false;
    while begun.elapsed() < Duration::from_secs(9) || !is_cut {
        assert!(begun.elapsed() < HANG, "the head was awaited for ever");
        is_cut |= dripping.try_send("x").is_err() || !dripping.is_open_and_silent();
        if begun.elapsed() < Duration::from_secs(9) {
            steady.send("y".repeat(50));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(dripping.receive(Method::Get).expect("it is told why").status, 408);
    steady.send("\r\n\r\n");
    assert_eq!(steady.answer(Method::Get).status, 200);
}

/// The socket's buffer is so large that it takes nothing for far longer than `send_timeout`, while the client reads on.
#[test]
fn what_a_client_acknowledges_is_progress() {
    const RATE_MIN: usize = 20_000;
    let site = Site::new();
    let content = site.pattern("large.bin", 900_000);
    let server = Setup::root(&site.root()).set("send_timeout", 8).set("send_rate_min", RATE_MIN).start();
    let sockets = server.sockets();
    let get = "GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(ANSWERS);
    let mut steady = server.client();
    let mut dripping = server.client();
    for client in [&mut steady, &mut dripping] {
        client.send(&get);
    }
    // Twice the minimum, for longer than the timeout.
    let begun = Instant::now();
    let mut taken = 0;
    while begun.elapsed() < Duration::from_secs(13) {
        let due = begun.elapsed().as_millis() as usize * 2 * RATE_MIN / 1000;
        if due > taken {
            steady.take_some(due - taken);
            taken = due;
        }
        let _ = dripping.stream().read(&mut [0; 1]);
        std::thread::sleep(Duration::from_millis(500));
    }
    for _ in 0..ANSWERS {
        let response = steady.answer(Method::Get);
        assert!(response.content == content, "{} bytes", response.content.len());
    }
    server.wait_for_sockets(sockets + 1);
    let cut = (0..ANSWERS).any(|_| !matches!(dripping.receive(Method::Get), Ok(_) | Err(Fault::Malformed(_))));
    assert!(cut, "a byte now and then is no progress");
}

/// More than socket buffers hold.
const ANSWERS: usize = 16;

/// One who is sent slowly takes slowly, and is not to blame for it.
#[test]
fn a_paced_client_is_not_slow() {
    let site = Site::new();
    let content = site.pattern("paced.bin", 4_000);
    let server =
        Setup::root(&site.root()).set("send_timeout", 1).set("send_rate_min", 100_000).set("limit_rate", 1_000).start();
    assert!(server.get("/paced.bin").content == content);
}

const SLOW: usize = 5_000;

/// Half of them drip heads, half take large answers byte by byte.
#[test]
fn thousands_of_slow_clients_keep_nobody_waiting() {
    if let Err(why) = raise_descriptors() {
        return skipped("five thousand slow clients", &why);
    }
    let site = Site::new();
    site.file("a.txt", "a");
    site.pattern("large.bin", 900_000);
    let server = Setup::root(&site.root()).set("send_timeout", 4).set("max_connections", 0).start();
    let mut good = server.client();
    let alone = median_of_requests(&mut good);
    let (sockets, memory) = (server.sockets(), server.resident_bytes());
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|number| slow_client(&server, number)).collect();
    let mut among = Vec::new();
    let mut most = 0;
    eventually("the end of all slow clients", || {
        for (number, client) in slow.iter_mut().enumerate() {
            // Errors are what they are to get.
            match number % 2 {
                0 => drop(client.write(b"x")),
                _ => drop(client.read(&mut [0; 50])),
            }
        }
        among.push(median_of_requests(&mut good));
        let open = server.sockets();
        most = most.max(open);
        open <= sockets
    });
    assert!(most > SLOW / 2, "they were all there: {most}");
    // Debug builds and shared cores are slow; a server that waits for one of them would take seconds.
    let worst = among.iter().max().expect("there was a round");
    assert!(*worst < alone * 50 + Duration::from_millis(100), "{worst:?} among them, {alone:?} alone");
    assert_eq!(good.get("/a.txt").content, b"a");
    let cut = slow.iter().filter(|client| is_cut(client)).count();
    assert_eq!(cut, SLOW);
    drop(slow);
    // The allocator gives pages back in its own time.
    eventually("memory as before", || {
        assert_eq!(good.get("/a.txt").content, b"a");
        server.resident_bytes().saturating_sub(memory) < 32 << 20
    });
}

fn slow_client(server: &Server, number: usize) -> TcpStream {
    let mut client = TcpStream::connect_timeout(&server.address(), HANG).expect("it accepts");
    let _ = match number % 2 {
        0 => client.write(b"GET /a.txt HTTP/1.1\r\nHost: a\r\nX: "),
        _ => client.write("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(ANSWERS).as_bytes()),
    };
    client.set_nonblocking(true).expect("an open socket");
    client
}

fn median_of_requests(client: &mut Client) -> Duration {
    let mut times: Vec<Duration> = (0..51)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(client.get("/a.txt").status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whether the connection is over, for whoever reads on.
fn is_cut(mut client: &TcpStream) -> bool {
    let mut buffer = [0; 64 * 1024];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Room for both ends of all connections: other tests use some meanwhile.
fn raise_descriptors() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = SLOW as u64 + 3_000;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!("the hard limit of open files is {:?}, and it takes {wanted}", limit.maximum));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(|errno| errno.to_string())
}
