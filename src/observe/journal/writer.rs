//! The thread that writes all logs.
//!
//! Order: a message, or the time for the next attempt · destinations that are behind · once a second what there is to
//! tell of them.
//!
//! Invariant: messages are taken in the order in which they came, so that a file that is begun anew has nothing of
//! what was handed over before.

use super::framing::{About, Priority};
use super::{Message, REOPEN_ASKED, Sink, sinks};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long to wait before what could not be written is tried again.
const RETRY: Duration = Duration::from_millis(100);

const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Runs for as long as the process.
pub(super) fn run(messages: &Receiver<Message>) {
    let mut writer = Writer::default();
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next {
            writer.keep_house();
            next = now + HOUSEKEEPING;
        }
        let until_next = next - now;
        let wait = if writer.behind.is_empty() { until_next } else { until_next.min(RETRY) };
        match messages.recv_timeout(wait) {
            Ok(message) => writer.take(message),
            Err(RecvTimeoutError::Timeout) => writer.retry(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[derive(Default)]
struct Writer {
    /// Sinks that have something to be written; they live until it is.
    behind: Vec<Arc<Sink>>,
    troubles: HashMap<usize, Trouble>,
    /// Whoever waits for everything to be written.
    waiting: Vec<SyncSender<()>>,
}

impl Writer {
    fn take(&mut self, message: Message) {
        match message {
            Message::Lines { sink, mut bytes, lines, home } => {
                self.write(&sink, &bytes, lines, About::Access, Priority::Informational);
                bytes.clear();
                // A core that is gone has no use for it.
                let _ = home.try_send(bytes);
            }
            Message::Record { sink, bytes, priority } => self.write(&sink, &bytes, 1, About::Server, priority),
            Message::Reopen => self.reopen(),
            Message::Finish(done) => {
                self.waiting.push(done);
                self.retry();
            }
        }
    }

    fn reopen(&mut self) {
        for sink in sinks() {
            let (lost, outcome) = sink.state().reopen(sink.destination());
            if lost > 0 {
                sink.drop_lines(lost);
            }
            self.note(&sink);
            if let Err(error) = outcome {
                tracing::error!("{}; the old one stays in use", sink.destination().cannot_be_opened(&error));
            }
        }
        tracing::info!("the logs were opened anew");
    }

    fn write(&mut self, sink: &Arc<Sink>, bytes: &[u8], lines: u64, about: About, priority: Priority) {
        let lost = sink.state().write(sink.destination(), bytes, lines, about, priority);
        if lost > 0 {
            sink.drop_lines(lost);
        }
        self.note(sink);
    }

    /// Keeps in mind whether a sink is behind.
    fn note(&mut self, sink: &Arc<Sink>) {
        let is_behind = sink.state().is_behind();
        let place = self.behind.iter().position(|one| Arc::ptr_eq(one, sink));
        match place {
            None if is_behind => self.behind.push(sink.clone()),
            Some(place) if !is_behind => drop(self.behind.swap_remove(place)),
            _ => {}
        }
    }

    fn retry(&mut self) {
        for sink in self.behind.clone() {
            let lost = sink.state().go_on(sink.destination());
            if lost > 0 {
                sink.drop_lines(lost);
            }
            self.note(&sink);
        }
        if self.behind.is_empty() {
            for done in self.waiting.drain(..) {
                let _ = done.try_send(());
            }
        }
    }

    fn keep_house(&mut self) {
        UTC_OFFSET.store(local_offset(), Ordering::Relaxed);
        if REOPEN_ASKED.swap(false, Ordering::Relaxed) {
            self.reopen();
        }
        self.retry();
        let sinks = sinks();
        self.troubles.retain(|_, trouble| trouble.sink.strong_count() > 0);
        for sink in sinks {
            let key = Arc::as_ptr(&sink) as usize;
            let trouble = self.troubles.entry(key).or_insert_with(|| Trouble::of(&sink));
            trouble.look(&sink);
        }
    }
}

/// What was told of a destination that takes nothing.
struct Trouble {
    sink: Weak<Sink>,
    /// Lines that were lost when all was well for the last time.
    lost_before: u64,
    /// At the last look.
    lost: u64,
    /// When it was told last, in this episode.
    told: Option<Instant>,
}

/// How often it is told of one episode.
const TELL_AGAIN: Duration = Duration::from_secs(10);

impl Trouble {
    fn of(sink: &Arc<Sink>) -> Trouble {
        Trouble { sink: Arc::downgrade(sink), lost_before: 0, lost: 0, told: None }
    }

    fn look(&mut self, sink: &Sink) {
        let (errno, is_behind) = {
            let state = sink.state();
            (state.trouble(), state.is_behind())
        };
        let lost = sink.dropped_lines.load(Ordering::Relaxed);
        let loses = lost > std::mem::replace(&mut self.lost, lost);
        // A reader that pauses for a moment is nothing to tell.
        let fails = errno.is_some_and(|errno| errno != Errno::AGAIN);
        let destination = sink.destination();
        if loses || (fails && is_behind) {
            let is_time = self.told.is_none_or(|told| loses && told.elapsed() >= TELL_AGAIN);
            if is_time {
                self.told = Some(Instant::now());
                let cause = errno.map_or_else(|| "too many lines at once".to_owned(), cause);
                let count = lost - self.lost_before;
                tracing::warn!(lost = count, "the log {destination} cannot be written: {cause}; serving goes on");
            }
        } else if self.told.is_some() && !is_behind {
            let count = lost - self.lost_before;
            tracing::info!(lost = count, "the log {destination} is written again");
            self.told = None;
            self.lost_before = lost;
        }
    }
}

fn cause(errno: Errno) -> String {
    match errno {
        Errno::AGAIN => "its reader is too slow".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    }
}

static UTC_OFFSET: AtomicI32 = AtomicI32::new(0);

/// Seconds that local time is ahead of UTC. The writer looks once a second, so that no core has to read a file for it.
pub fn utc_offset_seconds() -> i32 {
    UTC_OFFSET.load(Ordering::Relaxed)
}

fn local_offset() -> i32 {
    let zone = tz::TimeZone::local().ok();
    zone.and_then(|zone| zone.find_current_local_time_type().ok().map(|kind| kind.ut_offset())).unwrap_or(0)
}
