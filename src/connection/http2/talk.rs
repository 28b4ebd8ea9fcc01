//! The state of one HTTP/2 connection, and a round of its work.
//!
//! Invariant: answers are put into `out` in the order in which the encoder wrote their heads: at once.

use super::OUT_BYTES_MAX;
use super::answers::{Answered, Answering, Ask};
use super::body::Body;
use super::endings::Endings;
use crate::connection::close::Close;
use crate::connection::inbox::{Fill, Inbox};
use crate::connection::outbox;
use crate::connection::phase::Phase;
use crate::connection::roster::Place;
use crate::connection::shown::{Listed, Shown};
use crate::connection::telling::{self, Telling};
use crate::counters;
use crate::exchange::{self, Answer, HeadForm, Outgoing};
use crate::http2::connection::INPUT_BYTES_MAX;
use crate::http2::connection::Refused;
use crate::http2::hpack::Encoder;
use crate::http2::request::Assembled;
use crate::http2::{Connection, ErrorCode, Event, Limits, StreamKey};
use crate::observe::exchanged::Unfinished;
use crate::observe::live;
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use crate::storage::span::SPAN_BYTES_MAX;
use glommio::timer::Timer;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// One connection.
pub(super) struct Talk<'c> {
    pub(super) peer: Peer,
    pub(super) shard: &'c Rc<Shard>,
    pub(super) place: &'c Place,
    pub(super) core: Connection,
    encoder: Rc<RefCell<Encoder>>,
    /// What is to be sent, from `out_at` on.
    pub(super) out: Vec<u8>,
    out_at: usize,
    /// Bytes of the connection that the socket has taken.
    pub(super) taken: u64,
    /// What is being sent, by the keys of its streams.
    pub(super) sending: Vec<Option<Box<Sending>>>,
    pub(super) endings: Endings,
    /// A buffer for heads.
    pub(super) written: Vec<u8>,
    /// When the last bytes came in.
    came: Instant,
    /// The time of the round, once somebody has asked: a look at the clock for each of many small answers would be noticed.
    now: Option<Instant>,
    /// The tick of the last look at streams that do not move on.
    pub(super) looked_tick: u32,
    /// The tick in which the peer was told that the connection ends.
    pub(super) noticed_tick: u32,
    /// What was served when the connection began.
    pub(super) generation: u64,
    pub(super) input_has_ended: bool,
    /// Requests that had come when it was last idle, and until when it may be.
    pub(super) idle: Option<(u32, u32)>,
    /// Ends a wait for the time at which more may be sent.
    pub(super) timer: Option<Timer>,
}

/// Content under way, and what is told at its end.
pub(super) struct Sending {
    pub(super) body: Body,
    unfinished: Option<Unfinished>,
    /// What was asked for, where somebody may look in.
    shown: Option<Listed>,
    /// Bytes of head and content that were put into the buffer.
    put_bytes: u64,
    /// Whether some of it can be put now.
    is_ready: bool,
}

/// What comes of a round.
pub(super) enum Round {
    /// Much is to be sent, when it has its turn among those who send much.
    Turn,
    /// Much was done: others run first.
    Yield,
    /// The connection has ended.
    End(Close),
}

/// Requests that are answered in a round before others have their turn.
const ROUND_REQUESTS_MAX: u32 = 64;

/// As how many of these a read counts.
const READ_COUNTS_FOR: u32 = 4;

/// Answers of one connection that are read from the disk at a time: each holds a span of it, whatever its window is.
const READING_MAX: usize = 16;

/// What is sent without waiting for a turn, as a copied answer of HTTP/1.1 is.
const SMALL_BYTES_MAX: usize = exchange::COPIED_BYTES_MAX;

impl<'c> Talk<'c> {
    pub(super) fn new(peer: Peer, shard: &'c Rc<Shard>, place: &'c Place, encoder: Rc<RefCell<Encoder>>) -> Talk<'c> {
        let served = shard.served(peer.listener);
        let limits = Limits {
            streams_max: served.service.http2.streams_max,
            head: shard.head_limits.get(),
            send_bytes_per_second_min: place.limits().send_bytes_per_second_min,
        };
        let core = Connection::new(limits);
        let mut out = shard.buffers.take_outbound();
        core.start(&mut out);
        counters::here().http2_connections.add(1);
        Talk {
            peer,
            shard,
            place,
            core,
            encoder,
            out,
            out_at: 0,
            taken: 0,
            sending: Vec::new(),
            endings: Endings::default(),
            written: Vec::new(),
            came: Instant::now(),
            now: None,
            looked_tick: place.tick_now(),
            noticed_tick: 0,
            generation: shard.generation(),
            input_has_ended: false,
            idle: None,
            timer: None,
        }
    }

    /// Works until others should have their turn, or it waits.
    pub(super) fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        inbox: &mut Inbox,
        answers: &mut impl Answering,
    ) -> Poll<Result<Round, Close>> {
        let mut answered = 0;
        loop {
            self.now = None;
            self.watch_over(cx, answers);
            let mut has_progress = self.take_in(cx, stream, inbox, answers, &mut answered)?;
            while let Some((key, ready)) = self.has_room().then(|| answers.next(cx)).flatten() {
                self.put_answer(key, ready);
                has_progress = true;
            }
            self.make_ready(cx);
            has_progress |= self.put_content();
            if self.backlog() > SMALL_BYTES_MAX {
                if stream.poll_room(cx).is_ready() {
                    return Poll::Ready(Ok(Round::Turn));
                }
            } else if self.backlog() > 0 {
                if let Poll::Ready(count) = stream.poll_write(cx, &self.out[self.out_at..]) {
                    self.note_sent(count?);
                    has_progress = true;
                }
            }
            if let Some(close) = self.ended(answers.is_empty()) {
                return Poll::Ready(Ok(Round::End(close)));
            }
            if answered >= ROUND_REQUESTS_MAX {
                return Poll::Ready(Ok(Round::Yield));
            }
            if has_progress {
                continue;
            }
            self.begin_wait(inbox, answers.is_empty());
            match self.place.interrupted(cx) {
                Poll::Ready(interrupt) => self.go_on(stream, interrupt)?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends as much as the socket takes now.
    pub(super) fn send_now(&mut self, stream: &mut Stream) -> Result<(), Close> {
        if self.backlog() > 0 {
            let count = stream.send_now([&self.out[self.out_at..], &[]])?;
            self.note_sent(count);
        }
        Ok(())
    }

    /// Sends all that is there.
    pub(super) async fn flush(&mut self, stream: &mut Stream) -> Result<(), Close> {
        while self.backlog() > 0 {
            self.place.begin(Phase::Send);
            let bytes = &self.out[self.out_at..];
            let count = outbox::taken(stream, self.place, |stream, cx| stream.poll_write(cx, bytes)).await??;
            self.note_sent(count);
        }
        Ok(())
    }

    /// Bytes that wait to be sent.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.out_at
    }

    fn has_room(&self) -> bool {
        self.backlog() < OUT_BYTES_MAX
    }

    fn note_sent(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.out_at += count;
        self.taken += count as u64;
        self.place.count_sent(count);
        self.place.begin(Phase::Send);
        self.endings.taken(self.taken);
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
        } else if self.out_at >= OUT_BYTES_MAX {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }

    /// Takes in what has come; gives whether something had.
    fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        inbox: &mut Inbox,
        answers: &mut impl Answering,
        answered: &mut u32,
    ) -> Result<bool, Close> {
        let mut has_progress = false;
        while self.has_room() && *answered < ROUND_REQUESTS_MAX {
            if self.out.capacity() == 0 && !inbox.unread().is_empty() {
                self.out = self.shard.buffers.take_outbound();
            }
            let (count, event) = self.core.receive(inbox.unread(), self.place.tick_now(), &mut self.out)?;
            inbox.consume(count);
            has_progress |= count > 0;
            if let Some(sizes) = self.core.take_table_bytes_max() {
                let mut encoder = self.encoder.borrow_mut();
                encoder.set_table_bytes_max(sizes.smallest);
                encoder.set_table_bytes_max(sizes.last);
            }
            if let Some(event) = event {
                *answered += 1;
                self.take_event(event, cx, answers);
                continue;
            }
            if self.input_has_ended {
                break;
            }
            match inbox.poll_fill(cx, stream, self.shard, INPUT_BYTES_MAX) {
                Poll::Ready(Ok(Fill::Some)) => {
                    self.came = Instant::now();
                    // Also who sends frames that nothing comes of, as fast as they are read, lets others have their turn.
                    *answered += READ_COUNTS_FOR;
                }
                Poll::Ready(Ok(Fill::End)) => self.input_has_ended = true,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => break,
            }
            has_progress = true;
        }
        Ok(has_progress)
    }

    pub(super) fn take_event(&mut self, event: Event, cx: &mut Context<'_>, answers: &mut impl Answering) {
        match event {
            Event::Request(key, request) => self.begin_answer(key, request, cx, answers),
            Event::Refused(refused) => self.refuse(refused),
            // What is made for it is of no use any more.
            Event::Ended(key) => {
                counters::here().http2_streams_broken_off.add(1);
                answers.forget(key);
                self.drop_sending(key);
            }
            Event::NoticeSeen => self.core.settle(&mut self.out),
        }
    }

    fn begin_answer(&mut self, key: StreamKey, request: Assembled, cx: &mut Context<'_>, answers: &mut impl Answering) {
        counters::here().http2_requests.add(1);
        if self.place.is_at_last_request() {
            self.say_that_it_ends();
        }
        let mut written = std::mem::take(&mut self.written);
        written.clear();
        if let Some(ready) = answers.begin(key, Ask { request, written, begun: self.came }, cx) {
            self.put_answer(key, ready);
        }
    }

    /// Answers what is no request.
    fn refuse(&mut self, Refused { key, bad, is_head }: Refused) {
        let mut written = std::mem::take(&mut self.written);
        written.clear();
        let form = HeadForm::Compressed(&self.encoder);
        let mut answer = exchange::refuse(self.shard, &self.peer, bad, is_head, form, &mut written);
        self.put(key, None, &mut answer, &written, self.came);
        self.written = written;
    }

    fn put_answer(&mut self, key: StreamKey, mut answered: Answered) {
        let Answered { request, answer, written, begun } = &mut answered;
        self.put(key, Some(request), answer, written, *begun);
        self.core.take_back(answered.request);
        self.written = answered.written;
    }

    /// Puts an answer into the buffer: its head, and what small content there is.
    fn put(&mut self, key: StreamKey, request: Option<&Assembled>, answer: &mut Answer, block: &[u8], begun: Instant) {
        let head = request.map(Assembled::head);
        let content = answer.content.at_once();
        self.core.send_head(key, block, content.is_some_and(<[u8]>::is_empty), &mut self.out);
        let content = content.filter(|content| content.is_empty() || content.len() <= self.core.allowance(key));
        let told = Telling {
            head: head.as_ref(),
            unparsed: &[],
            answer_head: block,
            summary: &answer.summary,
            begun,
            answered: *self.now.get_or_insert_with(Instant::now),
            leaves_with_head: content.is_some(),
        };
        let unfinished = told.tell(&self.peer, self.place);
        if let Some(content) = content {
            if !content.is_empty() {
                self.core.send_content(key, content.len(), true, &mut self.out);
                self.out.extend_from_slice(content);
                self.core.end(key);
            }
            return;
        }
        let put_bytes = u64::from(answer.summary.head_bytes);
        let content = std::mem::replace(&mut answer.content, Outgoing::Nothing);
        let shown = head.filter(|_| live::is_watched());
        let shown = shown.map(|head| self.place.show_stream(Shown::new(&head, &answer.summary, begun, 0)));
        let sending = Sending { body: Body::new(content), unfinished, shown, put_bytes, is_ready: false };
        if self.sending.len() <= key {
            self.sending.resize_with(key + 1, || None);
        }
        self.sending[key] = Some(Box::new(sending));
    }

    /// Of the answers that are read from the disk, those that may not be sent now give way to others that may.
    fn give_way_to_readers(&mut self) {
        let is_reading = |sending: &Sending| sending.body.is_reading();
        if self.sending.iter().flatten().filter(|sending| is_reading(sending)).count() < READING_MAX {
            return;
        }
        let (core, now) = (&self.core, Instant::now());
        let may_be_sent = |key, sending: &Sending| core.window(key) > 0 && sending.body.wait(now).is_zero();
        let begins =
            |key, sending: &Sending| sending.body.is_read() && !is_reading(sending) && may_be_sent(key, sending);
        let under_way = self.sending.iter().enumerate().filter_map(|(key, one)| Some((key, one.as_deref()?)));
        let mut beginners = under_way.filter(|(key, sending)| begins(*key, sending)).count();
        for (key, sending) in self.sending.iter_mut().enumerate().filter_map(|(key, one)| Some((key, one.as_mut()?))) {
            if beginners == 0 {
                return;
            }
            if is_reading(sending) && !may_be_sent(key, sending) {
                sending.body.put_away();
                beginners -= 1;
            }
        }
    }

    /// Sees which content can be put now. What cannot be read any more ends its stream.
    fn make_ready(&mut self, cx: &mut Context<'_>) {
        self.give_way_to_readers();
        let mut now = None;
        let mut soonest: Option<Duration> = None;
        let mut reading = self.sending.iter().flatten().filter(|sending| sending.body.is_reading()).count();
        for key in 0..self.sending.len() {
            let Some(sending) = &mut self.sending[key] else { continue };
            // What may not be sent need not be read. A window that opens is progress, and leads here again.
            let window = self.core.window(key);
            let begins = sending.body.is_read() && !sending.body.is_reading();
            if window == 0 || begins && reading >= READING_MAX {
                sending.is_ready = false;
                continue;
            }
            reading += usize::from(begins);
            let wait = sending.body.wait(*now.get_or_insert_with(Instant::now));
            sending.is_ready = false;
            if !wait.is_zero() {
                soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
                continue;
            }
            match sending.body.poll_ready(self.shard, window >= SPAN_BYTES_MAX, cx) {
                Poll::Ready(Ok(())) => sending.is_ready = true,
                Poll::Ready(Err(_)) => {
                    // The head has promised its length: that the stream ends short is the only honest thing left.
                    self.core.reset(key, ErrorCode::InternalError, &mut self.out);
                    self.drop_sending(key);
                }
                Poll::Pending => {}
            }
        }
        self.timer = soonest.map(Timer::new);
        if let Some(timer) = &mut self.timer {
            if Pin::new(timer).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Puts content into the buffer, by the client's priorities; gives whether there was some.
    fn put_content(&mut self) -> bool {
        let mut has_progress = false;
        while self.has_room() {
            let ready = |key: StreamKey| self.sending[key].as_ref().is_some_and(|sending| sending.is_ready);
            let Some(key) = self.core.next(ready) else { break };
            let Some(sending) = &mut self.sending[key] else { break };
            let count = sending.body.available(self.core.allowance(key));
            let is_end = sending.body.left() == count as u64;
            let frame = self.out.len();
            self.core.send_content(key, count, is_end, &mut self.out);
            sending.put_bytes += count as u64;
            if let Some(shown) = &sending.shown {
                shown.note_sent(sending.put_bytes);
            }
            has_progress = true;
            if sending.body.copy(count, &mut self.out).is_err() {
                // Only the kernel's own memory can fail here. Who saw the end in this frame would take what is not there for the content.
                self.out.truncate(frame);
                self.core.reset(key, ErrorCode::InternalError, &mut self.out);
                self.drop_sending(key);
            } else if is_end {
                self.core.end(key);
                self.drop_sending(key);
            } else {
                sending.is_ready = sending.body.is_there();
            }
        }
        has_progress
    }

    /// What is told of a stream's answer is told when the socket has taken what is in the buffer.
    fn drop_sending(&mut self, key: StreamKey) {
        let Some(sending) = self.sending.get_mut(key).and_then(Option::take) else { return };
        if let Some(unfinished) = sending.unfinished {
            let at = self.taken + self.backlog() as u64;
            self.endings.put(unfinished, sending.shown, sending.put_bytes, at);
            // All of it may have gone before the client broke it off, and nothing more may follow.
            self.endings.taken(self.taken);
        }
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.endings.break_off(self.taken);
        for key in 0..self.sending.len() {
            if let Some(Sending { unfinished: Some(unfinished), shown, put_bytes, .. }) =
                self.sending[key].take().map(|sending| *sending)
            {
                let unsent = self.backlog() as u64;
                telling::end(unfinished, shown.as_ref().map(Listed::asked), put_bytes.saturating_sub(unsent));
            }
        }
        self.shard.buffers.give_outbound(std::mem::take(&mut self.out));
    }
}
