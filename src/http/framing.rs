//! Where a request ends and what follows it (RFC 9112 §6, §9.3): the rules on which two parties
//! must agree, or one smuggles requests past the other.
//!
//! Invariant: a framing that two readers might understand differently is refused, and behind
//! content that nobody reads no request is looked for.

use super::fields::{FieldName, Fields};
use super::grammar::{digits, list_members};
use super::request::{BadRequest, Version};

/// Whether a request carries content. How much is of no interest: the request is answered, and
/// its connection closed (RFC 9112 §9.3 allows it), so that no decoder for it need exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestContent {
    /// The next request starts right behind the head.
    Absent,
    /// Content-Length above zero, or a Transfer-Encoding.
    Present,
}

/// Whether another request may follow on the connection (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Keep it open.
    KeepAlive,
    /// Close it after this answer.
    Close,
}

/// What `Expect` says (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing, or `100-continue`: the final answer, which comes at once, fulfils that, for the
    /// content is not wanted.
    Answer,
    /// Anything else.
    Unknown,
}

/// RFC 9112 §6.3: whether content follows, refusing every framing that two parties might read
/// differently.
pub(super) fn content(fields: &Fields<'_>, version: Version) -> Result<RequestContent, BadRequest> {
    if fields.has(FieldName::TransferEncoding) {
        if fields.has(FieldName::ContentLength) {
            return Err(BadRequest::ContentLengthAndTransferEncoding);
        }
        // RFC 9112 §6.1: a 1.0 message with Transfer-Encoding has faulty framing.
        let last = fields.values(FieldName::TransferEncoding).flat_map(list_members).last();
        let chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if version == Version::Http10 || !chunked {
            return Err(BadRequest::TransferEncoding);
        }
        return Ok(RequestContent::Present);
    }
    if !fields.has(FieldName::ContentLength) {
        return Ok(RequestContent::Absent);
    }
    let value = fields.only(FieldName::ContentLength).ok_or(BadRequest::ContentLength)?;
    match digits(value) {
        Ok(0) => Ok(RequestContent::Absent),
        Ok(_) => Ok(RequestContent::Present),
        Err(_) => Err(BadRequest::ContentLength),
    }
}

/// What the client expects, as far as this server knows it.
pub fn expectation(fields: &Fields<'_>) -> Expectation {
    let mut members = fields.values(FieldName::Expect).flat_map(list_members);
    let known = members.all(|member| member.eq_ignore_ascii_case(b"100-continue"));
    if known { Expectation::Answer } else { Expectation::Unknown }
}

/// RFC 9112 §9.3, in its order; and never across content that nobody reads.
pub(super) fn persistence(fields: &Fields<'_>, version: Version, content: RequestContent) -> Persistence {
    let option = |name: &[u8]| {
        fields.values(FieldName::Connection).flat_map(list_members).any(|member| member.eq_ignore_ascii_case(name))
    };
    let persists = match version {
        Version::Http11 => !option(b"close"),
        Version::Http10 => !option(b"close") && option(b"keep-alive"),
        // RFC 9113 §8.2.2: requests say nothing of the connection.
        Version::Http2 => return Persistence::KeepAlive,
    };
    if persists && content == RequestContent::Absent { Persistence::KeepAlive } else { Persistence::Close }
}
