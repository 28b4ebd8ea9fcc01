//! One line an exchange, at the debug level.

use crate::http::request::{BadRequest, RequestHead};
use crate::http::response::Response;

/// Tells of an answered request.
pub fn answered(head: &RequestHead<'_>, response: &Response<'_>) {
    tracing::debug!(
        method = %head.method_token.escape_default(),
        target = %head.target.escape_default(),
        status = response.status.code(),
        length = response.fields.content_length,
        "answered"
    );
}

/// Tells of bytes that were no request.
pub fn refused(bad: BadRequest) {
    tracing::debug!(status = bad.status().code(), "refused: {bad}");
}
