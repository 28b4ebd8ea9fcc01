//! A changed configuration, taken over while the server serves.
//!
//! Order: the configuration is read anew · what cannot change while the server runs is told of · roots are looked at, new
//! logs and listeners opened · every worker prepares · all commit.
//!
//! Invariant: until all workers can serve the new configuration nothing has changed, and what was opened for it is closed again.

use super::admin::{self, Admin};
use super::listen::{Change, Listeners};
use super::logs::{self, OpenLogs};
use super::sandbox::Sandbox;
use super::{Options, StartError, preflight};
use std::sync::Arc;

/// Whatever a reload needs, made and found good; dropping it undoes it.
#[derive(Debug)]
pub struct Prepared {
    /// What is to be served.
    pub options: Arc<Options>,
    /// What becomes of the listeners.
    pub change: Change,
    /// Its logs, open.
    pub logs: OpenLogs,
    /// Another door for administrators, where it is to be another.
    pub admin: Option<admin::Bound>,
}

/// Makes `options` fit for a server that runs with `running` already.
pub fn prepare(
    running: &Options,
    listeners: &Listeners,
    admin: &Admin,
    mut options: Options,
) -> Result<Prepared, StartError> {
    if options.workers != running.workers {
        tracing::warn!("`workers` is {} until the server is restarted", running.workers);
        options.workers = running.workers;
    }
    if options.privileges != running.privileges {
        tracing::warn!("`user`, `group` and `core_dumps` stay as they are until the server is restarted");
        options.privileges = running.privileges.clone();
    }
    preflight::check_roots(&options)?;
    let logs = logs::open(&options)?;
    // Whoever reloads is the user that serves: what it makes is its own.
    let change = listeners.prepare(&options, None)?;
    let admin = admin.prepare(&options.admin)?;
    Ok(Prepared { options: Arc::new(options), change, logs, admin })
}

/// Whether threads that were started with the options `running` may serve others: their sandbox allows all that is to be read.
pub fn fits(running: &Options, options: &Options) -> bool {
    if running.sandbox != options.sandbox {
        return false;
    }
    let Some(sandbox) = Sandbox::of(running) else { return true };
    let needed = options.roots().into_iter().chain(options.password_files());
    needed.into_iter().all(|path| sandbox.covers(path))
}
