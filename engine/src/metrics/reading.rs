//! What was counted, as it is read.

use std::fmt;
use std::marker::PhantomData;

use serde::{Serialize, Serializer};

use crate::closed_list::Listed;

/// What can be summed over shards.
pub(super) trait Reading {
    fn add(&mut self, other: &Self);
}

impl Reading for u64 {
    fn add(&mut self, other: &u64) {
        *self += other;
    }
}

/// A number for each of a closed list: `K` is [`Rejection`](crate::Rejection),
/// [`CauseKind`](crate::CauseKind), [`ErrorKind`](crate::ErrorKind) or [`Loss`](crate::Loss).
#[derive(Clone, PartialEq, Eq)]
pub struct ByLabel<K> {
    numbers: Vec<u64>,
    by: PhantomData<K>,
}

#[expect(
    private_bounds,
    reason = "the lists are those of this crate, which are closed"
)]
impl<K: Listed> ByLabel<K> {
    /// The number of that one.
    pub fn get(&self, kind: K) -> u64 {
        self.numbers.get(kind.place()).copied().unwrap_or_default()
    }

    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Each with its number, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        K::ALL.iter().copied().zip(self.numbers.iter().copied())
    }
}

impl<K: Listed> Default for ByLabel<K> {
    fn default() -> ByLabel<K> {
        K::ALL.iter().map(|_| 0).collect()
    }
}

impl<K> FromIterator<u64> for ByLabel<K> {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> ByLabel<K> {
        ByLabel {
            numbers: numbers.into_iter().collect(),
            by: PhantomData,
        }
    }
}

impl<K: Listed> Reading for ByLabel<K> {
    fn add(&mut self, other: &ByLabel<K>) {
        for (sum, more) in self.numbers.iter_mut().zip(&other.numbers) {
            *sum += more;
        }
    }
}

impl<K: Listed> fmt::Debug for ByLabel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.iter().map(|(kind, number)| (kind.word(), number));
        f.debug_map().entries(words).finish()
    }
}

/// A map of words to numbers.
impl<K: Listed> Serialize for ByLabel<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(kind, number)| (kind.word(), number)))
    }
}

/// How values are spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HistogramSnapshot {
    /// The bounds of the buckets, ascending; a value on a bound is below it.
    pub bounds: Vec<f64>,
    /// Values in each bucket, those above the last bound behind them: one more than there are bounds. Of
    /// nothing at all, which is what `default` is, there are none.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl HistogramSnapshot {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What has come since an earlier reading of the same.
    #[cfg(feature = "admin")]
    pub(crate) fn since(&self, earlier: &HistogramSnapshot) -> HistogramSnapshot {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before);
        HistogramSnapshot {
            bounds: self.bounds.clone(),
            counts: counts
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
            sum: self.sum - earlier.sum,
        }
    }

    /// The bound that so many of all values (0 to 1) are not above; infinite where they are above the last
    /// one, `None` where there are no values.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) {
    /// let p99 = engine.metrics().total.handling_time.quantile(0.99);
    /// # }
    /// ```
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts are below 2^53, and a bucket is rough"
    )]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        let wanted = part.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        for (place, more) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, more)| **more > 0)
        {
            below += more;
            if below as f64 >= wanted {
                return Some(self.bounds.get(place).copied().unwrap_or(f64::INFINITY));
            }
        }
        None
    }
}

impl Reading for HistogramSnapshot {
    fn add(&mut self, other: &HistogramSnapshot) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        for (sum, more) in self.counts.iter_mut().zip(&other.counts) {
            *sum += more;
        }
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_above_it() {
        let spread = HistogramSnapshot {
            bounds: vec![1.0, 2.0, 4.0],
            counts: vec![0, 90, 9, 1],
            sum: 0.0,
        };
        for (part, bound) in [(0.0, 2.0), (0.9, 2.0), (0.95, 4.0), (0.99, 4.0)] {
            assert_eq!(spread.quantile(part), Some(bound), "{part}");
        }
        assert_eq!(spread.quantile(1.0), Some(f64::INFINITY));
        assert_eq!(HistogramSnapshot::default().quantile(0.5), None);
    }
}
