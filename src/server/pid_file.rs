//! The file that says which process serves.
//!
//! Order: [`PidFile::claim`], while there are still the rights to make the file, and before anything is served · [`PidFile::write`],
//! once everything is · removed when it is dropped, if it still names this process.
//!
//! Invariant: root opens and gives away nothing but a regular file that has this one name, for the directory may be that of
//! the account which serves; and a number in it is believed only of a process that is a server like this one.

use super::StartError;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A pid file that is ours, or will be once we serve.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// Whether the file was made here, or names this process.
    is_ours: bool,
}

/// More than any number of a process has, with the end of its line.
const BYTES_MAX: usize = 16;

impl PidFile {
    /// Takes the file over from a process that is gone, or makes it; one that names a living server refuses the start. It will
    /// belong to `owner`, so that a successor may write it.
    pub fn claim(path: &Path, owner: Option<(u32, u32)>) -> Result<PidFile, StartError> {
        let claimed = PidFile::look(path)?;
        match named_by(&claimed.file).filter(|pid| is_server(*pid)) {
            None => claimed.given_to(owner),
            Some(pid) => Err(StartError(format!(
                "process {pid} serves already, as the pid file {} says; stop it, or name another with --pid-file",
                path.display()
            ))),
        }
    }

    /// The same for a process that takes over from the server which the file names.
    pub fn inherit(path: &Path, owner: Option<(u32, u32)>) -> Result<PidFile, StartError> {
        PidFile::look(path)?.given_to(owner)
    }

    fn look(path: &Path) -> Result<PidFile, StartError> {
        let another = "name another with --pid-file";
        let failed = |why: &dyn std::fmt::Display, remedy: &str| cannot_be_used(path, why, remedy);
        let path = &std::path::absolute(path).map_err(|error| failed(&error, another))?;
        let opened = open(path);
        let (file, is_ours) = opened.map_err(|errno| match errno {
            Errno::NOENT => failed(&"its directory is not there", "make the directory, which the server does not"),
            Errno::LOOP => failed(&"it is a symbolic link", another),
            errno => failed(&std::io::Error::from(errno), another),
        })?;
        let metadata = file.metadata().map_err(|error| failed(&error, another))?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(failed(&"it is not a file of its own", another));
        }
        Ok(PidFile { path: path.clone(), file, is_ours })
    }

    fn given_to(self, owner: Option<(u32, u32)>) -> Result<PidFile, StartError> {
        if let Some((user, group)) = owner {
            rustix::fs::fchown(&self.file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).map_err(|errno| {
                cannot_be_used(&self.path, &std::io::Error::from(errno), "name another with --pid-file")
            })?;
        }
        Ok(self)
    }

    /// Names this process in it, for whoever reads it from now on.
    pub fn write(&mut self) {
        match self.try_write() {
            Ok(()) => self.is_ours = true,
            Err(error) => tracing::warn!("the pid file {} cannot be written: {error}", self.path.display()),
        }
    }

    /// Leaves it to another process, whose number it holds or will hold.
    pub fn disown(&mut self) {
        self.is_ours = false;
    }

    /// In place: by now there may be no right to put another file there. The line is written at once, and a longer one before
    /// it leaves its rest for a moment only.
    fn try_write(&mut self) -> std::io::Result<()> {
        if !self.is_in_place() {
            self.file = open(&self.path)?.0;
        }
        let line = format!("{}\n", std::process::id());
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)
    }

    /// Whether the path still leads to this file.
    fn is_in_place(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let there = std::fs::symlink_metadata(&self.path).map(identity);
        there.is_ok() && there.ok() == self.file.metadata().map(identity).ok()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let named = named_by(&self.file);
        // Another process may have taken over, or the file been replaced.
        if !self.is_ours || !self.is_in_place() || named.is_some_and(|pid| pid != std::process::id()) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("the pid file {} stays behind, and is empty: {error}", self.path.display());
            // It is ours to write even where the directory is not.
            let _ = self.file.set_len(0);
        }
    }
}

fn cannot_be_used(path: &Path, why: &dyn std::fmt::Display, remedy: &str) -> StartError {
    StartError(format!("the pid file {} cannot be used: {why}; {remedy}", path.display()))
}

/// The file, and whether it was made here.
fn open(path: &Path) -> Result<(File, bool), Errno> {
    // Never waits, as for the writer of a FIFO.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened.map(|file| (file.into(), false)),
    }
    let file: File = rustix::fs::open(path, flags | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o644))?.into();
    Ok((file, true))
}

/// The process that a pid file names.
fn named_by(file: &File) -> Option<u32> {
    let mut bytes = [0; BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    text.lines().next()?.parse().ok().filter(|pid| *pid > 0)
}

/// Whether a process that lives is a server like this one.
fn is_server(pid: u32) -> bool {
    if pid == std::process::id() || pid == std::os::unix::process::parent_id() {
        // A number that was used again, as in containers, where each start has the same; or nearly so, that of who starts a daemon.
        return false;
    }
    let name =
        |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().trim_end_matches(" (deleted)").to_owned());
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(program) => name(program) == std::env::current_exe().ok().and_then(name),
        // That of somebody else, whose name may be read nevertheless.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "otus-httpd")
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path in a directory of the test's own.
    fn path(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("otus-httpd-pid-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the directory for temporary files can be written");
        directory.join("pid")
    }

    fn done(path: &Path) {
        std::fs::remove_dir_all(path.parent().expect("it is in a directory")).expect("it is the test's own");
    }

    #[test]
    fn it_is_there_while_the_process_serves() {
        let path = path("life");
        for stale in ["", "nonsense", "4194305\n", "0\n", &format!("{}\n", std::process::id())] {
            std::fs::write(&path, stale).expect("a file of the test's own");
            let mut file = PidFile::claim(&path, None).expect("nobody has it");
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), stale, "nothing is served yet");
            file.write();
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), format!("{}\n", std::process::id()));
            drop(file);
            assert!(!path.exists(), "after {stale:?}");
        }
        drop(PidFile::claim(&path, None).expect("nobody has it"));
        assert!(!path.exists(), "a start that failed leaves nothing");
        done(&path);
    }

    #[test]
    fn a_server_that_lives_keeps_it_from_all_but_its_successor() {
        let path = path("taken");
        // Whatever it does, its name is that of this program. Copied by another process: here, a thread that starts a program
        // meanwhile would have the copy open for writing.
        let name = std::env::current_exe().expect("a test is a program");
        let program = path.with_file_name(name.file_name().expect("it has a name"));
        let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.expect("every machine has cp").success());
        let mut other = std::process::Command::new(&program).arg("600").spawn().expect("it can be started");
        std::fs::write(&path, format!("{}\n", other.id())).expect("a file of the test's own");
        let error = PidFile::claim(&path, None).expect_err("it is taken").to_string();
        assert!(error.contains(&format!("process {} serves already", other.id())), "{error}");
        let successor = PidFile::inherit(&path, None).expect("it takes over");
        drop(successor);
        assert!(path.exists(), "a successor that failed leaves it");
        let mut successor = PidFile::inherit(&path, None).expect("it takes over");
        successor.write();
        std::fs::write(&path, format!("{}\n", other.id())).expect("a file of the test's own");
        drop(successor);
        assert!(path.exists(), "it names another by now");
        other.kill().expect("it is our child");
        // Not waited for yet: one that is dead and not buried does not serve.
        wait_for_end(other.id());
        assert!(PidFile::claim(&path, None).is_ok());
        other.wait().expect("it is our child");
        done(&path);
    }

    fn wait_for_end(pid: u32) {
        while std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_but_a_file_of_its_own_is_opened() {
        let path = path("other");
        let directory = path.parent().expect("it is in a directory");
        let refused = |path: &Path| PidFile::claim(path, None).expect_err("no pid file").to_string();
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a name of the test's own");
        assert!(refused(&path).contains("symbolic link"));
        let victim = directory.join("victim");
        std::fs::write(&victim, "1\n").expect("a file of the test's own");
        std::fs::hard_link(&victim, directory.join("linked")).expect("on one file system");
        assert!(refused(&directory.join("linked")).contains("not a file of its own"));
        assert!(refused(directory).contains("cannot be used"));
        assert!(refused(&directory.join("no/pid")).contains("make the directory"));
        assert_eq!(refused(&directory.join("no/pid")).lines().count(), 1);
        done(&path);
    }
}
