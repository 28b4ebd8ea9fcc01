//! Runs what may block on the executor's blocking pool.
//!
//! Invariant: what was begun is finished, even when nobody waits for it any more. The engine's own
//! future, dropped too early, would forget the result without dropping it, and with it an open
//! descriptor.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `work` on the blocking pool and gives its result. A panic in it goes on in the caller,
/// and leaves the pool's thread alive.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let guarded = move || catch_unwind(AssertUnwindSafe(work));
    // A detached task runs to its end; dropping the handle drops its result when it comes.
    let task = glommio::spawn_local(async move { glommio::executor().spawn_blocking(guarded).await });
    match task.detach().await {
        Some(Ok(output)) => output,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the task is detached, so it cannot be cancelled, and does not panic itself"),
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
}
