//! What this thread has under way in the engine: reads, work on the pool, waits for other threads.
//!
//! Whoever begins such a thing keeps an [`UnderWay`] until it is done. While there is none, the thread may wait for its
//! sockets by itself (`socket::tasks`), for the engine has nothing to tell soon.
//!
//! Invariant: one that was forgotten costs a moment (`socket::tasks::LINGER_MAX`) each time, and never more.

use std::cell::Cell;

/// Keeps this thread's engine known as busy.
#[derive(Debug)]
pub struct UnderWay(());

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// One more thing is under way, until what this gives is dropped, by the same thread.
pub fn under_way() -> UnderWay {
    COUNT.set(COUNT.get() + 1);
    UnderWay(())
}

/// Whether nothing is under way.
pub fn is_quiet() -> bool {
    COUNT.get() == 0
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // While a thread ends, the count may be gone before.
        let _ = COUNT.try_with(|count| count.set(count.get() - 1));
    }
}
