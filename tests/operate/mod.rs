//! The server as its administrators see it, a module a topic.
//!
//! Invariant: a row names the promise that it stands for.

mod configuration;
