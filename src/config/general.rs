//! The keys of the whole server: what their values may be, and the defaults that have to be worked out.
//!
//! Invariant: a value that is returned lies within the bounds that its message names.

use super::memory;
use super::table::{Problem, Table, Value, World};
use super::value;
use crate::cli::{WORKERS_MAX, Workers, parse_workers};
use crate::shard::{ClientField, Trusted};
use crate::site::access::Networks;

/// Whose word on addresses is taken.
pub(super) fn trusted(table: &Table<'_>) -> Result<Trusted, Problem> {
    let networks =
        table.read("real_ip_from", |value| Networks::parse(&value.texts()?).map_err(|bad| value.wrong(bad)))?;
    let fields = [("X-Forwarded-For", ClientField::XForwardedFor), ("Forwarded", ClientField::Forwarded)];
    let field = table.read("real_ip_header", |value| value.one_of(&fields))?;
    Ok(Trusted { networks: networks.unwrap_or_default(), field: field.unwrap_or_default() })
}

/// `auto`, or a number.
pub(super) fn workers(value: Value<'_>) -> Result<Workers, Problem> {
    if value.is_text() {
        return parse_workers(value.text()?).map_err(|what| value.wrong(what));
    }
    let number = value.number(1, WORKERS_MAX as u64)?;
    Ok(Workers::Fixed(usize::try_from(number).expect("at most WORKERS_MAX")))
}

const SECONDS_MAX: u64 = 86_400;

/// A time, from a second to a day.
pub(super) fn seconds(value: Value<'_>) -> Result<u32, Problem> {
    value.number(1, SECONDS_MAX).map(|seconds| u32::try_from(seconds).expect("at most SECONDS_MAX"))
}

/// The same, or none at all.
pub(super) fn seconds_or_none(value: Value<'_>) -> Result<u32, Problem> {
    value.number(0, SECONDS_MAX).map(|seconds| u32::try_from(seconds).expect("at most SECONDS_MAX"))
}

/// A size: a number, or a text with a unit.
pub(super) fn bytes(value: Value<'_>) -> Result<u64, Problem> {
    if value.is_text() {
        let text = value.text()?;
        return value::bytes(text)
            .ok_or_else(|| value.wrong(format!("expected bytes, such as 1048576 or \"64m\", found {text:?}")));
    }
    value.number(0, u64::MAX >> 1)
}

/// Of the memory that the process may use, one part in this many is for the content of files: the kernel and other
/// programs need theirs.
const CACHE_PART: u64 = 4;

/// Of what one worker may hold, one part in this many is for the largest file: whatever it puts out, most stays.
pub(super) const CONTENT_PART: u64 = 4;

/// Where the system does not say how much memory there is.
const CACHE_BYTES_OF_UNKNOWN: u64 = 128 << 20;

/// `cache_size` where nobody set it.
pub(super) fn default_cache_bytes(world: World) -> u64 {
    let usable = if world == World::Asked { memory::usable_bytes() } else { None };
    usable.map_or(CACHE_BYTES_OF_UNKNOWN, |bytes| bytes / CACHE_PART)
}
