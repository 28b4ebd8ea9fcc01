//! The certificates of a running server: read from their files, and made into what the listeners show.
//!
//! Invariant: a listener shows a pair that belongs together, or the server does not start.

use super::StartError;
use crate::tls::pair::{self, BadPair, Pair};
use crate::tls::{Listener, Names, Offer, Options, Plan, Terms, terms};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What the listeners of one configuration show.
#[derive(Clone, Debug)]
pub struct Certificates {
    listeners: Arc<[Option<Arc<Listener>>]>,
}

impl Certificates {
    /// For each listener, what it shows.
    pub fn listeners(&self) -> Arc<[Option<Arc<Listener>>]> {
        self.listeners.clone()
    }
}

/// Reads all files of the plan.
pub(super) fn load(plan: &Plan) -> Result<Certificates, StartError> {
    let offers = plan.tables.iter().map(|table| read(table, plan.offers_http2).map_err(StartError));
    let offers: Arc<[_]> = offers.collect::<Result<Vec<_>, _>>()?.into();
    let listener = |names: &Option<Names>| {
        let names = names.as_ref()?.clone();
        Some(Arc::new(Listener::new(Terms::new(names, offers.clone()))))
    };
    Ok(Certificates { listeners: plan.listeners.iter().map(listener).collect() })
}

/// What one table stands for.
fn read(table: &Options, offers_http2: bool) -> Result<Offer, String> {
    let say = |path: &Path, what: &str| format!("{}: {what}", path.display());
    let certificate = contents(&table.certificate)?;
    let key = Zeroizing::new(contents(&table.key)?);
    let pair = Pair::read(&certificate, &key).map_err(|bad| match bad {
        BadPair::Certificate(what) => say(&table.certificate, &what),
        BadPair::Key(what) => say(&table.key, &what),
    })?;
    let authorities = match &table.clients {
        Some(clients) => {
            pair::certificates(&contents(&clients.authorities)?).map_err(|what| say(&clients.authorities, &what))?
        }
        None => Vec::new(),
    };
    terms::offer(table, &pair, &authorities, offers_http2).map_err(|what| say(&table.certificate, &what))
}

/// Bytes of a file that are read; chains have some ten thousand, a bundle of all public authorities has 250 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        // Once, so that no copy of a key is left behind where the buffer grew.
        let mut text = Vec::with_capacity(64 * 1024);
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_err(|error: std::io::Error| format!("{}: cannot be read: {error}", path.display()))
}
