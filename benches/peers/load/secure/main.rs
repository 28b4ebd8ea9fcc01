//! A load over TLS 1.3 that costs as little as it can, so that one core of it keeps a server's core busy.
//!
//!     secure full|resumed PORT CONNECTIONS SECONDS
//!     secure content PORT CONNECTIONS SECONDS PATH LENGTH
//!
//! `full` and `resumed` make handshakes, CONNECTIONS at a time: connect, shake hands, say close_notify and end the stream, read to the other end of it. A
//! resumed one takes a ticket that an earlier one was given, no ticket twice; where a resumed one brings no new ticket, enough of them are
//! gathered before the measurement, which ends when none is left. `content` asks
//! for PATH over and over on connections that stay: the first answer is decrypted and looked at, and of all others only the heads of their
//! records are read, for whoever decrypts 16 KiB has as much to do as who encrypts them.
//!
//! All ask for X25519 and TLS_AES_128_GCM_SHA256 alone, so that every server does the same work. The certificate is not verified here: the
//! bench has done so before. When all is made ready it prints `ready` and waits for a line, and in the end it prints a line of JSON, latencies
//! in microseconds, `busy` the share of the time for which it had its core.
//!
//! Invariant: what is counted is of the kind that was asked for and ended as it should, or the program says what came instead and ends with 1.

mod client;
mod content;

use client::{Client, Tickets};
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use rustls::{ClientConnection, HandshakeKind};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const EVENTS_MAX: usize = 256;
const WAIT_MILLISECONDS: i64 = 100;
/// More than one core resumes.
const RESUMED_A_SECOND_MAX: f64 = 10_000.0;
/// With the tickets that came until then the measurement is a shorter one.
const GATHERING_MAX: Duration = Duration::from_secs(20);
/// A server that has not ended one handshake by then does so never.
const STANDSTILL_MAX: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(found) => println!("{}", found.shown()),
        Err(error) => {
            eprintln!("secure: {error}");
            std::process::exit(1);
        }
    }
}

fn run(arguments: &[&str]) -> Outcome<Found> {
    let (mode, port, connections, seconds, rest) = match arguments {
        [mode, port, connections, seconds, rest @ ..] => {
            (*mode, port.parse()?, connections.parse()?, seconds.parse()?, rest)
        }
        _ => return Err("usage: secure full|resumed|content PORT CONNECTIONS SECONDS [PATH LENGTH]".into()),
    };
    let duration = Duration::from_secs_f64(seconds);
    let client = Client::new(port, mode == "resumed")?;
    match (mode, rest) {
        ("full" | "resumed", []) => shake_hands(&client, connections, duration),
        ("content", [path, length]) => content::take_content(&client, connections, duration, path, length.parse()?),
        _ => Err(format!("{mode}: not so").into()),
    }
}

/// Handshakes, `connections` at a time.
fn shake_hands(client: &Client, connections: usize, duration: Duration) -> Outcome<Found> {
    if let Some(tickets) = &client.tickets {
        let wanted = if brings_tickets(client, tickets)? {
            connections
        } else {
            (duration.as_secs_f64() * RESUMED_A_SECOND_MAX) as usize + connections
        };
        let gathered = crowd(client, connections, HandshakeKind::Full, |found| {
            tickets.count() < wanted && found.elapsed() < GATHERING_MAX
        })?;
        if tickets.count() < connections {
            return Err(
                format!("{} handshakes brought {} tickets", gathered.latencies_us.len(), tickets.count()).into()
            );
        }
        tickets.give(true);
    }
    await_word()?;
    let kind = if client.tickets.is_some() { HandshakeKind::Resumed } else { HandshakeKind::Full };
    let are_left = || client.tickets.as_ref().is_none_or(|tickets| tickets.count() > 0);
    crowd(client, connections, kind, |found| found.elapsed() < duration && are_left())
}

/// Whether a resumed handshake brings a new ticket. By OpenSSL's rules a server with keys of its own may leave that out.
fn brings_tickets(client: &Client, tickets: &Tickets) -> Outcome<bool> {
    crowd(client, 1, HandshakeKind::Full, |found| found.latencies_us.is_empty())?;
    let before = tickets.count();
    tickets.give(true);
    crowd(client, 1, HandshakeKind::Resumed, |found| found.latencies_us.is_empty())?;
    tickets.give(false);
    Ok(tickets.count() >= before)
}

/// Keeps `connections` handshakes under way for as long as `goes_on` says; what is under way then is dropped.
fn crowd(client: &Client, connections: usize, kind: HandshakeKind, goes_on: impl Fn(&Found) -> bool) -> Outcome<Found> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut slots = Vec::with_capacity(connections);
    for index in 0..connections {
        slots.push(Handshake::begin(client)?);
        watch(&poller, &slots[index].socket, index)?;
    }
    let mut found = Found::begin();
    // One at least: on a machine that others use a short time may pass without any.
    while goes_on(&found) || found.latencies_us.is_empty() {
        for index in ready(&poller)? {
            if !slots[index].advance(kind)? {
                continue;
            }
            found.answered(slots[index].begin);
            if !goes_on(&found) {
                break;
            }
            slots[index] = Handshake::begin(client)?;
            watch(&poller, &slots[index].socket, index)?;
        }
        if found.elapsed() > STANDSTILL_MAX && found.latencies_us.is_empty() {
            return Err("no handshake came to its end".into());
        }
    }
    Ok(found.ended(0))
}

/// Says that the measurement may begin, and waits to be told so.
fn await_word() -> io::Result<()> {
    println!("ready");
    io::stdout().flush()?;
    io::stdin().read_line(&mut String::new()).map(|_| ())
}

/// One handshake: hello, finished and close_notify, end of the stream.
struct Handshake {
    socket: TcpStream,
    tls: ClientConnection,
    begin: Instant,
    is_finished: bool,
    /// Whether the server has said close_notify, behind which only the end of the stream may come.
    has_heard_close: bool,
}

impl Handshake {
    fn begin(client: &Client) -> Outcome<Handshake> {
        let begin = Instant::now();
        let (mut socket, mut tls) = client.connected()?;
        tls.write_tls(&mut socket)?;
        socket.set_nonblocking(true)?;
        Ok(Handshake { socket, tls, begin, is_finished: false, has_heard_close: false })
    }

    /// Reads once, and gives whether the connection has ended as it should.
    fn advance(&mut self, expected: HandshakeKind) -> Outcome<bool> {
        let was_finished = self.is_finished;
        let count = match if self.has_heard_close {
            self.socket.read(&mut [0; 64])
        } else {
            self.tls.read_tls(&mut self.socket)
        } {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && self.is_finished => 0,
            Err(error) => return Err(error.into()),
        };
        match (count, self.is_finished) {
            (0, true) => return Ok(true),
            (0, false) => return Err("the server closed in the middle of a handshake".into()),
            _ => {}
        }
        if self.has_heard_close {
            return Err("bytes behind the server's close_notify".into());
        }
        self.has_heard_close = self.tls.process_new_packets()?.peer_has_closed();
        if !self.is_finished && !self.tls.is_handshaking() {
            self.is_finished = true;
            let kind = self.tls.handshake_kind();
            if kind != Some(expected) {
                return Err(format!("a handshake was {kind:?}, not {expected:?}").into());
            }
            self.tls.send_close_notify();
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        if self.is_finished && !was_finished {
            // Not every server takes close_notify alone for the end.
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(false)
    }
}

fn watch(poller: &impl rustix::fd::AsFd, socket: &TcpStream, index: usize) -> io::Result<()> {
    Ok(epoll::add(poller, socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?)
}

/// Which connections have something to read.
fn ready(poller: &impl rustix::fd::AsFd) -> io::Result<Vec<usize>> {
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: WAIT_MILLISECONDS * 1_000_000 };
    epoll::wait(poller, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
    Ok(events.iter().map(|event| event.data.u64() as usize).collect())
}

/// What was done, and how long each took.
struct Found {
    begin: Instant,
    begin_cpu: Duration,
    busy: f64,
    seconds: f64,
    bytes: usize,
    latencies_us: Vec<u128>,
}

impl Found {
    fn begin() -> Found {
        Found {
            begin: Instant::now(),
            begin_cpu: own_cpu(),
            busy: 0.0,
            seconds: 0.0,
            bytes: 0,
            latencies_us: Vec::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    fn answered(&mut self, begin: Instant) {
        self.latencies_us.push(begin.elapsed().as_micros());
    }

    fn ended(mut self, bytes: usize) -> Found {
        self.seconds = self.elapsed().as_secs_f64();
        self.busy = (own_cpu() - self.begin_cpu).as_secs_f64() / self.seconds;
        self.bytes = bytes;
        self.latencies_us.sort_unstable();
        self
    }

    fn shown(&self) -> String {
        let of = |share: f64| {
            let at = (self.latencies_us.len() as f64 * share) as usize;
            self.latencies_us.get(at).or(self.latencies_us.last()).copied().unwrap_or(0)
        };
        let (requests, bytes, seconds) = (self.latencies_us.len(), self.bytes, self.seconds);
        let (p50, p99, p999, busy) = (of(0.5), of(0.99), of(0.999), self.busy);
        format!(
            r#"{{"requests":{requests},"bytes":{bytes},"seconds":{seconds:.6},"p50_us":{p50},"p99_us":{p99},"p999_us":{p999},"busy":{busy:.3}}}"#
        )
    }
}

fn own_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}
