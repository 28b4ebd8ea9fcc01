//! The choice of a coding: what is chosen may be sent, the client takes it, and nothing that it
//! would rather have was there.
//!
//! The input is the values of the Accept-Encoding lines, one a line.
//!
//! Invariant: a coding that the client refuses (`q=0`) is never chosen.

use otus_httpd::http::accept;
use otus_httpd::http::coding::{AcceptedCodings, Coding, Codings};

const PREFERENCES: [&[Coding]; 3] =
    [&[], &[Coding::Gzip, Coding::Zstd], &[Coding::Brotli, Coding::Zstd, Coding::Gzip, Coding::Identity]];

/// Chooses by the lines of `data` from every set of codings.
pub fn accept_encoding(data: &[u8]) {
    let lines = || data.split(|b| *b == b'\n');
    let accepted = AcceptedCodings::parse(lines());
    let weights = Coding::ALL.map(|coding| naive_weight(lines(), coding));
    for preference in PREFERENCES {
        for bits in 0..1_usize << Coding::ALL.len() {
            let mut available = Codings::EMPTY;
            for (at, coding) in Coding::ALL.into_iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0) {
                assert!(!available.contains(coding), "{at}");
                available = available.with(coding);
            }
            check_choice(accepted.choose(available, preference), available, &weights);
        }
    }
    // The parser of Accept takes its members apart in another way, and must take any bytes too.
    assert!(accept::preferred(lines(), &["text/html", "application/json"]) < 2);
}

fn check_choice(choice: Option<Coding>, available: Codings, weights: &[u32]) {
    let weight = |coding: Coding| weights[coding as usize];
    let sendable =
        || Coding::ALL.into_iter().filter(|coding| *coding == Coding::Identity || available.contains(*coding));
    let Some(choice) = choice else {
        // RFC 9110 §12.5.3: nothing at all, only where all that could be sent is refused.
        return assert!(sendable().all(|coding| weight(coding) == 0), "{available:?}");
    };
    assert!(sendable().any(|coding| coding == choice), "{choice:?} of {available:?}");
    assert!(weight(choice) > 0, "{choice:?} is refused");
    for other in sendable() {
        assert!(weight(other) <= weight(choice), "{other:?} is wanted more than {choice:?}");
        assert!(
            choice != Coding::Identity || other == choice || weight(other) < weight(choice),
            "{other:?} for nothing"
        );
    }
}

/// What the lines say of `coding`, in thousandths; the most where they say it more than once, and
/// where they say nothing of identity, as little as can be said.
fn naive_weight<'a>(lines: impl Iterator<Item = &'a [u8]>, coding: Coding) -> u32 {
    let (mut named, mut others) = (None, None);
    for member in lines.flat_map(|line| line.split(|b| *b == b',')) {
        let Ok(member) = std::str::from_utf8(member) else { continue };
        let space = [' ', '\t'];
        let mut parts = member.splitn(2, ';');
        let name = parts.next().unwrap_or_default().trim_matches(space).to_ascii_lowercase();
        let Some(weight) = parts.next().map_or(Some(1000), |weight| thousandths(weight.trim_matches(space))) else {
            continue;
        };
        if name == coding.token() || (name == "x-gzip" && coding == Coding::Gzip) {
            named = named.max(Some(weight));
        } else if name == "*" {
            others = others.max(Some(weight));
        }
    }
    named.or(others).unwrap_or(u32::from(coding == Coding::Identity))
}

/// RFC 9110 §12.4.2: `q=` and a number from 0 to 1 with three decimals at most.
fn thousandths(weight: &str) -> Option<u32> {
    let number = weight.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().expect("four digits");
    (thousandths <= 1000).then_some(thousandths)
}
