//! What the server tells of itself: [`log`] sets up the messages, [`exchanged`] tells of each request and its answer,
//! [`throttle`] keeps floods out.

pub mod exchanged;
pub mod log;
pub mod throttle;
