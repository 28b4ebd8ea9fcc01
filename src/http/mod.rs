//! HTTP/1.1 as pure functions: bytes of a request in, a description of the answer out.
//!
//! In reading order: [`request`] parses a head (with [`host`] and [`framing`]), [`target`] turns its target into a path,
//! [`respond`] decides the answer from the head and the facts of the selected representation
//! (with [`precondition`] and [`range`]), [`response`] writes the answer's head, [`multipart`] the
//! heads of several parts.
//!
//! Invariant: nothing here reads a clock, a file or a socket. Time and metadata are arguments.

pub mod date;
pub mod fields;
pub mod framing;
pub mod grammar;
pub mod host;
pub mod media_type;
pub mod method;
pub mod multipart;
pub mod precondition;
pub mod range;
pub mod request;
pub mod respond;
pub mod response;
pub mod status;
pub mod target;
pub mod validator;
