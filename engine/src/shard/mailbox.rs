//! How other threads, other shards among them, reach a shard.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use thiserror::Error;
use throng_transport::{Peer, Slice, Socket, SocketKey, Waker};

use super::drain::ShardDrained;
use super::outbox::Lane;
use crate::protocol::close::CloseCode;
use crate::room::SharedAudience;

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Deliver a frame to the audience's members in this shard.
    Publish { audience: SharedAudience, frame: Slice, lane: Lane },
    /// Close a connection on the application's behalf.
    Close { key: SocketKey, code: CloseCode, reason: String },
    /// Serve a connection that another shard accepted.
    Adopt { socket: Socket, peer: Peer },
    /// Say who is in a room.
    Members { room: Arc<str>, answer: Sender<Vec<crate::ConnectionId>> },
    /// Close all connections over a time and stop.
    Drain { code: CloseCode, window: Duration, answer: Sender<ShardDrained> },
    /// Cut all connections and stop.
    Stop,
}

/// A shard could not take more: its mailbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the shard's mailbox is full (mailbox_capacity)")]
pub struct MailboxFull;

/// The sending side of a shard's mailbox.
#[derive(Clone, Debug)]
pub(crate) struct MailSender {
    queue: Sender<Mail>,
    waker: Waker,
}

impl MailSender {
    /// Puts `mail` into the mailbox and wakes the shard; returns the mail when that is full.
    /// Mail for a shard that has stopped is dropped.
    pub(crate) fn try_post(&self, mail: Mail) -> Result<(), Mail> {
        match self.queue.try_send(mail) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(mail)) => return Err(mail),
            Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(())
    }

    /// Puts `mail` into the mailbox, waiting for room; for threads that may block.
    pub(crate) fn post_blocking(&self, mail: Mail) {
        if let Err(mail) = self.try_post(mail) {
            let _ = self.queue.send(mail);
            self.waker.wake();
        }
    }
}

/// A mailbox of that capacity for the shard that `waker` wakes.
pub(crate) fn mailbox(capacity: usize, waker: Waker) -> (MailSender, Receiver<Mail>) {
    let (queue, receiver) = bounded(capacity);
    (MailSender { queue, waker }, receiver)
}
