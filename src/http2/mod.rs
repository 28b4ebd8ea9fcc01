//! HTTP/2 (RFC 9113) as pure functions and state: bytes in, events and bytes out; no socket, no clock.
//!
//! Order: [`frame`] and [`hpack`] are how things are written · [`request`] makes a request of a field block · [`connection`] makes events of
//! what comes in, by the rules of RFC 9113 and within limits · [`send`] writes answers in the order that the client wants.
//!
//! The h2 crate does the same. With one request a stream and small answers, it takes four to five times the processor's time of
//! the quickest server there is, for each head is copied into maps of its own; so it is the client of our tests, and not the server.

pub mod connection;
mod control;
pub mod error;
mod flood;
pub mod frame;
pub mod hpack;
pub mod huffman;
pub mod priority;
pub mod request;
pub mod send;
pub mod streams;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Event, Limits};
pub use error::{ConnectionError, ErrorCode};
pub use streams::StreamKey;

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether it is understood on connections without TLS too, where the client begins with its preface (RFC 9113 §3.3).
    pub in_plain_text: bool,
    /// Streams that a client may have open at a time (RFC 9113 §6.5.2, SETTINGS_MAX_CONCURRENT_STREAMS).
    pub streams_max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { in_plain_text: false, streams_max: 128 }
    }
}
