//! The door for administrators: metrics, health, and the state of the server, on addresses of its own.
//!
//! Order: `open` binds the addresses · `Admin::start` serves them from a thread of its own (`serve`), which answers by path
//! (`answer`) with what is counted ([`metrics`]) or the state as a whole ([`status`], as JSON or as a `page`).
//!
//! Invariant: nothing here can make a worker wait. It reads what workers have counted and published, and runs on a thread
//! that no worker knows of.

mod answer;
mod history;
pub mod human;
pub mod metrics;
mod page;
mod process;
mod serve;
pub mod status;

use super::certificates::Standing;
use super::inherit::{self, Held, Origin, Pool, Role};
use super::listen;
use super::{Address, StartError};
use crate::counters::{self, Counters};
use crate::observe::live;
use serve::Service;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where administrators come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Addresses to listen on; none is no door.
    pub listen: Vec<Address>,
    /// Whether others than this machine may come in.
    pub is_public: bool,
}

/// What the server is, for people; a reload may change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Number of workers.
    pub workers: usize,
    /// Addresses that are listened on.
    pub listeners: Vec<String>,
    /// Sites, by their names and document roots.
    pub sites: Vec<String>,
    /// What is shown to clients over TLS.
    pub certificates: Vec<Standing>,
}

/// One address that is listened on. Its file, where it has one, goes with the last that holds it.
#[derive(Debug)]
struct Listener {
    named: Address,
    /// With the port that the kernel chose.
    bound: Address,
    held: Held,
    /// Its file goes with it; not where another process goes on with the socket.
    removes_file: AtomicBool,
}

/// A door that is open, and not yet served.
#[derive(Debug)]
pub struct Bound {
    options: Options,
    listeners: Vec<Arc<Listener>>,
}

/// The door as it is served; dropping it closes it.
pub struct Admin {
    scene: Arc<Scene>,
    options: Options,
    listeners: Vec<Arc<Listener>>,
    serving: Option<Serving>,
    /// Answers those who were there when it fell silent.
    finishing: Option<JoinHandle<()>>,
}

/// The thread that serves it.
struct Serving {
    stop: UnixStream,
    thread: Option<JoinHandle<Service>>,
    _watch: live::Watch,
}

/// Opens the addresses. Each failure is one line with its remedy.
/// The files of Unix sockets belong to `owner`, user and group, where it is another than who runs this.
pub(super) fn open(options: &Options, owner: Option<(u32, u32)>, inherited: &mut Pool) -> Result<Bound, StartError> {
    open_beside(&[], options, owner, inherited)
}

/// Opens those that are not open already.
fn open_beside(
    open: &[Arc<Listener>],
    options: &Options,
    owner: Option<(u32, u32)>,
    inherited: &mut Pool,
) -> Result<Bound, StartError> {
    let mut listeners = Vec::new();
    for named in &options.listen {
        let kept = open.iter().find(|listener| listener.named == *named);
        listeners.push(match kept {
            Some(listener) => listener.clone(),
            None => {
                // More than one is never opened, and a unit that has more is served by its first.
                let taken = inherited.take(named, Role::Admin);
                let (bound, held) = match taken.and_then(|(bound, held)| Some((bound, held.into_iter().next()?))) {
                    Some(taken) => taken,
                    None => listen::open_admin(named, is_of_one(open, inherited, named), owner)?,
                };
                // The file of a socket unit's is the unit's.
                let removes_file = AtomicBool::new(held.origin == Origin::Own);
                Arc::new(Listener { named: named.clone(), bound, held, removes_file })
            }
        });
    }
    Ok(Bound { options: options.clone(), listeners })
}

/// Whether one of them has the port of this address, on another one: it may be about to go.
fn is_of_one(open: &[Arc<Listener>], inherited: &Pool, named: &Address) -> bool {
    let Address::Tcp(named) = named else { return false };
    let has_it =
        |listener: &Arc<Listener>| matches!(&listener.bound, Address::Tcp(bound) if bound.port() == named.port());
    open.iter().any(has_it) || inherited.holds_port(named.port())
}

impl Drop for Listener {
    fn drop(&mut self) {
        if inherit::is_unsettled() || !self.removes_file.load(Ordering::Relaxed) {
            return;
        }
        if let Address::Unix(path) = &self.bound {
            // While it still listens: the file of one that does not is replaced by the next server, whose file it is then.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Admin {
    /// Serves a door, from now on or from [`Admin::speak`] on; one without addresses is closed.
    pub(super) fn start(bound: Bound, description: Description, is_silent: bool) -> Result<Admin, StartError> {
        // From here on the process counts its time.
        counters::started();
        let scene = Arc::new(Scene::new(description, bound.options.is_public));
        let mut admin =
            Admin { scene, options: bound.options, listeners: bound.listeners, serving: None, finishing: None };
        if !is_silent {
            admin.speak()?;
        }
        Ok(admin)
    }

    /// Answers from here on.
    pub(super) fn speak(&mut self) -> Result<(), StartError> {
        let failed = |error| StartError(format!("the admin listener cannot be started: {error}"));
        self.serving = self.serve(Service::new()).map_err(failed)?;
        Ok(())
    }

    fn serve(&mut self, mut service: Service) -> std::io::Result<Option<Serving>> {
        if self.listeners.is_empty() {
            self.finish(service);
            return Ok(None);
        }
        let (stop, told_to_stop) = UnixStream::pair()?;
        let (scene, listeners) = (self.scene.clone(), self.listeners.clone());
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let sockets: Vec<_> = listeners.iter().map(|listener| &listener.held.socket).collect();
            service.run(&sockets, &told_to_stop, &scene);
            service
        })?;
        for listener in &self.listeners {
            tracing::info!("the admin listener is on {}", listener.bound);
        }
        Ok(Some(Serving { stop, thread: Some(thread), _watch: live::watch() }))
    }

    /// Opens another door, where these options name another; nothing changes before [`Admin::change_to`].
    pub fn prepare(&self, options: &Options) -> Result<Option<Bound>, StartError> {
        if *options == self.options {
            return Ok(None);
        }
        // Whoever reloads is the user that serves: what it makes is its own.
        open_beside(&self.listeners, options, None, &mut Pool::default()).map(Some)
    }

    /// Serves another door in the place of this one, if there is another.
    pub fn change_to(&mut self, bound: Option<Bound>) {
        let Some(bound) = bound else { return };
        // The thread of the one before ends first: two would race for the clients of an address that stays.
        let mut service = self.end_thread();
        for listener in &self.listeners {
            if !bound.listeners.iter().any(|stays| Arc::ptr_eq(stays, listener)) {
                service.take_in(&listener.held.socket);
            }
        }
        self.scene.is_public.store(bound.options.is_public, Ordering::Relaxed);
        (self.options, self.listeners) = (bound.options, bound.listeners);
        self.serve_or_tell(service);
    }

    /// The same as [`Admin::speak`] for a server that serves already, and goes on without a door if it has to.
    pub(super) fn speak_or_tell(&mut self) {
        self.serve_or_tell(Service::new());
    }

    fn serve_or_tell(&mut self, service: Service) {
        match self.serve(service) {
            Ok(serving) => self.serving = serving,
            Err(error) => tracing::error!("the admin listener cannot be started again: {error}"),
        }
    }

    /// What the thread had under way; without one, nothing.
    fn end_thread(&mut self) -> Service {
        self.serving.take().and_then(|mut serving| serving.end()).unwrap_or_else(Service::new)
    }

    /// The sockets, with what they are known by.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.listeners.iter().map(|listener| &listener.held)
    }

    /// Leaves the files of Unix sockets to the process that goes on with them.
    pub(super) fn keep_files(&self) {
        self.listeners.iter().for_each(|listener| listener.removes_file.store(false, Ordering::Relaxed));
    }

    /// Answers nobody new; the sockets stay open until the end.
    pub(super) fn fall_silent(&mut self) {
        let service = self.end_thread();
        self.finish(service);
    }

    /// Answers who is under way still.
    fn finish(&mut self, service: Service) {
        if service.is_idle() {
            return;
        }
        let scene = self.scene.clone();
        let finishes = move || service.finish(&scene);
        match std::thread::Builder::new().name("admin".to_owned()).spawn(finishes) {
            Ok(thread) => self.finishing = Some(thread),
            Err(error) => tracing::warn!("clients of the admin listener are cut off: {error}"),
        }
    }

    /// Tells this of the server from here on.
    pub fn describe(&self, description: Description) {
        *self.scene.description.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(description);
    }
}

impl Serving {
    /// Ends the thread, and gives what it had under way.
    fn end(&mut self) -> Option<Service> {
        let _ = self.stop.shutdown(Shutdown::Both);
        // It waits for nothing but this and its clients.
        self.thread.take()?.join().ok()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(finishing) = self.finishing.take() {
            // It waits for clients, who have a few seconds at most.
            let _ = finishing.join();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is told of.
pub(crate) struct Scene {
    description: Mutex<Arc<Description>>,
    is_public: AtomicBool,
}

/// A heart that has not beaten for this long has missed five beats.
const BEAT_AGE_MAX: Duration = Duration::from_secs(5);

/// Whether a worker's heart beats.
fn is_beating(counters: &Counters) -> bool {
    counters.since_beat().is_some_and(|age| age <= BEAT_AGE_MAX)
}

impl Scene {
    fn new(description: Description, is_public: bool) -> Scene {
        Scene { description: Mutex::new(Arc::new(description)), is_public: AtomicBool::new(is_public) }
    }

    fn description(&self) -> Arc<Description> {
        self.description.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn workers(&self) -> usize {
        self.description().workers
    }

    /// The counters of the workers that there should be.
    fn counters(&self) -> Vec<Counters> {
        (0..self.workers()).map(counters::of_worker).collect()
    }

    /// What is wrong with a worker, if something is.
    fn ailing(&self) -> Option<String> {
        let silent = |(index, counters): (usize, &Counters)| match counters.since_beat() {
            None => Some(format!("worker {index} does not run")),
            Some(age) if age > BEAT_AGE_MAX => {
                Some(format!("worker {index} has had no heartbeat for {} s: it is stuck", age.as_secs()))
            }
            Some(_) => None,
        };
        self.counters().iter().enumerate().find_map(silent)
    }

    /// Why the server should not be sent requests, if it should not.
    fn unready(&self) -> Option<String> {
        let is_draining = counters::process().is_draining.get();
        if is_draining { Some("draining: the server is about to stop".to_owned()) } else { self.ailing() }
    }

    /// In a few words.
    fn state(&self) -> String {
        match self.ailing() {
            _ if counters::process().is_draining.get() => "draining".to_owned(),
            Some(ailing) => ailing,
            None => "serving".to_owned(),
        }
    }
}
