//! Handing heavy publications to the fan-out pool, and what follows them.

use std::sync::Arc;

use super::core::Core;
use super::frames::Dispatch;
use super::publish::Receipt;
use crate::fanout::{self, Job, Later, Parcel, Unmade};
use crate::limits::MAX_BACKLOG;
use crate::protocol::frame::OpCode;
use crate::publish::sealed::Outgoing;
use crate::room::{SharedAudience, Target};

impl Core {
    /// Whether a publication goes through the pool: it is heavy, or follows one that does.
    ///
    /// What goes to one connection never does, and nothing begins to while mail waits for another shard,
    /// which it would overtake.
    #[inline]
    pub(super) fn goes_to_fanout(&self, outgoing: &Outgoing<'_, '_>) -> bool {
        let is_direct = matches!(outgoing.audience.target, Target::Connection(_));
        if self.shared.fanout.is_none() || is_direct {
            return false;
        }
        self.in_fanout > 0 || (self.shared.is_heavy(outgoing.payload) && self.forwarding.is_empty())
    }

    /// Publishes through the pool.
    #[cold]
    pub(super) fn publish_to_fanout(&mut self, outgoing: &Outgoing<'_, '_>) -> Receipt {
        let frames = self.encode_publication(outgoing.opcode, outgoing.payload);
        let is_heavy = self.shared.is_heavy(outgoing.payload);
        let parcel = Parcel::Publication {
            audience: self.travelling(outgoing),
            dispatch: Dispatch {
                frames,
                lane: outgoing.lane,
                key: outgoing.key.map(Arc::from),
            },
            tally: outgoing.tally.cloned(),
            origin: Some(self.shard),
        };
        let job = if is_heavy { Job::Compress } else { Job::Ready };
        self.push_to_fanout(job(parcel), outgoing)
    }

    /// Publishes what `later` makes: in the pool, where there is one.
    pub(crate) fn publish_later(&mut self, outgoing: &Outgoing<'_, '_>, later: Later) -> Receipt {
        let is_room = !matches!(outgoing.audience.target, Target::Connection(_));
        let is_free = self.in_fanout > 0 || self.forwarding.is_empty();
        if self.shared.fanout.is_some() && is_room && is_free {
            let unmade = Unmade {
                audience: self.travelling(outgoing),
                later,
                lane: outgoing.lane,
                key: outgoing.key.map(Arc::from),
                tally: outgoing.tally.cloned(),
                origin: Some(self.shard),
            };
            return self.push_to_fanout(Job::Serialise(unmade), outgoing);
        }
        match later.make() {
            Ok(text) => self.publish(&Outgoing {
                opcode: OpCode::Text,
                payload: &text,
                ..*outgoing
            }),
            Err(error) => {
                fanout::fail(error, outgoing.tally);
                Receipt::default()
            }
        }
    }

    /// Something this shard published has been handed to every shard.
    pub(super) fn handle_fanned_out(&mut self) {
        self.in_fanout -= 1;
    }

    fn travelling(&self, outgoing: &Outgoing<'_, '_>) -> SharedAudience {
        let audience = outgoing.audience;
        match self.rooms.room_of(audience) {
            Some(room) => audience.to_shared(Some(room)),
            None => self.shared.travelling(audience),
        }
    }

    fn push_to_fanout(&mut self, job: Job, outgoing: &Outgoing<'_, '_>) -> Receipt {
        let shards = self
            .shared
            .shards_of(outgoing.audience, Some(&self.rooms))
            .count();
        let mut receipt = Receipt::default();
        if self.in_fanout < MAX_BACKLOG && self.try_push(job) {
            self.in_fanout += 1;
            receipt.forwarded = shards;
        } else {
            receipt.refused = shards.max(1);
            // One is counted by what was to go through the pool.
            (1..receipt.refused).for_each(|_| drop(outgoing.tally.cloned()));
        }
        receipt
    }

    fn try_push(&self, job: Job) -> bool {
        let Some(fanout) = &self.shared.fanout else {
            return false;
        };
        match fanout.push(job) {
            Ok(()) => true,
            // The workers have enough to do.
            Err((Job::Serialise(unmade), fanout::Refusal::Busy)) => {
                let parcel = unmade.make(&self.shared);
                fanout.push(Job::Ready(parcel)).is_ok()
            }
            Err(_) => false,
        }
    }
}
