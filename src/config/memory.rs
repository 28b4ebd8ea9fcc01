//! How much memory this process may use: what the machine has to spare, or what its control group allows.

use std::path::{Path, PathBuf};

/// Bytes that may be used; `None` where the system does not say.
pub(super) fn usable_bytes() -> Option<u64> {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text));
    let limit = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| limit_bytes(&text));
    available.into_iter().chain(limit).min()
}

/// `MemAvailable` of /proc/meminfo (proc(5)), which is in KiB.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest `memory.max` of the control group (version 2) and those that it is in.
fn limit_bytes(cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group: PathBuf = Path::new("/sys/fs/cgroup").join(path);
    let limits = group.ancestors().map(|group| std::fs::read_to_string(group.join("memory.max")));
    // Where there is no limit, it says `max`.
    limits.filter_map(|text| text.ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        for (text, expected) in [
            ("MemTotal: 10 kB\nMemAvailable:    2048 kB\n", Some(2048 * 1024)),
            ("MemTotal: 10 kB\n", None),
            ("MemAvailable: many kB\n", None),
            ("", None),
        ] {
            assert_eq!(available_bytes(text), expected, "{text:?}");
        }
        assert_eq!(limit_bytes("1:cpu:/x\n"), None);
        assert_eq!(limit_bytes("0::/no/such/group\n"), limit_bytes("0::/\n"));
    }
}
