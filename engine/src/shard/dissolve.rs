//! A room that was deleted: its members here are told, and leave.

use std::sync::Arc;

use super::core::Core;
use super::frames::Dispatch;
use super::outbox::Lane;
use super::{Shard, guard};
use crate::handler::Handler;
use crate::owned::OwnedMessage;
use crate::publish::opcode;
use crate::room::{Audience, Circle, RoomIndex, SharedRoom, Target};
use crate::room_events::RoomDeleted;

impl<H: Handler> Shard<H> {
    /// Tells the members of a room that it was deleted, and has them leave. If there are none, nothing
    /// happens.
    pub(super) fn dissolve(&mut self, room: &Arc<SharedRoom>) {
        let Some(index) = self.core.rooms.place_of(room) else {
            return;
        };
        let deleted = RoomDeleted {
            room: &room.name,
            timestamp: self.core.unix_time(),
        };
        let message = guard(|| self.handler.room_deleted(&deleted));
        if message.is_none() {
            tracing::error!(room = %room.name, "a handler panicked in room_deleted");
        }
        if let Some(message) = message.flatten() {
            let dispatch = self.core.notice_for_room(&message);
            let members = Audience::new(Target::Here(Some(index)));
            self.core.deliver_to(&members, &dispatch);
        }
        self.core.empty(index);
    }
}

impl Core {
    /// What the engine tells the members of a room by itself.
    pub(super) fn notice_for_room(&mut self, message: &OwnedMessage) -> Dispatch {
        let message = message.as_message();
        Dispatch {
            frames: self.encode_publication(opcode(message), message.as_bytes()),
            lane: Lane::Normal,
            key: None,
        }
    }

    /// Ends all memberships of a room.
    fn empty(&mut self, index: RoomIndex) {
        self.deliver_batch(index);
        self.deliver_run();
        let members: Vec<u32> = self.rooms.iter(Circle::Room(index)).collect();
        for slot in members {
            self.connections[slot].rooms.remove(index);
            if let Some(key) = self.connections.key(slot) {
                self.note_leaving(key, index);
            }
        }
        self.rooms.dissolve(index);
    }
}
