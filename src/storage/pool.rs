//! Runs what may block on the executor's blocking pool.
//!
//! Invariant: what was begun is finished, even when nobody waits for it any more. The engine's own
//! future, dropped too early, would forget the result without dropping it, and with it an open
//! descriptor.

use crate::engine;
use glommio::sync::Semaphore;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Runs `work` on the blocking pool and gives its result. A panic in it goes on in the caller,
/// and leaves the pool's thread alive.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let guarded = move || catch_unwind(AssertUnwindSafe(work));
    // A detached task runs to its end; dropping the handle drops its result when it comes.
    let under_way = engine::under_way();
    let task = glommio::spawn_local(async move {
        let output = glommio::executor().spawn_blocking(guarded).await;
        drop(under_way);
        output
    });
    match task.detach().await {
        Some(Ok(output)) => output,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the task is detached, so it cannot be cancelled, and does not panic itself"),
    }
}

/// Goes on with `work` by itself; nobody waits for it.
pub fn in_background(work: impl Future<Output = ()> + 'static) {
    let under_way = engine::under_way();
    glommio::spawn_local(async move {
        work.await;
        drop(under_way);
    })
    .detach();
}

/// A part of the pool for work that keeps a thread busy for long. Without it, such work would take
/// all threads, and look-ups would wait.
pub struct Lane {
    threads: Rc<Semaphore>,
    waiting: Cell<usize>,
}

/// Threads of the pool that one lane takes at most.
const LANE_THREADS: u64 = 1;

/// How many may wait for a lane; more are turned away.
const LANE_WAITING_MAX: usize = 64;

impl Default for Lane {
    fn default() -> Lane {
        Lane { threads: Rc::new(Semaphore::new(LANE_THREADS)), waiting: Cell::new(0) }
    }
}

impl Lane {
    /// Runs `work` when its turn comes; `None` when too many wait already.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if self.waiting.get() >= LANE_WAITING_MAX {
            return None;
        }
        let _waiting = Waiting::new(&self.waiting);
        // It fails only when closed, which nobody does.
        let _turn = self.threads.acquire_permit(1).await.ok()?;
        Some(run(work).await)
    }

    /// Whether nothing runs in it.
    pub fn is_idle(&self) -> bool {
        self.waiting.get() == 0
    }
}

/// Counts one who waits for a lane, or is in it.
struct Waiting<'a>(&'a Cell<usize>);

impl Waiting<'_> {
    fn new(count: &Cell<usize>) -> Waiting<'_> {
        count.set(count.get() + 1);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::FutureExt;
    use futures_lite::future::poll_once;
    use std::sync::Arc;
    use std::time::Duration;

    fn on_executor<T>(future: impl Future<Output = T>) -> T {
        glommio::LocalExecutorBuilder::default().make().expect("io_uring works here").run(future)
    }

    #[test]
    fn the_result_comes_back() {
        assert_eq!(on_executor(run(|| 6 * 7)), 42);
    }

    #[test]
    fn a_panic_goes_on_in_the_caller_and_the_pool_lives() {
        on_executor(async {
            assert!(AssertUnwindSafe(run(|| panic!("on the pool"))).catch_unwind().await.is_err());
            assert_eq!(run(|| 1).await, 1);
        });
    }

    /// An open that nobody waits for any more must not leak its descriptor.
    #[test]
    fn a_result_that_nobody_waits_for_is_dropped() {
        on_executor(async {
            let resource = Arc::new(());
            let given = resource.clone();
            let begun = run(move || {
                std::thread::sleep(Duration::from_millis(20));
                given
            });
            assert!(poll_once(begun).await.is_none());
            for _ in 0..100 {
                if Arc::strong_count(&resource) == 1 {
                    return;
                }
                glommio::timer::sleep(Duration::from_millis(20)).await;
            }
            panic!("the result is still held");
        });
    }

    #[test]
    fn a_lane_runs_one_at_a_time_and_turns_away_what_is_too_much() {
        on_executor(async {
            let lane = Rc::new(Lane::default());
            let (release, released) = std::sync::mpsc::channel::<()>();
            let mut held = Box::pin(lane.run(move || released.recv().is_ok()));
            assert!(poll_once(&mut held).await.is_none());
            let mut waiting: Vec<_> = (1..LANE_WAITING_MAX).map(|_| Box::pin(lane.run(|| 1))).collect();
            for one in &mut waiting {
                assert!(poll_once(one).await.is_none());
            }
            assert!(lane.run(|| 1).await.is_none(), "one more than may wait");
            release.send(()).expect("it waits");
            assert_eq!(held.await, Some(true));
            // One who gives up leaves room and does not stop the others.
            drop(waiting.remove(0));
            for one in waiting {
                assert_eq!(one.await, Some(1));
            }
            assert!(lane.is_idle());
        });
    }
}
