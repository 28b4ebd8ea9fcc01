//! What the supervisor tells a running worker, and what it hears: to open another configuration, and then to take it or to
//! leave it.
//!
//! Order: [`Order::Prepare`] · the worker answers whether it can · [`Order::Commit`] when all can, which each answers when it
//! has, else [`Order::Abandon`]. So either all workers serve the new configuration, or none.
//!
//! Invariant: nothing that clients see changes before the commit.

use super::Options;
use super::doors::Entrance;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What a worker is told.
pub enum Order {
    /// Open what these options say, and hold it ready.
    Prepare {
        /// The number of the order; the answer says it too, for one may come when nobody waits for it any more.
        order: u64,
        /// What is to be served.
        options: Arc<Options>,
        /// By which listeners.
        entrances: Vec<Entrance>,
    },
    /// Serve it from the next request on.
    Commit {
        /// The number of the order.
        order: u64,
    },
    /// Forget it.
    Abandon,
    /// Another has taken over: finish what is open, and end.
    Leave {
        /// The number of the order.
        order: u64,
        /// Listeners that the other does not have.
        gone: Vec<u16>,
    },
    /// Say when the answers that are under way now have ended; serve on.
    Finish {
        /// The number of the order.
        order: u64,
    },
    /// Another process goes on with the sockets: finish what is open, and end.
    Retire(Retirement),
}

/// How a worker ends whose sockets another process goes on with.
#[derive(Clone, Copy, Debug)]
pub struct Retirement {
    /// Whether it takes what waits in its queues. Where the other listens already it must: of a socket that both wait for, an event
    /// comes to one of them. Where the other is yet to come, what waits is its.
    pub takes_waiting: bool,
    /// How long clients that are idle may ask once more, and learn that the connection closes.
    pub relief: Duration,
    /// How long what is in flight may go on; without a bound, until the worker is told to stop, and from then on for as long as for
    /// any stop.
    pub drain: Option<Duration>,
}

/// What a worker reports.
#[derive(Debug)]
pub enum Report {
    /// Connections are accepted; or they could be, where it is a successor.
    Ready,
    /// A document root is another than the worker's sandbox allows it to read; told about once a second, as long as it is so.
    Outgrown,
    /// It has nothing left to do but to wait for its pool, which waits for a disk that hangs.
    Left,
    /// It has done what it was told, or says why it cannot.
    Done {
        /// The number of the order.
        order: u64,
        /// What stands against it.
        answer: Result<(), String>,
    },
}

/// The supervisor's end; dropping it tells the worker to stop.
pub struct Voice {
    orders: Sender<Order>,
    bell: UnixStream,
}

/// The worker's end.
pub struct Ear {
    /// What was told and not yet taken.
    pub orders: Receiver<Order>,
    /// Gives a byte for each order; its end says stop.
    pub bell: OwnedFd,
}

impl Voice {
    /// Both ends.
    pub fn new() -> std::io::Result<(Voice, Ear)> {
        let (sender, orders) = channel();
        let (ringer, bell) = UnixStream::pair()?;
        ringer.set_nonblocking(true)?;
        Ok((Voice { orders: sender, bell: ringer }, Ear { orders, bell: bell.into() }))
    }

    /// Tells the worker; one that has ended does not hear it.
    pub fn give(&self, order: Order) {
        let _ = self.orders.send(order);
        let _ = (&self.bell).write(&[1]);
    }
}
