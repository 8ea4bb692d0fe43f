//! Handing publications on to other shards.

use std::collections::VecDeque;

use super::core::Core;
use super::frames::Dispatch;
use super::mailbox::{Mail, MailSender, PostError};
use super::publish::Receipt;
use super::tally::TallyShare;
use crate::limits::MAX_BACKLOG;
use crate::room::{Audience, SharedAudience};
use crate::shared::ShardSet;

/// What waits for other shards whose mailboxes are full, in order.
///
/// A shard never blocks on another one (two might block on each other). While something waits
/// for a shard, what follows queues behind it, so a sender's order is kept.
///
/// Shards are woken at the end of the turn, so that all it has for them comes at once: what one
/// turn publishes to a room is one run there too.
#[derive(Debug)]
pub(crate) struct Forwarding {
    backlogs: Vec<VecDeque<Mail>>,
    /// Shards that have mail and are to be woken.
    to_wake: ShardSet,
}

impl Forwarding {
    pub(crate) fn new(shards: usize) -> Forwarding {
        Forwarding {
            backlogs: (0..shards).map(|_| VecDeque::new()).collect(),
            to_wake: ShardSet::default(),
        }
    }

    /// Whether [`Forwarding::post`] to that shard cannot find it full.
    pub(super) fn has_room(&self, to: usize) -> bool {
        self.backlogs[to].len() < MAX_BACKLOG
    }

    /// Whether nothing waits for any shard.
    pub(super) fn is_empty(&self) -> bool {
        self.backlogs.iter().all(VecDeque::is_empty)
    }

    /// Hands `mail` on now or later. It is full when the backlog is full too.
    fn post(&mut self, to: u8, sender: &MailSender, mail: Mail) -> Result<(), PostError> {
        let backlog = &mut self.backlogs[usize::from(to)];
        let mail = if backlog.is_empty() {
            match sender.try_put(mail) {
                Err(PostError::Full(mail)) => mail,
                outcome => {
                    self.to_wake.insert(to);
                    return outcome;
                }
            }
        } else {
            mail
        };
        if backlog.len() >= MAX_BACKLOG {
            return Err(PostError::Full(mail));
        }
        backlog.push_back(mail);
        Ok(())
    }

    /// Hands on what waits; returns whether something still does.
    pub(crate) fn pump(&mut self, senders: &[MailSender]) -> bool {
        let mut waiting = false;
        for (backlog, sender) in self.backlogs.iter_mut().zip(senders) {
            while let Some(mail) = backlog.pop_front() {
                if let Err(PostError::Full(mail)) = sender.try_post(mail) {
                    backlog.push_front(mail);
                    waiting = true;
                    break;
                }
            }
        }
        waiting
    }

    /// Wakes the shards that have been given something.
    #[inline]
    fn wake(&mut self, senders: &[MailSender]) {
        for shard in std::mem::take(&mut self.to_wake) {
            senders[usize::from(shard)].wake();
        }
    }
}

impl Core {
    /// Wakes the shards that this one has handed something to.
    #[inline]
    pub(super) fn wake_receivers(&mut self) {
        self.forwarding.wake(&self.shared.mail);
    }

    /// Hands `mail` to another shard now or later, in order.
    pub(super) fn post(&mut self, to: u8, mail: Mail) -> Result<(), PostError> {
        let sender = &self.shared.mail[usize::from(to)];
        let outcome = self.forwarding.post(to, sender, mail);
        if let Err(error) = &outcome {
            self.note_unposted(error);
        }
        outcome
    }

    /// Hands a message on to every other shard that has members of the audience.
    pub(crate) fn forward(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
        tally: Option<&TallyShare>,
        receipt: &mut Receipt,
    ) {
        let Some((audience, shards)) = self.way_to_others(audience) else {
            return;
        };
        for shard in shards {
            let mail = Mail::Publish {
                audience: audience.clone(),
                dispatch: dispatch.clone(),
                tally: tally.cloned(),
            };
            match self.post(shard, mail) {
                Ok(()) => receipt.forwarded += 1,
                Err(PostError::Full(_) | PostError::Stopped) => receipt.refused += 1,
            }
        }
    }

    /// The other shards that may have somebody of the audience, if there are any, and the audience in a
    /// form that travels to them.
    fn way_to_others(&self, audience: &Audience<'_>) -> Option<(SharedAudience, ShardSet)> {
        let others = |mut shards: ShardSet| {
            shards.remove(self.shard);
            (!shards.is_empty()).then_some(shards)
        };
        if let Some(name) = audience.only_name() {
            let found;
            let room = match self.rooms.shared(name) {
                Some(room) => room,
                None => {
                    found = self.shared.directory.get(name)?;
                    &found
                }
            };
            let shards = others(room.shards().collect())?;
            return Some((audience.to_shared(Some(room)), shards));
        }
        let shards = others(self.shared.shards_of(audience, Some(&self.rooms)))?;
        Some((audience.to_shared(None), shards))
    }
}
