//! The access log: a line for each request and its answer.
//!
//! Order: an [`AccessLog`] is what the configuration says · [`Logs`] are those that hold for a path, with the buffers of
//! this core (`core`) · `Logs::tell` makes a line (`template`, `render`, `escape`) where the answer leaves with its head,
//! and `Logs::begin` the part of it that is known by then where content follows · `Pending::end` the rest.
//!
//! Invariant: a line goes into its buffer whole and in one piece, and without asking for memory once the buffers are there.

mod core;
pub mod escape;
pub mod field;
mod render;
pub mod template;

pub use self::core::{finish, tick};

use self::core::{Buffer, Core};
use super::exchanged::Told;
use super::journal::Destination;
use field::Field;
pub(super) use render::Ending;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use template::{Segment, Template};

/// One access log, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where its lines go.
    pub to: Destination,
    /// What they say.
    pub template: Template,
    /// One exchange of so many is told; those that failed are always.
    pub sample: u32,
    /// Which exchanges are told at all.
    pub only: Only,
}

/// Which exchanges are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// All of them.
    All,
    /// Those with a status from 400 on.
    Errors,
}

/// The access logs of a path, as one core writes them.
pub struct Logs {
    core: Rc<Core>,
    pens: Box<[Pen]>,
    server_name: Arc<str>,
    tell_answer_fields: bool,
}

struct Pen {
    log: AccessLog,
    buffer: Rc<Buffer>,
    /// Exchanges since one was told.
    passed: Cell<u32>,
}

impl Logs {
    /// What writes these logs on this core; `None` where there are none. `server_name` is that of the site.
    pub fn new(logs: &[AccessLog], server_name: &Arc<str>) -> Option<Rc<Logs>> {
        if logs.is_empty() {
            return None;
        }
        let core = Core::here();
        let pen = |log: &AccessLog| Pen { log: log.clone(), buffer: core.buffer(&log.to), passed: Cell::new(0) };
        let pens = logs.iter().map(pen).collect();
        let is_of_answer = |segment: &Segment| matches!(segment, Segment::Field(Field::OfAnswer(_)));
        let tell_answer_fields = logs.iter().any(|log| log.template.segments.iter().any(is_of_answer));
        Some(Rc::new(Logs { pens, server_name: server_name.clone(), tell_answer_fields, core }))
    }

    /// Whether a line may tell a field of the answer.
    pub fn tell_answer_fields(&self) -> bool {
        self.tell_answer_fields
    }

    /// Makes the lines of an exchange that is over with its head.
    pub(super) fn tell(&self, told: &Told<'_>) {
        let summary = &told.summary;
        let ending = Ending {
            begun: told.begun,
            head_bytes: summary.head_bytes,
            content_bytes: summary.content_bytes,
            sent_bytes: u64::from(summary.head_bytes) + summary.content_bytes,
        };
        for pen in self.pens.iter().filter(|pen| pen.wants(told)) {
            pen.buffer.add(&self.core, |out| {
                for segment in &pen.log.template.segments {
                    match segment {
                        Segment::Text(text) => out.extend_from_slice(text),
                        Segment::Field(field) if field.is_late() => {
                            render::late(field, &ending, &self.core, out);
                        }
                        Segment::Field(field) => self.early(field, pen, told, out),
                    }
                }
            });
        }
    }

    /// Makes what can be said of an exchange when its content is still to be sent.
    pub(super) fn begin(self: &Rc<Self>, told: &Told<'_>) -> Option<Pending> {
        let mut pending: Option<Pending> = None;
        for (number, pen) in (0..).zip(&self.pens) {
            if !pen.wants(told) {
                continue;
            }
            let pending = pending.get_or_insert_with(|| self.core.pending(self));
            for (at, segment) in (0..).zip(&pen.log.template.segments) {
                match segment {
                    Segment::Text(text) => pending.text.extend_from_slice(text),
                    Segment::Field(field) if field.is_late() => pending.mark(number, Some(at)),
                    Segment::Field(field) => self.early(field, pen, told, &mut pending.text),
                }
            }
            pending.mark(number, None);
        }
        pending
    }

    fn early(&self, field: &Field, pen: &Pen, told: &Told<'_>, out: &mut Vec<u8>) {
        render::early(field, told, &self.core, &self.server_name, pen.log.template.escape, out);
    }
}

impl Pen {
    /// Whether this exchange is told here.
    fn wants(&self, told: &Told<'_>) -> bool {
        if told.summary.status.is_error() {
            return true;
        }
        if self.log.only == Only::Errors {
            return false;
        }
        if self.log.sample <= 1 {
            return true;
        }
        let passed = self.passed.get() + 1;
        self.passed.set(passed % self.log.sample);
        passed == 1
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pens.iter().map(|pen| &pen.log.to)).finish()
    }
}

/// The lines of an exchange whose content is being sent: what is known of them, with marks where the rest belongs. It
/// comes from a pool of the core, and goes back there.
#[derive(Default)]
pub struct Pending {
    logs: Option<Rc<Logs>>,
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// A place in the text where something is missing.
struct Mark {
    /// Where the text goes on behind it.
    at: usize,
    log: u32,
    /// The segment that is missing; none at the end of a line.
    segment: Option<u32>,
}

impl Pending {
    fn mark(&mut self, log: u32, segment: Option<u32>) {
        self.marks.push(Mark { at: self.text.len(), log, segment });
    }

    /// Makes the lines whole: the exchange has ended.
    pub(super) fn end(mut self, ending: &Ending) {
        let Some(logs) = self.logs.take() else { return };
        let mut marks = self.marks.iter().peekable();
        let mut start = 0;
        while let Some(first) = marks.peek() {
            let pen = &logs.pens[first.log as usize];
            pen.buffer.add(&logs.core, |out| {
                for mark in marks.by_ref() {
                    out.extend_from_slice(&self.text[start..mark.at]);
                    start = mark.at;
                    let Some(segment) = mark.segment else { break };
                    if let Segment::Field(field) = &pen.log.template.segments[segment as usize] {
                        render::late(field, ending, &logs.core, out);
                    }
                }
            });
        }
        logs.core.take_back(self);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({})", self.text.escape_ascii())
    }
}

#[cfg(test)]
mod tests;
