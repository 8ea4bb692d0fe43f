//! The room of those peers that bring none: a channel for each connection, as in the examples of
//! tokio-tungstenite.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Everybody who is to receive a message. Clones are the same room.
///
/// The channels have no bound, as those of the examples have none: what is in flight bounds them.
#[derive(Debug)]
pub(crate) struct Room<M> {
    members: Arc<Mutex<Slab<UnboundedSender<M>>>>,
}

impl<M: Clone> Room<M> {
    /// Adds a member, until the membership is dropped, and returns what it is to be sent.
    pub(crate) fn join(&self) -> (Membership<M>, UnboundedReceiver<M>) {
        let (outbox, inbox) = unbounded_channel();
        let key = self.members().insert(outbox);
        let room = self.clone();
        (Membership { room, key }, inbox)
    }

    fn members(&self) -> MutexGuard<'_, Slab<UnboundedSender<M>>> {
        // Nothing that may panic is done under the lock.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Clone for Room<M> {
    fn clone(&self) -> Self {
        Self {
            members: Arc::clone(&self.members),
        }
    }
}

impl<M> Default for Room<M> {
    fn default() -> Self {
        Self {
            members: Arc::default(),
        }
    }
}

/// A place in a room.
#[derive(Debug)]
pub(crate) struct Membership<M: Clone> {
    room: Room<M>,
    key: usize,
}

impl<M: Clone> Membership<M> {
    /// Hands the message to every member.
    pub(crate) fn publish(&self, message: &M) {
        for (_, member) in self.room.members().iter() {
            // Who is gone will leave the room when its task is dropped.
            let _ = member.send(message.clone());
        }
    }
}

impl<M: Clone> Drop for Membership<M> {
    fn drop(&mut self) {
        self.room.members().try_remove(self.key);
    }
}
