//! Listening sockets: one a worker for each address, with SO_REUSEPORT, so that the kernel spreads
//! the connections and no worker waits for another.
//!
//! Invariant: a port that another program listens on is never shared in silence.

use super::{Listen, Options, StartError};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::SocketAddr;
use std::time::Duration;

/// The sockets of a server.
#[derive(Debug)]
pub struct Sockets {
    /// The addresses, with the ports that the kernel chose.
    pub addresses: Vec<SocketAddr>,
    /// For each worker, its sockets, one an address.
    pub of_workers: Vec<Vec<Socket>>,
}

/// Opens the sockets of all workers.
pub fn open(options: &Options) -> Result<Sockets, StartError> {
    let backlog = backlog();
    let mut sockets = Sockets { addresses: Vec::new(), of_workers: (0..options.workers).map(|_| Vec::new()).collect() };
    for listen in &options.listen {
        match probe_patiently(listen.address) {
            Ok(()) => {}
            Err(error) if listen.optional && is_absent(&error) => {
                tracing::debug!("not listening on {}: {error}", listen.address);
                continue;
            }
            Err(error) => return Err(explain(listen, &error)),
        }
        let mut bound = listen.address;
        for of_worker in &mut sockets.of_workers {
            let socket = open_one(bound, backlog).map_err(|error| explain(listen, &error))?;
            // With port 0 the first socket is given a port, and the others share it.
            bound = socket.local_addr().ok().and_then(|address| address.as_socket()).unwrap_or(bound);
            of_worker.push(socket);
        }
        sockets.addresses.push(bound);
    }
    if sockets.addresses.is_empty() {
        return Err(StartError("no address to listen on; name one with --address".to_owned()));
    }
    Ok(sockets)
}

/// How long a port that is in use is tried again, and how often. A server that was killed leaves
/// its rings to the kernel, which closes them, and the listening sockets in them, a moment after
/// the process is gone: whoever restarts it at once would find the port taken by nobody.
const PROBES_MAX: u32 = 20;
const PROBE_PAUSE: Duration = Duration::from_millis(50);

fn probe_patiently(address: SocketAddr) -> std::io::Result<()> {
    for _ in 1..PROBES_MAX {
        match probe(address) {
            Err(error) if errno(&error) == Some(Errno::ADDRINUSE) => std::thread::sleep(PROBE_PAUSE),
            settled => return settled,
        }
    }
    probe(address)
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
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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
    let address = listen.address;
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
        let listen = Listen { address, optional: false };
        let message = explain(&listen, &error).to_string();
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
}
