#![allow(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::protocol::frame::{OpCode, server_header_len, write_server_header};

const LIMITS: OutboxLimits = OutboxLimits {
    messages: 6,
    bytes: 40_000,
    overflow: Overflow::RefuseNewest,
};

/// An outbox beside what it should hold.
#[derive(Default)]
struct Pair {
    outbox: Outbox,
    stock: LaneStock,
    chunks: ChunkPool,
    control: VecDeque<(Vec<u8>, bool)>,
    high: VecDeque<Vec<u8>>,
    normal: VecDeque<Vec<u8>>,
    in_flight: Option<u32>,
    number: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(Lane, usize),
    Write(usize),
    Control,
    Pong,
    Last,
    Batch,
    Sent,
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0usize..40, 1 => 100usize..20_000];
    prop_oneof![
        6 => (any::<bool>(), size.clone())
            .prop_map(|(high, size)| Step::Push(if high { Lane::High } else { Lane::Normal }, size)),
        4 => size.prop_map(Step::Write),
        1 => Just(Step::Control),
        2 => Just(Step::Pong),
        1 => Just(Step::Last),
        3 => Just(Step::Batch),
        3 => Just(Step::Sent),
        1 => Just(Step::Discard),
    ]
}

impl Pair {
    /// A frame unlike the ones before.
    fn frame(&mut self, size: usize) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        let mut bytes = vec![self.number; server_header_len(size) + size];
        write_server_header(&mut bytes, OpCode::Binary, size);
        bytes
    }

    fn slice(&mut self, bytes: &[u8]) -> Slice {
        self.chunks
            .write(bytes.len(), |out| out.copy_from_slice(bytes))
    }

    fn waiting(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.high.iter().chain(&self.normal)
    }

    /// Makes room as the policy says; returns whether the frame is taken.
    fn make_room(&mut self, frame: &[u8], limits: &OutboxLimits) -> (bool, u32) {
        let mut dropped = 0;
        let all_in_flight = self.outbox.in_flight_messages >= limits.messages
            || self.outbox.in_flight_bytes as usize + frame.len() > limits.bytes as usize;
        if self.in_flight.is_some() && all_in_flight {
            return (false, 0);
        }
        while self.in_flight.is_some() && !self.outbox_would_fit(frame, limits) {
            if limits.overflow != Overflow::DropOldest {
                return (false, 0);
            }
            let oldest = self.normal.pop_front().or_else(|| self.high.pop_front());
            if oldest.is_none() {
                return (false, dropped);
            }
            dropped += 1;
        }
        (true, dropped)
    }

    fn outbox_would_fit(&self, frame: &[u8], limits: &OutboxLimits) -> bool {
        let messages = self.waiting().count() as u32 + self.outbox.in_flight_messages;
        let bytes: usize = self.waiting().map(Vec::len).sum();
        let bytes = bytes + self.outbox.in_flight_bytes as usize + frame.len();
        messages < limits.messages && bytes <= limits.bytes as usize
    }

    fn apply(&mut self, step: Step, limits: &OutboxLimits) {
        match step {
            Step::Push(lane, size) => self.push(lane, size, limits),
            Step::Write(size) => {
                let bytes = self.frame(size);
                let fill = |out: &mut [u8]| out.copy_from_slice(&bytes);
                if self.outbox.write(&mut self.chunks, bytes.len(), fill) {
                    assert!(self.in_flight.is_none());
                    self.normal.push_back(bytes);
                }
            }
            Step::Control => {
                let slice = self.slice(b"control");
                self.outbox.push_control(&slice, &mut self.stock);
                self.control.push_back((b"control".to_vec(), false));
            }
            Step::Pong => self.push_pong(),
            Step::Last => {
                let bytes = self.frame(2);
                let slice = self.slice(&bytes);
                self.outbox.push_last(&slice, &mut self.stock);
                self.normal.push_back(bytes);
            }
            Step::Batch if self.in_flight.is_none() && !self.outbox.is_empty() => self.take_batch(),
            Step::Sent if self.in_flight.is_some() => {
                self.outbox.sent();
                self.in_flight = None;
            }
            Step::Discard => {
                let bytes: usize = self.waiting().map(Vec::len).sum();
                let discarded = (self.waiting().count() as u32, bytes as u32);
                assert_eq!(self.outbox.discard(), discarded);
                (self.high, self.normal) = Default::default();
            }
            Step::Batch | Step::Sent => {}
        }
    }

    fn push(&mut self, lane: Lane, size: usize, limits: &OutboxLimits) {
        let bytes = self.frame(size);
        let slice = self.slice(&bytes);
        let (is_taken, dropped) = self.make_room(&bytes, limits);
        let pushed = self.outbox.push(&slice, lane, limits, &mut self.stock);
        let expected = match (is_taken, dropped, limits.overflow) {
            (true, 0, _) => Pushed::Queued,
            (true, count, _) => Pushed::DroppedOldest(count),
            (false, _, Overflow::Disconnect) => Pushed::Overflow,
            (false, ..) => Pushed::Refused,
        };
        assert_eq!(pushed, expected);
        if is_taken {
            let queue = if lane == Lane::High {
                &mut self.high
            } else {
                &mut self.normal
            };
            queue.push_back(bytes);
        }
    }

    fn push_pong(&mut self) {
        self.number = self.number.wrapping_add(1);
        let bytes = vec![self.number];
        let slice = self.slice(&bytes);
        self.outbox.push_pong(&slice, &mut self.stock);
        let pongs = self.control.iter().filter(|(_, is_pong)| *is_pong).count();
        if pongs == MAX_PENDING_PONGS {
            let oldest = self
                .control
                .iter()
                .position(|(_, is_pong)| *is_pong)
                .unwrap();
            self.control.remove(oldest);
        }
        self.control.push_back((bytes, true));
    }

    /// A batch is a prefix of what waits, in whole frames, and not empty unless that is.
    fn take_batch(&mut self) {
        let mut queue = SendQueue::new();
        let batch = self.outbox.next_batch(&mut queue, &mut self.stock);
        let sent: Vec<u8> = queue.iter().flat_map(Slice::as_bytes).copied().collect();
        let mut rest = &sent[..];
        while let Some((control, _)) = self.control.pop_front() {
            rest = rest.strip_prefix(&control[..]).expect("control first");
        }
        let data = rest.len();
        let mut messages = 0;
        while !rest.is_empty() {
            let next = self.high.pop_front().or_else(|| self.normal.pop_front());
            rest = rest
                .strip_prefix(&next.unwrap()[..])
                .expect("whole frames, in order");
            messages += 1;
        }
        assert_eq!((batch.messages, batch.bytes as usize), (messages, data));
        let left = self.waiting().count();
        assert!(
            left == 0 || sent.len() + 40_000 > SEND_BATCH_BYTES,
            "{left} left for no reason"
        );
        assert_eq!(self.outbox.is_in_flight(), !sent.is_empty());
        self.in_flight = self.outbox.is_in_flight().then_some(messages);
    }

    fn check(&self) {
        let waiting = self.waiting().count() as u32 + self.in_flight.unwrap_or(0);
        assert_eq!(self.outbox.messages(), waiting);
        let bytes: usize = self.waiting().map(Vec::len).sum();
        assert_eq!(self.outbox.bytes as usize, bytes);
    }
}

proptest! {
    /// Nothing is lost, doubled or out of order, and every count is right, whatever is done.
    #[test]
    fn behaves_like_three_queues(
        steps in proptest::collection::vec(step(), 0..120),
        policy in 0..3,
    ) {
        let overflow = [Overflow::Disconnect, Overflow::RefuseNewest, Overflow::DropOldest];
        let limits = OutboxLimits { overflow: overflow[policy as usize], ..LIMITS };
        let mut pair = Pair::default();
        for step in steps {
            pair.apply(step, &limits);
            pair.check();
        }
        while !pair.outbox.is_empty() || pair.in_flight.is_some() {
            pair.apply(Step::Batch, &limits);
            pair.apply(Step::Sent, &limits);
        }
        prop_assert!(pair.control.is_empty() && pair.waiting().next().is_none());
    }
}

fn frame(chunks: &mut ChunkPool) -> Slice {
    chunks.write(3, |out| out.copy_from_slice(&[0x82, 1, 7]))
}

#[test]
fn a_peer_that_keeps_up_may_be_sent_any_amount() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    for _ in 0..1000 {
        let frame = frame(&mut chunks);
        assert_eq!(
            outbox.push(&frame, Lane::Normal, &LIMITS, &mut stock),
            Pushed::Queued
        );
    }
    assert_eq!((outbox.messages(), outbox.bytes()), (1000, 3000));
}

#[test]
fn what_lies_side_by_side_is_one_slice() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    for _ in 0..20 {
        let frame = frame(&mut chunks);
        let _ = outbox.push(&frame, Lane::Normal, &LIMITS, &mut stock);
    }
    let mut queue = SendQueue::new();
    let batch = outbox.next_batch(&mut queue, &mut stock);
    assert_eq!(
        (queue.len(), batch),
        (
            1,
            Batch {
                messages: 20,
                bytes: 60
            }
        )
    );
    assert!(outbox.is_empty() && outbox.is_in_flight());
}

#[test]
fn lane_boxes_come_back() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    let frame = frame(&mut chunks);
    let _ = outbox.push(&frame, Lane::High, &LIMITS, &mut stock);
    let mut queue = SendQueue::new();
    outbox.next_batch(&mut queue, &mut stock);
    assert_eq!(stock.0.len(), 1);
    let _ = outbox.push(&frame, Lane::High, &LIMITS, &mut stock);
    assert_eq!(stock.0.len(), 0);
    outbox.release(&mut stock);
    assert_eq!(stock.0.len(), 1);
    assert!(stock.0[0].is_empty());
}

#[test]
fn an_outbox_is_small() {
    assert!(size_of::<Outbox>() <= 40, "{}", size_of::<Outbox>());
}
