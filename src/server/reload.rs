//! A changed configuration, taken over while the server serves.
//!
//! Order: the configuration is read anew · what cannot change while the server runs is told of · roots are looked at, new
//! listeners opened · every worker prepares · all commit.
//!
//! Invariant: until all workers can serve the new configuration nothing has changed, and what was opened for it is closed again.

use super::listen::{Change, Listeners};
use super::{Options, StartError, preflight};
use std::sync::Arc;

/// Whatever a reload needs, made and found good; dropping it undoes it.
#[derive(Debug)]
pub struct Prepared {
    /// What is to be served.
    pub options: Arc<Options>,
    /// What becomes of the listeners.
    pub change: Change,
}

/// Makes `options` fit for a server that runs with `running` already.
pub fn prepare(running: &Options, listeners: &Listeners, mut options: Options) -> Result<Prepared, StartError> {
    if options.workers != running.workers {
        tracing::warn!("`workers` is {} until the server is restarted", running.workers);
        options.workers = running.workers;
    }
    preflight::check_roots(&options)?;
    let change = listeners.prepare(&options)?;
    Ok(Prepared { options: Arc::new(options), change })
}
