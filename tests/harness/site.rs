//! Document roots: temporary directories with files of known content.
//!
//! A [`Site`] is a directory that holds `root`, which is served, and room beside it for what must
//! never be served.
//!
//! Invariant: nothing of a site is left when its test ends, however it ends.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A directory of one test, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new directory under `parent`.
    pub(crate) fn under(parent: &Path) -> Scratch {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("otus-httpd-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory for this test can be made");
        // Whatever the umask: servers that gave their rights up must come in.
        set_mode(&path, 0o755);
        Scratch(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that fails half-way may leave it in any state; there is nothing better to do.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A document root and its surroundings.
pub(crate) struct Site {
    scratch: Scratch,
}

impl Site {
    /// An empty document root on the file system of temporary files.
    pub(crate) fn new() -> Site {
        Site::under(&std::env::temp_dir())
    }

    /// An empty document root under `parent`.
    pub(crate) fn under(parent: &Path) -> Site {
        let site = Site { scratch: Scratch::under(parent) };
        site.directory("");
        site
    }

    /// The directory to serve.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// The directory around it, which nobody may reach.
    pub(crate) fn outside(&self) -> &Path {
        self.scratch.path()
    }

    /// The path of `name` in the root.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Makes the directory `name`, with those above it.
    pub(crate) fn directory(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a directory of the site can be made");
        set_mode(&path, 0o755);
        path
    }

    /// Writes the file `name`, with the directories above it.
    pub(crate) fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        self.directory(path.parent().expect("a file lies in a directory"));
        write(&path, content);
        path
    }

    /// Writes the file `name` with `length` bytes of [`pattern`], and returns them.
    pub(crate) fn pattern(&self, name: &str, length: usize) -> Vec<u8> {
        let content = pattern(length);
        self.file(name, &content);
        content
    }

    /// Makes a file of `length` zeros that takes no room on the disk.
    pub(crate) fn sparse(&self, name: &str, length: u64) -> PathBuf {
        let path = self.file(name, "");
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(length))
            .expect("a sparse file can be made");
        path
    }

    /// Makes the symbolic link `name`.
    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.path(name)).expect("a symbolic link can be made");
    }
}

/// Writes a file that everybody may read.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).expect("a file of the test can be written");
    set_mode(path, 0o644);
}

/// Sets the permissions of `path`.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions of our own file can be set");
}

/// Sets when the file was last modified, in seconds since 1970.
pub(crate) fn set_modified(path: &Path, unix_seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds);
    let file = File::options().write(true).open(path).expect("our own file can be opened");
    file.set_modified(time).expect("the time of our own file can be set");
}

/// `length` bytes without a short period, so that a part from a wrong place shows: 251 is prime,
/// so the period is in step with no block, and each block of 4 KiB begins with its number.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let cycle: Vec<u8> = (0..=250).cycle().take(251 + BLOCK_BYTES).collect();
    let mut bytes = Vec::with_capacity(length + BLOCK_BYTES);
    while bytes.len() < length {
        let start = bytes.len();
        bytes.extend_from_slice(&cycle[start % 251..][..BLOCK_BYTES]);
        bytes[start..][..8].copy_from_slice(&start.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

const BLOCK_BYTES: usize = 4096;
