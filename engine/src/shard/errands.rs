//! What rooms ask of shards, beside the mailboxes: it is never lost, however full those are.
//!
//! An errand waits behind what its giver had posted to the shard before, so that a room's last
//! messages reach its members before the room goes. Errands are few: each room asks a shard for each kind
//! of them once at a time, and a deleted one only shards that have members of it. Rooms may come and go faster
//! than that: those of rooms that are gone are passed over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Shard;
use crate::handler::Handler;
use crate::limits::ERRANDS_PER_TURN;
use crate::room::SharedRoom;
use crate::shared::Shared;

/// Something that a room asks of a shard.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// The room, whose home the shard is, was deleted: it gives no more offsets, and asks the shards
    /// with members to dissolve it.
    Close(Arc<SharedRoom>),
    /// The room was deleted: its members are told and leave.
    Dissolve(Arc<SharedRoom>),
    /// The room, whose home the shard is, has changed: its members are told who came and went.
    TellPresence(Arc<SharedRoom>),
}

/// The errands of one shard that it has not taken.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    queue: Mutex<VecDeque<Errand>>,
    is_any: AtomicBool,
}

impl Errand {
    /// Whether it is about a room that nobody can reach any more, which so has nobody to be told anything.
    fn is_moot(&self) -> bool {
        match self {
            Errand::TellPresence(room) => Arc::strong_count(room) == 1,
            Errand::Close(_) | Errand::Dissolve(_) => false,
        }
    }
}

impl Errands {
    fn push(&self, errand: Errand) {
        self.lock().push_back(errand);
        self.is_any.store(true, Ordering::Release);
    }

    /// Takes as many as a turn does.
    fn take(&self) -> Vec<Errand> {
        let mut waiting = std::mem::take(&mut *self.lock());
        let mut taken = Vec::new();
        while taken.len() < ERRANDS_PER_TURN
            && let Some(errand) = waiting.pop_front()
        {
            if !errand.is_moot() {
                taken.push(errand);
            }
        }
        let mut queue = self.lock();
        waiting.append(&mut queue);
        *queue = waiting;
        self.is_any.store(!queue.is_empty(), Ordering::Release);
        taken
    }

    #[inline]
    fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    // The queue is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Errand>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The errands that a shard has taken.
#[derive(Debug, Default)]
pub(super) struct TakenErrands {
    errands: Vec<Errand>,
    /// Mail that was there before them and is to be handled first.
    mail_before: usize,
    /// Those that wait until other shards have taken what is kept for them.
    put_off: VecDeque<Errand>,
    /// How many of these there are when rooms that are gone are looked for among them.
    full: usize,
}

impl TakenErrands {
    /// Has an errand wait until nothing waits for other shards.
    pub(super) fn put_off(&mut self, errand: Errand) {
        if self.put_off.len() >= self.full.max(ERRANDS_PER_TURN) {
            self.put_off.retain(|errand| !errand.is_moot());
            self.full = 2 * self.put_off.len();
        }
        self.put_off.push_back(errand);
    }

    /// One of the mails was handled.
    #[inline]
    pub(super) fn count_mail(&mut self) {
        self.mail_before = self.mail_before.saturating_sub(1);
    }
}

impl Shared {
    /// Gives a shard an errand. One that has stopped has no members of anything.
    pub(crate) fn send_on(&self, shard: u8, errand: Errand) {
        let at = usize::from(shard);
        let (Some(errands), Some(mail)) = (self.errands.get(at), self.mail.get(at)) else {
            return;
        };
        if !mail.is_closed() {
            errands.push(errand);
            mail.wake();
        }
    }

    /// Has every shard with members of a deleted room dissolve it.
    pub(crate) fn dissolve(&self, room: &Arc<SharedRoom>) {
        for shard in room.shards() {
            self.send_on(shard, Errand::Dissolve(Arc::clone(room)));
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Takes errands, before the mail of this turn.
    #[inline]
    pub(super) fn take_errands(&mut self) {
        if self.errands.errands.is_empty() && self.has_errands() {
            let waiting = &self.core.shared.errands[usize::from(self.core.shard)];
            self.errands.errands = waiting.take();
            if self.core.forwarding.is_empty() {
                let TakenErrands {
                    errands, put_off, ..
                } = &mut self.errands;
                let count = put_off.len().min(ERRANDS_PER_TURN);
                errands.extend(put_off.drain(..count));
            }
            self.errands.mail_before = self.mailbox.len();
        }
    }

    /// Does the errands that were taken, if all mail that came before them was handled.
    #[inline]
    pub(super) fn run_errands(&mut self) {
        if !self.errands.errands.is_empty() && self.errands.mail_before == 0 {
            for errand in std::mem::take(&mut self.errands.errands) {
                self.run_errand(errand);
            }
        }
    }

    /// Whether there is an errand to be done.
    #[inline]
    pub(super) fn has_errands(&self) -> bool {
        let waiting = &self.core.shared.errands[usize::from(self.core.shard)];
        let errands = &self.errands;
        let may_go_on = || !errands.put_off.is_empty() && self.core.forwarding.is_empty();
        !errands.errands.is_empty() || waiting.is_any() || may_go_on()
    }

    #[cold]
    fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Close(room) => {
                if let Some(sequence) = room.sequence() {
                    sequence.close();
                }
                self.core.shared.dissolve(&room);
            }
            Errand::Dissolve(room) => self.dissolve(&room),
            Errand::TellPresence(room) => self.tell_presence(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Directory, LocalRooms, RoomLimits};

    /// A client that joins and leaves in a loop makes a new room each time.
    #[test]
    fn rooms_that_are_gone_ask_for_nothing() {
        let directory = Arc::new(Directory::new(RoomLimits::NONE).with_presence(true));
        let mut rooms = LocalRooms::new(0, directory);
        let errands = Errands::default();
        let mut ask = |name: &str, stays: bool| {
            let index = rooms.join(name, 1).unwrap().unwrap();
            let room = Arc::clone(rooms.at(index).unwrap());
            errands.push(Errand::TellPresence(room));
            if !stays {
                rooms.leave(index, 1);
            }
        };
        for number in 0..2 * ERRANDS_PER_TURN {
            ask("comes and goes", false);
            ask(&number.to_string(), true);
        }
        ask("comes and goes", false);
        assert_eq!(errands.take().len(), ERRANDS_PER_TURN);
        assert_eq!(errands.take().len(), ERRANDS_PER_TURN);
        assert!(errands.is_any());
        assert!(errands.take().is_empty() && !errands.is_any());
    }

    #[test]
    fn rooms_that_are_gone_are_not_put_off_for_ever() {
        let mut errands = TakenErrands::default();
        for number in 0..10 * ERRANDS_PER_TURN {
            let directory = Arc::new(Directory::new(RoomLimits::NONE).with_presence(true));
            let mut rooms = LocalRooms::new(0, directory);
            let index = rooms.join("room", 1).unwrap().unwrap();
            let room = Arc::clone(rooms.at(index).unwrap());
            errands.put_off(Errand::TellPresence(room));
            assert!(errands.put_off.len() <= ERRANDS_PER_TURN, "{number}");
        }
    }
}
