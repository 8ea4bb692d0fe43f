#![allow(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]

mod model;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_PENDING_PONGS;
use crate::protocol::frame::{OpCode, server_header_len, write_server_header};
use crate::shard::encode_detached;
use model::{Item, Model};

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
    model: Model,
    number: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, usize, Label),
    Run(Vec<(usize, Option<Arc<str>>)>),
    Write(usize),
    Control,
    Pong,
    Last,
    Batch,
    Sent,
    Discard,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..40, 1 => 100usize..20_000]
}

fn name(names: &'static str) -> impl Strategy<Value = Option<Arc<str>>> {
    let name = |place| names.get(place..=place).map(Arc::from);
    (0..names.len() + 1).prop_map(name)
}

fn step() -> impl Strategy<Value = Step> {
    let label = (name("xy"), name("abc")).prop_map(|(room, key)| Label { room, key });
    let lane = prop_oneof![3 => Just(Lane::Normal), 1 => Just(Lane::High)];
    let frames = proptest::collection::vec((size(), name("abc")), 1..6);
    prop_oneof![
        12 => (lane, size(), label).prop_map(|(lane, size, label)| Step::Push(lane, size, label)),
        2 => frames.prop_map(Step::Run),
        4 => size().prop_map(Step::Write),
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

    fn apply(&mut self, step: Step, limits: &OutboxLimits) {
        let is_in_flight = self.model.in_flight.is_some();
        match step {
            Step::Push(lane, size, label) => self.push(lane, size, &label, limits),
            Step::Run(frames) if !self.model.is_behind() => self.push_run(frames),
            Step::Write(size) => {
                let bytes = self.frame(size);
                let fill = |out: &mut [u8]| out.copy_from_slice(&bytes);
                if self.outbox.write(&mut self.chunks, bytes.len(), fill) {
                    assert!(!self.model.is_behind());
                    self.expect(bytes, Label::default());
                }
            }
            Step::Control => {
                let slice = self.slice(b"control");
                self.outbox.push_control(&slice, &mut self.stock);
                self.model.control.push((b"control".to_vec(), false));
            }
            Step::Pong => self.push_pong(),
            Step::Last => {
                let bytes = self.frame(2);
                let slice = self.slice(&bytes);
                self.outbox.push_last(&slice, &mut self.stock);
                self.expect(bytes, Label::default());
            }
            Step::Batch if !is_in_flight && !self.outbox.is_empty() => self.take_batch(),
            Step::Sent if is_in_flight => self.sent(limits),
            Step::Discard => {
                let (messages, bytes) = self.model.waiting();
                assert_eq!(self.outbox.discard(), (messages as u32, bytes as u32));
                (self.model.high, self.model.normal) = Default::default();
                (self.model.notices, self.model.missed) = Default::default();
            }
            Step::Run(_) | Step::Batch | Step::Sent => {}
        }
    }

    fn expect(&mut self, bytes: Vec<u8>, label: Label) {
        self.model.normal.push(Item { bytes, label });
    }

    fn push(&mut self, lane: Lane, size: usize, label: &Label, limits: &OutboxLimits) {
        let bytes = self.frame(size);
        let slice = self.slice(&bytes);
        let label = label.clone();
        let pushed = self
            .outbox
            .push(&slice, &label, lane, limits, &mut self.stock);
        assert_eq!(pushed, self.model.push(Item { bytes, label }, lane, limits));
    }

    fn push_run(&mut self, frames: Vec<(usize, Option<Arc<str>>)>) {
        let room: Arc<str> = Arc::from("run");
        let mut labels = RunLabels::new(Some(&room));
        let mut run: Option<Slice> = None;
        let mut items = Vec::new();
        for (size, key) in frames {
            let bytes = self.frame(size);
            let slice = self.slice(&bytes);
            let begun = run.get_or_insert_with(|| slice.clone());
            if !items.is_empty() && !begun.try_extend(&slice) {
                break;
            }
            labels.note(&slice, key.as_ref());
            let room = Some(Arc::clone(&room));
            items.push((bytes, Label { room, key }));
        }
        let run = run.expect("one at least");
        let waiting = self.model.waiting().1;
        let is_soon = waiting == 0 || waiting + run.len() <= SEND_BATCH_BYTES;
        let messages = items.len() as u32;
        self.outbox
            .push_run(&run, messages, &labels, &mut self.stock);
        for (bytes, label) in items {
            self.expect(bytes, if is_soon { Label::default() } else { label });
        }
    }

    fn push_pong(&mut self) {
        self.number = self.number.wrapping_add(1);
        let bytes = vec![self.number];
        let slice = self.slice(&bytes);
        self.outbox.push_pong(&slice, &mut self.stock);
        let control = &mut self.model.control;
        if control.iter().filter(|(_, is_pong)| *is_pong).count() == MAX_PENDING_PONGS {
            let oldest = control.iter().position(|(_, is_pong)| *is_pong).unwrap();
            control.remove(oldest);
        }
        control.push((bytes, true));
    }

    /// A batch is a prefix of what waits, in whole frames, and not empty unless that is.
    fn take_batch(&mut self) {
        let mut queue = SendQueue::new();
        let batch = self.outbox.next_batch(&mut queue, &mut self.stock);
        let sent: Vec<u8> = queue.iter().flat_map(Slice::as_bytes).copied().collect();
        let mut rest = &sent[..];
        for (control, _) in self.model.control.drain(..) {
            rest = rest.strip_prefix(&control[..]).expect("control first");
        }
        let (data, mut messages, mut first) = (rest.len(), 0, 0);
        while !rest.is_empty() {
            let next = self.model.pop().expect("no more than waits");
            rest = rest
                .strip_prefix(&next[..])
                .expect("whole frames, in order");
            first = if messages == 0 { next.len() } else { first };
            messages += 1;
        }
        assert_eq!((batch.messages, batch.bytes as usize), (messages, data));
        let (left, _) = self.model.waiting();
        assert!(left == 0 || data > 0, "{left} left for no reason");
        assert!(
            data <= SEND_BATCH_BYTES.max(first),
            "a control frame would wait for {data} bytes"
        );
        assert_eq!(self.outbox.is_in_flight(), !sent.is_empty());
        let in_flight = (messages as usize, sent.len());
        self.model.in_flight = self.outbox.is_in_flight().then_some(in_flight);
        self.model.is_between_sends = false;
    }

    /// What was in flight is sent, and what was lost meanwhile told.
    fn sent(&mut self, limits: &OutboxLimits) {
        self.model.is_between_sends = !self.outbox.is_empty();
        self.outbox.sent();
        self.model.in_flight = None;
        self.tell(limits);
    }

    /// What was lost is told.
    fn tell(&mut self, limits: &OutboxLimits) {
        let waiting = self.model.notices.len();
        let missed = match self.outbox.take_missed(&mut self.stock) {
            Some((missed, taken_back)) => {
                assert_eq!(taken_back as usize, waiting);
                missed.into_iter().collect()
            }
            None => Vec::new(),
        };
        assert_eq!(missed, self.model.take_missed());
        for (room, missed) in missed {
            let bytes = self.frame(50);
            let frame = self.slice(&bytes);
            let told = room.clone();
            let notice = Notice {
                frame,
                room,
                missed,
            };
            self.outbox.push_notice(notice, limits, &mut self.stock);
            if limits.overflow == Overflow::RefuseNewest {
                self.expect(bytes, Label::default());
            } else {
                self.model.notices.push((bytes, told, missed));
            }
        }
    }

    fn check(&self) {
        let (messages, bytes) = self.model.waiting();
        let in_flight = self.model.in_flight.unwrap_or_default();
        assert_eq!(self.outbox.waiting() as usize, messages);
        assert_eq!(self.outbox.messages() as usize, messages + in_flight.0);
        assert_eq!(self.outbox.bytes() as usize, bytes + in_flight.1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Every message is sent once and in order, or replaced, or counted as lost, whatever is done.
    #[test]
    fn behaves_like_plain_lists(
        steps in proptest::collection::vec(step(), 0..150),
        policy in 0..4,
        messages in prop_oneof![Just(2), Just(6), Just(40)],
    ) {
        let overflow = [
            Overflow::Disconnect,
            Overflow::RefuseNewest,
            Overflow::DropOldest,
            Overflow::Conflate,
        ];
        let limits = OutboxLimits { messages, overflow: overflow[policy as usize], ..LIMITS };
        let mut pair = Pair::default();
        for step in steps {
            pair.apply(step, &limits);
            pair.check();
        }
        while !pair.outbox.is_empty() || pair.model.in_flight.is_some() {
            pair.apply(Step::Sent, &limits);
            pair.apply(Step::Batch, &limits);
            if pair.outbox.is_empty() && pair.model.in_flight.is_none() {
                pair.outbox.caught_up();
                pair.tell(&limits);
            }
        }
        prop_assert!(pair.model.control.is_empty() && pair.model.waiting() == (0, 0));
        prop_assert!(pair.model.missed.is_empty());
    }
}

fn frame(chunks: &mut ChunkPool) -> Slice {
    chunks.write(3, |out| out.copy_from_slice(&[0x82, 1, 7]))
}

fn blank() -> Label {
    Label::default()
}

#[test]
fn a_peer_that_keeps_up_may_be_sent_any_amount() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    let label = Label {
        room: Some("tea".into()),
        key: Some("always the same".into()),
    };
    for _ in 0..1000 {
        let frame = frame(&mut chunks);
        assert_eq!(
            outbox.push(&frame, &label, Lane::Normal, &LIMITS, &mut stock),
            Pushed::Queued
        );
    }
    assert_eq!((outbox.messages(), outbox.bytes()), (1000, 3000));
}

#[test]
fn what_lies_side_by_side_is_one_slice() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    for key in 0..20 {
        let frame = frame(&mut chunks);
        let key = Some(key.to_string().into());
        let label = Label { room: None, key };
        let _ = outbox.push(&frame, &label, Lane::Normal, &LIMITS, &mut stock);
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
    let _ = outbox.push(&frame, &blank(), Lane::High, &LIMITS, &mut stock);
    let mut queue = SendQueue::new();
    outbox.next_batch(&mut queue, &mut stock);
    assert_eq!(stock.0.len(), 1);
    let _ = outbox.push(&frame, &blank(), Lane::High, &LIMITS, &mut stock);
    assert_eq!(stock.0.len(), 0);
    outbox.release(&mut stock);
    assert_eq!(stock.0.len(), 1);
    assert!(stock.0[0].is_empty());
}

/// Whatever was lost, a box that goes back takes no news of it to another connection.
#[test]
fn nothing_stays_in_a_box_that_comes_back() {
    let mut chunks = ChunkPool::new();
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    let frame = frame(&mut chunks);
    let limits = OutboxLimits {
        messages: 1,
        ..LIMITS
    };
    let push = |outbox: &mut Outbox, stock: &mut LaneStock| {
        outbox.push(&frame, &blank(), Lane::Normal, &limits, stock)
    };
    assert_eq!(push(&mut outbox, &mut stock), Pushed::Queued);
    outbox.next_batch(&mut SendQueue::new(), &mut stock);
    assert_eq!(push(&mut outbox, &mut stock), Pushed::Refused);
    outbox.release(&mut stock);
    let mut other = Outbox::default();
    other.push_control(&frame, &mut stock);
    assert!(stock.0.is_empty(), "it has got the box");
    assert!(other.take_missed(&mut stock).is_none());
}

/// What could not be told yet, because the high lane came first, is told with what was lost since.
#[test]
fn notices_that_wait_are_taken_back() {
    let (mut outbox, mut stock) = (Outbox::default(), LaneStock::default());
    let limits = OutboxLimits {
        overflow: Overflow::DropOldest,
        bytes: u32::MAX,
        ..LIMITS
    };
    let frame = encode_detached(OpCode::Binary, &[7; 50_000]);
    let room = Some(Arc::from("tea"));
    let label = Label { room, key: None };
    let push = |outbox: &mut Outbox, lane, stock: &mut LaneStock| {
        outbox.push(&frame, &label, lane, &limits, stock)
    };
    for lane in [[Lane::High; 6], [Lane::Normal; 6]].concat() {
        assert_eq!(push(&mut outbox, lane, &mut stock), Pushed::Queued);
    }
    let mut told = 0;
    for (lost, taken_back) in [(7, 0), (1, 1)] {
        outbox.next_batch(&mut SendQueue::new(), &mut stock);
        let pushed = push(&mut outbox, Lane::Normal, &mut stock);
        assert_eq!(pushed, Pushed::DroppedOldest(lost));
        outbox.sent();
        let (missed, notices) = outbox.take_missed(&mut stock).unwrap();
        told += u64::from(lost);
        let missed: Vec<_> = missed.into_iter().collect();
        assert_eq!(missed, [(label.room.clone(), told)]);
        assert_eq!(notices, taken_back);
        let notice = Notice {
            frame: encode_detached(OpCode::Text, b"told"),
            room: label.room.clone(),
            missed: told,
        };
        outbox.push_notice(notice, &limits, &mut stock);
    }
}

#[test]
fn an_outbox_is_small() {
    assert!(size_of::<Outbox>() <= 40, "{}", size_of::<Outbox>());
}
