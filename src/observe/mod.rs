//! What the server tells of itself: [`log`] sets up the messages, [`access`] says one line an
//! exchange.

pub mod access;
pub mod log;
