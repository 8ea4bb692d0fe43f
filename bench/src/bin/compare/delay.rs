//! How long messages took.

use serde::{Deserialize, Serialize};
use throng_loadtest::Latency;

/// Latencies of the messages of one measured window, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// Half of the messages took at most this.
    pub(crate) p50_ns: u64,
    /// 99 % took at most this.
    pub(crate) p99_ns: u64,
    /// The longest.
    pub(crate) max_ns: u64,
}

impl Delay {
    /// The delays of those messages; `None` if there were none.
    pub(crate) fn of(latency: &Latency) -> Option<Self> {
        (latency.samples > 0).then_some(Self {
            p50_ns: latency.p50_ns,
            p99_ns: latency.p99_ns,
            max_ns: latency.max_ns,
        })
    }

    /// The median in milliseconds.
    pub(crate) fn p50_ms(self) -> f64 {
        milliseconds(self.p50_ns)
    }

    /// The 99th percentile in milliseconds.
    pub(crate) fn p99_ms(self) -> f64 {
        milliseconds(self.p99_ns)
    }

    /// The longest in milliseconds.
    pub(crate) fn max_ms(self) -> f64 {
        milliseconds(self.max_ns)
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_shown_in_milliseconds() {
        let latency = Latency {
            samples: 3,
            p50_ns: 1_500_000,
            p99_ns: 2_000_000,
            max_ns: 40_000_000,
            ..Latency::default()
        };
        let delay = Delay::of(&latency).unwrap();
        let shown = [delay.p50_ms(), delay.p99_ms(), delay.max_ms()];
        assert_eq!(shown.map(|ms| format!("{ms}")), ["1.5", "2", "40"]);
        assert_eq!(Delay::of(&Latency::default()), None);
    }
}
