//! What the server tells of itself: [`log`] sets up the messages, [`exchanged`] tells of each request and its answer,
//! [`access`] makes lines of that, [`journal`] writes all of it, [`throttle`] keeps floods out.

pub mod access;
pub mod exchanged;
pub mod journal;
pub mod log;
pub mod throttle;
