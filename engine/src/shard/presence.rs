//! Telling a room's members who comes and goes.
//!
//! Whoever joins or leaves changes the room's [`Presence`](crate::room::Presence), on whichever shard; the
//! room's home is asked to tell of it ([`errands`](super::errands)), and publishes what has changed since it did
//! so last. Since one shard tells, all members are told in the same order; since it tells once a turn, a
//! storm is few messages.

use std::sync::Arc;

use throng_transport::SocketKey;

use super::core::Core;
use super::errands::Errand;
use super::mailbox::Mail;
use super::{Shard, guard};
use crate::handler::Handler;
use crate::limits::PRESENCE_NOTICES_PER_TURN;
use crate::room::{
    Audience, Changes, Presence, RoomIndex, SharedAudience, SharedRoom, Target, home_of,
};
use crate::room_events::PresenceChange;
use crate::shared::ShardSet;

impl Core {
    /// The connection in the slot has joined a room.
    #[inline]
    pub(super) fn note_entry(&self, index: RoomIndex, slot: u32) {
        self.note(index, slot, Presence::enter);
    }

    /// The connection in the slot is about to leave a room.
    #[inline]
    pub(super) fn note_exit(&self, index: RoomIndex, slot: u32) {
        self.note(index, slot, Presence::exit);
    }

    #[inline]
    fn note(&self, index: RoomIndex, slot: u32, change: fn(&Presence, Option<&str>) -> bool) {
        if let Some(room) = self.rooms.at(index)
            && let Some(presence) = room.presence()
        {
            let particulars = self.connections[slot].particulars.as_ref();
            let user = particulars.and_then(|particulars| particulars.user_id.as_deref());
            // Once the engine drains everybody leaves, and nobody is told.
            if change(presence, user) && !self.shared.is_draining() {
                let home = home_of(&room.name, self.shared.mail.len());
                self.shared
                    .send_on(home, Errand::TellPresence(Arc::clone(room)));
            }
        }
    }

    /// To be called before a connection's user changes: in its rooms that user has a device less.
    pub(super) fn before_user_changes(&self, key: SocketKey) {
        for index in self.connections[key.slot].rooms.iter() {
            self.note_exit(index, key.slot);
        }
    }

    /// To be called when a connection's user has changed: in its rooms that user has a device more.
    pub(super) fn after_user_changed(&self, key: SocketKey) {
        for index in self.connections[key.slot].rooms.iter() {
            self.note_entry(index, key.slot);
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Tells a room's members what has changed. Where other shards have no room for it, and where it
    /// is too much for one turn, the rest waits.
    pub(super) fn tell_presence(&mut self, room: Arc<SharedRoom>) {
        let Some(presence) = room.presence() else {
            return;
        };
        for _ in 0..PRESENCE_NOTICES_PER_TURN {
            if self.core.shared.is_draining() {
                return;
            }
            let mut shards: ShardSet = room.shards().collect();
            shards.remove(self.core.shard);
            let has_room = |shard| self.core.forwarding.has_room(usize::from(shard));
            if !{ shards }.all(has_room) {
                return self.errands.put_off(Errand::TellPresence(room));
            }
            let Some(changes) = presence.take_changes() else {
                return;
            };
            self.publish_changes(&room, &changes, shards);
        }
        let home = self.core.shard;
        self.core.shared.send_on(home, Errand::TellPresence(room));
    }

    fn publish_changes(&mut self, room: &Arc<SharedRoom>, changes: &Changes, others: ShardSet) {
        let joined: Vec<&str> = changes.joined.iter().map(|name| &**name).collect();
        let left: Vec<&str> = changes.left.iter().map(|name| &**name).collect();
        let change = PresenceChange {
            room: &room.name,
            joined: &joined,
            left: &left,
            timestamp: self.core.unix_time(),
        };
        let message = guard(|| self.handler.presence_notice(&change));
        if message.is_none() {
            tracing::error!(room = %room.name, "a handler panicked in presence_notice");
        }
        let Some(message) = message.flatten() else {
            return;
        };
        let core = &mut self.core;
        let dispatch = core.notice_for_room(&message);
        for shard in others {
            let mail = Mail::Publish {
                audience: SharedAudience::room(room),
                dispatch: dispatch.clone(),
                tally: None,
            };
            // A shard that has stopped has nobody left; there is room with all others.
            let _ = core.post(shard, mail);
        }
        let members = Audience::new(Target::Here(core.rooms.place_of(room)));
        core.deliver_to(&members, &dispatch);
    }
}
