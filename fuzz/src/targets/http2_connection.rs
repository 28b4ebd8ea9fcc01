//! A connection of HTTP/2: whatever comes behind the preface, and however it is cut, the same comes of it; what is sent are whole frames, and
//! no more content than a naive reading of the windows allows.
//!
//! Each request is answered at once, with as much content as may be sent.
//!
//! Invariant: a stream that has ended is not answered.

use otus_httpd::http::request::HeadLimits;
use otus_httpd::http2::frame::{HEAD_BYTES, PAYLOAD_BYTES_MAX, PREFACE};
use otus_httpd::http2::{Connection, ErrorCode, Event, Limits, StreamKey};

const LIMITS: Limits = Limits {
    streams_max: 4,
    head: HeadLimits { head_bytes_max: 2048, target_bytes_max: 64, field_lines_max: 8 },
    send_bytes_per_second_min: 250,
};

/// Content of each answer.
const CONTENT_BYTES: usize = 100_000;

/// The window that a connection begins with (RFC 9113 §6.9.2).
const WINDOW_BYTES: u64 = 65_535;

/// Takes the input as a whole, and cut in two.
pub fn http2_connection(input: &[u8]) {
    let whole = converse(&[input]);
    for cut in super::cuts(input) {
        let (first, second) = input.split_at(cut);
        assert_eq!(converse(&[first, second]), whole, "cut at {cut}");
    }
    check_frames(&whole.out);
    assert!(whole.content_bytes <= WINDOW_BYTES + increments(input), "{} bytes", whole.content_bytes);
}

/// What came of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    out: Vec<u8>,
    content_bytes: u64,
    error: Option<ErrorCode>,
}

fn converse(parts: &[&[u8]]) -> Outcome {
    let mut connection = Connection::new(LIMITS);
    let mut left: Vec<Option<usize>> = Vec::new();
    let mut outcome = Outcome { out: Vec::new(), content_bytes: 0, error: None };
    connection.start(&mut outcome.out);
    let mut unread = PREFACE.to_vec();
    for part in parts {
        unread.extend_from_slice(part);
        loop {
            match connection.receive(&unread, 1, &mut outcome.out) {
                Ok((count, event)) => {
                    unread.drain(..count);
                    let Some(event) = event else { break };
                    take(&mut connection, event, &mut left, &mut outcome.out);
                }
                Err(error) => {
                    outcome.error = Some(error.code);
                    connection.fail(&error, &mut outcome.out);
                    return outcome;
                }
            }
        }
    }
    // All content behind all that came: else what is sent would depend on the cut.
    while let Some(key) = connection.next(|_| true) {
        let of_stream = left[key].as_mut().expect("it was answered, and has not ended");
        let count = connection.allowance(key).min(*of_stream);
        assert!(count > 0, "it was said to have its turn");
        *of_stream -= count;
        let is_end = *of_stream == 0;
        connection.send_content(key, count, is_end, &mut outcome.out);
        outcome.out.resize(outcome.out.len() + count, 0);
        outcome.content_bytes += count as u64;
        if is_end {
            left[key] = None;
            connection.end(key);
        }
    }
    outcome
}

fn take(connection: &mut Connection, event: Event, left: &mut Vec<Option<usize>>, out: &mut Vec<u8>) {
    let mut begin = |key: StreamKey, bytes: Option<usize>| {
        left.resize(left.len().max(key + 1), None);
        left[key] = bytes;
    };
    match event {
        Event::Request(key, request) => {
            begin(key, Some(CONTENT_BYTES));
            connection.send_head(key, b"\x88", false, out);
            connection.take_back(request);
        }
        Event::Refused(refused) => {
            begin(refused.key, None);
            connection.send_head(refused.key, b"\x8c", true, out);
        }
        Event::Ended(key) => begin(key, None),
        Event::NoticeSeen => panic!("no notice was given"),
    }
}

fn check_frames(mut out: &[u8]) {
    while !out.is_empty() {
        let length = usize::from(out[0]) << 16 | usize::from(out[1]) << 8 | usize::from(out[2]);
        assert!(length <= PAYLOAD_BYTES_MAX, "{length}");
        out = &out[HEAD_BYTES + length..];
    }
}

/// By how much the window of the connection may have been opened at most.
fn increments(mut input: &[u8]) -> u64 {
    let mut total = 0;
    while let Some(head) = input.first_chunk::<HEAD_BYTES>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let behind = &input[HEAD_BYTES..];
        if let (8, Some(increment)) = (head[3], behind.first_chunk()) {
            total += u64::from(u32::from_be_bytes(*increment) & 0x7fff_ffff);
        }
        input = behind.get(length..).unwrap_or(&[]);
    }
    total
}
