//! Listening sockets that were there before this process: of a socket unit, from systemd's descriptor store, or from the
//! process that it takes over from.
//!
//! Order: [`Pool::of_environment`] takes what systemd passes (sd_listen_fds(3)), `upgrade` adds what another process hands over ·
//! listeners take theirs out by address · [`Pool::finish`] tells of the rest and closes it.
//!
//! Invariant: a socket is known by what it listens on, never by its place in a list: the store gives its sockets back in
//! another order.

// Passed descriptors come as bare numbers; the one unsafe call is argued beside it.
#![allow(unsafe_code)]

use super::socket_file::SocketFile;
use super::{Address, StartError};
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use socket2::Socket;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// To whom a listening socket belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A socket unit of systemd's, which goes on listening without us.
    Unit,
    /// This server, in this process or in one before.
    Own,
}

/// A listening socket with what must be known to hand it on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: Socket,
    pub(super) origin: Origin,
    /// In systemd's store, where it is there; no other of ours has it.
    pub(super) name: String,
}

/// One that was passed to us, and where it listens.
#[derive(Debug)]
pub(super) struct Inherited {
    held: Held,
    address: Address,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Clients.
    Site,
    /// Administrators.
    Admin,
}

/// With this begin the names of our own sockets in systemd's store.
pub(super) const NAME_PREFIX: &str = "otus-httpd-";

/// With this the names of all that serve what a configuration names so.
fn prefix(named: &Address, role: Role) -> String {
    let role = match role {
        Role::Site => "",
        Role::Admin => "admin-",
    };
    // A colon would end the name in LISTEN_FDNAMES, and control characters are refused.
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    format!("{NAME_PREFIX}{role}{}-", named.to_string().chars().map(plain).collect::<String>())
}

/// A name for one more socket beside those that are `held` for the same listener.
pub(super) fn fresh_name(named: &Address, bound: &Address, role: Role, held: &[Held]) -> String {
    let port = match bound {
        Address::Tcp(address) => address.port(),
        Address::Unix(_) => 0,
    };
    let prefix = prefix(named, role);
    let names = (0..).map(|number: usize| format!("{prefix}{port}-{number}"));
    let mut free = names.filter(|name| !held.iter().any(|held| held.name == *name));
    free.next().expect("there is no end of numbers")
}

/// Whether it is one that [`fresh_name`] gives; a socket unit may be called `otus-httpd-tls.socket`, and its sockets with it.
fn is_own_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = name.rsplitn(3, '-');
    name.starts_with(NAME_PREFIX) && parts.by_ref().take(2).all(is_number) && parts.next().is_some()
}

/// Set while another process may still have to go on with what was inherited.
static IS_UNSETTLED: AtomicBool = AtomicBool::new(false);

/// Whether this process may yet fail, and what it inherited be another's: nothing of it is shut down or removed until then.
pub(super) fn is_unsettled() -> bool {
    IS_UNSETTLED.load(Ordering::Relaxed)
}

/// This process serves: what it inherited is its own from here on.
pub(super) fn settle() {
    IS_UNSETTLED.store(false, Ordering::Relaxed);
}

/// What was passed to this process and nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Pool {
    sockets: Vec<Inherited>,
    stored: Stored,
}

/// Names that systemd's store has.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Of sockets that listen.
    pub(super) good: Vec<String>,
    /// Of what no client can reach. Nothing else can be stored by such a name before it is taken out.
    pub(super) useless: Vec<String>,
}

impl Pool {
    /// What systemd passes. Only the first call gets something.
    pub(super) fn of_environment() -> Result<Pool, StartError> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        let mut pool = Pool::default();
        if IS_TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(pool);
        }
        let passed = sd_notify::listen_fds_with_names().map_err(|error| {
            StartError(format!(
                "LISTEN_FDS, LISTEN_FDNAMES: {error}; start the server by a systemd unit, or without these variables"
            ))
        })?;
        for (number, name) in passed {
            // SAFETY: the descriptor is open, for its flags were just set, and whoever started us left it to this process. Nothing
            // else takes it: nobody gets this far a second time.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            if name == PROBE_NAME {
                continue;
            }
            let is_ours = is_own_name(&name);
            let origin = if is_ours { Origin::Own } else { Origin::Unit };
            pool.add(descriptor, &name, origin, is_ours);
        }
        Ok(pool)
    }

    /// Adds a socket, if it is one that listens; else tells of it.
    pub(super) fn add(&mut self, descriptor: OwnedFd, name: &str, origin: Origin, is_stored: bool) {
        let is_good = self.add_good(descriptor, name, origin);
        if is_stored {
            let names = if is_good { &mut self.stored.good } else { &mut self.stored.useless };
            names.push(name.to_owned());
        }
    }

    /// Whether it is one that listens.
    fn add_good(&mut self, descriptor: OwnedFd, name: &str, origin: Origin) -> bool {
        let is_listening = socket_acceptconn(&descriptor).unwrap_or(false)
            && socket_type(&descriptor).is_ok_and(|kind| kind == SocketType::STREAM);
        let socket = Socket::from(descriptor);
        let address = address_of(&socket).filter(|_| is_listening);
        let Some(address) = address else {
            tracing::warn!("the inherited descriptor {name:?} is no stream socket that listens, and is closed");
            return false;
        };
        if let Err(error) = prepare(&socket, &address) {
            tracing::warn!("the inherited socket {name:?} cannot be prepared, and is closed: {error}");
            return false;
        }
        if let Address::Unix(path) = &address {
            if !is_socket(path) {
                tracing::warn!(
                    "the file of the inherited socket unix:{} is gone, and the socket is closed",
                    path.display()
                );
                return false;
            }
        }
        IS_UNSETTLED.store(true, Ordering::Relaxed);
        self.sockets.push(Inherited { held: Held { socket, origin, name: name.to_owned() }, address });
        true
    }

    /// Takes the sockets of a listener out, with the address that they are bound to.
    pub(super) fn take(&mut self, named: &Address, role: Role) -> Option<(Address, Vec<Held>)> {
        let found = self.sockets.iter().find(|one| one.serves(named, role));
        // Where IPv4 is asked for, and a socket of both is what there is, it is that.
        let found = found.or_else(|| self.sockets.iter().find(|one| is_dual_of(named, &one.address, &one.held.socket)));
        let bound = found?.address.clone();
        let (taken, rest) = self.sockets.drain(..).partition(|one| one.address == bound);
        self.sockets = rest;
        let taken: Vec<Inherited> = taken;
        Some((bound, taken.into_iter().map(|one| one.held).collect()))
    }

    /// Whether one takes connections to this address along with those of IPv6.
    pub(super) fn has_dual_of(&self, named: &Address) -> bool {
        let is_named = self.sockets.iter().any(|one| one.address == *named);
        !is_named && self.sockets.iter().any(|one| is_dual_of(named, &one.address, &one.held.socket))
    }

    /// Whether one that nobody has taken yet has this port: until it is closed, no other program can have it.
    pub(super) fn holds_port(&self, port: u16) -> bool {
        self.sockets.iter().any(|one| matches!(&one.address, Address::Tcp(bound) if bound.port() == port))
    }

    /// Tells of what nobody has taken, and closes it; gives the names that systemd's store has, and the files that are of no use now.
    pub(super) fn finish(&mut self) -> (Stored, Vec<SocketFile>) {
        let mut files = Vec::new();
        for Inherited { held, address } in self.sockets.drain(..) {
            match held.origin {
                Origin::Unit => tracing::warn!(
                    "{address} comes from the socket unit {:?}, and no `listen` names it: nobody serves it; add it to \
                     `listen`, or take it out of the unit",
                    held.name
                ),
                // It goes on where another process serves it still, so it is closed and not shut down.
                Origin::Own => {
                    tracing::debug!("{address} is not listened on any more");
                    files.extend(SocketFile::of(&address));
                }
            }
        }
        let mut stored = std::mem::take(&mut self.stored);
        // All that has a name is taken out together.
        stored.good.retain(|name| !stored.useless.contains(name));
        (stored, files)
    }
}

impl Inherited {
    fn serves(&self, named: &Address, role: Role) -> bool {
        match (&self.address, named) {
            // The kernel chose the port, and the name tells for whom.
            (Address::Tcp(bound), Address::Tcp(wanted)) if wanted.port() == 0 => {
                bound.ip() == wanted.ip() && self.held.name.starts_with(&prefix(named, role))
            }
            (bound, wanted) => bound == wanted,
        }
    }
}

/// The name of what is put into systemd's store only to see whether there is one.
pub(super) const PROBE_NAME: &str = "otus-httpd-probe";

/// Whether `socket`, bound to `bound`, takes the connections to `named` too: one of IPv6 for all addresses, and not for those alone.
pub(super) fn is_dual_of(named: &Address, bound: &Address, socket: &Socket) -> bool {
    let (Address::Tcp(named), Address::Tcp(bound)) = (named, bound) else { return false };
    named.ip() == Ipv4Addr::UNSPECIFIED && *bound == dual(named.port()) && is_dual(socket)
}

/// Where a socket of both families is bound.
pub(super) fn dual(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// Whether a socket of IPv6 takes connections of IPv4 too.
pub(super) fn is_dual(socket: &Socket) -> bool {
    socket.only_v6().is_ok_and(|is_only| !is_only)
}

fn address_of(socket: &Socket) -> Option<Address> {
    let address = socket.local_addr().ok()?;
    let tcp = address.as_socket().map(Address::Tcp);
    tcp.or_else(|| address.as_pathname().map(|path| Address::Unix(PathBuf::from(path))))
}

/// What is done to a socket of ours when it is opened.
fn prepare(socket: &Socket, address: &Address) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    match address {
        // Accepted sockets inherit it.
        Address::Tcp(_) => socket.set_tcp_nodelay(true),
        Address::Unix(_) => Ok(()),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn add(pool: &mut Pool, listener: TcpListener, name: &str) -> SocketAddr {
        let address = listener.local_addr().expect("it is bound");
        pool.add(listener.into(), name, Origin::Unit, false);
        address
    }

    #[test]
    fn sockets_are_known_by_their_addresses() {
        let mut pool = Pool::default();
        let bind = |address: &str| TcpListener::bind(address).expect("some port is free");
        let first = add(&mut pool, bind("127.0.0.1:0"), "a");
        let second = add(&mut pool, bind("127.0.0.1:0"), "a");
        pool.add(UdpSocket::bind("127.0.0.1:0").expect("some port is free").into(), "udp", Origin::Unit, false);
        pool.add(std::fs::File::open("/dev/null").expect("it is there").into(), "null", Origin::Unit, false);
        assert_eq!(pool.sockets.len(), 2, "what does not listen is left out");
        let (bound, held) = pool.take(&Address::Tcp(second), Role::Site).expect("it is there");
        assert_eq!((bound, held.len()), (Address::Tcp(second), 1));
        assert!(held[0].socket.tcp_nodelay().expect("TCP"));
        assert!(pool.take(&Address::Tcp(second), Role::Site).is_none());
        assert!(pool.take(&Address::Tcp("127.0.0.1:0".parse().expect("an address")), Role::Site).is_none());
        assert!(pool.take(&Address::Tcp(first), Role::Site).is_some());
    }

    #[test]
    fn a_socket_of_both_families_serves_the_address_of_ipv4_too() {
        let mut pool = Pool::default();
        // Without IPv6 there is none.
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let port = add(&mut pool, listener, "dual").port();
        let ipv4 = Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        assert!(pool.has_dual_of(&ipv4));
        assert!(!pool.has_dual_of(&Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))));
        assert_eq!(pool.take(&ipv4, Role::Site).expect("it is there").0, Address::Tcp(dual(port)));
        assert!(!pool.has_dual_of(&ipv4));
    }

    #[test]
    fn names_are_what_systemd_takes_and_differ() {
        let named = Address::Tcp("[::1]:80".parse().expect("an address"));
        let mut held = Vec::new();
        for _ in 0..3 {
            let name = fresh_name(&named, &named, Role::Site, &held);
            assert!(name.starts_with(NAME_PREFIX) && name.len() < 256, "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{name}");
            assert!(!held.iter().any(|held: &Held| held.name == name), "{name}");
            assert!(is_own_name(&name), "{name}");
            let socket = Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
            held.push(Held { socket, origin: Origin::Own, name });
        }
        let other = held.remove(1).name;
        assert_eq!(fresh_name(&named, &named, Role::Site, &held), other, "the one that is free");
        assert_ne!(prefix(&named, Role::Site), prefix(&named, Role::Admin));
        for of_unit in ["otus-httpd.socket", "otus-httpd-tls.socket", "otus-httpd-tls", "otus-httpd-80", "web-80-0"] {
            assert!(!is_own_name(of_unit), "{of_unit}");
        }
    }
}
