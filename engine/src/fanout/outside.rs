//! What threads outside hand to the shards: at once, or through the pool.

use super::{Fanout, Job, Parcel, Refusal, Unmade};
use crate::error::PublishError;
use crate::room::Audience;
use crate::shard::{Dispatch, Mail, PostError, TallyShare};
use crate::shared::{ShardSet, Shared};

impl Shared {
    /// Hands a message to the shards of its audience. Never blocks.
    pub(crate) fn publish(
        &self,
        audience: &Audience<'_>,
        dispatch: &Dispatch,
        is_heavy: bool,
        tally: Option<&TallyShare>,
    ) -> Result<(), PublishError> {
        if let Some(fanout) = self.pool_for(is_heavy) {
            let parcel = Parcel::Publication {
                audience: self.travelling(audience),
                dispatch: dispatch.clone(),
                tally: tally.cloned(),
                origin: None,
            };
            let job = if is_heavy { Job::Compress } else { Job::Ready };
            return self.offer(fanout, job(parcel));
        }
        let audience = self.travelling(audience);
        self.try_post_to(self.shards_for(&audience), || Mail::Publish {
            audience: audience.clone(),
            dispatch: dispatch.clone(),
            tally: tally.cloned(),
        })
    }

    /// The same with a message that is made in the pool, where there is one.
    pub(crate) fn publish_later(&self, unmade: Unmade) -> Result<(), PublishError> {
        match self.pool_for(true) {
            Some(fanout) => self.offer(fanout, Job::Serialise(unmade)),
            None => unmade.make(self).try_hand_out(self),
        }
    }

    /// Posts to one shard. Never blocks.
    pub(crate) fn post(&self, shard: u8, mail: Mail) -> Result<(), PublishError> {
        let parcel = Parcel::Mail { shard, mail };
        match self.pool_for(false) {
            Some(fanout) => self.offer(fanout, Job::Ready(parcel)),
            None => parcel.try_hand_out(self),
        }
    }

    /// The pool, where something has to go through it.
    fn pool_for(&self, is_heavy: bool) -> Option<&Fanout> {
        let fanout = self.fanout.as_ref();
        fanout.filter(|fanout| is_heavy || !fanout.is_idle())
    }

    fn offer(&self, fanout: &Fanout, job: Job) -> Result<(), PublishError> {
        if self.is_stopping() {
            return Err(PublishError::Stopped);
        }
        match fanout.offer(job) {
            Ok(()) => Ok(()),
            Err((Job::Ready(parcel), Refusal::Idle)) => parcel.try_hand_out(self),
            Err((Job::Serialise(unmade), Refusal::Busy)) => {
                self.offer(fanout, Job::Ready(unmade.make(self)))
            }
            Err((_, Refusal::Closed)) => Err(PublishError::Stopped),
            Err(_) => Err(PublishError::FanoutFull),
        }
    }

    /// Posts to each of the shards that has room.
    fn try_post_to(
        &self,
        shards: ShardSet,
        mut mail: impl FnMut() -> Mail,
    ) -> Result<(), PublishError> {
        let (mut addressed, mut refused, mut stopped) = (0, 0, 0);
        for shard in shards {
            addressed += 1;
            match self.mail[usize::from(shard)].try_post(mail()) {
                Ok(()) => {}
                Err(PostError::Full(_)) => refused += 1,
                // It has nobody left.
                Err(PostError::Stopped) => stopped += 1,
            }
        }
        match refused {
            0 if stopped == addressed && (stopped > 0 || self.is_stopping()) => {
                Err(PublishError::Stopped)
            }
            0 => Ok(()),
            _ => Err(PublishError::MailboxFull { refused, addressed }),
        }
    }
}

impl Parcel {
    /// Hands it to the shards that have room.
    fn try_hand_out(self, shared: &Shared) -> Result<(), PublishError> {
        match self {
            Parcel::Publication {
                audience,
                dispatch,
                tally,
                ..
            } => {
                let shards = shared.shards_for(&audience);
                let outcome = shared.try_post_to(shards, || Mail::Publish {
                    audience: audience.clone(),
                    dispatch: dispatch.clone(),
                    tally: tally.clone(),
                });
                tally.into_iter().for_each(TallyShare::end);
                outcome
            }
            Parcel::Mail { shard, mail } => {
                let Some(mailbox) = shared.mail.get(usize::from(shard)) else {
                    return Ok(());
                };
                mailbox.try_post(mail).map_err(|error| match error {
                    PostError::Full(_) => PublishError::MailboxFull {
                        refused: 1,
                        addressed: 1,
                    },
                    PostError::Stopped => PublishError::Stopped,
                })
            }
            Parcel::Failed { .. } | Parcel::Barrier(_) => Ok(()),
        }
    }
}
