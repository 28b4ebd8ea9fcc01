//! The listeners that one worker accepts from, opened and closed while it serves.
//!
//! Order: sockets are made ready, [`Doors::prepare`] · each is accepted from by a task of its own, [`Doors::open`] · it is closed, or left to others.
//!
//! Invariant: whatever waits in the queue of a listener that is closed is accepted first, and answered.

use super::fault;
use super::inherit;
use super::listen::Way;
use super::shortage::{Next, Reserve};
use super::worker::spawn;
use crate::connection::{self, Door, roster::Roster};
use crate::counters;
use crate::shard::Shard;
use crate::socket::{Listener, Stream, accept_from};
use async_task::Task;
use futures_lite::future;
use glommio::timer::sleep;
use rustix::io::Errno;
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;

/// A listener, as a worker is told of it.
pub struct Entrance {
    /// Its position among the options' listeners.
    pub position: u16,
    /// Its number.
    pub number: u16,
    /// Whether a PROXY header comes before the first request of a connection.
    pub is_proxied: bool,
    /// Whether TLS is spoken on its connections.
    pub is_tls: bool,
    /// The worker's sockets, where the listener is new to it.
    pub ways: Vec<Way>,
}

/// The listeners of one worker.
pub struct Doors {
    shard: Rc<Shard>,
    roster: Rc<Roster>,
    reserve: Rc<Reserve>,
    open: RefCell<Vec<OpenDoor>>,
}

struct OpenDoor {
    door: Rc<Cell<Door>>,
    way: Way,
    accepting: Task<std::thread::Result<()>>,
}

/// New listeners that are ready to be accepted from, each with a copy to accept by. They are not waited for yet: of a socket that is
/// shared, an event would go to whoever does not accept.
pub struct Prepared(Vec<(Door, Way, Socket)>);

impl Doors {
    /// None yet.
    pub fn new(shard: Rc<Shard>, roster: Rc<Roster>) -> Doors {
        Doors { shard, roster, reserve: Reserve::new(), open: RefCell::default() }
    }

    /// Makes the new ones of these ready.
    pub fn prepare(&self, entrances: &mut [Entrance]) -> Result<Prepared, String> {
        let mut prepared = Vec::new();
        for entrance in entrances {
            let door = Door { listener: entrance.number, is_proxied: entrance.is_proxied, is_tls: entrance.is_tls };
            for way in entrance.ways.drain(..) {
                let copy = way.socket.try_clone();
                let copy = copy.map_err(|error| format!("a listening socket cannot be shared: {error}"))?;
                prepared.push((door, way, copy));
            }
        }
        Ok(Prepared(prepared))
    }

    /// Accepts from these and from no others.
    pub fn open(&self, entrances: &[Entrance], prepared: Prepared) {
        let mut open = self.open.borrow_mut();
        let named = |door: Door| entrances.iter().find(|entrance| entrance.number == door.listener);
        let (kept, gone): (Vec<_>, Vec<_>) = open.drain(..).partition(|open| named(open.door.get()).is_some());
        *open = kept;
        for open in &*open {
            let Some(entrance) = named(open.door.get()) else { continue };
            open.door.set(Door { is_proxied: entrance.is_proxied, is_tls: entrance.is_tls, ..open.door.get() });
        }
        for (door, way, copy) in prepared.0 {
            let listener = match Listener::new(copy) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!("listener {} cannot be waited for: {error}", door.listener);
                    continue;
                }
            };
            let door = Rc::new(Cell::new(door));
            let (shard, roster, reserve) = (self.shard.clone(), self.roster.clone(), self.reserve.clone());
            let accepting = spawn(accept(listener, door.clone(), shard, roster, reserve));
            open.push(OpenDoor { door, way, accepting });
        }
        for open in gone {
            self.close(open);
        }
    }

    /// Accepts from none any more.
    pub fn close_all(&self) {
        for open in self.open.take() {
            self.close(open);
        }
    }

    /// Leaves them to another worker, but for those that are `gone`: nobody else would take what waits there.
    pub fn leave(&self, gone: &[u16]) {
        for open in self.open.take() {
            if gone.contains(&open.door.get().listener) {
                self.close(open);
                continue;
            }
            let OpenDoor { door, way, accepting } = open;
            drop(accepting);
            // A connection whose event came to us is nobody's else until the next one comes.
            take_waiting(&way.socket, door.get(), &self.shard, &self.roster);
        }
    }

    /// Leaves them with what waits there to a process that is to come.
    pub fn leave_queues(&self) {
        self.open.take();
    }

    /// Forgets them as they are: the worker has died, and others go on with the queues.
    pub fn abandon(&self) {
        self.open.take();
    }

    fn close(&self, open: OpenDoor) {
        let OpenDoor { door, way, accepting } = open;
        // Dropped, it accepts nothing more, also where it is told so later.
        drop(accepting);
        if !way.is_lent && !inherit::is_unsettled() {
            stop_listening(&way.socket, door.get(), &self.shard, &self.roster);
        }
        self.roster.close_listener(door.get().listener);
    }

    /// Asks each accepting task with `poll` whether it has ended, which none does unless it panicked.
    pub fn any<T>(&self, mut poll: impl FnMut(&mut Task<std::thread::Result<()>>) -> Option<T>) -> Option<T> {
        self.open.borrow_mut().iter_mut().find_map(|open| poll(&mut open.accepting))
    }

    /// Forgets listeners that are gone and have no connection left.
    pub fn forget_gone(&self) {
        for listener in self.shard.gone() {
            if self.roster.is_empty_of(listener) {
                self.shard.forget(listener);
            }
        }
    }
}

/// Connections accepted in a row before the others have their turn.
const ACCEPTED_IN_A_ROW_MAX: usize = 32;

/// Accepts from a listener, for ever; its door may change meanwhile.
async fn accept(listener: Listener, door: Rc<Cell<Door>>, shard: Rc<Shard>, roster: Rc<Roster>, reserve: Rc<Reserve>) {
    let mut in_a_row = 0;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                start(stream, door.get(), &shard, &roster);
            }
            Err(error) => {
                // Another worker that stops has shut down the socket that they share; this one is told in a moment.
                if Errno::from_io_error(&error) == Some(Errno::INVAL) {
                    future::pending::<()>().await;
                }
                match reserve.failed(&error, &listener, door.get(), &shard, &roster) {
                    Next::GoOn => future::yield_now().await,
                    Next::Rest(pause) => sleep(pause).await,
                }
            }
        }
        in_a_row += 1;
        if in_a_row >= ACCEPTED_IN_A_ROW_MAX {
            in_a_row = 0;
            future::yield_now().await;
        }
    }
}

/// Serves a connection in a task of its own; a panic in it ends there.
fn start(stream: Stream, door: Door, shard: &Rc<Shard>, roster: &Rc<Roster>) {
    counters::here().accepted.add(1);
    let serving = fault::in_connection(connection::serve(stream, door, shard.clone(), roster));
    // The panic hook has told of a panic; there is nothing left to do about it.
    spawn(serving).detach();
}

/// Takes what waits in the queue of a socket.
fn take_waiting(socket: &Socket, door: Door, shard: &Rc<Shard>, roster: &Rc<Roster>) {
    while let Ok(stream) = accept_from(socket) {
        start(stream, door, shard, roster);
    }
}

/// Takes what waits in the queue of a socket, for closing it would reset those clients, and stops
/// listening. A close alone would come late: a ring may still hold the socket, the kernel takes
/// rings down in its own time, and until then clients would queue where nobody accepts.
fn stop_listening(socket: &Socket, door: Door, shard: &Rc<Shard>, roster: &Rc<Roster>) {
    take_waiting(socket, door, shard, roster);
    // It can only fail on a socket that does not listen any more.
    let _ = socket.shutdown(Shutdown::Read);
}
