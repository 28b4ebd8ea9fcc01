//! One request, one answer: the only place where the protocol, the site and the disk meet.
//!
//! Order: target · site · method and expectation · location · decision · what the site says · head. The head of the
//! answer is appended to the caller's buffer; which bytes follow it is returned, not sent.
//!
//! Invariant: when the status line is written, the file is open and its length is known.

mod form;
mod outgoing;

pub use form::HeadForm;
pub use outgoing::{COPIED_BYTES_MAX, Outgoing, Paced, Piece};

use form::Written;
use outgoing::{paced, piece, whole};

use crate::counters;
use crate::defence::pace::Rate;
use crate::defence::requests::RequestLimit;
use crate::http::fields::FieldName;
use crate::http::framing::{Expectation, Persistence};
use crate::http::method::Method;
use crate::http::multipart;
use crate::http::range::ByteRange;
use crate::http::request::{BadRequest, RequestHead, Version};
use crate::http::respond::{self, Context, Now, SiteFields};
use crate::http::response::{Content, Response, Vary};
use crate::http::status::Status;
use crate::http::target::{RequestTarget, SitePath};
use crate::observe::access::Logs;
use crate::observe::exchanged::{CacheStatus, Summary};
use crate::shard::{Peer, Shard};
use crate::site::hosts;
use crate::site::policy::Policy;
use crate::site::rule::RequestParts;
use crate::site::{Asked, Located, Moment, Representation, Site, page};
use crate::storage::refusal::Refusal;
use crate::tls::numbers::TermsNumber;
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::rc::Rc;

/// What is still to be done for an answer whose head is written.
#[derive(Debug)]
pub struct Answer {
    /// The content to send behind the head.
    pub content: Outgoing,
    /// Whether the connection lives on.
    pub persistence: Persistence,
    /// What there is to tell of it.
    pub summary: Summary,
}

/// Answers one request, appending the head to `out`. The head is written without a wait in front of the end.
pub async fn answer(
    shard: &Shard,
    peer: &Peer,
    head: &RequestHead<'_>,
    form: HeadForm<'_>,
    out: &mut Vec<u8>,
) -> Answer {
    let now = shard.clock.now();
    let served = shard.served(peer.listener);
    let is_last = shard.draining.get() || served.is_gone;
    let persistence = if is_last { Persistence::Close } else { head.persistence };
    let mut exchange = Exchange { shard, head, now: &now, persistence, form, secured: peer.secured };
    let (target, path) = match parse_target(head.target) {
        Ok(parsed) => parsed,
        // Whatever the target of a method that does nothing here; `OPTIONS *` and `CONNECT host:port` have none that is a
        // path.
        Err(_) if !matches!(head.method, Method::Get | Method::Head) => {
            let response = respond::method_not_allowed(head, page::of);
            return exchange.finish_nowhere(peer, response, out);
        }
        Err(bad) => {
            tracing::debug!(status = bad.status().code(), reason = "bad_target", "refused: {bad}");
            // In HTTP/2 other requests of the connection have nothing to do with this one.
            if head.version != Version::Http2 {
                exchange.persistence = Persistence::Close;
            }
            let response = respond::refusal(head, bad.status(), page::of);
            return exchange.finish_nowhere(peer, response, out);
        }
    };
    let authority = target.authority.or_else(|| host(head));
    let site = served.site(authority);
    let asked = Asked {
        head,
        path: &path,
        query: target.query,
        host: authority,
        client: served.service.client(peer, &head.fields),
        now: Moment { tick: shard.clock.ticks(), date: now.date },
        challenges_alone: site.general_policy().https.shows_challenges_alone(peer.secured),
    };
    let mut answer = exchange.answer(site, &asked, out).await;
    // Noted last: the futures in between need not carry it.
    answer.summary.client = asked.client;
    answer
}

/// Answers bytes that are no request; the connection closes behind it, or the stream. `is_head`: as far as it can be known of
/// something that is no request, its method is HEAD, and the answer has no content.
pub fn refuse(
    shard: &Shard,
    peer: &Peer,
    bad: BadRequest,
    is_head: bool,
    form: HeadForm<'_>,
    out: &mut Vec<u8>,
) -> Answer {
    tracing::debug!(status = bad.status().code(), client = ?peer.address, reason = "bad_request", "refused: {bad}");
    let mut answer = close_with(shard, peer, bad.status(), form, out);
    if is_head {
        answer.content = Outgoing::Nothing;
        answer.summary.content_bytes = 0;
    }
    answer
}

/// Tells a client whose head did not come in time.
pub fn time_out(shard: &Shard, peer: &Peer, out: &mut Vec<u8>) -> Answer {
    tracing::debug!(client = ?peer.address, reason = "head_timeout", "refused: the request head did not come in time");
    close_with(shard, peer, Status::REQUEST_TIMEOUT, HeadForm::Text, out)
}

/// Tells a connection that it is not served.
pub fn turn_away(shard: &Shard, peer: &Peer, status: Status, out: &mut Vec<u8>) -> Answer {
    close_behind(shard, peer, &respond::not_now(status, page::of), HeadForm::Text, out)
}

/// Tells a client that speaks without TLS where it is spoken.
pub fn say_that_it_is_tls(shard: &Shard, peer: &Peer, out: &mut Vec<u8>) -> Answer {
    let response = respond::bad_request(Status::BAD_REQUEST, |_, format| page::https_only(format));
    close_behind(shard, peer, &response, HeadForm::Text, out)
}

fn close_with(shard: &Shard, peer: &Peer, status: Status, form: HeadForm<'_>, out: &mut Vec<u8>) -> Answer {
    close_behind(shard, peer, &respond::bad_request(status, page::of), form, out)
}

fn close_behind(shard: &Shard, peer: &Peer, response: &Response<'_>, form: HeadForm<'_>, out: &mut Vec<u8>) -> Answer {
    let date = shard.clock.now().text;
    let written = form.write(response, &date, Persistence::Close, out);
    let summary = summary(None, CacheStatus::None, response, &written);
    let answer = Answer { content: written.content(), persistence: Persistence::Close, summary };
    answer.to(shard, peer, None, |logs| form.fields_text(logs, response, &date))
}

impl Answer {
    /// Notes whom an answer is for that no place of a site gave: it is logged as the site's general policy says.
    fn to(
        mut self,
        shard: &Shard,
        peer: &Peer,
        head: Option<&RequestHead<'_>>,
        fields_text: impl FnOnce(Option<&Rc<Logs>>) -> Option<Box<[u8]>>,
    ) -> Answer {
        let served = shard.served(peer.listener);
        self.summary.logs.clone_from(&served.site(head.and_then(host)).general_policy().logs);
        self.summary.fields_text = fields_text(self.summary.logs.as_ref());
        self.summary.client = head.map_or(peer.address, |head| served.service.client(peer, &head.fields));
        self
    }
}

/// What there is to tell of an answer whose head was written.
fn summary(logs: Option<Rc<Logs>>, cache_status: CacheStatus, response: &Response<'_>, written: &Written) -> Summary {
    Summary {
        // Noted by whoever knows.
        client: None,
        status: response.status,
        head_bytes: u32::try_from(written.head_bytes).unwrap_or(u32::MAX),
        written_bytes: u32::try_from(written.bytes).unwrap_or(u32::MAX),
        content_bytes: response.content_bytes(),
        cache_status,
        logs,
        fields_text: None,
    }
}

fn parse_target(target: &str) -> Result<(RequestTarget<'_>, SitePath<'_>), BadRequest> {
    let target = RequestTarget::parse(target)?;
    let path = SitePath::parse(target.path)?;
    Ok((target, path))
}

/// The Host field, which was checked to be an authority and thus is a text.
fn host<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    head.fields.only(FieldName::Host).and_then(|host| std::str::from_utf8(host).ok())
}

fn status_of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotFound => Status::NOT_FOUND,
        Refusal::Forbidden => Status::FORBIDDEN,
        Refusal::Exhausted => Status::SERVICE_UNAVAILABLE,
        Refusal::Broken => Status::INTERNAL_SERVER_ERROR,
    }
}

/// Where the content of a response comes from.
enum Source<'a> {
    /// It has none, or a fixed text.
    None,
    Representation(&'a Representation),
    /// A text that was made for it.
    Text(&'a [u8]),
}

/// What every answer to a parsed head needs beside its response.
struct Exchange<'a> {
    shard: &'a Shard,
    head: &'a RequestHead<'a>,
    now: &'a Now,
    persistence: Persistence,
    form: HeadForm<'a>,
    /// The terms of the connection, where it has TLS.
    secured: Option<TermsNumber>,
}

impl Exchange<'_> {
    async fn answer(&self, site: &Site, asked: &Asked<'_>, out: &mut Vec<u8>) -> Answer {
        let policy = site.policy(asked.path);
        if let Some(located) = self.stopped(&policy, asked) {
            // Boxed, as below.
            return Box::pin(self.finish_stopped(site, &policy, asked, located, out)).await;
        }
        let located = match self.head.method {
            Method::Other => Located::NotAllowed,
            Method::Options if policy.cors.is_none() => Located::NotAllowed,
            _ if self.head.expectation == Expectation::Unknown => Located::Failed(Status::EXPECTATION_FAILED),
            _ => site.locate(&policy, asked).await,
        };
        let response = self.respond(&located);
        if response.status.is_error() && policy.error_page.of(response.status).is_some() {
            // Boxed, so that connections do not carry a response and the state of one more look-up.
            return Box::pin(self.finish_with_document(site, &policy, asked, &located, response, out)).await;
        }
        let source = match &located {
            Located::Representation(representation) => Source::Representation(representation),
            Located::Listing(listed) => Source::Text(&listed.text),
            _ => Source::None,
        };
        self.finish_dressed(&policy, response, &fields_of(&policy, asked, &located), source, out)
    }

    /// Whatever is said to a request whose path is not even looked at.
    fn stopped(&self, policy: &Policy, asked: &Asked<'_>) -> Option<Located> {
        if let Some(seconds) = policy.limit_requests.as_ref().and_then(|limit| over(limit, asked)) {
            return Some(Located::TooMany(seconds));
        }
        let parts = || {
            let host = asked.host.map(hosts::host_of);
            RequestParts { path: asked.path.as_bytes(), query: asked.query, host }
        };
        policy.https.objection(policy.redirect_https, self.secured, asked.path, parts)
    }

    async fn finish_stopped(
        &self,
        site: &Site,
        policy: &Policy,
        asked: &Asked<'_>,
        located: Located,
        out: &mut Vec<u8>,
    ) -> Answer {
        let response = self.respond(&located);
        if policy.error_page.of(response.status).is_some() {
            return self.finish_with_document(site, policy, asked, &located, response, out).await;
        }
        self.finish_dressed(policy, response, &fields_of(policy, asked, &located), Source::None, out)
    }

    fn respond<'r>(&'r self, located: &'r Located) -> Response<'r> {
        let head = self.head;
        match located {
            Located::Representation(representation) => {
                let context = Context {
                    now: self.now,
                    boundary: &self.shard.boundary,
                    ranges_max: representation.ranges_max,
                    page: page::of,
                };
                respond::representation(head, &representation.metadata, &context)
            }
            Located::Listing(listed) => {
                let vary = if listed.negotiated { Vary::ACCEPT } else { Vary::default() };
                respond::generated(head, listed.media_type, listed.text.len() as u64).varying(vary)
            }
            Located::Elsewhere(status, location) => respond::redirect(head, *status, location, page::of),
            Located::Preflight => respond::preflight(),
            Located::Unauthorized(auth) => respond::unauthorized(head, &auth.challenge, page::of),
            Located::NotAllowed => respond::method_not_allowed(head, page::of),
            Located::Failed(status) => respond::refusal(head, *status, page::of),
            Located::Refused(refusal) => respond::refusal(head, status_of(*refusal), page::of),
            Located::TooMany(seconds) => respond::too_many_requests(head, *seconds, page::of),
        }
    }

    /// An error, with the document that the site has for it.
    async fn finish_with_document(
        &self,
        site: &Site,
        policy: &Policy,
        asked: &Asked<'_>,
        located: &Located,
        mut response: Response<'_>,
        out: &mut Vec<u8>,
    ) -> Answer {
        let fields = fields_of(policy, asked, located);
        let Some(document) = site.error_document(policy, response.status, asked).await else {
            return self.finish_dressed(policy, response, &fields, Source::None, out);
        };
        respond::substitute(&mut response, self.head, &document.metadata);
        self.finish_dressed(policy, response, &fields, Source::Representation(&document), out)
    }

    fn finish_dressed<'r>(
        &'r self,
        policy: &'r Policy,
        mut response: Response<'r>,
        fields: &'r SiteFields,
        source: Source<'_>,
        out: &mut Vec<u8>,
    ) -> Answer {
        let mut sharing = None;
        if let Some(cors) = &policy.cors {
            response = response.varying(cors.vary());
            sharing = match self.head.method {
                Method::Options if response.status == Status::NO_CONTENT => cors.preflight(&self.head.fields),
                _ => cors.sharing(&self.head.fields),
            };
        }
        respond::dress(&mut response, fields, sharing, self.now);
        if self.secured.is_some() {
            // RFC 6797 §7.2: without TLS it means nothing, and must not be sent.
            response.fields.strict_transport = policy.https.strict_transport.as_deref();
        }
        let mut answer = self.finish(policy.logs.clone(), response, source, out);
        if let Some(bytes_per_second) = NonZeroU64::new(policy.limit_rate) {
            let rate = Rate { bytes_per_second, after_bytes: policy.limit_rate_after };
            answer.content = paced(answer.content, rate);
        }
        answer
    }

    /// An answer that no place of a site gives.
    fn finish_nowhere(&self, peer: &Peer, response: Response<'_>, out: &mut Vec<u8>) -> Answer {
        let written = self.form.write(&response, &self.now.text, self.persistence, out);
        let summary = summary(None, CacheStatus::None, &response, &written);
        let answer = Answer { content: written.content(), persistence: self.persistence, summary };
        answer.to(self.shard, peer, Some(self.head), |logs| self.form.fields_text(logs, &response, &self.now.text))
    }

    fn finish(&self, logs: Option<Rc<Logs>>, response: Response<'_>, source: Source<'_>, out: &mut Vec<u8>) -> Answer {
        let written = self.form.write(&response, &self.now.text, self.persistence, out);
        let cache_status = match &source {
            Source::Representation(representation) if representation.take_novelty() => CacheStatus::Miss,
            Source::Representation(_) => CacheStatus::Hit,
            Source::None | Source::Text(_) => CacheStatus::None,
        };
        let content = match (&response.content, source) {
            (Content::Whole, Source::Representation(representation)) => whole(representation),
            (Content::Part(range), Source::Representation(representation)) => {
                Outgoing::Piece(piece(representation, *range))
            }
            (Content::Parts(ranges), Source::Representation(representation)) => self.pieces(representation, ranges),
            (Content::Generated, Source::Text(text)) if !text.is_empty() => Outgoing::Piece(Piece::Text(text.to_vec())),
            // A fixed text, if it did not go with the head; the others have none.
            _ => written.content(),
        };
        let mut summary = summary(logs, cache_status, &response, &written);
        summary.fields_text = self.form.fields_text(summary.logs.as_ref(), &response, &self.now.text);
        Answer { content, persistence: self.persistence, summary }
    }

    /// The parts of a representation, each behind its own head.
    fn pieces(&self, representation: &Representation, ranges: &[ByteRange]) -> Outgoing {
        let boundary = &self.shard.boundary;
        let metadata = &representation.metadata;
        let mut pieces = Vec::with_capacity(2 * ranges.len() + 1);
        for range in ranges {
            let mut part_head = Vec::new();
            let length = metadata.complete_length;
            multipart::write_part_head(boundary, &metadata.media_type, *range, length, &mut part_head);
            pieces.push(Piece::Text(part_head));
            pieces.push(piece(representation, *range));
        }
        let mut end = Vec::new();
        multipart::write_end(boundary, &mut end);
        pieces.push(Piece::Text(end));
        Outgoing::Pieces(pieces)
    }
}

/// Counts a request of a client; after how many seconds it will be let through, when it is one too many. Nobody knows
/// how many are behind a Unix socket.
fn over(limit: &RequestLimit, asked: &Asked<'_>) -> Option<u32> {
    let seconds = limit.admit(asked.client?).err()?;
    counters::here().requests_limited.add(1);
    tracing::debug!(client = ?asked.client, reason = "limit_requests", "refused: more requests than its rate allows");
    Some(seconds)
}

/// What the site says beside an answer. What was found may lie elsewhere than at the asked path, and has the fields
/// of its own place, also where it comes to an error.
fn fields_of<'a>(policy: &'a Policy, asked: &Asked<'_>, located: &'a Located) -> Cow<'a, SiteFields> {
    match located {
        Located::Representation(representation) => Cow::Borrowed(&representation.fields),
        Located::Listing(listed) => Cow::Borrowed(&listed.fields),
        _ => policy.fields_alone(asked.path),
    }
}
