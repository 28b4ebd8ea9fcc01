//! The server as its peers see it, a module a topic.
//!
//! Most modules are tables: a row is a rule, and one `check` goes through them.
//!
//! Invariant: a row names the section of the standard, or the promise, that it stands for.

mod access;
mod canary;
mod compression;
mod conditional;
mod configuration;
mod content;
mod deploy;
mod disk;
mod error_pages;
mod fields;
mod files;
mod framing;
mod hostile;
mod hosts;
mod http2;
mod keepalive;
mod limits;
mod listeners;
mod listing;
mod methods;
mod negotiation;
mod parsing;
mod paths;
mod proxies;
mod ranges;
mod rules;
mod shared;
mod shutdown;
mod sites;
mod slow_disk;
mod startup;
mod tls;
mod traversal;
// The faults on demand exist in debug builds only.
#[cfg(debug_assertions)]
mod workers;
