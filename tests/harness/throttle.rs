//! A control group whose processes may read from a disk a few times a second only.
//!
//! Invariant: only the processes of the group are slowed down, and when it goes, none of them waits any more.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A control group of the test's own.
pub(crate) struct Throttle {
    group: PathBuf,
    version: Version,
    /// The disk, as `MAJOR:MINOR`.
    device: String,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Throttle {
    /// A group that can slow down the disk on which `path` lies; says why there is none.
    pub(crate) fn on_device_of(path: &Path) -> Result<Throttle, String> {
        let device = disk_of(path)?;
        let (parent, version) = hierarchy()?;
        let group = parent.join(format!("otus-httpd-test-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("no control group can be made: {error}"))?;
        let throttle = Throttle { group, version, device };
        // Said once with what slows nobody down, so that it is known whether it can be said.
        throttle.set("1000000")?;
        Ok(throttle)
    }

    /// A command that starts what follows it in the group.
    pub(crate) fn wrapper(&self) -> Vec<OsString> {
        let join = format!("echo $$ > '{}' && exec \"$@\"", self.group.join("cgroup.procs").display());
        ["sh", "-c", &join, "sh"].map(OsString::from).into()
    }

    /// Allows so many reads a second.
    pub(crate) fn reads_a_second(&mut self, count: u32) -> Result<(), String> {
        self.set(&count.to_string())
    }

    /// Allows any number, to those that wait too.
    pub(crate) fn lift(&mut self) {
        let unlimited = match self.version {
            Version::One => "0",
            Version::Two => "max",
        };
        self.set(unlimited).expect("a limit that could be set can be lifted");
    }

    fn set(&self, count: &str) -> Result<(), String> {
        let (file, line) = match self.version {
            Version::One => (V1_FILE, format!("{} {count}", self.device)),
            Version::Two => ("io.max", format!("{} riops={count}", self.device)),
        };
        fs::write(self.group.join(file), line).map_err(|error| format!("{file} cannot be set: {error}"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // A server that fails its test ends only when its reads do; the group goes when the last process has.
        let unlimited = if matches!(self.version, Version::One) { "0" } else { "max" };
        let _ = self.set(unlimited);
        let _ = fs::remove_dir(&self.group);
    }
}

const V1_FILE: &str = "blkio.throttle.read_iops_device";

/// Where control groups for disks are made.
fn hierarchy() -> Result<(PathBuf, Version), String> {
    let v1 = Path::new("/sys/fs/cgroup/blkio");
    if v1.join(V1_FILE).exists() || v1.join("cgroup.procs").exists() {
        return Ok((v1.to_owned(), Version::One));
    }
    let v2 = Path::new("/sys/fs/cgroup");
    let delegated = fs::read_to_string(v2.join("cgroup.subtree_control")).unwrap_or_default();
    match delegated.split_whitespace().any(|controller| controller == "io") {
        true => Ok((v2.to_owned(), Version::Two)),
        false => Err("no control groups for disks (blkio, or io in cgroup.subtree_control)".to_owned()),
    }
}

/// The whole disk under the file system of `path`: the kernel limits no partitions.
fn disk_of(path: &Path) -> Result<String, String> {
    let number = fs::metadata(path).map_err(|error| error.to_string())?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let link = fs::canonicalize(&device).map_err(|_| format!("{} lies on no disk", path.display()))?;
    let disk = match link.join("partition").exists() {
        true => link.parent().expect("a partition lies in its disk").to_owned(),
        false => link,
    };
    let number = fs::read_to_string(disk.join("dev")).map_err(|error| error.to_string())?;
    Ok(number.trim().to_owned())
}
