//! Watches the workers from the main thread: starts them, starts anew those that died, relieves those whose sandbox a
//! document root has outgrown, reports those that are stuck, stops them.
//!
//! Invariant: the supervisor keeps every listening socket, so that clients queue while a worker
//! is replaced, and never waits for a worker longer than the options say.

use super::listen::{Bound, SocketFiles, Sockets};
use super::signal::Signals;
use super::worker::{self, Assignment, Ending, Pulse, RELIEVED, Reports};
use super::{Address, Options, StartError, ring, sandbox};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Runs the workers until a signal says stop.
pub fn run(options: &Options, sockets: Sockets, files: SocketFiles, signals: Signals) -> Result<(), StartError> {
    let mut crew = Crew::start(options, sockets.of_workers)?;
    crew.wait_until_ready(&signals)?;
    announce(options, &sockets.bound);
    tracing::debug!("{} workers run; flags of their rings: {}", options.workers, ring::describe());
    match sandbox::describe(&options.sandbox) {
        // Asked for, and not to be had: an administrator should know.
        state if sandbox::is_wanting(&options.sandbox) => tracing::info!("sandbox of the workers: {state}"),
        state => tracing::debug!("sandbox of the workers: {state}"),
    }
    while !signals.stop_asked() {
        crew.wait(&signals, crew.time_to_next_look());
        crew.take_events();
        crew.look_after();
        if signals.take_hangup() {
            tracing::info!("SIGHUP: a changed configuration takes effect at the next start");
        }
    }
    tracing::info!("stopping: finishing what is in flight, for {} s at most", options.drain_timeout.as_secs());
    drop(files);
    crew.stop(&signals);
    tracing::info!("stopped");
    Ok(())
}

/// One line an address, once connections are accepted.
fn announce(options: &Options, bound: &[Bound]) {
    let workers = options.workers;
    let plural = if workers == 1 { "" } else { "s" };
    let mut out = std::io::stdout().lock();
    for Bound { listener, address } in bound {
        let what = options.served_by(*listener);
        let address = match address {
            Address::Tcp(address) => format!("http://{address}/"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        // Nobody reads it when standard output is closed: no reason not to serve.
        let _ = writeln!(out, "serving {what} on {address} with {workers} worker{plural}");
    }
    let _ = out.flush();
}

/// What a worker tells the supervisor.
struct Event {
    /// The worker's post.
    index: usize,
    /// Which of those that were ever started there it is.
    generation: u32,
    news: News,
}

enum News {
    /// It accepts connections.
    Ready,
    /// It may not read what a document root is now; one that starts anew may.
    Outgrown,
    Ended(Ending),
}

/// The workers, and the means to hear of them.
struct Crew<'a> {
    options: &'a Options,
    posts: Vec<Post>,
    events: Receiver<Event>,
    reporter: Reporter,
    /// Becomes readable with each event.
    bell: UnixStream,
    last_look: Instant,
}

/// One worker's place: what outlives the worker in it.
struct Post {
    index: usize,
    cpu: usize,
    listeners: Vec<(usize, socket2::Socket)>,
    /// The worker in the post now; without one, nobody is told to stop.
    worker: Option<Hired>,
    /// Who is to take over from that one, once it accepts connections.
    successor: Option<Hired>,
    /// Those who were relieved or told to stop, and still finish what they began.
    leaving: Vec<u32>,
    /// How many were ever started here.
    generations: u32,
    /// When a successor was last started.
    succession: Option<Instant>,
    state: State,
    started: Instant,
    /// Heartbeats at the last look, and looks since they last changed.
    beats_seen: u64,
    silent_looks: u32,
}

/// A worker that was started.
struct Hired {
    generation: u32,
    pulse: Arc<Pulse>,
    /// Dropping it tells the worker to stop.
    stop: UnixStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Serving,
    Dead,
    Stopped,
}

/// How a worker's thread reports.
#[derive(Clone)]
struct Reporter {
    events: Sender<Event>,
    bell: Arc<UnixStream>,
}

impl Reporter {
    fn report(&self, event: Event) {
        // The supervisor is gone only when the process ends.
        let _ = self.events.send(event);
        let _ = (&*self.bell).write(&[1]);
    }
}

/// Looks without a heartbeat after which a worker is called stuck.
const SILENT_LOOKS_MAX: u32 = 3;

/// How long all workers together may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How much longer than the drain the supervisor waits for a worker to end.
const STOP_MARGIN: Duration = Duration::from_secs(2);

impl<'a> Crew<'a> {
    fn start(options: &'a Options, of_workers: Vec<Vec<(usize, socket2::Socket)>>) -> Result<Crew<'a>, StartError> {
        let fail = |error: std::io::Error| StartError(format!("the workers cannot be started: {error}"));
        let (sender, events) = channel();
        let (bell, ringer) = UnixStream::pair().map_err(fail)?;
        bell.set_nonblocking(true).map_err(fail)?;
        ringer.set_nonblocking(true).map_err(fail)?;
        let reporter = Reporter { events: sender, bell: Arc::new(ringer) };
        let cpus = allowed_cpus();
        let mut crew = Crew { options, posts: Vec::new(), events, reporter, bell, last_look: Instant::now() };
        for (index, listeners) in of_workers.into_iter().enumerate() {
            let mut post = Post {
                index,
                cpu: cpus[index % cpus.len()],
                listeners,
                worker: None,
                successor: None,
                leaving: Vec::new(),
                generations: 0,
                succession: None,
                state: State::Dead,
                started: Instant::now(),
                beats_seen: 0,
                silent_looks: 0,
            };
            post.start_worker(options, &crew.reporter).map_err(fail)?;
            crew.posts.push(post);
        }
        Ok(crew)
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
                    News::Ready => self.posts[index].state = State::Serving,
                    News::Outgrown => {}
                    News::Ended(Ending::Failed(why)) => return Err(StartError(format!("worker {index}: {why}"))),
                    News::Ended(_) => {
                        return Err(StartError(format!("worker {index} died while starting: the log says why")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for a signal, an event, or the time to pass.
    fn wait(&self, signals: &Signals, time: Duration) {
        let timeout = Timespec::try_from(time).ok();
        let mut wakers = [
            PollFd::from_borrowed_fd(signals.descriptor(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN),
        ];
        // An interruption is as good as an event: the caller looks at everything again.
        let _ = poll(&mut wakers, timeout.as_ref());
        signals.clear();
        let mut bytes = [0; 64];
        while matches!((&self.bell).read(&mut bytes), Ok(1..)) {}
    }

    fn time_to_next_look(&self) -> Duration {
        (self.last_look + self.options.checkalive).saturating_duration_since(Instant::now())
    }

    fn take_events(&mut self) {
        while let Ok(Event { index, generation, news }) = self.events.try_recv() {
            let post = &mut self.posts[index];
            match news {
                News::Ready => post.ready(generation),
                News::Outgrown => post.outgrown(generation, self.options, &self.reporter),
                News::Ended(ending) => post.ended(generation, ending),
            }
        }
    }

    /// Replaces the dead, and looks for heartbeats when it is time to.
    fn look_after(&mut self) {
        let time_to_look = self.time_to_next_look().is_zero();
        for post in &mut self.posts {
            // One that dies right after its start is tried again at the next look, not at once:
            // what kills it is most likely still there.
            let at_once = post.started.elapsed() >= self.options.checkalive;
            if post.state == State::Dead && post.successor.is_none() && (at_once || time_to_look) {
                tracing::warn!("starting worker {} anew", post.index);
                if let Err(error) = post.start_worker(self.options, &self.reporter) {
                    tracing::error!("worker {} cannot be started: {error}; trying again", post.index);
                }
            }
            if time_to_look {
                post.check_heartbeat();
            }
        }
        if time_to_look {
            self.last_look = Instant::now();
        }
    }

    /// Tells all workers to stop and waits for them, within bounds.
    fn stop(&mut self, signals: &Signals) {
        for post in &mut self.posts {
            post.listeners.clear();
            let told = [post.worker.take(), post.successor.take()];
            post.leaving.extend(told.into_iter().flatten().map(|worker| worker.generation));
        }
        let deadline = Instant::now() + self.options.drain_timeout + STOP_MARGIN;
        while self.posts.iter().any(|post| !post.leaving.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!("some workers do not end; leaving without them");
                return;
            }
            self.wait(signals, left);
            while let Ok(Event { index, generation, news }) = self.events.try_recv() {
                if let News::Ended(ending) = news {
                    self.posts[index].ended(generation, ending);
                }
            }
        }
    }
}

/// How long after one successor could not take over the next one is tried.
const SUCCESSION_PAUSE: Duration = Duration::from_secs(30);

impl Post {
    fn start_worker(&mut self, options: &Options, reporter: &Reporter) -> std::io::Result<()> {
        self.worker = Some(self.hire(options, reporter)?);
        self.state = State::Starting;
        self.started = Instant::now();
        self.beats_seen = 0;
        self.silent_looks = 0;
        Ok(())
    }

    /// Starts a worker, which shares the listening sockets of the post.
    fn hire(&mut self, options: &Options, reporter: &Reporter) -> std::io::Result<Hired> {
        let (stop, told_to_stop) = UnixStream::pair()?;
        let copy = |(listener, socket): &(usize, socket2::Socket)| Ok((*listener, socket.try_clone()?));
        let listeners = self.listeners.iter().map(copy).collect::<std::io::Result<_>>()?;
        let assignment = Assignment { index: self.index, cpu: self.cpu, listeners, stop: told_to_stop.into() };
        self.generations += 1;
        let (index, generation) = (self.index, self.generations);
        let options = options.clone();
        let pulse: Arc<Pulse> = Arc::default();
        let hired = Hired { generation, pulse: pulse.clone(), stop };
        let last_words = LastWords { index, generation, reporter: reporter.clone(), ending: Some(Ending::Died) };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let mut last_words = last_words;
            let reporter = last_words.reporter.clone();
            let another = reporter.clone();
            let reports = Reports {
                ready: || reporter.report(Event { index, generation, news: News::Ready }),
                outgrown: move || another.report(Event { index, generation, news: News::Outgrown }),
            };
            last_words.ending = Some(worker::run(assignment, &options, &pulse, reports));
        })?;
        Ok(hired)
    }

    fn ready(&mut self, generation: u32) {
        if let Some(successor) = self.successor.take_if(|successor| successor.generation == generation) {
            if let Some(mut relieved) = self.worker.replace(successor) {
                // One that is gone needs no word any more.
                let _ = relieved.stop.write_all(&[RELIEVED]);
                self.leaving.push(relieved.generation);
            }
            self.started = Instant::now();
            self.beats_seen = 0;
            self.silent_looks = 0;
            self.succession = None;
            tracing::info!("worker {} was relieved by one that may read the new document root", self.index);
        } else {
            tracing::info!("worker {} serves again", self.index);
        }
        self.state = State::Serving;
    }

    /// Starts a successor: what a thread was once confined to, it stays confined to.
    fn outgrown(&mut self, generation: u32, options: &Options, reporter: &Reporter) {
        let is_current = self.worker.as_ref().is_some_and(|worker| worker.generation == generation);
        let is_tried = self.succession.is_some_and(|tried| tried.elapsed() < SUCCESSION_PAUSE);
        if !is_current || is_tried || self.successor.is_some() {
            return;
        }
        self.succession = Some(Instant::now());
        match self.hire(options, reporter) {
            Ok(successor) => self.successor = Some(successor),
            Err(error) => tracing::error!("worker {} cannot be relieved: {error}; trying again", self.index),
        }
    }

    fn ended(&mut self, generation: u32, ending: Ending) {
        if let Some(at) = self.leaving.iter().position(|leaving| *leaving == generation) {
            self.leaving.swap_remove(at);
            if ending == Ending::Died {
                tracing::error!("worker {} died while it finished its connections", self.index);
            }
            return;
        }
        if self.successor.take_if(|successor| successor.generation == generation).is_some() {
            let why = if let Ending::Failed(why) = ending { why } else { "it died; the log says why".to_owned() };
            tracing::error!(
                "worker {} serves a document root that was replaced on, for its successor could not start: {why}",
                self.index
            );
            return;
        }
        self.worker = None;
        match ending {
            Ending::Stopped => self.state = State::Stopped,
            Ending::Failed(why) => {
                tracing::error!("worker {} could not start: {why}", self.index);
                self.state = State::Dead;
            }
            Ending::Died => {
                tracing::error!("worker {} died; the others serve on", self.index);
                self.state = State::Dead;
            }
        }
    }

    fn check_heartbeat(&mut self) {
        let beats = self.worker.as_ref().map_or(0, |worker| worker.pulse.beats());
        if self.state != State::Serving || beats != self.beats_seen {
            if self.silent_looks >= SILENT_LOOKS_MAX {
                tracing::info!("worker {} is alive again", self.index);
            }
            self.beats_seen = beats;
            self.silent_looks = 0;
            return;
        }
        self.silent_looks += 1;
        if self.silent_looks == SILENT_LOOKS_MAX {
            tracing::error!("worker {} has had no heartbeat for {SILENT_LOOKS_MAX} looks: it is stuck", self.index);
        }
    }
}

/// Reports how a worker's thread ended, also when a panic unwound it.
struct LastWords {
    index: usize,
    generation: u32,
    reporter: Reporter,
    ending: Option<Ending>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let ending = self.ending.take().expect("taken here only");
        let news = News::Ended(ending);
        self.reporter.report(Event { index: self.index, generation: self.generation, news });
    }
}

/// The CPUs that this process may run on; never empty.
fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}
