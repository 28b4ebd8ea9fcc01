//! The disk: open beneath a root, read without stalling, remember within bounds.
//!
//! [`root`] looks up by path and never leaves its directory, which `beneath` has the kernel see to; [`directory`] reads what is in one; [`opening`] opens
//! what was found, at once where the [`file_system`] is known not to wait, and reads a small file from the page cache;
//! [`mod@file`] reads an open file through the ring, in the aligned spans that [`span`] computes; [`cache`]
//! remembers, [`shared`] for all workers at once, in [`memory`] that the kernel sends from; [`held`] says what of that there
//! is or will be, [`demand`] what should be, and [`mod@fill`] reads it; [`refusal`] says in four words why something cannot be served; [`pool`] runs elsewhere
//! what may block; [`flight`] lets many wait for one fetch.
//!
//! Invariant: nothing here blocks the executor. It takes what the kernel holds in memory; what may touch the disk goes
//! through the ring or to the blocking pool.

mod beneath;
pub mod cache;
pub mod demand;
pub mod directory;
pub mod file;
pub mod file_system;
pub mod fill;
pub mod flight;
pub mod held;
pub mod memory;
pub mod opening;
pub mod pool;
pub mod refusal;
pub mod root;
pub mod shared;
pub mod span;
