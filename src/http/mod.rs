//! HTTP/1.1 as pure functions: bytes of a request in, a description of the answer out.
//!
//! In reading order: [`request`] parses a head (with [`host`] and [`framing`]), [`target`] turns its target into a path,
//! [`respond`] decides the answer from the head and the facts of the selected representation
//! (with [`precondition`] and [`range`]), [`response`] writes the answer's head through a [`writer`], [`multipart`] the
//! heads of several parts. [`coding`] and [`accept`] choose among the forms of one answer.
//! [`proxy_header`] and [`forwarded`] tell who is behind a proxy.
//!
//! Invariant: nothing here reads a clock, a file or a socket. Time and metadata are arguments.

pub mod accept;
pub mod coding;
pub mod date;
pub mod fields;
pub mod forwarded;
pub mod framing;
pub mod grammar;
pub mod host;
pub mod media_type;
pub mod method;
pub mod multipart;
pub mod precondition;
pub mod proxy_header;
pub mod range;
pub mod request;
pub mod respond;
pub mod response;
pub mod status;
pub mod target;
pub mod validator;
pub mod writer;
