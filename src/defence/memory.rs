//! How near the limit of memory is that the process's control group has: looked at once a second, by a thread of its own.
//!
//! What counts is what the kernel cannot take back by itself: use less the pages of files, and less what it remembers of names and files
//! (reclaimable slab), which it drops when it needs the room. A group that only holds the page cache of what was read is full all the time,
//! and so is one that was asked for very many names that do not exist: nothing is wrong with either.
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
    /// [`Level::Short`] where some of it may be what the kernel can take back: nobody is turned away for that.
    level_max: Level,
}

impl Use {
    fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.used_bytes) * 100 / u128::from(self.limit_bytes.max(1))).unwrap_or(u64::MAX)
    }

    fn level(&self) -> Level {
        let level = match self.percent() {
            SCARCE_PERCENT.. => Level::Scarce,
            SHORT_PERCENT.. => Level::Short,
            _ if self.stalled > STALLED_MAX => Level::Short,
            _ => Level::Ample,
        };
        level.min(self.level_max)
    }
}

/// The files of a control group that has a limit, or may be given one.
struct Group {
    limits: Vec<File>,
    used: File,
    statistics: File,
    pressure: Option<File>,
    /// The lines of `statistics` that count what the kernel can take back.
    reclaimable: &'static [&'static str],
    slab: Slab,
}

/// Where a group says how much the kernel remembers of names and files.
enum Slab {
    /// Among what is `reclaimable`.
    InStatistics,
    /// In a file for all that the kernel holds for the group, most of which is that (version 1).
    InFile(File),
    /// Nowhere (version 1).
    Unknown,
}

impl Slab {
    /// What this adds to the lines of the statistics.
    fn look(&self) -> Option<u64> {
        match self {
            Slab::InStatistics => Some(0),
            Slab::InFile(file) => read(file)?.trim().parse().ok(),
            Slab::Unknown => None,
        }
    }
}

/// A limit above this is none (version 1 says it so).
const LIMIT_BYTES_MAX: u64 = 1 << 60;

impl Group {
    fn look(&self) -> Option<Use> {
        let limits = self.limits.iter().filter_map(|limit| read(limit)?.trim().parse().ok());
        let limit_bytes = limits.filter(|limit| *limit < LIMIT_BYTES_MAX).min()?;
        let used: u64 = read(&self.used)?.trim().parse().ok()?;
        let reclaimable = sum_of(&read(&self.statistics)?, self.reclaimable);
        let slab = self.slab.look();
        let level_max = if slab.is_some() { Level::Scarce } else { Level::Short };
        let stalled = self.pressure.as_ref().and_then(|file| stalled(&read(file)?)).unwrap_or(0);
        let used_bytes = used.saturating_sub(reclaimable).saturating_sub(slab.unwrap_or(0));
        Some(Use { used_bytes, limit_bytes, stalled, level_max })
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
        reclaimable: &["active_file", "inactive_file", "slab_reclaimable"],
        slab: Slab::InStatistics,
    })
}

fn open_version_1(group: &Path) -> Option<Group> {
    let open = |name: &str| File::open(group.join(name)).ok();
    Some(Group {
        limits: vec![open("memory.limit_in_bytes")?],
        used: open("memory.usage_in_bytes")?,
        statistics: open("memory.stat")?,
        pressure: None,
        reclaimable: &["total_active_file", "total_inactive_file"],
        slab: open("memory.kmem.usage_in_bytes").map_or(Slab::Unknown, Slab::InFile),
    })
}

/// What such a file says now; they say it anew to each read of their beginning.
fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 8192];
    let count = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..count]).ok().map(str::to_owned)
}

fn sum_of(statistics: &str, names: &[&str]) -> u64 {
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
            let one = Use { used_bytes, limit_bytes: 1000, stalled, level_max: Level::Scarce };
            assert_eq!(one.level(), expected, "{used_bytes} {stalled}");
            let uncertain = Use { level_max: Level::Short, ..one };
            assert_eq!(uncertain.level(), expected.min(Level::Short), "{used_bytes} {stalled}");
        }
        let unlimited = Use { used_bytes: u64::MAX, limit_bytes: 0, stalled: 0, level_max: Level::Scarce };
        assert_eq!(unlimited.level(), Level::Scarce);
    }

    /// Who asks for very many names that do not exist fills the group with what the kernel remembers of them.
    #[test]
    fn names_that_the_kernel_remembers_are_not_in_use() {
        let files_of_version_2 = |slab: u64| {
            vec![
                ("memory.max", "1000".to_owned()),
                ("memory.high", "max".to_owned()),
                ("memory.current", "990".to_owned()),
                (
                    "memory.stat",
                    format!("active_file 30\ninactive_file 20\nslab_reclaimable {slab}\nslab_unreclaimable 9\n"),
                ),
            ]
        };
        let files_of_version_1 = |kernel: Option<u64>| {
            let mut files = vec![
                ("memory.limit_in_bytes", "1000\n".to_owned()),
                ("memory.usage_in_bytes", "990\n".to_owned()),
                ("memory.stat", "active_file 1\ntotal_active_file 30\ntotal_inactive_file 20\n".to_owned()),
            ];
            files.extend(kernel.map(|bytes| ("memory.kmem.usage_in_bytes", format!("{bytes}\n"))));
            files
        };
        type Open = fn(&Path) -> Option<Group>;
        let (version_1, version_2): (Open, Open) = (open_version_1, open_version_2);
        let directory = std::env::temp_dir().join(format!("otus-memory-{}", std::process::id()));
        for (number, (open, files, used_bytes, level)) in [
            (version_2, files_of_version_2(800), 140, Level::Ample),
            (version_2, files_of_version_2(0), 940, Level::Scarce),
            (version_1, files_of_version_1(Some(800)), 140, Level::Ample),
            (version_1, files_of_version_1(Some(0)), 940, Level::Scarce),
            (version_1, files_of_version_1(None), 940, Level::Short),
        ]
        .into_iter()
        .enumerate()
        {
            let group = directory.join(number.to_string());
            std::fs::create_dir_all(&group).expect("a temporary directory");
            for (name, text) in files {
                std::fs::write(group.join(name), text).expect("a temporary file");
            }
            let use_now = open(&group).and_then(|group| group.look()).expect("the group has a limit");
            assert_eq!((use_now.used_bytes, use_now.level()), (used_bytes, level), "{number}");
        }
        let _ = std::fs::remove_dir_all(directory);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let statistics = "anon 5\nfile 70\nactive_file 30\ninactive_file 20\nshmem 20\n";
        assert_eq!(sum_of(statistics, &["active_file", "inactive_file"]), 50);
        assert_eq!(sum_of("", &["active_file"]), 0);
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
