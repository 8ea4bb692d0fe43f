//! Latencies of the measured window.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies count as this: ten minutes.
const LONGEST: u64 = 600_000_000_000;

/// Significant decimal digits kept of a latency.
const DIGITS: u8 = 3;

/// How long messages took, of those whose time of sending lies in the measured window.
/// In nanoseconds, to three significant digits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Messages measured.
    pub samples: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// Half took at most this.
    pub p50_ns: u64,
    /// 90 % took at most this.
    pub p90_ns: u64,
    /// 99 % took at most this.
    pub p99_ns: u64,
    /// 99.9 % took at most this.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// The histogram: latency and how many took that long, ascending, none of zero.
    pub buckets: Vec<(u64, u64)>,
}

impl Latency {
    /// The latencies of several processes as one.
    pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut recorder = Recorder::default();
        for (latency, count) in parts.into_iter().flat_map(|part| &part.buckets) {
            recorder.histogram.saturating_record_n(*latency, *count);
        }
        recorder.finish()
    }
}

/// Collects latencies.
#[derive(Debug)]
pub(crate) struct Recorder {
    histogram: Histogram<u64>,
    from: u64,
    to: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "these bounds are within the histogram's"
        )]
        let histogram = Histogram::new_with_max(LONGEST, DIGITS).expect("constant bounds");
        Self {
            histogram,
            from: u64::MAX,
            to: u64::MAX,
        }
    }
}

impl Recorder {
    /// Records from now on what is sent from `from` until before `to`, and nothing else.
    pub(crate) fn open(&mut self, from: u64, to: u64) {
        (self.from, self.to) = (from, to);
    }

    /// Notes that what was sent, or should have been, at `sent` has arrived at `now`.
    #[inline]
    pub(crate) fn record(&mut self, sent: u64, now: u64) {
        if sent >= self.from && sent < self.to {
            self.histogram.saturating_record(now.saturating_sub(sent));
        }
    }

    pub(crate) fn finish(&self) -> Latency {
        let histogram = &self.histogram;
        if histogram.is_empty() {
            return Latency::default();
        }
        Latency {
            samples: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: histogram.mean(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p99_9_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
            buckets: histogram
                .iter_recorded()
                .map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(latencies: impl IntoIterator<Item = u64>) -> Latency {
        let mut recorder = Recorder::default();
        recorder.open(1000, 2000);
        for latency in latencies {
            recorder.record(1000, 1000 + latency);
        }
        recorder.finish()
    }

    #[test]
    fn only_the_window_counts() {
        let mut recorder = Recorder::default();
        recorder.record(5, 10);
        recorder.open(1000, 2000);
        for sent in [999, 1000, 1999, 2000] {
            recorder.record(sent, 2500);
        }
        assert_eq!(recorder.finish().samples, 2);
        assert_eq!(Recorder::default().finish(), Latency::default());
    }

    #[test]
    fn merged_parts_equal_the_whole() {
        let parts = [recorded(1..=500_000), recorded(500_001..=1_000_000)];
        let merged = Latency::merge(&parts);
        let whole = recorded(1..=1_000_000);
        assert_eq!(merged.samples, 1_000_000);
        assert_eq!(merged.buckets, whole.buckets);
        assert!(merged.p50_ns.abs_diff(500_000) < 1_000, "{}", merged.p50_ns);
        assert!(
            merged.p99_9_ns.abs_diff(999_000) < 1_000,
            "{}",
            merged.p99_9_ns
        );
    }

    #[test]
    fn absurd_latencies_are_capped() {
        assert!(recorded([u64::MAX - 1000]).max_ns >= LONGEST);
    }
}
