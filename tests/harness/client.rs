//! A client that sends exactly the bytes it is told to, and reads answers strictly.
//!
//! Invariant: an answer that breaks the grammar of RFC 9112 is a [`Fault`], never repaired.

use super::HANG;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// The method of the request that an answer belongs to: it decides whether content follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Options,
}

impl Method {
    /// Its name on the wire.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
        }
    }
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Name and value of each field line, in order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
}

impl std::fmt::Debug for Response {
    /// Of long content, how long it is: a report of megabytes is of use to nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = String::from_utf8_lossy(self.content.get(..1000).unwrap_or(&self.content));
        let Response { status, fields, .. } = self;
        write!(f, "{status} {fields:?} {} bytes: {content:?}", self.content.len())
    }
}

impl Response {
    /// The value of the field `name`; it must not come twice, for no field of this server may.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.fields.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
        let value = lines.next().map(|(_, value)| value.as_str());
        assert!(lines.next().is_none(), "{name} came twice: {:?}", self.fields);
        value
    }

    /// Whether `Connection` says that this was the last answer; it must say something.
    pub(crate) fn closes(&self) -> bool {
        match self.field("Connection") {
            Some("close") => true,
            Some("keep-alive") => false,
            other => panic!("Connection is {other:?}"),
        }
    }

    /// All fields but `Date`, which differs from second to second.
    pub(crate) fn lasting_fields(&self) -> Vec<(String, String)> {
        self.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Date")).cloned().collect()
    }
}

/// Why there was no whole answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection ended before the first byte of one.
    End,
    /// The connection ended within the head.
    CutHead,
    /// The connection ended within the content; what came of it is in the answer.
    CutContent(Response),
    /// The connection was reset.
    Reset,
    /// The connection ended without a word, where TLS has one for that (RFC 8446 §6.1).
    NoGoodbye,
    /// TLS broke.
    Tls(#[expect(dead_code, reason = "shown by Debug")] rustls::Error),
    /// Nothing came for so long that it counts as a hang.
    Hang,
    /// What came is no answer; why, is for whoever reads the report.
    Malformed(#[expect(dead_code, reason = "shown by Debug")] String),
}

/// One connection to the server.
pub(crate) struct Client {
    stream: TcpStream,
    /// TLS on it.
    tls: Option<Box<ClientConnection>>,
    /// Each byte is sent by itself.
    drips: bool,
    /// What its requests say in Host.
    host: String,
    /// What was received and not yet handed out.
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("the server accepts connections")
    }

    /// Connects, if the server lets us.
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, HANG)?;
        stream.set_nodelay(true)?;
        Client::of_stream(stream)
    }

    /// Connects to a socket of the file system.
    pub(crate) fn connect_unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path).expect("the server accepts connections");
        // All that is done with it here is done to any stream socket.
        Client::of_stream(TcpStream::from(OwnedFd::from(stream))).expect("an open socket")
    }

    fn of_stream(stream: TcpStream) -> std::io::Result<Client> {
        stream.set_read_timeout(Some(HANG))?;
        stream.set_write_timeout(Some(HANG))?;
        Ok(Client { stream, tls: None, drips: false, host: "test".to_owned(), received: Vec::new() })
    }

    /// Names another host in its requests.
    pub(crate) fn host(mut self, host: &str) -> Client {
        host.clone_into(&mut self.host);
        self
    }

    /// Speaks TLS from here on, to a server of this name; the handshake is finished when this returns.
    pub(crate) fn secure(mut self, config: &Arc<ClientConfig>, name: &str) -> Result<Client, Fault> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        self.tls = Some(Box::new(ClientConnection::new(config.clone(), name).expect("a configuration that works")));
        while self.tls().is_handshaking() {
            self.send_records().map_err(|_| Fault::Reset)?;
            if self.tls().is_handshaking() {
                self.take_records()?;
            }
        }
        self.send_records().map_err(|_| Fault::Reset)?;
        Ok(self)
    }

    /// Sends each byte by itself.
    pub(crate) fn dripping(mut self) -> Client {
        self.drips = true;
        self
    }

    /// The state of TLS, which is there.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("it speaks TLS")
    }

    /// Sends what TLS has to say.
    pub(crate) fn send_records(&mut self) -> std::io::Result<()> {
        let mut records = Vec::new();
        while self.tls().wants_write() {
            self.tls().write_tls(&mut records)?;
        }
        for piece in records.chunks(if self.drips { 1 } else { usize::MAX }) {
            self.stream.write_all(piece)?;
        }
        Ok(())
    }

    /// Takes what has come of TLS, or its end.
    fn take_records(&mut self) -> Result<(), Fault> {
        let Client { stream, tls, .. } = self;
        let tls = tls.as_mut().expect("it speaks TLS");
        match tls.read_tls(stream) {
            Ok(0) if tls.is_handshaking() => return Err(Fault::End),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Fault::Hang);
            }
            Err(_) => return Err(Fault::Reset),
        }
        tls.process_new_packets().map(drop).map_err(Fault::Tls)
    }

    /// The socket, for what this client does not offer.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes what it is sent");
    }

    /// Sends bytes to a server that may have closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        if self.tls.is_some() {
            // A bounded buffer takes a piece at a time.
            for piece in bytes.as_ref().chunks(16 * 1024) {
                self.tls().writer().write_all(piece)?;
                self.send_records()?;
            }
            return Ok(());
        }
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Sends one HTTP/1.1 request with these field lines (each with its CRLF).
    pub(crate) fn ask(&mut self, method: Method, target: &str, lines: &str) -> Response {
        self.send(format!("{} {target} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", method.token(), self.host));
        self.answer(method)
    }

    /// Gets `target`.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.ask(Method::Get, target, "")
    }

    /// The next answer, which must come whole.
    pub(crate) fn answer(&mut self, method: Method) -> Response {
        match self.receive(method) {
            Ok(response) => response,
            Err(fault) => panic!("no answer: {fault:?}"),
        }
    }

    /// The next answer, if it comes whole.
    pub(crate) fn receive(&mut self, method: Method) -> Result<Response, Fault> {
        let head_end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill()? == 0 {
                return Err(if self.received.is_empty() { Fault::End } else { Fault::CutHead });
            }
        };
        let head: Vec<u8> = self.received.drain(..head_end).collect();
        let mut response = parse_head(&head[..head_end - 2]).map_err(Fault::Malformed)?;
        let length = match response.field("Content-Length").map(str::parse::<usize>) {
            // RFC 9112 §6.3: these have no content, whatever their fields say.
            _ if method == Method::Head || matches!(response.status, 204 | 304) => 0,
            Some(Ok(length)) => length,
            other => return Err(Fault::Malformed(format!("Content-Length is {other:?}: {:?}", response.fields))),
        };
        while self.received.len() < length {
            match self.fill() {
                Ok(0) | Err(Fault::Reset) => {
                    response.content = std::mem::take(&mut self.received);
                    return Err(Fault::CutContent(response));
                }
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
        response.content = self.received.drain(..length).collect();
        Ok(response)
    }

    /// Takes at least `count` bytes of an answer off the socket, to be handed out later.
    pub(crate) fn take_some(&mut self, count: usize) {
        let wanted = self.received.len() + count;
        while self.received.len() < wanted {
            assert_ne!(self.fill().expect("the server goes on"), 0, "the answer ended early");
        }
    }

    /// What was received and not yet handed out.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        while self.fill()? != 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    /// The connection ends here: cleanly, and without another byte.
    pub(crate) fn expect_end(&mut self, context: &str) {
        match self.rest() {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => panic!("{context}: more came: {}", bytes.escape_ascii()),
            Err(fault) => panic!("{context}: no clean end: {fault:?}"),
        }
    }

    /// Whether the server has nothing to say and has not closed. Looks only at what is there now.
    pub(crate) fn is_open_and_silent(&self) -> bool {
        let mut byte = [0];
        self.stream.set_nonblocking(true).expect("an open socket");
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("an open socket");
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    fn fill(&mut self) -> Result<usize, Fault> {
        let mut buffer = [0; 64 * 1024];
        while let Some(tls) = &mut self.tls {
            match tls.reader().read(&mut buffer) {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.take_records()?,
                Err(_) => return Err(Fault::NoGoodbye),
            }
        }
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Fault::Hang),
            Err(_) => Err(Fault::Reset),
        }
    }
}

/// Reads a status line and field lines, all but the empty line at the end.
fn parse_head(head: &[u8]) -> Result<Response, String> {
    let text = std::str::from_utf8(head).map_err(|_| format!("not ASCII: {}", head.escape_ascii()))?;
    let mut lines = text.strip_suffix("\r\n").ok_or("no line end")?.split("\r\n");
    let status_line = lines.next().expect("a split has a first part");
    // RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once(' '))
        .filter(|(code, reason)| code.len() == 3 && !reason.is_empty())
        .and_then(|(code, _)| code.parse().ok())
        .ok_or_else(|| format!("status line {status_line:?}"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("field line {line:?}"))?;
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_token || value.contains(['\r', '\n', '\0']) {
            return Err(format!("field line {line:?}"));
        }
        fields.push((name.to_owned(), value.to_owned()));
    }
    Ok(Response { status, fields, content: Vec::new() })
}

/// Where `needle` first occurs.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
