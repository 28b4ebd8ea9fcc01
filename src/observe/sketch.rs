//! Who takes most: the heaviest of any number of names, in a fixed number of places (Metwally's space-saving sketch).
//!
//! Invariant: a name that has more than one part in [`PLACES`] of all weight is among those that are held; the weight that
//! is told of it is at least its own, and too large by at most the least weight held.

use std::hash::{BuildHasher, RandomState};

/// Names that are held at a time.
pub const PLACES: usize = 64;

/// What is kept of a name.
pub const NAME_BYTES_MAX: usize = 160;

/// One that takes much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heavy {
    hash: u64,
    /// What it took.
    pub weight: u64,
    /// Its name, or the beginning of it.
    pub name: Vec<u8>,
}

/// The heaviest.
#[derive(Debug)]
pub struct Sketch {
    heavy: Vec<Heavy>,
    hasher: RandomState,
}

impl Sketch {
    /// One that holds nothing yet. From here on it allocates no more than the names of its places.
    pub fn new() -> Sketch {
        Sketch { heavy: Vec::with_capacity(PLACES), hasher: RandomState::new() }
    }

    /// Adds to the weight of a name.
    pub fn count(&mut self, name: &[u8], weight: u64) {
        let hash = self.hasher.hash_one(name);
        if let Some(heavy) = self.heavy.iter_mut().find(|heavy| heavy.hash == hash) {
            heavy.weight += weight;
            return;
        }
        let kept = &name[..name.len().min(NAME_BYTES_MAX)];
        if self.heavy.len() < PLACES {
            let mut name = Vec::with_capacity(NAME_BYTES_MAX);
            name.extend_from_slice(kept);
            self.heavy.push(Heavy { hash, weight, name });
            return;
        }
        // The lightest has to go, and the newcomer takes its weight over: it may have had as much, unseen.
        if let Some(lightest) = self.heavy.iter_mut().min_by_key(|heavy| heavy.weight) {
            lightest.hash = hash;
            lightest.weight += weight;
            lightest.name.clear();
            lightest.name.extend_from_slice(kept);
        }
    }

    /// Forgets half of all weight, so that what was heavy long ago does not stay.
    pub fn fade(&mut self) {
        self.heavy.iter_mut().for_each(|heavy| heavy.weight /= 2);
        self.heavy.retain(|heavy| heavy.weight > 0);
    }

    /// Those that are held, in no order.
    pub fn heavy(&self) -> &[Heavy] {
        &self.heavy
    }
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_of_many_is_found_and_never_told_too_light() {
        let mut sketch = Sketch::new();
        for round in 0..100u64 {
            sketch.count(b"/heavy", 50);
            for number in 0..100 {
                sketch.count(format!("/{round}/{number}").as_bytes(), 1);
            }
        }
        assert_eq!(sketch.heavy().len(), PLACES);
        let heaviest = sketch.heavy().iter().max_by_key(|heavy| heavy.weight).expect("it holds some");
        assert_eq!(heaviest.name, b"/heavy");
        let least = sketch.heavy().iter().map(|heavy| heavy.weight).min().expect("it holds some");
        assert!((5000..=5000 + least).contains(&heaviest.weight), "{}", heaviest.weight);
        let all: u64 = sketch.heavy().iter().map(|heavy| heavy.weight).sum();
        assert_eq!(all, 15_000, "no weight is lost, and none is made");
    }

    #[test]
    fn what_was_heavy_fades() {
        let mut sketch = Sketch::new();
        sketch.count(b"a", 4);
        sketch.count(b"b", 1);
        sketch.fade();
        assert_eq!(
            sketch.heavy().iter().map(|heavy| (&heavy.name[..], heavy.weight)).collect::<Vec<_>>(),
            [(&b"a"[..], 2)]
        );
        (0..3).for_each(|_| sketch.fade());
        assert!(sketch.heavy().is_empty());
    }

    #[test]
    fn a_long_name_is_told_by_its_beginning_and_apart_by_all_of_it() {
        let mut sketch = Sketch::new();
        let long = vec![b'x'; 2 * NAME_BYTES_MAX];
        sketch.count(&long, 1);
        sketch.count(&long[1..], 1);
        assert_eq!(sketch.heavy().len(), 2);
        assert!(sketch.heavy().iter().all(|heavy| heavy.name.len() == NAME_BYTES_MAX));
    }
}
