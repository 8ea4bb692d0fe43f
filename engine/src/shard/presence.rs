//! Telling a room's members who comes and goes.
//!
//! Whoever joins or leaves changes the room's [`Presence`](crate::room::Presence), on whichever shard; the
//! room's home is asked to tell of it ([`errands`](super::errands)), and publishes what has changed since it did
//! so last. Since one shard tells, all members are told in the same order; since it tells once a turn, a
//! storm is few messages.
//!
//! What is told is numbered, under the lock of the room's presence, and goes to the shards that have members then. A shard whose
//! first member comes later may find it in its mail yet, while what takes it back was not sent there: it passes over what was
//! told before it had members, all of which those know who ask now.

use std::sync::Arc;

use throng_transport::SocketKey;

use super::core::Core;
use super::errands::Errand;
use super::frames::Dispatch;
use super::mailbox::Mail;
use super::{Shard, guard};
use crate::handler::Handler;
use crate::limits::PRESENCE_NOTICES_PER_TURN;
use crate::room::{Audience, Changes, Next, Presence, RoomIndex, SharedRoom, Target, home_of};
use crate::room_events::PresenceChange;
use crate::shared::ShardSet;

/// What members of a room in another shard are told.
#[derive(Debug)]
pub(crate) struct PresenceNotice {
    room: Arc<SharedRoom>,
    number: u64,
    dispatch: Dispatch,
}

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

    /// Tells the members in this shard what the room's home has told of.
    pub(super) fn handle_presence_notice(&mut self, mut notice: PresenceNotice) {
        let place = self.rooms.place_of(&notice.room);
        if place.is_some_and(|index| self.rooms.is_news(index, notice.number)) {
            self.repack(&mut notice.dispatch.frames);
            self.tell_members(place, &notice.dispatch);
        }
    }

    fn tell_members(&mut self, room: Option<RoomIndex>, dispatch: &Dispatch) {
        self.deliver_to(&Audience::new(Target::Here(room)), dispatch);
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
            let next = presence.take_changes(|| {
                let mut others: ShardSet = room.shards().collect();
                others.remove(self.core.shard);
                let has_room = |shard| self.core.forwarding.has_room(usize::from(shard));
                { others }.all(has_room).then_some(others)
            });
            match next {
                Next::Tell(changes, others) => self.publish_changes(&room, &changes, others),
                Next::Nothing => return,
                Next::NotNow => return self.errands.put_off(Errand::TellPresence(room)),
            }
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
            let notice = PresenceNotice {
                room: Arc::clone(room),
                number: changes.number,
                dispatch: dispatch.clone(),
            };
            // A shard that has stopped has nobody left; there is room with all others.
            let _ = core.post(shard, Mail::Presence(Box::new(notice)));
        }
        core.tell_members(core.rooms.place_of(room), &dispatch);
    }
}
