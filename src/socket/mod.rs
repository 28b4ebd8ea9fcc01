//! The network as one core sees it: sockets that are waited for together with the engine's ring.
//!
//! [`Stream`] is one connection, with or without TLS, [`Listener`] gives them; [`readiness`] knows which of them can go on; [`tasks`] runs who waits for them; [`bulk`] sees to
//! it that those who send much do not keep the others waiting. The engine has
//! sockets of its own, which arm a poll in the ring for each wait: an allocation, a submission and a completion a
//! request. These are registered once, and a wait that ends costs what an event loop pays for it.
//!
//! Invariant: no call on a socket waits in the kernel; all sockets here are non-blocking from birth.

pub mod bulk;
mod listener;
mod queue;
pub mod readiness;
mod secured;
mod stream;
pub mod tasks;

pub use listener::{Listener, accept_from};
pub use stream::Stream;
