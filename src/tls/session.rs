//! One connection's TLS, over a core without input and output of its own: records in and plain bytes out, and the other way round.
//!
//! Order: [`Opening`] reads a ClientHello and chooses the terms by it · [`Session::process`] goes on with the handshake until
//! [`Session::finish_handshake`] says what came of it · then [`Session::read`], [`Session::seal`] and [`Session::give_out`].
//!
//! Invariant: plain bytes that were sealed are owed until all of their records have left; until then nothing else is sealed. What is kept of
//! them is bounded by [`STEP_BYTES_MAX`]; of what came in, 64 KiB are while the handshake goes on, and two records behind it.

use super::Terms;
use super::numbers::TermsNumber;
use rustls::server::Acceptor;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection};
use std::io::{IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of a connection's TLS when its handshake has been finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version.
    pub version: Version,
    /// The cipher suite, by the name that OpenSSL and nginx have for it.
    pub cipher: &'static str,
    /// The name that the client asked for, if it did.
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session was taken up again.
    pub is_resumed: bool,
    /// Whether the client has shown a certificate, and it was found good.
    pub has_client_certificate: bool,
    /// Whether HTTP/2 was agreed on (RFC 9113 §3.2).
    pub is_http2: bool,
    /// The number of the terms.
    pub terms: TermsNumber,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

impl Version {
    /// As nginx names it.
    pub fn name(self) -> &'static str {
        match self {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        }
    }
}

/// What a handshake failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client showed no certificate, or none that is good, and the terms ask for one.
    NoCertificate,
    /// The client rejects what it was shown, or wants no more.
    ByPeer,
    /// What came is not TLS, or nothing that both sides speak.
    Protocol,
}

/// A handshake that is over, or a connection that is broken.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Broken {
    /// Whose fault it is.
    pub fault: Fault,
    what: String,
    /// The alert that tells the client; empty where a [`Session`] holds it, or none is due.
    pub alert: Vec<u8>,
}

impl Broken {
    fn new(error: &rustls::Error, alert: Vec<u8>) -> Broken {
        use rustls::Error::*;
        let fault = match error {
            NoCertificatesPresented | InvalidCertificate(_) => Fault::NoCertificate,
            AlertReceived(_) => Fault::ByPeer,
            _ => Fault::Protocol,
        };
        Broken { fault, what: error.to_string(), alert }
    }
}

impl From<std::io::Error> for Broken {
    /// Of records that the library does not take in.
    fn from(error: std::io::Error) -> Broken {
        Broken { fault: Fault::Protocol, what: error.to_string(), alert: Vec::new() }
    }
}

/// A connection whose ClientHello has not come whole.
#[derive(Default)]
pub struct Opening {
    acceptor: Acceptor,
}

impl Opening {
    /// Takes in what came. Gives a session once the ClientHello is whole: a part of its work is done by then, and its first records wait
    /// to be given out.
    pub fn take_in(&mut self, mut bytes: &[u8], terms: &Terms) -> Result<Option<Box<Session>>, Broken> {
        loop {
            // What does not fit is no ClientHello of a client that means well.
            let read = self.acceptor.read_tls(&mut bytes)?;
            let accepted = match self.acceptor.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) if read == 0 || bytes.is_empty() => return Ok(None),
                Ok(None) => continue,
                Err((error, mut alert)) => return Err(Broken::new(&error, written(|out| alert.write_all(out)))),
            };
            let hello = accepted.client_hello();
            let server_name = hello.server_name().map(Box::from);
            let (number, config) = terms.choose(server_name.as_deref());
            let connection = accepted.into_connection(Arc::clone(config));
            let connection =
                connection.map_err(|(error, mut alert)| Broken::new(&error, written(|out| alert.write_all(out))))?;
            let mut session = Box::new(Session::new(connection, server_name, number));
            // What came behind the ClientHello, which nobody sends who knows no keys yet; but it may be cut anywhere.
            while !bytes.is_empty() {
                session.take_in(&mut bytes)?;
                session.process()?;
            }
            return Ok(Some(session));
        }
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A buffer that grows takes all that is written to it.
    let _ = write(&mut bytes);
    bytes
}

/// One connection's TLS.
pub struct Session {
    connection: ServerConnection,
    /// Plain bytes that were sealed, and are told of when all their records have left.
    owed_bytes: usize,
    /// Plain bytes that still go in small records.
    eager_bytes: usize,
    sealed_at: Instant,
    /// Bytes of records that were given out.
    given_bytes: u64,
    server_name: Option<Box<str>>,
    terms: TermsNumber,
    facts: Option<Rc<TlsFacts>>,
}

/// Plain bytes that are sealed at most before their records have left: what one step of a large answer takes, four records.
pub const STEP_BYTES_MAX: usize = 64 * 1024;

/// Plain bytes of a small record: with all that stands around it one segment of TCP over IPv6 on Ethernet, so that a browser can read the
/// first of a page before the rest has come.
const EAGER_RECORD_BYTES: usize = 1_390;

/// Plain bytes that go in small records where nothing went before: what a fresh connection may have under way (RFC 6928, ten segments).
const EAGER_BYTES: usize = 10 * EAGER_RECORD_BYTES;

/// After so long without a word, a connection is as good as fresh.
const IDLE_MIN: Duration = Duration::from_secs(1);

impl Session {
    fn new(connection: ServerConnection, server_name: Option<Box<str>>, terms: TermsNumber) -> Session {
        Session {
            connection,
            owed_bytes: 0,
            eager_bytes: EAGER_BYTES,
            sealed_at: Instant::now(),
            given_bytes: 0,
            server_name,
            terms,
            facts: None,
        }
    }

    /// Whether there is more to come before anything can be said.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes in records, as many as one read brings; zero is the end of the connection.
    pub fn take_in(&mut self, from: &mut dyn Read) -> std::io::Result<usize> {
        self.connection.read_tls(from)
    }

    /// Makes of what came in what there is to make. After an error the alert that goes with it waits to be given out.
    pub fn process(&mut self) -> Result<(), Broken> {
        match self.connection.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => Err(Broken::new(&error, Vec::new())),
        }
    }

    /// What came of the handshake, once it has been finished.
    pub fn finish_handshake(&mut self) -> Option<&Rc<TlsFacts>> {
        if self.facts.is_none() {
            if self.connection.is_handshaking() {
                return None;
            }
            // Bounded by `STEP_BYTES_MAX`; the core would count what still waits against a bound of its own.
            self.connection.set_buffer_limit(None);
            self.facts = Some(Rc::new(TlsFacts {
                version: match self.connection.protocol_version() {
                    Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
                    _ => Version::Tls13,
                },
                cipher: self.connection.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
                server_name: self.server_name.take(),
                is_resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
                has_client_certificate: self.connection.peer_certificates().is_some(),
                is_http2: self.connection.alpn_protocol() == Some(b"h2"),
                terms: self.terms,
            }));
        }
        self.facts.as_ref()
    }

    /// What came of the handshake.
    pub fn facts(&self) -> Option<&Rc<TlsFacts>> {
        self.facts.as_ref()
    }

    /// Reads plain bytes that came in; zero are the end of them, and none means that there are none yet.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.connection.reader().read(buffer) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            // The peer has closed without a word, as many do. HTTP knows by itself what is whole.
            Err(_) => Some(0),
        }
    }

    /// Whether plain bytes wait, or their end.
    pub fn has_unread(&self) -> bool {
        // Not yet whether the core wants more; that it does not is said of a connection that has what to read.
        !self.connection.wants_read()
    }

    /// Plain bytes that were sealed and of which not all has left.
    pub fn owed_bytes(&self) -> usize {
        self.owed_bytes
    }

    /// Bytes of records that were given out.
    pub fn given_bytes(&self) -> u64 {
        self.given_bytes
    }

    /// Seals the first bytes of these pieces, [`STEP_BYTES_MAX`] at most. Nothing may be owed.
    pub fn seal(&mut self, pieces: [&[u8]; 2], now: Instant) -> std::io::Result<()> {
        assert_eq!(self.owed_bytes, 0, "what was sealed before has left");
        if now.saturating_duration_since(self.sealed_at) >= IDLE_MIN {
            self.eager_bytes = EAGER_BYTES;
        }
        self.sealed_at = now;
        let [first, second] = pieces;
        let whole = (first.len() + second.len()).min(STEP_BYTES_MAX);
        while self.owed_bytes < whole {
            let start = self.owed_bytes;
            let end = if self.eager_bytes > 0 { whole.min(start + EAGER_RECORD_BYTES) } else { whole };
            let of_first = &first[start.min(first.len())..end.min(first.len())];
            let of_second = &second[start.saturating_sub(first.len())..end.saturating_sub(first.len())];
            let slices = [IoSlice::new(of_first), IoSlice::new(of_second)];
            let count = self.connection.writer().write_vectored(&slices)?;
            if count == 0 || !self.connection.wants_write() {
                // The keys have sealed as much as they may: what they are given is thrown away.
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.owed_bytes += count;
            self.eager_bytes = self.eager_bytes.saturating_sub(count);
        }
        Ok(())
    }

    /// Gives records out until none is left.
    pub fn give_out(&mut self, to: &mut dyn Write) -> std::io::Result<()> {
        while self.connection.wants_write() {
            let count = self.connection.write_tls(to)?;
            if count == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.given_bytes += count as u64;
        }
        Ok(())
    }

    /// Gives the plain bytes that were owed, and are no more: all records have left.
    pub fn settle(&mut self) -> usize {
        debug_assert!(!self.connection.wants_write());
        std::mem::take(&mut self.owed_bytes)
    }

    /// Whether records wait to be given out.
    pub fn has_records(&self) -> bool {
        self.connection.wants_write()
    }

    /// Says that nothing more will be said (RFC 8446 §6.1).
    pub fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }
}

impl std::fmt::Debug for Session {
    /// Says nothing of keys.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("facts", &self.facts).finish_non_exhaustive()
    }
}

fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tls::{Listener, Names};
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
    use std::io::Error;

    /// A listener with one certificate, and clients that trust it.
    pub(crate) struct Both {
        pub(crate) listener: Arc<Listener>,
        client: Arc<ClientConfig>,
    }

    impl Both {
        pub(crate) fn new() -> Both {
            let signed = rcgen::generate_simple_self_signed(["test.example".to_owned()]).expect("a name");
            let mut roots = RootCertStore::empty();
            roots.add(signed.cert.der().clone()).expect("it is a certificate");
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
            let key = signed.signing_key.serialize_der().try_into().expect("it is a key");
            let server = builder.expect("the provider has them").with_no_client_auth();
            let server = server.with_single_cert(vec![signed.cert.der().clone()], key).expect("they match");
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let client = builder.expect("the provider has them").with_root_certificates(roots).with_no_client_auth();
            let terms = Terms::new(Names::all(0), Arc::from([(TermsNumber::new(1), Arc::new(server))]));
            Both { listener: Arc::new(Listener::new(terms)), client: Arc::new(client) }
        }

        /// A client, and what it begins with.
        pub(crate) fn begin(&self) -> (ClientConnection, Vec<u8>) {
            let name = "test.example".try_into().expect("a name");
            let mut client = ClientConnection::new(self.client.clone(), name).expect("it can begin");
            let hello = written(|out| client.write_tls(out).map(drop));
            (client, hello)
        }
    }

    fn take_all(client: &mut ClientConnection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("there is room");
            client.process_new_packets().expect("the server is right");
        }
    }

    fn established() -> (ClientConnection, Box<Session>) {
        let both = Both::new();
        let (mut client, hello) = both.begin();
        let terms = both.listener.terms();
        let mut opening = Opening::default();
        // A ClientHello comes in pieces as well.
        let (one, other) = hello.split_at(100);
        assert!(opening.take_in(one, &terms).expect("it is right so far").is_none());
        let mut session = opening.take_in(other, &terms).expect("it is right").expect("it is whole");
        assert!(session.finish_handshake().is_none());
        take_all(&mut client, &written(|out| session.give_out(out)));
        let finished = written(|out| client.write_tls(out).map(drop));
        session.take_in(&mut &finished[..]).expect("there is room");
        session.process().expect("the client is right");
        take_all(&mut client, &written(|out| session.give_out(out)));
        assert!(session.finish_handshake().is_some_and(|facts| facts.server_name.as_deref() == Some("test.example")));
        (client, session)
    }

    /// Plain bytes in each record, by its length: a header of five bytes, the type and a tag of 16 stand around them.
    fn records(mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let [_, _, _, high, low, ..] = *bytes {
            let length = usize::from(u16::from_be_bytes([high, low]));
            lengths.push(length - 17);
            bytes = &bytes[5 + length..];
        }
        lengths
    }

    #[test]
    fn the_first_records_are_small_and_so_are_those_behind_a_pause() {
        let (_client, mut session) = established();
        let content = vec![0; 3 * STEP_BYTES_MAX];
        let begun = Instant::now();
        for (after, small, rest) in [
            (Duration::ZERO, 10, vec![16_384, 16_384, 16_384, 2_484]),
            (IDLE_MIN / 2, 0, vec![16_384; 4]),
            (IDLE_MIN * 2, 10, vec![16_384, 16_384, 16_384, 2_484]),
        ] {
            session.seal([b"head", &content], begun + after).expect("it is open");
            let lengths = records(&written(|out| session.give_out(out)));
            assert_eq!(lengths, [vec![EAGER_RECORD_BYTES; small], rest].concat(), "{after:?}");
            assert_eq!(session.settle(), STEP_BYTES_MAX);
        }
    }

    /// What the socket does not take waits, is told of when all of it has left, and arrives once.
    #[test]
    fn what_was_sealed_is_owed_until_its_records_have_left() {
        struct Narrow(Vec<u8>, usize);
        impl Write for Narrow {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                if self.1 == 0 {
                    return Err(Error::from(std::io::ErrorKind::WouldBlock));
                }
                let count = self.1.min(bytes.len());
                self.1 -= count;
                self.0.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut client, mut session) = established();
        let content: Vec<u8> = (0..40_000u32).map(|number| number.to_le_bytes()[0]).collect();
        session.seal([&content[..7], &content[7..]], Instant::now()).expect("it is open");
        let mut socket = Narrow(Vec::new(), 0);
        let mut attempts = 0;
        while session.give_out(&mut socket).is_err() {
            assert_eq!(session.owed_bytes(), content.len());
            socket.1 = 999;
            attempts += 1;
        }
        assert_eq!((session.settle(), session.owed_bytes()), (content.len(), 0));
        assert_eq!(session.given_bytes() > content.len() as u64, attempts > 40);
        let mut arrived = Vec::new();
        for piece in socket.0.chunks(4096) {
            take_all(&mut client, piece);
            let _ = client.reader().read_to_end(&mut arrived);
        }
        assert!(arrived == content);
    }

    #[test]
    fn a_goodbye_is_the_end_and_the_silence_of_a_socket_too() {
        let (mut client, mut session) = established();
        let mut buffer = [0; 8];
        assert_eq!(session.read(&mut buffer), None);
        client.writer().write_all(b"word").expect("it is open");
        client.send_close_notify();
        let said = written(|out| client.write_tls(out).map(drop));
        session.take_in(&mut &said[..]).expect("there is room");
        session.process().expect("the client is right");
        assert!(session.has_unread());
        assert_eq!((session.read(&mut buffer), session.read(&mut buffer)), (Some(4), Some(0)));
        let (_client, mut session) = established();
        assert_eq!(session.take_in(&mut &b""[..]).expect("an end is no error"), 0);
        assert_eq!(session.read(&mut buffer), Some(0));
    }

    /// A key has no business in a log.
    #[test]
    fn a_session_is_shown_without_its_keys() {
        let (_client, session) = established();
        let shown = format!("{session:?}");
        assert!(
            shown.starts_with("Session { facts: Some(TlsFacts { version: Tls13") && shown.ends_with(".. }"),
            "{shown}"
        );
    }
}
