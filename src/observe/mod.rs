//! What the server tells of itself: [`log`] sets up the messages, [`exchanged`] tells of each request and its answer,
//! [`access`] makes lines of that, [`journal`] writes all of it, [`live`] tells what goes on now, [`throttle`] keeps floods out.
//! [`sketch`] finds who takes most, [`notes`] are what any part wants told in the status.

pub mod access;
pub mod exchanged;
pub mod journal;
pub mod live;
pub mod log;
pub mod notes;
pub mod sketch;
pub mod throttle;
