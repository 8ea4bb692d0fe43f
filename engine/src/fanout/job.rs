//! What goes through the pool: made by a worker, then handed to the shards.

use std::sync::Arc;

use crossbeam_channel::Sender;
use serde::Serialize;

use crate::error::ReceiptError;
use crate::protocol::frame::OpCode;
use crate::room::SharedAudience;
use crate::shard::{
    Compressors, Dispatch, Foreign, Frames, Lane, Mail, TallyShare, encode_detached,
};
use crate::shared::Shared;

/// What a worker has to do before a parcel is ready.
#[derive(Debug)]
pub(crate) enum Job {
    /// Nothing.
    Ready(Parcel),
    /// Compress it.
    Compress(Parcel),
    /// Make it.
    Serialise(Unmade),
}

/// A job and its place in line.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) ticket: u64,
    pub(super) job: Job,
}

/// What is handed to the shards.
#[derive(Debug)]
pub(crate) enum Parcel {
    Publication {
        audience: SharedAudience,
        dispatch: Dispatch,
        tally: Option<TallyShare>,
        /// The shard that published it, and counts it until it is told.
        origin: Option<u8>,
    },
    /// For one shard.
    Mail { shard: u8, mail: Mail },
    /// Nothing: its making failed.
    Failed { origin: Option<u8> },
    /// Dropped when it is reached, so that whoever waits for that is told.
    Barrier(Sender<()>),
}

/// A publication whose message is yet to be made.
#[derive(Debug)]
pub(crate) struct Unmade {
    pub(crate) audience: SharedAudience,
    pub(crate) later: Later,
    pub(crate) lane: Lane,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) tally: Option<TallyShare>,
    pub(crate) origin: Option<u8>,
}

/// A value that becomes a text of JSON where there is time for it.
#[derive(Debug)]
pub struct Later(Foreign<MakeJson>);

type MakeJson = Box<dyn FnOnce() -> serde_json::Result<Vec<u8>> + Send>;

impl Later {
    pub(crate) fn json(value: impl Serialize + Send + 'static) -> Later {
        Later(Foreign::new(Box::new(move || serde_json::to_vec(&value))))
    }

    /// The text; a panic of the value's is an error.
    pub(crate) fn make(self) -> Result<Vec<u8>, ReceiptError> {
        Ok(self.0.call(|make| make()).ok_or(ReceiptError::Panicked)??)
    }
}

/// A message could not be made: says so to whoever asked for a receipt, otherwise to the log.
pub(crate) fn fail(error: ReceiptError, tally: Option<&TallyShare>) {
    match tally {
        Some(tally) => tally.fail(error),
        None => tracing::warn!(%error, "a message was not published"),
    }
}

impl Job {
    /// Does the work.
    pub(super) fn make(self, compressors: &mut Compressors, shared: &Shared) -> Parcel {
        let parcel = match self {
            Job::Ready(parcel) => return parcel,
            Job::Compress(parcel) => parcel,
            Job::Serialise(unmade) => unmade.make(shared),
        };
        if let Parcel::Publication { dispatch, .. } = &parcel {
            for encoding in shared.windows.in_use() {
                dispatch.frames.prepare(encoding, compressors);
            }
        }
        parcel
    }
}

impl Unmade {
    /// Serialises it.
    pub(crate) fn make(self, shared: &Shared) -> Parcel {
        let text = match self.later.make() {
            Ok(text) => text,
            Err(error) => {
                fail(error, self.tally.as_ref());
                self.tally.into_iter().for_each(TallyShare::end);
                return Parcel::Failed {
                    origin: self.origin,
                };
            }
        };
        let frame = encode_detached(OpCode::Text, &text);
        Parcel::Publication {
            audience: self.audience,
            dispatch: Dispatch {
                frames: Frames::new(frame, shared.is_compressible(&text)),
                lane: self.lane,
                key: self.key,
            },
            tally: self.tally,
            origin: self.origin,
        }
    }
}

impl Parcel {
    /// Hands it to the shards, waiting where a mailbox is full. A shard that has stopped has nobody left.
    pub(super) fn hand_out(self, shared: &Shared) {
        let post = |shard: u8, mail| {
            if let Some(mailbox) = shared.mail.get(usize::from(shard)) {
                let _ = mailbox.post_blocking(mail);
            }
        };
        let origin = match self {
            Parcel::Mail { shard, mail } => return post(shard, mail),
            Parcel::Barrier(waiting) => return drop(waiting),
            Parcel::Failed { origin } => origin,
            Parcel::Publication {
                audience,
                dispatch,
                tally,
                origin,
            } => {
                for shard in shared.shards_for(&audience) {
                    let mail = Mail::Publish {
                        audience: audience.clone(),
                        dispatch: dispatch.clone(),
                        tally: tally.clone(),
                    };
                    post(shard, mail);
                }
                tally.into_iter().for_each(TallyShare::end);
                origin
            }
        };
        // Behind all copies: what that shard publishes from now on overtakes none of them.
        if let Some(shard) = origin {
            post(shard, Mail::FannedOut);
        }
    }
}
