//! Turns for those who send much: one of them a time, and between two turns whoever has something small to send.
//!
//! A core runs its tasks in the order in which they became ready. Sixty transfers that are ready at once would each send its
//! piece before a small request is even read. So a transfer takes a turn for each piece; the next one is woken when the
//! turn ends, and then stands behind all tasks that became ready meanwhile.
//!
//! Invariant: between two pieces of bulk content, every request that had come in by the end of the first is answered, as far
//! as it asks for what is in memory.

use super::readiness;
use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The turns of one core. (The engine's semaphore lets who just had a turn overtake those who wait for one.)
#[derive(Default)]
pub struct Bulk {
    is_taken: Cell<bool>,
    line: RefCell<VecDeque<Rc<Waiting>>>,
}

/// One who stands in line.
#[derive(Default)]
struct Waiting {
    has_turn: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A turn; it ends when this is dropped, which should be before the next wait.
pub struct Turn<'a> {
    bulk: &'a Bulk,
}

impl Bulk {
    /// Waits for a turn, behind those who wait already and all tasks that are ready.
    pub async fn turn(&self) -> Turn<'_> {
        if !self.is_taken.replace(true) {
            let turn = Turn { bulk: self };
            future::yield_now().await;
            return turn;
        }
        let mut place = Place { bulk: self, waiting: Rc::default() };
        self.line.borrow_mut().push_back(place.waiting.clone());
        future::poll_fn(|cx| {
            if place.waiting.has_turn.get() {
                return Poll::Ready(());
            }
            place.waiting.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        place.waiting = Rc::default();
        Turn { bulk: self }
    }

    /// Hands the turn to the next in line who still stands there.
    fn pass_on(&self) {
        // Apart from the loop's own borrow: a waker may be the last that holds a task.
        let next = || self.line.borrow_mut().pop_front();
        while let Some(waiting) = next() {
            if Rc::strong_count(&waiting) == 1 {
                continue;
            }
            waiting.has_turn.set(true);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
            return;
        }
        self.is_taken.set(false);
    }
}

/// A place in line; one who leaves with a turn passes it on.
struct Place<'a> {
    bulk: &'a Bulk,
    waiting: Rc<Waiting>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waiting.has_turn.get() {
            self.bulk.pass_on();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // First whoever has become ready meanwhile, then the next piece.
        readiness::glance();
        self.bulk.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    /// The order in which they get to run, when all are ready at the same time.
    #[test]
    fn small_answers_stand_between_pieces() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        let order = executor.run(async {
            let (bulk, order) = (Rc::new(Bulk::default()), Rc::new(RefCell::new(String::new())));
            let mut tasks = Vec::new();
            for name in ['A', 'B', 'C'] {
                let (bulk, order) = (bulk.clone(), order.clone());
                tasks.push(glommio::spawn_local(async move {
                    for _ in 0..2 {
                        let _turn = bulk.turn().await;
                        order.borrow_mut().push(name);
                    }
                }));
            }
            for _ in 0..2 {
                let order = order.clone();
                tasks.push(glommio::spawn_local(async move { order.borrow_mut().push('.') }));
            }
            for task in tasks {
                task.await;
            }
            order.take()
        });
        assert_eq!(order, "..ABCABC");
    }

    #[test]
    fn who_leaves_the_line_keeps_nobody_waiting() {
        let bulk = Bulk::default();
        let first = block_on(bulk.turn());
        let mut second = Box::pin(bulk.turn());
        let mut third = Box::pin(bulk.turn());
        let mut fourth = Box::pin(bulk.turn());
        for waiting in [&mut second, &mut third, &mut fourth] {
            assert!(block_on(poll_once(waiting)).is_none());
        }
        drop(second);
        drop(first);
        // The third has the turn and does not know it yet.
        drop(third);
        let turn = block_on(poll_once(&mut fourth));
        assert!(turn.is_some());
        drop(turn);
        assert!(!bulk.is_taken.get());
    }
}
