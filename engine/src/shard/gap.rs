//! What a connection has missed, and telling it.
//!
//! Messages are lost only while the peer is behind. When a send is done, it is reading again: before the
//! flush of that turn it is told what it has missed, by what [`Handler::gap_notice`] makes of each gap.

use std::sync::Arc;

use throng_transport::SocketKey;

use super::core::Core;
use super::outbox::Notice;
use super::{Shard, guard};
use crate::conn::Conn;
use crate::gap::Gap;
use crate::handler::Handler;
use crate::limits::{MAX_GAP_ROOM_NAME, MAX_GAP_ROOMS};
use crate::owned::OwnedMessage;
use crate::publish::opcode;

/// Messages lost to one connection, by room; those lost to no single room, or to one too many, are
/// one sum more.
#[derive(Debug, Default)]
pub(crate) struct Missed(Vec<(Option<Arc<str>>, u64)>);

impl Missed {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts messages lost to a room.
    pub(super) fn add(&mut self, room: Option<&Arc<str>>, count: u64) {
        let mut room = room.filter(|name| name.len() <= MAX_GAP_ROOM_NAME);
        let is_known = self.0.iter().any(|(known, _)| known.as_ref() == room);
        let named = self.0.iter().filter(|(known, _)| known.is_some());
        if !is_known && named.count() >= MAX_GAP_ROOMS {
            room = None;
        }
        match self.0.iter_mut().find(|(known, _)| known.as_ref() == room) {
            Some((_, missed)) => *missed += count,
            None => self.0.push((room.cloned(), count)),
        }
    }
}

impl IntoIterator for Missed {
    type Item = (Option<Arc<str>>, u64);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    /// Each room with what was lost to it, in the order of the first losses.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<H: Handler> Shard<H> {
    /// Settles what the turn has ended, and tells connections whose sends were completed in it what they
    /// have missed: as often as one makes work for the other.
    pub(super) fn settle_and_tell(&mut self) {
        self.settle();
        while self.tell_gaps() {
            self.settle();
        }
        if self.serve_links() {
            self.settle();
        }
        self.core.to_tell.clear();
    }

    /// Returns whether there was anything to tell.
    #[inline]
    fn tell_gaps(&mut self) -> bool {
        let mut has_told = false;
        for place in 0..self.core.to_tell.len() {
            let key = self.core.to_tell[place];
            if let Some(missed) = self.core.connections.take_missed(key) {
                self.core.note_slow(key, missed.total(), false);
                self.tell(key, missed);
                has_told = true;
            }
        }
        has_told
    }

    #[cold]
    fn tell(&mut self, key: SocketKey, missed: Missed) {
        for (room, missed) in missed {
            // A panic has ended it, or it was ending: nothing follows its close frame.
            if self.core.connections.open(key).is_none() {
                return;
            }
            let gap = Gap {
                room: room.as_deref(),
                missed,
                timestamp: self.core.unix_time(),
            };
            if let Some(message) = self.notice(key, &gap) {
                self.core.push_notice(key.slot, &message, room, missed);
            }
        }
    }

    /// What the handler makes of a gap. A panic ends the connection.
    fn notice(&mut self, key: SocketKey, gap: &Gap<'_>) -> Option<OwnedMessage> {
        let state = self.states.get_mut(key.slot as usize)?.as_mut()?;
        let conn = Conn::new(&mut self.core, key, state);
        let handler = &*self.handler;
        let made = guard(|| handler.gap_notice(&conn, gap));
        if made.is_none() {
            self.handle_panic(key);
        }
        made.flatten()
    }
}

impl Core {
    fn push_notice(
        &mut self,
        slot: u32,
        message: &OwnedMessage,
        room: Option<Arc<str>>,
        missed: u64,
    ) {
        let message = message.as_message();
        let frame = self.encode(opcode(message), message.as_bytes());
        let notice = Notice {
            frame,
            room,
            missed,
        };
        self.connections.push_notice(slot, notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rooms_are_named_and_nothing_is_lost_uncounted() {
        let mut missed = Missed::default();
        let long: Arc<str> = "x".repeat(MAX_GAP_ROOM_NAME + 1).into();
        missed.add(None, 1);
        missed.add(Some(&long), 2);
        for _ in 0..2 {
            for room in 0..MAX_GAP_ROOMS + 3 {
                missed.add(Some(&room.to_string().into()), 10);
            }
        }
        let told: Vec<_> = missed.into_iter().collect();
        assert_eq!(told.len(), MAX_GAP_ROOMS + 1);
        assert_eq!(
            told[0],
            (None, 3 + 2 * 3 * 10),
            "in no room, too long, too many"
        );
        for (room, (name, count)) in told[1..].iter().enumerate() {
            assert_eq!((name.as_deref(), *count), (Some(&*room.to_string()), 20));
        }
    }
}
