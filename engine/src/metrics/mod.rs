//! What the engine counts, and telling it.
//!
//! Each shard counts for itself: no lock, nothing that two threads write. [`EngineHandle::metrics`] reads all of it at
//! any moment, from any thread; while there is traffic, numbers that belong together may be a message apart. A
//! [`MetricsSnapshot`] can be looked at, serialised, and told to any other system by a [`Metrics`]
//! of one's own. With the feature `metrics` it is also told in the text that Prometheus reads.
//!
//! [`EngineHandle::metrics`]: crate::EngineHandle::metrics

mod cell;
mod family;
mod meter;
#[cfg(feature = "metrics")]
mod prometheus;
mod reading;
mod shard;
mod snapshot;

pub(crate) use meter::Meter;
pub(crate) use shard::ShardCounters;
pub(crate) use snapshot::Sources;

#[cfg(feature = "metrics")]
pub use prometheus::{EngineCollector, PROMETHEUS_CONTENT_TYPE};
pub use reading::{ByLabel, HistogramSnapshot};
pub use shard::ShardSnapshot;
pub use snapshot::{FanoutSnapshot, MetricsSnapshot, TlsSnapshot};

/// Another system that is told what the engine has counted: StatsD, OpenTelemetry, a log.
///
/// ```
/// use throng::{HistogramSnapshot, Metric, Metrics};
///
/// /// Lines as StatsD takes them.
/// #[derive(Default)]
/// struct Lines(Vec<String>);
///
/// impl Metrics for Lines {
///     fn counter(&mut self, metric: &Metric<'_>, sum: u64) {
///         self.0.push(format!("{}:{sum}|c", metric.name));
///     }
///
///     fn gauge(&mut self, metric: &Metric<'_>, now: u64) {
///         self.0.push(format!("{}:{now}|g", metric.name));
///     }
///
///     fn histogram(&mut self, metric: &Metric<'_>, values: &HistogramSnapshot) {
///         let median = values.quantile(0.5).unwrap_or_default();
///         self.0.push(format!("{}.median:{median}|g", metric.name));
///     }
/// }
///
/// # fn example(engine: &throng::EngineHandle) {
/// let mut lines = Lines::default();
/// engine.metrics().report(&mut lines);
/// # }
/// ```
///
/// The samples of one metric, which differ in their labels, come one after another.
pub trait Metrics {
    /// A sum since the engine was started. It only grows.
    fn counter(&mut self, metric: &Metric<'_>, sum: u64);

    /// How much of something there is now.
    fn gauge(&mut self, metric: &Metric<'_>, now: u64);

    /// How values are spread, since the engine was started.
    fn histogram(&mut self, metric: &Metric<'_>, values: &HistogramSnapshot);
}

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric<'a> {
    /// Its name as Prometheus' conventions want it: `throng_messages_sent_total`.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// What its numbers are in.
    pub unit: Option<Unit>,
    /// Names and values of its labels.
    pub labels: &'a [(&'a str, &'a str)],
}

/// What numbers are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The unit that a metric's name says.
    fn of(name: &str) -> Option<Unit> {
        let name = name.strip_suffix("_total").unwrap_or(name);
        if name.ends_with("_bytes") {
            Some(Unit::Bytes)
        } else if name.ends_with("_seconds") {
            Some(Unit::Seconds)
        } else {
            None
        }
    }
}
