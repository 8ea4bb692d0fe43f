//! Joining a sequenced room with what was missed of it: all of that, in order, before anything new.
//!
//! Why there is no hole and nothing twice. The home gives a message its offset, and keeps it, under the
//! lock of the room's history, and looks there for the shards in the midst of a term. Who joins is a
//! member first, so that its shard's term is on, and then reads the history under that lock, up to the
//! last offset given, H. Of any message, one of the two comes first:
//!
//! - The home had the lock first: the message is at most H, and is read, if it was missed. Its copy for this
//!   shard may still be on its way: the shard leaves the newcomer out of what it delivers up to H. Copies
//!   come in order, so the first one from H on is the last that anybody is left out of.
//! - The newcomer had it first: the message is behind H, and finds the shard's term on. It is delivered
//!   as to any member, behind what was read and queued before.
//!
//! On the home itself nothing is on its way: what has its offset has been delivered.

use throng_transport::SocketKey;

use super::core::Core;
use super::dirty::Due;
use super::frames::{Dispatch, Frames, Outgoing};
use super::outbox::{Lane, Pushed};
use crate::room::{JoinError, Kept, Position, Recovery, RoomIndex, Wanted};

impl Core {
    /// Makes an open connection a member of a room, which it is not yet, and queues what it wants of what
    /// came before.
    pub(crate) fn join_and_recover(
        &mut self,
        key: SocketKey,
        name: &str,
        wanted: Wanted,
    ) -> Result<Recovery, JoinError> {
        let entered = self.enter(key, name)?;
        let index = entered.ok_or(JoinError::AlreadyMember)?;
        let room = self.rooms.at(index);
        let Some(sequence) = room.and_then(|room| room.sequence()).cloned() else {
            return Ok(Recovery {
                recovered: false,
                position: Position {
                    epoch: 0,
                    offset: 0,
                },
                messages: 0,
            });
        };
        let (position, recalled) = sequence.recall(wanted, self.now);
        if sequence.home() != self.shard {
            self.rooms.leave_out(index, key.slot, position.offset);
        }
        let me = self.id(key);
        let is_there = recalled.is_some();
        let mut messages = recalled.unwrap_or_default();
        // What is not queued has been looked up all the same.
        self.recalled += messages.iter().map(Kept::cost).sum::<usize>();
        messages.retain(|kept| !kept.except.contains(&me));
        let recovered = is_there && self.has_room_for(key, &messages);
        if !recovered {
            messages.clear();
        }
        let recovery = Recovery {
            recovered,
            position,
            messages: messages.len(),
        };
        self.queue_recalled(key, index, messages);
        Ok(recovery)
    }

    /// Whether messages can be queued for a connection without anything being dropped. One that keeps up
    /// takes any.
    fn has_room_for(&self, key: SocketKey, messages: &[Kept]) -> bool {
        let (outbox, limits) = (&self.connections[key.slot].outbox, &self.connections.limits);
        let bytes: usize = messages.iter().map(|kept| kept.frame.len()).sum();
        !outbox.is_behind()
            || outbox.messages() as usize + messages.len() <= limits.messages as usize
                && outbox.bytes() as usize + bytes <= limits.bytes as usize
    }

    fn queue_recalled(&mut self, key: SocketKey, index: RoomIndex, messages: Vec<Kept>) {
        self.deliver_run_to(key.slot);
        let room = self.rooms.name_of(index).cloned();
        for kept in messages {
            let dispatch = Dispatch {
                frames: Frames::new(kept.frame, kept.is_compressible),
                lane: Lane::Normal,
                key: None,
            };
            let message = Outgoing::new(&dispatch, &mut self.compressors, Due::Now);
            let mut message = message.in_room(room.clone());
            let is_it = |generation| generation == key.generation;
            let pushed = self.connections.push(key.slot, &mut message, is_it);
            debug_assert_eq!(pushed, Some(Pushed::Queued));
        }
    }
}
