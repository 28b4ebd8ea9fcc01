//! Listening sockets: one a worker for each address, with SO_REUSEPORT, so that the kernel spreads
//! the connections and no worker waits for another. Of a Unix socket there is one, which all workers share.
//!
//! Invariant: a port or a file that another program listens on is never shared or taken away in silence.

use super::{Address, Listen, Options, StartError};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The sockets of a server.
#[derive(Debug)]
pub struct Sockets {
    /// Where it listens.
    pub bound: Vec<Bound>,
    /// For each worker, its sockets, one an address, with the numbers of their listeners.
    pub of_workers: Vec<Vec<(usize, Socket)>>,
}

/// Where one listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its number.
    pub listener: usize,
    /// Its address, with the port that the kernel chose.
    pub address: Address,
}

/// Opens the sockets of all workers. Those in the file system are given to `owner`, a user and a group.
pub fn open(options: &Options, owner: Option<(u32, u32)>) -> Result<Sockets, StartError> {
    let backlog = backlog();
    let mut sockets = Sockets { bound: Vec::new(), of_workers: (0..options.workers).map(|_| Vec::new()).collect() };
    for (listener, listen) in options.listen.iter().enumerate() {
        let opened = match &listen.address {
            Address::Tcp(address) => open_tcp(*address, options.workers, backlog),
            Address::Unix(path) => open_unix(path, owner, options.workers, backlog),
        };
        match opened {
            Ok((address, of_address)) => {
                sockets.bound.push(Bound { listener, address });
                for (of_worker, socket) in sockets.of_workers.iter_mut().zip(of_address) {
                    of_worker.push((listener, socket));
                }
            }
            Err(error) if listen.optional && is_absent(&error) => {
                tracing::debug!("not listening on {}: {error}", listen.address);
            }
            Err(error) => {
                drop(SocketFiles::of(&sockets));
                return Err(explain(listen, &error));
            }
        }
    }
    if sockets.bound.is_empty() {
        return Err(StartError("no address to listen on; name one with --address".to_owned()));
    }
    Ok(sockets)
}

/// The files of Unix sockets, removed when this is dropped: while the sockets still listen, for the file of one that does
/// not is replaced by the next server, whose file it is then.
#[derive(Debug)]
pub struct SocketFiles(Vec<PathBuf>);

impl SocketFiles {
    /// Those of these sockets.
    pub fn of(sockets: &Sockets) -> SocketFiles {
        let path = |bound: &Bound| match &bound.address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path.clone()),
        };
        SocketFiles(sockets.bound.iter().filter_map(path).collect())
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            match std::fs::remove_file(path) {
                // Somebody may have removed it before; then there is nothing left to do.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    // In a directory of root's, whoever gave root's rights up may not; the next start replaces it.
                    tracing::debug!("unix:{}: the socket stays behind: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}

/// An address as it was bound, and a socket for each worker.
type Opened = (Address, Vec<Socket>);

fn open_tcp(address: SocketAddr, workers: usize, backlog: i32) -> std::io::Result<Opened> {
    patiently(|| probe(address))?;
    let mut bound = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = open_one(bound, backlog)?;
        // With port 0 the first socket is given a port, and the others share it.
        bound = socket.local_addr().ok().and_then(|address| address.as_socket()).unwrap_or(bound);
        sockets.push(socket);
    }
    Ok((Address::Tcp(bound), sockets))
}

/// Whoever may enter the directory of a socket may connect to it, as with other web servers.
const SOCKET_FILE_MODE: u32 = 0o666;

fn open_unix(path: &Path, owner: Option<(u32, u32)>, workers: usize, backlog: i32) -> std::io::Result<Opened> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    patiently(|| {
        remove_stale(path)?;
        socket.bind(&SockAddr::unix(path)?)
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_FILE_MODE))?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
    }
    socket.listen(backlog)?;
    // All workers share this one socket.
    let sockets = (0..workers).map(|_| socket.try_clone()).collect::<std::io::Result<_>>()?;
    Ok((Address::Unix(path.to_owned()), sockets))
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

/// How often an address that is in use is tried, and how long it is left alone between. A server that was killed leaves
/// its rings to the kernel, which closes them, and the listening sockets in them, a moment after
/// the process is gone: whoever restarts it at once would find the address taken by nobody.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

fn patiently(mut bind: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    for _ in 1..ATTEMPTS_MAX {
        match bind() {
            Err(error) if errno(&error) == Some(Errno::ADDRINUSE) => std::thread::sleep(ATTEMPT_PAUSE),
            settled => return settled,
        }
    }
    bind()
}

/// Binds once without SO_REUSEPORT. With it, a second server of the same user would share the
/// port in silence, and half of the requests would go to the wrong one.
fn probe(address: SocketAddr) -> std::io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    unbound(address)?.bind(&SockAddr::from(address))
}

fn open_one(address: SocketAddr, backlog: i32) -> std::io::Result<Socket> {
    let socket = unbound(address)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: one call here instead of one a connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn unbound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // So that a restart need not wait for the connections of the one before (TIME_WAIT).
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 are two addresses; whoever wants both names both.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The longest queue that the kernel grants.
fn backlog() -> i32 {
    let setting = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    setting.trim().parse().unwrap_or(4096)
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Whether the machine lacks the address or its whole family.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(errno(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn explain(listen: &Listen, error: &std::io::Error) -> StartError {
    match &listen.address {
        Address::Tcp(address) => explain_tcp(*address, error),
        Address::Unix(path) => explain_unix(path, error),
    }
}

fn explain_unix(path: &Path, error: &std::io::Error) -> StartError {
    let path = path.display();
    StartError(match errno(error) {
        Some(Errno::ADDRINUSE) => {
            format!("unix:{path}: another program listens there, or the file is no socket; remove it or choose another")
        }
        Some(Errno::NOENT | Errno::NOTDIR) => format!("unix:{path}: its directory does not exist; make it first"),
        Some(Errno::ACCESS | Errno::PERM) => {
            format!("unix:{path}: permission denied; let the server's user write to the directory")
        }
        _ => format!("unix:{path}: cannot listen: {error}"),
    })
}

fn explain_tcp(address: SocketAddr, error: &std::io::Error) -> StartError {
    let port = address.port();
    StartError(match errno(error) {
        Some(Errno::ADDRINUSE) => format!(
            "{address}: another program listens there (`ss -ltnp 'sport = :{port}'` names it); stop it, or choose \
             another port with --port"
        ),
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "{address}: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE, others do not \
             (--port 8080)"
        ),
        Some(Errno::ADDRNOTAVAIL) => {
            format!("{address}: this machine has no such address (`ip address` lists them); choose with --address")
        }
        Some(Errno::AFNOSUPPORT) => format!("{address}: the kernel has no IPv6; choose an IPv4 address with --address"),
        _ => format!("{address}: cannot listen: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_port_in_use_is_refused_even_when_it_could_be_shared() {
        let other = open_one(loopback(0), 16).expect("a free port");
        let address = other.local_addr().expect("bound").as_socket().expect("IPv4");
        let error = probe(address).expect_err("the port is in use");
        let message = explain_tcp(address, &error).to_string();
        assert!(message.contains("another program listens there"), "{message}");
        assert!(message.contains(&address.port().to_string()));
    }

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let listener = open_one(loopback(0), 16).expect("a free port");
        let address = listener.local_addr().expect("bound").as_socket().expect("IPv4");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        let (accepted, _) = listener.accept().expect("a client is there");
        assert!(accepted.tcp_nodelay().expect("a TCP socket"));
    }

    #[test]
    fn only_what_nobody_listens_on_is_taken_away() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of this test");
        let path = directory.join("socket");
        let (_, first) = open_unix(&path, None, 2, 16).expect("a new path");
        assert_eq!(first.len(), 2);
        assert!(open_unix(&path, None, 1, 16).is_err(), "somebody listens there");
        drop(first);
        assert!(open_unix(&path, None, 1, 16).is_ok(), "nobody listens there any more");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "precious").expect("a file of this test");
        assert!(open_unix(&path, None, 1, 16).is_err(), "it is no socket");
        assert_eq!(std::fs::read(&path).expect("it is still there"), b"precious");
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }
}
