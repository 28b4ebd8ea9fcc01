//! The end of a process whose listening sockets another goes on with: one that has taken over, or the next one of the service.
//!
//! Order of an upgrade: the program is started ([`Crew::begin_upgrade`]) · it says what comes of it ([`Crew::look_at_upgrade`]) · it
//! is told to go on, and what is in flight here is finished ([`Crew::hand_over`]). Order of a stop: answers that are under way are
//! waited for while all is served on ([`Crew::finish`]) · the queues are left as they are, and the rest is ended ([`Crew::retire`]).
//!
//! Invariant: from the moment in which another may read a queue, it is never shut down here.

use super::order::{Order, Report, Retirement};
use super::post::{Event, News, Post, Who};
use super::signal::Signals;
use super::supervise::{Crew, STOP_MARGIN};
use super::upgrade::{Program, Progress, Upgrade};
use super::worker::{Ending, RELIEF_TIMEOUT};
use super::{StartError, notify};
use crate::counters;
use crate::observe::journal;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long idle clients may ask once more before the process ends. Others wait in the queues meanwhile.
const STOP_RELIEF: Duration = Duration::from_millis(250);

/// What is left for the rest after the answers that were waited for, however long that took.
const DRAIN_MIN: Duration = Duration::from_secs(1);

/// Between two looks where nobody tells us.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl Crew {
    /// Starts the program anew, unless that is under way.
    pub(super) fn begin_upgrade(&mut self, program: &std::io::Result<Program>) {
        if self.upgrade.is_some() {
            tracing::info!("an upgrade is under way already");
            return;
        }
        tracing::info!("upgrading: starting the program anew");
        let begun = match program {
            Ok(program) => {
                let (store, admin) = (&self.store, self.admin.held());
                let held = self.listeners.held().chain(admin).map(|held| (held, store.has(&held.name)));
                Upgrade::begin(program, held, self.certificates.reader().map(|reader| &**reader))
            }
            Err(error) => Err(format!("its path is not known: {error}")),
        };
        match begun {
            Ok(upgrade) => self.upgrade = Some(upgrade),
            Err(why) => self.refuse(&why),
        }
    }

    /// Takes what the new process says; gives its number once it serves.
    pub(super) fn look_at_upgrade(&mut self) -> Option<Pid> {
        match self.upgrade.as_mut()?.look() {
            Progress::Pending => None,
            Progress::Ready(pid) => Some(pid),
            Progress::Failed(why) => {
                self.abandon_upgrade();
                self.refuse(&why);
                None
            }
        }
    }

    /// Ends the new process, if there is one.
    pub(super) fn abandon_upgrade(&mut self) {
        if let Some(upgrade) = self.upgrade.take() {
            upgrade.abandon();
        }
    }

    /// Leaves all that comes to the new process, which serves. Gives whether it has gone on.
    pub(super) fn hand_over(&mut self, successor: Pid, signals: &Signals) -> bool {
        let Some(mut upgrade) = self.upgrade.take() else { return false };
        // Its words count from here on, and ours do not.
        notify::main_process(successor.as_raw_nonzero().get().unsigned_abs());
        if let Err(why) = upgrade.go() {
            notify::main_process(std::process::id());
            upgrade.abandon();
            self.refuse(&why);
            return false;
        }
        self.systemd.fall_silent();
        if signals.take_hangup() {
            // It came while nothing was to change here; what the new process has read may be older.
            let _ = kill_process(successor, Signal::HUP);
        }
        if signals.stop_asked() {
            // Whoever asked for it a moment ago meant the server, which is that one by now.
            let _ = kill_process(successor, Signal::TERM);
        }
        tracing::info!("process {} has taken over; finishing what is in flight", successor.as_raw_nonzero());
        true
    }

    /// Finishes what is in flight after a process has taken over: without a bound, unless a signal says stop.
    pub(super) fn finish_transfers(&mut self, signals: &Signals) -> Result<(), StartError> {
        counters::process().is_draining.set(true);
        self.admin.fall_silent();
        self.keep_files();
        self.tell_to_retire(Retirement { takes_waiting: true, relief: RELIEF_TIMEOUT, drain: None });
        self.listeners.clear();
        while self.posts.iter().any(|post| post.is_manned() || post.is_leaving()) {
            if signals.stop_asked() {
                self.posts.iter_mut().for_each(Post::stop);
                self.wait_for_all(signals, Instant::now() + self.options.drain_timeout + STOP_MARGIN);
                break;
            }
            self.wait(signals, LOOK_PAUSE);
            self.note_endings();
            if signals.take_reopen() {
                journal::reopen();
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Whether all sockets go on listening when this process has ended.
    pub(super) fn is_outlived(&self) -> bool {
        self.store.keeps(self.listeners.held().chain(self.admin.held()))
    }

    /// Serves on until the answers that are under way have ended: newcomers would wait for the end of the process for as long as they
    /// take. Not longer than a drain may take; gives what is left of that.
    pub(super) fn finish(&mut self, signals: &Signals) -> Duration {
        let drain = self.options.drain_timeout;
        let deadline = Instant::now() + drain;
        self.orders += 1;
        let order = self.orders;
        let mut busy: Vec<Who> = self.posts.iter().filter_map(|post| post.tell(Order::Finish { order })).collect();
        while !busy.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.wait(signals, left.min(LOOK_PAUSE));
            while let Ok(event) = self.events.try_recv() {
                let who = (event.index, event.generation);
                match event.news {
                    News::Told(Report::Done { order: done, .. }) if done == order => busy.retain(|one| *one != who),
                    News::Told(Report::Outgrown) => {}
                    News::Ended(_) => {
                        busy.retain(|one| *one != who);
                        self.take(event);
                    }
                    News::Told(_) => self.take(event),
                }
            }
        }
        deadline.saturating_duration_since(Instant::now()).max(DRAIN_MIN.min(drain))
    }

    /// Ends what there is, within `drain`; the queues are left to the next process.
    pub(super) fn retire(&mut self, drain: Duration) {
        self.keep_files();
        self.tell_to_retire(Retirement { takes_waiting: false, relief: STOP_RELIEF.min(drain), drain: Some(drain) });
        self.posts.iter_mut().for_each(Post::stop);
    }

    fn tell_to_retire(&mut self, retirement: Retirement) {
        for post in &mut self.posts {
            post.dismiss_successor();
            post.tell(Order::Retire(retirement));
        }
    }

    fn keep_files(&mut self) {
        self.listeners.keep_files();
        self.admin.keep_files();
    }

    fn note_endings(&mut self) {
        while let Ok(Event { index, generation, news }) = self.events.try_recv() {
            match news {
                News::Ended(ending) => self.posts[index].ended(generation, ending),
                News::Told(Report::Left) => self.posts[index].ended(generation, Ending::Stopped),
                News::Told(_) => {}
            }
        }
    }

    /// Waits for all who were told to end.
    pub(super) fn wait_for_all(&mut self, signals: &Signals, deadline: Instant) {
        while self.posts.iter().any(Post::is_leaving) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::error!("some workers do not end; leaving without them");
                return;
            }
            self.wait(signals, left);
            self.note_endings();
        }
    }

    fn refuse(&mut self, why: &str) {
        tracing::error!("the upgrade is refused, and this process serves on: {why}");
        self.systemd.refused("an upgrade was refused");
    }
}
