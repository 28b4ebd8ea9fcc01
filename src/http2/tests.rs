//! Connections, frame by frame.

use super::connection::{Connection, Event, Limits};
use super::error::{ConnectionError, ErrorCode};
use super::frame::{HEAD_BYTES, PREFACE};
use super::send::CONTENT_BYTES_MAX;
use crate::http::request::HeadLimits;

const LIMITS: Limits = Limits {
    streams_max: 4,
    head: HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, field_lines_max: 100 },
    send_bytes_per_second_min: 250,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PRIORITY_UPDATE: u8 = 16;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method: GET`, `:path: /`, `:scheme: http`, `:authority: a`
const GET: &[u8] = b"\x82\x84\x86\x01\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

/// One side of a connection, as its peer sees it.
struct Peer {
    connection: Connection,
    second: u32,
    out: Vec<u8>,
    unread: Vec<u8>,
}

impl Peer {
    fn new() -> Peer {
        Peer::with(LIMITS)
    }

    fn with(limits: Limits) -> Peer {
        let mut peer = Peer { connection: Connection::new(limits), second: 1, out: Vec::new(), unread: Vec::new() };
        let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        assert_eq!(peer.send(&greeting), Ok(vec![]));
        peer.connection.start(&mut peer.out);
        peer.out.clear();
        peer
    }

    /// What comes of these bytes: a letter and a key for each event.
    fn send(&mut self, bytes: &[u8]) -> Result<Vec<(char, usize)>, ErrorCode> {
        self.unread.extend(bytes);
        let mut events = Vec::new();
        loop {
            let received = self.connection.receive(&self.unread, self.second, &mut self.out);
            let (count, event) = received.map_err(|error: ConnectionError| error.code)?;
            self.unread.drain(..count);
            match event {
                Some(Event::Request(key, request)) => {
                    events.push(('r', key));
                    self.connection.take_back(request);
                }
                Some(Event::Refused(refused)) => events.push(('x', refused.key)),
                Some(Event::Ended(key)) => events.push(('e', key)),
                Some(Event::NoticeSeen) => events.push(('n', 0)),
                None => return Ok(events),
            }
        }
    }

    /// The frames that were sent: kind, flags, stream, payload.
    fn frames(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let length = usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
            frames.push((rest[3], rest[4], stream, rest[HEAD_BYTES..HEAD_BYTES + length].to_vec()));
            rest = &rest[HEAD_BYTES + length..];
        }
        self.out.clear();
        frames
    }

    fn put(&mut self, key: usize, length: usize, is_end: bool) {
        self.connection.send_content(key, length, is_end, &mut self.out);
        self.out.extend(vec![0; length]);
        if is_end {
            self.connection.end(key);
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.last_chunk().expect("a code"))
}

#[test]
fn a_request_is_one_event_however_it_is_cut() {
    let bytes = [&get(1)[..], &frame(PING, 0, 0, b"12345678"), &get(3)].concat();
    for step in 1..bytes.len() {
        let mut peer = Peer::new();
        let events: Vec<_> = bytes.chunks(step).flat_map(|part| peer.send(part).expect("no error")).collect();
        assert_eq!(events, [('r', 0), ('r', 1)], "in steps of {step}");
        assert_eq!(peer.frames(), [(PING, 1, 0, b"12345678".to_vec())]);
    }
}

#[test]
fn a_request_with_content_waits_for_it_and_not_for_long() {
    let post = |stream| frame(HEADERS, END_HEADERS, stream, GET);
    let mut peer = Peer::new();
    assert_eq!(peer.send(&post(1)), Ok(vec![]));
    assert_eq!(peer.send(&frame(DATA, 0, 1, &[0; 1000])), Ok(vec![]));
    assert_eq!(peer.send(&frame(DATA, END_STREAM, 1, &[0; 1000])), Ok(vec![('r', 0)]));
    peer.connection.send_head(0, b"\x88", true, &mut peer.out);
    // More than is waited for: it is answered, and the rest is not wanted.
    assert_eq!(peer.send(&post(3)), Ok(vec![]));
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(peer.send(&frame(DATA, 0, 3, &[0; 16_000])).expect("no error"));
    }
    assert_eq!(events, [('r', 0)]);
    peer.frames();
    peer.connection.send_head(0, b"\x88", true, &mut peer.out);
    assert_eq!(peer.frames(), [(HEADERS, 5, 3, b"\x88".to_vec())]);
    assert!(peer.connection.has_answered() && !peer.connection.has_streams());
    assert!(peer.connection.reset_answered(1, &mut peer.out));
    assert_eq!(peer.frames(), [(RESET, 0, 3, vec![0; 4])]);
    // What was on its way is ignored.
    assert_eq!(peer.send(&frame(DATA, END_STREAM, 3, &[0; 100])), Ok(vec![]));
    assert!(peer.frames().is_empty());
    // One that does not come at all is not waited for either.
    assert_eq!(peer.send(&post(5)), Ok(vec![]));
    assert!(peer.connection.overdue(10, 15, 60, &mut peer.out).is_none());
    assert!(matches!(peer.connection.overdue(17, 15, 60, &mut peer.out), Some(Event::Request(0, _))));
}

#[test]
fn content_that_is_not_as_long_as_it_said_is_an_error_of_its_stream() {
    // content-length: 5
    let post = |stream| frame(HEADERS, END_HEADERS, stream, &[GET, b"\x0f\x0d\x015"].concat());
    for content in [vec![frame(DATA, END_STREAM, 1, b"1234")], vec![frame(DATA, 0, 1, b"123456")]] {
        let mut peer = Peer::new();
        assert_eq!(peer.send(&post(1)), Ok(vec![]));
        assert_eq!(peer.send(&content.concat()), Ok(vec![('e', 0)]));
        let frames = peer.frames();
        assert_eq!((frames[0].0, code(&frames[0].3)), (RESET, ErrorCode::ProtocolError as u32));
    }
    let mut peer = Peer::new();
    assert_eq!(peer.send(&[post(1), frame(DATA, END_STREAM, 1, b"12345")].concat()), Ok(vec![('r', 0)]));
}

#[test]
fn windows_bound_what_is_sent() {
    let mut peer = Peer::new();
    peer.send(&get(1)).expect("a request");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    let mut sent = 0;
    while let Some(key) = peer.connection.next(|_| true) {
        let count = peer.connection.allowance(key);
        assert!(count <= CONTENT_BYTES_MAX);
        peer.put(key, count, false);
        sent += count;
    }
    assert_eq!(sent, 65_535);
    assert!(peer.connection.is_stalled());
    // Both windows must allow it.
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &100u32.to_be_bytes())).expect("no error");
    assert_eq!(peer.connection.allowance(0), 0);
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &70u32.to_be_bytes())).expect("no error");
    assert_eq!(peer.connection.allowance(0), 70);
    // A smaller initial window takes back what was granted, below zero.
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 50])).expect("no error");
    assert_eq!(peer.connection.allowance(0), 0);
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &65_485u32.to_be_bytes())).expect("no error");
    assert_eq!(peer.connection.allowance(0), 70, "100 - 65,485 + 65,485 leaves the connection's");
    let overflow = frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffffu32.to_be_bytes());
    assert_eq!(peer.send(&overflow), Ok(vec![('e', 0)]));
    assert_eq!(peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes())), Err(ErrorCode::FlowControlError));
}

#[test]
fn a_stream_that_nobody_takes_from_is_ended() {
    let mut peer = Peer::new();
    peer.send(&[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), get(1)].concat()).expect("a request");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    assert!(peer.connection.is_stalled());
    assert!(peer.connection.overdue(61, 15, 60, &mut peer.out).is_none());
    assert!(matches!(peer.connection.overdue(62, 15, 60, &mut peer.out), Some(Event::Ended(0))));
    assert!(!peer.connection.has_streams());
}

/// The streams that get the frames, in order; each has three frames to send. A priority comes behind its request, or ahead of it.
fn order(priorities: &[&str], is_ahead: bool) -> String {
    let mut peer = Peer::new();
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0xff, 0, 0])).expect("a setting");
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x00ff_0000u32.to_be_bytes())).expect("a window");
    for (at, priority) in (0..).zip(priorities) {
        let id: u32 = 2 * at + 1;
        let update = [&id.to_be_bytes()[..], priority.as_bytes()].concat();
        let update = if priority.is_empty() { Vec::new() } else { frame(PRIORITY_UPDATE, 0, 0, &update) };
        let (ahead, behind) = if is_ahead { (update, Vec::new()) } else { (Vec::new(), update) };
        let events = peer.send(&[ahead, get(id)].concat()).expect("a request");
        peer.connection.send_head(events[0].1, b"\x88", false, &mut peer.out);
        peer.send(&behind).expect("a priority");
    }
    let mut left = vec![3; priorities.len()];
    let mut order = String::new();
    while let Some(key) = peer.connection.next(|_| true) {
        left[key] -= 1;
        peer.put(key, 10_000, left[key] == 0);
        order.push(char::from(b'a' + u8::try_from(key).expect("few")));
    }
    order
}

#[test]
fn content_is_sent_by_the_priorities_of_the_client() {
    for (priorities, expected) in [
        (&["", "", ""][..], "abcabcabc"),
        (&["u=3", "u=3", "u=3"], "aaabbbccc"),
        (&["u=5", "u=1", "u=3"], "bbbcccaaa"),
        (&["u=3, i", "u=3, i", "u=0"], "cccababab"),
        (&["u=3, i", "u=3", "u=7"], "bbbaaaccc"),
    ] {
        for is_ahead in [false, true] {
            assert_eq!(order(priorities, is_ahead), expected, "{priorities:?}");
        }
    }
}

/// RFC 9218 §7.1
#[test]
fn priorities_of_no_more_streams_than_may_be_open_are_kept() {
    let update = |id: u32, value: &[u8]| frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], value].concat());
    let mut peer = Peer::new();
    // Four streams may be open.
    for id in [1, 3, 5, 7] {
        peer.send(&update(id, b"u=7")).expect("there is room");
        peer.send(&update(id, b"u=6")).expect("it is the same stream");
    }
    // The first can begin no more once the second has.
    peer.send(&get(3)).expect("a request");
    peer.send(&update(9, b"u=1")).expect("there is room again");
    assert!(peer.send(&update(11, b"u=1")).is_err());
}

/// A download of many megabytes once kept everything waiting that was asked for behind it.
#[test]
fn what_goes_on_for_long_has_turns() {
    let mut peer = Peer::new();
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).expect("a setting");
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes())).expect("a window");
    for id in [1u32, 3] {
        let events = peer.send(&get(id)).expect("a request");
        peer.connection.send_head(events[0].1, b"\x88", false, &mut peer.out);
        let update = [&id.to_be_bytes()[..], b"u=3"].concat();
        peer.send(&frame(PRIORITY_UPDATE, 0, 0, &update)).expect("a priority");
    }
    let mut sent = [0usize; 2];
    while sent[0] + sent[1] < 4 << 20 {
        let key = peer.connection.next(|_| true).expect("both have content");
        peer.put(key, CONTENT_BYTES_MAX, false);
        peer.out.clear();
        sent[key] += CONTENT_BYTES_MAX;
    }
    assert!(sent[1] > 1 << 20, "{sent:?}");
}

#[test]
fn one_that_cannot_go_on_holds_no_other() {
    let mut peer = Peer::new();
    for id in [1, 3] {
        let events = peer.send(&get(id)).expect("a request");
        peer.connection.send_head(events[0].1, b"\x88", false, &mut peer.out);
    }
    assert_eq!(peer.connection.next(|key| key == 1), Some(1), "the other waits for the disk");
}

#[test]
fn streams_are_bounded_and_a_refused_one_may_come_again() {
    let mut peer = Peer::new();
    let events = peer.send(&(0..5).flat_map(|at| get(2 * at + 1)).collect::<Vec<_>>());
    assert_eq!(events.map(|events| events.len()), Ok(4));
    let frames = peer.frames();
    assert_eq!((frames[0].0, frames[0].2, code(&frames[0].3)), (RESET, 9, ErrorCode::RefusedStream as u32));
    peer.connection.send_head(0, b"\x88", true, &mut peer.out);
    assert_eq!(peer.send(&get(11)), Ok(vec![('r', 0)]));
}

#[test]
fn floods_are_cut_off() {
    let rapid_reset = |at: u32| [get(2 * at + 1), frame(RESET, 0, 2 * at + 1, &[0, 0, 0, 8])].concat();
    let mut peer = Peer::new();
    let cut = (0..1000).find(|at| peer.send(&rapid_reset(*at)) == Err(ErrorCode::EnhanceYourCalm));
    assert_eq!(cut, Some(200));
    let floods = [
        ("pings", frame(PING, 0, 0, &[0; 8]), 20),
        // One came with the preface.
        ("settings", frame(SETTINGS, 0, 0, &[]), 19),
        ("empty data", frame(DATA, 0, 1, &[]), 100),
        ("priorities", frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1]), 1000),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1000),
        ("unknown", frame(0x77, 0, 0, &[]), 1000),
    ];
    for (what, bytes, limit) in floods {
        let mut peer = Peer::new();
        peer.send(&frame(HEADERS, END_HEADERS, 1, GET)).expect("a request");
        let cut = (0..5000).find(|_| peer.send(&bytes) == Err(ErrorCode::EnhanceYourCalm));
        assert_eq!(cut, Some(limit), "{what}");
    }
}

#[test]
fn a_field_block_without_an_end_is_cut_off() {
    for part in [&b""[..], &[b'x'; 10_000]] {
        let mut peer = Peer::new();
        peer.send(&frame(HEADERS, 0, 1, GET)).expect("a request");
        let cut = (0..100).find(|_| peer.send(&frame(CONTINUATION, 0, 1, part)) == Err(ErrorCode::EnhanceYourCalm));
        assert!(cut.is_some(), "of {} bytes", part.len());
    }
}

#[test]
fn the_end_is_announced_and_what_was_asked_for_is_answered() {
    let mut peer = Peer::new();
    peer.send(&get(1)).expect("a request");
    peer.connection.notice(&mut peer.out);
    let frames = peer.frames();
    assert_eq!((frames[0].0, frames[1].0), (GO_AWAY, PING));
    assert_eq!(frames[0].3, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // On its way when the notice was sent.
    assert_eq!(peer.send(&get(3)), Ok(vec![('r', 1)]));
    assert_eq!(peer.send(&frame(PING, 1, 0, &frames[1].3)), Ok(vec![('n', 0)]));
    peer.connection.settle(&mut peer.out);
    assert_eq!(peer.frames()[0].3, [0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(peer.send(&get(5)), Ok(vec![]), "it was told that it would not be answered");
    assert!(peer.connection.has_streams());
}

/// The second stream was once cancelled for the first one's long download.
#[test]
fn who_waits_for_a_turn_is_not_cut() {
    let mut peer = Peer::new();
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).expect("a setting");
    for id in [1u32, 3] {
        let events = peer.send(&get(id)).expect("a request");
        peer.connection.send_head(events[0].1, b"\x88", false, &mut peer.out);
        let update = [&id.to_be_bytes()[..], if id == 1 { b"u=1" } else { b"u=5" }].concat();
        peer.send(&frame(PRIORITY_UPDATE, 0, 0, &update)).expect("a priority");
    }
    for second in 2..200 {
        peer.second = second;
        assert!(peer.connection.overdue(second, 15, 60, &mut peer.out).is_none(), "in second {second}");
        peer.send(&frame(WINDOW_UPDATE, 0, 0, &1000u32.to_be_bytes())).expect("a window");
        while let Some(key) = peer.connection.next(|_| true) {
            assert_eq!(key, 0);
            let count = peer.connection.allowance(key);
            peer.put(key, count, false);
        }
    }
    assert!(
        matches!(peer.connection.overdue(261, 15, 60, &mut peer.out), Some(Event::Ended(_))),
        "nothing moves any more"
    );
}

/// A byte for each minute once kept a stream, its file and its memory for ever.
/// All streams wait for the window that they share, and the client opens it by a byte now and then.
#[test]
fn the_window_of_all_that_is_opened_byte_by_byte_is_no_progress() {
    let mut peer = Peer::new();
    peer.send(&[frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), get(1)].concat()).expect("a request");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    while let Some(key) = peer.connection.next(|_| true) {
        peer.put(key, peer.connection.allowance(key), false);
    }
    for second in [50, 100] {
        let ended = peer.connection.overdue(second, 15, 60, &mut peer.out).is_some();
        assert_eq!(ended, second > 60, "at {second}");
        if !ended {
            peer.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).expect("a window");
            peer.put(0, 1, false);
        }
    }
}

/// A stream that had to wait for others was cut when its first window was used up.
#[test]
fn what_has_waited_for_the_server_has_its_time_when_it_is_sent() {
    let mut peer = Peer::new();
    let window = frame(WINDOW_UPDATE, 0, 0, &0x000f_ffffu32.to_be_bytes());
    peer.send(&[window, get(1)].concat()).expect("a request");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    assert!(peer.connection.overdue(300, 15, 60, &mut peer.out).is_none());
    while let Some(key) = peer.connection.next(|_| true) {
        peer.put(key, peer.connection.allowance(key), false);
    }
    assert!(peer.connection.overdue(301, 15, 60, &mut peer.out).is_none());
    assert!(peer.connection.overdue(361, 15, 60, &mut peer.out).is_some());
}

#[test]
fn heads_whose_content_does_not_come_are_held_within_a_bound() {
    let mut peer = Peer::with(Limits { streams_max: 100, ..LIMITS });
    // A field that is put into the table, and named again and again.
    let long = [GET, b"\x40\x01x\x7f\xa1\x1e", &[b'v'; 4000]].concat();
    let mut events = peer.send(&frame(HEADERS, END_HEADERS, 1, &long)).expect("a request");
    for at in 1..50 {
        let block = [GET, b"\xbe\xbe\xbe"].concat();
        events.extend(peer.send(&frame(HEADERS, END_HEADERS, 2 * at + 1, &block)).expect("a request"));
    }
    assert!(peer.connection.streams.waiting_bytes() <= 64 * 1024);
    assert!(events.len() > 40, "{events:?}");
}

#[test]
fn a_peer_that_has_gone_is_not_waited_for() {
    let mut peer = Peer::new();
    let post = frame(HEADERS, END_HEADERS, 3, GET);
    peer.send(&[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), get(1), post].concat()).expect("requests");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    let mut given_up = Vec::new();
    while let Some(event) = peer.connection.give_up(&mut peer.out) {
        given_up.push(match event {
            Event::Request(key, _) => ('r', key),
            Event::Ended(key) => ('e', key),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(given_up, [('e', 0), ('r', 1)]);
}

#[test]
fn a_window_that_is_opened_byte_by_byte_is_no_progress() {
    let mut peer = Peer::new();
    peer.send(&[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), get(1)].concat()).expect("a request");
    peer.connection.send_head(0, b"\x88", false, &mut peer.out);
    let cut = (2..1000).find(|second| {
        peer.second = *second;
        if peer.connection.overdue(*second, 15, 60, &mut peer.out).is_some() {
            return true;
        }
        peer.send(&frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes())).expect("a window");
        peer.put(0, 1, false);
        false
    });
    assert_eq!(cut, Some(62));
}

#[test]
fn the_smallest_table_is_told_of_too() {
    let mut peer = Peer::new();
    peer.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0])).expect("settings");
    let sizes = peer.connection.take_table_bytes_max().expect("it has said something");
    assert_eq!((sizes.smallest, sizes.last), (0, 4096));
    assert_eq!(peer.connection.take_table_bytes_max(), None);
}

/// Blocks for a stream that was reset, each a few bytes that stand for many, once kept a core busy for nothing.
#[test]
fn blocks_that_nothing_comes_of_are_counted() {
    let mut peer = Peer::new();
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x84\x86\x84")).expect("a request that is malformed");
    let cut = (0..5000)
        .find(|_| peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x84")) == Err(ErrorCode::EnhanceYourCalm));
    assert!(cut.is_some());
}
