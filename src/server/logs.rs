//! The logs of a configuration: opened at the start and at each reload, checked by `-t`.
//!
//! Invariant: a configuration whose logs cannot be opened changes nothing.

use super::{Options, StartError};
use crate::observe::journal::{self, Destination, Sink};
use crate::observe::log;
use std::sync::Arc;

/// The open logs of a configuration. A destination is closed when this is dropped, unless a worker or another
/// configuration has it too.
#[derive(Debug)]
pub struct OpenLogs {
    log: log::Options,
    _sinks: Vec<Arc<Sink>>,
}

/// Opens all logs. To be called as the user that the server runs as: what another one makes, this one could not open anew.
pub fn open(options: &Options) -> Result<OpenLogs, StartError> {
    let sinks = journal::open(&destinations(options)).map_err(StartError)?;
    Ok(OpenLogs { log: options.log.clone(), _sinks: sinks })
}

impl OpenLogs {
    /// Sends messages to the error log of this configuration from here on.
    pub fn take_effect(&self) -> Result<(), StartError> {
        log::configure(&self.log).map_err(StartError)
    }
}

/// What came of looking at each log; makes nothing.
pub fn check(options: &Options) -> Vec<Result<String, StartError>> {
    let look = |destination: &Destination| {
        destination.check().map(|()| format!("{destination}: can be written")).map_err(StartError)
    };
    destinations(options).iter().map(look).collect()
}

/// Where all logs go, each once.
pub(super) fn destinations(options: &Options) -> Vec<Destination> {
    let mut destinations = vec![options.log.destination.clone()];
    for log in options.shard.sites.iter().flat_map(crate::site::Options::access_logs) {
        if !destinations.contains(&log.to) {
            destinations.push(log.to.clone());
        }
    }
    destinations
}
