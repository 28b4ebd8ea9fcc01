//! What any part of the server wants to have told in its status, as key and value: the file of the configuration, what of
//! the sandbox is in force.
//!
//! Invariant: a key is told once, with what was set last, in the order in which keys came.

use std::sync::{Mutex, PoisonError};

static NOTES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Tells `value` of `key` from here on; nothing, where the value is empty. For what changes rarely.
pub fn set(key: &str, value: impl Into<String>) {
    let value = value.into();
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    match notes.iter().position(|(noted, _)| noted == key) {
        Some(at) if value.is_empty() => drop(notes.remove(at)),
        Some(at) => notes[at].1 = value,
        None if value.is_empty() => {}
        None => notes.push((key.to_owned(), value)),
    }
}

/// All of them.
pub fn all() -> Vec<(String, String)> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let of =
            |key: &str| all().into_iter().filter(|(noted, _)| noted == key).map(|(_, value)| value).collect::<Vec<_>>();
        set("a test", "one");
        set("a test", "two");
        assert_eq!(of("a test"), ["two"]);
        set("a test", "");
        assert!(of("a test").is_empty());
    }
}
