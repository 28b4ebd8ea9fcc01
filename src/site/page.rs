//! The short pages that go with a status. Fixed texts: nothing of the request and nothing that
//! the disk said ever enters one.

use crate::http::status::Status;

macro_rules! page {
    ($title:literal, $text:literal) => {
        concat!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta name=\"viewport\" content=\"width=device-width\"><title>",
            $title,
            "</title></head>\n<body><h1>",
            $title,
            "</h1><p>",
            $text,
            "</p></body></html>\n"
        )
    };
}

/// The page for `status`.
pub fn of(status: Status) -> &'static str {
    match status {
        Status::MOVED_PERMANENTLY => page!("Moved Permanently", "This page has another address."),
        Status::FORBIDDEN => page!("Forbidden", "The server may not read this."),
        Status::NOT_FOUND => page!("Not Found", "There is nothing at this address."),
        Status::METHOD_NOT_ALLOWED => page!("Method Not Allowed", "This server answers GET and HEAD."),
        Status::REQUEST_TIMEOUT => page!("Request Timeout", "The request did not come in time."),
        Status::PRECONDITION_FAILED => page!("Precondition Failed", "This is not the version that was asked for."),
        Status::URI_TOO_LONG => page!("URI Too Long", "The address is too long."),
        Status::RANGE_NOT_SATISFIABLE => page!("Range Not Satisfiable", "The file has no such part."),
        Status::EXPECTATION_FAILED => page!("Expectation Failed", "The server does not do what Expect asks for."),
        Status::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            page!("Request Header Fields Too Large", "The request's head is too large.")
        }
        Status::INTERNAL_SERVER_ERROR => page!("Internal Server Error", "The server could not read this."),
        Status::SERVICE_UNAVAILABLE => page!("Service Unavailable", "The server is busy. Try again in a moment."),
        Status::HTTP_VERSION_NOT_SUPPORTED => {
            page!("HTTP Version Not Supported", "This server speaks HTTP/1.1 and HTTP/1.0.")
        }
        _ => page!("Bad Request", "The server does not understand this request."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_page_with_its_own_name() {
        for status in Status::ALL.iter().filter(|status| status.code() > 399) {
            let heading = format!("<h1>{}</h1>", status.reason());
            assert!(of(*status).contains(&heading), "{}", status.code());
        }
    }
}
