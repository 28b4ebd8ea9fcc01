//! The short texts that go with a status. Fixed: nothing of the request and nothing that
//! the disk said ever enters one.

use crate::http::respond::PageFormat;
use crate::http::status::Status;

/// The three forms of one text.
macro_rules! pages {
    ($format:expr, $status:expr; $($name:ident $code:literal $title:literal, $text:literal;)*) => {
        match ($status, $format) {
            $((Status::$name, PageFormat::Html) => pages!(@html $title, $text),
            (Status::$name, PageFormat::Plain) => concat!($code, " ", $title, "\n", $text, "\n"),
            (Status::$name, PageFormat::Json) => pages!(@json $code, $title, $text),)*
            (_, PageFormat::Html) => pages!(@html "Bad Request", "The server does not understand this request."),
            (_, PageFormat::Plain) => "400 Bad Request\nThe server does not understand this request.\n",
            (_, PageFormat::Json) => {
                pages!(@json 400, "Bad Request", "The server does not understand this request.")
            }
        }
    };
    (@html $title:literal, $text:literal) => {
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
    (@json $code:literal, $title:literal, $text:literal) => {
        concat!("{\"status\":", $code, ",\"title\":\"", $title, "\",\"detail\":\"", $text, "\"}\n")
    };
}

/// The text for a request that came without TLS where TLS is spoken.
pub fn https_only(format: PageFormat) -> &'static str {
    match format {
        PageFormat::Html => {
            pages!(@html "Bad Request", "This port speaks HTTPS: use an address that begins with https://")
        }
        PageFormat::Plain => "400 Bad Request\nThis port speaks HTTPS: use an address that begins with https://\n",
        PageFormat::Json => {
            pages!(@json 400, "Bad Request", "This port speaks HTTPS: use an address that begins with https://")
        }
    }
}

/// The text for `status`.
pub fn of(status: Status, format: PageFormat) -> &'static str {
    pages! { format, status;
        MOVED_PERMANENTLY 301 "Moved Permanently", "This page has another address.";
        FOUND 302 "Found", "This page is at another address for now.";
        SEE_OTHER 303 "See Other", "The answer is at another address.";
        TEMPORARY_REDIRECT 307 "Temporary Redirect", "This page is at another address for now.";
        PERMANENT_REDIRECT 308 "Permanent Redirect", "This page has another address.";
        UNAUTHORIZED 401 "Unauthorized", "This page is for those who have its password.";
        FORBIDDEN 403 "Forbidden", "This is not for you to read.";
        NOT_FOUND 404 "Not Found", "There is nothing at this address.";
        METHOD_NOT_ALLOWED 405 "Method Not Allowed", "This server answers GET and HEAD.";
        NOT_ACCEPTABLE 406 "Not Acceptable", "This is not to be had in a coding that you accept.";
        REQUEST_TIMEOUT 408 "Request Timeout", "The request did not come in time.";
        PRECONDITION_FAILED 412 "Precondition Failed", "This is not the version that was asked for.";
        URI_TOO_LONG 414 "URI Too Long", "The address is too long.";
        RANGE_NOT_SATISFIABLE 416 "Range Not Satisfiable", "The file has no such part.";
        EXPECTATION_FAILED 417 "Expectation Failed", "The server does not do what Expect asks for.";
        MISDIRECTED_REQUEST 421 "Misdirected Request", "This is not to be had by this connection. Try again by a new one, over HTTPS.";
        TOO_MANY_REQUESTS 429 "Too Many Requests", "You ask for more than you may at a time. Try again in a moment.";
        REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large", "The request's head is too large.";
        INTERNAL_SERVER_ERROR 500 "Internal Server Error", "The server could not read this.";
        SERVICE_UNAVAILABLE 503 "Service Unavailable", "The server is busy. Try again in a moment.";
        HTTP_VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported", "This server speaks HTTP/1.1 and HTTP/1.0.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_own_text_in_each_form() {
        for status in Status::ALL.iter().filter(|status| status.code() >= 300 && **status != Status::NOT_MODIFIED) {
            for format in [PageFormat::Html, PageFormat::Plain, PageFormat::Json] {
                let text = of(*status, format);
                assert!(text.contains(status.reason()), "{status:?} {format:?}: {text}");
                assert!(text.ends_with('\n'), "{status:?} {format:?}");
            }
            assert!(of(*status, PageFormat::Json).contains(&format!("\"status\":{},", status.code())), "{status:?}");
            assert!(of(*status, PageFormat::Plain).starts_with(&status.code().to_string()), "{status:?}");
        }
    }
}
