//! Saying what is known of connections, to who asks from outside.

use std::cmp::Reverse;
use std::sync::Arc;

use throng_transport::SocketKey;

use super::connection::Connection;
use super::core::Core;
use super::mailbox::Group;
use crate::id::ConnectionId;
use crate::inspect::{ConnectionInfo, Inspection, Waiting, Wanted};
use crate::room::RoomSet;

/// Connections that are behind and looked at, to find those that most waits for.
const LOOKED_AT: usize = 4096;

impl Core {
    /// Who is in a group, of this shard's connections.
    pub(super) fn members_of(&self, group: &Group) -> Vec<ConnectionId> {
        let slots = match group {
            Group::Room(room) => self.rooms.members(room),
            Group::User(user) => self.users.members(user),
        };
        let slots = slots.into_iter().flatten();
        let keys = slots.filter_map(|slot| self.connections.key(slot));
        keys.map(|key| self.id(key)).collect()
    }

    /// The names of the rooms that a connection is in; none when it is gone.
    pub(super) fn rooms_of(&self, key: SocketKey) -> Vec<Arc<str>> {
        let rooms = self.connections.peek(key).map(|it| &it.rooms);
        let indices = rooms.into_iter().flat_map(RoomSet::iter);
        let names = indices.filter_map(|index| self.rooms.name_of(index).cloned());
        names.collect()
    }

    /// Answers what somebody asks who looks after the service.
    #[cold]
    pub(super) fn inspect(&self, inspection: &Inspection) {
        let Inspection {
            wanted,
            limit,
            answer,
        } = inspection;
        let found = match wanted {
            Wanted::One(id) => self.info(id.key()).into_iter().collect(),
            Wanted::From(slot) => {
                let keys = self.connections.keys_from(*slot);
                keys.filter_map(|key| self.info(key)).take(*limit).collect()
            }
            Wanted::Behind => self.slowest(*limit),
        };
        // Whoever asked may have stopped waiting.
        let _ = answer.try_send(found);
    }

    fn slowest(&self, limit: usize) -> Vec<ConnectionInfo> {
        let behind = self.connections.behind().iter().take(LOOKED_AT);
        let keys = behind.filter_map(|slot| self.connections.key(slot));
        let mut by_waiting: Vec<_> = keys.map(|key| (self.waiting_for(key), key)).collect();
        by_waiting.sort_unstable_by_key(|&(waiting, _)| Reverse(waiting));
        let keys = by_waiting.into_iter().map(|(_, key)| key);
        keys.filter_map(|key| self.info(key)).take(limit).collect()
    }

    fn waiting_for(&self, key: SocketKey) -> Waiting {
        let (messages, bytes) = self.queued(key);
        Waiting { bytes, messages }
    }

    /// What is known of a connection that is open.
    fn info(&self, key: SocketKey) -> Option<ConnectionInfo> {
        let connection = self.connections.peek(key).filter(|it| it.is_open())?;
        let user_id = connection.particulars.as_ref();
        let user_id = user_id.and_then(|it| it.user_id.as_deref());
        Some(ConnectionInfo {
            id: self.id(key),
            peer: connection.peer(),
            client: connection.client_addr(),
            user_id: user_id.map(str::to_owned),
            subprotocol: self.subprotocol(connection).map(str::to_owned),
            open_for: self.tick.since(connection.since.opened),
            idle_for: self.tick.since(connection.active),
            rooms: connection.rooms.len(),
            counts: Connection::counts(connection),
            waiting: self.waiting_for(key),
            is_behind: connection.outbox.is_behind(),
        })
    }
}
