//! What was counted in the text that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as Suffix};

use super::Unit;
use super::family::{Family, Sample, Value};
use super::reading::HistogramSnapshot;
use crate::handle::EngineHandle;

/// The media type of what [`EngineHandle::prometheus`] gives.
pub const PROMETHEUS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An engine's metrics for a registry of one's own, of the crate
/// [`prometheus_client`](crate::prometheus_client).
///
/// ```
/// use throng::prometheus_client::registry::Registry;
///
/// # fn example(engine: &throng::EngineHandle) {
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(engine.collector()));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EngineCollector(EngineHandle);

impl EngineHandle {
    /// All metrics in the text that Prometheus reads (OpenMetrics 1.0), to be served as
    /// [`PROMETHEUS_CONTENT_TYPE`].
    pub fn prometheus(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.collector()));
        let mut out = String::with_capacity(32 * 1024);
        if text::encode(&mut out, &registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        out
    }

    /// All metrics, for a registry of one's own.
    pub fn collector(&self) -> EngineCollector {
        EngineCollector(self.clone())
    }
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = self.0.metrics().families();
        let measured = families.iter().filter(|family| !family.samples.is_empty());
        for family in measured {
            family.encode(&mut encoder)?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.samples.first().map(|sample| &sample.value) {
            Some(Value::Counter(_)) => MetricType::Counter,
            Some(Value::Histogram(_)) => MetricType::Histogram,
            Some(Value::Gauge(_)) | None => MetricType::Gauge,
        };
        let unit = self.unit().map(Suffix::from);
        // The suffixes are put behind it again.
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let suffix = unit.as_ref().map_or("", Suffix::as_str);
        let name = name.strip_suffix(suffix).unwrap_or(name);
        let name = name.strip_suffix('_').unwrap_or(name);
        let mut metric = encoder.encode_descriptor(name, self.help, unit.as_ref(), kind)?;
        for Sample { labels, value } in &self.samples {
            if labels.is_empty() {
                value.encode(&mut metric)?;
            } else {
                value.encode(&mut metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Counter(sum) => metric.encode_counter::<NoLabels, _, f64>(sum, None),
            Value::Gauge(now) => metric.encode_gauge(now),
            Value::Histogram(spread) => spread.encode(metric),
        }
    }
}

type NoLabels = [(&'static str, &'static str); 0];

impl HistogramSnapshot {
    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts.iter().copied()).collect();
        metric.encode_histogram::<NoLabels>(self.sum, self.count(), &buckets, None)
    }
}

impl From<Unit> for Suffix {
    fn from(unit: Unit) -> Suffix {
        match unit {
            Unit::Bytes => Suffix::Bytes,
            Unit::Seconds => Suffix::Seconds,
        }
    }
}
