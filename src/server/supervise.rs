//! Watches the workers from the main thread: starts them, starts anew those that died, relieves those whose sandbox a
//! document root has outgrown, reports those that are stuck, gives them a changed configuration, stops them.
//!
//! Invariant: the supervisor keeps every listening socket, so that clients queue while a worker
//! is replaced, and never waits for a worker longer than the options say.

use super::admin::{Admin, Description};
use super::certificates::Certificates;
use super::doors::Entrance;
use super::inherit;
use super::listen::{Listener, Listeners};
use super::logs::OpenLogs;
use super::notify::{self, Systemd};
use super::order::{Order, Report};
use super::post::{Event, News, Post, Reporter, State};
use super::signal::Signals;
use super::socket_file::SocketFile;
use super::store::Store;
use super::upgrade::{Program, Successor, Upgrade};
use super::worker::Ending;
use super::{Address, Launch, Options, Reload, StartError, reload, ring, sandbox};
use crate::counters;
use crate::observe::{journal, notes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a process has from those before it, and has for those that follow.
pub(super) struct Heritage {
    /// Names in systemd's descriptor store.
    pub(super) stored: inherit::Stored,
    /// Files of sockets that nobody asks for any more.
    pub(super) abandoned: Vec<SocketFile>,
    /// Where this process takes over from another.
    pub(super) successor: Option<Successor>,
    /// What to start when another is to take over.
    pub(super) program: std::io::Result<Program>,
}

/// What was opened for the start.
pub(super) struct Opened {
    pub(super) logs: OpenLogs,
    pub(super) listeners: Listeners,
    /// Those of the options' listeners.
    pub(super) numbers: Vec<Option<u16>>,
    pub(super) admin: Admin,
    pub(super) certificates: Certificates,
}

/// Runs the workers until a signal says stop.
pub(super) fn run(
    options: Options,
    opened: Opened,
    heritage: Heritage,
    signals: Signals,
    reload: Reload<'_>,
    mut launch: Launch,
) -> Result<(), StartError> {
    let Heritage { stored, abandoned, successor, program } = heritage;
    // What fails before it is told to go on must not have taken a connection: its workers wait for the word, too.
    let waits = successor.is_some();
    let mut crew = Crew::start(Arc::new(options), opened, waits)?;
    crew.store = Store::holding(stored);
    crew.describe();
    crew.wait_until_ready(&signals)?;
    if let Some(successor) = successor {
        if signals.stop_asked() {
            return Err(StartError("told to stop before it had taken over".to_owned()));
        }
        successor.take_over()?;
        crew.serve();
        tracing::info!("this process has taken over");
        crew.admin.speak_or_tell();
        // They may have been begun anew between their opening and now, when the signal for it went to the other process.
        journal::reopen();
    }
    inherit::settle();
    // From here on this process is the server. What is not listened on any more leaves no files behind.
    drop(abandoned);
    announce(&crew.options, crew.serving());
    tracing::debug!("{} workers run; flags of their rings: {}", crew.options.workers, ring::describe());
    match sandbox::describe(&crew.options.sandbox) {
        // Asked for, and not to be had: an administrator should know.
        state if sandbox::is_wanting(&crew.options.sandbox) => tracing::info!("sandbox of the workers: {state}"),
        state => tracing::debug!("sandbox of the workers: {state}"),
    }
    crew.sync_store();
    launch.served(&crew.options.log.destination);
    crew.systemd.ready(crew.posts.len());
    while !signals.stop_asked() {
        crew.take_events();
        crew.look_after();
        if signals.take_reopen() {
            journal::reopen();
        }
        if signals.take_upgrade() {
            crew.begin_upgrade(&program);
        }
        if let Some(pid) = crew.look_at_upgrade() {
            if crew.hand_over(pid, &signals) {
                launch.handed_over();
                return crew.finish_transfers(&signals);
            }
        }
        // While another process is about to take over, nothing changes.
        if crew.upgrade.is_none() && signals.take_hangup() {
            crew.reload(reload, &signals);
        }
        // Behind the rest: a signal that came during the start is seen at once.
        crew.wait(&signals, crew.time_to_next_look());
    }
    crew.abandon_upgrade();
    crew.systemd.stopping();
    crew.leave(&signals);
    tracing::info!("stopping: finishing what is in flight, for {} s at most", crew.options.drain_timeout.as_secs());
    crew.stop(&signals);
    tracing::info!("stopped");
    Ok(())
}

/// One line an address, once connections are accepted.
pub(super) fn announce<'a>(options: &Options, serving: impl Iterator<Item = (usize, &'a Listener)>) {
    let workers = options.workers;
    let plural = if workers == 1 { "" } else { "s" };
    let mut out = std::io::stdout().lock();
    for (position, listener) in serving {
        let what = options.served_by(position);
        let address = match &listener.bound {
            Address::Tcp(address) if options.listen[position].is_tls => format!("https://{address}/"),
            Address::Tcp(address) => format!("http://{address}/"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        // Nobody reads it when standard output is closed: no reason not to serve.
        let _ = writeln!(out, "serving {what} on {address} with {workers} worker{plural}");
    }
    let _ = out.flush();
}

/// The workers, and the means to hear of them.
pub(super) struct Crew {
    /// What is served now.
    pub(super) options: Arc<Options>,
    /// Its logs.
    pub(super) logs: OpenLogs,
    pub(super) listeners: Listeners,
    /// Those of the options' listeners.
    pub(super) numbers: Vec<Option<u16>>,
    pub(super) admin: Admin,
    /// What its listeners show.
    pub(super) certificates: Certificates,
    pub(super) posts: Vec<Post>,
    pub(super) events: Receiver<Event>,
    pub(super) reporter: Reporter,
    /// Becomes readable with each event.
    pub(super) bell: UnixStream,
    pub(super) last_look: Instant,
    /// Orders that were given.
    pub(super) orders: u64,
    /// Sockets that outlive the process.
    pub(super) store: Store,
    /// Another process that is about to take over.
    pub(super) upgrade: Option<Upgrade>,
    pub(super) systemd: Systemd,
}

/// How long all workers together may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How much longer than the drain the supervisor waits for a worker to end.
pub(super) const STOP_MARGIN: Duration = Duration::from_secs(4);

/// Looks of the supervisor after which a post that is still empty counts as stuck for systemd.
const LOOKS_WITHOUT_A_WORKER_MAX: u32 = 3;

/// The number of orders whose answers nobody waits for.
const NOBODY_WAITS: u64 = 0;

impl Crew {
    /// With workers that serve at once; or, where each `waits`, when they are told to ([`Crew::serve`]).
    fn start(options: Arc<Options>, opened: Opened, waits: bool) -> Result<Crew, StartError> {
        let Opened { logs, listeners, numbers, admin, certificates } = opened;
        let fail = |error: std::io::Error| StartError(format!("the workers cannot be started: {error}"));
        let (sender, events) = channel();
        let (bell, ringer) = UnixStream::pair().map_err(fail)?;
        bell.set_nonblocking(true).map_err(fail)?;
        ringer.set_nonblocking(true).map_err(fail)?;
        let reporter = Reporter { events: sender, bell: Arc::new(ringer) };
        let cpus = allowed_cpus();
        let posts = (0..options.workers).map(|index| Post::new(index, cpus[index % cpus.len()])).collect();
        let mut crew = Crew {
            options,
            logs,
            listeners,
            numbers,
            admin,
            certificates,
            posts,
            events,
            reporter,
            bell,
            last_look: Instant::now(),
            orders: 0,
            store: Store::default(),
            upgrade: None,
            systemd: Systemd::new(),
        };
        for index in 0..crew.posts.len() {
            crew.start_worker(index, waits).map_err(fail)?;
        }
        Ok(crew)
    }

    fn start_worker(&mut self, index: usize, waits: bool) -> std::io::Result<()> {
        let entrances = self.entrances_of(index)?;
        self.posts[index].start_worker(&self.options, entrances, waits, &self.reporter)
    }

    /// Has workers that wait serve.
    fn serve(&self) {
        for post in &self.posts {
            post.tell(Order::Commit { order: NOBODY_WAITS });
        }
    }

    /// The listeners that are open, with their sockets for this worker.
    fn entrances_of(&self, worker: usize) -> std::io::Result<Vec<Entrance>> {
        reload::entrances(&self.options, &self.numbers, |number| {
            self.listeners.get(number).map_or_else(|| Ok(Vec::new()), |listener| listener.ways_of(worker))
        })
    }

    /// The listeners that are open, by their positions among the options'.
    pub(super) fn serving(&self) -> impl Iterator<Item = (usize, &Listener)> {
        let numbers = self.numbers.iter().enumerate();
        numbers.filter_map(|(position, number)| Some((position, self.listeners.get((*number)?)?)))
    }

    fn wait_until_ready(&mut self, signals: &Signals) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.posts.iter().any(|post| post.state != State::Serving) {
            if signals.stop_asked() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StartError("the workers did not start in time: is the machine overloaded?".to_owned()));
            }
            self.wait(signals, left);
            while let Ok(Event { index, news, .. }) = self.events.try_recv() {
                match news {
                    News::Told(Report::Ready) => self.posts[index].state = State::Serving,
                    News::Told(_) => {}
                    News::Ended(Ending::Failed(why)) => return Err(StartError(format!("worker {index}: {why}"))),
                    News::Ended(_) => {
                        return Err(StartError(format!("worker {index} died while starting: the log says why")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for a signal, an event, or the time to pass; returns early where systemd is to hear something, and tells it.
    pub(super) fn wait(&mut self, signals: &Signals, time: Duration) {
        let timeout = Timespec::try_from(time.min(self.systemd.time_to_next_word())).ok();
        let descriptors =
            [Some(signals.descriptor()), Some(self.bell.as_fd()), self.upgrade.as_ref().map(Upgrade::descriptor)];
        let wakers = descriptors.into_iter().flatten().map(|waker| PollFd::from_borrowed_fd(waker, PollFlags::IN));
        // An interruption is as good as an event: the caller looks at everything again.
        let _ = poll(&mut wakers.collect::<Vec<_>>(), timeout.as_ref());
        signals.clear();
        let mut bytes = [0; 64];
        while matches!((&self.bell).read(&mut bytes), Ok(1..)) {}
        self.systemd.look(&self.posts, self.options.checkalive * LOOKS_WITHOUT_A_WORKER_MAX);
    }

    fn time_to_next_look(&self) -> Duration {
        let time = (self.last_look + self.options.checkalive).saturating_duration_since(Instant::now());
        self.certificates.time_to_next_look().map_or(time, |look| look.min(time))
    }

    fn take_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    /// Does what an event asks for that nobody waits for in particular.
    pub(super) fn take(&mut self, Event { index, generation, news }: Event) {
        let post = &mut self.posts[index];
        match news {
            News::Told(Report::Ready) if post.is_successor(generation) => {
                // Nobody waits for its answer.
                post.relieve(NOBODY_WAITS, &[]);
                tracing::info!("worker {index} was relieved by one that may read the new document root");
            }
            News::Told(Report::Ready) if post.is_current(generation) => post.ready(),
            // Of one who was told to end before.
            News::Told(Report::Ready) => {}
            News::Told(Report::Outgrown) => {
                if post.may_succeed(generation) {
                    self.start_successor(index);
                }
            }
            // Of an order that nobody waits for any more.
            News::Told(Report::Done { .. }) => {}
            News::Told(Report::Left) => post.ended(generation, Ending::Stopped),
            News::Ended(ending) => post.ended(generation, ending),
        }
    }

    fn start_successor(&mut self, index: usize) {
        let started = self
            .entrances_of(index)
            .and_then(|entrances| self.posts[index].start_successor(&self.options, entrances, &self.reporter));
        if let Err(error) = started {
            tracing::error!("worker {index} cannot be relieved: {error}; trying again");
        }
    }

    /// Takes over a changed configuration, or says why not; then nothing has changed.
    fn reload(&mut self, read: Reload<'_>, signals: &Signals) {
        tracing::info!("reloading the configuration");
        notify::reloading();
        let begun = Instant::now();
        let prepared = read().and_then(|options| {
            reload::prepare(&self.options, &self.listeners, &self.admin, &self.certificates, options)
                .map_err(|error| error.to_string())
        });
        let outcome = prepared.and_then(|prepared| reload::change_to(self, prepared, signals));
        counters::process().count_reload(outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.sync_store();
                tracing::info!("reloaded in {} ms", begun.elapsed().as_millis());
                self.systemd.ready(self.posts.len());
            }
            Err(why) => {
                self.systemd.refused("a reload was refused");
                let mut lines = why.lines();
                tracing::error!("nothing has changed, the reload is refused: {}", lines.next().unwrap_or_default());
                // The place in the file, and the caret under it.
                lines.for_each(|line| tracing::error!("{line}"));
            }
        }
    }

    /// Has systemd's store keep what is listened on, and nothing else.
    fn sync_store(&mut self) {
        self.store.sync(self.listeners.held().chain(self.admin.held()));
    }

    /// Tells whoever looks in what is served.
    pub(super) fn describe(&self) {
        notes::set("sandbox of the workers", sandbox::describe(&self.options.sandbox));
        let listeners = self.serving().map(|(_, listener)| listener.bound.to_string()).collect();
        let certificates = self.certificates.standing();
        self.admin.describe(Description { listeners, certificates, ..self.options.describe() });
    }

    /// Replaces the dead, and looks for heartbeats when it is time to.
    fn look_after(&mut self) {
        if self.certificates.look() {
            self.describe();
        }
        let time_to_look = self.last_look.elapsed() >= self.options.checkalive;
        for index in 0..self.posts.len() {
            let post = &mut self.posts[index];
            if time_to_look {
                post.check_heartbeat();
            }
            if post.is_vacant(time_to_look, self.options.checkalive) {
                tracing::warn!("starting worker {index} anew");
                counters::process().count_restart(index);
                if let Err(error) = self.start_worker(index, false) {
                    tracing::error!("worker {index} cannot be started: {error}; trying again");
                }
            }
        }
        if time_to_look {
            self.last_look = Instant::now();
        }
    }

    /// Tells whoever asks that no more is wanted, and serves on for those who have not heard yet.
    fn leave(&mut self, signals: &Signals) {
        counters::process().is_draining.set(true);
        let delay = self.options.drain_delay;
        if !delay.is_zero() {
            tracing::info!("leaving: not ready any more, and serving on for {} s", delay.as_secs());
        }
        let until = Instant::now() + delay;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.wait(signals, left.min(self.time_to_next_look()));
            self.take_events();
            self.look_after();
        }
    }

    /// Tells all workers to stop and waits for them, within bounds.
    fn stop(&mut self, signals: &Signals) {
        if self.is_outlived() {
            let drain = self.finish(signals);
            self.retire(drain);
        } else {
            self.listeners.remove_files();
            self.posts.iter_mut().for_each(Post::stop);
        }
        self.listeners.clear();
        let deadline = Instant::now() + self.options.drain_timeout + STOP_MARGIN;
        self.wait_for_all(signals, deadline);
    }
}

/// The CPUs that this process may run on; never empty.
fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}
