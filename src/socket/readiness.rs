//! Which sockets of this thread can be read or written: one epoll set a thread, edge-triggered.
//!
//! Order: a task that finds its socket not ready leaves a waker ([`Registration::poll`]) · the engine finds nothing to run
//! and wants to wait for its ring; that call comes to [`wait`], which waits for the ring and the sockets at once · the
//! wakers are called, and the engine runs their tasks.
//!
//! Invariant: no wait outlasts a completion: the rings' descriptors are in the set too, level-triggered. No readiness is
//! lost: what a task did not use up is still marked as ready, and every later change is an event of its own.

// A ring is named by its number only; the one unsafe call is argued beside it.
#![allow(unsafe_code)]

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a task may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, the end of them, or a connection to accept.
    Read,
    /// Room to write.
    Write,
}

impl Interest {
    /// What is asked of the kernel, which adds errors and the end of both directions by itself.
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN | EventFlags::RDHUP,
            Interest::Write => EventFlags::OUT,
        }
    }

    /// Events after which an attempt is worth while: an error, or the end, is learned from it.
    fn ended_by(self) -> EventFlags {
        self.flags() | EventFlags::HUP | EventFlags::ERR
    }
}

/// A socket's place in this thread's set, from its first wait to its end.
#[derive(Debug)]
pub struct Registration {
    key: u32,
}

/// The set of one thread.
struct Set {
    epoll: OwnedFd,
    places: Slab<Place>,
    /// The engine's rings that are in the set.
    rings: Vec<RawFd>,
    looked_at: Instant,
    /// Tasks were woken since the engine last waited. It may be about to: it decided to before the last glance.
    has_woken: bool,
    /// Wants to run after the engine had its turn.
    visitor: Option<Waker>,
    events: Box<[Event]>,
}

struct Place {
    interest: EventFlags,
    ready: EventFlags,
    waker: Option<Waker>,
}

thread_local! {
    static SET: RefCell<Option<Set>> = const { RefCell::new(None) };
}

/// Stands for the ring among the keys of sockets.
const RING_KEY: u64 = u64::MAX;

/// Events taken in one call; what is ready beyond them is taken in the next.
const EVENTS_MAX: usize = 256;

impl Set {
    fn of(set: &mut Option<Set>) -> Result<&mut Set, Errno> {
        match set {
            Some(set) => Ok(set),
            None => Ok(set.insert(Set::new()?)),
        }
    }

    fn watch(&mut self, ring: RawFd) -> Result<(), Errno> {
        if self.rings.contains(&ring) {
            return Ok(());
        }
        // SAFETY: the engine's ring is open during the engine's own call on it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(ring) };
        match epoll::add(&self.epoll, descriptor, EventData::new_u64(RING_KEY), EventFlags::IN) {
            Ok(()) | Err(Errno::EXIST) => self.rings.push(ring),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn new() -> Result<Set, Errno> {
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Set {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            places: Slab::new(),
            rings: Vec::new(),
            looked_at: Instant::now(),
            has_woken: false,
            visitor: None,
            events: vec![nothing; EVENTS_MAX].into_boxed_slice(),
        })
    }
}

impl Registration {
    /// Enters a socket of this thread. What it is ready for already becomes an event.
    pub fn new(socket: impl AsFd, interest: Interest) -> Result<Registration, Errno> {
        Registration::with_flags(socket, interest.flags())
    }

    /// Enters a listening socket that several threads may accept from: a connection is an event for one of them.
    pub fn of_listener(socket: impl AsFd) -> Result<Registration, Errno> {
        Registration::with_flags(socket, EventFlags::IN | EventFlags::EXCLUSIVE)
    }

    fn with_flags(socket: impl AsFd, interest: EventFlags) -> Result<Registration, Errno> {
        SET.with_borrow_mut(|set| {
            let set = Set::of(set)?;
            let entry = set.places.vacant_entry();
            let key = u32::try_from(entry.key()).map_err(|_| Errno::NOMEM)?;
            epoll::add(&set.epoll, socket, EventData::new_u64(key.into()), interest | EventFlags::ET)?;
            entry.insert(Place { interest, ready: EventFlags::empty(), waker: None });
            Ok(Registration { key })
        })
    }

    /// Waits for one more thing from here on. If the socket is ready for it now, that is an event at once.
    pub fn widen(&self, socket: impl AsFd, interest: Interest) -> Result<(), Errno> {
        self.with(|epoll, place| {
            let wider = place.interest | interest.flags();
            if wider != place.interest {
                epoll::modify(epoll, socket, EventData::new_u64(self.key.into()), wider | EventFlags::ET)?;
                place.interest = wider;
            }
            Ok(())
        })
    }

    /// Ready when an attempt is worth while, which it is too where nothing was ever asked about it; else the task is woken
    /// when it is.
    pub fn poll(&self, interest: Interest, cx: &Context<'_>) -> Poll<()> {
        self.with(|_, place| {
            if place.ready.intersects(interest.ended_by()) || !place.interest.intersects(interest.flags()) {
                return Poll::Ready(());
            }
            // Kept from one wait to the next: a connection's task is always the same.
            if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                place.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Less was there to read than could be taken: nothing is left but, perhaps, the end.
    pub fn use_up_read(&self) {
        self.with(|_, place| place.ready.remove(EventFlags::IN));
    }

    /// An attempt was in vain: neither readiness nor an end is there, whatever was told before.
    pub fn use_up(&self, interest: Interest) {
        self.with(|_, place| place.ready.remove(interest.ended_by()));
    }

    /// Takes the socket out of the set, which its close would not do where it is shared with others.
    pub fn withdraw(&self, socket: impl AsFd) {
        // It can only fail for a socket that is not in the set.
        let _ = self.with(|epoll, _| epoll::delete(epoll, socket));
    }

    fn with<T>(&self, act: impl FnOnce(&OwnedFd, &mut Place) -> T) -> T {
        SET.with_borrow_mut(|set| {
            let set = set.as_mut().expect("a registration is used in the thread that made it");
            let place = set.places.get_mut(self.key as usize).expect("it holds its place until it is dropped");
            act(&set.epoll, place)
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Closing the socket takes it out of the kernel's set. While a thread ends, the set may be gone before.
        let place = SET.try_with(|set| {
            let mut set = set.try_borrow_mut().ok()?;
            set.as_mut()?.places.try_remove(self.key as usize)
        });
        // Outside of the borrow: the waker may be the last that holds a task.
        drop(place);
    }
}

/// Why a look at the sockets ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Sockets are ready, and their tasks were woken.
    Tasks,
    /// The ring has completions.
    Ring,
    /// Nothing is ready: it was time, or completions interrupt the wait that are put into the ring on the way back.
    Nothing,
    /// This thread has no sockets.
    NoSockets,
}

/// Waits until `ring` has completions or a socket is ready, and wakes the tasks of the sockets.
pub fn wait(ring: RawFd) -> Woken {
    if greet_visitor() {
        return Woken::Tasks;
    }
    look(Some(ring), Some(&Timespec { tv_sec: WAIT_SECONDS_MAX, tv_nsec: 0 }))
}

/// After this long the engine looks around all the same, as the heart does: should a wake ever be lost, it is not for good.
const WAIT_SECONDS_MAX: i64 = 1;

/// The same for so long at most, with the rings that were made or waited for before.
pub fn linger(time: Duration) -> Woken {
    look(None, Some(&Timespec { tv_sec: 0, tv_nsec: time.as_nanos().try_into().unwrap_or(0) }))
}

/// Wakes the tasks of sockets that are ready.
pub fn look_now() -> Woken {
    linger(Duration::ZERO)
}

/// Wakes `visitor` once the engine has handed its requests to a ring.
pub fn wake_after_engine(visitor: Waker) {
    SET.with_borrow_mut(|set| match set {
        Some(set) => set.visitor = Some(visitor),
        // Without sockets there is nobody whom it could keep waiting.
        None => visitor.wake(),
    });
}

/// Whether somebody waited for the engine to have had its turn.
fn greet_visitor() -> bool {
    let visitor = SET.with_borrow_mut(|set| {
        let set = set.as_mut()?;
        let visitor = set.visitor.take()?;
        set.has_woken = true;
        Some(visitor)
    });
    visitor.map(Waker::wake).is_some()
}

/// How long events may lie while there is other work: about as long as a piece of bulk content takes to send.
const UNSEEN_MAX: Duration = Duration::from_micros(100);

/// Wakes the tasks of sockets that became ready, without waiting, if nobody looked lately; for a thread that is busy. Gives
/// whether there were any.
pub fn glance() -> bool {
    let due = SET.with_borrow(|set| set.as_ref().is_some_and(|set| set.looked_at.elapsed() >= UNSEEN_MAX));
    due && look_now() == Woken::Tasks
}

/// The engine hands requests to a ring: it has its turn, and may be about to sleep, or too busy to.
pub fn engine_has_its_turn() {
    greet_visitor();
    if glance() {
        SET.with_borrow_mut(|set| set.iter_mut().for_each(|set| set.has_woken = true));
    }
}

/// A ring of this thread's engine was made, perhaps with the number of one that is gone.
pub fn ring_was_made(ring: RawFd) {
    let outcome = SET.with_borrow_mut(|set| {
        let set = Set::of(set)?;
        set.rings.retain(|other| *other != ring);
        set.watch(ring)
    });
    if let Err(errno) = outcome {
        tracing::debug!("a ring cannot be waited for with epoll: {errno}");
    }
}

fn look(ring: Option<RawFd>, timeout: Option<&Timespec>) -> Woken {
    SET.with_borrow_mut(|set| {
        let Some(set) = set else { return Woken::NoSockets };
        if ring.is_some() && std::mem::take(&mut set.has_woken) {
            return Woken::Tasks;
        }
        if ring.is_some_and(|ring| set.watch(ring).is_err()) {
            return Woken::Ring;
        }
        let count = epoll::wait(&set.epoll, &mut set.events[..], timeout).unwrap_or(0);
        set.looked_at = Instant::now();
        let mut woken = if count == 0 { Woken::Nothing } else { Woken::Ring };
        for event in &set.events[..count] {
            let key = event.data.u64();
            if key == RING_KEY {
                continue;
            }
            woken = Woken::Tasks;
            // A socket that was closed leaves no events, unless somebody else holds it too.
            let Some(place) = set.places.get_mut(usize::try_from(key).unwrap_or(usize::MAX)) else { continue };
            place.ready |= event.flags;
            if let Some(waker) = &place.waker {
                // This only puts the task on the engine's list, and drops nothing.
                waker.wake_by_ref();
            }
        }
        woken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_fn, poll_once};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("it is open");
        (ours, theirs)
    }

    fn is_ready(registration: &Registration, interest: Interest) -> bool {
        block_on(poll_once(poll_fn(|cx| registration.poll(interest, cx)))).is_some()
    }

    #[test]
    fn a_socket_is_ready_once_it_was_seen_to_be_and_until_it_is_used_up() {
        let (mut ours, mut theirs) = pair();
        let registration = Registration::new(&ours, Interest::Read).expect("epoll works");
        look_now();
        assert!(!is_ready(&registration, Interest::Read));
        theirs.write_all(b"ab").expect("there is room");
        look_now();
        assert!(is_ready(&registration, Interest::Read));
        assert!(is_ready(&registration, Interest::Write), "nobody knows before it was tried");
        let mut one = [0];
        ours.read_exact(&mut one).expect("two bytes are there");
        look_now();
        assert!(is_ready(&registration, Interest::Read), "the second byte is no new event");
        ours.read_exact(&mut one).expect("one byte is there");
        registration.use_up_read();
        look_now();
        assert!(!is_ready(&registration, Interest::Read));
        registration.widen(&ours, Interest::Write).expect("it is in the set");
        look_now();
        assert!(is_ready(&registration, Interest::Write), "there is room, and that is an event");
        drop(theirs);
        look_now();
        registration.use_up_read();
        assert!(is_ready(&registration, Interest::Read), "the end is not used up by reading");
        registration.use_up(Interest::Write);
        assert!(!is_ready(&registration, Interest::Write), "who reads no more may still not take more");
    }

    #[test]
    fn the_places_of_closed_sockets_are_used_again() {
        let mut keys = Vec::new();
        for _ in 0..3 {
            let (ours, theirs) = pair();
            let registration = Registration::new(&ours, Interest::Read).expect("epoll works");
            keys.push(registration.key);
            drop(theirs);
            drop(ours);
            drop(registration);
            look_now();
        }
        assert_eq!(keys, [keys[0]; 3]);
    }

    /// Timers, reads and the pool end in the ring: a thread that waits for sockets must not sleep through them.
    #[test]
    fn completions_and_sockets_end_the_same_wait() {
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            let (ours, mut theirs) = pair();
            let registration = Registration::new(&ours, Interest::Read).expect("epoll works");
            let writer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                theirs.write_all(b"a").expect("there is room");
                theirs
            });
            let pooled = glommio::executor().spawn_blocking(|| std::thread::sleep(Duration::from_millis(10)));
            pooled.await;
            glommio::timer::sleep(Duration::from_millis(5)).await;
            poll_fn(|cx| registration.poll(Interest::Read, cx)).await;
            drop(writer.join());
        });
        // Another ring in the same thread, most likely of the same number.
        let executor = glommio::LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async { glommio::timer::sleep(Duration::from_millis(5)).await });
    }
}
