//! Answers one request to the admin: a head in, head and content out.
//!
//! Order: head · method · Host · path · form.
//!
//! Invariant: an answer closes its connection, is not to be stored, and lets a page do nothing but what is written in it.

use super::history::History;
use super::status::Status as State;
use super::{Scene, metrics, page, serve};
use crate::http::accept;
use crate::http::date::HttpDate;
use crate::http::fields::FieldName;
use crate::http::method::Method;
use crate::http::request::{FIELD_LINES_MAX, HeadLimits, Parse, RequestHead, parse};
use crate::http::status::Status;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// The answer to these bytes; none while they are the beginning of a head only.
pub(super) fn to(bytes: &[u8], is_tcp: bool, scene: &Scene, history: &History) -> Option<Vec<u8>> {
    let limits =
        HeadLimits { head_bytes_max: serve::HEAD_BYTES_MAX, target_bytes_max: 1024, field_lines_max: FIELD_LINES_MAX };
    match parse(bytes, &limits) {
        Ok(Parse::Partial) => None,
        Ok(Parse::Complete(head)) => {
            let answer = if is_tcp && !scene.is_public.load(Ordering::Relaxed) && !names_this_machine(&head) {
                // A page of another site may have a name of its own lead here (DNS rebinding), to read this.
                let text = "This listener is for this machine: name its address or localhost in Host.";
                Answer::text(Status::FORBIDDEN, text)
            } else {
                respond(&head, scene, history)
            };
            Some(answer.encode(head.method))
        }
        Err(bad) => Some(Answer::text(bad.status(), &format!("{bad}.")).encode(Method::Get)),
    }
}

/// What is answered.
struct Answer {
    status: Status,
    media_type: &'static str,
    content: String,
    /// Names the scripts and styles of a page that are its own.
    nonce: Option<String>,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Of Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const JSON: &str = "application/json";

const HTML: &str = "text/html; charset=utf-8";

const PATHS: &str = "The paths here: /metrics, /health, /ready, /status.";

impl Answer {
    fn text(status: Status, line: &str) -> Answer {
        Answer { status, media_type: TEXT, content: format!("{line}\n"), nonce: None }
    }

    fn ok(media_type: &'static str, content: String) -> Answer {
        Answer { status: Status::OK, media_type, content, nonce: None }
    }

    fn encode(&self, method: Method) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = HttpDate::from_unix(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)).text();
        let mut out = self.status.line().to_vec();
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date.as_bytes());
        let policy = match &self.nonce {
            None => "default-src 'none'; frame-ancestors 'none'".to_owned(),
            Some(nonce) => format!(
                "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
        };
        let allow = if self.status == Status::METHOD_NOT_ALLOWED { "Allow: GET, HEAD\r\n" } else { "" };
        let fields = format!(
            "\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: {policy}\r\n\r\n",
            self.media_type,
            self.content.len(),
        );
        out.extend_from_slice(fields.as_bytes());
        if method != Method::Head {
            out.extend_from_slice(self.content.as_bytes());
        }
        out
    }
}

fn respond(head: &RequestHead<'_>, scene: &Scene, history: &History) -> Answer {
    if !matches!(head.method, Method::Get | Method::Head) {
        return Answer::text(Status::METHOD_NOT_ALLOWED, "GET and HEAD are allowed here.");
    }
    let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
    match path {
        "/metrics" => Answer::ok(METRICS, metrics::write(scene)),
        "/health" => of_state(scene.ailing(), "healthy"),
        "/ready" => of_state(scene.unready(), "ready"),
        "/status" => match form(head, query) {
            Some(Form::Json) => {
                let state = State::gather(scene, history);
                let text = serde_json::to_string(&state).expect("texts and numbers can be written");
                Answer::ok(JSON, text + "\n")
            }
            Some(Form::Html) => {
                let nonce = nonce();
                let content = page::render(&State::gather(scene, history), &nonce);
                Answer { nonce: Some(nonce), ..Answer::ok(HTML, content) }
            }
            None => Answer::text(Status::BAD_REQUEST, "The query may be format=json or format=html."),
        },
        _ => Answer::text(Status::NOT_FOUND, PATHS),
    }
}

/// What is wrong, or that all is well.
fn of_state(wrong: Option<String>, well: &str) -> Answer {
    match wrong {
        Some(wrong) => Answer::text(Status::SERVICE_UNAVAILABLE, &wrong),
        None => Answer::text(Status::OK, well),
    }
}

enum Form {
    Json,
    Html,
}

/// The form that the query names, or else the one that Accept prefers.
fn form(head: &RequestHead<'_>, query: &str) -> Option<Form> {
    match query {
        "format=json" => Some(Form::Json),
        "format=html" => Some(Form::Html),
        "" => {
            let offered = ["application/json", "text/html"];
            let preferred = accept::preferred(head.fields.values(FieldName::Accept), &offered);
            Some(if preferred == 0 { Form::Json } else { Form::Html })
        }
        _ => None,
    }
}

/// Whether Host names this machine in a way that no other site's name can: an address, or localhost.
fn names_this_machine(head: &RequestHead<'_>) -> bool {
    let Some(host) = head.fields.only(FieldName::Host) else {
        // Of HTTP/1.0, which no browser speaks.
        return true;
    };
    let host = String::from_utf8_lossy(host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Bits that nobody who wrote what is shown can know.
fn nonce() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::Description;

    fn answer(request: &str, is_tcp: bool, is_public: bool) -> String {
        let description = Description { workers: 1, ..Description::default() };
        let scene = Scene::new(description, is_public);
        let answer = to(request.as_bytes(), is_tcp, &scene, &History::new()).expect("a whole head");
        String::from_utf8(answer).expect("a text")
    }

    #[test]
    fn each_request_has_its_answer() {
        for (line, lines, status, word) in [
            ("GET /metrics HTTP/1.1", "Host: 127.0.0.1:9\r\n", "200", "\r\nContent-Type: text/plain; version=0.0.4"),
            ("GET /status HTTP/1.1", "Host: localhost\r\n", "200", "\r\nContent-Type: application/json\r\n"),
            ("GET /status HTTP/1.1", "Host: [::1]:80\r\nAccept: */*\r\n", "200", "application/json"),
            ("GET /status HTTP/1.1", "Host: a\r\nAccept: text/html,*/*;q=0.8\r\n", "403", "Host"),
            ("GET /status HTTP/1.1", "Host: ::1\r\nAccept: text/html,*/*;q=0.8\r\n", "400", ""),
            ("GET /status HTTP/1.1", "Host: 1.2.3.4\r\nAccept: text/html,*/*;q=0.8\r\n", "200", "text/html"),
            ("GET /status?format=json HTTP/1.1", "Host: 1.2.3.4\r\nAccept: text/html\r\n", "200", "application/json"),
            ("GET /status?format=xml HTTP/1.1", "Host: 1.2.3.4\r\n", "400", "format=json"),
            ("GET /status HTTP/1.0", "", "200", "application/json"),
            // Worker 0 of this process may be a test's own: it beats, or it does not run.
            ("GET /nothing HTTP/1.1", "Host: localhost\r\n", "404", "/metrics, /health"),
            ("POST /status HTTP/1.1", "Host: localhost\r\nContent-Length: 0\r\n", "405", "\r\nAllow: GET, HEAD\r\n"),
            ("PUT /x HTTP/1.1", "Host: localhost\r\n", "405", ""),
            ("GET /status HTTP/1.1", "", "400", ""),
            ("GET  /status HTTP/1.1", "Host: localhost\r\n", "400", ""),
        ] {
            let answer = answer(&format!("{line}\r\n{lines}\r\n"), true, false);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {lines}: {answer}");
            assert!(answer.contains(word), "{line} {lines}: {answer}");
            for field in ["Connection: close", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"] {
                assert!(answer.contains(&format!("\r\n{field}\r\n")), "{line}: {answer}");
            }
        }
        let of_another_name = "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert!(
            answer(of_another_name, false, false).starts_with("HTTP/1.1 200 "),
            "no browser comes by a Unix socket"
        );
        assert!(answer(of_another_name, true, true).starts_with("HTTP/1.1 200 "), "whoever is public has names");
        let head = answer("HEAD /status HTTP/1.1\r\nHost: localhost\r\n\r\n", true, false);
        assert!(head.ends_with("\r\n\r\n") && !head.contains("Content-Length: 0\r\n"), "{head}");
    }

    #[test]
    fn half_a_head_is_waited_for() {
        let scene = Scene::new(Description::default(), false);
        assert!(to(b"GET /status HTTP/1.1\r\nHost:", true, &scene, &History::new()).is_none());
    }
}
