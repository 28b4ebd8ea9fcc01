//! What the threads of workers may reach: Landlock, where the kernel has it.
//!
//! A worker's thread confines itself before its executor is made, so that the threads of its pool are confined as well
//! ([`Sandbox::enter`]). Beneath the document roots and `sandbox_read` it may read, beside the password files too, and it may
//! write into the file system in memory, which no path leads to. It may not bind nor connect, nor signal
//! another process. The supervisor and the log's writer stay as they are: they read configurations, bind and open logs.
//!
//! Threads share their memory: this stops paths and links that lead where they should not, and not code that was injected.
//!
//! Invariant: what a worker may reach is decided by the configuration, once, when its thread starts, and only ever shrinks.

use super::Options as ServerOptions;
use crate::storage::memory;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{Mode as FileMode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Whether workers are confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As far as the kernel knows how to.
    #[default]
    On,
    /// Not at all.
    Off,
}

/// What the configuration says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether there is one.
    pub mode: Mode,
    /// Directories that may be read beside the document roots.
    pub read: Vec<PathBuf>,
}

/// What workers may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Directories whose files may be read and listed, without symbolic links in them.
    served: Vec<PathBuf>,
    /// Directories whose files may be read: those of password files, which are replaced by others of their name.
    read: Vec<PathBuf>,
}

/// The newest kernel interface that this was tried with; of older kernels, what they have is used.
const NEWEST: ABI = ABI::V7;

impl Sandbox {
    /// The sandbox of these options; none where there is to be none. Asks the disk where links lead to: not for an executor.
    pub fn of(options: &ServerOptions) -> Option<Sandbox> {
        if options.sandbox.mode == Mode::Off {
            return None;
        }
        let directories = options.roots().into_iter().chain(options.sandbox.read.iter().map(PathBuf::as_path));
        let served = resolved(directories.map(Path::to_owned));
        // By the directory of its name, and by that of the file that a link leads to.
        let files = options.password_files().into_iter();
        let beside = files.flat_map(|file| [Some(file.to_owned()), std::fs::canonicalize(file).ok()]).flatten();
        let read = resolved(beside.filter_map(|file| directory_of(&file)));
        Some(Sandbox { served, read })
    }

    /// Whether what is at `path` now, and whatever a link there leads to, may be read by workers that are in it.
    pub fn covers(&self, path: &Path) -> bool {
        let Ok(path) = std::fs::canonicalize(path) else { return false };
        let is_directory = path.is_dir();
        self.served.iter().any(|directory| path.starts_with(directory))
            || (!is_directory && self.read.iter().any(|directory| path.starts_with(directory)))
    }

    /// Confines this thread, and all that it starts from here on, for good. Says whether the kernel does it.
    pub fn enter(&self) -> Result<bool, String> {
        let status = self
            .restrict()
            .map_err(|error| format!("its thread cannot be confined: {error}; `sandbox = \"off\"` does without"))?;
        Ok(matches!(status.landlock, LandlockStatus::Available { .. }))
    }

    fn restrict(&self) -> Result<RestrictionStatus, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        let rules = [(&self.served, AccessFs::ReadFile | AccessFs::ReadDir), (&self.read, AccessFs::ReadFile.into())];
        for (directories, access) in rules {
            for directory in directories.iter().filter_map(|path| open(path)) {
                ruleset = ruleset.add_rule(PathBeneath::new(directory, access))?;
            }
        }
        if let Some(mount) = memory::mounted() {
            ruleset = ruleset.add_rule(PathBeneath::new(mount.as_fd(), content_access()))?;
        }
        ruleset.restrict_self()
    }
}

/// Content in memory is made, given its length, written, and then opened for reading.
fn content_access() -> BitFlags<AccessFs> {
    AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::ReadFile
}

/// Absolute, and without links, as they are now. What is not there cannot be read: the start tells of it elsewhere.
fn resolved(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut paths: Vec<_> = paths.filter_map(|path| std::fs::canonicalize(path).ok()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn directory_of(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

/// A descriptor that names a directory. One that vanished meanwhile, or that this user may not reach, is left out.
fn open(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, FileMode::empty()).ok()
}

/// The state of the sandbox, for people: `on, ABI 7`, or why it is off.
pub fn describe(options: &Options) -> String {
    if options.mode == Mode::Off {
        return "off: by configuration".to_owned();
    }
    match kernel() {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            format!("on, ABI {}", kernel_abi.unwrap_or(*effective_abi as i32))
        }
        LandlockStatus::NotEnabled => "off: the kernel has it, and was started without (lsm=landlock,…)".to_owned(),
        LandlockStatus::NotImplemented => "off: the kernel has none, or a seccomp filter denies it".to_owned(),
    }
}

/// Whether there should be a sandbox, and the kernel has none.
pub fn is_wanting(options: &Options) -> bool {
    options.mode == Mode::On && !matches!(kernel(), LandlockStatus::Available { .. })
}

/// What the kernel can do.
fn kernel() -> &'static LandlockStatus {
    static STATUS: OnceLock<LandlockStatus> = OnceLock::new();
    STATUS.get_or_init(|| {
        // The way to learn it is to be confined, and so a thread is, which has nothing else to do.
        let confined = || Sandbox { served: Vec::new(), read: Vec::new() }.restrict().map(|status| status.landlock);
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(confined);
        let status = thread.ok().and_then(|thread| thread.join().ok()).and_then(Result::ok);
        status.unwrap_or(LandlockStatus::NotImplemented)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something in a thread that is confined to `served`; nothing where the kernel has no Landlock.
    fn confined<T: Send>(served: &[&Path], read: &[&Path], act: impl FnOnce() -> T + Send) -> Option<T> {
        let owned = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
        let sandbox = Sandbox { served: owned(served), read: owned(read) };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| sandbox.enter().expect("it can be entered").then(act));
            thread.join().expect("it does not panic")
        })
    }

    #[test]
    fn a_confined_thread_reads_what_is_served_and_nothing_else() {
        let place = std::env::temp_dir().join(format!("otus-httpd-sandbox-{}", std::process::id()));
        let (served, beside) = (place.join("served"), place.join("beside"));
        for directory in [&served, &beside] {
            std::fs::create_dir_all(directory).expect("a directory of this test");
            std::fs::write(directory.join("file"), "x").expect("a file of this test");
        }
        let outcome = confined(&[&served], &[&beside], || {
            let may_read = |path: &Path| std::fs::read(path).is_ok();
            let may_list = |path: &Path| std::fs::read_dir(path).is_ok();
            assert!(may_read(&served.join("file")) && may_list(&served));
            assert!(may_read(&beside.join("file")) && !may_list(&beside));
            assert!(!may_list(&place) && !may_read(Path::new("/etc/passwd")));
            assert!(std::fs::write(served.join("new"), "x").is_err(), "nothing is written");
            let memory = memory::mounted().map(|mount| {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                rustix::fs::openat(mount, c".", flags, FileMode::RUSR).is_ok()
            });
            assert_ne!(memory, Some(false), "but for content in memory");
        });
        let _ = std::fs::remove_dir_all(&place);
        if outcome.is_none() {
            eprintln!("skipped: a confined thread: {}", describe(&Options::default()));
        }
    }

    #[test]
    fn what_is_covered_is_told_by_where_it_is() {
        let sandbox = Sandbox { served: vec!["/usr".into()], read: vec!["/etc".into()] };
        for (path, expected) in [
            ("/usr", true),
            ("/usr/lib", true),
            ("/usr/../usr/lib", true),
            ("/etc/passwd", true),
            ("/etc", false),
            ("/usr/../etc", false),
            ("/", false),
            ("/no/such/file", false),
            ("/dev/null", false),
        ] {
            assert_eq!(sandbox.covers(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn its_state_is_told() {
        assert_eq!(describe(&Options { mode: Mode::Off, read: Vec::new() }), "off: by configuration");
        let state = describe(&Options::default());
        assert!(state.starts_with("on, ABI ") || state.starts_with("off: the kernel"), "{state}");
        assert_eq!(confined(&[], &[], || ()).is_some(), state.starts_with("on"));
    }
}
