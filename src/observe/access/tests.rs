//! Lines of known exchanges.

use super::escape::Escape;
use super::*;
use crate::http::request::{HeadLimits, Parse, RequestHead, parse};
use crate::http::status::Status;
use crate::http2::request::Assembler;
use crate::observe::exchanged::{CacheStatus, Summary};
use std::time::Instant;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 };

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: otus-httpd\r\nContent-Type: text/html\r\n\r\n";

fn log(template: &str, escape: Escape) -> AccessLog {
    AccessLog {
        to: Destination::File("/no/such/directory/access.log".into()),
        template: Template::parse(template, escape).expect("each row has a valid template"),
        sample: 1,
        only: Only::All,
    }
}

fn logs(logs: &[AccessLog]) -> Rc<Logs> {
    Logs::new(logs, &Arc::from("example.org")).expect("there are some")
}

fn summary(status: Status) -> Summary {
    Summary {
        client: Some([192, 0, 2, 33].into()),
        status,
        head_bytes: 100,
        written_bytes: 100,
        content_bytes: 1234,
        cache_status: CacheStatus::Hit,
        logs: None,
        fields_text: None,
    }
}

fn told<'a>(head: Option<&'a RequestHead<'a>>, unparsed: &'a [u8], summary: &'a Summary) -> Told<'a> {
    Told {
        head,
        unparsed,
        answer_head: ANSWER,
        summary,
        begun: Instant::now(),
        listener: 1,
        connection: 7,
        connection_requests: 3,
        request_id: Cell::new(None),
        tls: None,
    }
}

/// The line of a request, made at once; made in two steps it is the same.
fn line(log: &AccessLog, bytes: &[u8]) -> String {
    let Ok(Parse::Complete(head)) = parse(bytes, &LIMITS) else { panic!("{}", bytes.escape_ascii()) };
    let summary = summary(Status::OK);
    let told = told(Some(&head), b"", &summary);
    let logs = logs(&[log.clone(), log.clone()]);
    logs.tell(&told);
    let twice = logs.pens[0].buffer.take();
    let (line, same) = twice.split_at(twice.len() / 2);
    // The clock may go on between the two.
    assert!(line == same || line.len() == same.len() && line.contains('.'), "both logs tell the same: {twice}");
    let pending = logs.begin(&told).expect("both logs want it");
    assert!(logs.pens[0].buffer.take().is_empty(), "nothing is told before it has ended");
    pending.end(&Ending { begun: told.begun, head_bytes: 100, content_bytes: 1234, sent_bytes: 1334 });
    let again = logs.pens[0].buffer.take();
    assert!(again == twice || again.len() == twice.len() && line.contains('.'), "{again}");
    line.to_owned()
}

const REQUEST: &[u8] = b"GET /a%20b/../c.html?x=1&y HTTP/1.1\r\nHost: Example.ORG:8080\r\nReferer: http://a/\r\n\
    User-Agent: Mozilla/5.0 (X11)\r\nX-Many: 1\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\nx-many: 2\r\n\r\n";

#[test]
fn fields_say_what_they_are_called() {
    for (template, expected) in [
        ("$remote_addr|$remote_user", "192.0.2.33|ada"),
        ("$request", "GET /a%20b/../c.html?x=1&y HTTP/1.1"),
        ("$request_method $request_uri $server_protocol", "GET /a%20b/../c.html?x=1&y HTTP/1.1"),
        ("$uri?$args", "/c.html?x=1&y"),
        ("$status $body_bytes_sent $bytes_sent $completion", "200 1234 1334 OK"),
        ("$http_referer $http_user_agent $http_nothing", "http://a/ Mozilla/5.0 (X11) -"),
        ("$http_x_many $http_host", "1, 2 Example.ORG:8080"),
        ("$host $server_name $listener", "example.org example.org 1"),
        ("$connection.$connection_requests", "7.3"),
        ("$cache_status $sent_http_content_type $sent_http_etag", "HIT text/html -"),
        ("$request_time", "0.000"),
    ] {
        let got = line(&log(template, Escape::Text), REQUEST);
        // The clock may go on by a few thousandths while this runs.
        let is_time = template == "$request_time" && got.starts_with("0.");
        assert!(got == format!("{expected}\n") || is_time, "{template}: {got}");
    }
    let id = line(&log("$request_id$request_length", Escape::Text), REQUEST);
    assert_eq!(id.trim_end().len(), 32 + REQUEST.len().to_string().len(), "{id}");
    let dates = line(&log("$time_local|$time_iso8601|$msec", Escape::Text), b"GET / HTTP/1.0\r\n\r\n");
    let lengths: Vec<_> = dates.trim_end().split('|').map(str::len).collect();
    assert_eq!(lengths, [26, 25, 14], "{dates}");
}

/// The head of the answer is a block then, and the fields that a log tells are at hand as text.
#[test]
fn requests_of_http2_are_told_like_others() {
    let mut assembler = Assembler::new(&LIMITS);
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "Example.ORG:8443"),
        (":path", "/a?b"),
        ("user-agent", "curl/8"),
    ] {
        assembler.field(name.as_bytes(), value.as_bytes());
    }
    let request = assembler.finish(false).expect("it is one");
    let head = request.head();
    let protocol =
        log("$request|$server_protocol|$host|$http_host|$http_user_agent|$sent_http_content_type", Escape::Text);
    let expected = "GET /a?b HTTP/2.0|HTTP/2.0|example.org|Example.ORG:8443|curl/8|";
    for (fields_text, content_type) in [(Some(ANSWER), "text/html"), (None, "-")] {
        let mut summary = summary(Status::OK);
        summary.fields_text = fields_text.map(Box::from);
        let mut told = told(Some(&head), b"", &summary);
        told.answer_head = b"\x88\xc1content-type: \xff";
        let logs = logs(std::slice::from_ref(&protocol));
        assert!(logs.tell_answer_fields());
        logs.tell(&told);
        assert_eq!(logs.pens[0].buffer.take(), format!("{expected}{content_type}\n"));
    }
    assert!(!logs(&[log("combined", Escape::Text)]).tell_answer_fields());
}

#[test]
fn common_formats_are_as_everywhere() {
    let combined = line(&log("combined", Escape::Text), REQUEST);
    let (before, behind) = combined.split_once(" [").expect("a date in brackets");
    assert_eq!(before, "192.0.2.33 - ada");
    let (_, behind) = behind.split_once("] ").expect("a date in brackets");
    assert_eq!(behind, "\"GET /a%20b/../c.html?x=1&y HTTP/1.1\" 200 1234 \"http://a/\" \"Mozilla/5.0 (X11)\"\n");
    assert!(line(&log("common", Escape::Text), REQUEST).ends_with(" HTTP/1.1\" 200 1234\n"));
}

/// Whatever a client sends, one exchange is one line, and its values end where they should.
#[test]
fn no_client_can_forge_a_line() {
    // Basic credentials of `a"b\` CR LF `forged` and a byte that is no UTF-8.
    let credentials = STANDARD_ENCODED;
    let request = [
        &b"GET /\"\\%0d%0a?\xc3\xa9 HTTP/1.1\r\nHost: a\r\nReferer: \"x\\\t\xff\r\nUser-Agent: \"\" - \xe2\x82\xac\r\n"
            [..],
        b"X-Forwarded-For: 1.2.3.4\", \"forged\r\nAuthorization: Basic ",
        credentials.as_bytes(),
        b"\r\n\r\n",
    ]
    .concat();
    let template = "\"$request\" \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\" \"$remote_user\"";
    let text = line(&log(template, Escape::Text), &request);
    assert_eq!(
        text,
        "\"GET /\\x22\\x5C%0d%0a?\\xC3\\xA9 HTTP/1.1\" \"\\x22x\\x5C\\x09\\xFF\" \"\\x22\\x22 - \\xE2\\x82\\xAC\" \
         \"1.2.3.4\\x22, \\x22forged\" \"a\\x22b\\x5C\\x0D\\x0Aforged\\xFF\"\n"
    );
    let json = line(
        &log("{\"u\":\"$http_user_agent\",\"r\":\"$http_referer\",\"n\":\"$remote_user\"}", Escape::Json),
        &request,
    );
    assert_eq!(
        json,
        "{\"u\":\"\\\"\\\" - €\",\"r\":\"\\\"x\\\\\\t\\u00FF\",\"n\":\"a\\\"b\\\\\\r\\nforged\\u00FF\"}\n"
    );
}

const STANDARD_ENCODED: &str = "YSJiXA0KZm9yZ2Vk/zpwYXNz";

#[test]
fn bytes_that_are_no_request_are_shown() {
    let logs = logs(&[log("\"$request\" $status $request_method $host $uri $http_host", Escape::Text)]);
    let summary = summary(Status::BAD_REQUEST);
    logs.tell(&told(None, b"\x16\x03\x01\"\r\nforged", &summary));
    assert_eq!(logs.pens[0].buffer.take(), "\"\\x16\\x03\\x01\\x22\" 400 - - - -\n");
}

#[test]
fn samples_are_told_and_errors_always() {
    let Ok(Parse::Complete(head)) = parse(REQUEST, &LIMITS) else { panic!("it is a request") };
    for (sample, only, expected_fine, expected_bad) in
        [(1, Only::All, 30, 30), (10, Only::All, 3, 30), (1, Only::Errors, 0, 30), (7, Only::Errors, 0, 30)]
    {
        let logs = logs(&[AccessLog { sample, only, ..log("$status", Escape::Text) }]);
        let (fine, bad) = (summary(Status::OK), summary(Status::NOT_FOUND));
        for _ in 0..30 {
            logs.tell(&told(Some(&head), b"", &fine));
            if let Some(pending) = logs.begin(&told(Some(&head), b"", &bad)) {
                pending.end(&Ending { begun: Instant::now(), head_bytes: 1, content_bytes: 1, sent_bytes: 2 });
            }
        }
        let text = logs.pens[0].buffer.take();
        let count = |status| text.lines().filter(|line| *line == status).count();
        assert_eq!((count("200"), count("404")), (expected_fine, expected_bad), "{sample} {only:?}");
    }
}

/// A destination that takes nothing costs lines, and neither memory nor time: here the writer cannot even open it.
#[test]
fn buffers_that_do_not_come_back_are_not_replaced_for_ever() {
    let Ok(Parse::Complete(head)) = parse(REQUEST, &LIMITS) else { panic!("it is a request") };
    let logs = logs(&[AccessLog {
        to: Destination::File("/no/such/other/access.log".into()),
        ..log("combined", Escape::Text)
    }]);
    let before = crate::observe::journal::dropped_lines();
    let summary = summary(Status::OK);
    for _ in 0..60_000 {
        logs.tell(&told(Some(&head), b"", &summary));
    }
    finish();
    crate::observe::journal::finish(std::time::Duration::from_millis(1));
    assert!(crate::observe::journal::dropped_lines() > before);
}
