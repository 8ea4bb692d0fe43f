use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use throng_transport::SocketKey;

use super::*;
use crate::id::ConnectionId;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SLOTS: u32 = 6;
const SHARDS: u8 = 3;
const UNLIMITED: RoomLimits = RoomLimits {
    rooms: usize::MAX,
    members: usize::MAX,
    rooms_of_connection: usize::MAX,
};

/// Shards' rooms beside the sets of members that they should be.
struct Pair {
    directory: Arc<Directory>,
    shards: Vec<LocalRooms>,
    model: BTreeMap<&'static str, BTreeSet<(u8, u32)>>,
}

impl Pair {
    fn new(limits: RoomLimits) -> Pair {
        let directory = Arc::new(Directory::new(limits));
        let shard = |shard| LocalRooms::new(shard, Arc::clone(&directory));
        let mut shards: Vec<LocalRooms> = (0..SHARDS).map(shard).collect();
        for shard in &mut shards {
            (0..SLOTS).for_each(|slot| shard.enter(slot));
        }
        Pair {
            directory,
            shards,
            model: BTreeMap::new(),
        }
    }

    fn members(&self, name: &str) -> usize {
        self.model.get(name).map_or(0, BTreeSet::len)
    }

    fn join(&mut self, name: &'static str, shard: u8, slot: u32) {
        let limits = self.directory.limits;
        let is_member = self
            .model
            .get(name)
            .is_some_and(|room| room.contains(&(shard, slot)));
        let joined = self.shards[usize::from(shard)]
            .join(name, slot)
            .map(|index| index.is_some());
        let expected = if is_member {
            Ok(false)
        } else if self.members(name) == 0 && self.model.len() >= limits.rooms {
            Err(JoinError::TooManyRooms { max: limits.rooms })
        } else if self.members(name) >= limits.members {
            Err(JoinError::RoomFull {
                max: limits.members,
            })
        } else {
            self.model.entry(name).or_default().insert((shard, slot));
            Ok(true)
        };
        assert_eq!(joined, expected);
    }

    fn leave(&mut self, name: &'static str, shard: u8, slot: u32) {
        let rooms = &mut self.shards[usize::from(shard)];
        if let Some(index) = rooms.index_of(name) {
            rooms.leave(index, slot);
        }
        if let Some(room) = self.model.get_mut(name) {
            room.remove(&(shard, slot));
            if room.is_empty() {
                self.model.remove(name);
            }
        }
    }

    fn check(&self) {
        let mut known: Vec<_> = self.directory.list();
        known.sort_by(|a, b| a.name.cmp(&b.name));
        let known: Vec<_> = known
            .iter()
            .map(|room| (&*room.name, room.members))
            .collect();
        let expected: Vec<_> = self
            .model
            .iter()
            .map(|(name, room)| (*name, room.len()))
            .collect();
        assert_eq!(known, expected);
        for (name, room) in &self.model {
            let shards: BTreeSet<u8> = room.iter().map(|(shard, _)| *shard).collect();
            assert!(self.directory.get(name).unwrap().shards().eq(shards));
        }
        for (shard, rooms) in (0..).zip(&self.shards) {
            for name in NAMES {
                let found: Option<Vec<u32>> = rooms.members(name).map(|m| m.iter().collect());
                let of_shard = |(_, slot): &(u8, u32)| *slot;
                let expected: Vec<u32> = self
                    .model
                    .get(name)
                    .into_iter()
                    .flatten()
                    .filter(|(at, _)| *at == shard)
                    .map(of_shard)
                    .collect();
                assert_eq!(found.unwrap_or_default(), expected);
            }
        }
    }

    /// Who is reached, by the rooms and by the model.
    fn check_audience(&mut self, target: &[usize], except: &[usize], all: bool) {
        let mut audience = if all {
            Audience::new(Target::All)
        } else {
            Audience::room(NAMES[target[0]])
        };
        if let Target::Rooms(rooms) = &mut audience.target {
            rooms.extend(target[1..].iter().map(|at| NAMES[*at].into()));
        }
        audience
            .except_rooms
            .extend(except.iter().map(|at| NAMES[*at].into()));
        let is_in = |rooms: &[usize], member: (u8, u32)| {
            rooms.iter().any(|at| {
                self.model
                    .get(NAMES[*at])
                    .is_some_and(|r| r.contains(&member))
            })
        };
        let travelled = audience.to_shared(None);
        let is_single = audience.is_one_room() && self.directory.get(NAMES[target[0]]).is_some();
        let by_reference = is_single.then(|| {
            let room = self.directory.get(NAMES[target[0]]);
            audience.to_shared(room.as_ref())
        });
        for shard in 0..SHARDS {
            let expected: Vec<u32> = (0..SLOTS)
                .filter(|slot| all || is_in(target, (shard, *slot)))
                .filter(|slot| !is_in(except, (shard, *slot)))
                .collect();
            let rooms = &mut self.shards[usize::from(shard)];
            let found: Vec<u32> = rooms.audience(&audience).into_iter().flatten().collect();
            assert_eq!(found, expected);
            for travelled in by_reference.iter().chain([&travelled]) {
                let audience = travelled.seen_by(rooms).into_owned();
                let found: Vec<u32> = rooms.audience(&audience).into_iter().flatten().collect();
                assert_eq!(found, expected, "after a journey");
            }
        }
    }
}

type Change = (bool, usize, u8, u32);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (any::<bool>(), 0..NAMES.len(), 0..SHARDS, 0..SLOTS);
    proptest::collection::vec(change, 0..80)
}

proptest! {
    #[test]
    fn rooms_are_sets_of_members(changes in changes(), max_rooms in 1usize..5, max_members in 1usize..8) {
        let mut pair = Pair::new(RoomLimits { rooms: max_rooms, members: max_members, ..UNLIMITED });
        for (joins, name, shard, slot) in changes {
            match joins {
                true => pair.join(NAMES[name], shard, slot),
                false => pair.leave(NAMES[name], shard, slot),
            }
            pair.check();
        }
    }

    #[test]
    fn audiences_are_set_algebra(
        changes in changes(),
        target in proptest::collection::vec(0..NAMES.len(), 1..4),
        except in proptest::collection::vec(0..NAMES.len(), 0..3),
        all in any::<bool>(),
    ) {
        let mut pair = Pair::new(UNLIMITED);
        for (joins, name, shard, slot) in changes {
            match joins {
                true => pair.join(NAMES[name], shard, slot),
                false => pair.leave(NAMES[name], shard, slot),
            }
        }
        pair.check_audience(&target, &except, all);
    }
}

#[test]
fn a_room_travels_by_reference() {
    let directory = Arc::new(Directory::new(UNLIMITED));
    let mut rooms = LocalRooms::new(0, Arc::clone(&directory));
    rooms.join("a", 7).unwrap();
    let mut audience = Audience::room("a");
    let id = ConnectionId::new(
        0,
        SocketKey {
            slot: 7,
            generation: 1,
        },
    );
    audience.except.push(id);
    let shared = audience.to_shared(rooms.room_of(&audience));
    assert!(matches!(shared, SharedAudience::Room { .. }));
    let audience = shared.seen_by(&rooms);
    assert!(audience.excepts(0, 7, 1));
    assert!(!audience.excepts(0, 7, 2) && !audience.excepts(1, 7, 1));
    assert_eq!(rooms.only_room(&audience), rooms.index_of("a"));
}

/// While one shard's last member leaves another's first one joins, over and over: the room is in
/// the directory whenever somebody is in it.
#[test]
fn opening_and_closing_at_once_loses_no_room() {
    let directory = Arc::new(Directory::new(UNLIMITED));
    let shards: Vec<_> = (0..2)
        .map(|shard| {
            let directory = Arc::clone(&directory);
            std::thread::spawn(move || {
                let mut rooms = LocalRooms::new(shard, Arc::clone(&directory));
                for _ in 0..20_000 {
                    let index = rooms.join("a", 1).unwrap().unwrap();
                    let known = directory.get("a").expect("somebody is in it");
                    assert!(known.shards().any(|known| known == shard) && known.members() > 0);
                    rooms.leave(index, 1);
                }
            })
        })
        .collect();
    shards.into_iter().for_each(|shard| shard.join().unwrap());
    assert_eq!(directory.len(), 0);
}

fn numbered(name: &str, shards: usize) -> RoomTraits {
    RoomTraits {
        sequence: Some(Arc::new(Sequence::new(name, shards, 0))),
        ..RoomTraits::default()
    }
}

fn names(directory: &Directory) -> Vec<(String, bool)> {
    let room = |room: RoomInfo| (room.name.to_string(), room.sequenced);
    let mut names: Vec<_> = directory.list().into_iter().map(room).collect();
    names.sort();
    names
}

#[test]
fn a_created_room_is_kept_until_it_is_forgotten() {
    let directory = Arc::new(Directory::new(RoomLimits {
        rooms: 2,
        ..UNLIMITED
    }));
    let mut rooms = LocalRooms::new(0, Arc::clone(&directory));
    let joined = rooms.join("joined", 1).unwrap().unwrap();
    let sequence = || numbered("created", 1);
    assert_eq!(
        directory.create("joined", sequence()),
        Err(CreateRoomError::Exists)
    );
    assert!(!directory.has_sequenced());
    directory.create("created", sequence()).unwrap();
    assert!(directory.has_sequenced());
    assert_eq!(
        directory.create("another", RoomTraits::default()),
        Err(CreateRoomError::TooManyRooms { max: 2 })
    );
    let created = rooms.join("created", 1).unwrap().unwrap();
    rooms.leave(created, 1);
    rooms.leave(joined, 1);
    assert_eq!(names(&directory), [("created".to_owned(), true)]);
    assert!(!directory.forget("joined") && directory.forget("created"));
    assert_eq!(names(&directory), []);
    assert!(!directory.has_sequenced());
}

#[test]
fn a_forgotten_room_goes_with_its_last_member() {
    let directory = Arc::new(Directory::new(UNLIMITED));
    let mut rooms = LocalRooms::new(0, Arc::clone(&directory));
    directory.create("a", RoomTraits::default()).unwrap();
    let index = rooms.join("a", 1).unwrap().unwrap();
    rooms.join("a", 2).unwrap();
    assert!(directory.forget("a") && !directory.forget("a"));
    rooms.leave(index, 1);
    assert_eq!(directory.len(), 1);
    rooms.leave(index, 2);
    assert_eq!(directory.len(), 0);
}

/// A shard's term begins with its first member and ends with its last, whether joining succeeds
/// or not.
#[test]
fn terms_follow_members() {
    let directory = Arc::new(Directory::new(RoomLimits {
        members: 2,
        ..UNLIMITED
    }));
    directory.create("a", numbered("a", 2)).unwrap();
    let room = directory.get("a").unwrap();
    let sequence = room.sequence().unwrap();
    let [mut here, mut there] = [0, 1].map(|s| LocalRooms::new(s, Arc::clone(&directory)));
    let index = here.join("a", 1).unwrap().unwrap();
    let first = sequence.term(0);
    here.join("a", 2).unwrap();
    assert_eq!(sequence.term(0), first, "not the first member");
    assert_eq!(there.join("a", 1), Err(JoinError::RoomFull { max: 2 }));
    assert!(sequence.shards().eq([0]));
    here.leave(index, 1);
    assert!(sequence.shards().eq([0]));
    here.leave(index, 2);
    assert_eq!(sequence.shards().next(), None);
    here.join("a", 1).unwrap();
    assert!(sequence.shards().eq([0]) && sequence.term(0) != first);
}

/// A room that was deleted is found by nobody, and what becomes of it does no harm to the next one of its
/// name.
#[test]
fn a_deleted_room_is_no_obstacle() {
    let directory = Arc::new(Directory::new(UNLIMITED));
    let [mut here, mut there] = [0, 1].map(|s| LocalRooms::new(s, Arc::clone(&directory)));
    directory.create("a", numbered("a", 2)).unwrap();
    let old = here.join("a", 1).unwrap().unwrap();
    here.join("a", 2).unwrap();
    let deleted = directory.delete("a").unwrap();
    assert!(deleted.is_deleted() && directory.get("a").is_none());
    assert!(directory.delete("a").is_none() && !directory.has_sequenced());
    assert_eq!(here.index_of("a"), None, "nobody publishes to it");
    assert_eq!(here.place_of(&deleted), Some(old), "but what was, arrives");
    assert_eq!(here.join("a", 3), Err(JoinError::BeingDeleted));
    assert_eq!(here.join("a", 1), Err(JoinError::BeingDeleted));
    let new = there.join("a", 1).unwrap().unwrap();
    let room = directory.get("a").unwrap();
    assert!(room.sequence().is_none() && room.shards().eq([1]));
    assert_eq!(there.place_of(&deleted), None);
    assert_eq!(there.place_of(&room), Some(new));
    here.leave(old, 1);
    here.dissolve(old);
    assert_eq!((deleted.members(), deleted.shards().next()), (0, None));
    assert_eq!(here.held("a"), None);
    assert!(Arc::ptr_eq(&directory.get("a").unwrap(), &room), "it stays");
    here.join("a", 3).unwrap().unwrap();
    assert_eq!(room.members(), 2);
}

#[test]
fn a_room_has_a_limit_of_its_own() {
    let directory = Arc::new(Directory::new(RoomLimits {
        members: 3,
        ..UNLIMITED
    }));
    let mut rooms = LocalRooms::new(0, Arc::clone(&directory));
    for (own, max) in [(2, 2), (5, 3usize)] {
        let name = own.to_string();
        let traits = RoomTraits {
            max_members: Some(own),
            ..RoomTraits::default()
        };
        directory.create(&name, traits).unwrap();
        assert_eq!(directory.info(&name).unwrap().max_members, Some(max));
        for slot in (0..).take(max) {
            assert!(rooms.join(&name, slot).is_ok());
        }
        assert_eq!(rooms.join(&name, 9), Err(JoinError::RoomFull { max }));
    }
}
