//! A shard's slices of the rooms.

use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use slab::Slab;

use super::{Audience, Directory, JoinError, SharedRoom, Target};

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
    members: RoaringBitmap,
}

/// All rooms that have members in this shard.
#[derive(Debug)]
pub(crate) struct LocalRooms {
    shard: u8,
    directory: Arc<Directory>,
    rooms: Slab<LocalRoom>,
    by_name: HashMap<Arc<str>, RoomIndex>,
    /// Every open connection.
    everyone: RoaringBitmap,
    /// The answer to the last audience that took set algebra.
    scratch: RoaringBitmap,
}

impl LocalRooms {
    pub(crate) fn new(shard: u8, directory: Arc<Directory>) -> LocalRooms {
        LocalRooms {
            shard,
            directory,
            rooms: Slab::new(),
            by_name: HashMap::new(),
            everyone: RoaringBitmap::new(),
            scratch: RoaringBitmap::new(),
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
        if let Some(&index) = self.by_name.get(name) {
            let room = &mut self.rooms[index as usize];
            if room.members.contains(slot) {
                return Ok(None);
            }
            room.shared.enter(max)?;
            room.members.insert(slot);
            return Ok(Some(index));
        }
        let shared = self.directory.open(name, self.shard)?;
        if let Err(full) = shared.enter(max) {
            self.directory.close(&shared, self.shard);
            return Err(full);
        }
        Ok(Some(self.insert(shared, slot)))
    }

    fn insert(&mut self, shared: Arc<SharedRoom>, slot: u32) -> RoomIndex {
        let name = Arc::clone(&shared.name);
        let members = RoaringBitmap::from_iter([slot]);
        let index = u32::try_from(self.rooms.insert(LocalRoom { shared, members }))
            .unwrap_or_else(|_| unreachable!("more rooms than memory holds"));
        self.by_name.insert(name, index);
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
        room.shared.exit();
        if room.members.is_empty() {
            let room = self.rooms.remove(index as usize);
            self.by_name.remove(&*room.shared.name);
            self.directory.close(&room.shared, self.shard);
        }
    }

    /// The room's place, if it has members here.
    pub(crate) fn index_of(&self, name: &str) -> Option<RoomIndex> {
        self.by_name.get(name).copied()
    }

    /// The name of a room that has members here.
    pub(crate) fn name_of(&self, index: RoomIndex) -> Option<&Arc<str>> {
        self.rooms.get(index as usize).map(|room| &room.shared.name)
    }

    /// The name of the single room that an audience is of, some of its members perhaps excepted.
    pub(crate) fn name_in(&self, audience: &Audience<'_>) -> Option<&Arc<str>> {
        match &audience.target {
            Target::Rooms(rooms) if rooms.len() == 1 => self.name_of(self.index_of(&rooms[0])?),
            _ => None,
        }
    }

    /// The room as all shards know it, if it has members here.
    pub(crate) fn shared(&self, name: &str) -> Option<&Arc<SharedRoom>> {
        self.index_of(name)
            .map(|index| &self.rooms[index as usize].shared)
    }

    /// Members of a room in this shard.
    pub(crate) fn members(&self, name: &str) -> Option<&RoaringBitmap> {
        self.index_of(name)
            .map(|index| &self.rooms[index as usize].members)
    }

    fn circle_members(&self, circle: Circle) -> Option<&RoaringBitmap> {
        match circle {
            Circle::Room(index) => self.rooms.get(index as usize).map(|room| &room.members),
            Circle::Everyone => Some(&self.everyone),
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
        let count = self.circle_members(circle).map_or(0, RoaringBitmap::len);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Whether the connection in the slot is in the circle.
    pub(crate) fn contains(&self, circle: Circle, slot: u32) -> bool {
        self.circle_members(circle)
            .is_some_and(|members| members.contains(slot))
    }

    /// Who is in the circle, in the order of slots.
    #[inline]
    pub(crate) fn iter(&self, circle: Circle) -> impl Iterator<Item = u32> {
        self.circle_members(circle).into_iter().flatten()
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
            _ => None,
        }
    }

    /// Who of this shard belongs to the audience, connections excepted aside.
    ///
    /// A single room is its own bitmap; everything else is computed into a scratch bitmap.
    pub(crate) fn audience(&mut self, audience: &Audience<'_>) -> Option<&RoaringBitmap> {
        let rooms = match &audience.target {
            Target::Connection(_) => return None,
            Target::All if audience.except_rooms.is_empty() => return Some(&self.everyone),
            Target::Rooms(rooms) if rooms.len() == 1 && audience.except_rooms.is_empty() => {
                return self.members(&rooms[0]);
            }
            Target::All => None,
            Target::Rooms(rooms) => Some(rooms),
        };
        let mut members = std::mem::take(&mut self.scratch);
        members.clear();
        match rooms {
            None => members |= &self.everyone,
            Some(rooms) => rooms
                .iter()
                .filter_map(|r| self.members(r))
                .for_each(|m| members |= m),
        }
        let except = audience
            .except_rooms
            .iter()
            .filter_map(|room| self.members(room));
        except.for_each(|excepted| members -= excepted);
        self.scratch = members;
        Some(&self.scratch)
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
