//! What keeps one client, or a shortage, from taking the server away from everybody else: counts, rates, and a look at memory.
//!
//! [`client`] says who counts as one · [`connections`] counts connections · [`requests`] lets requests through at a rate ·
//! [`pace`] spreads what is sent over time · [`progress`] tells a slow peer from one that takes nothing · [`memory`] says how close the limit
//! of memory is · [`episode`] tells of a shortage once · [`heap`] gives freed memory back.
//!
//! Invariant: what is not configured costs a branch; what is counted for the whole process is in tables with a named bound, and
//! those who look into them never wait for anything but each other's few instructions.

pub mod client;
pub mod connections;
pub mod episode;
pub mod heap;
pub mod memory;
pub mod pace;
pub mod progress;
pub mod requests;
