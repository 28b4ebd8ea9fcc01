//! A client of HTTP/2 that others have made, and the same requests over either version.
//!
//! Order: what any client can be asked; which version it speaks; the client.
//!
//! Invariant: a test that takes a [`Version`] says nothing that holds for one of them alone, unless it asks which it is.

use super::client::{Client, Method, Response};
use super::{HANG, Server};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

/// Who can be asked, over whatever version.
pub(crate) trait Asks {
    /// Sends one request with these field lines (each with its CRLF).
    fn ask(&mut self, method: Method, target: &str, lines: &str) -> Response;

    /// Gets `target`.
    fn get(&mut self, target: &str) -> Response {
        self.ask(Method::Get, target, "")
    }
}

impl Asks for Client {
    fn ask(&mut self, method: Method, target: &str, lines: &str) -> Response {
        Client::ask(self, method, target, lines)
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    /// In plain text, which the server must have been told to understand.
    Http2,
}

impl Version {
    /// Both of them.
    pub(crate) const ALL: [Version; 2] = [Version::Http1, Version::Http2];

    /// A new connection.
    pub(crate) fn client(self, server: &Server) -> Box<dyn Asks> {
        match self {
            Version::Http1 => Box::new(server.client()),
            Version::Http2 => Box::new(Http2Client::connect(server.address())),
        }
    }
}

/// One connection of HTTP/2.
pub(crate) struct Http2Client {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
}

impl Http2Client {
    /// Connects, with prior knowledge (RFC 9113 §3.3).
    pub(crate) fn connect(address: SocketAddr) -> Http2Client {
        Http2Client::with(&Builder::new(), address)
    }

    /// The same, with other windows than a client begins with.
    pub(crate) fn with(builder: &Builder, address: SocketAddr) -> Http2Client {
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().expect("a thread can wait for sockets");
        let requests = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("the server accepts connections");
            stream.set_nodelay(true).expect("an open socket");
            let (requests, connection) = builder.handshake(stream).await.expect("the server speaks HTTP/2");
            // It goes on whenever this client waits for something; how it ends is seen by what is waited for.
            tokio::spawn(async move { drop(connection.await) });
            requests
        });
        Http2Client { runtime, requests }
    }

    /// Asks for `target`, and reads nothing of the content.
    pub(crate) fn begin(&mut self, target: &str) -> RecvStream {
        let Http2Client { runtime, requests } = self;
        let (response, _) = requests.send_request(request(Method::Get, target, ""), true).expect("it may ask");
        let head = runtime.block_on(async { timeout(HANG, response).await.expect("the answer comes") });
        head.expect("an answer").into_body()
    }

    /// The next piece of the content, for which its window is opened again.
    pub(crate) fn receive(&mut self, content: &mut RecvStream) -> Option<Bytes> {
        let piece = async { timeout(HANG, content.data()).await.expect("the next piece comes") };
        let piece = self.runtime.block_on(piece)?.expect("a piece");
        content.flow_control().release_capacity(piece.len()).expect("it was received");
        Some(piece)
    }

    /// Sends and takes what there is; nothing else does while no answer is waited for.
    pub(crate) fn go_on(&mut self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
}

impl Asks for Http2Client {
    fn ask(&mut self, method: Method, target: &str, lines: &str) -> Response {
        let request = request(method, target, lines);
        let Http2Client { runtime, requests } = self;
        let exchange = async {
            let mut ready = requests.clone().ready().await?;
            let (response, _) = ready.send_request(request, true)?;
            let (head, mut content) = response.await?.into_parts();
            let mut received = Vec::new();
            while let Some(piece) = content.data().await {
                let piece = piece?;
                received.extend_from_slice(&piece);
                content.flow_control().release_capacity(piece.len())?;
            }
            assert!(content.trailers().await?.is_none(), "{target}: trailers, which this server has none of");
            Ok::<_, h2::Error>((head, received))
        };
        let (head, content) = runtime
            .block_on(async { timeout(HANG, exchange).await.expect("the answer comes") })
            .unwrap_or_else(|fault| panic!("{target} {lines:?}: no answer: {fault}"));
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Response { status: head.status.as_u16(), fields, content }
    }
}

/// The request that these lines mean: what is around a value is no part of it (RFC 9110 §5.5), and what speaks of a
/// connection stays with it (RFC 9113 §8.2.2).
fn request(method: Method, target: &str, lines: &str) -> http::Request<()> {
    let mut request = http::Request::builder().method(method.token()).uri(format!("http://test{target}"));
    for line in lines.split_terminator("\r\n") {
        let (name, value) = line.split_once(':').expect("a field line");
        if name.eq_ignore_ascii_case("Connection") {
            continue;
        }
        request = request.header(name, value.trim_matches([' ', '\t']).as_bytes());
    }
    request.body(()).expect("a request that can be sent")
}
