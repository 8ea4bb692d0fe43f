//! Handing publications on to other shards.

use std::collections::VecDeque;

use super::core::Core;
use super::frames::Dispatch;
use super::mailbox::{Mail, MailSender, PostError};
use super::publish::Receipt;
use crate::limits::MAX_BACKLOG;
use crate::room::{Audience, SharedAudience};

/// What waits for other shards whose mailboxes are full, in order.
///
/// A shard never blocks on another one (two might block on each other). While something waits
/// for a shard, what follows queues behind it, so a sender's order is kept.
#[derive(Debug)]
pub(crate) struct Forwarding {
    backlogs: Vec<VecDeque<Mail>>,
}

impl Forwarding {
    pub(crate) fn new(shards: usize) -> Forwarding {
        Forwarding {
            backlogs: (0..shards).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Whether [`Forwarding::post`] to that shard cannot find it full.
    pub(super) fn has_room(&self, to: usize) -> bool {
        self.backlogs[to].len() < MAX_BACKLOG
    }

    /// Hands `mail` on now or later. It is full when the backlog is full too.
    pub(super) fn post(
        &mut self,
        to: usize,
        sender: &MailSender,
        mail: Mail,
    ) -> Result<(), PostError> {
        let backlog = &mut self.backlogs[to];
        let mail = if backlog.is_empty() {
            match sender.try_post(mail) {
                Err(PostError::Full(mail)) => mail,
                outcome => return outcome,
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
}

impl Core {
    /// Hands a message on to every other shard that has members of the audience.
    pub(crate) fn forward(
        &mut self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
        receipt: &mut Receipt,
    ) {
        let mut shared: Option<SharedAudience> = None;
        let mut shards = self.shared.shards_of(audience, Some(&self.rooms));
        shards.remove(self.shard);
        for shard in shards {
            let audience = shared
                .get_or_insert_with(|| audience.to_shared(self.rooms.room_of(audience)))
                .clone();
            let to = usize::from(shard);
            let mail = Mail::Publish {
                audience,
                dispatch: dispatch.clone(),
            };
            match self.forwarding.post(to, &self.shared.mail[to], mail) {
                Ok(()) => receipt.forwarded += 1,
                Err(PostError::Full(_)) => receipt.refused += 1,
                // It has nobody left.
                Err(PostError::Stopped) => {}
            }
        }
    }
}
