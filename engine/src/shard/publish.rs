//! Queueing messages for connections, one or many.
//!
//! What a turn publishes to one room goes to all its members in one pass: frames gather in a
//! [`RoomRun`], and each member is handed the whole run. The run is handed out before anything
//! else touches an outbox or a membership, so nobody can tell.

use std::sync::Arc;

use throng_transport::{ChunkPool, Slice, SocketKey};

use super::core::{Core, Farewell};
use super::frames::{Dispatch, Frames, Outgoing};
use super::outbox::{Lane, Pushed};
use crate::event::Cause;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::{OpCode, server_header_len, write_server_header};
use crate::protocol::message::Message;
use crate::publish::{opcode, sealed};
use crate::room::{Audience, RoomIndex, Target};

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
    /// stopped. It is lost there.
    pub refused: usize,
}

/// Frames published to a room, one behind the other, on their way to all its members here.
#[derive(Debug)]
pub(crate) struct RoomRun {
    room: RoomIndex,
    frames: Slice,
    messages: u32,
}

impl Core {
    /// Encodes a whole message as one frame.
    #[inline]
    pub(crate) fn encode(&mut self, opcode: OpCode, payload: &[u8]) -> Slice {
        encode_frame(&mut self.chunks, opcode, payload)
    }

    /// Sends a message to a connection of this shard.
    #[inline]
    pub(crate) fn send(&mut self, key: SocketKey, message: Message<'_>, lane: Lane) -> Receipt {
        self.deliver_run();
        let (opcode, payload) = (opcode(message), message.as_bytes());
        let fill = |out: &mut [u8]| fill_frame(out, opcode, payload);
        let len = frame_len(payload);
        let mut receipt = Receipt::default();
        if self.shared.is_compressible(payload) && self.connections.compresses(key) {
            return self.send_compressed(key, opcode, payload, lane);
        }
        if lane == Lane::Normal && self.connections.write(key, &mut self.chunks, len, fill) {
            receipt.queued = 1;
            return receipt;
        }
        let frame = self.encode(opcode, payload);
        self.deliver(key, &Dispatch::plain(frame, lane), &mut receipt);
        receipt
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
        let (audience, payload) = (outgoing.audience, outgoing.payload);
        let frame = self.encode(outgoing.opcode, payload);
        let dispatch = Dispatch {
            frames: Frames::new(frame, self.shared.is_compressible(payload)),
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
        let mut receipt = Receipt::default();
        let is_same_for_all = dispatch.is_plain() || self.connections.compressing() == 0;
        if is_same_for_all && let Some(room) = self.room_for_run(audience, dispatch.lane) {
            receipt.queued = self.rooms.members_of(room);
            self.add_to_run(room, &dispatch.frames.plain);
            return receipt;
        }
        self.deliver_run();
        if let Target::Connection(id) = audience.target {
            if id.shard() == self.shard {
                self.deliver(id.key(), dispatch, &mut receipt);
            }
            return receipt;
        }
        let mut evicted = Vec::new();
        let Core {
            rooms,
            connections,
            compressors,
            shard,
            ..
        } = self;
        let mut message = Outgoing::new(dispatch, compressors);
        for slot in rooms.audience(audience).into_iter().flatten() {
            let wanted = |generation| !audience.excepts(*shard, slot, generation);
            let Some(pushed) = connections.push(slot, &mut message, wanted) else {
                continue;
            };
            receipt.count(pushed);
            if pushed == Pushed::Overflow {
                evicted.push(slot);
            }
        }
        evicted.into_iter().for_each(|slot| self.evict(slot));
        receipt
    }

    /// Queues a frame for one connection, if it is open.
    pub(super) fn deliver(&mut self, key: SocketKey, dispatch: &Dispatch, receipt: &mut Receipt) {
        let is_it = |generation| generation == key.generation;
        let mut message = Outgoing::new(dispatch, &mut self.compressors);
        let Some(pushed) = self.connections.push(key.slot, &mut message, is_it) else {
            return;
        };
        receipt.count(pushed);
        if pushed == Pushed::Overflow {
            self.evict(key.slot);
        }
    }

    /// Gives a slow consumer up.
    #[cold]
    fn evict(&mut self, slot: u32) {
        let farewell = Farewell::Urgent(CloseCode::POLICY, "slow consumer");
        self.part(slot, Cause::SlowConsumer, &farewell);
    }

    /// The room that is the whole audience, if what is published to it may gather in a run: when
    /// every member is open and none is behind, so that each will take whatever it is sent.
    fn room_for_run(&self, audience: &Audience<'_>, lane: Lane) -> Option<RoomIndex> {
        let everybody_takes = self.unsettled == 0 && self.connections.behind() == 0;
        let is_plain = lane == Lane::Normal && audience.except.is_empty();
        if everybody_takes && is_plain {
            self.rooms.only_room(audience)
        } else {
            None
        }
    }

    fn add_to_run(&mut self, room: RoomIndex, frame: &Slice) {
        if let Some(run) = self.run.as_mut().filter(|run| run.room == room)
            && run.frames.try_extend(frame)
        {
            run.messages += 1;
            return;
        }
        self.deliver_run();
        self.run = Some(RoomRun {
            room,
            frames: frame.clone(),
            messages: 1,
        });
    }

    /// Queues what was published to a room for its members.
    #[inline]
    pub(super) fn deliver_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.hand_out(&run);
        }
    }

    /// Messages and bytes that wait to be sent to a connection.
    pub(crate) fn queued(&self, key: SocketKey) -> (usize, usize) {
        let connection = &self.connections[key.slot];
        let mut queued = (
            connection.outbox.messages() as usize,
            connection.outbox.bytes() as usize,
        );
        if let Some(run) = &self.run
            && connection.rooms.contains(&run.room)
        {
            queued.0 += run.messages as usize;
            queued.1 += run.frames.len();
        }
        queued
    }

    #[cold]
    fn hand_out(&mut self, run: &RoomRun) {
        let Core {
            rooms, connections, ..
        } = self;
        for slot in rooms.members_at(run.room).into_iter().flatten() {
            connections.push_run(slot, &run.frames, run.messages);
        }
    }
}

impl Receipt {
    /// Connections that the message was for.
    pub fn audience(&self) -> usize {
        self.queued + self.conflated + self.dropped + self.evicted
    }

    #[inline]
    fn count(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Queued => self.queued += 1,
            Pushed::DroppedOldest(count) => {
                self.queued += 1;
                self.displaced += count as usize;
            }
            Pushed::Refused => self.dropped += 1,
            Pushed::Overflow => self.evicted += 1,
        }
    }
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
