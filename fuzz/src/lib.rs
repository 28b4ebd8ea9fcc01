//! The fuzz targets as a library: each program in `fuzz_targets` runs one of them, and
//! `tests/fuzz.rs` of the server runs all of them with a stable compiler.
//!
//! Invariant: what a target demands stands in [`targets`] only, so that both judge alike.

pub mod targets;
