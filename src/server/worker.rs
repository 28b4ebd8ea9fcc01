//! One worker: a thread bound to a CPU, its executor, its shard, its listening sockets.
//!
//! Order of [`run`]: sandbox · executor · shard · heartbeat and accept loops · orders, the last of which says stop ·
//! drain.
//!
//! Invariant: a panic in one connection's task ends that connection only; any other panic ends
//! the worker and closes its connections, and the supervisor starts it anew.

// Descriptors are handed to the engine by number; each such call is argued beside it.
#![allow(unsafe_code)]

use super::doors::{Doors, Entrance, Prepared};
use super::order::{Ear, Order, Report, Retirement};
use super::sandbox::Sandbox;
use super::shortage;
use super::{Options, fault};
use crate::connection::roster::Roster;
use crate::counters;
use crate::engine;
use crate::observe::access;
use crate::observe::live;
use crate::shard::{Service, Shard};
use crate::socket::tasks;
use crate::storage::root::Denied;
use async_task::Task;
use futures_lite::{AsyncReadExt, FutureExt};
use glommio::net::UnixStream;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What one worker is told.
pub struct Assignment {
    /// Its number, from 0.
    pub index: usize,
    /// The CPU that it is bound to.
    pub cpu: usize,
    /// What it serves, and within which bounds.
    pub options: Arc<Options>,
    /// What it may reach, as it was found when it was started; none where it is not confined.
    pub sandbox: Option<Arc<Sandbox>>,
    /// Whether it serves when it is told to commit, and not before: another still does.
    pub waits: bool,
    /// Its listeners, all with their sockets.
    pub entrances: Vec<Entrance>,
    /// By which it hears of changes, and of its end.
    pub ear: Ear,
}

/// Counts a worker's heartbeats.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// Heartbeats so far.
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a worker ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to stop, and did.
    Stopped,
    /// It could not start.
    Failed(String),
    /// It panicked.
    Died,
}

/// Serves until told to stop.
pub fn run(assignment: Assignment, pulse: &Pulse, report: impl Fn(Report) + Clone + 'static) -> Ending {
    // Dropped behind the executor, also by a panic: the last lines are those of the connections that end with it.
    let _last_lines = LastLines;
    // Before there is an executor: the threads of its pool have what this thread has.
    let confined = match assignment.sandbox.as_ref().map_or(Ok(false), |sandbox| sandbox.enter()) {
        Ok(confined) => confined,
        Err(why) => return Ending::Failed(why),
    };
    // Unbound, and bound by ourselves below: the engine looks the cores up in /sys and panics where
    // that is not there.
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .name("otus-httpd")
        .ring_depth(RING_ENTRIES)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT_AFTER)
        // Look-ups that wait for the disk must not wait for the worker's CPU as well.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make();
    match executor {
        Ok(executor) => {
            bind_to(assignment.cpu);
            counters::enter(assignment.index);
            executor.run(work(assignment, pulse, report, confined)).unwrap_or_else(Ending::Failed)
        }
        Err(error) => Ending::Failed(format!("the executor cannot be made: {error}")),
    }
}

/// Hands over what the access logs of this worker still hold.
struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        access::finish();
    }
}

/// Binds this thread to a CPU; the pool's threads were started before and stay free.
fn bind_to(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    if let Err(errno) = sched_setaffinity(None, &only) {
        tracing::warn!("a worker cannot be bound to CPU {cpu}, and runs anywhere: {}", std::io::Error::from(errno));
    }
}

/// Submissions that a ring takes before it must be handed to the kernel.
const RING_ENTRIES: usize = 512;

/// Memory that the engine reads into, before it turns to the allocator. Where locked memory allows,
/// it registers it with its rings, and all of it is resident from then on.
const IO_MEMORY_BYTES: usize = 4 * 1024 * 1024;

/// Memory of one worker that may have to be locked: what it reads into, which two of its rings count each, and the rings. All of
/// it twice, for a worker that is relieved is there for a while beside the next.
pub(super) const LOCKED_BYTES: u64 = 2 * (2 * IO_MEMORY_BYTES as u64 + 1024 * 1024);

/// How long tasks may run before completions are looked at, when no task waits for anything.
const PREEMPT_AFTER: Duration = Duration::from_millis(1);

/// Threads a worker has for look-ups and opens that may wait for the disk.
const BLOCKING_THREADS: usize = 4;

/// The life of a worker; an error is one of its start.
async fn work(
    assignment: Assignment,
    pulse: &Pulse,
    report: impl Fn(Report) + Clone + 'static,
    confined: bool,
) -> Result<Ending, String> {
    let Assignment { index, options, waits, entrances, ear, .. } = assignment;
    let shard = Rc::new(Shard::new(options.shard.head_limits));
    let roster = Roster::new(options.connection_limits);
    // It ends with the executor.
    glommio::spawn_local(tasks::attend()).detach();
    let outgrown = {
        let report = report.clone();
        // Where it is not the sandbox that denies, another worker could do no better.
        move || {
            if confined {
                report(Report::Outgrown)
            }
        }
    };
    let mut house = spawn(keep_house(shard.clone(), outgrown));
    let doors = Doors::new(shard.clone(), roster.clone());
    let drain_timeout = Cell::new(options.drain_timeout);
    let (ready, retirement) = (Cell::default(), Cell::default());
    let worker = Worker { shard, roster, doors, drain_timeout, ready, retirement };
    worker.ready.set(Some(worker.prepare(options, entrances)?));
    if !waits {
        worker.commit();
    }
    report(Report::Ready);

    // What is raced against the stop never ends by itself; if it panics, the worker dies of it, so
    // that it is never half alive.
    let Worker { shard, roster, doors, drain_timeout, .. } = &worker;
    let heart = beat(&worker, pulse);
    let faults = fault::watch(index);
    let Ear { orders, bell } = ear;
    // SAFETY: the descriptor is given away by into_raw_fd and owned by the stream from here.
    let mut bell = unsafe { UnixStream::from_raw_fd(bell.into_raw_fd()) };
    let life =
        AssertUnwindSafe(worker.obey(&mut bell, &orders, &report).or(heart).or(faults).or(any_ends(&mut house, doors)));
    let died = life.catch_unwind().await.is_err();
    house.cancel().await;
    if died {
        doors.abandon();
        end_all(roster).await;
        return Ok(Ending::Died);
    }

    tracing::debug!("worker {index}: {} connections to finish", roster.len());
    shard.draining.set(true);
    let retirement = worker.retirement.get();
    if let Some(Retirement { relief, .. }) = retirement {
        // Clients that are busy learn from their next answer that the connection closes, and none of their requests meets
        // one that was closed.
        beat_until(&worker, pulse, within(relief, emptied(roster))).await;
    } else {
        doors.close_all();
    }
    roster.drain();
    let drain = retirement.map_or(Some(drain_timeout.get()), |retirement| retirement.drain);
    let time_is_up = async {
        match drain {
            Some(drain) => sleep(drain).await,
            None => {
                while matches!(bell.read(&mut [0; 8]).await, Ok(1..)) {}
                sleep(drain_timeout.get()).await;
            }
        }
    };
    let drained = before(time_is_up, emptied(roster));
    if !beat_until(&worker, pulse, drained).await {
        let cut = roster.len();
        tracing::warn!("worker {index}: {cut} connections did not finish in time and were cut");
        end_all(roster).await;
    }
    // What the pool is still about would find nobody to give its result to, and its thread would panic.
    if !within(POOL_TIMEOUT, quiet()).await {
        // Nobody need wait for us, and the process may end before we do.
        access::finish();
        report(Report::Left);
        quiet().await;
    }
    Ok(Ending::Stopped)
}

/// Ends what connections there are. The engine would forget the tasks of a thread that ends or unwinds, with their sockets open,
/// and their clients would wait for nothing.
async fn end_all(roster: &Roster) {
    roster.abort();
    within(ABORT_TIMEOUT, emptied(roster)).await;
    roster.abandon();
}

/// What a worker is made of.
struct Worker {
    shard: Rc<Shard>,
    roster: Rc<Roster>,
    doors: Doors,
    drain_timeout: Cell<Duration>,
    /// What it was told to prepare.
    ready: Cell<Option<Ready>>,
    /// Set when others go on with its sockets.
    retirement: Cell<Option<Retirement>>,
}

/// What a worker holds ready until it is told to serve it.
struct Ready {
    options: Arc<Options>,
    service: Rc<Service>,
    entrances: Vec<Entrance>,
    prepared: Prepared,
}

impl Worker {
    /// Does what it is told, until it is told to stop.
    async fn obey(
        &self,
        bell: &mut UnixStream,
        orders: &Receiver<Order>,
        report: &(impl Fn(Report) + Clone + 'static),
    ) {
        while matches!(bell.read(&mut [0; 8]).await, Ok(1..)) {
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Prepare { order, options, entrances } => {
                        let outcome = self.prepare(options, entrances);
                        let answer = outcome.as_ref().map(drop).map_err(Clone::clone);
                        report(Report::Done { order, answer });
                        self.ready.set(outcome.ok());
                    }
                    Order::Commit { order } => {
                        self.commit();
                        report(Report::Done { order, answer: Ok(()) });
                    }
                    Order::Abandon => self.ready.set(None),
                    Order::Leave { order, gone } => {
                        // Whoever took over goes on listening, on the same sockets.
                        self.doors.leave(&gone);
                        self.shard.draining.set(true);
                        let drain = Some(self.drain_timeout.get());
                        let retirement = Retirement { takes_waiting: true, relief: RELIEF_TIMEOUT, drain };
                        self.retirement.set(Some(retirement));
                        report(Report::Done { order, answer: Ok(()) });
                        return;
                    }
                    Order::Finish { order } => {
                        let (finished, report) = (self.roster.finished(), report.clone());
                        tasks::spawn(async move {
                            finished.await;
                            report(Report::Done { order, answer: Ok(()) });
                        })
                        .detach();
                    }
                    Order::Retire(retirement) => {
                        if retirement.takes_waiting {
                            self.doors.leave(&[]);
                        } else {
                            self.doors.leave_queues();
                        }
                        self.shard.draining.set(true);
                        self.retirement.set(Some(retirement));
                        return;
                    }
                }
            }
        }
    }

    /// Opens the roots and the password files, which the supervisor has just opened itself: no disk is waited for.
    fn prepare(&self, options: Arc<Options>, mut entrances: Vec<Entrance>) -> Result<Ready, String> {
        let service = Rc::new(Service::open(&options.shard)?);
        let prepared = self.doors.prepare(&mut entrances)?;
        Ok(Ready { options, service, entrances, prepared })
    }

    /// Serves what is ready, if something is, from the next request on.
    fn commit(&self) {
        let Some(Ready { options, service, entrances, prepared }) = self.ready.take() else { return };
        self.roster.set_limits(options.connection_limits);
        counters::process().connections_max.set(options.connection_limits.connections_max.into());
        self.drain_timeout.set(options.drain_timeout);
        self.shard.serve(&service, entrances.iter().map(|entrance| (entrance.position, entrance.number)));
        self.doors.open(&entrances, prepared);
    }
}

/// How long a worker that was relieved waits for its clients to ask once more, before it closes what is idle.
pub(super) const RELIEF_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a worker that stops waits for the pool; a look-up on a disk that hangs is not waited for.
const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until nothing is under way in the engine.
async fn quiet() {
    while !engine::is_quiet() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// How long a dying worker waits for its connections to close.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A task of the worker's own; its panic is what comes of it.
pub(super) fn spawn(future: impl Future<Output = ()> + 'static) -> Task<std::thread::Result<()>> {
    tasks::spawn(AssertUnwindSafe(future).catch_unwind())
}

/// Waits for one of the tasks to end that should not; goes on with its panic.
async fn any_ends(house: &mut Task<std::thread::Result<()>>, doors: &Doors) {
    let ended = poll_fn(|cx| {
        let mut ended = |task: &mut Task<_>| match Pin::new(task).poll(cx) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        };
        ended(house).or_else(|| doors.any(ended)).map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// The heart: once a second, on the second.
async fn beat(worker: &Worker, pulse: &Pulse) {
    count_beat();
    loop {
        let (pause, begun) = (until_next_second(), Instant::now());
        sleep(pause).await;
        // Whatever kept the heart from beating in time kept all others waiting too.
        note_lateness(begun.elapsed().saturating_sub(pause));
        worker.shard.clock.tick();
        access::tick();
        worker.roster.tick();
        shortage::look_after(&worker.shard, &worker.roster);
        worker.doors.forget_gone();
        pulse.beat();
        count_beat();
        if live::is_watched() {
            worker.roster.show();
        }
    }
}

/// A timer may be late by a little, on purpose (`socket::tasks`).
const LATENESS_MIN: Duration = tasks::LINGER_MAX.saturating_mul(2);

fn note_lateness(lateness: Duration) {
    if lateness >= LATENESS_MIN {
        counters::here().note_stall(lateness);
    }
}

thread_local! {
    /// CPU time of this thread that is counted.
    static COUNTED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Counts a beat, and the CPU time since the last one.
fn count_beat() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let now = Duration::try_from(now).unwrap_or_default();
    let more = now.saturating_sub(COUNTED.replace(now));
    counters::here().cpu_nanoseconds.add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
    counters::here().beat();
}

/// Waits for `end` with a beating heart.
async fn beat_until<T>(worker: &Worker, pulse: &Pulse, end: impl Future<Output = T>) -> T {
    let heart = async {
        beat(worker, pulse).await;
        unreachable!("the heart never ends by itself")
    };
    end.or(heart).await
}

/// So that `Date` changes when the second does.
fn until_next_second() -> Duration {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A little past it: a timer that fires early would read the old second.
    Duration::from_secs(1) - Duration::from_nanos(since_epoch.subsec_nanos().into()) + Duration::from_millis(1)
}

/// What may wait for the disk, apart from the heart, which may not.
async fn keep_house(shard: Rc<Shard>, outgrown: impl Fn()) {
    loop {
        sleep(Duration::from_secs(1)).await;
        if shard.tick().await == Err(Denied) {
            outgrown();
        }
    }
}

/// Waits until no connection is left.
async fn emptied(roster: &Roster) {
    while !roster.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether `future` ended in time.
async fn within(time: Duration, future: impl Future<Output = ()>) -> bool {
    before(sleep(time), future).await
}

/// Whether `future` ended before `end` did.
async fn before<T>(end: impl Future<Output = T>, future: impl Future<Output = ()>) -> bool {
    let in_time = async {
        future.await;
        true
    };
    let too_late = async {
        end.await;
        false
    };
    in_time.or(too_late).await
}
