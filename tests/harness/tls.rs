//! What tests of TLS need: a certificate that nobody else has, and clients that trust it.
//!
//! Invariant: no key lives longer than its test.

use super::site::{Site, set_mode, write};
use rcgen::{CertifiedKey, KeyPair, SignatureAlgorithm};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;

/// A certificate with its key, in files, and signed by itself.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    der: CertificateDer<'static>,
}

impl Pair {
    /// One of ECDSA for these names, outside of what the site serves.
    pub(crate) fn new(site: &Site, names: &[&str]) -> Pair {
        Pair::of_kind(site, names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// One of another kind.
    pub(crate) fn of_kind(site: &Site, names: &[&str], kind: &'static SignatureAlgorithm) -> Pair {
        let key = KeyPair::generate_for(kind).expect("the kind is known");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let parameters = rcgen::CertificateParams::new(names.clone()).expect("names are names");
        let cert = parameters.self_signed(&key).expect("a key signs");
        let CertifiedKey { cert, signing_key } = CertifiedKey { cert, signing_key: key };
        let file = |ending: &str| site.outside().join(format!("{}.{ending}", names[0]));
        let pair = Pair { certificate: file("crt"), key: file("key"), der: cert.der().clone() };
        write(&pair.certificate, cert.pem());
        write(&pair.key, signing_key.serialize_pem());
        set_mode(&pair.key, 0o600);
        pair
    }

    /// What names it in a configuration.
    pub(crate) fn table(&self) -> String {
        format!("[tls]\ncertificate = '{}'\nkey = '{}'\n", self.certificate.display(), self.key.display())
    }

    /// A client that trusts it, and speaks these versions.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("it is a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("the provider has them");
        builder.with_root_certificates(roots).with_no_client_auth()
    }
}
