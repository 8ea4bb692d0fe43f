//! Parts of the engine for its benches and its fuzz targets. Nothing here is stable.

mod fleet;
mod solo;

use std::sync::Arc;

use throng_transport::{ChunkPool, SendQueue, Slice};

use crate::config::Overflow;
use crate::room::{Audience, Circle, Directory, LocalRooms, RoomLimits, RoomSet};
pub use crate::shard::Lane;
use crate::shard::outbox::{Label, LaneStock, Outbox, OutboxLimits};
pub use fleet::Fleet;
pub use solo::Solo;

/// An outbox with what it needs.
#[derive(Debug)]
pub struct OutboxBench {
    outbox: Outbox,
    stock: LaneStock,
    limits: OutboxLimits,
    queue: SendQueue,
    chunks: ChunkPool,
}

impl Default for OutboxBench {
    fn default() -> Self {
        let limits = OutboxLimits {
            messages: 256,
            bytes: 1 << 20,
            overflow: Overflow::DropOldest,
        };
        OutboxBench {
            outbox: Outbox::default(),
            stock: LaneStock::default(),
            limits,
            queue: SendQueue::new(),
            chunks: ChunkPool::new(),
        }
    }
}

impl OutboxBench {
    /// A frame in the current chunk.
    pub fn frame(&mut self, payload: &[u8]) -> Slice {
        let len = u8::try_from(payload.len()).unwrap_or(125);
        self.chunks.write(payload.len() + 2, |out| {
            out[..2].copy_from_slice(&[0x82, len]);
            out[2..].copy_from_slice(payload);
        })
    }

    /// Queues a frame.
    pub fn push(&mut self, frame: &Slice, lane: Lane) {
        let label = Label::default();
        let _ = self
            .outbox
            .push(frame, &label, lane, &self.limits, &mut self.stock);
    }

    /// Takes a batch, which stays in flight until [`OutboxBench::sent`].
    pub fn batch(&mut self) -> usize {
        let _ = self.outbox.next_batch(&mut self.queue, &mut self.stock);
        let bytes = self.queue.bytes();
        self.queue.clear();
        bytes
    }

    /// What was in flight is sent; a new turn begins.
    pub fn sent(&mut self) {
        self.outbox.sent();
        self.outbox.caught_up();
        self.chunks.rewind();
    }
}

/// The rooms of a shard.
#[derive(Debug)]
pub struct RoomsBench(LocalRooms);

impl Default for RoomsBench {
    fn default() -> Self {
        RoomsBench(LocalRooms::new(
            0,
            Arc::new(Directory::new(RoomLimits::NONE)),
        ))
    }
}

impl RoomsBench {
    /// Makes a slot a member; returns the room's place.
    pub fn join(&mut self, room: &str, slot: u32) -> Option<u32> {
        self.0.join(room, slot).ok().flatten()
    }

    /// Ends a membership.
    pub fn leave(&mut self, room: u32, slot: u32) {
        self.0.leave(room, slot);
    }

    /// The sum of the slots in the rooms less those in `except`.
    pub fn walk(&mut self, rooms: &[&str], except: Option<&str>) -> u64 {
        let mut audience = Audience::room(rooms[0]);
        if let crate::room::Target::Rooms(names) = &mut audience.target {
            names.extend(rooms[1..].iter().map(|name| (*name).into()));
        }
        audience.except_rooms.extend(except.map(Into::into));
        let mut sum = 0;
        // A loop, as where messages are queued: there is more to do for each than an iterator's
        // adapters can hide.
        for slot in self.0.audience(&audience).into_iter().flatten() {
            sum += u64::from(slot);
        }
        sum
    }

    /// The sum of the slots in a room, handed over one by one.
    pub fn walk_room(&self, room: u32) -> u64 {
        let mut sum = 0;
        self.0
            .iter(Circle::Room(room))
            .for_each(|slot| sum += u64::from(slot));
        sum
    }
}

/// The memberships of a shard: its rooms, and each connection's list of its own.
#[derive(Debug)]
pub struct MembershipsBench {
    rooms: RoomsBench,
    connections: Vec<RoomSet>,
}

impl MembershipsBench {
    /// For so many connections, in slots from 0.
    pub fn new(connections: usize) -> MembershipsBench {
        MembershipsBench {
            rooms: RoomsBench::default(),
            connections: (0..connections).map(|_| RoomSet::default()).collect(),
        }
    }

    /// Makes the connection in a slot a member.
    pub fn join(&mut self, room: &str, slot: u32) {
        if let Some(index) = self.rooms.join(room, slot) {
            self.connections[slot as usize].insert(index);
        }
    }

    /// Ends a membership.
    pub fn leave(&mut self, room: &str, slot: u32) {
        if let Some(index) = self.rooms.0.index_of(room)
            && self.connections[slot as usize].remove(index)
        {
            self.rooms.leave(index, slot);
        }
    }

    /// Ends all memberships of a connection.
    pub fn leave_all(&mut self, slot: u32) {
        for index in std::mem::take(&mut self.connections[slot as usize]).iter() {
            self.rooms.leave(index, slot);
        }
    }

    /// The rooms.
    pub fn rooms(&mut self) -> &mut RoomsBench {
        &mut self.rooms
    }
}
