//! What the server tells of itself: [`log`] sets up the messages, [`access`] says one line an
//! exchange, [`throttle`] keeps floods out.

pub mod access;
pub mod log;
pub mod throttle;
