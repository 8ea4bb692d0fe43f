//! The rooms that one connection is in.

use roaring::RoaringBitmap;

use super::RoomIndex;
use super::few::{Few, Full};

/// Rooms that a connection holds without a heap block, in the 24 bytes that there are.
const MAX_FEW: usize = 4;
/// A connection that has left all but so many rooms gives its heap block up. Lower than
/// [`MAX_FEW`], so that joining and leaving one room does not allocate every time.
const FEW_AGAIN: usize = 2;
/// More rooms than this are a bitmap.
const MAX_SORTED: usize = 4096;

/// Places of rooms in ascending order: up to four within; in blocks of two bytes each while they fit,
/// of four bytes each from then on; thousands in a compressed bitmap.
///
/// The blocks have no spare capacity, since a million memberships are to fit in 4 MiB: adding and
/// removing copies kilobytes at most.
#[derive(Debug)]
pub(crate) struct RoomSet(Rooms);

/// With a wider tag, a slab of connections would keep its own mark here, far from what it looks at.
#[derive(Debug)]
#[repr(u8)]
enum Rooms {
    Few(Few<MAX_FEW>),
    Narrow(Box<[u16]>),
    Wide(Box<[RoomIndex]>),
    Many(Box<RoaringBitmap>),
}

impl Default for RoomSet {
    fn default() -> RoomSet {
        RoomSet(Rooms::Few(Few::NONE))
    }
}

impl RoomSet {
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Rooms::Few(few) => few.as_slice().len(),
            Rooms::Narrow(rooms) => rooms.len(),
            Rooms::Wide(rooms) => rooms.len(),
            Rooms::Many(rooms) => usize::try_from(rooms.len()).unwrap_or(usize::MAX),
        }
    }

    /// The one that so many are smaller than.
    pub(crate) fn get(&self, place: usize) -> Option<RoomIndex> {
        match &self.0 {
            Rooms::Few(few) => few.as_slice().get(place).copied(),
            Rooms::Narrow(rooms) => rooms.get(place).copied().map(RoomIndex::from),
            Rooms::Wide(rooms) => rooms.get(place).copied(),
            Rooms::Many(rooms) => rooms.select(u32::try_from(place).ok()?),
        }
    }

    /// In ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RoomIndex> {
        type Kinds<'a> = (&'a [u16], &'a [RoomIndex], Option<&'a RoaringBitmap>);
        let (narrow, wide, many): Kinds<'_> = match &self.0 {
            Rooms::Few(few) => (&[], few.as_slice(), None),
            Rooms::Narrow(rooms) => (rooms, &[], None),
            Rooms::Wide(rooms) => (&[], rooms, None),
            Rooms::Many(rooms) => (&[], &[], Some(rooms)),
        };
        let narrow = narrow.iter().map(|&room| RoomIndex::from(room));
        let sorted = narrow.chain(wide.iter().copied());
        sorted.chain(many.into_iter().flatten())
    }

    pub(crate) fn contains(&self, room: RoomIndex) -> bool {
        match &self.0 {
            Rooms::Few(few) => few.as_slice().contains(&room),
            Rooms::Narrow(rooms) => {
                u16::try_from(room).is_ok_and(|room| rooms.binary_search(&room).is_ok())
            }
            Rooms::Wide(rooms) => rooms.binary_search(&room).is_ok(),
            Rooms::Many(rooms) => rooms.contains(room),
        }
    }

    /// Adds a room; returns whether it is new.
    pub(crate) fn insert(&mut self, room: RoomIndex) -> bool {
        let inserted = match &mut self.0 {
            Rooms::Few(few) => few.insert(room),
            Rooms::Narrow(rooms) => {
                u16::try_from(room).map_or(Err(Full), |room| insert(rooms, room))
            }
            Rooms::Wide(rooms) => insert(rooms, room),
            Rooms::Many(rooms) => Ok(rooms.insert(room)),
        };
        inserted.unwrap_or_else(|Full| {
            self.0 = match &self.0 {
                Rooms::Few(few) => spread(few.as_slice()),
                _ if self.len() < MAX_SORTED => Rooms::Wide(self.iter().collect()),
                _ => Rooms::Many(Box::new(self.iter().collect())),
            };
            self.insert(room)
        })
    }

    /// Removes a room; returns whether it was there.
    pub(crate) fn remove(&mut self, room: RoomIndex) -> bool {
        let was_there = match &mut self.0 {
            Rooms::Few(few) => return few.remove(room),
            Rooms::Narrow(rooms) => u16::try_from(room).is_ok_and(|room| remove(rooms, room)),
            Rooms::Wide(rooms) => remove(rooms, room),
            Rooms::Many(rooms) => rooms.remove(room),
        };
        if was_there && self.len() <= FEW_AGAIN {
            self.0 = Rooms::Few(self.iter().collect());
        }
        was_there
    }
}

/// In a heap block, of the narrower kind if that will do.
fn spread(rooms: &[RoomIndex]) -> Rooms {
    let narrow: Result<Box<[u16]>, _> = rooms.iter().map(|&room| room.try_into()).collect();
    narrow.map_or_else(|_| Rooms::Wide(rooms.into()), Rooms::Narrow)
}

fn insert<T: Copy + Ord>(sorted: &mut Box<[T]>, item: T) -> Result<bool, Full> {
    let Err(at) = sorted.binary_search(&item) else {
        return Ok(false);
    };
    if sorted.len() == MAX_SORTED {
        return Err(Full);
    }
    let mut items = std::mem::take(sorted).into_vec();
    items.reserve_exact(1);
    items.insert(at, item);
    *sorted = items.into_boxed_slice();
    Ok(true)
}

fn remove<T: Copy + Ord>(sorted: &mut Box<[T]>, item: T) -> bool {
    let Ok(at) = sorted.binary_search(&item) else {
        return false;
    };
    let mut items = std::mem::take(sorted).into_vec();
    items.remove(at);
    *sorted = items.into_boxed_slice();
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_small() {
        assert!(size_of::<RoomSet>() <= 24);
    }

    #[test]
    fn rooms_take_two_bytes_while_their_places_fit() {
        let mut rooms = RoomSet::default();
        (0..4).for_each(|room| assert!(rooms.insert(room)));
        assert!(matches!(rooms.0, Rooms::Few(_)));
        assert!(rooms.insert(65_535));
        assert!(matches!(&rooms.0, Rooms::Narrow(block) if block.len() == 5));
        assert!(rooms.insert(65_536));
        assert!(matches!(&rooms.0, Rooms::Wide(block) if block.len() == 6));
        (0..3).for_each(|room| assert!(rooms.remove(room)));
        assert!(matches!(&rooms.0, Rooms::Wide(block) if block.len() == 3));
        assert!(rooms.remove(3));
        assert!(matches!(rooms.0, Rooms::Few(_)));
        assert!(rooms.iter().eq([65_535, 65_536]));
    }

    #[test]
    fn thousands_of_rooms_are_a_bitmap() {
        let mut rooms = RoomSet::default();
        let all = (0u32..).step_by(7).take(MAX_SORTED + 2);
        all.clone().for_each(|room| assert!(rooms.insert(room)));
        assert!(matches!(rooms.0, Rooms::Many(_)));
        assert!(!rooms.insert(7) && !rooms.remove(8));
        assert_eq!((rooms.len(), rooms.get(3)), (MAX_SORTED + 2, Some(21)));
        assert_eq!(rooms.get(MAX_SORTED + 2), None);
        assert!(rooms.iter().eq(all.clone()));
        all.skip(3).for_each(|room| assert!(rooms.remove(room)));
        assert!(rooms.remove(0));
        assert!(matches!(rooms.0, Rooms::Few(_)));
        assert!(rooms.iter().eq([7, 14]));
    }

    fn room() -> impl Strategy<Value = RoomIndex> {
        prop_oneof![
            6 => 0u32..20,
            1 => 65_530u32..65_540,
            1 => any::<u32>(),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((any::<bool>(), room()), 0..200)) {
            let (mut rooms, mut model) = (RoomSet::default(), BTreeSet::new());
            for (joins, room) in changes {
                if joins {
                    prop_assert_eq!(rooms.insert(room), model.insert(room));
                } else {
                    prop_assert_eq!(rooms.remove(room), model.remove(&room));
                }
                prop_assert_eq!(rooms.len(), model.len());
                prop_assert!(rooms.iter().eq(model.iter().copied()));
                let places = (0..=rooms.len()).map_while(|place| rooms.get(place));
                prop_assert!(places.eq(model.iter().copied()));
            }
        }
    }
}
