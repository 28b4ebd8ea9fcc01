//! A changed configuration, taken over while the server serves.
//!
//! Order: the configuration is read anew · what cannot change while the server runs is told of · roots are looked at, new
//! logs and listeners opened · every worker prepares, or a successor of it where its thread is confined to less · all commit.
//!
//! Invariant: until all workers can serve the new configuration nothing has changed, and what was opened for it is closed again.

use super::admin::{self, Admin};
use super::certificates::Certificates;
use super::doors::Entrance;
use super::listen::{Change, Listeners, Way};
use super::logs::{self, OpenLogs};
use super::order::{Order, Report};
use super::post::{Confinement, Event, News, Post, Who};
use super::signal::Signals;
use super::supervise::{Crew, announce};
use super::worker::Ending;
use super::{Options, StartError, preflight};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whatever a reload needs, made and found good; dropping it undoes it.
#[derive(Debug)]
pub struct Prepared {
    /// What is to be served.
    pub options: Arc<Options>,
    /// What becomes of the listeners.
    pub change: Change,
    /// Its logs, open.
    pub logs: OpenLogs,
    /// The certificates of its listeners.
    pub certificates: Certificates,
    /// Another door for administrators, where it is to be another.
    pub admin: Option<admin::Bound>,
}

/// Makes `options` fit for a server that runs with `running` already.
pub fn prepare(
    running: &Options,
    listeners: &Listeners,
    admin: &Admin,
    certificates: &Certificates,
    mut options: Options,
) -> Result<Prepared, StartError> {
    if options.workers != running.workers {
        tracing::warn!("`workers` is {} until the server is restarted", running.workers);
        options.workers = running.workers;
    }
    if options.privileges != running.privileges {
        tracing::warn!("`user`, `group` and `core_dumps` stay as they are until the server is restarted");
        options.privileges = running.privileges.clone();
    }
    preflight::check_roots(&options)?;
    let logs = logs::open(&options)?;
    // Whoever reloads is the user that serves: what it makes is its own.
    let change = listeners.prepare(&options, None)?;
    let admin = admin.prepare(&options.admin)?;
    let certificates = Certificates::load(&options.tls, certificates.reader().cloned())?;
    options.shard.tls = certificates.listeners();
    Ok(Prepared { options: Arc::new(options), change, logs, certificates, admin })
}

/// How long a worker may take to do what it is told; one that is stuck is not waited for.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

/// Has all workers of `crew` serve what was prepared, or none.
pub(super) fn change_to(crew: &mut Crew, prepared: Prepared, signals: &Signals) -> Result<(), String> {
    let Prepared { options, change, logs, certificates, admin } = prepared;
    let relieves = agree(crew, &options, &change, signals).inspect_err(|_| {
        tell_all(crew, || Order::Abandon);
        crew.posts.iter_mut().for_each(Post::dismiss_successor);
    })?;
    let opened: Vec<u16> = change.opened().map(|(number, _)| number).collect();
    if let Err(StartError(why)) = logs.take_effect() {
        tracing::warn!("{why}; messages go where they went");
    }
    crew.logs = logs;
    crew.options = options;
    crew.certificates = certificates;
    crew.numbers.clone_from(&change.numbers);
    // The workers hold copies of what is gone: its sockets listen until they have taken what waits there.
    let gone = crew.listeners.apply(change);
    crew.orders += 1;
    let order = crew.orders;
    let told = if relieves {
        crew.posts.iter_mut().flat_map(|post| post.relieve(order, &gone)).collect()
    } else {
        tell_all(crew, || Order::Commit { order })
    };
    if let Err(why) = hear_of(crew, told, signals) {
        tracing::warn!("{why}; it changes as soon as it does");
    }
    crew.admin.change_to(admin);
    crew.describe();
    let is_new = |position: usize| crew.numbers[position].is_some_and(|number| opened.contains(&number));
    announce(&crew.options, crew.serving().filter(|(position, _)| is_new(*position)));
    Ok(())
}

/// Whether all can serve it; where that takes successors, who then wait to be told, gives true.
fn agree(crew: &mut Crew, options: &Arc<Options>, change: &Change, signals: &Signals) -> Result<bool, String> {
    // One who is about to take over would not hear of it.
    let fits = crew.posts.iter().all(|post| !post.has_successor())
        && crew.posts.iter().filter_map(Post::confinement).all(|confinement| fits(confinement, options));
    let is_confined = crew.posts.iter().filter_map(Post::confinement).any(|one| one.sandbox.is_some());
    if fits {
        match prepare_workers(crew, options, change, signals) {
            Ok(()) => return Ok(false),
            // Another directory may be at a path that they were confined to; then another thread can do it.
            Err(_) if is_confined => drop(tell_all(crew, || Order::Abandon)),
            Err(why) => return Err(why),
        }
    }
    prepare_successors(crew, options, change, signals).map(|()| true)
}

/// Whether a thread that is confined to this may serve these options.
fn fits(confinement: &Confinement, options: &Options) -> bool {
    if confinement.options != options.sandbox {
        return false;
    }
    let Some(sandbox) = &confinement.sandbox else { return true };
    let needed = options.roots().into_iter().chain(options.password_files());
    needed.into_iter().all(|path| sandbox.covers(path))
}

/// Gives an order to all workers in their posts, and gives who they are.
fn tell_all(crew: &Crew, order: impl Fn() -> Order) -> Vec<Who> {
    crew.posts.iter().filter_map(|post| post.tell(order())).collect()
}

/// Has all workers that live prepare, and waits for them.
fn prepare_workers(crew: &mut Crew, options: &Arc<Options>, change: &Change, signals: &Signals) -> Result<(), String> {
    crew.orders += 1;
    let mut waiting = Vec::new();
    for post in &crew.posts {
        let entrances =
            entrances(options, &change.numbers, |number| change.ways_of(number, post.index)).map_err(unshared)?;
        waiting.extend(post.tell(Order::Prepare { order: crew.orders, options: options.clone(), entrances }));
    }
    hear_of(crew, waiting, signals)
}

/// Waits until all of these workers have done what they were told last.
fn hear_of(crew: &mut Crew, mut waiting: Vec<Who>, signals: &Signals) -> Result<(), String> {
    let mut outcome = Ok(());
    wait_for(crew, signals, &mut waiting, |crew, event| {
        let Event { index, generation, news } = event;
        match news {
            News::Told(Report::Done { order, answer }) if order == crew.orders => {
                if let Err(why) = answer {
                    outcome = Err(format!("worker {index}: {why}"));
                }
                true
            }
            // It is told again every second; until then there may be other options.
            News::Told(Report::Outgrown) => false,
            news => {
                let has_ended = matches!(news, News::Ended(_));
                crew.take(Event { index, generation, news });
                has_ended
            }
        }
    })?;
    outcome
}

/// Starts successors with all that is to be served, and waits until they could accept connections.
fn prepare_successors(
    crew: &mut Crew,
    options: &Arc<Options>,
    change: &Change,
    signals: &Signals,
) -> Result<(), String> {
    for index in 0..crew.posts.len() {
        let entrances = entrances(options, &change.numbers, |number| match crew.listeners.get(number) {
            Some(listener) => listener.ways_of(index),
            None => change.ways_of(number, index),
        });
        let entrances = entrances.map_err(unshared)?;
        let started = crew.posts[index].start_successor(options, entrances, &crew.reporter);
        started.map_err(|error| format!("worker {index} cannot be relieved: {error}"))?;
    }
    let mut waiting: Vec<Who> = crew.posts.iter().filter_map(Post::successor).collect();
    let mut outcome = Ok(());
    wait_for(crew, signals, &mut waiting, |crew, event| {
        let Event { index, generation, news } = event;
        if !crew.posts[index].is_successor(generation) {
            crew.take(Event { index, generation, news });
            return false;
        }
        if let News::Ended(ending) = news {
            let why = if let Ending::Failed(why) = &ending { why } else { "it died; the log says why" };
            outcome = Err(format!("worker {index}: its successor could not start: {why}"));
            crew.posts[index].ended(generation, ending);
        }
        true
    })?;
    outcome
}

/// Hands each event to `settles`, which says whether whoever it is of need not be waited for any more; until that is true of
/// all, or time is up.
fn wait_for(
    crew: &mut Crew,
    signals: &Signals,
    waiting: &mut Vec<Who>,
    mut settles: impl FnMut(&mut Crew, Event) -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + ORDER_TIMEOUT;
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("worker {} does not answer", waiting[0].0));
        }
        if signals.stop_asked() {
            return Err("the server is told to stop".to_owned());
        }
        crew.wait(signals, left);
        while let Ok(event) = crew.events.try_recv() {
            let who = (event.index, event.generation);
            if settles(crew, event) {
                waiting.retain(|waiting| *waiting != who);
            }
        }
    }
    Ok(())
}

/// The options' listeners as a worker is told of them, with the sockets that `ways_of` gives for their numbers.
pub(super) fn entrances(
    options: &Options,
    numbers: &[Option<u16>],
    ways_of: impl Fn(u16) -> std::io::Result<Vec<Way>>,
) -> std::io::Result<Vec<Entrance>> {
    let mut entrances = Vec::new();
    for ((position, listen), number) in (0..).zip(&options.listen).zip(numbers) {
        let Some(number) = *number else { continue };
        entrances.push(Entrance {
            position,
            number,
            is_proxied: listen.is_proxied,
            is_tls: listen.is_tls,
            ways: ways_of(number)?,
        });
    }
    Ok(entrances)
}

fn unshared(error: std::io::Error) -> String {
    format!("a listening socket cannot be shared: {error}")
}
