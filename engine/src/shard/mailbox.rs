//! How other threads, other shards among them, reach a shard.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use throng_transport::{Peer, Slice, Socket, SocketKey, Waker};

use super::drain::ShardDrained;
use super::outbox::Lane;
use crate::id::ConnectionId;
use crate::protocol::close::CloseCode;
use crate::room::SharedAudience;

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Deliver a frame to the audience's members in this shard.
    Publish {
        audience: SharedAudience,
        frame: Slice,
        lane: Lane,
    },
    /// Close a connection on the application's behalf.
    Close {
        key: SocketKey,
        code: CloseCode,
        reason: String,
    },
    /// Serve a connection that another shard accepted.
    Adopt { socket: Socket, peer: Peer },
    /// Say who is in a room.
    Members {
        room: Arc<str>,
        answer: Sender<Vec<ConnectionId>>,
    },
    /// Close all connections over a time and stop.
    Drain {
        code: CloseCode,
        window: Duration,
        answer: Sender<ShardDrained>,
    },
}

/// Why mail was not taken.
#[derive(Debug)]
pub(crate) enum PostError {
    /// The mailbox is full; here is the mail.
    Full(Mail),
    /// The shard has stopped.
    Stopped,
}

/// The sending side of a shard's mailbox.
#[derive(Clone, Debug)]
pub(crate) struct MailSender {
    queue: Sender<Mail>,
    waker: Waker,
}

impl MailSender {
    /// Puts `mail` into the mailbox and wakes the shard.
    pub(crate) fn try_post(&self, mail: Mail) -> Result<(), PostError> {
        match self.queue.try_send(mail) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(mail)) => return Err(PostError::Full(mail)),
            Err(TrySendError::Disconnected(_)) => return Err(PostError::Stopped),
        }
        Ok(())
    }

    /// The same, waiting while the mailbox is full; for threads that may block.
    pub(crate) fn post_blocking(&self, mail: Mail) -> Result<(), PostError> {
        match self.try_post(mail) {
            Err(PostError::Full(mail)) => {
                self.queue.send(mail).map_err(|_| PostError::Stopped)?;
                self.waker.wake();
                Ok(())
            }
            posted => posted,
        }
    }

    /// Wakes the shard.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// A mailbox of that capacity for the shard that `waker` wakes.
pub(crate) fn mailbox(capacity: usize, waker: Waker) -> (MailSender, Receiver<Mail>) {
    let (queue, receiver) = bounded(capacity);
    (MailSender { queue, waker }, receiver)
}
