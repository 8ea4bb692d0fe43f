//! Publishing from any thread.

use std::sync::Arc;

use super::EngineHandle;
use crate::error::PublishError;
use crate::fanout::{self, Later, Unmade};
use crate::publish::sealed;
use crate::shard::{Content, Dispatch, TallyShare};

/// Publishes from any thread.
#[derive(Clone, Copy, Debug)]
pub struct FromOutside<'e>(pub(super) &'e EngineHandle);

impl sealed::Publish for FromOutside<'_> {
    type Outcome = Result<(), PublishError>;

    fn publish(self, outgoing: &sealed::Outgoing<'_, '_>) -> Result<(), PublishError> {
        let frames = self.0.encode(outgoing.opcode, outgoing.payload);
        if let Some(room) = self.0.0.sequenced(outgoing.audience, None) {
            let content = Content::Frames(frames);
            return self
                .0
                .submit(&room, outgoing.audience, content, outgoing.tally);
        }
        let dispatch = Dispatch {
            frames,
            lane: outgoing.lane,
            key: outgoing.key.map(Arc::from),
        };
        let shared = &self.0.0;
        let is_heavy = shared.is_heavy(outgoing.payload);
        shared.publish(outgoing.audience, &dispatch, is_heavy, outgoing.tally)
    }

    fn publish_numbered(self, numbered: sealed::Numbered<'_, '_>) -> Result<(), PublishError> {
        let sealed::Numbered {
            audience,
            make,
            tally,
        } = numbered;
        let room = self.0.0.sequenced(audience, None);
        let room = room.ok_or(PublishError::NotSequenced)?;
        self.0.submit(&room, audience, Content::Make(make), tally)
    }

    fn publish_later(
        self,
        outgoing: &sealed::Outgoing<'_, '_>,
        later: Later,
    ) -> Result<(), PublishError> {
        if self.0.0.sequenced(outgoing.audience, None).is_some() {
            return match later.make() {
                Ok(text) => self.publish(&sealed::Outgoing {
                    payload: &text,
                    ..*outgoing
                }),
                Err(error) => {
                    fanout::fail(error, outgoing.tally);
                    Ok(())
                }
            };
        }
        self.0.0.publish_later(Unmade {
            audience: self.0.0.travelling(outgoing.audience),
            later,
            lane: outgoing.lane,
            key: outgoing.key.map(Arc::from),
            tally: outgoing.tally.cloned(),
            origin: None,
        })
    }

    fn unix_time(&self) -> u64 {
        self.0.unix_time()
    }

    fn settle(outcome: &Result<(), PublishError>, tally: TallyShare) {
        settle(*outcome, tally);
    }
}

/// Ends the share of a thread outside. Shards that refused the message have ended theirs.
pub(super) fn settle(outcome: Result<(), PublishError>, tally: TallyShare) {
    match outcome {
        Ok(()) | Err(PublishError::MailboxFull { .. }) => {}
        Err(error) => tally.fail(error.into()),
    }
    tally.end();
}
