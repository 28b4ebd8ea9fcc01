//! Certificates that vouch for themselves: for trials, and for machines that know each other.
//!
//! Invariant: every one has a key of its own, which nobody has seen.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A certificate and its key, each as the text of a file (PEM).
pub struct SelfSigned {
    /// For everybody.
    pub certificate: String,
    /// For the server alone.
    pub key: String,
}

/// A certificate for these hosts and addresses, from today on for as many days.
pub fn self_signed(names: &[String], days: u32) -> Result<SelfSigned, String> {
    let name = names.first().ok_or("it needs a name: that of the host")?;
    let mut params = CertificateParams::new(names.to_vec())
        .map_err(|_| format!("{names:?}: a host name has letters, digits, dashes and dots, such as \"example.org\""))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY_SECONDS);
    // A day earlier: not every clock is right.
    let date = |day| date_time_ymd(1970, 1, 1) + Duration::from_secs(day * DAY_SECONDS);
    params.not_before = date(today.saturating_sub(1));
    params.not_after = date(today + u64::from(days));
    let failed = |error: rcgen::Error| format!("the certificate cannot be made: {error}");
    // ECDSA with P-256: every client knows it, and a handshake costs a tenth of what one with RSA does.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(SelfSigned { certificate: certificate.pem(), key: key.serialize_pem() })
}

const DAY_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::super::pair::{BadPair, Pair};
    use super::*;

    #[test]
    fn a_pair_belongs_together_and_is_for_its_names() {
        let names = ["example.org", "*.example.org", "127.0.0.1"].map(str::to_owned);
        let one = self_signed(&names, 30).expect("the names are good");
        let other = self_signed(&names, 30).expect("the names are good");
        let pair = Pair::read(one.certificate.as_bytes(), one.key.as_bytes()).expect("they belong together");
        let facts = Facts::of(&pair).expect("it can be read");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as i64;
        assert_eq!((facts.names.as_slice(), facts.days_left(now)), (&names[..], 29));
        assert_eq!(facts.concerns(["www.example.org"].into_iter(), now), Vec::<String>::new());
        let mixed = Pair::read(one.certificate.as_bytes(), other.key.as_bytes()).err();
        assert!(matches!(&mixed, Some(BadPair::Key(what)) if what.contains("another certificate")), "{mixed:?}");
        assert!(self_signed(&["ex ample\u{e9}".to_owned()], 30).is_err());
    }
}
