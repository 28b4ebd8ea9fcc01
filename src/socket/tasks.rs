//! The tasks that wait for sockets, and the loop that runs them inside of one task of the engine.
//!
//! Whenever the engine has nothing to run, it arms timers, links rings and makes eight system calls before it sleeps, and as much
//! again when it wakes. A server that is woken for each of forty thousand connections a second would spend a third of its time there. So
//! these tasks have a queue of their own. [`attend`] runs what is in it, looks at the sockets, and waits for them by itself for a
//! moment before it leaves that to the engine.
//!
//! Invariant: the engine has its turn each [`UNVISITED_MAX`] at the latest, and after each round while something is under way
//! in it. What it learns of in no other way (a timer) is late by as long, and by
//! [`LINGER_MAX`] if all else fails.

use super::readiness::{self, Woken};
use crate::counters;
use crate::engine;
use async_task::{Runnable, Task};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long sockets are waited for at most before that is left to the engine. Mostly it is shorter: a timer that the engine
/// arms each time that it has had its turn ends the wait too (`server::worker` says after what time). A timeout of that length
/// here would cost an interrupt to be programmed each time.
pub const LINGER_MAX: Duration = Duration::from_millis(50);

/// How long the engine may be without a turn, so that its timers and what others told it are seen.
pub const UNVISITED_MAX: Duration = Duration::from_millis(1);

/// The tasks of one thread.
#[derive(Default)]
struct Here {
    ready: RefCell<VecDeque<Runnable>>,
    /// Wakes [`attend`] while it waits.
    attendant: Cell<Option<Waker>>,
    home: Arc<Home>,
}

/// Where other threads leave tasks that they wake.
#[derive(Default)]
struct Home {
    woken: Mutex<Vec<Runnable>>,
    /// Used by any thread, and dropped by its own only.
    attendant: Mutex<Option<Waker>>,
}

thread_local! {
    static HERE: Here = Here::default();
}

/// Makes a task of this thread, which [`attend`] runs. Dropping what this gives ends it.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let home = HERE.with(|here| here.home.clone());
    let (runnable, task) = async_task::spawn_local(future, move |runnable| home.schedule(runnable));
    runnable.schedule();
    task
}

impl Home {
    fn schedule(self: &Arc<Home>, runnable: Runnable) {
        let mut runnable = Some(runnable);
        // While a thread ends, its queue may be gone before.
        let _ = HERE.try_with(|here| {
            if Arc::ptr_eq(&here.home, self) {
                here.ready.borrow_mut().extend(runnable.take());
                if let Some(waker) = here.attendant.take() {
                    waker.wake();
                }
            }
        });
        if let Some(runnable) = runnable {
            lock(&self.woken).push(runnable);
            if let Some(waker) = &*lock(&self.attendant) {
                waker.wake_by_ref();
            }
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        *lock(&self.home.attendant) = None;
    }
}

/// Runs the tasks of this thread, for ever.
pub async fn attend() {
    let mut visited = Instant::now();
    let mut begun = visited;
    loop {
        run_round();
        let ended = Instant::now();
        if ended - begun >= counters::STALL_MIN {
            count_stall(ended - begun);
        }
        begun = ended;
        let has_ready = HERE.with(|here| !here.ready.borrow().is_empty());
        if ended - visited >= UNVISITED_MAX || has_ready && !engine::is_quiet() {
            readiness::look_now();
            visit().await;
            visited = Instant::now();
            begun = visited;
        } else if has_ready {
            readiness::glance();
        } else if !engine::is_quiet() || readiness::linger(LINGER_MAX) != Woken::Tasks {
            something_to_run().await;
            visited = Instant::now();
            begun = visited;
        } else {
            begun = Instant::now();
        }
    }
}

/// A round that took so long kept all others waiting.
#[cold]
fn count_stall(duration: Duration) {
    counters::here().stall_seconds.observe(duration);
    counters::here().note_stall(duration);
}

/// Runs each task once that is ready now; what becomes ready meanwhile is for the next round.
fn run_round() {
    let next = |here: &Here| here.ready.borrow_mut().pop_front();
    let count = HERE.with(|here| {
        let woken = std::mem::take(&mut *lock(&here.home.woken));
        let mut ready = here.ready.borrow_mut();
        ready.extend(woken);
        ready.len()
    });
    for _ in 0..count {
        let Some(runnable) = HERE.with(next) else { break };
        runnable.run();
    }
}

/// Gives the engine a turn.
async fn visit() {
    counters::here().engine_turns.add(1);
    let mut begun = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut begun, true) {
            return Poll::Ready(());
        }
        readiness::wake_after_engine(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Waits, as the engine does, until a task is ready.
async fn something_to_run() {
    counters::here().engine_turns.add(1);
    poll_fn(|cx| {
        HERE.with(|here| {
            let mut attendant = lock(&here.home.attendant);
            if !attendant.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *attendant = Some(cx.waker().clone());
            }
            drop(attendant);
            // Asked after the waker is where others look for it.
            if !here.ready.borrow().is_empty() || !lock(&here.home.woken).is_empty() {
                return Poll::Ready(());
            }
            here.attendant.set(Some(cx.waker().clone()));
            Poll::Pending
        })
    })
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Stream;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    fn on_executor<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async move {
            let attendant = glommio::spawn_local(attend());
            let output = spawn(future).await;
            attendant.cancel().await;
            output
        })
    }

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("it is open");
        (Stream::new(ours.into(), None), theirs)
    }

    /// Sockets, timers, the pool and other threads each end a wait, also while the others keep the thread busy.
    #[test]
    fn whatever_ends_a_wait_is_seen() {
        let read = on_executor(async {
            let (mut echo, mut theirs) = pair();
            let client = std::thread::spawn(move || {
                for _ in 0..3000 {
                    theirs.write_all(b"a").expect("it is read");
                    theirs.read_exact(&mut [0]).expect("it is answered");
                }
            });
            let echoing = spawn(async move {
                let mut buffer = [0; 10];
                let mut total = 0;
                loop {
                    match echo.read(&mut buffer).await.expect("it is open") {
                        0 => return total,
                        count => total += echo.write(&buffer[..count]).await.expect("it is open"),
                    }
                }
            });
            for milliseconds in 1..20 {
                glommio::timer::sleep(Duration::from_millis(milliseconds)).await;
                let blocking = move || std::thread::sleep(Duration::from_millis(milliseconds % 3));
                glommio::executor().spawn_blocking(blocking).await;
                let (sender, receiver) = async_channel(milliseconds % 2);
                sender.join().expect("it only wakes");
                assert_eq!(receiver.await, 7);
            }
            let total = echoing.await;
            client.join().expect("all is answered");
            total
        });
        assert_eq!(read, 3000);
    }

    /// A value that another thread gives after so many milliseconds.
    fn async_channel(milliseconds: u64) -> (std::thread::JoinHandle<()>, impl Future<Output = i32>) {
        let shared: Arc<Mutex<(Option<i32>, Option<Waker>)>> = Arc::default();
        let given = shared.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(milliseconds));
            let mut given = lock(&given);
            given.0 = Some(7);
            if let Some(waker) = given.1.take() {
                waker.wake();
            }
        });
        let receiver = poll_fn(move |cx| {
            let mut shared = lock(&shared);
            shared.1 = Some(cx.waker().clone());
            shared.0.take().map_or(Poll::Pending, Poll::Ready)
        });
        (thread, receiver)
    }

    #[test]
    fn tasks_run_in_turn_and_end_when_they_are_dropped() {
        let (order, dropped) = on_executor(async {
            let order = Rc::new(RefCell::new(String::new()));
            let tasks: Vec<_> = ['a', 'b']
                .into_iter()
                .map(|name| {
                    let order = order.clone();
                    spawn(async move {
                        for _ in 0..2 {
                            order.borrow_mut().push(name);
                            futures_lite::future::yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            let held = Rc::new(());
            let holder = held.clone();
            let pending = spawn(async move {
                std::future::pending::<()>().await;
                drop(holder);
            });
            pending.cancel().await;
            (order.take(), Rc::strong_count(&held))
        });
        assert_eq!((order.as_str(), dropped), ("abab", 1));
    }
}
