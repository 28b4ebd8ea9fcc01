//! Numbers that terms are told apart by, for as long as the process lives.
//!
//! Order: [`number_of`] gives terms their number when their files were read · [`InForce`] says which of them a table stands for now, to
//! whoever holds connections against it.
//!
//! Invariant: a number stands for ever for what a handshake has proved: a connection that was met with some terms is never taken for one that
//! was met with others, though a reload put other sites in their places, or other authorities into the file; and it is taken for its own,
//! though names or files have changed.

use super::Options;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number of terms, which is the same for all that prove the same; it is no place in a plan, where another may come to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermsNumber(NonZeroU16);

#[cfg(test)]
impl TermsNumber {
    /// For tests, which need no terms for it.
    pub(crate) fn new(number: u16) -> TermsNumber {
        TermsNumber(NonZeroU16::new(number).expect("tests count from one"))
    }
}

/// The number of the terms that a table stands for at the moment. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<AtomicU16>);

impl InForce {
    /// The number; none before the files of the table were read.
    pub fn number(&self) -> Option<TermsNumber> {
        // Whoever was met with new terms took them from behind a lock, which this had to be put before.
        NonZeroU16::new(self.0.load(Ordering::Relaxed)).map(TermsNumber)
    }

    /// Has the table stand for the terms of another number from here on.
    pub fn put(&self, number: TermsNumber) {
        self.0.store(number.0.get(), Ordering::Relaxed);
    }
}

/// The number of the terms that these options stand for with these authorities in their file; none where reloads have used up all that there
/// are.
pub fn number_of(options: &Options, authorities: &[CertificateDer<'_>]) -> Option<TermsNumber> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.number_of(Proved::by(options, authorities))
}

/// All terms that there were.
static KNOWN: Mutex<Known> = Mutex::new(Known(Vec::new()));

/// The one at the first place has the number one.
struct Known(Vec<Proved>);

impl Known {
    fn number_of(&mut self, proved: Proved) -> Option<TermsNumber> {
        let at = self.0.iter().position(|one| *one == proved).unwrap_or(self.0.len());
        let number = NonZeroU16::new(u16::try_from(at + 1).ok()?)?;
        if at == self.0.len() {
            self.0.push(proved);
        }
        Some(TermsNumber(number))
    }
}

/// What a handshake proves about a client. Whose certificate it was shown itself, and for which names, proves nothing.
#[derive(Clone, PartialEq, Eq)]
struct Proved {
    only_1_3: bool,
    /// A digest of the authorities, and whether one must have vouched for it.
    clients: Option<(Box<[u8]>, bool)>,
}

impl Proved {
    fn by(options: &Options, authorities: &[CertificateDer<'_>]) -> Proved {
        let clients = options.clients.as_ref().map(|clients| (digest(authorities), clients.is_required));
        Proved { only_1_3: options.only_1_3, clients }
    }
}

/// The same for the same authorities, in whichever order. A digest, for bundles have hundreds of kilobytes, and what was in force once is kept.
fn digest(authorities: &[CertificateDer<'_>]) -> Box<[u8]> {
    let mut sorted: Vec<&[u8]> = authorities.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
    let mut sha_256 = suite.common.hash_provider.start();
    for authority in sorted {
        sha_256.update(&authority.len().to_le_bytes());
        sha_256.update(authority);
    }
    sha_256.finish().as_ref().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Clients;

    fn options(path: &str, only_1_3: bool, clients: Option<bool>) -> Options {
        let clients = clients.map(|is_required| Clients { authorities: path.into(), is_required });
        Options { certificate: path.into(), key: path.into(), only_1_3, clients, names: vec![path.to_owned()] }
    }

    #[test]
    fn a_number_stands_for_what_was_proved() {
        let (one, other) = (CertificateDer::from(vec![1, 2]), CertificateDer::from(vec![3]));
        let joined = CertificateDer::from(vec![1, 2, 3]);
        let rows = [
            (options("a", true, None), vec![]),
            (options("a", false, None), vec![]),
            (options("a", false, Some(true)), vec![one.clone(), other.clone()]),
            (options("a", false, Some(false)), vec![one.clone(), other.clone()]),
            (options("a", false, Some(true)), vec![one.clone()]),
            (options("a", false, Some(true)), vec![joined]),
        ];
        let mut known = Known(Vec::new());
        let mut number = |options: &Options, authorities: &[_]| known.number_of(Proved::by(options, authorities));
        for (expected, (options, authorities)) in (1..).zip(&rows) {
            assert_eq!(number(options, authorities), Some(TermsNumber::new(expected)), "{options:?}");
        }
        // Other files with the same in them, and the same authorities in another order, or twice.
        assert_eq!(number(&options("b", true, None), &[]), Some(TermsNumber::new(1)));
        let again = [other.clone(), one, other];
        assert_eq!(number(&options("b", false, Some(true)), &again), Some(TermsNumber::new(3)));
    }

    #[test]
    fn numbers_end_and_none_is_given_twice() {
        let mut known = Known(vec![Proved::by(&options("a", false, Some(true)), &[]); usize::from(u16::MAX) - 1]);
        let (last, beyond) = (options("a", true, None), options("a", false, None));
        for _ in 0..2 {
            assert_eq!(known.number_of(Proved::by(&last, &[])), Some(TermsNumber::new(u16::MAX)));
            assert_eq!(known.number_of(Proved::by(&beyond, &[])), None);
        }
    }

    #[test]
    fn what_is_in_force_is_seen_by_all() {
        let table = InForce::default();
        let site = table.clone();
        assert_eq!(site.number(), None);
        table.put(TermsNumber::new(7));
        assert_eq!(site.number(), Some(TermsNumber::new(7)));
    }
}
