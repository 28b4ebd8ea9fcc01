//! Numbers that terms are told apart by, for as long as the process lives.
//!
//! Invariant: a number stands for the same keys for ever: a connection that was met with some terms is never taken for one that was met
//! with others, though a reload put other sites in their places.

use super::Options;
use std::sync::{Mutex, PoisonError};

/// All terms that there were; a place is a number.
static KNOWN: Mutex<Vec<Options>> = Mutex::new(Vec::new());

/// The number of these terms; none where reloads have used up all that there are.
pub fn number_of(options: &Options) -> Option<u16> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let at = known.iter().position(|one| one == options).unwrap_or(known.len());
    let number = u16::try_from(at).ok()?;
    if at == known.len() {
        known.push(options.clone());
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_the_same_keys() {
        let options = |path: &str| Options {
            certificate: path.into(),
            key: path.into(),
            only_1_3: false,
            clients: None,
            names: Vec::new(),
        };
        let [a, b, again] = ["numbers a", "numbers b", "numbers a"].map(|path| number_of(&options(path)));
        assert!(a.is_some() && a == again && a != b, "{a:?} {b:?} {again:?}");
    }
}
