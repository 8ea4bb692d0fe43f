//! Which rooms exist, and which shards have members of them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use serde_json::Value;

use super::by_name::{Hashing, Key, RoomsByName};
use super::shard_bits::ShardBits;
use super::{CreateRoomError, JoinError, Presence, RoomInfo, Sequence};
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

/// What few rooms have.
#[derive(Debug, Default)]
pub(crate) struct RoomTraits {
    /// How its messages are numbered, if they are.
    pub(crate) sequence: Option<Arc<Sequence>>,
    pub(crate) metadata: Mutex<Option<Arc<Value>>>,
    /// Its own limit on members.
    pub(crate) max_members: Option<usize>,
    /// Who is in it, where that is known.
    pub(crate) presence: Option<Presence>,
}

impl RoomTraits {
    fn are_none(&self) -> bool {
        self.sequence.is_none()
            && self.max_members.is_none()
            && self.presence.is_none()
            && self.metadata().is_none()
    }

    // It is whole between any two statements.
    fn metadata(&self) -> MutexGuard<'_, Option<Arc<Value>>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all shards know of a room.
#[derive(Debug)]
pub(crate) struct SharedRoom {
    pub(crate) name: Arc<str>,
    hash: u64,
    members: AtomicU32,
    /// The shards that have a slice of the room.
    shards: ShardBits,
    /// Whether it stays without members; changed and looked at under the directory's lock only.
    kept: AtomicBool,
    /// Whether it was deleted: it is in the directory no more, and its members are about to leave.
    deleted: AtomicBool,
    /// Apart, so that a room that has none of them is small.
    traits: OnceLock<Box<RoomTraits>>,
}

impl SharedRoom {
    fn new(key: Key<'_>, kept: bool, traits: RoomTraits) -> SharedRoom {
        let has_any = !traits.are_none();
        SharedRoom {
            name: key.name.into(),
            hash: key.hash,
            members: AtomicU32::new(0),
            shards: ShardBits::default(),
            kept: AtomicBool::new(kept),
            deleted: AtomicBool::new(false),
            traits: has_any
                .then(|| Box::new(traits))
                .map_or_else(OnceLock::new, OnceLock::from),
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
        self.members.load(Ordering::Relaxed) as usize
    }

    /// Counts a member in, if its own limit and that of all rooms allow.
    pub(crate) fn enter(&self, max: usize) -> Result<(), JoinError> {
        let max = max.min(self.own_max_members());
        let most = u32::try_from(max).unwrap_or(u32::MAX);
        self.members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            })
            .map(drop)
            .map_err(|_| JoinError::RoomFull { max })
    }

    /// Counts members out.
    pub(crate) fn exit(&self, count: u32) {
        self.members.fetch_sub(count, Ordering::Relaxed);
    }

    /// The shards that have members, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u8> {
        self.shards.iter()
    }

    fn set(&self, shard: u8) {
        self.shards.set(shard);
        if let Some(sequence) = self.sequence() {
            sequence.turn_term(shard);
        }
    }

    /// Clears the shard's bit and returns whether none is left.
    fn unset(&self, shard: u8) -> bool {
        self.shards.unset(shard);
        if let Some(sequence) = self.sequence() {
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

    /// Whether it was deleted, and its name may be another room's.
    #[inline]
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// How its messages are numbered, if they are.
    #[inline]
    pub(crate) fn sequence(&self) -> Option<&Arc<Sequence>> {
        self.traits.get()?.sequence.as_ref()
    }

    /// Who is in it, where that is known.
    #[inline]
    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.traits.get()?.presence.as_ref()
    }

    fn own_max_members(&self) -> usize {
        let own = self.traits.get().and_then(|traits| traits.max_members);
        own.unwrap_or(usize::MAX)
    }

    pub(crate) fn set_metadata(&self, metadata: Arc<Value>) {
        *self.traits.get_or_init(Box::default).metadata() = Some(metadata);
    }

    fn info(&self, limits: &RoomLimits) -> RoomInfo {
        let max_members = self.own_max_members().min(limits.members);
        let traits = self.traits.get();
        RoomInfo {
            name: Arc::clone(&self.name),
            members: self.members(),
            max_members: (max_members < usize::MAX).then_some(max_members),
            kept: self.is_kept(),
            sequenced: self.sequence().is_some(),
            has_history: self
                .sequence()
                .is_some_and(|sequence| sequence.has_history()),
            has_presence: self.presence().is_some(),
            metadata: traits.and_then(|traits| traits.metadata().clone()),
        }
    }
}

/// The rooms of an engine.
#[derive(Debug)]
pub(crate) struct Directory {
    rooms: RwLock<RoomsByName>,
    hashing: Hashing,
    /// How many of them are sequenced.
    sequenced: AtomicUsize,
    /// Whether rooms that are created by joining have presence.
    presence: bool,
    pub(crate) limits: RoomLimits,
    bus: Arc<Bus>,
}

impl Directory {
    pub(crate) fn new(limits: RoomLimits) -> Directory {
        Directory {
            rooms: RwLock::default(),
            hashing: Hashing::default(),
            sequenced: AtomicUsize::new(0),
            presence: false,
            limits,
            bus: Arc::default(),
        }
    }

    /// The same, where rooms that are created by joining have presence or not.
    pub(crate) fn with_presence(self, presence: bool) -> Directory {
        Directory { presence, ..self }
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
                let traits = RoomTraits {
                    presence: self.presence.then(Presence::default),
                    ..RoomTraits::default()
                };
                let room = Arc::new(SharedRoom::new(key, false, traits));
                rooms.insert(Arc::clone(&room));
                self.tell_created(&room, &mut told);
                room
            }
        };
        room.set(shard);
        Ok(room)
    }

    /// The shard has no member any more; the last one removes the room, unless it was deleted before.
    pub(crate) fn close(&self, room: &SharedRoom, shard: u8) {
        let mut told = Told::default();
        let mut rooms = self.write();
        if room.unset(shard) && !room.is_kept() {
            self.remove(&mut rooms, room, &mut told);
        }
    }

    /// Creates a room that stays until it is forgotten.
    pub(crate) fn create(&self, name: &str, traits: RoomTraits) -> Result<(), CreateRoomError> {
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
            .fetch_add(usize::from(traits.sequence.is_some()), Ordering::Relaxed);
        let room = Arc::new(SharedRoom::new(key, true, traits));
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

    /// Takes a room out though it has members, which are yet to leave it. From now on nobody finds it by
    /// its name, and no shard begins to have members of it: those that have some are its
    /// [`shards`](SharedRoom::shards) after this.
    pub(crate) fn delete(&self, name: &str) -> Option<Arc<SharedRoom>> {
        let mut told = Told::default();
        let mut rooms = self.write();
        let room = rooms.get(self.key(name)).cloned()?;
        room.deleted.store(true, Ordering::Release);
        if let Some(presence) = room.presence() {
            presence.end();
        }
        self.remove(&mut rooms, &room, &mut told);
        Some(room)
    }

    /// Tells of a new room. Under the directory's lock, so that the events of a name are in order;
    /// `told` is dropped after that.
    fn tell_created(&self, room: &SharedRoom, told: &mut Told) {
        if self.bus.wants(EventKinds::ROOM_CREATED) {
            let room = Arc::clone(&room.name);
            self.bus.tell(&Event::RoomCreated { room }, told);
        }
    }

    /// Takes out that very room, if it is there.
    fn remove(&self, rooms: &mut RoomsByName, room: &SharedRoom, told: &mut Told) {
        if !rooms.remove(room) {
            return;
        }
        if self.bus.wants(EventKinds::ROOM_REMOVED) {
            let room = Arc::clone(&room.name);
            self.bus.tell(&Event::RoomRemoved { room }, told);
        }
        self.sequenced
            .fetch_sub(usize::from(room.sequence().is_some()), Ordering::Relaxed);
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
        let rooms = self.read();
        rooms.values().map(|room| room.info(&self.limits)).collect()
    }

    /// One room.
    pub(crate) fn info(&self, name: &str) -> Option<RoomInfo> {
        self.get(name).map(|room| room.info(&self.limits))
    }

    // The map is whole between any two statements, so a panic elsewhere cannot harm it.
    fn read(&self) -> RwLockReadGuard<'_, RoomsByName> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, RoomsByName> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}
