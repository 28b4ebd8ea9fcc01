//! The disk: open beneath a root, read without stalling, remember within bounds.
//!
//! [`root`] opens by path and never leaves its directory; [`directory`] reads what is in one; [`mod@file`]
//! reads an open file through the ring, in the aligned spans that [`span`] computes; [`cache`]
//! remembers, [`shared`] for all workers at once; [`refusal`] says in four words why something cannot be served; [`pool`] runs elsewhere
//! what may block; [`flight`] lets many wait for one fetch.
//!
//! Invariant: nothing here blocks the executor. What may touch the disk goes through the ring or
//! to the blocking pool.

pub mod cache;
pub mod directory;
pub mod file;
pub mod flight;
pub mod pool;
pub mod refusal;
pub mod root;
pub mod shared;
pub mod span;
