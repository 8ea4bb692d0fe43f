//! What lies between a shard and the future that has a connection as a socket.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use throng_transport::memory::Charge;

use super::{Ended, SendError};
use crate::conn::Conn;
use crate::event::Cause;
use crate::limits::{LINK_BYTES, LINK_MESSAGES};
use crate::owned::OwnedMessage;
use crate::protocol::close::CloseCode;
use crate::shard::{Foreign, guard};

/// What the future has done with the connection in hand.
type Call = Box<dyn FnOnce(&mut Conn<'_, ()>) + Send>;

/// Something that the future wants done on the shard.
pub(crate) enum Op {
    Send(OwnedMessage),
    Call(Call),
    Close(CloseCode, String),
}

/// Messages both ways, each in order and bounded.
pub(crate) struct Link {
    ends: Mutex<Ends>,
    /// Bytes of a message that the future may send: one that a peer that is behind has room for.
    max_message: usize,
}

#[derive(Default)]
struct Ends {
    /// Received and not taken.
    incoming: VecDeque<OwnedMessage>,
    incoming_bytes: usize,
    /// To be done by the shard.
    outgoing: VecDeque<Op>,
    outgoing_bytes: usize,
    charge: Charge,
    receiver: Option<Waker>,
    sender: Option<Waker>,
    /// Has the shard look here.
    shard: Option<Waker>,
    /// The shard looks here anyway, when the future has been polled.
    is_polled: bool,
    /// The shard reads nothing more until there is room.
    is_paused: bool,
    has_hung_up: bool,
    ended: Option<Cause>,
}

impl Ends {
    fn has_room_in(&self) -> bool {
        self.incoming.len() < LINK_MESSAGES && self.incoming_bytes < LINK_BYTES
    }

    /// There is so much room again that reading on is worth it.
    fn has_half_in(&self) -> bool {
        self.incoming.len() <= LINK_MESSAGES / 2 && self.incoming_bytes <= LINK_BYTES / 2
    }

    fn has_room_out(&self) -> bool {
        self.outgoing.len() < LINK_MESSAGES && self.outgoing_bytes < LINK_BYTES
    }

    fn count(&mut self) {
        self.charge.set(self.incoming_bytes + self.outgoing_bytes);
    }

    /// What wakes the shard, unless it looks anyway.
    fn shard(&self) -> Option<Waker> {
        self.shard.clone().filter(|_| !self.is_polled)
    }
}

/// The future's side.
impl Link {
    /// # Errors
    /// Where the message is larger than any that may wait for a peer.
    pub(super) fn check(&self, message: &OwnedMessage) -> Result<(), SendError> {
        let (bytes, max) = (message.as_message().len(), self.max_message);
        if bytes > max {
            return Err(SendError::TooLarge { bytes, max });
        }
        Ok(())
    }

    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<OwnedMessage>> {
        let mut ends = self.lock();
        let Some(message) = ends.incoming.pop_front() else {
            if ends.ended.is_some() {
                return Poll::Ready(None);
            }
            let former = ends.receiver.replace(cx.waker().clone());
            // Not while anything is locked: what it holds may have the socket.
            drop(ends);
            drop(former);
            return Poll::Pending;
        };
        ends.incoming_bytes -= message.as_message().len();
        ends.count();
        let shard = ends
            .shard()
            .filter(|_| ends.is_paused && ends.has_half_in());
        drop(ends);
        shard.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(message))
    }

    /// Takes what is in `op`, once there is room.
    pub(super) fn poll_submit(
        &self,
        cx: &mut Context<'_>,
        op: &mut Option<Op>,
    ) -> Poll<Result<(), Ended>> {
        let mut ends = self.lock();
        if ends.ended.is_some() || ends.has_hung_up {
            return Poll::Ready(Err(Ended));
        }
        if !ends.has_room_out() {
            let former = ends.sender.replace(cx.waker().clone());
            drop(ends);
            drop(former);
            return Poll::Pending;
        }
        if let Some(op) = op.take() {
            ends.outgoing_bytes += op.bytes();
            ends.outgoing.push_back(op);
            ends.count();
        }
        let shard = ends.shard();
        drop(ends);
        shard.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    /// Nobody receives any more.
    pub(crate) fn hang_up(&self) {
        let mut ends = self.lock();
        ends.has_hung_up = true;
        let shard = ends.shard();
        drop(ends);
        shard.into_iter().for_each(Waker::wake);
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.lock().ended.clone()
    }

    /// The future is about to be polled on its shard, with that waker.
    pub(super) fn begin_poll(&self, waker: &Waker) {
        let mut ends = self.lock();
        ends.is_polled = true;
        if !ends
            .shard
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            ends.shard = Some(waker.clone());
        }
    }

    pub(super) fn end_poll(&self) {
        self.lock().is_polled = false;
    }
}

/// The shard's side.
impl Link {
    /// A link that has no message in it, nor takes one from the future that is larger than that.
    pub(crate) fn new(max_message: usize) -> Link {
        Link {
            ends: Mutex::default(),
            max_message,
        }
    }

    /// Keeps a message for the future; returns whether there is room for more.
    pub(crate) fn push(&self, message: OwnedMessage) -> bool {
        let mut ends = self.lock();
        if ends.has_hung_up {
            return true;
        }
        ends.incoming_bytes += message.as_message().len();
        ends.incoming.push_back(message);
        ends.count();
        ends.is_paused = !ends.has_room_in();
        let (has_room, receiver) = (!ends.is_paused, ends.receiver.take());
        drop(ends);
        receiver.into_iter().for_each(Waker::wake);
        has_room
    }

    /// Whether reading was stopped and should go on.
    pub(crate) fn resume(&self) -> bool {
        let mut ends = self.lock();
        let resumes = ends.is_paused && (ends.has_half_in() || ends.has_hung_up);
        ends.is_paused &= !resumes;
        resumes
    }

    /// The next thing to do for the future, unless it is a message of more bytes than there is room for, and
    /// what wakes who waits for its place.
    pub(crate) fn next_op(&self, room: usize) -> Option<(Op, Foreign<Waker>)> {
        let mut ends = self.lock();
        let op = ends.outgoing.pop_front_if(|op| op.bytes() <= room)?;
        ends.outgoing_bytes -= op.bytes();
        ends.count();
        let sender = ends.sender.take();
        Some((op, sender.map(Foreign::new).unwrap_or_default()))
    }

    /// Bytes that have arrived and that the future has not taken, and bytes that are to be sent.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let ends = self.lock();
        (ends.incoming_bytes, ends.outgoing_bytes)
    }

    /// Drops what has arrived and was not taken.
    pub(crate) fn forget_received(&self) {
        let mut ends = self.lock();
        ends.incoming.clear();
        ends.incoming_bytes = 0;
        ends.count();
    }

    /// Whether there is something to do.
    pub(crate) fn has_ops(&self) -> bool {
        !self.lock().outgoing.is_empty()
    }

    /// Whether the future has dropped its socket and nothing of it is left to be done.
    pub(crate) fn is_abandoned(&self) -> bool {
        let ends = self.lock();
        ends.has_hung_up && ends.outgoing.is_empty()
    }

    /// The connection has ended.
    pub(crate) fn end(&self, cause: Cause) {
        let mut ends = self.lock();
        ends.ended = Some(cause);
        ends.outgoing_bytes = 0;
        let undone = std::mem::take(&mut ends.outgoing);
        ends.count();
        let wakers = [ends.receiver.take(), ends.sender.take()];
        drop(ends);
        for waker in wakers.into_iter().flatten() {
            if guard(|| waker.wake()).is_none() {
                tracing::error!("a waker panicked");
            }
        }
        // Each by itself: where two of them panicked at once, the process would end.
        undone.into_iter().map(Foreign::new).for_each(drop);
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Op::Send(message) => message.as_message().len(),
            Op::Call(_) | Op::Close(..) => 0,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
