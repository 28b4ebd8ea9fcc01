//! Numbers that terms are told apart by, for as long as the process lives.
//!
//! Invariant: a number stands for ever for what a handshake has proved: a connection that was met with some terms is never taken for one that
//! was met with others, though a reload put other sites in their places; and it is taken for its own, though names or files have changed.

use super::Options;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// All terms that there were; a place is a number.
static KNOWN: Mutex<Vec<Options>> = Mutex::new(Vec::new());

/// The number of these terms; none where reloads have used up all that there are.
pub fn number_of(options: &Options) -> Option<u16> {
    // Whose certificate was shown, and for which names, proves nothing about the client.
    let options = &Options { certificate: PathBuf::new(), key: PathBuf::new(), names: Vec::new(), ..options.clone() };
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
    fn a_number_stands_for_what_was_proved() {
        let options = |path: &str, only_1_3| Options {
            certificate: path.into(),
            key: path.into(),
            only_1_3,
            clients: None,
            names: vec![path.to_owned()],
        };
        let [a, b, again] =
            [("a", true), ("a", false), ("b", true)].map(|(path, only)| number_of(&options(path, only)));
        assert!(a.is_some() && a == again && a != b, "{a:?} {b:?} {again:?}");
    }
}
