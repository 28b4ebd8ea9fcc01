//! Requests with a canary behind them, in the same write: a good request that is answered exactly
//! when the server knows where it starts, and that it may go on.
//!
//! Invariant: each answer that is accepted for GET is asked for by HEAD as well, and must have the
//! same fields.

use crate::harness::client::find;
use crate::harness::{Client, Method, Response, Server, Site};

pub(super) const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";

/// What becomes of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canary {
    /// It is answered: the connection goes on.
    Sings,
    /// It is not: the connection ends behind the answer before it.
    Silent,
}

/// A site with an index and the canary.
pub(super) fn site() -> Site {
    let site = Site::new();
    site.file("index.html", "index");
    site.file("canary", "the canary sings");
    site
}

/// Sends `bytes` and the canary; expects one answer of this status, and nothing behind it.
pub(super) fn check_last(server: &Server, bytes: &[u8], status: u16) {
    check(server, bytes, status, Canary::Silent);
}

/// Sends `bytes` and the canary; expects an answer of this status, and the canary's behind it.
pub(super) fn check_accepted(server: &Server, bytes: &[u8], status: u16) {
    check(server, bytes, status, Canary::Sings);
}

/// Sends `bytes` and the canary; expects an answer of this status, and of the canary what is said.
pub(super) fn check(server: &Server, bytes: &[u8], status: u16, canary: Canary) {
    let response = send(server, bytes, Method::Get, canary);
    let shown = shown(bytes);
    assert_eq!(response.status, status, "{shown}");
    if response.status >= 400 {
        assert_eq!(response.field("Content-Type"), Some("text/html"), "{shown}");
    }
    // RFC 9110 §9.3.2. A refused head is no HEAD request, whatever its first word; and one that
    // keeps a limit to the byte would break it with the longer one.
    let refused = matches!(status, 400 | 414 | 431 | 505) || bytes.len() > 1000;
    let Some(at) = find(bytes, b"GET ").filter(|at| *at <= 2 && !refused) else { return };
    let headed = [&bytes[..at], b"HEAD", &bytes[at + 3..]].concat();
    let headed = send(server, &headed, Method::Head, canary);
    assert_eq!((headed.status, headed.lasting_fields()), (status, response.lasting_fields()), "HEAD for {shown}");
}

/// The first answer to `bytes` and the canary.
fn send(server: &Server, bytes: &[u8], method: Method, canary: Canary) -> Response {
    let shown = shown(bytes);
    let mut client = server.client();
    client.send([bytes, CANARY.as_bytes()].concat());
    let response = client.answer(method);
    expect(&mut client, &response, canary, &shown);
    response
}

/// Behind `response` the canary does what is said.
pub(super) fn expect(client: &mut Client, response: &Response, canary: Canary, shown: &str) {
    assert_eq!(response.closes(), canary == Canary::Silent, "{shown}");
    match canary {
        Canary::Sings => assert_eq!(client.answer(Method::Get).content, b"the canary sings", "{shown}"),
        Canary::Silent => client.expect_end(shown),
    }
}

pub(super) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().chars().take(200).collect()
}
