//! Content codings (RFC 9110 §8.4) and the choice of one by Accept-Encoding (§12.5.3).
//!
//! Order: each member of the field names a coding and its weight · `*` covers the codings that no
//! member names · of those available, the highest weight wins, then the server's preference.
//!
//! Invariant: a coding whose weight is 0 is never chosen, and identity loses every tie.

use super::grammar::{WEIGHT_MAX, list_members, trim_whitespace, weight};
use std::cmp::Reverse;

/// A content coding that this server can send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Coding {
    /// No coding: the bytes of the file.
    Identity,
    /// RFC 9110 §8.4.1.3
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

impl Coding {
    /// All of them, in the order of their numbers.
    pub const ALL: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// The name in Content-Encoding and Accept-Encoding.
    pub fn token(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// What the name of a file in this coding has behind that of the plain one.
    pub fn extension(self) -> &'static str {
        match self {
            Coding::Identity => "",
            Coding::Gzip => ".gz",
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
        }
    }

    fn from_token(token: &[u8]) -> Option<Coding> {
        // RFC 9110 §8.4.1.3: a recipient takes "x-gzip" for "gzip".
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|coding| token.eq_ignore_ascii_case(coding.token().as_bytes()))
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codings(u8);

impl Codings {
    /// The set of none.
    pub const EMPTY: Codings = Codings(0);

    /// The set with `coding` in it.
    #[must_use]
    pub fn with(self, coding: Coding) -> Codings {
        Codings(self.0 | 1 << coding as u8)
    }

    /// The set without `coding` in it.
    #[must_use]
    pub fn without(self, coding: Coding) -> Codings {
        Codings(self.0 & !(1 << coding as u8))
    }

    /// What is in either set.
    #[must_use]
    pub fn union(self, other: Codings) -> Codings {
        Codings(self.0 | other.0)
    }

    /// Whether `coding` is one of them.
    pub fn contains(self, coding: Coding) -> bool {
        self.0 & (1 << coding as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Codings::EMPTY
    }
}

/// What the client accepts: a weight in thousandths for each of [`Coding::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedCodings {
    weights: [u16; Coding::ALL.len()],
}

/// What identity weighs when no member speaks of it: acceptable, and less than all that is named,
/// for the least weight that can be named is as small and identity loses ties.
const WEIGHT_OF_UNNAMED_IDENTITY: u16 = 1;

impl AcceptedCodings {
    /// Reads the values of the Accept-Encoding lines. A coding that is named twice has the higher
    /// of its weights; a member that is malformed, or names an unknown coding, is ignored.
    ///
    /// RFC 9110 §12.5.3: without the field any coding is acceptable, and with an empty one none
    /// is; identity is what everyone understands, so both accept identity only.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> AcceptedCodings {
        let mut named = [None; Coding::ALL.len()];
        let mut others = None;
        for (name, weight) in lines.flat_map(list_members).filter_map(name_and_weight) {
            let place = match Coding::from_token(name) {
                Some(coding) => &mut named[coding as usize],
                None if name == b"*" => &mut others,
                None => continue,
            };
            // None is less than any weight.
            *place = (*place).max(Some(weight));
        }
        let mut weights = [0; Coding::ALL.len()];
        for coding in Coding::ALL {
            let unnamed = if coding == Coding::Identity { WEIGHT_OF_UNNAMED_IDENTITY } else { 0 };
            weights[coding as usize] = named[coding as usize].or(others).unwrap_or(unnamed);
        }
        AcceptedCodings { weights }
    }

    /// Whether the plain bytes are acceptable.
    pub fn accepts_identity(&self) -> bool {
        self.weights[Coding::Identity as usize] > 0
    }

    /// The coding to send: of those `available`, and identity, which always is, the one that
    /// weighs most. Of equal ones the first in `preference` wins, then those that are not in it,
    /// and identity comes last wherever it stands. None: nothing is acceptable, for 406.
    pub fn choose(&self, available: Codings, preference: &[Coding]) -> Option<Coding> {
        let weight = |coding: Coding| self.weights[coding as usize];
        let rank = |coding: Coding| match coding {
            Coding::Identity => usize::MAX,
            _ => preference.iter().position(|preferred| *preferred == coding).unwrap_or(preference.len()),
        };
        Coding::ALL
            .into_iter()
            .filter(|coding| *coding == Coding::Identity || available.contains(*coding))
            .filter(|coding| weight(*coding) > 0)
            .min_by_key(|coding| (Reverse(weight(*coding)), rank(*coding)))
    }
}

/// One member: `codings [ weight ]`. A coding has no parameters, so whatever stands behind it and
/// is not a weight makes the member malformed.
fn name_and_weight(member: &[u8]) -> Option<(&[u8], u16)> {
    let Some(semicolon) = memchr::memchr(b';', member) else { return Some((member, WEIGHT_MAX)) };
    let weight = weight(trim_whitespace(&member[semicolon + 1..]))?;
    Some((trim_whitespace(&member[..semicolon]), weight))
}

#[cfg(test)]
mod tests {
    use super::Coding::*;
    use super::*;

    const PREFERENCE: [Coding; 3] = [Brotli, Zstd, Gzip];

    fn set(codings: &[Coding]) -> Codings {
        codings.iter().fold(Codings::EMPTY, |set, coding| set.with(*coding))
    }

    fn check(lines: &[&str], available: &[Coding], expected: Option<Coding>) {
        let accepted = AcceptedCodings::parse(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(accepted.choose(set(available), &PREFERENCE), expected, "{lines:?} of {available:?}");
    }

    #[test]
    fn the_best_of_all_codings_is_chosen() {
        for (line, expected) in [
            // What clients send
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip, deflate", Some(Gzip)),
            ("gzip;q=1.0, *;q=0.5", Some(Gzip)),
            ("deflate, gzip;q=1.0, *;q=0.5", Some(Gzip)),
            ("identity", Some(Identity)),
            // Absent in effect
            ("", Some(Identity)),
            (" , ,", Some(Identity)),
            ("deflate", Some(Identity)),
            // Weights come first, then the preference
            ("br;q=0.5, gzip", Some(Gzip)),
            ("br;q=0.5, gzip;q=0.501", Some(Gzip)),
            ("gzip;q=0.5, zstd;q=0.5", Some(Zstd)),
            ("br;q=0, gzip;q=0.001", Some(Gzip)),
            // Identity: named higher, equal, lower, not at all
            ("identity, gzip;q=0.9", Some(Identity)),
            ("identity, gzip", Some(Gzip)),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0.1, gzip;q=0.2", Some(Gzip)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;q=0", Some(Identity)),
            // The star covers what is not named
            ("*", Some(Brotli)),
            ("*;q=0.1", Some(Brotli)),
            ("br;q=0, *", Some(Zstd)),
            ("br;q=0.2, zstd;q=0.1, *;q=0.3", Some(Gzip)),
            ("*;q=0", None),
            ("*;q=0, identity;q=0.1", Some(Identity)),
            ("gzip, *;q=0", Some(Gzip)),
            ("deflate, *;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, gzip;q=0", None),
            ("identity;q=0, *", Some(Brotli)),
            // Letter case, the alias, white space
            ("GZip", Some(Gzip)),
            ("BR;Q=0.5", Some(Brotli)),
            ("x-gzip", Some(Gzip)),
            ("X-GZIP;q=0.5", Some(Gzip)),
            ("gzip\t; \tq=0.5", Some(Gzip)),
            // One named twice has its higher weight
            ("gzip;q=0, gzip", Some(Gzip)),
            ("gzip, gzip;q=0", Some(Gzip)),
            ("gzip;q=0, x-gzip;q=0.1", Some(Gzip)),
            ("*;q=0, *;q=0.1", Some(Brotli)),
            // Malformed members are ignored
            ("gzip;q=2", Some(Identity)),
            ("gzip;q=0.1234", Some(Identity)),
            ("gzip;q=", Some(Identity)),
            ("gzip;", Some(Identity)),
            ("gzip;level=9", Some(Identity)),
            ("gzip;q=1;level=9", Some(Identity)),
            ("gzip;level=9;q=1", Some(Identity)),
            ("gzip q=1", Some(Identity)),
            (";q=1", Some(Identity)),
            ("gzipped", Some(Identity)),
            ("br;q=x, gzip;q=0.1", Some(Gzip)),
            ("identity;q=x, *;q=0", None),
        ] {
            check(&[line], &Coding::ALL, expected);
        }
    }

    #[test]
    fn only_available_codings_are_chosen() {
        for (line, available, expected) in [
            ("gzip, br", &[Gzip][..], Some(Gzip)),
            ("gzip, br", &[Zstd], Some(Identity)),
            ("gzip, br", &[], Some(Identity)),
            ("*", &[], Some(Identity)),
            ("*;q=0.5", &[Gzip], Some(Gzip)),
            ("identity;q=0.1, gzip;q=0.2", &[], Some(Identity)),
            ("gzip;q=0.2, *;q=0.8", &[Gzip], Some(Identity)),
            ("gzip, identity;q=0", &[Brotli], None),
            ("gzip, *;q=0", &[Brotli], None),
        ] {
            check(&[line], available, expected);
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        check(&[], &Coding::ALL, Some(Identity));
        check(&["gzip", "br"], &Coding::ALL, Some(Brotli));
        check(&["gzip", "", "*;q=0"], &[Brotli, Gzip], Some(Gzip));
        check(&["*;q=0", "identity"], &Coding::ALL, Some(Identity));
    }

    #[test]
    fn the_preference_orders_equal_weights() {
        let accepted = AcceptedCodings::parse([&b"gzip, br, zstd"[..]].into_iter());
        for (preference, expected) in [
            (&[Gzip, Brotli, Zstd][..], Gzip),
            (&[Zstd], Zstd),
            // Identity stands last even when it is listed first
            (&[Identity, Zstd], Zstd),
            (&[], Gzip),
        ] {
            assert_eq!(accepted.choose(set(&Coding::ALL), preference), Some(expected), "{preference:?}");
        }
    }

    #[test]
    fn sets_of_codings() {
        for bits in 0..16_usize {
            let codings: Vec<_> = Coding::ALL.into_iter().filter(|coding| bits >> *coding as usize & 1 == 1).collect();
            let set = set(&codings);
            assert_eq!(set.is_empty(), codings.is_empty());
            for coding in Coding::ALL {
                assert_eq!(set.contains(coding), codings.contains(&coding), "{coding:?} in {codings:?}");
            }
        }
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        for (number, coding) in Coding::ALL.into_iter().enumerate() {
            assert_eq!(coding as usize, number, "the weights are indexed by it");
            assert_eq!(Coding::from_token(coding.token().as_bytes()), Some(coding));
        }
        assert_eq!(Coding::ALL.map(Coding::extension), ["", ".gz", ".br", ".zst"]);
    }
}
