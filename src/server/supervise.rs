//! Watches the workers from the main thread: starts them, starts anew those that died, reports
//! those that are stuck, stops them.
//!
//! Invariant: the supervisor keeps every listening socket, so that clients queue while a worker
//! is replaced, and never waits for a worker longer than the options say.

use super::listen::{Bound, SocketFiles, Sockets};
use super::signal::Signals;
use super::worker::{self, Assignment, Ending, Pulse};
use super::{Address, Options, StartError, ring};
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
enum Event {
    Ready(usize),
    Ended(usize, Ending),
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
    pulse: Arc<Pulse>,
    /// The worker in the post now; dropping it tells the worker to stop.
    stop: Option<UnixStream>,
    state: State,
    started: Instant,
    /// Heartbeats at the last look, and looks since they last changed.
    beats_seen: u64,
    silent_looks: u32,
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
                pulse: Arc::default(),
                stop: None,
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
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Ready(index) => self.posts[index].state = State::Serving,
                    Event::Ended(index, Ending::Failed(why)) => {
                        return Err(StartError(format!("worker {index}: {why}")));
                    }
                    Event::Ended(index, _) => {
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
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Ready(index) => {
                    self.posts[index].state = State::Serving;
                    tracing::info!("worker {index} serves again");
                }
                Event::Ended(index, ending) => self.posts[index].ended(ending),
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
            if post.state == State::Dead && (at_once || time_to_look) {
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
            post.stop = None;
            post.listeners.clear();
        }
        let deadline = Instant::now() + self.options.drain_timeout + STOP_MARGIN;
        while self.posts.iter().any(|post| matches!(post.state, State::Starting | State::Serving)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!("some workers do not end; leaving without them");
                return;
            }
            self.wait(signals, left);
            while let Ok(event) = self.events.try_recv() {
                if let Event::Ended(index, ending) = event {
                    self.posts[index].ended(ending);
                }
            }
        }
    }
}

impl Post {
    fn start_worker(&mut self, options: &Options, reporter: &Reporter) -> std::io::Result<()> {
        let (stop, told_to_stop) = UnixStream::pair()?;
        let copy = |(listener, socket): &(usize, socket2::Socket)| Ok((*listener, socket.try_clone()?));
        let listeners = self.listeners.iter().map(copy).collect::<std::io::Result<_>>()?;
        let assignment = Assignment { index: self.index, cpu: self.cpu, listeners, stop: told_to_stop.into() };
        let index = self.index;
        let options = options.clone();
        let pulse = self.pulse.clone();
        let last_words = LastWords { index, reporter: reporter.clone(), ending: Some(Ending::Died) };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let mut last_words = last_words;
            let reporter = last_words.reporter.clone();
            let ready = || reporter.report(Event::Ready(index));
            last_words.ending = Some(worker::run(assignment, &options, &pulse, ready));
        })?;
        self.stop = Some(stop);
        self.state = State::Starting;
        self.started = Instant::now();
        self.silent_looks = 0;
        Ok(())
    }

    fn ended(&mut self, ending: Ending) {
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
        let beats = self.pulse.beats();
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
    reporter: Reporter,
    ending: Option<Ending>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let ending = self.ending.take().expect("taken here only");
        self.reporter.report(Event::Ended(self.index, ending));
    }
}

/// The CPUs that this process may run on; never empty.
fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}
