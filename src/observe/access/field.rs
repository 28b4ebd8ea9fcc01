//! What a line of an access log can say: each field with its name and its meaning.
//!
//! Invariant: a field stands here once, and docs/logging.md holds exactly the table that [`markdown`] makes.

macro_rules! fields {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A field of fixed name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Named {
            $(#[doc = concat!("`$", $name, "`")] $variant,)*
        }

        const NAMED: &[(&str, Named, &str)] = &[$(($name, Named::$variant, $meaning),)*];
    };
}

fields! {
    RemoteAddr "remote_addr" "the client's address, or the one that a trusted proxy names; `unix:` on a Unix socket";
    RemoteUser "remote_user" "the name in Basic credentials, whether or not the password was right";
    TimeLocal "time_local" "when the line was made: `31/Jan/2026:12:00:00 +0100`, in local time";
    TimeIso8601 "time_iso8601" "the same as `2026-01-31T12:00:00+01:00`";
    Msec "msec" "the same in seconds since 1970, with milliseconds";
    Request "request" "the request line as it came, or as HTTP/1.1 would have it; of bytes that are no request, their first line";
    RequestMethod "request_method" "the method";
    RequestUri "request_uri" "the target as it came, with its query";
    Uri "uri" "the path of the target, decoded and without dot segments";
    Args "args" "the query, without its question mark";
    ServerProtocol "server_protocol" "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`, as the request says";
    Status "status" "the status of the answer";
    BodyBytesSent "body_bytes_sent" "bytes of content that were sent";
    BytesSent "bytes_sent" "bytes that were sent, head and content";
    RequestLength "request_length" "bytes of the request's head";
    RequestTime "request_time" "seconds from the first byte of the request to the end of its answer, with milliseconds";
    Scheme "scheme" "`https` or `http`: whether the connection has TLS";
    Host "host" "the host that the request was sent to, in lower case and without a port";
    ServerName "server_name" "the first name of the site that answered";
    Listener "listener" "which entry of `listen` the connection came in by, from 0";
    Connection "connection" "a number of the connection, in this process";
    ConnectionRequests "connection_requests" "requests on the connection so far, this one included";
    RequestId "request_id" "32 hexadecimal digits that no other request has";
    CacheStatus "cache_status" "`HIT`: the content was in memory; `MISS`: it was read for this request; `-`: there was none";
    SslProtocol "ssl_protocol" "the version of TLS: `TLSv1.3` or `TLSv1.2`; `-` without";
    SslCipher "ssl_cipher" "the cipher suite, as OpenSSL names it: `TLS_AES_128_GCM_SHA256`";
    SslServerName "ssl_server_name" "the name that the client asked for in its TLS handshake";
    SslSessionReused "ssl_session_reused" "`r`: an earlier TLS session was taken up again; `.`: a whole handshake";
    Completion "completion" "`OK`, or `cut` where not all was sent that the head had promised";
}

/// A field of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// One of those above.
    Named(Named),
    /// A field of the request, by its name in lower case: `$http_user_agent`.
    OfRequest(Box<[u8]>),
    /// A field of the answer: `$sent_http_content_type`.
    OfAnswer(Box<[u8]>),
}

impl Field {
    /// The field of this name, without its dollar.
    pub fn of_name(name: &str) -> Option<Field> {
        if let Some((_, named, _)) = NAMED.iter().find(|(own, _, _)| *own == name) {
            return Some(Field::Named(*named));
        }
        // As in nginx, an underscore stands for a hyphen.
        let field_name = |name: &str| {
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then(|| name.replace('_', "-").to_ascii_lowercase().into_bytes().into_boxed_slice())
        };
        if let Some(name) = name.strip_prefix("sent_http_") {
            return field_name(name).map(Field::OfAnswer);
        }
        name.strip_prefix("http_").and_then(field_name).map(Field::OfRequest)
    }

    /// Whether it can only be said when the answer has been sent.
    pub(super) fn is_late(&self) -> bool {
        use Named::*;
        matches!(
            self,
            Field::Named(TimeLocal | TimeIso8601 | Msec | BodyBytesSent | BytesSent | RequestTime | Completion)
        )
    }
}

/// The names of all fields that have fixed ones.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMED.iter().map(|(name, _, _)| *name)
}

/// The table of docs/logging.md.
pub fn markdown() -> String {
    let mut rows: String = NAMED.iter().map(|(name, _, meaning)| format!("| `${name}` | {meaning} |\n")).collect();
    rows.push_str(
        "| `$http_NAME` | the field NAME of the request, with underscores for hyphens: `$http_user_agent` |\n",
    );
    rows.push_str("| `$sent_http_NAME` | the field NAME of the answer: `$sent_http_content_type` |\n");
    format!("| field | meaning |\n|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_this_table() {
        let document = include_str!("../../../docs/logging.md");
        assert!(document.contains(&markdown()), "docs/logging.md must have this table:\n{}", markdown());
    }

    #[test]
    fn fields_are_found_by_name() {
        for (name, expected) in [
            ("status", Some(Field::Named(Named::Status))),
            ("http_user_agent", Some(Field::OfRequest(b"user-agent"[..].into()))),
            ("http_X_Forwarded_For", Some(Field::OfRequest(b"x-forwarded-for"[..].into()))),
            ("sent_http_etag", Some(Field::OfAnswer(b"etag"[..].into()))),
            ("http_", None),
            ("statsu", None),
            ("", None),
        ] {
            assert_eq!(Field::of_name(name), expected, "{name}");
        }
    }
}
