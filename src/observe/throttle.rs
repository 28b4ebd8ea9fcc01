//! Lets a few messages of one sort through each second, and counts the rest: whoever can cause a
//! message by a request could else fill the disk with them.

use std::cell::Cell;

/// A quota of messages; [`Throttle::tick`] renews it.
pub struct Throttle {
    left: Cell<u32>,
    suppressed: Cell<u64>,
}

/// Messages that pass between two ticks.
const MESSAGES_MAX: u32 = 10;

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle { left: Cell::new(MESSAGES_MAX), suppressed: Cell::new(0) }
    }
}

impl Throttle {
    /// Whether one more message may be told now.
    pub fn admits(&self) -> bool {
        let left = self.left.get();
        if left == 0 {
            self.suppressed.set(self.suppressed.get() + 1);
            return false;
        }
        self.left.set(left - 1);
        true
    }

    /// Renews the quota, once a second; gives the number of messages that were not told.
    pub fn tick(&self) -> u64 {
        self.left.set(MESSAGES_MAX);
        self.suppressed.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let throttle = Throttle::default();
        for _ in 0..3 {
            assert_eq!((0..100).filter(|_| throttle.admits()).count(), 10);
            assert_eq!(throttle.tick(), 90);
            assert_eq!(throttle.tick(), 0);
        }
    }
}
