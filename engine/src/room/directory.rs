//! Which rooms exist, and which shards have members of them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;

use super::{CreateRoomError, JoinError, RoomInfo, Sequence};
use crate::limits::MAX_SHARDS;

const WORDS: usize = MAX_SHARDS / 64;

/// Bounds on rooms (FEATURES 4.3); `usize::MAX` where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomLimits {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) rooms_of_connection: usize,
}

/// What all shards know of a room.
#[derive(Debug)]
pub(crate) struct SharedRoom {
    pub(crate) name: Arc<str>,
    members: AtomicUsize,
    /// A bit for each shard that has a slice of the room.
    shards: [AtomicU64; WORDS],
    /// Whether it stays without members; changed and looked at under the directory's lock only.
    kept: AtomicBool,
    /// How its messages are numbered, if they are.
    pub(crate) sequence: Option<Arc<Sequence>>,
}

impl SharedRoom {
    fn new(name: &str, kept: bool, sequence: Option<Sequence>) -> SharedRoom {
        SharedRoom {
            name: name.into(),
            members: AtomicUsize::new(0),
            shards: Default::default(),
            kept: AtomicBool::new(kept),
            sequence: sequence.map(Arc::new),
        }
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
        self.shards.iter().zip(0u8..).flat_map(|(word, index)| {
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                u8::try_from(u32::from(index) * 64 + bit).ok()
            })
        })
    }

    fn set(&self, shard: u8) {
        self.shards[usize::from(shard) / 64].fetch_or(1 << (shard % 64), Ordering::Release);
        if let Some(sequence) = &self.sequence {
            sequence.turn_term(shard);
        }
    }

    /// Clears the shard's bit and returns whether none is left.
    fn unset(&self, shard: u8) -> bool {
        self.shards[usize::from(shard) / 64].fetch_and(!(1 << (shard % 64)), Ordering::Release);
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

type Rooms = HashMap<Arc<str>, Arc<SharedRoom>>;

/// The rooms of an engine.
#[derive(Debug)]
pub(crate) struct Directory {
    rooms: RwLock<Rooms>,
    /// How many of them are sequenced.
    sequenced: AtomicUsize,
    pub(crate) limits: RoomLimits,
}

impl Directory {
    pub(crate) fn new(limits: RoomLimits) -> Directory {
        Directory {
            rooms: RwLock::default(),
            sequenced: AtomicUsize::new(0),
            limits,
        }
    }

    /// The room of that name, with the shard's bit set; created if the bound allows.
    pub(crate) fn open(&self, name: &str, shard: u8) -> Result<Arc<SharedRoom>, JoinError> {
        let mut rooms = self.write();
        let room = match rooms.get(name) {
            Some(room) => Arc::clone(room),
            None => {
                let max = self.limits.rooms;
                if rooms.len() >= max {
                    return Err(JoinError::TooManyRooms { max });
                }
                let room = Arc::new(SharedRoom::new(name, false, None));
                rooms.insert(Arc::clone(&room.name), Arc::clone(&room));
                room
            }
        };
        room.set(shard);
        Ok(room)
    }

    /// The shard has no member any more; the last one removes the room.
    pub(crate) fn close(&self, room: &SharedRoom, shard: u8) {
        let mut rooms = self.write();
        if room.unset(shard) && !room.is_kept() {
            self.remove(&mut rooms, &room.name);
        }
    }

    /// Creates a room that stays until it is forgotten.
    pub(crate) fn create(
        &self,
        name: &str,
        sequence: Option<Sequence>,
    ) -> Result<(), CreateRoomError> {
        let mut rooms = self.write();
        let max = self.limits.rooms;
        if rooms.contains_key(name) {
            return Err(CreateRoomError::Exists);
        }
        if rooms.len() >= max {
            return Err(CreateRoomError::TooManyRooms { max });
        }
        self.sequenced
            .fetch_add(usize::from(sequence.is_some()), Ordering::Relaxed);
        let room = Arc::new(SharedRoom::new(name, true, sequence));
        rooms.insert(Arc::clone(&room.name), room);
        Ok(())
    }

    /// A room that was created goes with its last member, now if it has none. Returns whether it was
    /// there and kept.
    pub(crate) fn forget(&self, name: &str) -> bool {
        let mut rooms = self.write();
        let Some(room) = rooms.get(name) else {
            return false;
        };
        let was_kept = room.kept.swap(false, Ordering::Relaxed);
        if was_kept && room.is_empty() {
            self.remove(&mut rooms, name);
        }
        was_kept
    }

    fn remove(&self, rooms: &mut Rooms, name: &str) {
        let removed = rooms.remove(name);
        if removed.is_some_and(|room| room.sequence.is_some()) {
            self.sequenced.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether any room is sequenced.
    #[inline]
    pub(crate) fn has_sequenced(&self) -> bool {
        self.sequenced.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<SharedRoom>> {
        self.read().get(name).cloned()
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
    fn read(&self) -> RwLockReadGuard<'_, Rooms> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rooms> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}
