//! What the system tells of this process.
//!
//! Invariant: what it does not tell, where /proc is hidden, is left out and never guessed.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU time of all threads.
pub(super) fn cpu_seconds() -> Option<f64> {
    let time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()?;
    Some(time.as_secs_f64())
}

/// Memory that is resident.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Descriptors that are open; listing them takes one for the moment.
pub(super) fn open_descriptors() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

/// Descriptors that may be open; none where there is no limit.
pub(super) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_where_proc_is() {
        assert!(cpu_seconds().is_some_and(|seconds| seconds > 0.0));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_descriptors().is_some_and(|count| count >= 3));
    }
}
