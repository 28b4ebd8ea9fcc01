//! What systemd is told, where it started us: that we serve and how much, that all workers are alive, that we read our
//! configuration anew, that we end and need time for it.
//!
//! Order: ready · a word about connections each second, and a ping where the unit has a watchdog · reloading, and ready
//! again · stopping, and more time for it until the end.
//!
//! Invariant: a word to systemd never fails the server; without systemd nothing happens, and nobody wakes for it.

use super::post::Post;
use super::watchdog::{Change, Watchdog};
use crate::counters;
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// The service manager that started us, if one did.
pub(super) struct Systemd {
    /// What it was told last; none where it did not start us, or is to hear no more.
    status: Option<Status>,
    watchdog: Option<Watchdog>,
    /// When it is next told that the stop takes longer.
    extension: Option<Instant>,
}

/// How often connections and requests are told of.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// How long a stop may go on after each word that it does, and how often that is said.
const EXTENSION: Duration = Duration::from_secs(15);
const EXTENSION_PAUSE: Duration = Duration::from_secs(5);

impl Systemd {
    /// As the environment says; nothing is said before [`Systemd::ready`].
    pub(super) fn new() -> Systemd {
        let status = std::env::var_os("NOTIFY_SOCKET").map(|_| Status::default());
        let watchdog = sd_notify::watchdog_enabled().filter(|_| status.is_some()).map(Watchdog::new);
        Systemd { status, watchdog, extension: None }
    }

    /// Connections are accepted; also after [`reloading`], when all of the new configuration is in force.
    pub(super) fn ready(&mut self, workers: usize) {
        let Some(status) = &mut self.status else { return };
        status.workers = workers;
        status.refusal = None;
        self.tell_ready();
    }

    /// Something was refused, such as `a reload was refused`: that stays in sight until the next [`Systemd::ready`].
    pub(super) fn refused(&mut self, what: &'static str) {
        let Some(status) = &mut self.status else { return };
        status.refusal = Some(what);
        self.tell_ready();
    }

    fn tell_ready(&mut self) {
        let Some(status) = &mut self.status else { return };
        let now = Instant::now();
        // One that has said something before goes on as it did.
        status.next.get_or_insert(now + STATUS_PAUSE);
        status.told = status.text();
        tell(&[NotifyState::Ready, NotifyState::Status(&status.told)]);
    }

    /// The server ends.
    pub(super) fn stopping(&mut self) {
        let Some(status) = &mut self.status else { return };
        status.next = None;
        self.extension = Some(Instant::now() + EXTENSION_PAUSE);
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight"), extension()]);
    }

    /// Another process speaks from here on.
    pub(super) fn fall_silent(&mut self) {
        *self = Systemd { status: None, watchdog: None, extension: None };
    }

    /// When it is to hear something, at the latest.
    pub(super) fn time_to_next_word(&self) -> Duration {
        let status = self.status.as_ref().and_then(|status| status.next);
        // As long as nothing was said about connections, or no more, there is no ping either but those of a stop.
        let speaks = status.is_some() || self.extension.is_some();
        let ping = self.watchdog.as_ref().filter(|_| speaks).map(Watchdog::next);
        let next = [status, ping, self.extension].into_iter().flatten().min();
        next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }

    /// Says what is due. A post that nobody serves is waited for as long as `patience`.
    pub(super) fn look(&mut self, posts: &[Post], patience: Duration) {
        if !self.time_to_next_word().is_zero() {
            return;
        }
        let now = Instant::now();
        if let Some(next) = self.extension {
            self.go_on_stopping(next, now);
            return;
        }
        let Some(status) = &mut self.status else { return };
        let is_well = self.watchdog.as_mut().is_some_and(|watchdog| {
            let hearts = posts.iter().map(Post::heart);
            let ping = watchdog.look(now, hearts, patience);
            match ping.change {
                None => {}
                Some(Change::Stuck(index)) => {
                    status.stuck = Some(index);
                    status.next = Some(now);
                    tracing::error!(
                        "systemd is told no more that all is well: worker {index} shows no sign of life, and the \
                         watchdog will have the server started anew"
                    );
                }
                Some(Change::Well) => {
                    status.stuck = None;
                    status.next = Some(now);
                    tracing::info!("systemd is told again that all is well: every worker is alive");
                }
            }
            ping.is_due
        });
        if status.next.is_some_and(|next| next <= now) {
            status.count(now, posts.len());
            status.next = Some(now + STATUS_PAUSE);
            let text = status.text();
            if text != status.told {
                status.told = text;
                tell(&[NotifyState::Status(&status.told)]);
            }
        }
        if is_well {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// The end has bounds of its own, so that nobody need be asked whether all is well.
    fn go_on_stopping(&mut self, next: Instant, now: Instant) {
        if let Some(watchdog) = &mut self.watchdog {
            if watchdog.next() <= now {
                watchdog.pinged(now);
                tell(&[NotifyState::Watchdog]);
            }
        }
        if next <= now {
            self.extension = Some(now + EXTENSION_PAUSE);
            tell(&[extension()]);
        }
    }
}

/// The configuration is read anew. With the time, for a unit of `Type=notify-reload` wants to know which reload it is.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(error) => tracing::debug!("systemd is not told of a reload: {error}"),
    }
}

/// Of use only where TimeoutStopSec= of the unit is shorter than what the configuration lets a stop take.
fn extension() -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(EXTENSION.as_micros()).expect("it is a constant below an hour"))
}

/// Another process is the service from here on.
pub(super) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd is not told: {error}");
    }
}

/// What `systemctl status` shows.
#[derive(Debug, Default)]
struct Status {
    workers: usize,
    connections: u64,
    requests_per_second: u64,
    refusal: Option<&'static str>,
    stuck: Option<usize>,
    /// What was told last.
    told: String,
    /// When to look again; none before the server serves, and when it ends.
    next: Option<Instant>,
    /// Requests at the last look, and when that was.
    counted: Option<(u64, Instant)>,
}

impl Status {
    /// Takes in what the workers have counted.
    fn count(&mut self, now: Instant, workers: usize) {
        let (mut connections, mut requests) = (0, 0);
        for counters in (0..workers).map(counters::of_worker) {
            connections +=
                counters::State::ALL.iter().map(|(state, _)| counters.connections(*state).get()).sum::<u64>();
            requests += counters::METHODS.iter().map(|(method, _)| counters.requests(*method).get()).sum::<u64>();
        }
        let before = self.counted.replace((requests, now));
        self.connections = connections;
        self.requests_per_second =
            before.map_or(0, |(before, then)| per_second(requests.saturating_sub(before), now.duration_since(then)));
    }

    fn text(&self) -> String {
        let mut text = format!(
            "serving with {}: {}, {}/s",
            counted(self.workers as u64, "worker"),
            counted(self.connections, "connection"),
            counted(self.requests_per_second, "request")
        );
        if let Some(index) = self.stuck {
            text += &format!("; worker {index} is stuck");
        }
        if let Some(refusal) = self.refusal {
            text += &format!("; {refusal}, and the log says why");
        }
        text
    }
}

/// To the nearest.
fn per_second(count: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    let rounded = (u128::from(count) * 1000 + milliseconds / 2) / milliseconds;
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// `1 worker`, `12,345 workers`.
fn counted(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{text} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_one_line_for_people() {
        let mut status = Status { workers: 1, connections: 1, requests_per_second: 1, ..Status::default() };
        assert_eq!(status.text(), "serving with 1 worker: 1 connection, 1 request/s");
        status = Status { workers: 2, connections: 51, requests_per_second: 1_012_345, ..Status::default() };
        assert_eq!(status.text(), "serving with 2 workers: 51 connections, 1,012,345 requests/s");
        status.stuck = Some(1);
        status.refusal = Some("a reload was refused");
        assert_eq!(
            status.text(),
            "serving with 2 workers: 51 connections, 1,012,345 requests/s; worker 1 is stuck; a reload was refused, \
             and the log says why"
        );
    }

    #[test]
    fn a_rate_is_what_was_counted_by_the_time_it_took() {
        for (count, milliseconds, rate) in [(0, 1000, 0), (10, 1000, 10), (10, 4000, 3), (7, 500, 14), (1, 0, 1000)] {
            assert_eq!(per_second(count, Duration::from_millis(milliseconds)), rate, "{count} in {milliseconds} ms");
        }
    }
}
