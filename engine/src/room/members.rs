//! The members of a room in one shard, by their slots.

use std::iter::Copied;
use std::slice;

use roaring::RoaringBitmap;

use super::few::Few;

/// Members that a room holds without a bitmap: in the 32 bytes that an enum of a bitmap takes.
const MAX_FEW: usize = 6;
/// A room that has shrunk to so many gives its bitmap up. Lower than [`MAX_FEW`], so that one who
/// comes and goes does not make and drop a bitmap every time.
const FEW_AGAIN: usize = 3;
/// Slots that are read from a bitmap at once.
const BATCH: usize = 64;

/// Who is in a room. Few members take no memory of their own, many a compressed bitmap.
#[derive(Debug)]
pub(super) enum MemberSet {
    Few(Few<MAX_FEW>),
    Many(RoaringBitmap),
}

impl MemberSet {
    pub(super) const EMPTY: MemberSet = MemberSet::Few(Few::NONE);

    /// Adds a slot; returns whether it is new.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let few = match self {
            MemberSet::Many(bitmap) => return bitmap.insert(slot),
            MemberSet::Few(few) => few,
        };
        if let Ok(is_new) = few.insert(slot) {
            return is_new;
        }
        let mut bitmap: RoaringBitmap = few.as_slice().iter().collect();
        bitmap.insert(slot);
        // A copy has no spare capacity; what was grown has some for four containers, where nearly
        // every room has one.
        *self = MemberSet::Many(bitmap.clone());
        true
    }

    /// Removes a slot; returns whether it was there.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let bitmap = match self {
            MemberSet::Few(few) => return few.remove(slot),
            MemberSet::Many(bitmap) => bitmap,
        };
        let was_there = bitmap.remove(slot);
        if was_there && bitmap.len() <= FEW_AGAIN as u64 {
            *self = MemberSet::Few(bitmap.iter().collect());
        }
        was_there
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members().len() == 0
    }

    #[inline]
    pub(super) fn members(&self) -> Members<'_> {
        match self {
            MemberSet::Few(few) => Members::Few(few.as_slice()),
            MemberSet::Many(bitmap) => Members::Many(bitmap),
        }
    }
}

/// Slots, to be looked at: the members of a room, of several, or everybody. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Members<'a> {
    /// In ascending order, each once.
    Few(&'a [u32]),
    Many(&'a RoaringBitmap),
}

impl<'a> Members<'a> {
    pub(super) const NOBODY: Members<'static> = Members::Few(&[]);

    #[inline]
    pub(crate) fn len(self) -> usize {
        match self {
            Members::Few(slots) => slots.len(),
            // No more than there are slots.
            Members::Many(bitmap) => usize::try_from(bitmap.len()).unwrap_or(usize::MAX),
        }
    }

    #[inline]
    pub(crate) fn contains(self, slot: u32) -> bool {
        match self {
            Members::Few(slots) => slots.binary_search(&slot).is_ok(),
            Members::Many(bitmap) => bitmap.contains(slot),
        }
    }

    /// The slots, in their order, which is that of the connections in memory.
    #[inline]
    pub(crate) fn iter(self) -> Slots<'a> {
        Slots(match self {
            Members::Few(slots) => Source::Few(slots.iter().copied()),
            Members::Many(bitmap) => Source::Many(Batches {
                rest: bitmap.iter(),
                batch: [0; BATCH],
                next: 0,
                end: 0,
            }),
        })
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = u32;
    type IntoIter = Slots<'a>;

    #[inline]
    fn into_iter(self) -> Slots<'a> {
        self.iter()
    }
}

/// Iterates over [`Members`].
#[derive(Debug)]
pub(crate) struct Slots<'a>(Source<'a>);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack while members are walked"
)]
enum Source<'a> {
    Few(Copied<slice::Iter<'a, u32>>),
    Many(Batches<'a>),
}

impl Iterator for Slots<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match &mut self.0 {
            Source::Few(slots) => slots.next(),
            Source::Many(batches) => batches.next(),
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, u32) -> B>(self, initial: B, f: F) -> B {
        match self.0 {
            Source::Few(slots) => slots.fold(initial, f),
            Source::Many(batches) => batches.fold(initial, f),
        }
    }
}

/// A bitmap read in batches: taken one at a time its slots cost two to three times as much.
struct Batches<'a> {
    rest: roaring::bitmap::Iter<'a>,
    batch: [u32; BATCH],
    /// What of the batch has not been given out.
    next: usize,
    end: usize,
}

impl Batches<'_> {
    #[inline(never)]
    fn read(&mut self) {
        self.end = self.rest.next_many(&mut self.batch).len();
        self.next = 0;
    }
}

impl Iterator for Batches<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.next == self.end {
            self.read();
        }
        let slot = *self.batch[..self.end].get(self.next)?;
        self.next += 1;
        Some(slot)
    }

    #[inline]
    fn fold<B, F: FnMut(B, u32) -> B>(mut self, initial: B, mut f: F) -> B {
        let mut folded = initial;
        loop {
            let batch = &self.batch[self.next..self.end];
            folded = batch.iter().fold(folded, |folded, &slot| f(folded, slot));
            self.read();
            if self.end == 0 {
                return folded;
            }
        }
    }
}

impl std::fmt::Debug for Batches<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bitmap_comes_late_and_goes_later() {
        let mut set = MemberSet::EMPTY;
        let few = |set: &MemberSet| matches!(set, MemberSet::Few(_));
        (0..6).for_each(|slot| assert!(set.insert(slot) && few(&set)));
        assert!(set.insert(6) && !few(&set));
        (0..3).for_each(|slot| assert!(set.remove(slot) && !few(&set)));
        assert!(!set.remove(0) && !few(&set));
        assert!(set.remove(3) && few(&set));
        assert_eq!(set.members().iter().collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn a_small_room_is_small() {
        assert!(size_of::<MemberSet>() <= 32);
    }

    /// Slots near each other, far apart, and at the borders of a bitmap's containers.
    fn slot() -> impl Strategy<Value = u32> {
        prop_oneof![
            4 => 0u32..12,
            2 => 0u32..300,
            1 => any::<u32>(),
            1 => prop::sample::select(vec![0, 65_535, 65_536, 131_071, u32::MAX]),
        ]
    }

    fn check(set: &MemberSet, model: &BTreeSet<u32>) {
        let members = set.members();
        assert_eq!(members.len(), model.len());
        assert_eq!(set.is_empty(), model.is_empty());
        assert!(members.iter().eq(model.iter().copied()));
        // Folded from where stepping stopped, in every mixture.
        for steps in [0, 1, BATCH - 1, BATCH, BATCH + 1] {
            let mut slots = members.iter();
            let mut found: Vec<u32> = slots.by_ref().take(steps).collect();
            slots.for_each(|slot| found.push(slot));
            assert!(found.iter().eq(model.iter()), "after {steps}");
        }
    }

    proptest! {
        #[test]
        fn a_set_of_members_is_a_set(changes in prop::collection::vec((0u8..10, slot()), 0..200)) {
            let (mut set, mut model) = (MemberSet::EMPTY, BTreeSet::new());
            for (kind, slot) in changes {
                if kind < 6 {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    // Mostly one that is there, or sets would only grow.
                    let there = model.range(slot..).next().copied();
                    let slot = there.filter(|_| kind < 9).unwrap_or(slot);
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
                prop_assert_eq!(set.members().contains(slot), model.contains(&slot));
                check(&set, &model);
            }
        }

        #[test]
        fn a_large_set_is_walked_in_order(
            start in 0u32..200_000,
            len in 0u32..20_000,
            step in 1u32..20,
        ) {
            let slots: Vec<u32> = (0..len).map(|at| start + at * step).collect();
            let mut set = MemberSet::EMPTY;
            slots.iter().rev().for_each(|&slot| assert!(set.insert(slot)));
            check(&set, &slots.into_iter().collect());
        }
    }
}
