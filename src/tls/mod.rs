//! TLS: which certificate is shown to whom, and on which terms. Nothing outside of it names the library that does the cryptography.

pub mod session;

use rustls::ServerConfig;
use std::sync::{Arc, PoisonError, RwLock};

/// What a listener offers at one moment.
#[derive(Debug)]
pub struct Terms {
    config: Arc<ServerConfig>,
}

impl Terms {
    /// The same for all names.
    pub fn of(config: Arc<ServerConfig>) -> Terms {
        Terms { config }
    }

    /// The terms for a client that asks for this name, and their number.
    pub fn choose(&self, _server_name: Option<&str>) -> (u16, &Arc<ServerConfig>) {
        (0, &self.config)
    }
}

/// What one listener offers; it may be another the next moment.
#[derive(Debug)]
pub struct Listener {
    terms: RwLock<Arc<Terms>>,
}

impl Listener {
    /// One that offers this.
    pub fn new(terms: Terms) -> Listener {
        Listener { terms: RwLock::new(Arc::new(terms)) }
    }

    /// What it offers now.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
