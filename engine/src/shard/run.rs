//! What is published to one room, or to all, handed to its members in one pass.
//!
//! Publications of a turn gather in a [`Run`], side by side in one buffer, and each member is handed
//! the whole of it: for thirty-two messages to ten thousand members that is ten thousand
//! steps, and one slice for each. The run is handed out before the turn's flush, and before anything
//! that would let somebody tell: whoever is sent something else is given its share first, and nobody
//! becomes a member while there is a run.

use std::ops::Range;
use std::sync::Arc;

use throng_transport::{Slice, SocketKey};

use super::connections::Connections;
use super::core::Core;
use super::dirty::Due;
use super::frames::{Dispatch, Outgoing};
use super::outbox::{Lane, RunLabels};
use super::publish::{Receipt, push_to_all};
use crate::limits::MAX_RUN_EXCEPTIONS;
use crate::room::{Audience, Circle};

/// Frames published to the same members, one behind the other.
#[derive(Debug)]
pub(super) struct Run {
    circle: Circle,
    frames: Slice,
    messages: u32,
    labels: RunLabels,
    /// Members that it passes over, in the order of slots: those that were behind when it began are
    /// handed each message as it comes, those that have ended since get no more.
    passed_over: Vec<u32>,
    exceptions: Vec<Exception>,
}

/// A part of the run that a member is not to be handed, or was handed before.
#[derive(Clone, Debug)]
struct Exception {
    slot: u32,
    bytes: Range<usize>,
    messages: u32,
}

impl Run {
    /// What of the run is still to be handed to the member in the slot: messages, and the frames in
    /// pieces.
    fn share(&self, slot: u32) -> (u32, impl Iterator<Item = Slice>) {
        let own = || self.exceptions.iter().filter(move |it| it.slot == slot);
        let excepted: u32 = own().map(|it| it.messages).sum();
        let end = self.frames.len();
        let mut from = 0;
        let gaps = own()
            .map(|it| it.bytes.clone())
            .chain(std::iter::once(end..end));
        let pieces = gaps.filter_map(move |gap| {
            let piece = std::mem::replace(&mut from, gap.end)..gap.start;
            (!piece.is_empty()).then(|| self.frames.slice(piece))
        });
        (self.messages - excepted, pieces)
    }

    /// Hands the member in the slot what is still to be handed to it.
    fn push_share(&self, connections: &mut Connections, slot: u32, due: Due) {
        let (messages, pieces) = self.share(slot);
        let mut uncounted = messages;
        for piece in pieces {
            let messages = std::mem::take(&mut uncounted);
            connections.push_run(slot, &piece, messages, &self.labels, due);
        }
    }

    fn passes_over(&self, slot: u32) -> bool {
        self.passed_over.binary_search(&slot).is_ok()
    }

    fn except(&mut self, slot: u32, bytes: Range<usize>, messages: u32) {
        self.exceptions.push(Exception {
            slot,
            bytes,
            messages,
        });
    }
}

impl Core {
    /// Whether a publication may go to all of its audience as part of something larger.
    pub(super) fn may_gather(&self, audience: &Audience<'_>, dispatch: &Dispatch) -> bool {
        let is_same_for_all = dispatch.is_plain() || self.connections.compressing() == 0;
        let few_excepted = audience.except.len() <= MAX_RUN_EXCEPTIONS;
        dispatch.lane == Lane::Normal && is_same_for_all && few_excepted
    }

    /// Adds a publication to the run, if it may gather there.
    pub(super) fn gather(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
    ) -> Option<Receipt> {
        if !self.may_gather(audience, dispatch) {
            return None;
        }
        let circle = self.rooms.circle(audience)?;
        let frame = &dispatch.frames.plain;
        let from = self.extend_run(circle, frame, 1, dispatch.key.as_ref());
        let mut receipt = Receipt {
            queued: self.rooms.members_of(circle) - self.run.as_ref()?.passed_over.len(),
            ..Receipt::default()
        };
        for (index, id) in audience.except.iter().enumerate() {
            let is_first = !audience.except[..index].contains(id);
            let is_here = id.shard() == self.shard && self.connections.open(id.key()).is_some();
            if is_first && is_here && self.except_in_run(id.key().slot, from..from + frame.len()) {
                receipt.queued -= 1;
            }
        }
        self.hand_to_passed_over(audience, dispatch, &mut receipt);
        Some(receipt)
    }

    /// Puts frames at the end of the run, of a new one if they do not fit there. Returns where in
    /// the run they begin.
    pub(super) fn extend_run(
        &mut self,
        circle: Circle,
        frames: &Slice,
        messages: u32,
        key: Option<&Arc<str>>,
    ) -> usize {
        if let Some(run) = &mut self.run {
            let end = run.frames.len();
            let has_room = run.exceptions.len() < MAX_RUN_EXCEPTIONS;
            if run.circle == circle && has_room && run.frames.try_extend(frames) {
                run.messages += messages;
                run.labels.note(frames, key);
                return end;
            }
        }
        self.deliver_run();
        let behind = self.connections.behind().iter();
        let absent = behind.chain(self.unsettled.iter().copied());
        let mut passed_over: Vec<u32> = absent
            .filter(|&slot| self.rooms.contains(circle, slot))
            .collect();
        passed_over.sort_unstable();
        passed_over.dedup();
        let mut labels = RunLabels::new(self.rooms.circle_name(circle));
        labels.note(frames, key);
        self.run = Some(Run {
            circle,
            frames: frames.clone(),
            messages,
            labels,
            passed_over,
            exceptions: Vec::new(),
        });
        0
    }

    /// Keeps a message of the run from a member; returns false where it would not get it from the
    /// run anyway.
    pub(super) fn except_in_run(&mut self, slot: u32, bytes: Range<usize>) -> bool {
        let Some(run) = &mut self.run else {
            return false;
        };
        let is_excepted = !run.passes_over(slot) && self.rooms.contains(run.circle, slot);
        if is_excepted {
            run.except(slot, bytes, 1);
        }
        is_excepted
    }

    /// Whether some members are not served by the run.
    pub(super) fn run_passes_over_any(&self) -> bool {
        let run = self.run.as_ref();
        run.is_some_and(|run| !run.passed_over.is_empty())
    }

    /// Hands a message of the run to members who were behind when it began. Who has overflowed is
    /// evicted by the caller.
    #[inline]
    pub(super) fn hand_to_passed_over(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
        receipt: &mut Receipt,
    ) {
        let Some(run) = self.run.as_mut().filter(|run| !run.passed_over.is_empty()) else {
            return;
        };
        let slots = std::mem::take(&mut run.passed_over);
        let room = self.rooms.circle_name(run.circle).cloned();
        let message = Outgoing::new(dispatch, &mut self.compressors, Due::Now);
        let mut message = message.in_room(room);
        let wanted = |slot, generation| !audience.excepts(self.shard, slot, generation);
        let behind = slots.iter().copied();
        let evicted = push_to_all(&mut self.connections, &mut message, behind, wanted, receipt);
        if let Some(run) = &mut self.run {
            run.passed_over = slots;
        }
        self.to_evict.extend(evicted);
    }

    /// Gives a connection its share of the run, before it is sent something else.
    #[inline]
    pub(super) fn deliver_run_to(&mut self, slot: u32) {
        if self.run.is_some() {
            self.hand_share(slot);
        }
    }

    #[cold]
    fn hand_share(&mut self, slot: u32) {
        let Some(run) = &mut self.run else {
            return;
        };
        if run.passes_over(slot) || !self.rooms.contains(run.circle, slot) {
            return;
        }
        run.push_share(&mut self.connections, slot, Due::Now);
        run.exceptions.retain(|it| it.slot != slot);
        run.except(slot, 0..run.frames.len(), run.messages);
        if run.exceptions.len() > MAX_RUN_EXCEPTIONS {
            self.deliver_run();
        }
    }

    /// Gives a connection that ends its share of the run, and no more of it from now on.
    #[inline]
    pub(super) fn leave_run(&mut self, slot: u32) {
        self.deliver_batches_to(slot);
        if self.run.is_some() {
            self.end_share(slot);
        }
    }

    #[cold]
    fn end_share(&mut self, slot: u32) {
        self.hand_share(slot);
        let Some(run) = &mut self.run else {
            return;
        };
        if !self.rooms.contains(run.circle, slot) {
            return;
        }
        if let Err(place) = run.passed_over.binary_search(&slot) {
            if run.passed_over.len() < MAX_RUN_EXCEPTIONS {
                run.exceptions.retain(|it| it.slot != slot);
                run.passed_over.insert(place, slot);
            } else {
                self.deliver_run();
            }
        }
    }

    /// Hands the run out if it is for that circle, which is about to get a member.
    #[inline]
    pub(crate) fn deliver_run_of(&mut self, circle: Circle) {
        if let Circle::Room(room) = circle {
            self.deliver_batch(room);
        }
        if self.run.as_ref().is_some_and(|run| run.circle == circle) {
            self.deliver_run();
        }
    }

    /// Hands the run out if it is for that circle, which is about to lose the member in the slot.
    pub(crate) fn deliver_run_before_leave(&mut self, circle: Circle, slot: u32) {
        if let Circle::Room(room) = circle {
            self.deliver_batch(room);
        }
        let Some(run) = self.run.as_mut().filter(|run| run.circle == circle) else {
            return;
        };
        match run.passed_over.binary_search(&slot) {
            // Without its last member the room is no more.
            Ok(place) if self.rooms.members_of(circle) > 1 => drop(run.passed_over.remove(place)),
            _ => self.deliver_run(),
        }
    }

    /// Queues what was published for everybody it is for.
    #[inline]
    pub(super) fn deliver_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.hand_out(&run);
        }
    }

    #[cold]
    fn hand_out(&mut self, run: &Run) {
        let due = Due::of_audience(self.rooms.members_of(run.circle));
        let connections = &mut self.connections;
        if due == Due::InLine {
            connections.dirty.count(run.messages, run.frames.len());
        }
        let members = self.rooms.iter(run.circle);
        if run.exceptions.is_empty() && run.passed_over.is_empty() {
            members.for_each(|slot| {
                connections.push_run(slot, &run.frames, run.messages, &run.labels, due);
            });
            return;
        }
        let mut special: Vec<u32> = run.exceptions.iter().map(|it| it.slot).collect();
        special.extend_from_slice(&run.passed_over);
        special.sort_unstable();
        special.dedup();
        let mut special = special.into_iter().peekable();
        for slot in members {
            while special.next_if(|&it| it < slot).is_some() {}
            if special.next_if_eq(&slot).is_none() {
                connections.push_run(slot, &run.frames, run.messages, &run.labels, due);
            } else if !run.passes_over(slot) {
                run.push_share(connections, slot, due);
            }
        }
    }

    /// Messages and bytes that wait to be sent to a connection.
    pub(crate) fn queued(&self, key: SocketKey) -> (usize, usize) {
        let outbox = &self.connections[key.slot].outbox;
        let (mut messages, mut bytes) = (outbox.messages() as usize, outbox.bytes() as usize);
        if let Some(run) = &self.run
            && !run.passes_over(key.slot)
            && self.rooms.contains(run.circle, key.slot)
        {
            let (more, pieces) = run.share(key.slot);
            messages += more as usize;
            bytes += pieces.map(|piece| piece.len()).sum::<usize>();
        }
        let connection = &self.connections[key.slot];
        if connection.is_open() && !self.batches.is_empty() {
            let waiting = self.batches.waiting_for(self.id(key), &connection.rooms);
            messages += waiting.0;
            bytes += waiting.1;
        }
        (messages, bytes)
    }
}
