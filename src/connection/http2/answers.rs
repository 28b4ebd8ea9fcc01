//! The requests of one connection that are being answered, each as far as it can go.
//!
//! Invariant: most answers are there at once, and such a one allocates nothing: what it is made in serves the next.

use crate::exchange::{self, Answer, HeadForm};
use crate::http2::StreamKey;
use crate::http2::hpack::Encoder;
use crate::http2::request::Assembled;
use crate::shard::{Peer, Shard};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A request that was answered.
pub(super) struct Answered {
    pub(super) request: Assembled,
    pub(super) answer: Answer,
    /// The head of the answer, as a field block.
    pub(super) written: Vec<u8>,
    /// When it came.
    pub(super) begun: Instant,
}

/// A request to be answered.
pub(super) struct Ask {
    pub(super) request: Assembled,
    /// A buffer for the head of the answer.
    pub(super) written: Vec<u8>,
    /// When it came.
    pub(super) begun: Instant,
}

/// Answers a request; the head is written by this connection's encoder, behind what it has written before.
pub(super) async fn answer(shard: Rc<Shard>, peer: Peer, encoder: Rc<RefCell<Encoder>>, ask: Ask) -> Answered {
    let Ask { request, mut written, begun } = ask;
    let answer = {
        let head = request.head();
        exchange::answer(&shard, &peer, &head, HeadForm::Compressed(&encoder), &mut written).await
    };
    Answered { request, answer, written, begun }
}

/// Has requests answered. A trait, for nobody can write down the type of the futures behind it.
pub(super) trait Answering {
    /// Begins one; gives it if it is there at once.
    fn begin(&mut self, key: StreamKey, ask: Ask, cx: &mut Context<'_>) -> Option<Answered>;

    /// One that had to wait, and is there now.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<(StreamKey, Answered)>;

    /// Forgets one whose stream has ended.
    fn forget(&mut self, key: StreamKey);

    /// Whether none waits.
    fn is_empty(&self) -> bool;
}

/// Those that wait for the disk, and what begins them.
pub(super) struct Answers<M, F> {
    make: M,
    waiting: Vec<(StreamKey, Pin<Box<Option<F>>>)>,
    /// What the next one is made in.
    spare: Option<Pin<Box<Option<F>>>>,
}

impl<M: Fn(Ask) -> F, F: Future<Output = Answered>> Answers<M, F> {
    /// None yet; `make` begins one.
    pub(super) fn new(make: M) -> Answers<M, F> {
        Answers { make, waiting: Vec::new(), spare: None }
    }
}

impl<M: Fn(Ask) -> F, F: Future<Output = Answered>> Answering for Answers<M, F> {
    fn begin(&mut self, key: StreamKey, ask: Ask, cx: &mut Context<'_>) -> Option<Answered> {
        let mut place = self.spare.take().unwrap_or_else(|| Box::pin(None));
        place.set(Some((self.make)(ask)));
        let answered = poll(&mut place, cx);
        if answered.is_some() {
            self.spare = Some(place);
        } else {
            self.waiting.push((key, place));
        }
        answered
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<(StreamKey, Answered)> {
        for at in 0..self.waiting.len() {
            let (key, place) = &mut self.waiting[at];
            if let Some(answered) = poll(place, cx) {
                let key = *key;
                self.spare = Some(self.waiting.swap_remove(at).1);
                return Some((key, answered));
            }
        }
        None
    }

    fn forget(&mut self, key: StreamKey) {
        self.waiting.retain(|(other, _)| *other != key);
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The answer, once it is there; the place is empty then.
fn poll<F: Future<Output = Answered>>(place: &mut Pin<Box<Option<F>>>, cx: &mut Context<'_>) -> Option<Answered> {
    let answering = place.as_mut().as_pin_mut().expect("it is polled until it is there");
    let Poll::Ready(answered) = answering.poll(cx) else { return None };
    place.set(None);
    Some(answered)
}
