//! Audiences of several rooms: who is in some of them, less who is in others.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::Members;

/// Members of all rooms together up to which they are put in order one by one, without a bitmap.
/// Measured (`bench/benches/rooms.rs`): from here on bitmaps are faster.
const MAX_LISTED: usize = 64;

/// Rooms whose members are looked at together, without a heap block for up to eight.
pub(super) type Group<'a> = SmallVec<[Members<'a>; 8]>;

/// Computes audiences; keeps the last answer and its memory.
#[derive(Debug, Default)]
pub(super) struct Algebra {
    listed: Vec<u32>,
    bitmap: RoaringBitmap,
    is_listed: bool,
}

impl Algebra {
    /// The last answer.
    pub(super) fn answer(&self) -> Members<'_> {
        match self.is_listed {
            true => Members::Few(&self.listed),
            false => Members::Many(&self.bitmap),
        }
    }

    /// Finds who is in one of `united` and in none of `less`.
    pub(super) fn compute(&mut self, united: &Group<'_>, less: &Group<'_>) {
        let most: usize = united.iter().map(|members| members.len()).sum();
        self.is_listed = most <= MAX_LISTED;
        if self.is_listed {
            self.list(united, less);
        } else {
            self.combine(united, less);
        }
    }

    fn list(&mut self, united: &Group<'_>, less: &Group<'_>) {
        let listed = &mut self.listed;
        listed.clear();
        united.iter().for_each(|members| listed.extend(*members));
        if united.len() > 1 {
            listed.sort_unstable();
            listed.dedup();
        }
        listed.retain(|&slot| !less.iter().any(|members| members.contains(slot)));
    }

    fn combine(&mut self, united: &Group<'_>, less: &Group<'_>) {
        let bitmap = &mut self.bitmap;
        bitmap.clear();
        for members in united {
            match *members {
                Members::Few(slots) => bitmap.extend(slots),
                Members::Many(other) => *bitmap |= other,
            }
        }
        for members in less {
            match *members {
                Members::Few(slots) => {
                    for &slot in slots {
                        bitmap.remove(slot);
                    }
                }
                Members::Many(other) => *bitmap -= other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::members::MemberSet;
    use super::*;

    /// A room, of any size between nobody and more than are listed.
    fn room() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            prop::collection::btree_set(0u32..30, 0..5),
            prop::collection::btree_set(0u32..100, 0..80),
            prop::collection::btree_set(0u32..200_000, 0..20),
        ]
    }

    fn rooms() -> impl Strategy<Value = Vec<BTreeSet<u32>>> {
        prop::collection::vec(room(), 0..5)
    }

    fn member_set(slots: &BTreeSet<u32>) -> MemberSet {
        let mut set = MemberSet::EMPTY;
        slots.iter().for_each(|&slot| assert!(set.insert(slot)));
        set
    }

    fn group(sets: &[MemberSet]) -> Group<'_> {
        sets.iter().map(MemberSet::members).collect()
    }

    fn union(rooms: &[BTreeSet<u32>]) -> BTreeSet<u32> {
        rooms.iter().flatten().copied().collect()
    }

    proptest! {
        #[test]
        fn one_answer_after_the_other_is_right(questions in prop::collection::vec((rooms(), rooms()), 1..6)) {
            let mut algebra = Algebra::default();
            for (united, less) in questions {
                let sets = |rooms: &[_]| rooms.iter().map(member_set).collect::<Vec<_>>();
                let (united_sets, less_sets) = (sets(&united), sets(&less));
                algebra.compute(&group(&united_sets), &group(&less_sets));
                let expected = &union(&united) - &union(&less);
                prop_assert!(algebra.answer().iter().eq(expected.iter().copied()));
                prop_assert_eq!(algebra.answer().len(), expected.len());
            }
        }
    }
}
