//! A hashed timer wheel: one timer for each slot of a shard.
//!
//! Setting, moving and clearing a timer are a few writes; advancing costs what is due plus one
//! look per occupied bucket passed. Timers further away than one revolution stay in their
//! bucket and are passed over.

use std::time::Duration;

use crate::id::MAX_SLOTS;

/// Length of a tick: deadlines are met to within one.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Buckets of the wheel; one revolution is 40.96 s.
const BUCKETS: usize = 4096;
const WORDS: usize = BUCKETS / 64;
/// End of a list.
const NONE: u32 = u32::MAX;
/// In place of the previous slot: the timer is not set.
const NOT_SET: u32 = u32::MAX - 1;
const _: () = assert!(MAX_SLOTS < NOT_SET as usize, "slots are told from marks");

/// A moment, in ticks since the shard's epoch. 2³² ticks are 497 days; comparisons wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Tick(u32);

impl Tick {
    /// The tick that `time` since the epoch falls into.
    #[expect(clippy::cast_possible_truncation, reason = "wraps by design")]
    pub(crate) fn at(time: Duration) -> Tick {
        Tick((time.as_millis() / TICK.as_millis()) as u32)
    }

    /// The first tick at which `delay` has surely passed since this one.
    pub(crate) fn after(self, delay: Duration) -> Tick {
        let ticks = delay.as_millis().div_ceil(TICK.as_millis()) + 1;
        Tick(
            self.0
                .wrapping_add(u32::try_from(ticks).unwrap_or(u32::MAX / 2)),
        )
    }

    /// The moment from which `delay` leads to this one.
    pub(crate) fn before(self, delay: Duration) -> Tick {
        let ticks = self.after(delay).0.wrapping_sub(self.0);
        Tick(self.0.wrapping_sub(ticks))
    }

    /// Whether this moment is now or past.
    pub(crate) fn is_due(self, now: Tick) -> bool {
        now.0.wrapping_sub(self.0) < u32::MAX / 2
    }

    /// The earlier of two.
    pub(crate) fn min(self, other: Tick) -> Tick {
        if self.is_due(other) { self } else { other }
    }

    /// Time from `earlier` to this moment, to within a tick.
    pub(crate) fn since(self, earlier: Tick) -> Duration {
        TICK * self.0.wrapping_sub(earlier.0)
    }

    fn bucket(self) -> usize {
        self.0 as usize % BUCKETS
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    due: Tick,
}

const UNSET: Node = Node {
    previous: NOT_SET,
    next: NONE,
    due: Tick(0),
};

impl Node {
    fn is_set(&self) -> bool {
        self.previous != NOT_SET
    }
}

/// The timers of a shard.
#[derive(Debug)]
pub(crate) struct Wheel {
    nodes: Vec<Node>,
    heads: Box<[u32; BUCKETS]>,
    occupied: [u64; WORDS],
    /// Every timer due at or before this tick has fired.
    now: Tick,
    len: usize,
}

impl Wheel {
    /// A wheel without timers, standing at `now`, with room for `expected` slots.
    pub(crate) fn new(now: Tick, expected: usize) -> Wheel {
        Wheel {
            nodes: Vec::with_capacity(expected),
            heads: Box::new([NONE; BUCKETS]),
            occupied: [0; WORDS],
            now,
            len: 0,
        }
    }

    /// Sets or moves the timer of `slot`. One that is due already fires at the next advance.
    pub(crate) fn set(&mut self, slot: u32, due: Tick) {
        self.clear(slot);
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, UNSET);
        }
        let due = if due.is_due(self.now) {
            Tick(self.now.0.wrapping_add(1))
        } else {
            due
        };
        let bucket = due.bucket();
        let next = std::mem::replace(&mut self.heads[bucket], slot);
        if next != NONE {
            self.nodes[next as usize].previous = slot;
        }
        self.nodes[index] = Node {
            previous: NONE,
            next,
            due,
        };
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.len += 1;
    }

    /// Moves the timer of `slot` to `due` if that is earlier, or sets it.
    pub(crate) fn set_earlier(&mut self, slot: u32, due: Tick) {
        match self.nodes.get(slot as usize) {
            Some(node) if node.is_set() && node.due.is_due(due) => {}
            _ => self.set(slot, due),
        }
    }

    /// Clears the timer of `slot`, if set.
    pub(crate) fn clear(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(slot as usize) else {
            return;
        };
        if !node.is_set() {
            return;
        }
        let Node {
            previous,
            next,
            due,
        } = std::mem::replace(node, UNSET);
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else {
            let bucket = due.bucket();
            self.heads[bucket] = next;
            if next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        }
        self.len -= 1;
    }

    /// Moves on to `now` and appends to `fired` the slots whose timers were due; they are
    /// cleared.
    pub(crate) fn advance(&mut self, now: Tick, fired: &mut Vec<u32>) {
        if now == self.now || !self.now.is_due(now) {
            return;
        }
        let passed = (now.0.wrapping_sub(self.now.0) as usize).min(BUCKETS);
        let first = self.now.bucket() + 1;
        self.now = now;
        let mut offset = 0;
        while let Some(bucket) = self.next_occupied(first + offset, passed - offset) {
            self.fire(bucket % BUCKETS, fired);
            offset = bucket - first + 1;
        }
    }

    fn fire(&mut self, bucket: usize, fired: &mut Vec<u32>) {
        let mut slot = self.heads[bucket];
        while slot != NONE {
            let Node { next, due, .. } = self.nodes[slot as usize];
            if due.is_due(self.now) {
                self.clear(slot);
                fired.push(slot);
            }
            slot = next;
        }
    }

    /// Time from `now` until the next timer may be due; `None` when none is set. May be early
    /// by whole revolutions, never late.
    pub(crate) fn next_due(&self, now: Duration) -> Option<Duration> {
        if self.len == 0 {
            return None;
        }
        let first = self.now.bucket() + 1;
        let bucket = self.next_occupied(first, BUCKETS)?;
        let ticks = u32::try_from(bucket - first + 1).unwrap_or(u32::MAX);
        let into_tick = u64::try_from(now.as_nanos() % TICK.as_nanos()).unwrap_or_default();
        let into_tick = Duration::from_nanos(into_tick);
        Some((TICK * ticks).saturating_sub(into_tick))
    }

    /// Timers set.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first occupied bucket among the `count` from `first` on, counted on past the end.
    fn next_occupied(&self, first: usize, count: usize) -> Option<usize> {
        let end = first + count;
        let mut bucket = first;
        while bucket < end {
            let word = self.occupied[bucket / 64 % WORDS] >> (bucket % 64);
            if word != 0 {
                let found = bucket + word.trailing_zeros() as usize;
                return (found < end).then_some(found);
            }
            bucket = (bucket / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advance(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(Tick(now), &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn a_timer_fires_at_its_tick_and_once() {
        let mut wheel = Wheel::new(Tick(5), 0);
        wheel.set(3, Tick(10));
        assert!(advance(&mut wheel, 9).is_empty());
        assert_eq!(advance(&mut wheel, 10), [3]);
        assert!(advance(&mut wheel, 20_000).is_empty());
    }

    #[test]
    fn a_timer_beyond_a_revolution_waits_for_its_round() {
        let mut wheel = Wheel::new(Tick(0), 0);
        wheel.set(1, Tick(3 * 4096 + 7));
        for now in (0..3 * 4096 + 7).step_by(100) {
            assert!(advance(&mut wheel, now).is_empty());
        }
        assert_eq!(advance(&mut wheel, 3 * 4096 + 7), [1]);
    }

    #[test]
    fn time_wraps() {
        let start = u32::MAX - 3;
        let mut wheel = Wheel::new(Tick(start), 0);
        wheel.set(1, Tick(4));
        assert!(advance(&mut wheel, 3).is_empty());
        assert_eq!(advance(&mut wheel, 4), [1]);
    }

    #[test]
    fn after_never_comes_early() {
        let start = Duration::from_micros(19_999);
        let due = Tick::at(start).after(Duration::from_millis(10));
        assert!(!due.is_due(Tick::at(start + Duration::from_millis(9))));
        assert!(due.is_due(Tick::at(start + Duration::from_millis(21))));
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_deadlines(
            ops in proptest::collection::vec((0u32..50, 0u32..9000, 0u8..4), 1..200),
        ) {
            let mut wheel = Wheel::new(Tick(0), 0);
            let mut model: std::collections::BTreeMap<u32, u32> = Default::default();
            let mut now = 0;
            for (slot, value, op) in ops {
                match op {
                    0 => {
                        wheel.set(slot, Tick(now + value));
                        model.insert(slot, (now + value).max(now + 1));
                    }
                    1 => {
                        wheel.set_earlier(slot, Tick(now + value));
                        let due = (now + value).max(now + 1);
                        model.entry(slot).and_modify(|old| *old = due.min(*old)).or_insert(due);
                    }
                    2 => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    _ => {
                        if let Some(wait) = wheel.next_due(TICK * now) {
                            let first = model.values().min().copied().unwrap_or(u32::MAX);
                            prop_assert!(TICK * now + wait <= TICK * first);
                        }
                        now += value;
                        let expected: Vec<u32> =
                            model.iter().filter(|(_, due)| **due <= now).map(|(s, _)| *s).collect();
                        model.retain(|_, due| *due > now);
                        prop_assert_eq!(advance(&mut wheel, now), expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
