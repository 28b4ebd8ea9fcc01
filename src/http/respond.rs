//! Decides the answer to a request from its head and the facts of what was found.
//!
//! This is the one place that decides a status; `precondition` and `range` only compute. Every
//! function is pure: the same arguments give an equal [`Response`].

use super::accept;
use super::coding::Coding;
use super::date::{DateText, HttpDate};
use super::fields::FieldName;
use super::method::Method;
use super::multipart::{self, Boundary};
use super::precondition::{self, Verdict};
use super::range::{self, ByteRange, Selection};
use super::request::RequestHead;
use super::response::{Content, ContentRange, Omitted, Response, ResponseFields, Sharing, Vary};
use super::status::Status;
use super::validator::Validators;
use std::rc::Rc;

/// What is known of the selected representation (RFC 9110 §3.2, §8) before a byte of it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepresentationMetadata {
    /// Its media type.
    pub media_type: Rc<str>,
    /// Its content coding.
    pub content_coding: Coding,
    /// Whether it was selected from several codings: another request may be answered with another.
    pub negotiated: bool,
    /// Its length in bytes, as coded.
    pub complete_length: u64,
    /// Its entity tag and date.
    pub validators: Validators,
}

/// The moment of an answer, in both of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The moment.
    pub date: HttpDate,
    /// The same, written out.
    pub text: DateText,
}

impl Now {
    /// The moment `date`.
    pub fn new(date: HttpDate) -> Now {
        Now { date, text: date.text() }
    }
}

/// What a site says in its answers beside what the representation itself says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFields {
    /// How long caches may keep a representation (RFC 9111 §5.2).
    pub cache_control: Option<Box<str>>,
    /// The same as a date (RFC 9111 §5.3).
    pub expiry: Option<Expiry>,
    /// Whole field lines, each with its line end.
    pub lines: Box<[u8]>,
    /// Fields to leave out.
    pub omitted: Omitted,
}

/// When a representation expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// This many seconds after the answer.
    After(u32),
    /// At this moment, whatever the time of the answer.
    At(HttpDate),
}

/// What an answer takes from the server that gives it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The moment of the answer.
    pub now: &'a Now,
    /// What separates several parts.
    pub boundary: &'a Boundary,
    /// Ranges of one request that are answered; more are ignored.
    pub ranges_max: usize,
    /// The texts for statuses that need one.
    pub page: Pages,
}

/// The text for a status, in one of the forms of [`PageFormat`].
pub type Pages = fn(Status, PageFormat) -> &'static str;

/// In which form a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFormat {
    /// For people, in a browser.
    Html,
    /// For programs.
    Json,
    /// For people, in a terminal.
    Plain,
}

impl PageFormat {
    /// In the order of [`PageFormat::MEDIA_TYPES`].
    const ALL: [PageFormat; 3] = [PageFormat::Html, PageFormat::Json, PageFormat::Plain];

    const MEDIA_TYPES: [&'static str; 3] = ["text/html", "application/json", "text/plain"];

    /// The form that the client prefers; HTML when it does not say.
    pub fn preferred(head: &RequestHead<'_>) -> PageFormat {
        PageFormat::ALL[accept::preferred(head.fields.values(FieldName::Accept), &PageFormat::MEDIA_TYPES)]
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        PageFormat::MEDIA_TYPES[self as usize]
    }
}

/// The answer to GET or HEAD of a representation that exists.
pub fn representation<'a>(
    head: &RequestHead<'_>,
    metadata: &'a RepresentationMetadata,
    context: &Context<'a>,
) -> Response<'a> {
    let Context { now, page, .. } = *context;
    // RFC 9110 §8.8.2.1: a modification date in the future is replaced by the answer's own.
    let mut validators = metadata.validators;
    let last_modified = if validators.last_modified > now.date {
        validators.last_modified = now.date;
        &now.text
    } else {
        &metadata.validators.last_modified_text
    };
    let entity_tag = metadata.validators.entity_tag.as_ref();
    // RFC 9110 §12.5.5, and §15.4.5 for 304: whatever comes of a negotiated resource says so.
    let vary = if metadata.negotiated { Vary::ACCEPT_ENCODING } else { Vary::default() };
    match precondition::evaluate(&head.fields, head.method, &validators) {
        Verdict::NotModified => {
            // RFC 9110 §15.4.5: the tag suffices; without one, the date tells which version it is.
            let last_modified = if entity_tag.is_none() { Some(last_modified) } else { None };
            let fields = ResponseFields { entity_tag, last_modified, vary, ..ResponseFields::default() };
            return Response { status: Status::NOT_MODIFIED, fields, content: Content::Absent };
        }
        Verdict::Failed => return text(head, Status::PRECONDITION_FAILED, page).varying(vary),
        Verdict::Proceed => {}
    }
    let complete_length = metadata.complete_length;
    let fields = ResponseFields {
        content_type: Some(&metadata.media_type),
        content_encoding: content_encoding(metadata),
        content_length: Some(complete_length),
        last_modified: Some(last_modified),
        entity_tag,
        accept_ranges: Some("bytes"),
        vary,
        ..ResponseFields::default()
    };
    let whole = |fields| Response { status: Status::OK, fields, content: withhold(head, Content::Whole) };
    match selection(head, complete_length, &validators, context) {
        Selection::Whole => whole(fields),
        Selection::Part(range) => partial(fields, range, complete_length),
        Selection::Parts(parts) => {
            let length = multipart::content_length(context.boundary, &metadata.media_type, &parts, complete_length);
            // Parts that cost more than the whole are not worth their frames (RFC 9110 §14.2).
            if length >= complete_length { whole(fields) } else { several(fields, parts, length, context.boundary) }
        }
        Selection::Unsatisfiable => {
            let mut response = text(head, Status::RANGE_NOT_SATISFIABLE, page).varying(vary);
            response.fields.content_range = Some(ContentRange::Unsatisfied { complete_length });
            response.fields.accept_ranges = Some("bytes");
            response
        }
    }
}

/// The answer with a text of `length` bytes that was made for it.
pub fn generated<'a>(head: &RequestHead<'_>, media_type: &'a str, length: u64) -> Response<'a> {
    let fields =
        ResponseFields { content_type: Some(media_type), content_length: Some(length), ..ResponseFields::default() };
    Response { status: Status::OK, fields, content: withhold(head, Content::Generated) }
}

/// The answer that sends the client to `location`, an encoded path or an address.
pub fn redirect<'a>(head: &RequestHead<'_>, status: Status, location: &'a str, page: Pages) -> Response<'a> {
    let mut response = text(head, status, page);
    response.fields.location = Some(location);
    response
}

/// The answer to a method that the server does not know for its resources (RFC 9110 §15.5.6).
pub fn method_not_allowed(head: &RequestHead<'_>, page: Pages) -> Response<'static> {
    let mut response = text(head, Status::METHOD_NOT_ALLOWED, page);
    response.fields.allow = Some(Method::ALLOWED);
    response
}

/// The answer that asks who the client is (RFC 9110 §15.5.2).
pub fn unauthorized<'a>(head: &RequestHead<'_>, challenge: &'a str, page: Pages) -> Response<'a> {
    let mut response = text(head, Status::UNAUTHORIZED, page);
    response.fields.www_authenticate = Some(challenge);
    response
}

/// The answer to the preflight of a cross-origin request; what it may do is in [`Sharing`].
pub fn preflight() -> Response<'static> {
    // RFC 9110 §8.6: a 204 has no Content-Length.
    Response { status: Status::NO_CONTENT, fields: ResponseFields::default(), content: Content::Absent }
}

/// The answer when there is nothing to send, or not now. A 503 says when to come again.
pub fn refusal(head: &RequestHead<'_>, status: Status, page: Pages) -> Response<'static> {
    let mut response = text(head, status, page);
    match status {
        Status::SERVICE_UNAVAILABLE => response.fields.retry_after_seconds = Some(RETRY_AFTER_SECONDS),
        Status::NOT_ACCEPTABLE => response.fields.vary = response.fields.vary.with(Vary::ACCEPT_ENCODING),
        _ => {}
    }
    response
}

/// The answer to bytes that are no request. Nobody knows whether they meant HEAD, so the text
/// goes with it; the connection closes behind it.
pub fn bad_request(status: Status, page: Pages) -> Response<'static> {
    let text = page(status, PageFormat::Html);
    text_response(status, PageFormat::Html, text, Content::Text(text))
}

/// The answer to one who has asked for more than its rate; `seconds` is when to come again (RFC 6585 §4).
pub fn too_many_requests(head: &RequestHead<'_>, seconds: u32, page: Pages) -> Response<'static> {
    let mut response = text(head, Status::TOO_MANY_REQUESTS, page);
    response.fields.retry_after_seconds = Some(seconds);
    response
}

/// The answer to a connection that is not served, whatever its requests; it closes behind it.
pub fn not_now(status: Status, page: Pages) -> Response<'static> {
    let mut response = bad_request(status, page);
    response.fields.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
    response
}

/// Puts a document of the site in the place of a fixed text; the status and what belongs to it stay. Preconditions
/// and ranges do not apply to it (RFC 9110 §13.2.1).
pub fn substitute<'a>(response: &mut Response<'a>, head: &RequestHead<'_>, document: &'a RepresentationMetadata) {
    let fields = &mut response.fields;
    fields.content_type = Some(&document.media_type);
    fields.content_encoding = content_encoding(document);
    fields.content_length = Some(document.complete_length);
    // The fixed text depended on Accept, the document does not; what the error depends on stays.
    let negotiated = if document.negotiated { Vary::ACCEPT_ENCODING } else { Vary::default() };
    fields.vary = fields.vary.without(Vary::ACCEPT).with(negotiated);
    response.content = withhold(head, Content::Whole);
}

/// Adds what the site says. How long an answer may be kept is said of representations only: an error that a
/// cache keeps for a year outlives its cause.
pub fn dress<'a>(response: &mut Response<'a>, site: &'a SiteFields, sharing: Option<Sharing<'a>>, now: &Now) {
    let fields = &mut response.fields;
    if matches!(response.status, Status::OK | Status::PARTIAL_CONTENT | Status::NOT_MODIFIED) {
        fields.cache_control = site.cache_control.as_deref();
        fields.expires = site.expiry.map(|expiry| expiry.date(now).text());
    }
    fields.lines = &site.lines;
    fields.omitted = site.omitted;
    fields.sharing = sharing;
}

impl Expiry {
    fn date(self, now: &Now) -> HttpDate {
        match self {
            Expiry::After(seconds) => now.date.plus_seconds(seconds),
            Expiry::At(date) => date,
        }
    }
}

impl Response<'_> {
    /// The answer, with more request fields that it depends on.
    #[must_use]
    pub fn varying(mut self, vary: Vary) -> Self {
        self.fields.vary = self.fields.vary.with(vary);
        self
    }
}

fn content_encoding(metadata: &RepresentationMetadata) -> Option<&'static str> {
    // RFC 9110 §8.4.1: identity is never written.
    (metadata.content_coding != Coding::Identity).then(|| metadata.content_coding.token())
}

/// Descriptors come back within moments, when other transfers end.
const RETRY_AFTER_SECONDS: u32 = 1;

fn selection(
    head: &RequestHead<'_>,
    complete_length: u64,
    validators: &Validators,
    context: &Context<'_>,
) -> Selection {
    // RFC 9110 §14.2: Range is defined for GET only.
    if head.method != Method::Get || !precondition::range_applies(&head.fields, validators, context.now.date) {
        return Selection::Whole;
    }
    match head.fields.only(FieldName::Range) {
        Some(value) => range::select(value, complete_length, context.ranges_max),
        None => Selection::Whole,
    }
}

fn partial(mut fields: ResponseFields<'_>, range: ByteRange, complete_length: u64) -> Response<'_> {
    assert!(range.end() <= complete_length);
    fields.content_length = Some(range.length());
    fields.content_range = Some(ContentRange::Part { range, complete_length });
    Response { status: Status::PARTIAL_CONTENT, fields, content: Content::Part(range) }
}

/// RFC 9110 §15.3.7.2: Content-Range belongs to each part, not to the answer.
fn several<'a>(
    mut fields: ResponseFields<'a>,
    parts: Box<[ByteRange]>,
    length: u64,
    boundary: &'a Boundary,
) -> Response<'a> {
    fields.content_type = Some(boundary.content_type());
    fields.content_length = Some(length);
    Response { status: Status::PARTIAL_CONTENT, fields, content: Content::Parts(parts) }
}

fn text(head: &RequestHead<'_>, status: Status, page: Pages) -> Response<'static> {
    let format = PageFormat::preferred(head);
    let text = page(status, format);
    text_response(status, format, text, withhold(head, Content::Text(text))).varying(Vary::ACCEPT)
}

fn text_response(status: Status, format: PageFormat, text: &'static str, content: Content) -> Response<'static> {
    let fields = ResponseFields {
        content_type: Some(format.media_type()),
        content_length: Some(text.len() as u64),
        ..ResponseFields::default()
    };
    Response { status, fields, content }
}

/// RFC 9110 §9.3.2: the answer to HEAD has the fields of GET and no content.
fn withhold(head: &RequestHead<'_>, content: Content) -> Content {
    if head.method == Method::Head { Content::Withheld } else { content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{HeadLimits, Parse, parse};

    const PAGE: &str = "<p>text</p>";
    const MODIFIED: i64 = 784_111_777;

    fn metadata() -> RepresentationMetadata {
        RepresentationMetadata {
            media_type: Rc::from("text/plain"),
            content_coding: Coding::Identity,
            negotiated: false,
            complete_length: 1000,
            validators: Validators::new(i128::from(MODIFIED) * 1_000_000_000, 1000, Coding::Identity),
        }
    }

    fn check(request_line: &str, lines: &str, look: impl FnOnce(Response<'_>)) {
        let tag = metadata()
            .validators
            .entity_tag
            .expect("it has one")
            .as_bytes()
            .escape_ascii()
            .to_string()
            .replace('\\', "");
        let bytes = format!("{request_line}\r\nHost: a\r\n{}\r\n", lines.replace("TAG", &tag));
        let limits = HeadLimits { head_bytes_max: 4096, target_bytes_max: 1024, field_lines_max: 100 };
        let Ok(Parse::Complete(head)) = parse(bytes.as_bytes(), &limits) else { panic!("{bytes}") };
        look(representation(&head, &metadata(), &context(&Now::new(HttpDate::from_unix(MODIFIED + 1000)))));
    }

    fn context(now: &Now) -> Context<'_> {
        static BOUNDARY: std::sync::LazyLock<Boundary> = std::sync::LazyLock::new(|| Boundary::new(1));
        Context { now, boundary: &BOUNDARY, ranges_max: 16, page: |_, _| PAGE }
    }

    #[test]
    fn statuses_and_content() {
        let range = |start, end| ByteRange::new(start, end).expect("not empty");
        let part = |start, end| Content::Part(range(start, end));
        let parts =
            |ranges: &[(u64, u64)]| Content::Parts(ranges.iter().map(|(start, end)| range(*start, *end)).collect());
        for (line, lines, status, content, length) in [
            ("GET / HTTP/1.1", "", Status::OK, Content::Whole, Some(1000)),
            ("HEAD / HTTP/1.1", "", Status::OK, Content::Withheld, Some(1000)),
            ("GET / HTTP/1.1", "Range: bytes=10-19\r\n", Status::PARTIAL_CONTENT, part(10, 20), Some(10)),
            (
                "GET / HTTP/1.1",
                "Range: bytes=-1\r\nIf-Range: TAG\r\n",
                Status::PARTIAL_CONTENT,
                part(999, 1000),
                Some(1),
            ),
            ("GET / HTTP/1.1", "Range: bytes=-1\r\nIf-Range: \"x\"\r\n", Status::OK, Content::Whole, Some(1000)),
            (
                "GET / HTTP/1.1",
                "Range: bytes=0-1,5-5\r\n",
                Status::PARTIAL_CONTENT,
                parts(&[(0, 2), (5, 6)]),
                Some(237),
            ),
            ("GET / HTTP/1.1", "Range: bytes=0-899,950-\r\n", Status::OK, Content::Whole, Some(1000)),
            ("HEAD / HTTP/1.1", "Range: bytes=10-19\r\n", Status::OK, Content::Withheld, Some(1000)),
            ("GET / HTTP/1.1", "Range: bytes=0-0\r\nRange: bytes=1-1\r\n", Status::OK, Content::Whole, Some(1000)),
            ("GET / HTTP/1.1", "Range: bytes=1000-\r\n", Status::RANGE_NOT_SATISFIABLE, Content::Text(PAGE), Some(11)),
            ("GET / HTTP/1.1", "If-None-Match: TAG\r\n", Status::NOT_MODIFIED, Content::Absent, None),
            ("HEAD / HTTP/1.1", "If-None-Match: TAG\r\n", Status::NOT_MODIFIED, Content::Absent, None),
            (
                "GET / HTTP/1.1",
                "If-None-Match: TAG\r\nRange: bytes=0-0\r\n",
                Status::NOT_MODIFIED,
                Content::Absent,
                None,
            ),
            ("GET / HTTP/1.1", "If-Match: \"x\"\r\n", Status::PRECONDITION_FAILED, Content::Text(PAGE), Some(11)),
            ("HEAD / HTTP/1.1", "If-Match: \"x\"\r\n", Status::PRECONDITION_FAILED, Content::Withheld, Some(11)),
        ] {
            check(line, lines, |response| {
                assert_eq!(response.status, status, "{line} {lines:?}");
                assert_eq!(response.content, content, "{line} {lines:?}");
                assert_eq!(response.fields.content_length, length, "{line} {lines:?}");
            });
        }
    }

    #[test]
    fn a_date_in_the_future_is_replaced_by_now() {
        let early = Now::new(HttpDate::from_unix(MODIFIED - 10));
        let limits = HeadLimits { head_bytes_max: 4096, target_bytes_max: 1024, field_lines_max: 100 };
        let Ok(Parse::Complete(head)) = parse(b"GET / HTTP/1.0\r\n\r\n", &limits) else { panic!("a valid head") };
        let metadata = metadata();
        let response = representation(&head, &metadata, &context(&early));
        assert_eq!(response.fields.last_modified, Some(&early.text));
    }
}
