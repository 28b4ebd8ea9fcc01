//! Which content the process holds in memory, and which is on its way there: the one table that all workers share.
//!
//! Whoever wants the content of a file takes what is there, or waits for who reads it, or reads it with a [`Claim`].
//!
//! Invariant: of each identity at most one claim is out. A claim that is dropped, or whose thread ends, wakes those who
//! wait for it, and one of them has the next.

use super::file::Identity;
use super::shared::SharedContent;
use crate::engine;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

/// What came of asking for content.
#[derive(Debug)]
pub enum Share {
    /// It is there.
    Content(Arc<SharedContent>),
    /// It is not, and this is the leave to read it.
    Claim(Claim),
}

/// The leave to read the file of one identity into memory, for all.
#[derive(Debug)]
pub struct Claim {
    identity: Identity,
    number: u64,
}

/// What the process has of one identity.
enum Holding {
    Held(Weak<SharedContent>),
    Claimed(Claimed),
}

struct Claimed {
    /// Tells claims of one identity apart.
    number: u64,
    thread: ThreadId,
    waiting: Vec<Arc<Waiter>>,
}

static TABLE: LazyLock<Mutex<HashMap<Identity, Holding>>> = LazyLock::new(Mutex::default);

/// The content of the file of this identity, when a worker holds it.
pub fn find(identity: &Identity) -> Option<Arc<SharedContent>> {
    match table().get(identity) {
        Some(Holding::Held(content)) => content.upgrade(),
        _ => None,
    }
}

/// The content of the file of this identity, once it is there, or the leave to read it.
pub async fn share(identity: &Identity) -> Share {
    let waiter = Waiting(Arc::default());
    let _under_way = engine::under_way();
    poll_fn(|cx| {
        let mut table = table();
        match table.get_mut(identity) {
            Some(Holding::Held(content)) => {
                if let Some(content) = content.upgrade() {
                    return Poll::Ready(Share::Content(content));
                }
            }
            Some(Holding::Claimed(claimed)) => {
                waiter.wait_for(claimed, cx);
                return Poll::Pending;
            }
            None => {}
        }
        Poll::Ready(Share::Claim(Claim::enter(&mut table, identity)))
    })
    .await
}

/// The leave to read the file of this identity, unless it is there or on its way.
pub fn claim(identity: &Identity) -> Option<Claim> {
    let mut table = table();
    match table.get(identity) {
        Some(Holding::Held(content)) if content.strong_count() > 0 => None,
        Some(Holding::Claimed(_)) => None,
        _ => Some(Claim::enter(&mut table, identity)),
    }
}

/// Takes content off the table that nobody holds any more.
pub(super) fn let_go(identity: &Identity) {
    let mut table = table();
    // Another worker may have read it anew meanwhile, or be about to.
    if matches!(table.get(identity), Some(Holding::Held(content)) if content.strong_count() == 0) {
        table.remove(identity);
    }
}

impl Claim {
    fn enter(table: &mut HashMap<Identity, Holding>, identity: &Identity) -> Claim {
        static CLAIMS: AtomicU64 = AtomicU64::new(0);
        let number = CLAIMS.fetch_add(1, Ordering::Relaxed);
        let thread = OF_THREAD.with(|claims| claims.0);
        table.insert(*identity, Holding::Claimed(Claimed { number, thread, waiting: Vec::new() }));
        Claim { identity: *identity, number }
    }

    /// What it is for.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The content is there: all find it from here on.
    pub(super) fn fulfil(self, content: &Arc<SharedContent>) {
        let fulfilled = |holding: &mut Holding| *holding = Holding::Held(Arc::downgrade(content));
        let mut table = table();
        let waiting = self.take_waiting(&mut table);
        // One that was given up with its thread has a successor, whose content will be found.
        if waiting.is_some() {
            table.get_mut(&self.identity).map(fulfilled);
        }
        drop(table);
        wake(waiting.unwrap_or_default());
    }

    /// Those who wait for it, if it stands.
    fn take_waiting(&self, table: &mut HashMap<Identity, Holding>) -> Option<Vec<Arc<Waiter>>> {
        match table.get_mut(&self.identity) {
            Some(Holding::Claimed(claimed)) if claimed.number == self.number => {
                Some(std::mem::take(&mut claimed.waiting))
            }
            _ => None,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = table();
        let waiting = self.take_waiting(&mut table);
        if waiting.is_some() {
            table.remove(&self.identity);
        }
        drop(table);
        wake(waiting.unwrap_or_default());
    }
}

/// The claims of one thread. The engine forgets the tasks of a thread that unwinds, and with them their claims.
struct OfThread(ThreadId);

thread_local! {
    static OF_THREAD: OfThread = OfThread(std::thread::current().id());
}

impl Drop for OfThread {
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        table().retain(|_, holding| match holding {
            Holding::Claimed(claimed) if claimed.thread == self.0 => {
                waiting.append(&mut claimed.waiting);
                false
            }
            _ => true,
        });
        wake(waiting);
    }
}

/// Where one who waits is woken. The waker is dropped by the thread that it belongs to, and by no other: the engine's count of
/// references may be taken to nothing by its own thread only.
#[derive(Default)]
struct Waiter {
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, on its own thread.
struct Waiting(Arc<Waiter>);

impl Waiting {
    fn wait_for(&self, claimed: &mut Claimed, cx: &Context<'_>) {
        let mut waker = self.0.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        if !claimed.waiting.iter().any(|waiter| Arc::ptr_eq(waiter, &self.0)) {
            claimed.waiting.push(self.0.clone());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.waker() = None;
    }
}

fn wake(waiting: Vec<Arc<Waiter>>) {
    for waiter in waiting {
        if let Some(waker) = &*waiter.waker() {
            waker.wake_by_ref();
        }
    }
}

fn table() -> MutexGuard<'static, HashMap<Identity, Holding>> {
    // A worker that panicked in here left the table as it was before or after one call.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) fn has(identity: &Identity) -> bool {
    table().contains_key(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::Timestamp;
    use crate::storage::shared::Filling;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;
    use std::sync::Barrier;
    use std::time::Duration;

    /// Tests of one process share the table.
    fn identity(inode: u64) -> Identity {
        let time = Timestamp { seconds: 2, nanoseconds: 0 };
        Identity { device: u64::MAX, inode, length: 3, modified: time, changed: time }
    }

    fn claimed(share: Share) -> Claim {
        match share {
            Share::Claim(claim) => claim,
            Share::Content(_) => panic!("nobody has read it"),
        }
    }

    fn read(claim: Claim) -> Arc<SharedContent> {
        let mut filling = Filling::begin(3).expect("memory");
        filling.append(b"abc").expect("memory");
        filling.finish(Some(claim)).expect("it can be frozen")
    }

    #[test]
    fn those_who_come_while_it_is_read_get_the_same() {
        let wanted = identity(1);
        let claim = claimed(block_on(share(&wanted)));
        assert!(super::claim(&wanted).is_none() && find(&wanted).is_none());
        let mut waiting = pin!(share(&wanted));
        assert!(block_on(poll_once(waiting.as_mut())).is_none());
        let content = read(claim);
        let Some(Share::Content(same)) = block_on(poll_once(waiting)) else { panic!("it was read") };
        assert!(Arc::ptr_eq(&content, &same) && super::claim(&wanted).is_none());
        drop((content, same));
        assert!(!has(&wanted), "nothing is left of it");
    }

    #[test]
    fn a_claim_that_is_given_up_goes_to_one_who_waits() {
        let wanted = identity(2);
        let claim = claimed(block_on(share(&wanted)));
        let (mut second, mut third) = (pin!(share(&wanted)), pin!(share(&wanted)));
        assert!(block_on(poll_once(second.as_mut())).is_none() && block_on(poll_once(third.as_mut())).is_none());
        drop(claim);
        let claim = claimed(block_on(poll_once(second)).expect("it is its turn"));
        assert!(block_on(poll_once(third.as_mut())).is_none());
        let content = read(claim);
        assert!(matches!(block_on(poll_once(third)), Some(Share::Content(_))));
        drop(content);
        assert!(!has(&wanted));
    }

    #[test]
    fn the_claims_of_a_thread_end_with_it() {
        let forget = || std::mem::forget(claimed(block_on(share(&identity(3)))));
        std::thread::spawn(forget).join().expect("it does not panic");
        let claim = claimed(block_on(share(&identity(3))));
        let late = Claim { identity: identity(3), number: u64::MAX };
        drop(late);
        assert!(super::claim(&identity(3)).is_none(), "the claim that stands is not touched");
        drop(claim);
        assert!(!has(&identity(3)));
    }

    /// Each of two executors wants the same, over and over; the first reader fails now and then.
    #[test]
    fn executors_wake_each_other() {
        const ROUNDS: u64 = 200;
        let reads = AtomicU64::new(0);
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        let worker = || {
            let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
            executor.run(async {
                for round in 0..ROUNDS {
                    begin.wait();
                    let wanted = identity(1000 + round);
                    let content = loop {
                        match share(&wanted).await {
                            Share::Content(content) => break content,
                            Share::Claim(claim) => {
                                glommio::timer::sleep(Duration::from_micros(300)).await;
                                if reads.fetch_add(1, Ordering::Relaxed) % 5 != 0 {
                                    break read(claim);
                                }
                            }
                        }
                    };
                    assert_eq!(content.to_vec(), Ok(b"abc".to_vec()));
                    // It is held until both have it, so that neither reads it again.
                    end.wait();
                }
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(worker);
            scope.spawn(worker);
        });
        let failed = reads.load(Ordering::Relaxed).div_ceil(5);
        assert_eq!(reads.load(Ordering::Relaxed), ROUNDS + failed, "each is read once");
    }
}
