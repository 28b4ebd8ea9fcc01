//! How the head of an answer is written: as text, or compressed.
//!
//! Invariant: both forms say the same fields in the same order, but for those of a connection.

use super::Outgoing;
use crate::http::date::DateText;
use crate::http::framing::Persistence;
use crate::http::response::{Content, Response};
use crate::http::writer::TextWriter;
use crate::http2::hpack::Encoder;
use crate::observe::access::Logs;
use std::cell::RefCell;
use std::rc::Rc;

/// How the head of an answer is written.
#[derive(Clone, Copy, Debug)]
pub enum HeadForm<'a> {
    /// As text (HTTP/1.1); a fixed text that is the content follows it in the same buffer.
    Text,
    /// As a block (HTTP/2), by the encoder of the connection: it goes onto the wire before anything else of this
    /// connection is done, for the next block builds on it. All content is left to be sent.
    Compressed(&'a RefCell<Encoder>),
}

impl HeadForm<'_> {
    /// Appends the head to `out`, and a fixed text where it goes with it.
    pub(super) fn write(
        self,
        response: &Response<'_>,
        date: &DateText,
        persistence: Persistence,
        out: &mut Vec<u8>,
    ) -> Written {
        let start = out.len();
        let text = if let Content::Text(text) = response.content { Some(text) } else { None };
        match self {
            HeadForm::Text => {
                response.encode(date, persistence, out);
                let bytes = out.len() - start;
                Written { head_bytes: bytes - text.map_or(0, str::len), bytes, text: None }
            }
            HeadForm::Compressed(encoder) => {
                response.write_fields(date, &mut encoder.borrow_mut().block(out));
                let bytes = out.len() - start;
                Written { head_bytes: bytes, bytes, text }
            }
        }
    }

    /// The fields as text, for `logs` that tell some of them; a head that is text itself is at hand.
    pub(super) fn fields_text(
        self,
        logs: Option<&Rc<Logs>>,
        response: &Response<'_>,
        date: &DateText,
    ) -> Option<Box<[u8]>> {
        if matches!(self, HeadForm::Text) || !logs.is_some_and(|logs| logs.tell_answer_fields()) {
            return None;
        }
        let mut text = Vec::new();
        response.write_fields(date, &mut TextWriter(&mut text));
        Some(text.into_boxed_slice())
    }
}

/// A head that was written.
pub(super) struct Written {
    pub(super) head_bytes: usize,
    /// With a fixed text behind it.
    pub(super) bytes: usize,
    /// A fixed text that is still to be sent.
    text: Option<&'static str>,
}

impl Written {
    pub(super) fn content(&self) -> Outgoing {
        self.text.map_or(Outgoing::Nothing, Outgoing::Fixed)
    }
}
