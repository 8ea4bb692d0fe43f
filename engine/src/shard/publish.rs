//! Queueing messages for connections, one or many.

use std::sync::Arc;

use throng_transport::{ChunkPool, Slice, SocketKey};

use super::connections::Connections;
use super::core::{Core, Farewell};
use super::dirty::Due;
use super::frames::{Dispatch, Frames, Outgoing};
use super::outbox::{Lane, Pushed};
use crate::event::Cause;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::{OpCode, server_header_len, write_server_header};
use crate::protocol::message::Message;
use crate::publish::{opcode, sealed};
use crate::room::{Audience, Position, Target};

/// What became of one publication. `queued`, `conflated`, `dropped` and `evicted` count each
/// connection of the audience once.
///
/// A handler is given at once what is known in its own shard. A whole receipt, which
/// [`publish_then`](crate::Publication::publish_then) and
/// [`publish_with_receipt`](crate::Publication::publish_with_receipt) ask for, has the counts of all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Connections that it was queued for, behind what waits for them.
    pub queued: usize,
    /// Connections for which it took the place of an unsent message of the same key.
    pub conflated: usize,
    /// Connections that will not get it: there was no room for it.
    pub dropped: usize,
    /// Connections given up as slow consumers.
    pub evicted: usize,
    /// Older messages that were dropped to make room for it.
    pub displaced: usize,
    /// Shards it was handed to, whose counts are not in this receipt: others, and the handler's own
    /// where it goes through the fan-out pool ([`Config::fanout_workers`](field@crate::Config::fanout_workers)).
    /// In a whole receipt there are none.
    pub forwarded: usize,
    /// Shards that did not take it: their mailboxes or the fan-out pool were full, or they have
    /// stopped. It is lost there. For a [sequenced](crate::RoomOptions::sequenced) room it is 1 when the
    /// message got no offset, and nobody gets it; so it is for a
    /// [numbered](crate::To::numbered) message when no sequenced room is named.
    pub refused: usize,
    /// Its place in a sequenced room. The room's home gives it: with a handler elsewhere the message
    /// has been handed on to the home, and this is `None`.
    pub position: Option<Position>,
}

impl Core {
    /// Encodes a whole message as one frame.
    #[inline]
    pub(crate) fn encode(&mut self, opcode: OpCode, payload: &[u8]) -> Slice {
        encode_frame(&mut self.chunks, opcode, payload)
    }

    /// The same, beside what else is for many.
    #[inline]
    pub(super) fn encode_publication(&mut self, opcode: OpCode, payload: &[u8]) -> Frames {
        let frame = encode_frame(&mut self.publications, opcode, payload);
        Frames::new(frame, self.shared.is_compressible(payload))
    }

    /// Sends a message to a connection of this shard, if it is open.
    #[inline]
    pub(crate) fn send(
        &mut self,
        key: SocketKey,
        message: Message<'_>,
        lane: Lane,
    ) -> Option<Pushed> {
        self.deliver_run_to(key.slot);
        let (opcode, payload) = (opcode(message), message.as_bytes());
        let fill = |out: &mut [u8]| fill_frame(out, opcode, payload);
        let len = frame_len(payload);
        if self.shared.is_compressible(payload) && self.connections.compresses(key) {
            return self.send_compressed(key, opcode, payload, lane);
        }
        if lane == Lane::Normal && self.connections.write(key, &mut self.chunks, len, fill) {
            return Some(Pushed::Queued);
        }
        let frame = self.encode(opcode, payload);
        self.deliver(key, &Dispatch::plain(frame, lane))
    }

    /// Sends a ping to an open connection.
    pub(crate) fn ping(&mut self, key: SocketKey, payload: &[u8]) {
        if self.connections.open(key).is_some() {
            let frame = self.encode(OpCode::Ping, payload);
            self.connections.push_control(key.slot, &frame);
        }
    }

    /// Answers a ping of an open connection.
    pub(crate) fn pong(&mut self, key: SocketKey, payload: &[u8]) {
        if self.connections.open(key).is_some() {
            let frame = self.encode(OpCode::Pong, payload);
            self.connections.push_pong(key.slot, &frame);
        }
    }

    /// Publishes here and hands on to every other shard that has members, or has the fan-out pool do
    /// both.
    pub(crate) fn publish(&mut self, outgoing: &sealed::Outgoing<'_, '_>) -> Receipt {
        if self.goes_to_fanout(outgoing) {
            return self.publish_to_fanout(outgoing);
        }
        let audience = outgoing.audience;
        let dispatch = Dispatch {
            frames: self.encode_publication(outgoing.opcode, outgoing.payload),
            lane: outgoing.lane,
            key: outgoing.key.map(Arc::from),
        };
        let mut receipt = self.deliver_to(audience, &dispatch);
        if self.shared.mail.len() > 1 {
            self.forward(audience, &dispatch, outgoing.tally, &mut receipt);
        }
        receipt
    }

    /// Queues a message for everybody of the audience in this shard.
    pub(crate) fn deliver_to(&mut self, audience: &Audience<'_>, dispatch: &Dispatch) -> Receipt {
        let receipt = self.queue_for(audience, dispatch);
        self.note_published(&receipt);
        receipt
    }

    fn queue_for(&mut self, audience: &Audience<'_>, dispatch: &Dispatch) -> Receipt {
        if let Some(receipt) = self.pack(audience, dispatch) {
            self.evict_pending();
            return receipt;
        }
        if dispatch.lane == Lane::Normal {
            self.deliver_batches_of(audience);
        }
        if let Some(receipt) = self.gather(audience, dispatch) {
            self.evict_pending();
            return receipt;
        }
        if let Target::Connection(id) = audience.target {
            if id.shard() == self.shard {
                self.deliver_run_to(id.key().slot);
                return Receipt::of(self.deliver(id.key(), dispatch));
            }
            return Receipt::default();
        }
        self.deliver_one_by_one(audience, dispatch, &[])
    }

    /// Queues a message for everybody of the audience here, without making it part of a run, but for those
    /// in the slots `left_out`, which are in order.
    pub(super) fn deliver_one_by_one(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
        left_out: &[u32],
    ) -> Receipt {
        let mut receipt = Receipt::default();
        self.deliver_run();
        let Core {
            rooms,
            users,
            connections,
            compressors,
            shard,
            ..
        } = self;
        let room = rooms.name_in(audience).cloned();
        let members = match &audience.target {
            Target::User(user) => users.members(user),
            _ => rooms.audience(audience),
        };
        let Some(members) = members else {
            return receipt;
        };
        let due = Due::of_audience(members.len());
        if due == Due::InLine {
            connections.dirty.count(1, dispatch.frames.plain.len());
        }
        let mut message = Outgoing::new(dispatch, compressors, due).in_room(room);
        let is_left_out = |slot| !left_out.is_empty() && left_out.binary_search(&slot).is_ok();
        let wanted =
            |slot, generation| !audience.excepts(*shard, slot, generation) && !is_left_out(slot);
        let members = members.iter();
        let evicted = push_to_all(connections, &mut message, members, wanted, &mut receipt);
        self.to_evict.extend(evicted);
        self.evict_pending();
        receipt
    }

    /// Queues a frame for one connection, if it is open.
    pub(super) fn deliver(&mut self, key: SocketKey, dispatch: &Dispatch) -> Option<Pushed> {
        let is_it = |generation| generation == key.generation;
        let mut message = Outgoing::new(dispatch, &mut self.compressors, Due::Now);
        let pushed = self.connections.push(key.slot, &mut message, is_it)?;
        if pushed == Pushed::Overflow {
            self.to_evict.push_back(key.slot);
            self.evict_pending();
        }
        Some(pushed)
    }

    /// Gives up those who have overflowed, unless that is going on further out.
    #[inline]
    pub(super) fn evict_pending(&mut self) {
        if !self.to_evict.is_empty() && !self.defers_evictions {
            self.evict_all();
        }
    }

    #[cold]
    fn evict_all(&mut self) {
        self.defers_evictions = true;
        while let Some(slot) = self.to_evict.pop_front() {
            let farewell = Farewell::Urgent(CloseCode::POLICY, "slow consumer");
            self.part(slot, Cause::SlowConsumer, &farewell);
        }
        self.defers_evictions = false;
    }
}

impl Receipt {
    /// Connections that the message was for.
    pub fn audience(&self) -> usize {
        self.queued + self.conflated + self.dropped + self.evicted
    }

    /// Of a message for one connection, unless that was none.
    #[inline]
    pub(crate) fn of(pushed: Option<Pushed>) -> Receipt {
        let mut receipt = Receipt::default();
        if let Some(pushed) = pushed {
            receipt.count(pushed);
        }
        receipt
    }

    #[inline(always)]
    pub(super) fn count(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Queued => self.queued += 1,
            Pushed::DroppedOldest(count) => {
                self.queued += 1;
                self.displaced += count as usize;
            }
            Pushed::Conflated(count) => {
                self.conflated += 1;
                self.displaced += count as usize;
            }
            Pushed::Refused => self.dropped += 1,
            Pushed::Overflow => self.evicted += 1,
        }
    }
}

/// Queues a message for each open connection in the slots that is `wanted`, given slot and
/// generation. Returns those that are to be evicted.
pub(super) fn push_to_all(
    connections: &mut Connections,
    message: &mut Outgoing<'_>,
    slots: impl Iterator<Item = u32>,
    wanted: impl Fn(u32, u32) -> bool,
    receipt: &mut Receipt,
) -> Vec<u32> {
    let mut evicted = Vec::new();
    for slot in slots {
        let pushed = connections.push(slot, message, |generation| wanted(slot, generation));
        let Some(pushed) = pushed else {
            continue;
        };
        receipt.count(pushed);
        if pushed == Pushed::Overflow {
            evicted.push(slot);
        }
    }
    evicted
}

/// Writes header and payload of a whole, unmasked frame into a chunk.
#[inline]
fn encode_frame(chunks: &mut ChunkPool, opcode: OpCode, payload: &[u8]) -> Slice {
    chunks.write(frame_len(payload), |out| fill_frame(out, opcode, payload))
}

/// The same in memory of its own, for threads without a chunk pool.
pub(crate) fn encode_detached(opcode: OpCode, payload: &[u8]) -> Slice {
    Slice::with_len(frame_len(payload), |out| fill_frame(out, opcode, payload))
}

#[inline]
fn frame_len(payload: &[u8]) -> usize {
    server_header_len(payload.len()) + payload.len()
}

#[inline]
fn fill_frame(out: &mut [u8], opcode: OpCode, payload: &[u8]) {
    let header = write_server_header(out, opcode, payload.len());
    out[header..].copy_from_slice(payload);
}
