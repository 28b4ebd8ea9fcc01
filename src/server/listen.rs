//! Listening sockets: one a worker for each address, with SO_REUSEPORT, so that the kernel spreads
//! the connections and no worker waits for another. Of a Unix socket there is one, which all workers share.
//!
//! Sockets that were there before this process (`inherit`) are taken up instead, however many there are of them.
//!
//! Order: [`Listeners::prepare`] opens what is new · whoever is concerned agrees · [`Listeners::apply`] takes it in and closes
//! what is gone.
//!
//! Invariant: a port or a file that another program listens on is never shared or taken away in silence.

use super::explain::{errno, explain, explain_tcp, explain_unix, is_absent};
use super::inherit::{self, Held, Origin, Pool, Role};
use super::socket_file::{self, SocketFile};
use super::{Address, Listen, Options, StartError};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The listeners of a server, by their numbers. A number stays with an address for as long as it is listened on, also where
/// a reload puts others before it. It is not given to the next one afterwards: connections of the former may live for long.
#[derive(Debug, Default)]
pub struct Listeners {
    open: BTreeMap<u16, Listener>,
    /// The number to give out next, if it is free. It moves on also where a change comes to nothing: a worker may have served it.
    next: Cell<u16>,
    /// What was there before this process, and is not taken yet.
    inherited: RefCell<Pool>,
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens, with the port that the kernel chose.
    pub bound: Address,
    /// As the configuration names it; with port 0 it is another than `bound`.
    named: Address,
    /// Removed before the sockets are closed: see [`SocketFile`].
    file: Option<SocketFile>,
    /// Whatever their number, each is read by a worker.
    sockets: Vec<Held>,
    workers: usize,
}

/// A socket as a worker accepts from it.
#[derive(Debug)]
pub struct Way {
    /// A copy, so that the queue outlives a worker that died.
    pub socket: Socket,
    /// Another process listens on it too, and goes on when this one does not.
    pub is_lent: bool,
}

/// What a change of the listeners is about, before any of it takes effect.
#[derive(Debug)]
pub struct Change {
    /// For each listener of the options, its number; none where the machine lacks a default address.
    pub numbers: Vec<Option<u16>>,
    /// Those that are new.
    opened: Vec<(u16, Listener)>,
}

impl Listeners {
    /// None yet; those of the pool are taken up before others are opened.
    pub(super) fn inheriting(pool: Pool) -> Listeners {
        Listeners { inherited: RefCell::new(pool), ..Listeners::default() }
    }

    /// What was there before this process, and is not taken yet.
    pub(super) fn inherited(&mut self) -> &mut Pool {
        self.inherited.get_mut()
    }

    /// Opens the listeners that these options name and that are not open yet. Those in the
    /// file system are given to `owner`, a user and a group. Nothing changes before [`Listeners::apply`].
    pub fn prepare(&self, options: &Options, owner: Option<(u32, u32)>) -> Result<Change, StartError> {
        let backlog = backlog();
        let mut change = Change { numbers: Vec::new(), opened: Vec::new() };
        for listen in &options.listen {
            if let Some(number) = self.number_of(&listen.address, &change.numbers) {
                change.numbers.push(Some(number));
                continue;
            }
            if self.is_served_by_dual(&listen.address, options, &change) {
                tracing::debug!("{} is served by the socket of both families", listen.address);
                change.numbers.push(None);
                continue;
            }
            change.numbers.push(match Listener::open(listen, options.workers, backlog, self, owner)? {
                Some(listener) => {
                    let number = self.free_number(&change)?;
                    change.opened.push((number, listener));
                    Some(number)
                }
                None => None,
            });
        }
        if change.numbers.iter().all(Option::is_none) {
            return Err(nowhere());
        }
        Ok(change)
    }

    /// Takes the new listeners in and lets go of those that are not named any more; gives the latter's numbers.
    pub fn apply(&mut self, change: Change) -> Vec<u16> {
        let mut gone = Vec::new();
        self.open.retain(|number, _| {
            let stays = change.numbers.contains(&Some(*number));
            if !stays {
                gone.push(*number);
            }
            stays
        });
        self.open.extend(change.opened);
        gone
    }

    /// The listener of this number, if it is open.
    pub fn get(&self, number: u16) -> Option<&Listener> {
        self.open.get(&number)
    }

    /// All sockets, with what they are known by.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.open.values().flat_map(|listener| &listener.sockets)
    }

    /// Leaves the files of Unix sockets to the process that goes on with them.
    pub(super) fn keep_files(&mut self) {
        self.open.values_mut().filter_map(|listener| listener.file.take()).for_each(SocketFile::keep);
    }

    /// Stops listening in the kernel's eyes for good: the files of Unix sockets first, while the sockets still listen.
    pub fn remove_files(&mut self) {
        self.open.values_mut().for_each(|listener| listener.file = None);
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// The number of a listener that is open and that none of `taken` is.
    fn number_of(&self, named: &Address, taken: &[Option<u16>]) -> Option<u16> {
        let is_it = |number: u16, listener: &Listener| listener.named == *named && !taken.contains(&Some(number));
        self.open.iter().find(|(number, listener)| is_it(**number, listener)).map(|(number, _)| *number)
    }

    /// The number that was free for longest.
    fn free_number(&self, change: &Change) -> Result<u16, StartError> {
        let is_free =
            |number: &u16| self.get(*number).is_none() && !change.opened.iter().any(|(taken, _)| taken == number);
        let next = self.next.get();
        let number = (next..u16::MAX).chain(0..next).find(is_free);
        let number = number.ok_or_else(|| StartError("more listeners than can be told apart".to_owned()))?;
        self.next.set((number + 1) % u16::MAX);
        Ok(number)
    }

    /// Whether all connections to this address come by a socket of both families, which the options name as well.
    fn is_served_by_dual(&self, named: &Address, options: &Options, change: &Change) -> bool {
        let Address::Tcp(address) = named else { return false };
        let both = Address::Tcp(inherit::dual(address.port()));
        let is_named = options.listen.iter().any(|listen| listen.address == both);
        let mut open = self.open.values().chain(change.opened.iter().map(|(_, listener)| listener));
        let is_it = |held: &Held, bound: &Address| inherit::is_dual_of(named, bound, &held.socket);
        is_named
            && (self.inherited.borrow().has_dual_of(named)
                || open.any(|listener| listener.sockets.iter().any(|held| is_it(held, &listener.bound))))
    }

    /// Whether a listener of ours has this port.
    fn holds_port(&self, port: u16) -> bool {
        let has_it = |listener: &Listener| matches!(&listener.bound, Address::Tcp(address) if address.port() == port);
        self.open.values().any(has_it) || self.inherited.borrow().holds_port(port)
    }
}

impl Change {
    /// A worker's sockets of the listener of this number, if that is new.
    pub fn ways_of(&self, number: u16, worker: usize) -> std::io::Result<Vec<Way>> {
        let opened = self.opened.iter().find(|(opened, _)| *opened == number);
        opened.map_or_else(|| Ok(Vec::new()), |(_, listener)| listener.ways_of(worker))
    }

    /// The new listeners with their numbers.
    pub fn opened(&self) -> impl Iterator<Item = (u16, &Listener)> {
        self.opened.iter().map(|(number, listener)| (*number, listener))
    }
}

/// What comes of opening each listener, one socket for it: all are held until the last was tried, as a server would hold them.
pub(super) fn try_each(options: &Options, owner: Option<(u32, u32)>) -> Vec<Result<String, StartError>> {
    let mut held = Vec::new();
    let mut outcomes = Vec::new();
    for listen in &options.listen {
        outcomes.push(Listener::open(listen, 1, backlog(), &Listeners::default(), owner).map(|opened| {
            let what = if opened.is_some() {
                "can be listened on"
            } else {
                "is left out, for this machine has no such address"
            };
            held.extend(opened);
            format!("{} {what}", listen.address)
        }));
    }
    if held.is_empty() && outcomes.iter().all(Result::is_ok) {
        outcomes.push(Err(nowhere()));
    }
    outcomes
}

fn nowhere() -> StartError {
    StartError("no address to listen on; name one with --address".to_owned())
}

impl Listener {
    /// Opens a socket of this listener for each worker, beside the `others`; none where the machine lacks a default address.
    fn open(
        listen: &Listen,
        workers: usize,
        backlog: i32,
        others: &Listeners,
        owner: Option<(u32, u32)>,
    ) -> Result<Option<Listener>, StartError> {
        if let Some((bound, held)) = others.inherited.borrow_mut().take(&listen.address, Role::Site) {
            return Ok(Some(Listener::of_inherited(listen, bound, held, workers, backlog)));
        }
        let opened = match &listen.address {
            Address::Tcp(address) => open_tcp(*address, workers, backlog, others.holds_port(address.port())),
            Address::Unix(path) => open_unix(path, owner, backlog, SOCKET_FILE_MODE),
        };
        match opened {
            Ok((bound, opened)) => {
                let file = SocketFile::of(&bound);
                let mut listener =
                    Listener { bound, named: listen.address.clone(), file, sockets: Vec::new(), workers };
                opened.into_iter().for_each(|socket| listener.add(socket));
                Ok(Some(listener))
            }
            Err(error) if listen.optional && is_absent(&error) => {
                tracing::debug!("not listening on {}: {error}", listen.address);
                Ok(None)
            }
            Err(error) => Err(explain(listen, &error)),
        }
    }

    /// One of sockets that were there before. Where there are fewer than workers, more are opened beside them if the kernel lets us;
    /// if not, workers share.
    fn of_inherited(listen: &Listen, bound: Address, held: Vec<Held>, workers: usize, backlog: i32) -> Listener {
        let is_own = held.iter().any(|held| held.origin == Origin::Own);
        // The file of a socket unit's is the unit's.
        let file = if is_own { SocketFile::of(&bound) } else { None };
        let count = held.len();
        let mut listener = Listener { bound, named: listen.address.clone(), file, sockets: held, workers };
        if let Address::Tcp(address) = listener.bound {
            let is_dual = address.is_ipv6() && listener.sockets.iter().any(|held| inherit::is_dual(&held.socket));
            while !is_dual && listener.sockets.len() < workers {
                match open_one(address, backlog) {
                    Ok(socket) => listener.add(socket),
                    Err(error) => {
                        tracing::debug!("{address}: workers share sockets, for no more can be opened: {error}");
                        break;
                    }
                }
            }
        }
        tracing::debug!("{}: {count} sockets were there before, {} are read", listener.bound, listener.sockets.len());
        listener
    }

    fn add(&mut self, socket: Socket) {
        let name = inherit::fresh_name(&self.named, &self.bound, Role::Site, &self.sockets);
        self.sockets.push(Held { socket, origin: Origin::Own, name });
    }

    /// A worker's sockets. Each of the listener's is read by some worker, and each worker reads one at least.
    pub fn ways_of(&self, worker: usize) -> std::io::Result<Vec<Way>> {
        let count = self.sockets.len();
        let is_read = |at: usize| if count < self.workers { worker % count == at } else { at % self.workers == worker };
        let read = self.sockets.iter().enumerate().filter(|(at, _)| is_read(*at)).map(|(_, held)| held);
        read.map(|held| Ok(Way { socket: held.socket.try_clone()?, is_lent: held.origin == Origin::Unit })).collect()
    }
}

/// An address as it was bound, and its sockets.
type Opened = (Address, Vec<Socket>);

/// `is_shared`: a listener of ours has the port on another address, which may be about to go.
fn open_tcp(address: SocketAddr, workers: usize, backlog: i32, is_shared: bool) -> std::io::Result<Opened> {
    if !is_shared {
        patiently(|| probe(address))?;
    }
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

/// Opens one socket for administrators, non-blocking, and gives the address with the port that the kernel chose. `is_shared` as
/// for [`open_tcp`].
pub(super) fn open_admin(
    address: &Address,
    is_shared: bool,
    owner: Option<(u32, u32)>,
) -> Result<(Address, Held), StartError> {
    let opened = match address {
        Address::Tcp(address) => open_tcp(*address, 1, ADMIN_BACKLOG, is_shared),
        Address::Unix(path) => open_unix(path, owner, ADMIN_BACKLOG, ADMIN_SOCKET_FILE_MODE),
    };
    let told = |error: std::io::Error| match address {
        Address::Tcp(address) => explain_tcp(*address, &error),
        Address::Unix(path) => explain_unix(path, &error),
    };
    let failed = |error| StartError(format!("[admin] listen: {}", told(error)));
    let (bound, mut sockets) = opened.map_err(failed)?;
    let name = inherit::fresh_name(address, &bound, Role::Admin, &[]);
    Ok((bound, Held { socket: sockets.pop().expect("one was asked for"), origin: Origin::Own, name }))
}

/// Administrators are few.
const ADMIN_BACKLOG: i32 = 64;

/// What is told there is not for everybody.
const ADMIN_SOCKET_FILE_MODE: u32 = 0o660;

/// Opens one socket in the file system, which all workers share.
fn open_unix(path: &Path, owner: Option<(u32, u32)>, backlog: i32, mode: u32) -> std::io::Result<Opened> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    patiently(|| socket_file::bind(&socket, path, mode))?;
    if let Some((user, group)) = owner {
        socket_file::give(path, user, group)?;
    }
    socket.listen(backlog)?;
    Ok((Address::Unix(path.to_owned()), vec![socket]))
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
        assert!(message.contains("this process listens there already"), "{message}");
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
    fn a_number_is_not_used_again_before_all_others_were() {
        let mut listeners = Listeners::default();
        let mut open_one_more = |kept: Option<u16>| {
            let mut change = Change { numbers: vec![kept], opened: Vec::new() };
            let number = listeners.free_number(&change).expect("few are open");
            let address = Address::Tcp(loopback(80));
            let listener =
                Listener { bound: address.clone(), named: address, file: None, sockets: Vec::new(), workers: 1 };
            change.numbers.push(Some(number));
            change.opened.push((number, listener));
            (number, listeners.apply(change))
        };
        assert_eq!(open_one_more(None), (0, vec![]));
        for number in 1..u16::MAX {
            let gone = if number == 1 { vec![] } else { vec![number - 1] };
            assert_eq!(open_one_more(Some(0)), (number, gone));
        }
        assert_eq!(open_one_more(Some(0)), (1, vec![u16::MAX - 1]), "the first of them is still open");
    }

    #[test]
    fn only_what_nobody_listens_on_is_taken_away() {
        let directory = std::env::temp_dir().join(format!("otus-httpd-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory of this test");
        let path = directory.join("socket");
        let (_, first) = open_unix(&path, None, 16, 0o600).expect("a new path");
        assert!(open_unix(&path, None, 16, 0o600).is_err(), "somebody listens there");
        drop(first);
        assert!(open_unix(&path, None, 16, 0o600).is_ok(), "nobody listens there any more");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "precious").expect("a file of this test");
        assert!(open_unix(&path, None, 16, 0o600).is_err(), "it is no socket");
        assert_eq!(std::fs::read(&path).expect("it is still there"), b"precious");
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }
}
