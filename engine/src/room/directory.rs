//! Which rooms exist, and which shards have members of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::by_name::{Hashing, Key, RoomsByName};
use super::shard_bits::ShardBits;
use super::{CreateRoomError, JoinError, RoomInfo, Sequence};
use crate::events::{Bus, Event, EventKinds, Told};

/// Bounds on rooms (FEATURES 4.3); `usize::MAX` where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLimits {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) rooms_of_connection: usize,
}

impl RoomLimits {
    pub(crate) const NONE: RoomLimits = RoomLimits {
        rooms: usize::MAX,
        members: usize::MAX,
        rooms_of_connection: usize::MAX,
    };
}

/// What all shards know of a room.
#[derive(Debug)]
pub(crate) struct SharedRoom {
    pub(crate) name: Arc<str>,
    hash: u64,
    members: AtomicUsize,
    /// The shards that have a slice of the room.
    shards: ShardBits,
    /// Whether it stays without members; changed and looked at under the directory's lock only.
    kept: AtomicBool,
    /// How its messages are numbered, if they are.
    pub(crate) sequence: Option<Arc<Sequence>>,
}

impl SharedRoom {
    fn new(key: Key<'_>, kept: bool, sequence: Option<Sequence>) -> SharedRoom {
        SharedRoom {
            name: key.name.into(),
            hash: key.hash,
            members: AtomicUsize::new(0),
            shards: ShardBits::default(),
            kept: AtomicBool::new(kept),
            sequence: sequence.map(Arc::new),
        }
    }

    /// What the room is found by.
    #[inline]
    pub(super) fn key(&self) -> Key<'_> {
        Key {
            name: &self.name,
            hash: self.hash,
        }
    }

    #[inline]
    pub(super) fn is_named(&self, key: Key<'_>) -> bool {
        self.hash == key.hash && *self.name == *key.name
    }

    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Counts a member in, if the bound allows.
    pub(crate) fn enter(&self, max: usize) -> Result<(), JoinError> {
        self.members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then_some(count + 1)
            })
            .map(drop)
            .map_err(|_| JoinError::RoomFull { max })
    }

    pub(crate) fn exit(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }

    /// The shards that have members, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u8> {
        self.shards.iter()
    }

    fn set(&self, shard: u8) {
        self.shards.set(shard);
        if let Some(sequence) = &self.sequence {
            sequence.turn_term(shard);
        }
    }

    /// Clears the shard's bit and returns whether none is left.
    fn unset(&self, shard: u8) -> bool {
        self.shards.unset(shard);
        if let Some(sequence) = &self.sequence {
            sequence.turn_term(shard);
        }
        self.is_empty()
    }

    /// Whether no shard has members.
    fn is_empty(&self) -> bool {
        self.shards().next().is_none()
    }

    fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }
}

/// The rooms of an engine.
#[derive(Debug)]
pub(crate) struct Directory {
    rooms: RwLock<RoomsByName>,
    hashing: Hashing,
    /// How many of them are sequenced.
    sequenced: AtomicUsize,
    pub(crate) limits: RoomLimits,
    bus: Arc<Bus>,
}

impl Directory {
    pub(crate) fn new(limits: RoomLimits) -> Directory {
        Directory {
            rooms: RwLock::default(),
            hashing: Hashing::default(),
            sequenced: AtomicUsize::new(0),
            limits,
            bus: Arc::default(),
        }
    }

    /// The same, telling of rooms that come and go, in that order, on an engine's bus.
    pub(crate) fn telling(self, bus: &Arc<Bus>) -> Directory {
        let bus = Arc::clone(bus);
        Directory { bus, ..self }
    }

    /// What a room of that name is found by, here and in the shards.
    #[inline]
    pub(super) fn key<'a>(&self, name: &'a str) -> Key<'a> {
        self.hashing.key(name)
    }

    /// The room of that name, with the shard's bit set; created if the bound allows.
    pub(super) fn open(&self, key: Key<'_>, shard: u8) -> Result<Arc<SharedRoom>, JoinError> {
        let mut told = Told::default();
        let mut rooms = self.write();
        let room = match rooms.get(key) {
            Some(room) => Arc::clone(room),
            None => {
                let max = self.limits.rooms;
                if rooms.len() >= max {
                    return Err(JoinError::TooManyRooms { max });
                }
                let room = Arc::new(SharedRoom::new(key, false, None));
                rooms.insert(Arc::clone(&room));
                self.tell_created(&room, &mut told);
                room
            }
        };
        room.set(shard);
        Ok(room)
    }

    /// The shard has no member any more; the last one removes the room.
    pub(crate) fn close(&self, room: &SharedRoom, shard: u8) {
        let mut told = Told::default();
        let mut rooms = self.write();
        if room.unset(shard) && !room.is_kept() {
            self.remove(&mut rooms, room, &mut told);
        }
    }

    /// Creates a room that stays until it is forgotten.
    pub(crate) fn create(
        &self,
        name: &str,
        sequence: Option<Sequence>,
    ) -> Result<(), CreateRoomError> {
        let mut told = Told::default();
        let mut rooms = self.write();
        let max = self.limits.rooms;
        let key = self.key(name);
        if rooms.get(key).is_some() {
            return Err(CreateRoomError::Exists);
        }
        if rooms.len() >= max {
            return Err(CreateRoomError::TooManyRooms { max });
        }
        self.sequenced
            .fetch_add(usize::from(sequence.is_some()), Ordering::Relaxed);
        let room = Arc::new(SharedRoom::new(key, true, sequence));
        self.tell_created(&room, &mut told);
        rooms.insert(room);
        Ok(())
    }

    /// A room that was created goes with its last member, now if it has none. Returns whether it was
    /// there and kept.
    pub(crate) fn forget(&self, name: &str) -> bool {
        let mut told = Told::default();
        let mut rooms = self.write();
        let Some(room) = rooms.get(self.key(name)).cloned() else {
            return false;
        };
        let was_kept = room.kept.swap(false, Ordering::Relaxed);
        if was_kept && room.is_empty() {
            self.remove(&mut rooms, &room, &mut told);
        }
        was_kept
    }

    /// Tells of a new room. Under the directory's lock, so that the events of a name are in order;
    /// `told` is dropped after that.
    fn tell_created(&self, room: &SharedRoom, told: &mut Told) {
        if self.bus.wants(EventKinds::ROOM_CREATED) {
            let room = Arc::clone(&room.name);
            self.bus.tell(&Event::RoomCreated { room }, told);
        }
    }

    /// Takes out a room that is there.
    fn remove(&self, rooms: &mut RoomsByName, room: &SharedRoom, told: &mut Told) {
        rooms.remove(room.key());
        if self.bus.wants(EventKinds::ROOM_REMOVED) {
            let room = Arc::clone(&room.name);
            self.bus.tell(&Event::RoomRemoved { room }, told);
        }
        self.sequenced
            .fetch_sub(usize::from(room.sequence.is_some()), Ordering::Relaxed);
    }

    /// Whether any room is sequenced.
    #[inline]
    pub(crate) fn has_sequenced(&self) -> bool {
        self.sequenced.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<SharedRoom>> {
        self.read().get(self.key(name)).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// Every room, in no particular order.
    pub(crate) fn list(&self) -> Vec<RoomInfo> {
        let info = |room: &Arc<SharedRoom>| RoomInfo {
            name: Arc::clone(&room.name),
            members: room.members(),
            sequenced: room.sequence.is_some(),
        };
        self.read().values().map(info).collect()
    }

    // The map is whole between any two statements, so a panic elsewhere cannot harm it.
    fn read(&self) -> RwLockReadGuard<'_, RoomsByName> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, RoomsByName> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}
