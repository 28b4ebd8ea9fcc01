//! One fetch for all who want the same thing at the same time.
//!
//! When a hundred clients ask for one cold file, the first reads it and the others wait for what
//! the first brings: the disk is read once, and the memory is taken once.
//!
//! Invariant: a flight that is dropped before it landed strands nobody: one of those who wait
//! flies anew.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The fetches under way on one core, by key.
pub struct Flights<K, T> {
    under_way: RefCell<HashMap<K, Rc<Flight<T>>>>,
}

struct Flight<T> {
    outcome: RefCell<Option<T>>,
    landed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Flights<K, T> {
        Flights { under_way: RefCell::default() }
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    /// The outcome of `fetch`, or of the fetch for the same key that is under way already.
    pub async fn join<F: Future<Output = T>>(&self, key: &K, fetch: impl FnOnce() -> F) -> T {
        loop {
            let under_way = self.under_way.borrow().get(key).cloned();
            match under_way {
                None => return self.fly(key, fetch()).await,
                Some(flight) => {
                    flight.landing().await;
                    if let Some(outcome) = flight.outcome.borrow().clone() {
                        return outcome;
                    }
                }
            }
        }
    }

    async fn fly(&self, key: &K, fetch: impl Future<Output = T>) -> T {
        let flight =
            Rc::new(Flight { outcome: RefCell::default(), landed: Cell::new(false), waiting: RefCell::default() });
        self.under_way.borrow_mut().insert(key.clone(), flight.clone());
        let landing = Landing { flights: self, key, flight: &flight };
        let outcome = fetch.await;
        flight.outcome.replace(Some(outcome.clone()));
        drop(landing);
        outcome
    }
}

impl<T> Flight<T> {
    async fn landing(&self) {
        poll_fn(|cx| {
            if self.landed.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Takes the flight off the list and wakes those who wait, however it ended.
struct Landing<'a, K: Eq + Hash, T> {
    flights: &'a Flights<K, T>,
    key: &'a K,
    flight: &'a Flight<T>,
}

impl<K: Eq + Hash, T> Drop for Landing<'_, K, T> {
    fn drop(&mut self) {
        self.flights.under_way.borrow_mut().remove(self.key);
        self.flight.landed.set(true);
        for waker in self.flight.waiting.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, pending, poll_once, ready, zip};
    use std::pin::pin;

    #[test]
    fn those_who_come_while_it_is_under_way_get_the_same() {
        let flights = Flights::default();
        let fetches = Cell::new(0);
        let fetch = || {
            fetches.set(fetches.get() + 1);
            let number = fetches.get();
            async move {
                futures_lite::future::yield_now().await;
                number
            }
        };
        let both = zip(flights.join(&"a", fetch), flights.join(&"a", fetch));
        assert_eq!(block_on(both), (1, 1));
        assert_eq!(block_on(zip(flights.join(&"a", fetch), flights.join(&"b", fetch))), (2, 3));
    }

    #[test]
    fn a_flight_that_is_given_up_strands_nobody() {
        let flights = Flights::default();
        let mut given_up = Box::pin(flights.join(&"a", pending::<i32>));
        assert_eq!(block_on(poll_once(&mut given_up)), None);
        let mut waiting = pin!(flights.join(&"a", || ready(2)));
        assert_eq!(block_on(poll_once(waiting.as_mut())), None);
        drop(given_up);
        assert_eq!(block_on(poll_once(waiting)), Some(2));
    }
}
