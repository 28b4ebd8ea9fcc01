//! How near the limit of memory is that the process's control group has: looked at once a second, by a thread of its own.
//!
//! What counts is what the kernel cannot take back by itself: use less the pages of files, which it drops when it needs them. A group that
//! only holds the page cache of what was read is full all the time, and nothing is wrong with it.
//!
//! Order: [`watch`] finds the groups, own and outer ones, of version 2 or 1, and opens their files · each second the worst of them gives the
//! [`Level`], which workers read from one number.
//!
//! Invariant: no worker ever reads a file for this, and the files are open before any right is given up.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// What is to be done about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Ample,
    /// What is kept to be quick is given back.
    Short,
    /// Idle connections end, and nobody new comes in.
    Scarce,
}

/// Of a hundred parts of the limit, so many in use are [`Level::Short`], and so many [`Level::Scarce`].
const SHORT_PERCENT: u64 = 85;
const SCARCE_PERCENT: u64 = 93;

/// Hundredths of a percent of the last ten seconds in which all of the group stood still for memory: above it, memory is short
/// whatever the numbers say.
const STALLED_MAX: u64 = 10_00;

/// An episode is over when memory was ample for so long.
const QUIET: Duration = Duration::from_secs(5);

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// What is to be done about memory now.
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        0 => Level::Ample,
        1 => Level::Short,
        _ => Level::Scarce,
    }
}

/// Looks once a second from here on, where there is a control group to look at.
pub fn watch() {
    let groups = std::fs::read_to_string("/proc/self/cgroup").map(|text| open_groups(&text)).unwrap_or_default();
    if groups.is_empty() {
        return;
    }
    let watching = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        let mut teller = Teller::default();
        loop {
            let use_now = groups.iter().filter_map(Group::look).max_by_key(|one| (one.level(), one.percent()));
            let level = use_now.map_or(Level::Ample, |one| one.level());
            LEVEL.store(level as u8, Ordering::Relaxed);
            teller.tell(level, use_now, Instant::now());
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    if let Err(error) = watching {
        tracing::warn!("the limit of memory is not watched: {error}");
    }
}

/// Memory in use, of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    used_bytes: u64,
    limit_bytes: u64,
    /// In hundredths of a percent of the time.
    stalled: u64,
}

impl Use {
    fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.used_bytes) * 100 / u128::from(self.limit_bytes.max(1))).unwrap_or(u64::MAX)
    }

    fn level(&self) -> Level {
        match self.percent() {
            SCARCE_PERCENT.. => Level::Scarce,
            SHORT_PERCENT.. => Level::Short,
            _ if self.stalled > STALLED_MAX => Level::Short,
            _ => Level::Ample,
        }
    }
}

/// The files of a control group that has a limit, or may be given one.
struct Group {
    limits: Vec<File>,
    used: File,
    statistics: File,
    pressure: Option<File>,
    /// The lines of `statistics` that count pages of files.
    of_files: [&'static str; 2],
}

/// A limit above this is none (version 1 says it so).
const LIMIT_BYTES_MAX: u64 = 1 << 60;

impl Group {
    fn look(&self) -> Option<Use> {
        let limits = self.limits.iter().filter_map(|limit| read(limit)?.trim().parse().ok());
        let limit_bytes = limits.filter(|limit| *limit < LIMIT_BYTES_MAX).min()?;
        let used: u64 = read(&self.used)?.trim().parse().ok()?;
        let of_files = bytes_of_files(&read(&self.statistics)?, &self.of_files);
        let stalled = self.pressure.as_ref().and_then(|file| stalled(&read(file)?)).unwrap_or(0);
        Some(Use { used_bytes: used.saturating_sub(of_files), limit_bytes, stalled })
    }
}

/// The groups that /proc/self/cgroup (cgroups(7)) names, and those around them.
fn open_groups(text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            groups.extend(around("/sys/fs/cgroup", path).filter_map(|group| open_version_2(&group)));
        } else if controllers.split(',').any(|one| one == "memory") {
            groups.extend(around("/sys/fs/cgroup/memory", path).filter_map(|group| open_version_1(&group)));
        }
    }
    groups
}

/// A group and those around it. A container may see its own group as the outermost one, under whatever name.
fn around(mount_point: &'static str, path: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let group = Path::new(mount_point).join(path);
    let all: Vec<_> = group.ancestors().take_while(|one| one.starts_with(mount_point)).map(Path::to_path_buf).collect();
    all.into_iter()
}

fn open_version_2(group: &Path) -> Option<Group> {
    let open = |name: &str| File::open(group.join(name)).ok();
    Some(Group {
        limits: vec![open("memory.max")?, open("memory.high")?],
        used: open("memory.current")?,
        statistics: open("memory.stat")?,
        pressure: open("memory.pressure"),
        of_files: ["active_file", "inactive_file"],
    })
}

fn open_version_1(group: &Path) -> Option<Group> {
    let open = |name: &str| File::open(group.join(name)).ok();
    Some(Group {
        limits: vec![open("memory.limit_in_bytes")?],
        used: open("memory.usage_in_bytes")?,
        statistics: open("memory.stat")?,
        pressure: None,
        of_files: ["total_active_file", "total_inactive_file"],
    })
}

/// What such a file says now; they say it anew to each read of their beginning.
fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 8192];
    let count = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..count]).ok().map(str::to_owned)
}

fn bytes_of_files(statistics: &str, names: &[&str]) -> u64 {
    let lines = statistics.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| names.contains(name)).filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum()
}

/// Hundredths of a percent in `full avg10=1.50 avg60=…`.
fn stalled(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix("full avg10="))?;
    let (whole, hundredths) = line.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?)
}

/// Tells of an episode when it begins, when it grows worse, and when it is over.
#[derive(Default)]
struct Teller {
    told: Option<(Level, Instant)>,
}

impl Teller {
    fn tell(&mut self, level: Level, used: Option<Use>, now: Instant) {
        let percent = used.map_or(0, |one| one.percent());
        let told = self.told.map_or(Level::Ample, |(level, _)| level);
        if level > told {
            let what = match level {
                Level::Scarce => "idle connections end and new ones are turned away until it is less",
                _ => "the cache gives back until it is less",
            };
            tracing::warn!("{percent} % of the memory that the control group may use is in use: {what}");
        }
        match (&mut self.told, level) {
            (None, Level::Ample) => {}
            (Some((_, last)), Level::Ample) => {
                if now.saturating_duration_since(*last) > QUIET {
                    tracing::info!(
                        "{percent} % of the memory that the control group may use is in use: all is as before"
                    );
                    self.told = None;
                }
            }
            (told, level) => *told = Some((level.max(told.map_or(level, |(worst, _)| worst)), now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_where_they_should() {
        for (used_bytes, stalled, expected) in [
            (0, 0, Level::Ample),
            (849, 0, Level::Ample),
            (850, 0, Level::Short),
            (929, 0, Level::Short),
            (930, 0, Level::Scarce),
            (2000, 0, Level::Scarce),
            (10, 10_00, Level::Ample),
            (10, 10_01, Level::Short),
        ] {
            assert_eq!(Use { used_bytes, limit_bytes: 1000, stalled }.level(), expected, "{used_bytes} {stalled}");
        }
        assert_eq!(Use { used_bytes: u64::MAX, limit_bytes: 0, stalled: 0 }.level(), Level::Scarce);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let statistics = "anon 5\nfile 70\nactive_file 30\ninactive_file 20\nshmem 20\n";
        assert_eq!(bytes_of_files(statistics, &["active_file", "inactive_file"]), 50);
        assert_eq!(bytes_of_files("", &["active_file"]), 0);
        for (text, expected) in [
            ("some avg10=2.00 avg60=0.00\nfull avg10=1.50 avg60=0.00 avg300=0.00 total=1\n", Some(150)),
            ("some avg10=2.00\n", None),
            ("full avg10=x\n", None),
            ("", None),
        ] {
            assert_eq!(stalled(text), expected, "{text:?}");
        }
        let names: Vec<_> = around("/sys/fs/cgroup", "a/b").collect();
        assert_eq!(
            names,
            [Path::new("/sys/fs/cgroup/a/b"), Path::new("/sys/fs/cgroup/a"), Path::new("/sys/fs/cgroup")]
        );
    }

    /// The episode is told of when it begins and when it grows worse; between them there is nothing to tell.
    #[test]
    fn an_episode_is_remembered_until_it_was_quiet_for_a_while() {
        let mut teller = Teller::default();
        let begun = Instant::now();
        for (seconds, level, told) in [
            (0, Level::Ample, None),
            (1, Level::Short, Some(Level::Short)),
            (2, Level::Scarce, Some(Level::Scarce)),
            (3, Level::Short, Some(Level::Scarce)),
            (5, Level::Ample, Some(Level::Scarce)),
            (9, Level::Ample, None),
        ] {
            teller.tell(level, None, begun + Duration::from_secs(seconds));
            assert_eq!(teller.told.map(|(level, _)| level), told, "{seconds}");
        }
    }
}
