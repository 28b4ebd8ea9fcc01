//! One request, one answer: the only place where the protocol, the site and the disk meet.
//!
//! Order: method · expectation · target · location · decision · head. The head of the answer is appended to the
//! caller's buffer; which bytes follow it is returned, not sent.
//!
//! Invariant: when the status line is written, the file is open and its length is known.

use crate::http::framing::{Expectation, Persistence};
use crate::http::method::Method;
use crate::http::multipart;
use crate::http::range::ByteRange;
use crate::http::request::{BadRequest, RequestHead};
use crate::http::respond::{self, Context, Now, RepresentationMetadata};
use crate::http::response::{Content, Response};
use crate::http::status::Status;
use crate::http::target::{RequestTarget, SitePath};
use crate::observe::access;
use crate::shard::Shard;
use crate::site::{Body, Located, Moment, Representation, page};
use crate::storage::file::OpenFile;
use crate::storage::refusal::Refusal;
use std::ops::Range;
use std::rc::Rc;

/// What is still to be done for an answer whose head is written.
#[derive(Debug)]
pub struct Answer {
    /// The content to send behind the head.
    pub content: Outgoing,
    /// Whether the connection lives on.
    pub persistence: Persistence,
}

/// Content that follows a head.
#[derive(Debug)]
pub enum Outgoing {
    /// None, or it went with the head.
    Nothing,
    /// One run of bytes.
    Piece(Piece),
    /// Several, in order.
    Pieces(Vec<Piece>),
}

/// A run of bytes to send; it is not empty.
#[derive(Debug)]
pub enum Piece {
    /// Made for this answer.
    Text(Vec<u8>),
    /// In memory, shared with the cache.
    Held(Rc<[u8]>, Range<usize>),
    /// On disk.
    File(Rc<OpenFile>, Range<u64>),
}

/// Answers one request, appending the head to `out`.
pub async fn answer(shard: &Shard, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    let now = shard.clock.now();
    let persistence = if shard.draining.get() { Persistence::Close } else { head.persistence };
    let writing = Writing { shard, head, now: &now, persistence };
    if head.method == Method::Other {
        return writing.finish(respond::method_not_allowed(head, page::of(Status::METHOD_NOT_ALLOWED)), None, out);
    }
    if head.expectation == Expectation::Unknown {
        let status = Status::EXPECTATION_FAILED;
        return writing.finish(respond::refusal(head, status, page::of(status)), None, out);
    }
    let (target, path) = match parse_target(head.target) {
        Ok(parsed) => parsed,
        Err(bad) => {
            access::refused(bad);
            let response = respond::refusal(head, bad.status(), page::of(bad.status()));
            return Writing { persistence: Persistence::Close, ..writing }.finish(response, None, out);
        }
    };
    match shard.site.locate(&path, Moment { tick: shard.clock.ticks(), date: now.date }).await {
        Located::Representation(representation) => {
            let context =
                Context { now: &now, boundary: &shard.boundary, ranges_max: shard.ranges_max, page: page::of };
            let response = respond::representation(head, &representation.metadata, &context);
            writing.finish(response, Some(&representation), out)
        }
        Located::MissingSlash => {
            let location = with_slash(&path, target.query);
            let response = respond::moved_permanently(head, &location, page::of(Status::MOVED_PERMANENTLY));
            writing.finish(response, None, out)
        }
        Located::Refused(refusal) => {
            let status = status_of(refusal);
            writing.finish(respond::refusal(head, status, page::of(status)), None, out)
        }
    }
}

/// Answers bytes that are no request; the connection closes behind it.
pub fn refuse(shard: &Shard, bad: BadRequest, out: &mut Vec<u8>) -> Answer {
    access::refused(bad);
    close_with(shard, bad.status(), out)
}

/// Tells a client whose head did not come in time.
pub fn time_out(shard: &Shard, out: &mut Vec<u8>) -> Answer {
    close_with(shard, Status::REQUEST_TIMEOUT, out)
}

fn close_with(shard: &Shard, status: Status, out: &mut Vec<u8>) -> Answer {
    let response = respond::bad_request(status, page::of(status));
    response.encode(&shard.clock.now().text, Persistence::Close, out);
    Answer { content: Outgoing::Nothing, persistence: Persistence::Close }
}

fn parse_target(target: &str) -> Result<(RequestTarget<'_>, SitePath<'_>), BadRequest> {
    let target = RequestTarget::parse(target)?;
    let path = SitePath::parse(target.path)?;
    Ok((target, path))
}

/// The address of a directory that was asked for without its slash.
fn with_slash(path: &SitePath<'_>, query: Option<&str>) -> String {
    let mut location = path.encoded();
    location.push('/');
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    location
}

fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotFound => Status::NOT_FOUND,
        Refusal::Forbidden => Status::FORBIDDEN,
        Refusal::Exhausted => Status::SERVICE_UNAVAILABLE,
        Refusal::Broken => Status::INTERNAL_SERVER_ERROR,
    }
}

/// What every answer to a parsed head needs beside its response.
struct Writing<'a> {
    shard: &'a Shard,
    head: &'a RequestHead<'a>,
    now: &'a Now,
    persistence: Persistence,
}

impl Writing<'_> {
    fn finish(&self, response: Response<'_>, representation: Option<&Representation>, out: &mut Vec<u8>) -> Answer {
        response.encode(&self.now.text, self.persistence, out);
        access::answered(self.head, &response);
        let content = match (response.content, representation) {
            (Content::Whole, Some(representation)) => whole(representation),
            (Content::Part(range), Some(representation)) => Outgoing::Piece(piece(representation, range)),
            (Content::Parts(ranges), Some(representation)) => self.pieces(representation, &ranges),
            // A text went with the head; the others have none.
            _ => Outgoing::Nothing,
        };
        Answer { content, persistence: self.persistence }
    }

    /// The parts of a representation, each behind its own head.
    fn pieces(&self, representation: &Representation, ranges: &[ByteRange]) -> Outgoing {
        let boundary = &self.shard.boundary;
        let RepresentationMetadata { media_type, complete_length, .. } = representation.metadata;
        let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
        for range in ranges {
            let mut part_head = Vec::new();
            multipart::write_part_head(boundary, media_type, *range, complete_length, &mut part_head);
            pieces.push(Piece::Text(part_head));
            pieces.push(piece(representation, *range));
        }
        let mut end = Vec::new();
        multipart::write_end(boundary, &mut end);
        pieces.push(Piece::Text(end));
        Outgoing::Pieces(pieces)
    }
}

fn whole(representation: &Representation) -> Outgoing {
    // The empty file has no piece to send.
    let range = ByteRange::new(0, representation.metadata.complete_length);
    range.map_or(Outgoing::Nothing, |range| Outgoing::Piece(piece(representation, range)))
}

fn piece(representation: &Representation, range: ByteRange) -> Piece {
    match &representation.body {
        Body::Held(bytes) => {
            let index = |position| usize::try_from(position).expect("the range lies inside bytes that are in memory");
            Piece::Held(bytes.clone(), index(range.start())..index(range.end()))
        }
        Body::File(file) => Piece::File(file.clone(), range.start()..range.end()),
    }
}
