//! The tests that talk to the server as strangers do: over sockets, with its real program; those
//! that give its parsers any bytes at all; and the test that keeps its source in order.
//!
//! [`harness`] starts and ends servers, lays out document roots, and speaks just enough HTTP;
//! [`wire`] and [`operate`] have one module a topic; [`fuzz`] and [`heads`] need no server; [`tidy`] reads the source.
//!
//! Invariant: each test has its own server on a port of its own, and leaves nothing behind.

mod allocation;
mod fuzz;
mod harness;
mod heads;
mod messages;
mod operate;
mod tidy;
mod wire;
