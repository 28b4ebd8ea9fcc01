//! The server as its peers see it, a module a topic.
//!
//! Most modules are tables: a row is a rule, and one `check` goes through them.
//!
//! Invariant: a row names the section of the standard, or the promise, that it stands for.

mod canary;
mod compression;
mod conditional;
mod content;
mod deploy;
mod error_pages;
mod fields;
mod files;
mod framing;
mod hostile;
mod hosts;
mod keepalive;
mod limits;
mod listing;
mod methods;
mod negotiation;
mod parsing;
mod paths;
mod ranges;
mod shared;
mod shutdown;
mod startup;
mod traversal;
// The faults on demand exist in debug builds only.
#[cfg(debug_assertions)]
mod workers;
