//! Queueing for a peer that is behind: keys, bounds, and what each policy does at them.

use throng_transport::Slice;

use super::label::Label;
use super::lanes::{LaneStock, Notice};
use super::line::Dropped;
use super::{Lane, Outbox, OutboxLimits, Pushed, length};
use crate::config::Overflow;
use crate::shard::gap::Missed;

/// Messages, and the bytes of them.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    messages: u32,
    bytes: u32,
}

impl Outbox {
    /// [`Outbox::push`] where the peer is behind, or what waits is more than one batch.
    #[cold]
    pub(super) fn push_behind(
        &mut self,
        frame: &Slice,
        label: &Label,
        lane: Lane,
        limits: &OutboxLimits,
        stock: &mut LaneStock,
    ) -> Pushed {
        let mut pushed = Pushed::Queued;
        if self.is_behind() {
            let superseded = self.waiting_for(label, lane);
            if let Some(old) = superseded
                && self.replace(old, frame, label, lane, limits)
            {
                return Pushed::Conflated(0);
            }
            if !self.has_room(frame, limits) {
                let place = superseded.map(|bytes| (bytes, lane));
                match self.make_room(frame, label, place, limits, stock) {
                    Ok(dropped) if superseded.is_some() => pushed = Pushed::Conflated(dropped),
                    Ok(dropped) => pushed = Pushed::DroppedOldest(dropped),
                    Err(lost) => return lost,
                }
            }
        }
        self.count(frame.len());
        if label.is_blank() {
            self.append(frame, lane, stock);
        } else {
            self.lanes(stock).push(lane, frame, label);
        }
        pushed
    }

    /// Whether a data frame is appended without anything being dropped.
    #[inline]
    pub(crate) fn takes(&self, frame: &Slice, limits: &OutboxLimits) -> bool {
        !self.is_behind() || self.has_room(frame, limits)
    }

    /// Takes what was lost since this was last asked. What waits to be told of earlier losses before
    /// the normal lane is taken with it, to be told as one; that many notices are returned.
    pub(crate) fn take_missed(&mut self, stock: &mut LaneStock) -> Option<(Missed, u32)> {
        let lanes = self
            .lanes
            .as_mut()
            .filter(|lanes| !lanes.missed.is_empty())?;
        let (mut missed, mut taken_back) = (Missed::default(), Load::default());
        for notice in lanes.notices.drain(..) {
            missed.add(notice.room.as_ref(), notice.missed);
            taken_back.messages += 1;
            taken_back.bytes += length(&notice.frame);
        }
        for (room, count) in std::mem::take(&mut lanes.missed) {
            missed.add(room.as_ref(), count);
        }
        self.messages = self.messages.saturating_sub(taken_back.messages);
        self.bytes = self.bytes.saturating_sub(taken_back.bytes);
        self.give_empty(stock);
        Some((missed, taken_back.messages))
    }

    /// Queues a notice, whatever the bounds, where the messages were lost: behind everything that
    /// waits, or before the normal lane.
    pub(crate) fn push_notice(
        &mut self,
        notice: Notice,
        limits: &OutboxLimits,
        stock: &mut LaneStock,
    ) {
        self.count(notice.frame.len());
        if limits.overflow == Overflow::RefuseNewest {
            self.append(&notice.frame, Lane::Normal, stock);
        } else {
            self.lanes(stock).push_notice(notice);
        }
    }

    fn has_room(&self, frame: &Slice, limits: &OutboxLimits) -> bool {
        self.messages() < limits.messages
            && self.bytes().saturating_add(length(frame)) <= limits.bytes
    }

    /// Bytes of the waiting message that one of that label would replace.
    fn waiting_for(&mut self, label: &Label, lane: Lane) -> Option<u32> {
        label.key.as_ref()?;
        self.lanes.as_mut()?.line(lane).length_of(label)
    }

    /// Replaces a waiting message of `old` bytes in place, unless the bound on bytes forbids it.
    fn replace(
        &mut self,
        old: u32,
        frame: &Slice,
        label: &Label,
        lane: Lane,
        limits: &OutboxLimits,
    ) -> bool {
        let more = length(frame).saturating_sub(old);
        let fits = more == 0 || self.bytes().saturating_add(more) <= limits.bytes;
        if fits && let Some(lanes) = &mut self.lanes {
            lanes.line(lane).replace(label, frame);
            self.bytes = self.bytes.saturating_sub(old).saturating_add(length(frame));
        }
        fits
    }

    /// Drops what the policy allows until the frame fits, and returns how many messages that were.
    /// What it supersedes, of so many bytes on that lane, is taken out first and not counted. When
    /// it would not fit if all were dropped, none is.
    fn make_room(
        &mut self,
        frame: &Slice,
        label: &Label,
        superseded: Option<(u32, Lane)>,
        limits: &OutboxLimits,
        stock: &mut LaneStock,
    ) -> Result<u32, Pushed> {
        let (stays, otherwise) = match limits.overflow {
            Overflow::Disconnect => return Err(Pushed::Overflow),
            Overflow::RefuseNewest => (None, Pushed::Refused),
            Overflow::DropOldest => (Some(self.load_of_notices()), Pushed::Refused),
            Overflow::Conflate => (Some(self.load_without_keys()), Pushed::Overflow),
        };
        let would_fit = stays.is_some_and(|stays| self.fits_beside(stays, frame, limits));
        if !would_fit {
            if otherwise == Pushed::Refused {
                self.lanes(stock).missed.add(label.room.as_ref(), 1);
            }
            return Err(otherwise);
        }
        if let Some((bytes, lane)) = superseded {
            self.lanes(stock).line(lane).remove(label);
            self.discount(bytes);
        }
        let mut dropped = 0;
        while !self.has_room(frame, limits)
            && let Some(lost) = self.drop_one(limits.overflow, stock)
        {
            self.discount(lost.bytes);
            self.lanes(stock).missed.add(lost.room.as_ref(), 1);
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Whether the frame has room beside that load and what is in flight.
    fn fits_beside(&self, load: Load, frame: &Slice, limits: &OutboxLimits) -> bool {
        let messages = load.messages.saturating_add(self.in_flight_messages());
        let bytes = load.bytes.saturating_add(self.in_flight_bytes());
        messages < limits.messages && bytes.saturating_add(length(frame)) <= limits.bytes
    }

    /// What waits and is told before the normal lane, which is never dropped.
    fn load_of_notices(&self) -> Load {
        let notices = self.lanes.iter().flat_map(|lanes| &lanes.notices);
        notices.fold(Load::default(), |load, notice| Load {
            messages: load.messages + 1,
            bytes: load.bytes.saturating_add(length(&notice.frame)),
        })
    }

    /// What waits and has no key.
    fn load_without_keys(&self) -> Load {
        let lines = self
            .lanes
            .iter()
            .flat_map(|lanes| [&lanes.high, &lanes.normal]);
        let all = Load {
            messages: self.messages,
            bytes: self.bytes,
        };
        lines.fold(all, |load, line| {
            let (messages, bytes) = line.keyed();
            Load {
                messages: load.messages.saturating_sub(messages),
                bytes: load.bytes.saturating_sub(bytes),
            }
        })
    }

    /// Drops the oldest message that the policy gives up, of the normal lane before the high one.
    fn drop_one(&mut self, overflow: Overflow, stock: &mut LaneStock) -> Option<Dropped> {
        let lanes = self.lanes(stock);
        if overflow == Overflow::Conflate {
            let normal = lanes.normal.drop_oldest_keyed();
            return normal.or_else(|| lanes.high.drop_oldest_keyed());
        }
        let normal = lanes.normal.drop_oldest();
        normal.or_else(|| lanes.high.drop_oldest())
    }

    /// A waiting message of so many bytes is no more.
    fn discount(&mut self, bytes: u32) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
