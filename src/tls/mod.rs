//! TLS: which certificate is shown to whom, and on which terms. Nothing outside of it names the library that does the cryptography.
//!
//! Order: [`Plan`], what the configuration says · [`pair`] reads a certificate and its key, [`facts`] what it says · [`terms`] makes of them what connections
//! are met with, and [`numbers`] tells those apart · [`Listener`] holds that for one listener, and is given another when files change.
//!
//! Invariant: there is one listener for all workers, and what it offers is replaced as a whole: no handshake sees half of a change.

pub mod facts;
pub mod numbers;
pub mod pair;
pub mod self_signed;
pub mod session;
pub mod terms;

pub use terms::{Listener, Names, Terms};

use numbers::InForce;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one `[tls]` stands for, with the files that it names.
pub type Offer = Arc<rustls::ServerConfig>;

/// The keys of one `[tls]` or `[site.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file of the certificate, with those that lead to an authority behind it (PEM).
    pub certificate: PathBuf,
    /// The file of its private key (PEM).
    pub key: PathBuf,
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
    /// Clients that show a certificate themselves.
    pub clients: Option<Clients>,
    /// The names of the sites that it is for; it may be for others too.
    pub names: Vec<String>,
}

impl Options {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let authorities = self.clients.iter().map(|clients| &*clients.authorities);
        [&*self.certificate, &*self.key].into_iter().chain(authorities)
    }
}

/// Which certificates of clients are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The file of the authorities that sign them (PEM).
    pub authorities: PathBuf,
    /// Whether a client without one is turned away.
    pub is_required: bool,
}

/// What is offered on all listeners.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Every `[tls]` that there is.
    pub tables: Vec<Options>,
    /// The numbers of the terms that each stands for.
    pub in_force: Vec<InForce>,
    /// For each listener, the places of those that are for each name; none where connections are not encrypted.
    pub listeners: Vec<Option<Names>>,
    /// Whether HTTP/2 is offered.
    pub offers_http2: bool,
}

impl Plan {
    /// Every file that is named.
    pub fn files(&self) -> Vec<PathBuf> {
        self.tables.iter().flat_map(Options::files).map(Path::to_path_buf).collect()
    }
}
