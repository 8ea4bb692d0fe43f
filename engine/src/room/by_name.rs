//! Rooms found by their names, which are stored once, in the rooms.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::SharedRoom;

/// A room's name and its hash, computed once for every table that it is looked up in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(super) name: &'a str,
    pub(super) hash: u64,
}

/// How the names of one engine's rooms are hashed: by keys drawn for each, with SipHash, so that nobody
/// outside can choose names that collide.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashing(RandomState);

impl Hashing {
    #[inline]
    pub(super) fn key<'a>(&self, name: &'a str) -> Key<'a> {
        Key {
            name,
            hash: self.0.hash_one(name),
        }
    }
}

/// A set of rooms.
#[derive(Debug, Default)]
pub(super) struct RoomsByName(HashTable<Arc<SharedRoom>>);

impl RoomsByName {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<SharedRoom>> {
        self.0.iter()
    }

    pub(super) fn get(&self, key: Key<'_>) -> Option<&Arc<SharedRoom>> {
        self.0.find(key.hash, |room| room.is_named(key))
    }

    /// Adds a room of whose name there is none.
    pub(super) fn insert(&mut self, room: Arc<SharedRoom>) {
        self.0
            .insert_unique(room.key().hash, room, |room| room.key().hash);
    }

    /// Takes out that very room; returns whether it was there. Another one of its name stays.
    pub(super) fn remove(&mut self, room: &SharedRoom) -> bool {
        let is_it = |known: &Arc<SharedRoom>| std::ptr::eq(&**known, room);
        let found = self.0.find_entry(room.key().hash, is_it);
        found.map(|entry| drop(entry.remove())).is_ok()
    }
}
