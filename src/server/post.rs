//! One worker's place: who serves there, who is to take over, and who still finishes what was begun.
//!
//! Order of a succession: a successor is started beside the worker, on the same sockets · it accepts connections · the worker
//! is told to leave · it finishes what it has, and ends. A thread is confined once and for good, so whatever the sandbox
//! must newly allow needs another thread.
//!
//! Invariant: at most one worker of a post is told of changes, and whoever leaves is waited for.

use super::Options;
use super::doors::Entrance;
use super::order::{Order, Report, Voice};
use super::sandbox::Sandbox;
use super::worker::{self, Assignment, Ending, Pulse};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// A worker: its post, and which of those that were ever started there it is.
pub(super) type Who = (usize, u32);

/// What the supervisor hears of a worker.
pub(super) struct Event {
    /// The worker's post.
    pub(super) index: usize,
    /// Which of those that were ever started there it is.
    pub(super) generation: u32,
    pub(super) news: News,
}

/// What has happened to it.
pub(super) enum News {
    Told(Report),
    Ended(Ending),
}

/// How a worker's thread reports.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) events: Sender<Event>,
    pub(super) bell: Arc<UnixStream>,
}

impl Reporter {
    fn report(&self, event: Event) {
        // The supervisor is gone only when the process ends.
        let _ = self.events.send(event);
        let _ = (&*self.bell).write(&[1]);
    }
}

/// One worker's place: what outlives the worker in it.
pub(super) struct Post {
    pub(super) index: usize,
    cpu: usize,
    /// The worker in the post now; without one, nobody is told anything.
    worker: Option<Hired>,
    /// Who is to take over from that one.
    successor: Option<Hired>,
    /// Those who were relieved or told to stop, and still finish what they began.
    leaving: Vec<u32>,
    /// How many were ever started here.
    generations: u32,
    /// When a successor was last started because the sandbox was outgrown.
    succession: Option<Instant>,
    pub(super) state: State,
    started: Instant,
    /// Heartbeats at the last look, and looks since they last changed.
    beats_seen: u64,
    silent_looks: u32,
}

/// A worker that was started.
struct Hired {
    generation: u32,
    /// What its thread was confined to, and by which configuration.
    confinement: Confinement,
    pulse: Arc<Pulse>,
    /// Dropping it tells the worker to stop.
    voice: Voice,
}

/// What a thread was confined to when it was started; where links led then, and not where they lead now.
#[derive(Clone)]
pub(super) struct Confinement {
    pub(super) options: super::sandbox::Options,
    pub(super) sandbox: Option<Arc<Sandbox>>,
}

/// How a post is manned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Serving,
    Dead,
    Stopped,
}

/// Looks without a heartbeat after which a worker is called stuck.
const SILENT_LOOKS_MAX: u32 = 3;

/// How long after one successor could not take over the next one is tried.
const SUCCESSION_PAUSE: Duration = Duration::from_secs(30);

impl Post {
    pub(super) fn new(index: usize, cpu: usize) -> Post {
        Post {
            index,
            cpu,
            worker: None,
            successor: None,
            leaving: Vec::new(),
            generations: 0,
            succession: None,
            state: State::Dead,
            started: Instant::now(),
            beats_seen: 0,
            silent_looks: 0,
        }
    }

    /// Puts a worker into the post, which is empty. One that `waits` serves when it is told to commit.
    pub(super) fn start_worker(
        &mut self,
        options: &Arc<Options>,
        entrances: Vec<Entrance>,
        waits: bool,
        reporter: &Reporter,
    ) -> std::io::Result<()> {
        self.worker = Some(self.hire(options, entrances, waits, reporter)?);
        self.state = State::Starting;
        self.begin();
        Ok(())
    }

    /// Starts who is to take over, once it accepts connections and [`Post::relieve`] is called.
    pub(super) fn start_successor(
        &mut self,
        options: &Arc<Options>,
        entrances: Vec<Entrance>,
        reporter: &Reporter,
    ) -> std::io::Result<()> {
        self.dismiss_successor();
        self.successor = Some(self.hire(options, entrances, true, reporter)?);
        Ok(())
    }

    fn hire(
        &mut self,
        options: &Arc<Options>,
        entrances: Vec<Entrance>,
        waits: bool,
        reporter: &Reporter,
    ) -> std::io::Result<Hired> {
        let (voice, ear) = Voice::new()?;
        let sandbox = Sandbox::of(options).map(Arc::new);
        let confinement = Confinement { options: options.sandbox.clone(), sandbox: sandbox.clone() };
        let (cpu, options) = (self.cpu, options.clone());
        let assignment = Assignment { index: self.index, cpu, options, sandbox, waits, entrances, ear };
        self.generations += 1;
        let (index, generation) = (self.index, self.generations);
        let pulse: Arc<Pulse> = Arc::default();
        let hired = Hired { generation, confinement, pulse: pulse.clone(), voice };
        let last_words = LastWords { index, generation, reporter: reporter.clone(), ending: Some(Ending::Died) };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let mut last_words = last_words;
            let reporter = last_words.reporter.clone();
            let report = move |report| reporter.report(Event { index, generation, news: News::Told(report) });
            last_words.ending = Some(worker::run(assignment, &pulse, report));
        })?;
        Ok(hired)
    }

    fn begin(&mut self) {
        self.started = Instant::now();
        self.beats_seen = 0;
        self.silent_looks = 0;
    }

    /// Tells the worker in the post, and gives who that is, if there is one.
    pub(super) fn tell(&self, order: Order) -> Option<Who> {
        let worker = self.worker.as_ref()?;
        worker.voice.give(order);
        Some((self.index, worker.generation))
    }

    /// Who is to take over.
    pub(super) fn successor(&self) -> Option<Who> {
        self.successor.as_ref().map(|successor| (self.index, successor.generation))
    }

    /// Whether what a worker of this generation says counts: it is the one in the post.
    pub(super) fn is_current(&self, generation: u32) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.generation == generation)
    }

    /// Whether it is the one who is to take over.
    pub(super) fn is_successor(&self, generation: u32) -> bool {
        self.successor.as_ref().is_some_and(|successor| successor.generation == generation)
    }

    /// What the thread of the worker in the post was confined to.
    pub(super) fn confinement(&self) -> Option<&Confinement> {
        self.worker.as_ref().map(|worker| &worker.confinement)
    }

    /// Whether somebody is to take over.
    pub(super) fn has_successor(&self) -> bool {
        self.successor.is_some()
    }

    /// The worker in the post accepts connections.
    pub(super) fn ready(&mut self) {
        if self.state != State::Serving {
            tracing::info!("worker {} serves again", self.index);
        }
        self.state = State::Serving;
    }

    /// Lets the successor take over; `gone` are listeners that it does not have. Gives who was told something, by orders of this
    /// number.
    pub(super) fn relieve(&mut self, order: u64, gone: &[u16]) -> Vec<Who> {
        let Some(successor) = self.successor.take() else { return Vec::new() };
        successor.voice.give(Order::Commit { order });
        let mut told = vec![(self.index, successor.generation)];
        if let Some(relieved) = self.worker.replace(successor) {
            relieved.voice.give(Order::Leave { order, gone: gone.to_vec() });
            self.leaving.push(relieved.generation);
            told.push((self.index, relieved.generation));
        }
        self.begin();
        self.succession = None;
        self.state = State::Serving;
        told
    }

    /// Tells the successor to stop. It has served nobody, and the sockets are the worker's as well.
    pub(super) fn dismiss_successor(&mut self) {
        let dismissed = self.successor.take();
        self.leaving.extend(dismissed.map(|successor| successor.generation));
    }

    /// Whether a worker that asks for a successor is to have one now.
    pub(super) fn may_succeed(&mut self, generation: u32) -> bool {
        let is_tried = self.succession.is_some_and(|tried| tried.elapsed() < SUCCESSION_PAUSE);
        let may = self.is_current(generation) && !is_tried && self.successor.is_none();
        if may {
            self.succession = Some(Instant::now());
        }
        may
    }

    /// Tells whoever is here to stop.
    pub(super) fn stop(&mut self) {
        let told = [self.worker.take(), self.successor.take()];
        self.leaving.extend(told.into_iter().flatten().map(|worker| worker.generation));
    }

    /// Whether a worker is in the post that was not told to stop.
    pub(super) fn is_manned(&self) -> bool {
        self.worker.is_some()
    }

    /// Whether somebody still finishes what was begun.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Whether the post is to be manned anew now. One that dies right after its start is tried again at the next look, not at
    /// once: what kills it is most likely still there.
    pub(super) fn is_vacant(&self, time_to_look: bool, checkalive: Duration) -> bool {
        self.state == State::Dead && self.successor.is_none() && (time_to_look || self.started.elapsed() >= checkalive)
    }

    /// Notes that a worker has ended.
    pub(super) fn ended(&mut self, generation: u32, ending: Ending) {
        if let Some(at) = self.leaving.iter().position(|leaving| *leaving == generation) {
            self.leaving.swap_remove(at);
            if ending == Ending::Died {
                tracing::error!("worker {} died while it finished its connections", self.index);
            }
            return;
        }
        if self.successor.take_if(|successor| successor.generation == generation).is_some() {
            let why = if let Ending::Failed(why) = ending { why } else { "it died; the log says why".to_owned() };
            tracing::error!("worker {} goes on as before, for its successor could not start: {why}", self.index);
            return;
        }
        if !self.is_current(generation) {
            // It had left before.
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

    /// The generation of the worker that serves here, and its heartbeats so far.
    pub(super) fn heart(&self) -> Option<(u32, u64)> {
        let worker = self.worker.as_ref().filter(|_| self.state == State::Serving)?;
        Some((worker.generation, worker.pulse.beats()))
    }

    /// Looks whether the worker's heart has beaten since the last look.
    pub(super) fn check_heartbeat(&mut self) {
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
        let news = News::Ended(self.ending.take().expect("taken here only"));
        self.reporter.report(Event { index: self.index, generation: self.generation, news });
    }
}
