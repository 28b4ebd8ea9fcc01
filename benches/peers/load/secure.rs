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

use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const EVENTS_MAX: usize = 256;
const WAIT_MILLISECONDS: i64 = 100;
/// Tickets that are kept.
const TICKETS_MAX: usize = 1 << 17;
/// More than one core resumes.
const RESUMED_A_SECOND_MAX: f64 = 10_000.0;
/// With the tickets that came until then the measurement is a shorter one.
const GATHERING_MAX: Duration = Duration::from_secs(20);
/// A server that has not ended one handshake by then does so never.
const STANDSTILL_MAX: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 256 << 10;
const RECORD_HEAD_BYTES: usize = 5;
/// What TLS 1.3 adds to the content of a record: its kind, and the tag of AES-GCM.
const RECORD_OVERHEAD_BYTES: usize = 17;
const RECORD_APPLICATION_DATA: u8 = 23;

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
        ("content", [path, length]) => take_content(&client, connections, duration, path, length.parse()?),
        _ => Err(format!("{mode}: not so").into()),
    }
}

/// What all connections share.
struct Client {
    port: u16,
    config: Arc<ClientConfig>,
    /// None where every handshake is to be a full one.
    tickets: Option<Arc<Tickets>>,
}

impl Client {
    fn new(port: u16, is_resuming: bool) -> Outcome<Client> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tickets = is_resuming.then(Arc::<Tickets>::default);
        config.resumption = match &tickets {
            Some(tickets) => Resumption::store(tickets.clone()),
            None => Resumption::disabled(),
        };
        Ok(Client { port, config: Arc::new(config), tickets })
    }

    fn connected(&self) -> Outcome<(TcpStream, ClientConnection)> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        socket.set_nodelay(true)?;
        Ok((socket, ClientConnection::new(self.config.clone(), ServerName::try_from("localhost")?)?))
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
        tickets.are_given.store(true, Ordering::Relaxed);
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
    tickets.are_given.store(true, Ordering::Relaxed);
    crowd(client, 1, HandshakeKind::Resumed, |found| found.latencies_us.is_empty())?;
    tickets.are_given.store(false, Ordering::Relaxed);
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

/// The same document over and over, on `connections` that stay.
fn take_content(client: &Client, connections: usize, duration: Duration, path: &str, length: usize) -> Outcome<Found> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut slots = Vec::with_capacity(connections);
    for index in 0..connections {
        slots.push(Transfer::begin(client, &request, length)?);
        watch(&poller, &slots[index].socket, index)?;
    }
    let mut buffer = vec![0; READ_BYTES];
    await_word()?;
    let mut found = Found::begin();
    for slot in &mut slots {
        slot.ask(&request)?;
    }
    while found.elapsed() < duration {
        for index in ready(&poller)? {
            if slots[index].drop_records(&mut buffer)? {
                found.answered(slots[index].begin);
                slots[index].ask(&request)?;
            }
        }
    }
    let under_way: usize = slots.iter().map(|slot| slot.answer_bytes - slot.left).sum();
    // Of the content, as far as one can tell without the heads.
    let bytes = found.latencies_us.len() * length + under_way;
    Ok(found.ended(bytes))
}

/// A connection on which answers are taken by the length of their records.
struct Transfer {
    socket: TcpStream,
    tls: ClientConnection,
    begin: Instant,
    /// Head and content of an answer, as the first one had them.
    answer_bytes: usize,
    /// Of the answer that is under way.
    left: usize,
    /// Of the record that is under way, and what of its head has come.
    record_left: usize,
    head: Vec<u8>,
}

impl Transfer {
    /// Asks once, and looks at the answer.
    fn begin(client: &Client, request: &str, length: usize) -> Outcome<Transfer> {
        let (mut socket, mut tls) = client.connected()?;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), vec![0; READ_BYTES]);
        let head_bytes = loop {
            match stream.read(&mut part)? {
                0 => return Err("the server closed within a head".into()),
                count => answer.extend_from_slice(&part[..count]),
            }
            if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&answer[..head_bytes]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") || !head.contains(&format!("\r\ncontent-length: {length}\r\n")) {
            return Err(format!("expected 200 with {length} bytes, not {head}").into());
        }
        let answer_bytes = head_bytes + length;
        while answer.len() < answer_bytes {
            match stream.read(&mut part)? {
                0 => return Err("the server closed within an answer".into()),
                count => answer.extend_from_slice(&part[..count]),
            }
        }
        if answer.len() != answer_bytes {
            return Err("bytes behind an answer".into());
        }
        socket.set_nonblocking(true)?;
        Ok(Transfer {
            socket,
            tls,
            begin: Instant::now(),
            answer_bytes,
            left: 0,
            record_left: 0,
            head: Vec::with_capacity(RECORD_HEAD_BYTES),
        })
    }

    fn ask(&mut self, request: &str) -> Outcome<()> {
        self.begin = Instant::now();
        self.left = self.answer_bytes;
        self.tls.writer().write_all(request.as_bytes())?;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Reads once, and gives whether the answer is whole.
    fn drop_records(&mut self, buffer: &mut [u8]) -> Outcome<bool> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err("the server closed within an answer".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut unread = &buffer[..count];
        while !unread.is_empty() {
            if self.record_left > 0 {
                let dropped = self.record_left.min(unread.len());
                self.record_left -= dropped;
                unread = &unread[dropped..];
                continue;
            }
            let taken = (RECORD_HEAD_BYTES - self.head.len()).min(unread.len());
            self.head.extend_from_slice(&unread[..taken]);
            unread = &unread[taken..];
            if self.head.len() == RECORD_HEAD_BYTES {
                self.record_left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
                let content = self
                    .record_left
                    .checked_sub(RECORD_OVERHEAD_BYTES)
                    .filter(|_| self.head[0] == RECORD_APPLICATION_DATA);
                let left = content.and_then(|content| self.left.checked_sub(content));
                self.left = left.ok_or_else(|| {
                    format!("a record that begins with {:?}, {} bytes before the end", self.head, self.left)
                })?;
                self.head.clear();
            }
        }
        Ok(self.left == 0 && self.record_left == 0)
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

/// Tickets as they come, each given out once.
#[derive(Debug, Default)]
struct Tickets {
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
    /// Until then they are gathered.
    are_given: AtomicBool,
}

impl Tickets {
    fn count(&self) -> usize {
        self.kept.lock().expect("one thread").len()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.kept.lock().expect("one thread");
        if tickets.len() < TICKETS_MAX {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.are_given.load(Ordering::Relaxed) { self.kept.lock().expect("one thread").pop() } else { None }
    }
}

/// Takes every certificate and every signature, which spares the client the most expensive of its steps.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone was asked for".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // The kinds of keys that the bench makes.
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}
