//! The files of Unix sockets: made with their mode, given to whoever serves, removed.
//!
//! Invariant: root changes by a name nothing but a socket. Whoever may write to the directory, as a service's user may, could
//! have put a link there by then.

use super::{Address, inherit};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use socket2::{Domain, SockAddr, Socket, Type};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file of a Unix socket, removed when this is dropped: while the socket still listens, for the file of one that does
/// not is replaced by the next server, whose file it is then.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    /// That of a socket which is bound to this address.
    pub(super) fn of(address: &Address) -> Option<SocketFile> {
        match address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(SocketFile(path.clone())),
        }
    }
}

impl SocketFile {
    /// Leaves it to another process, which goes on with the socket.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() || inherit::is_unsettled() {
            return;
        }
        match std::fs::remove_file(&self.0) {
            // Somebody may have removed it before; then there is nothing left to do.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // In a directory of root's, whoever gave root's rights up may not; the next start replaces it.
                tracing::debug!("unix:{}: the socket stays behind: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

/// Binds a socket, whose file is made with this mode; one that nobody listens on any more makes room.
pub(super) fn bind(socket: &Socket, path: &Path, mode: u32) -> std::io::Result<()> {
    // bind(2) makes the file with the mode that its socket has. Afterwards it could be changed by its name only.
    rustix::fs::fchmod(socket, Mode::from_raw_mode(mode))?;
    remove_stale(path)?;
    bind_unmasked(socket, &SockAddr::unix(path)?)
}

/// Binds without a umask. That is the whole process's, so this is for start-up and the supervisor's thread; of what
/// other threads make, a mode of its own says who may read it.
fn bind_unmasked(socket: &Socket, address: &SockAddr) -> std::io::Result<()> {
    static UNMASKED: Mutex<()> = Mutex::new(());
    let _one_at_a_time = UNMASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let mask = rustix::process::umask(Mode::empty());
    let outcome = socket.bind(address);
    rustix::process::umask(mask);
    outcome
}

/// Gives the file of a socket away; done by root, in a directory that the new owner may write to already. What else may have
/// been put there by now, a link above all, is left alone.
pub(super) fn give(path: &Path, user: u32, group: u32) -> std::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Socket {
        return Err(std::io::Error::other("its file was replaced by something else"));
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    Ok(rustix::fs::chownat(&file, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
}

/// Removes the file of a socket on which nobody listens any more: a server that was killed left it. A file that is no
/// socket stays, and so does one that somebody listens on; binding then fails.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Where somebody listens who does not get round to accepting, a blocking one would wait in the queue.
        client.set_nonblocking(true)?;
        match client.connect(&SockAddr::unix(path)?) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_took_the_place_of_a_socket_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-given-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of this test");
        let path = directory.join("socket");
        let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        for mode in [0o666, 0o660, 0o600] {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            bind(&socket, &path, mode).expect("nobody listens there");
            give(&path, user, group).expect("they are ours");
            let metadata = std::fs::metadata(&path).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "whatever the umask");
        }
        let target = directory.join("target");
        std::fs::rename(&path, &target).expect("it is there");
        std::os::unix::fs::symlink(&target, &path).expect("a new path");
        assert!(give(&path, user, group).is_err(), "a link, if only to a socket");
        assert!(give(&target, user, group).is_ok());
        std::fs::write(directory.join("file"), "").expect("a file of this test");
        assert!(give(&directory.join("file"), user, group).is_err(), "a file");
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }
}
