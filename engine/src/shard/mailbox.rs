//! How other threads, other shards among them, reach a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use throng_transport::{Peer, Socket, SocketKey, Waker};

use super::drain::ShardDrained;
use super::frames::Dispatch;
#[cfg(feature = "http")]
use super::mount::Mounted;
use super::presence::PresenceNotice;
#[cfg(feature = "admin")]
use super::refer::Referred;
use super::sequence::{Numbered, Unnumbered};
use super::tally::TallyShare;
use super::wire::Trace;
use crate::id::ConnectionId;
use crate::inspect::Inspection;
use crate::protocol::close::CloseCode;
use crate::room::SharedAudience;

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Deliver a message to the audience's members in this shard.
    Publish {
        audience: SharedAudience,
        dispatch: Dispatch,
        tally: Option<TallyShare>,
    },
    /// Give a message its place in a sequenced room, of which this shard is the home.
    Unnumbered(Box<Unnumbered>),
    /// Deliver a message that has its place.
    Numbered(Box<Numbered>),
    /// Tell members of a room who comes and goes.
    Presence(Box<PresenceNotice>),
    /// Take note that something this shard published through the fan-out pool has left it.
    FannedOut,
    /// Close a connection on the application's behalf.
    Close {
        key: SocketKey,
        code: CloseCode,
        reason: String,
    },
    /// Set how much of a connection is logged.
    Trace { key: SocketKey, trace: Trace },
    /// Serve a connection that another shard accepted.
    Adopt { socket: Socket, peer: Peer },
    /// Close all connections of a user on the application's behalf.
    CloseUser {
        user: Arc<str>,
        code: CloseCode,
        reason: Arc<str>,
    },
    /// Serve a connection that came to another engine.
    #[cfg(feature = "admin")]
    Refer(Box<Referred>),
    /// Serve a connection that another server has upgraded.
    #[cfg(feature = "http")]
    Mount(Box<Mounted>),
    /// Say who is in a group.
    Members {
        group: Group,
        answer: Sender<Vec<ConnectionId>>,
    },
    /// Say which rooms a connection is in.
    RoomsOf {
        key: SocketKey,
        answer: Sender<Vec<Arc<str>>>,
    },
    /// Say what is known of connections.
    Inspect(Box<Inspection>),
    /// Close all connections over a time and stop.
    Drain {
        code: CloseCode,
        window: Duration,
        answer: Sender<ShardDrained>,
    },
}

/// Connections that have something in common.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    /// The members of a room.
    Room(Arc<str>),
    /// Those of a user.
    User(Arc<str>),
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
    /// The queue's other end too, to discard what nobody will take.
    rest: Receiver<Mail>,
    closed: Arc<AtomicBool>,
    waker: Waker,
}

impl MailSender {
    /// Puts `mail` into the mailbox and wakes the shard.
    pub(crate) fn try_post(&self, mail: Mail) -> Result<(), PostError> {
        self.try_put(mail)?;
        self.wake();
        Ok(())
    }

    /// Puts `mail` into the mailbox of a shard that the caller will wake.
    pub(super) fn try_put(&self, mail: Mail) -> Result<(), PostError> {
        match self.queue.try_send(mail) {
            Ok(()) => self.check_open(),
            Err(TrySendError::Full(mail)) => Err(PostError::Full(mail)),
            Err(TrySendError::Disconnected(_)) => Err(PostError::Stopped),
        }
    }

    /// Puts `mail` into the mailbox, waiting while it is full, and wakes the shard; for threads that
    /// may block.
    pub(crate) fn post_blocking(&self, mail: Mail) -> Result<(), PostError> {
        self.queue.send(mail).map_err(|_| PostError::Stopped)?;
        self.check_open()?;
        self.wake();
        Ok(())
    }

    /// Follows every post: the shard will find it, or has stopped.
    fn check_open(&self) -> Result<(), PostError> {
        // Either the mailbox, closing, finds what was posted, or this finds it closed.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            discard(&self.rest);
            return Err(PostError::Stopped);
        }
        Ok(())
    }

    /// What wakes the shard.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether the shard has stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether there is no room for more.
    #[cfg(feature = "admin")]
    pub(crate) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Wakes the shard.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// The receiving side. Once it is dropped nothing stays in the mailbox, whoever still holds a
/// sender: sockets are closed, and those who wait for an answer learn that none will come.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Receiver<Mail>,
    closed: Arc<AtomicBool>,
}

impl Mailbox {
    /// The next entry, if there is one.
    pub(crate) fn take(&self) -> Option<Mail> {
        self.queue.try_recv().ok()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        discard(&self.queue);
    }
}

fn discard(queue: &Receiver<Mail>) {
    while queue.try_recv().is_ok() {}
}

/// A mailbox of that capacity for the shard that `waker` wakes.
pub(crate) fn mailbox(capacity: usize, waker: Waker) -> (MailSender, Mailbox) {
    let (sender, receiver) = bounded(capacity);
    let closed = Arc::new(AtomicBool::new(false));
    let mailbox = Mailbox {
        queue: receiver.clone(),
        closed: Arc::clone(&closed),
    };
    let sender = MailSender {
        queue: sender,
        rest: receiver,
        closed,
        waker,
    };
    (sender, mailbox)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn members(answer: &Sender<Vec<ConnectionId>>) -> Mail {
        Mail::Members {
            group: Group::Room(Arc::from("tea")),
            answer: answer.clone(),
        }
    }

    #[test]
    fn nothing_stays_in_a_mailbox_that_is_closed() {
        for _ in 0..1000 {
            let (sender, mailbox) = mailbox(2, Waker::new(|| true));
            let (answer, answers) = bounded(4);
            let posting = thread::spawn(move || {
                let outcomes = [(); 4].map(|()| sender.post_blocking(members(&answer)).is_ok());
                // The sender outlives the mailbox; nobody's answer may stay with it.
                (sender, outcomes)
            });
            drop(mailbox);
            assert!(answers.recv().is_err(), "whoever waits is told");
            let (sender, outcomes) = posting.join().unwrap();
            assert!(outcomes.is_sorted_by(|a, b| a >= b), "{outcomes:?}");
            let (answer, answers) = bounded(1);
            assert!(matches!(
                sender.try_post(members(&answer)),
                Err(PostError::Stopped)
            ));
            drop(answer);
            assert!(answers.recv().is_err());
        }
    }
}
