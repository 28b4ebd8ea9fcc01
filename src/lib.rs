//! The otus-httpd library: a web server for files, one io_uring executor a core.
//!
//! # Codemap, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`counters`] | what is counted, a worker by itself |
//! | [`engine`] | whether the engine has something under way |
//! | [`defence`] | limits: who is refused, how fast is sent, how much memory is left |
//! | [`http`] | pure: a request's bytes in, a description of the answer out |
//! | [`http2`] | pure: one HTTP/2 connection, frames in, frames out |
//! | [`tls`] | certificates, and one connection's cryptography |
//! | [`socket`] | the network: connections that are waited for together with the ring |
//! | [`storage`] | the disk: open beneath a root, read without stalling, remember |
//! | [`observe`] | messages and the line an exchange |
//! | [`site`] | from a path to the representation that answers it |
//! | [`shard`] | what one core owns |
//! | [`exchange`] | one request, one answer: where the three above meet |
//! | [`connection`] | one TCP peer |
//! | [`server`] | one process: start, workers, stop |
//! | [`watch`] | the state of a running server in a terminal |
//! | [`config`], [`cli`] | what is meant, what was typed |
//!
//! # Invariants
//!
//! - Imports point one way: `cli` and `config`, `server`, `connection`, `exchange`, `shard`,
//!   `site`, `storage`, `socket` and `observe`, `engine`, `defence`, `counters`, `http2` and `tls`, `http`; a module uses only what stands behind it.
//! - `connection` never sees a path, `site` never sees a socket, `http` never sees the world.
//! - The status is never written before the file is open and its length known.
//! - Every wait has a deadline; every queue, buffer and loop has a named limit.
//! - `unsafe` stands in nine files only, each use argued beside it: `storage::beneath`, `storage::file`,
//!   `defence::heap`, `socket::queue`, `socket::readiness`, `server::inherit`, `server::preflight`, `server::ring`, `server::worker`.

pub mod cli;
pub mod config;
pub mod connection;
pub mod counters;
pub mod defence;
pub mod engine;
pub mod exchange;
pub mod http;
pub mod http2;
pub mod observe;
pub mod server;
pub mod shard;
pub mod site;
pub mod socket;
pub mod storage;
pub mod tls;
pub mod watch;
