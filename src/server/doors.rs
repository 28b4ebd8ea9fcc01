//! The listeners that one worker accepts from, opened and closed while it serves.
//!
//! Invariant: whatever waits in the queue of a listener that is closed is accepted first, and answered.

use super::shortage::Reserve;
use super::worker::{accept, spawn, stop_listening, take_waiting};
use crate::connection::{Door, roster::Roster};
use crate::shard::Shard;
use crate::socket::Listener;
use async_task::Task;
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A listener, as a worker is told of it.
pub struct Entrance {
    /// Its position among the options' listeners.
    pub position: u16,
    /// Its number.
    pub number: u16,
    /// Whether a PROXY header comes before the first request of a connection.
    pub is_proxied: bool,
    /// The worker's socket, where the listener is new to it: a copy, so that the queue outlives a worker that died.
    pub socket: Option<Socket>,
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
    socket: Socket,
    accepting: Task<std::thread::Result<()>>,
}

/// New listeners that are ready to be accepted from, each with a copy to accept by. They are not waited for yet: of a socket that is
/// shared, an event would go to whoever does not accept.
pub struct Prepared(Vec<(Door, Socket, Socket)>);

impl Doors {
    /// None yet.
    pub fn new(shard: Rc<Shard>, roster: Rc<Roster>) -> Doors {
        Doors { shard, roster, reserve: Reserve::new(), open: RefCell::default() }
    }

    /// Makes the new ones of these ready.
    pub fn prepare(&self, entrances: &mut [Entrance]) -> Result<Prepared, String> {
        let mut prepared = Vec::new();
        for entrance in entrances {
            let Some(socket) = entrance.socket.take() else { continue };
            let copy = socket.try_clone().map_err(|error| format!("a listening socket cannot be shared: {error}"))?;
            let door = Door { listener: entrance.number, is_proxied: entrance.is_proxied };
            prepared.push((door, socket, copy));
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
            let is_proxied = named(open.door.get()).is_some_and(|entrance| entrance.is_proxied);
            open.door.set(Door { is_proxied, ..open.door.get() });
        }
        for (door, socket, copy) in prepared.0 {
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
            open.push(OpenDoor { door, socket, accepting });
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
            let OpenDoor { door, socket, accepting } = open;
            drop(accepting);
            // A connection whose event came to us is nobody's else until the next one comes.
            take_waiting(&socket, door.get(), &self.shard, &self.roster);
        }
    }

    /// Forgets them as they are: the worker has died, and others go on with the queues.
    pub fn abandon(&self) {
        self.open.take();
    }

    fn close(&self, open: OpenDoor) {
        let OpenDoor { door, socket, accepting } = open;
        // Dropped, it accepts nothing more, also where it is told so later.
        drop(accepting);
        stop_listening(&socket, door.get(), &self.shard, &self.roster);
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
