//! Watches the workers from the main thread: starts them, starts anew those that died, reports
//! those that are stuck, stops them.
//!
//! Invariant: the supervisor keeps every listening socket, so that clients queue while a worker
//! is replaced, and never waits for a worker longer than the options say.

use super::doors::Entrance;
use super::listen::{Change, Listener, Listeners};
use super::order::{Order, Voice};
use super::signal::Signals;
use super::worker::{self, Assignment, Ending, Pulse, Report};
use super::{Address, Options, Reload, StartError, reload, ring};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Runs the workers until a signal says stop. `numbers` are those of the options' listeners.
pub fn run(
    options: Options,
    listeners: Listeners,
    numbers: Vec<Option<u16>>,
    signals: Signals,
    reload: Reload<'_>,
) -> Result<(), StartError> {
    let mut crew = Crew::start(Arc::new(options), listeners, numbers)?;
    crew.wait_until_ready(&signals)?;
    announce(&crew.options, crew.serving());
    tracing::debug!("{} workers run; flags of their rings: {}", crew.options.workers, ring::describe());
    while !signals.stop_asked() {
        crew.wait(&signals, crew.time_to_next_look());
        crew.take_events();
        crew.look_after();
        if signals.take_hangup() {
            crew.reload(reload, &signals);
        }
    }
    tracing::info!("stopping: finishing what is in flight, for {} s at most", crew.options.drain_timeout.as_secs());
    crew.stop(&signals);
    tracing::info!("stopped");
    Ok(())
}

/// One line an address, once connections are accepted.
fn announce<'a>(options: &Options, serving: impl Iterator<Item = (usize, &'a Listener)>) {
    let workers = options.workers;
    let plural = if workers == 1 { "" } else { "s" };
    let mut out = std::io::stdout().lock();
    for (position, listener) in serving {
        let what = options.served_by(position);
        let address = match &listener.bound {
            Address::Tcp(address) => format!("http://{address}/"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        // Nobody reads it when standard output is closed: no reason not to serve.
        let _ = writeln!(out, "serving {what} on {address} with {workers} worker{plural}");
    }
    let _ = out.flush();
}

/// What the supervisor hears of a worker.
enum Event {
    Told(usize, Report),
    Ended(usize, Ending),
}

/// The workers, and the means to hear of them.
struct Crew {
    /// What is served now.
    options: Arc<Options>,
    listeners: Listeners,
    /// Those of the options' listeners.
    numbers: Vec<Option<u16>>,
    posts: Vec<Post>,
    events: Receiver<Event>,
    reporter: Reporter,
    /// Becomes readable with each event.
    bell: UnixStream,
    last_look: Instant,
    /// Orders that were given.
    orders: u64,
}

/// One worker's place: what outlives the worker in it.
struct Post {
    index: usize,
    cpu: usize,
    pulse: Arc<Pulse>,
    /// Speaks to the worker in the post now; dropping it tells the worker to stop.
    voice: Option<Voice>,
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

/// How long a worker may take to do what it is told; one that is stuck is not waited for.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

impl Crew {
    fn start(options: Arc<Options>, listeners: Listeners, numbers: Vec<Option<u16>>) -> Result<Crew, StartError> {
        let fail = |error: std::io::Error| StartError(format!("the workers cannot be started: {error}"));
        let (sender, events) = channel();
        let (bell, ringer) = UnixStream::pair().map_err(fail)?;
        bell.set_nonblocking(true).map_err(fail)?;
        ringer.set_nonblocking(true).map_err(fail)?;
        let reporter = Reporter { events: sender, bell: Arc::new(ringer) };
        let cpus = allowed_cpus();
        let posts = (0..options.workers).map(|index| Post::new(index, cpus[index % cpus.len()])).collect();
        let mut crew =
            Crew { options, listeners, numbers, posts, events, reporter, bell, last_look: Instant::now(), orders: 0 };
        for index in 0..crew.posts.len() {
            crew.start_worker(index).map_err(fail)?;
        }
        Ok(crew)
    }

    fn start_worker(&mut self, index: usize) -> std::io::Result<()> {
        let entrances = entrances(&self.options, &self.numbers, |number| {
            self.listeners.get(number).map(|listener| listener.socket_of(index)).transpose()
        })?;
        self.posts[index].start_worker(&self.options, entrances, &self.reporter)
    }

    /// The listeners that are open, by their positions among the options'.
    fn serving(&self) -> impl Iterator<Item = (usize, &Listener)> {
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
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Told(index, Report::Ready) => self.posts[index].state = State::Serving,
                    Event::Told(_, Report::Done { .. }) => {}
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
                Event::Told(index, Report::Ready) => self.posts[index].serves_again(),
                // Of a reload that was given up.
                Event::Told(_, Report::Done { .. }) => {}
                Event::Ended(index, ending) => self.posts[index].ended(ending),
            }
        }
    }

    /// Takes over a changed configuration, or says why not; then nothing has changed.
    fn reload(&mut self, read: Reload<'_>, signals: &Signals) {
        tracing::info!("reloading the configuration");
        let begun = Instant::now();
        let prepared = read().and_then(|options| {
            reload::prepare(&self.options, &self.listeners, options).map_err(|error| error.to_string())
        });
        let outcome = prepared.and_then(|prepared| self.change_to(prepared, signals));
        match outcome {
            Ok(()) => tracing::info!("reloaded in {} ms", begun.elapsed().as_millis()),
            Err(why) => {
                let mut lines = why.lines();
                tracing::error!("nothing has changed, the reload is refused: {}", lines.next().unwrap_or_default());
                // The place in the file, and the caret under it.
                lines.for_each(|line| tracing::error!("{line}"));
            }
        }
    }

    fn change_to(&mut self, prepared: reload::Prepared, signals: &Signals) -> Result<(), String> {
        let reload::Prepared { options, change } = prepared;
        let outcome = self.prepare_workers(&options, &change, signals);
        if let Err(why) = outcome {
            self.tell_all(&|| Order::Abandon);
            return Err(why);
        }
        let opened: Vec<u16> = change.opened().map(|(number, _)| number).collect();
        self.options = options;
        self.numbers.clone_from(&change.numbers);
        // The workers hold copies of what is gone: its sockets listen until they have taken what waits there.
        for number in self.listeners.apply(change) {
            tracing::debug!("listener {number} is gone");
        }
        self.orders += 1;
        let order = self.orders;
        let told = self.tell_all(&|| Order::Commit { order });
        if let Err(why) = self.hear_of(told, signals) {
            tracing::warn!("{why}; it serves the new configuration as soon as it does");
        }
        let is_new = |position: usize| self.numbers[position].is_some_and(|number| opened.contains(&number));
        announce(&self.options, self.serving().filter(|(position, _)| is_new(*position)));
        Ok(())
    }

    /// Gives an order to all workers that live, and their numbers.
    fn tell_all(&self, order: &dyn Fn() -> Order) -> Vec<usize> {
        let tell = |post: &Post| post.voice.as_ref().map(|voice| voice.give(order())).map(|()| post.index);
        self.posts.iter().filter_map(tell).collect()
    }

    /// Has all workers that live prepare, and waits for them.
    fn prepare_workers(&mut self, options: &Arc<Options>, change: &Change, signals: &Signals) -> Result<(), String> {
        self.orders += 1;
        let mut waiting = Vec::new();
        for post in &self.posts {
            let Some(voice) = &post.voice else { continue };
            let entrances = entrances(options, &change.numbers, |number| {
                let is_it = |(opened, _): &(u16, &Listener)| *opened == number;
                change.opened().find(is_it).map(|(_, listener)| listener.socket_of(post.index)).transpose()
            });
            let entrances = entrances.map_err(|error| format!("a listening socket cannot be shared: {error}"))?;
            voice.give(Order::Prepare { order: self.orders, options: options.clone(), entrances });
            waiting.push(post.index);
        }
        self.hear_of(waiting, signals)
    }

    /// Waits until all of these workers have done what they were told last.
    fn hear_of(&mut self, mut waiting: Vec<usize>, signals: &Signals) -> Result<(), String> {
        let deadline = Instant::now() + ORDER_TIMEOUT;
        let mut outcome = Ok(());
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("worker {} does not answer", waiting[0]));
            }
            self.wait(signals, left);
            while let Ok(event) = self.events.try_recv() {
                match event {
                    Event::Told(_, Report::Done { order, .. }) if order != self.orders => {}
                    Event::Told(index, Report::Done { answer, .. }) => {
                        waiting.retain(|waiting| *waiting != index);
                        outcome = outcome.and(answer.map_err(|why| format!("worker {index}: {why}")));
                    }
                    Event::Told(index, Report::Ready) => self.posts[index].serves_again(),
                    Event::Ended(index, ending) => {
                        waiting.retain(|waiting| *waiting != index);
                        self.posts[index].ended(ending);
                    }
                }
            }
        }
        outcome
    }

    /// Replaces the dead, and looks for heartbeats when it is time to.
    fn look_after(&mut self) {
        let time_to_look = self.time_to_next_look().is_zero();
        for index in 0..self.posts.len() {
            let post = &mut self.posts[index];
            if time_to_look {
                post.check_heartbeat();
            }
            // One that dies right after its start is tried again at the next look, not at once:
            // what kills it is most likely still there.
            let at_once = post.started.elapsed() >= self.options.checkalive;
            if post.state == State::Dead && (at_once || time_to_look) {
                tracing::warn!("starting worker {index} anew");
                if let Err(error) = self.start_worker(index) {
                    tracing::error!("worker {index} cannot be started: {error}; trying again");
                }
            }
        }
        if time_to_look {
            self.last_look = Instant::now();
        }
    }

    /// Tells all workers to stop and waits for them, within bounds.
    fn stop(&mut self, signals: &Signals) {
        self.listeners.remove_files();
        self.posts.iter_mut().for_each(|post| post.voice = None);
        self.listeners.clear();
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
    fn new(index: usize, cpu: usize) -> Post {
        Post {
            index,
            cpu,
            pulse: Arc::default(),
            voice: None,
            state: State::Dead,
            started: Instant::now(),
            beats_seen: 0,
            silent_looks: 0,
        }
    }

    fn start_worker(
        &mut self,
        options: &Arc<Options>,
        entrances: Vec<Entrance>,
        reporter: &Reporter,
    ) -> std::io::Result<()> {
        let index = self.index;
        let (voice, ear) = Voice::new()?;
        let assignment = Assignment { index, cpu: self.cpu, options: options.clone(), entrances, ear };
        let pulse = self.pulse.clone();
        let last_words = LastWords { index, reporter: reporter.clone(), ending: Some(Ending::Died) };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let mut last_words = last_words;
            let reporter = last_words.reporter.clone();
            let report = |report| reporter.report(Event::Told(index, report));
            last_words.ending = Some(worker::run(assignment, &pulse, report));
        })?;
        self.voice = Some(voice);
        self.state = State::Starting;
        self.started = Instant::now();
        self.silent_looks = 0;
        Ok(())
    }

    fn serves_again(&mut self) {
        self.state = State::Serving;
        tracing::info!("worker {} serves again", self.index);
    }

    fn ended(&mut self, ending: Ending) {
        self.voice = None;
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

/// The options' listeners as a worker is told of them, with the sockets that `socket_of` gives for their numbers.
fn entrances(
    options: &Options,
    numbers: &[Option<u16>],
    socket_of: impl Fn(u16) -> std::io::Result<Option<socket2::Socket>>,
) -> std::io::Result<Vec<Entrance>> {
    let mut entrances = Vec::new();
    for ((position, listen), number) in (0..).zip(&options.listen).zip(numbers) {
        let Some(number) = *number else { continue };
        entrances.push(Entrance { position, number, is_proxied: listen.is_proxied, socket: socket_of(number)? });
    }
    Ok(entrances)
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
