//! What a turn sends, on its way through the runtime's ring.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::letter::{Letter, Request, submit_nothing};
use super::stream::{Posting, RingStream};
use crate::buffer::SendQueue;
use crate::driver::{Service, SocketKey};
use crate::readiness::Readiness;
use crate::tokio::alarm::Alarm;

/// Letters that the ring has at once: half of what a runtime's ring holds unless its builder was told
/// otherwise, and a quarter of its completions.
const UNDER_WAY: usize = 128;
/// Empty letters that are kept.
const SPARE: usize = UNDER_WAY;
/// How long the runtime may take to enter its ring. The timer is left as it is where that is done in
/// time, and wakes the task in vain then, so it must not be short.
const PROMPTNESS: Duration = Duration::from_millis(10);
/// Requests that fill a ring of the usual size; a larger one is filled by several times as many.
const CROWD: usize = 256;

/// The letters of all sockets.
#[derive(Default)]
pub(super) struct Exchange {
    /// Sockets with a letter, and some that had one.
    to_submit: VecDeque<SocketKey>,
    /// In the order of their submission. A key may be stale by the time of the answer.
    under_way: VecDeque<(SocketKey, Request)>,
    /// Sockets that were closed while a letter of theirs was under way.
    parting: Vec<(SocketKey, Posting)>,
    #[expect(clippy::vec_box, reason = "boxes go to the ring and come back")]
    spare: Vec<Box<Letter>>,
    alarm: Alarm,
}

impl Exchange {
    /// Has the next [`Exchange::run`] send what `queue` holds.
    pub(super) fn send(&mut self, key: SocketKey, posting: &mut Posting, queue: &mut SendQueue) {
        let spare = &mut self.spare;
        if posting.write(queue, || spare.pop().unwrap_or_else(Letter::new)) {
            self.to_submit.push_back(key);
        }
    }

    /// Whether there is anything to be sent or answered.
    pub(super) fn is_over(&self) -> bool {
        self.to_submit.is_empty() && self.under_way.is_empty()
    }

    /// Sends all that was handed over, and tells whose send has stalled. When the future is dropped
    /// before it is done, the next one goes on.
    pub(super) async fn run(
        &mut self,
        readiness: &mut Readiness<RingStream>,
        service: &mut impl Service,
    ) {
        while !self.is_over() {
            self.submit(readiness);
            let mut patience = Instant::now() + PROMPTNESS;
            poll_fn(|cx| {
                let answered = self.poll_answers(cx, readiness, service);
                if answered.is_pending() {
                    self.hurry(&mut patience, cx);
                }
                answered
            })
            .await;
        }
    }

    /// Closes a socket, once the ring has answered if something of it is under way: the rest of that, and what
    /// was handed over behind it, was said to be sent.
    pub(super) fn close(&mut self, key: SocketKey, readiness: &mut Readiness<RingStream>) {
        match readiness.socket(key) {
            Some(RingStream::System(posting)) if posting.is_under_way() => {}
            _ => return readiness.close(key),
        }
        if let Some(RingStream::System(posting)) = readiness.release(key) {
            self.parting.push((key, posting));
        }
    }

    /// Closes all sockets of which something is under way, as [`Exchange::close`] does. `None` if there
    /// are none.
    pub(super) fn close_all(
        &mut self,
        readiness: &mut Readiness<RingStream>,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let mut closed = Vec::new();
        for (key, request) in std::mem::take(&mut self.under_way) {
            self.close(key, readiness);
            if let Some(posting) = self.take_parting(key) {
                closed.push((request, posting));
            }
        }
        (!closed.is_empty()).then(|| part(closed))
    }

    fn take_parting(&mut self, key: SocketKey) -> Option<Posting> {
        let is_it = |(parting, _): &(SocketKey, Posting)| *parting == key;
        let place = self.parting.iter().position(is_it)?;
        Some(self.parting.swap_remove(place).1)
    }

    /// Those that a letter waits for, whoever else is among them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = SocketKey> {
        self.to_submit.drain(..)
    }

    fn submit(&mut self, readiness: &mut Readiness<RingStream>) {
        while self.under_way.len() < UNDER_WAY {
            let Some(key) = self.to_submit.pop_front() else {
                return;
            };
            if let Some(RingStream::System(posting)) = readiness.socket(key)
                && let Some(request) = posting.submit()
            {
                self.under_way.push_back((key, request));
            }
        }
    }

    /// All were submitted together and none of them waits, so that the answers come together, too.
    fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        readiness: &mut Readiness<RingStream>,
        service: &mut impl Service,
    ) -> Poll<()> {
        while let Some((key, request)) = self.under_way.front_mut() {
            let Poll::Ready((answer, letter)) = request.poll(cx) else {
                return Poll::Pending;
            };
            let key = *key;
            self.under_way.pop_front();
            self.conclude(key, answer, letter, readiness, service);
        }
        Poll::Ready(())
    }

    fn conclude(
        &mut self,
        key: SocketKey,
        answer: io::Result<usize>,
        mut letter: Box<Letter>,
        readiness: &mut Readiness<RingStream>,
        service: &mut impl Service,
    ) {
        if let Some(posting) = self.take_parting(key) {
            return posting.part(answer, letter);
        }
        if let Some(RingStream::System(posting)) = readiness.socket(key) {
            let outcome = posting.conclude(answer, &mut letter.queue);
            readiness.decide(key, outcome, &mut letter.queue, service);
        }
        letter.queue.clear();
        if self.spare.len() < SPARE {
            self.spare.push(letter);
        }
    }

    /// A runtime enters its ring before it parks, and where other tasks keep it from parking never. But
    /// it does when there is no place in the ring for one request more.
    fn hurry(&mut self, patience: &mut Instant, cx: &mut Context<'_>) {
        while self.alarm.poll(*patience, cx).is_ready() {
            (0..CROWD).for_each(|_| submit_nothing());
            *patience = Instant::now() + PROMPTNESS;
        }
    }
}

async fn part(closed: Vec<(Request, Posting)>) {
    for (mut request, posting) in closed {
        let (answer, letter) = poll_fn(|cx| request.poll(cx)).await;
        posting.part(answer, letter);
    }
}
