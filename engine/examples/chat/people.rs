//! Who is here under which name, and in which rooms: what the page's lists are made of.
//!
//! One lock for all shards is fine here. It is taken when somebody comes, goes, changes rooms or
//! writes to one person; what is said in a room goes through the engine alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use throng::ConnectionId;

use crate::protocol::Refusal;

/// The people of the chat.
#[derive(Debug, Default)]
pub(crate) struct People(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    connections: BTreeMap<String, ConnectionId>,
    rooms: BTreeMap<String, BTreeSet<String>>,
}

impl People {
    /// Takes a name for a connection.
    pub(crate) fn enter(&self, name: &str, id: ConnectionId) -> Result<(), Refusal> {
        let mut lists = self.lists();
        if lists.connections.contains_key(name) {
            return Err(Refusal::new(
                "name_taken",
                format!("there is another {name} here"),
            ));
        }
        lists.connections.insert(name.to_owned(), id);
        Ok(())
    }

    /// Gives the name back, once it is in no room any more.
    pub(crate) fn exit(&self, name: &str) {
        self.lists().connections.remove(name);
    }

    pub(crate) fn join(&self, name: &str, room: &str) {
        self.lists()
            .rooms
            .entry(room.to_owned())
            .or_default()
            .insert(name.to_owned());
    }

    pub(crate) fn leave(&self, name: &str, room: &str) {
        let mut lists = self.lists();
        if let Some(names) = lists.rooms.get_mut(room) {
            names.remove(name);
            if names.is_empty() {
                lists.rooms.remove(room);
            }
        }
    }

    /// The names in a room, in order.
    pub(crate) fn members(&self, room: &str) -> Vec<String> {
        self.lists()
            .rooms
            .get(room)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(crate) fn find(&self, name: &str) -> Result<ConnectionId, Refusal> {
        let id = self.lists().connections.get(name).copied();
        id.ok_or_else(|| Refusal::new("nobody", format!("there is no {name} here")))
    }

    // The lists are whole between any two statements, whoever panicked.
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
