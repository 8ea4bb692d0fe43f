//! Numbers that one thread changes and any thread reads.
//!
//! A change is a load and a store, so that it costs what it would without other threads. Two threads that
//! change the same one would lose changes, and nothing else.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reading::{ByLabel, HistogramSnapshot, Reading};
use crate::closed_list::Listed;

/// What is counted, and can be read.
pub(super) trait Cell {
    type Reading: Reading;

    fn read(&self) -> Self::Reading;
}

/// A sum that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }
}

impl Cell for Counter {
    type Reading = u64;

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How much of something there is.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    #[inline]
    pub(crate) fn set(&self, now: usize) {
        self.0.store(now as u64, Ordering::Relaxed);
    }
}

impl Cell for Level {
    type Reading = u64;

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of a closed list.
#[derive(Debug)]
pub(crate) struct CountersBy<K> {
    counters: Box<[Counter]>,
    by: PhantomData<K>,
}

impl<K: Listed> Default for CountersBy<K> {
    fn default() -> CountersBy<K> {
        CountersBy {
            counters: K::ALL.iter().map(|_| Counter::default()).collect(),
            by: PhantomData,
        }
    }
}

impl<K: Listed> CountersBy<K> {
    pub(crate) fn add(&self, kind: K, more: u64) {
        if let Some(counter) = self.counters.get(kind.place()) {
            counter.add(more);
        }
    }
}

impl<K: Listed> Cell for CountersBy<K> {
    type Reading = ByLabel<K>;

    fn read(&self) -> ByLabel<K> {
        self.counters.iter().map(Cell::read).collect()
    }
}

/// Buckets of every histogram, each twice as wide as the one before; what is above has one more.
pub(super) const BUCKETS: usize = 22;

/// How values are spread: the bound of the first bucket is `FIRST` of what it counts in, of which `UNIT`
/// are one of what it is told in.
#[derive(Debug, Default)]
pub(crate) struct Histogram<const FIRST: u64, const UNIT: u64> {
    buckets: [Counter; BUCKETS + 1],
    sum: Counter,
}

/// Bytes, from 16 to 32 MiB.
pub(crate) type Sizes = Histogram<16, 1>;
/// Nanoseconds, told in seconds: from 250 ns to half a second.
pub(crate) type ShortTimes = Histogram<250, 1_000_000_000>;
/// Milliseconds, told in seconds: from an eighth of a second to three days.
pub(crate) type LongTimes = Histogram<125, 1000>;

impl<const FIRST: u64, const UNIT: u64> Histogram<FIRST, UNIT> {
    /// Counts a value so many times.
    #[inline]
    pub(crate) fn observe(&self, value: u64, times: u64) {
        self.buckets[bucket_of(value.div_ceil(FIRST))].add(times);
        self.sum.add(value.saturating_mul(times));
    }
}

/// The first bucket whose bound, a power of two, is not below that.
#[inline]
fn bucket_of(units: u64) -> usize {
    let power = u64::BITS - units.saturating_sub(1).leading_zeros();
    (power as usize).min(BUCKETS)
}

impl<const FIRST: u64, const UNIT: u64> Cell for Histogram<FIRST, UNIT> {
    type Reading = HistogramSnapshot;

    #[expect(
        clippy::cast_precision_loss,
        reason = "bounds are powers of two times a small number, and a sum is told to 15 digits"
    )]
    fn read(&self) -> HistogramSnapshot {
        let told = |value: u64| value as f64 / UNIT as f64;
        HistogramSnapshot {
            bounds: (0..BUCKETS).map(|power| told(FIRST << power)).collect(),
            counts: self.buckets.iter().map(Cell::read).collect(),
            sum: told(self.sum.read()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it() {
        for (units, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3)] {
            assert_eq!(bucket_of(units), bucket, "{units}");
        }
        assert_eq!(bucket_of(1 << (BUCKETS - 1)), BUCKETS - 1);
        assert_eq!(bucket_of((1 << (BUCKETS - 1)) + 1), BUCKETS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS);
    }

    #[test]
    fn values_are_found_below_their_bounds() {
        let sizes = Sizes::default();
        for size in [0, 16, 17, 32, 33, 64 << 20] {
            sizes.observe(size, 1);
        }
        sizes.observe(16, 4);
        let read = sizes.read();
        assert_eq!(read.counts[..4], [6, 2, 1, 0]);
        assert_eq!(read.counts[BUCKETS], 1);
        assert_eq!(read.bounds[..3], [16.0, 32.0, 64.0]);
        assert_eq!(read.count(), 10);
        assert!((read.sum - 67_109_026.0).abs() < 0.5, "{}", read.sum);
        let times = ShortTimes::default().read();
        assert!((times.bounds[2] - 1e-6).abs() < 1e-12);
    }
}
