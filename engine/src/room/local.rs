//! A shard's slices of the rooms.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use roaring::RoaringBitmap;
use slab::Slab;

use super::algebra::{Algebra, Group};
use super::by_name::Key;
use super::members::MemberSet;
use super::{Audience, Directory, JoinError, Members, Presence, SharedRoom, Target};

/// A room's place in its shard; valid while the shard has members of the room.
pub(crate) type RoomIndex = u32;

/// Those of a shard whom a publication is for when it is for one room, or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circle {
    Room(RoomIndex),
    Everyone,
}

/// The members of a room in this shard.
#[derive(Debug)]
struct LocalRoom {
    shared: Arc<SharedRoom>,
    members: MemberSet,
}

/// All rooms that have members in this shard.
#[derive(Debug)]
pub(crate) struct LocalRooms {
    shard: u8,
    directory: Arc<Directory>,
    rooms: Slab<LocalRoom>,
    by_name: HashTable<RoomIndex>,
    /// Every open connection.
    everyone: RoaringBitmap,
    algebra: Algebra,
    /// Members of sequenced rooms who joined a moment ago, with what came before.
    newcomers: HashMap<RoomIndex, Newcomers>,
    /// How often members had been told who comes and goes when this shard got its first one, where they had.
    told: HashMap<RoomIndex, u64>,
}

/// Members, by slot, and the offset up to which messages, which are on their way yet, are not for them.
type Newcomers = HashMap<u32, u64>;

impl LocalRooms {
    pub(crate) fn new(shard: u8, directory: Arc<Directory>) -> LocalRooms {
        LocalRooms {
            shard,
            directory,
            rooms: Slab::new(),
            by_name: HashTable::new(),
            everyone: RoaringBitmap::new(),
            algebra: Algebra::default(),
            newcomers: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Counts a connection among everyone.
    pub(crate) fn enter(&mut self, slot: u32) {
        self.everyone.insert(slot);
    }

    /// Forgets a connection, which has left its rooms.
    pub(crate) fn exit(&mut self, slot: u32) {
        self.everyone.remove(slot);
    }

    /// Makes `slot` a member. `None`: it was one already.
    pub(crate) fn join(&mut self, name: &str, slot: u32) -> Result<Option<RoomIndex>, JoinError> {
        let max = self.directory.limits.members;
        let key = self.directory.key(name);
        if let Some(index) = self.find(key) {
            let room = &mut self.rooms[index as usize];
            if room.shared.is_deleted() {
                return Err(JoinError::BeingDeleted);
            }
            if room.members.members().contains(slot) {
                return Ok(None);
            }
            room.shared.enter(max)?;
            room.members.insert(slot);
            return Ok(Some(index));
        }
        let shared = self.directory.open(key, self.shard)?;
        if let Err(full) = shared.enter(max) {
            self.directory.close(&shared, self.shard);
            return Err(full);
        }
        Ok(Some(self.insert(shared, slot)))
    }

    fn insert(&mut self, shared: Arc<SharedRoom>, slot: u32) -> RoomIndex {
        let hash = shared.key().hash;
        // The shard's bit is set: what is told from now on comes here.
        let told = shared.presence().map_or(0, Presence::told);
        let mut members = MemberSet::EMPTY;
        members.insert(slot);
        let index = u32::try_from(self.rooms.insert(LocalRoom { shared, members }))
            .unwrap_or_else(|_| unreachable!("more rooms than memory holds"));
        if told > 0 {
            self.told.insert(index, told);
        }
        let rooms = &self.rooms;
        let hash_of = |&index: &RoomIndex| rooms[index as usize].shared.key().hash;
        self.by_name.insert_unique(hash, index, hash_of);
        index
    }

    /// Ends the membership of `slot`; the room goes with its last member.
    pub(crate) fn leave(&mut self, index: RoomIndex, slot: u32) {
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        if !room.members.remove(slot) {
            return;
        }
        room.shared.exit(1);
        if let Some(newcomers) = self.newcomers.get_mut(&index) {
            newcomers.remove(&slot);
        }
        if room.members.is_empty() {
            self.remove(index);
        }
    }

    /// Ends all memberships of a room.
    pub(crate) fn dissolve(&mut self, index: RoomIndex) {
        if let Some(room) = self.rooms.get(index as usize) {
            let members = room.members.members().len();
            room.shared.exit(u32::try_from(members).unwrap_or(u32::MAX));
            self.remove(index);
        }
    }

    /// Messages of a sequenced room up to that offset are not for a member who has just joined.
    pub(crate) fn leave_out(&mut self, index: RoomIndex, slot: u32, until: u64) {
        // The first offset is 1.
        if until > 0 {
            self.newcomers.entry(index).or_default().insert(slot, until);
        }
    }

    /// The slots of the members whom a message of that offset is not for, in order. It is the last one of
    /// the kind for those whom it reaches the offset of: messages come in order.
    pub(crate) fn left_out(&mut self, index: RoomIndex, offset: u64) -> Vec<u32> {
        if self.newcomers.is_empty() {
            return Vec::new();
        }
        self.take_left_out(index, offset)
    }

    #[cold]
    fn take_left_out(&mut self, index: RoomIndex, offset: u64) -> Vec<u32> {
        let Some(newcomers) = self.newcomers.get_mut(&index) else {
            return Vec::new();
        };
        let left_out = newcomers.iter().filter(|(_, until)| offset <= **until);
        let mut slots: Vec<u32> = left_out.map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        newcomers.retain(|_, until| offset < *until);
        if newcomers.is_empty() {
            self.newcomers.remove(&index);
        }
        slots
    }

    fn remove(&mut self, index: RoomIndex) {
        self.newcomers.remove(&index);
        self.told.remove(&index);
        let room = self.rooms.remove(index as usize);
        let hash = room.shared.key().hash;
        if let Ok(entry) = self.by_name.find_entry(hash, |&at| at == index) {
            entry.remove();
        }
        self.directory.close(&room.shared, self.shard);
    }

    /// The room's place, if it has members here and was not deleted.
    pub(crate) fn index_of(&self, name: &str) -> Option<RoomIndex> {
        let is_deleted = |&index: &RoomIndex| self.rooms[index as usize].shared.is_deleted();
        self.held(name).filter(|index| !is_deleted(index))
    }

    /// The place of the room of that name that has members here, though it may have been deleted. There is
    /// one at most: nobody joins another one of the name before all have left it.
    pub(crate) fn held(&self, name: &str) -> Option<RoomIndex> {
        self.find(self.directory.key(name))
    }

    /// The place of that very room, if it has members here.
    pub(crate) fn place_of(&self, room: &Arc<SharedRoom>) -> Option<RoomIndex> {
        let is_it = |&index: &RoomIndex| Arc::ptr_eq(&self.rooms[index as usize].shared, room);
        self.by_name.find(room.key().hash, is_it).copied()
    }

    /// Whether the members of a room here are to hear what was told as that number: those who came later know it.
    pub(crate) fn is_news(&self, index: RoomIndex, number: u64) -> bool {
        self.told.get(&index).is_none_or(|told| *told < number)
    }

    /// The room at a place.
    pub(crate) fn at(&self, index: RoomIndex) -> Option<&Arc<SharedRoom>> {
        self.rooms.get(index as usize).map(|room| &room.shared)
    }

    fn find(&self, key: Key<'_>) -> Option<RoomIndex> {
        let is_it = |&index: &RoomIndex| self.rooms[index as usize].shared.is_named(key);
        self.by_name.find(key.hash, is_it).copied()
    }

    /// The name of a room that has members here.
    pub(crate) fn name_of(&self, index: RoomIndex) -> Option<&Arc<str>> {
        self.rooms.get(index as usize).map(|room| &room.shared.name)
    }

    /// The name of the single room that an audience is of, some of its members perhaps excepted.
    pub(crate) fn name_in(&self, audience: &Audience<'_>) -> Option<&Arc<str>> {
        match &audience.target {
            Target::Rooms(rooms) if rooms.len() == 1 => self.name_of(self.index_of(&rooms[0])?),
            Target::Here(index) => self.name_of((*index)?),
            _ => None,
        }
    }

    /// The room as all shards know it, if it has members here.
    pub(crate) fn shared(&self, name: &str) -> Option<&Arc<SharedRoom>> {
        self.index_of(name)
            .map(|index| &self.rooms[index as usize].shared)
    }

    /// Members of a room in this shard, if it has any.
    pub(crate) fn members(&self, name: &str) -> Option<Members<'_>> {
        self.index_of(name)
            .map(|index| self.rooms[index as usize].members.members())
    }

    #[inline]
    fn circle_members(&self, circle: Circle) -> Members<'_> {
        match circle {
            Circle::Room(index) => self
                .rooms
                .get(index as usize)
                .map_or(Members::NOBODY, |room| room.members.members()),
            Circle::Everyone => Members::Many(&self.everyone),
        }
    }

    /// The name of the room, where the circle is one.
    pub(crate) fn circle_name(&self, circle: Circle) -> Option<&Arc<str>> {
        match circle {
            Circle::Room(index) => self.name_of(index),
            Circle::Everyone => None,
        }
    }

    /// How many the circle has.
    pub(crate) fn members_of(&self, circle: Circle) -> usize {
        self.circle_members(circle).len()
    }

    /// Whether the connection in the slot is in the circle.
    pub(crate) fn contains(&self, circle: Circle, slot: u32) -> bool {
        self.circle_members(circle).contains(slot)
    }

    /// Who is in the circle, in the order of slots.
    #[inline]
    pub(crate) fn iter(&self, circle: Circle) -> impl Iterator<Item = u32> {
        self.circle_members(circle).iter()
    }

    /// The circle that is the whole audience, connections excepted aside; `None` when it is another
    /// audience, or nobody is in it.
    pub(crate) fn circle(&self, audience: &Audience<'_>) -> Option<Circle> {
        match &audience.target {
            Target::All if audience.except_rooms.is_empty() => Some(Circle::Everyone),
            _ => self.only_room(audience).map(Circle::Room),
        }
    }

    /// The room that is the whole target of an audience, if it has members here.
    pub(crate) fn only_room(&self, audience: &Audience<'_>) -> Option<RoomIndex> {
        match &audience.target {
            Target::Rooms(rooms) if audience.is_one_room() => self.index_of(&rooms[0]),
            Target::Here(index) if audience.is_one_room() => *index,
            _ => None,
        }
    }

    /// Who of this shard belongs to the audience, connections excepted aside; `None` when it is one
    /// connection, a user, or one room without members here.
    ///
    /// One room and everybody are looked at as they are; for everything else the answer is computed,
    /// which takes memory where bitmaps are united.
    pub(crate) fn audience(&mut self, audience: &Audience<'_>) -> Option<Members<'_>> {
        match &audience.target {
            Target::Connection(_) | Target::User(_) => return None,
            Target::All if audience.except_rooms.is_empty() => {
                return Some(Members::Many(&self.everyone));
            }
            Target::Rooms(rooms) if audience.is_one_room() => return self.members(&rooms[0]),
            Target::Here(index) => {
                return index.map(|index| self.circle_members(Circle::Room(index)));
            }
            Target::All | Target::Rooms(_) => {}
        }
        let mut algebra = std::mem::take(&mut self.algebra);
        let united = match &audience.target {
            Target::Rooms(rooms) => self.group(rooms),
            _ => Group::from_iter([Members::Many(&self.everyone)]),
        };
        algebra.compute(&united, &self.group(&audience.except_rooms));
        drop(united);
        self.algebra = algebra;
        Some(self.algebra.answer())
    }

    fn group(&self, names: &[Cow<'_, str>]) -> Group<'_> {
        names.iter().filter_map(|name| self.members(name)).collect()
    }

    /// The shared form of an audience's only room, if it has members here.
    pub(crate) fn room_of(&self, audience: &Audience<'_>) -> Option<&Arc<SharedRoom>> {
        self.only_room(audience)
            .map(|index| &self.rooms[index as usize].shared)
    }

    /// The rooms' common knowledge.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }
}
