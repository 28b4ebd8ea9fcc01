//! A certificate and its private key, as their files hold them (PEM, RFC 7468).
//!
//! Order: [`Pair::read`] takes the texts of both files · the key is looked at · it is held against the certificate.
//!
//! Invariant: a pair belongs together, and what was read of a key is overwritten before its memory is given back.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::sync::Arc;
use zeroize::Zeroize;

/// A certificate with those that lead to its authority, and its key.
pub struct Pair {
    certified: Arc<CertifiedKey>,
}

/// Which of the two files is not as it should be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPair {
    /// That of the certificate.
    Certificate(String),
    /// That of the key.
    Key(String),
}

impl Pair {
    /// The pair in these two texts.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Pair, BadPair> {
        let chain = certificates(certificate).map_err(BadPair::Certificate)?;
        let mut read = private_key(key).map_err(BadPair::Key)?;
        let key = any_supported_type(&read).map_err(|_| {
            let what = "the key is of no kind that is understood, or too weak; make one of RSA with 2048 bits or more, ECDSA (P-256, \
                        P-384, P-521) or Ed25519";
            BadPair::Key(what.to_owned())
        });
        read.zeroize();
        let key = key?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Pair { certified: Arc::new(certified) })
            }
            Err(Error::InconsistentKeys(_)) if certified.cert.iter().skip(1).any(|other| is_of(other, &certified)) => {
                let what = "the certificates are in the wrong order; put the server's own first, and behind each the one that signed it";
                Err(BadPair::Certificate(what.to_owned()))
            }
            Err(Error::InconsistentKeys(_)) => Err(BadPair::Key(
                "it is the key of another certificate; name the key that this one was made with".to_owned(),
            )),
            Err(error) => Err(BadPair::Certificate(told(&error))),
        }
    }

    pub(super) fn certified(&self) -> CertifiedKey {
        (*self.certified).clone()
    }

    /// The certificates, the server's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }
}

/// Whether the key of this pair is that of another certificate.
fn is_of(certificate: &CertificateDer<'static>, pair: &CertifiedKey) -> bool {
    CertifiedKey::new(vec![certificate.clone()], pair.key.clone()).keys_match().is_ok()
}

/// Certificates of a file that are taken. A bundle of all public authorities has some hundred and fifty.
const CERTIFICATES_MAX: usize = 1000;

/// All certificates in this text, one at least.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).take(CERTIFICATES_MAX).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err("it holds no certificate; name a file with \"-----BEGIN CERTIFICATE-----\" (PEM)".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => {
            Err("it is damaged: what stands between BEGIN and END is no certificate in PEM; fetch or make it anew"
                .to_owned())
        }
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(_) if memchr::memmem::find(text, b"ENCRYPTED").is_some() => {
            let what = "the key is encrypted, and nobody is there to type its password; decrypt it (`openssl pkey -in FILE -out NEW`), \
                        and let nobody else read it";
            Err(what.to_owned())
        }
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            Err("it holds no private key; name a file with \"-----BEGIN PRIVATE KEY-----\" (PEM)".to_owned())
        }
        Err(_) => {
            Err("it is damaged: what stands between BEGIN and END is no key in PEM; fetch or make it anew".to_owned())
        }
    }
}

/// What the library says of a certificate.
pub(super) fn told(error: &Error) -> String {
    format!("a certificate in it cannot be used: {error}; fetch or make it anew")
}
