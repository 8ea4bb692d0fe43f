//! Metrics with their samples, as they are told to other systems.

use super::reading::{ByLabel, HistogramSnapshot};
use super::{Metric, Metrics, Unit};
use crate::closed_list::Listed;

/// A metric and what was measured of it.
#[derive(Debug)]
pub(super) struct Family {
    /// With the suffixes that Prometheus wants.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Counter(u64),
    Gauge(u64),
    Histogram(HistogramSnapshot),
}

/// A reading that can be told.
pub(super) trait Told {
    /// Adds it to the family: that of one shard, or of all. Where it is several numbers, `label` names
    /// what they differ in.
    fn tell(&self, family: &mut Family, label: &'static str, shard: Option<usize>);
}

impl Told for u64 {
    fn tell(&self, family: &mut Family, _: &'static str, shard: Option<usize>) {
        let value = family.number(*self);
        family.add(None, shard, value);
    }
}

impl Told for HistogramSnapshot {
    fn tell(&self, family: &mut Family, _: &'static str, shard: Option<usize>) {
        family.add(None, shard, Value::Histogram(self.clone()));
    }
}

impl<K: Listed> Told for ByLabel<K> {
    fn tell(&self, family: &mut Family, label: &'static str, shard: Option<usize>) {
        for (kind, number) in self.iter() {
            let value = family.number(number);
            family.add(Some((label, kind.word())), shard, value);
        }
    }
}

impl Family {
    pub(super) fn new(name: &'static str, help: &'static str) -> Family {
        Family {
            name,
            help: help.trim(),
            samples: Vec::new(),
        }
    }

    /// What its numbers are in.
    pub(super) fn unit(&self) -> Option<Unit> {
        Unit::of(self.name)
    }

    /// A sum where the name says so, how much there is otherwise.
    fn number(&self, number: u64) -> Value {
        if self.name.ends_with("_total") {
            Value::Counter(number)
        } else {
            Value::Gauge(number)
        }
    }

    fn add(&mut self, label: Option<(&'static str, &str)>, shard: Option<usize>, value: Value) {
        let label = label.map(|(name, value)| (name, value.to_owned()));
        let shard = shard.map(|shard| ("shard", shard.to_string()));
        self.samples.push(Sample {
            labels: label.into_iter().chain(shard).collect(),
            value,
        });
    }

    /// Tells all samples.
    pub(super) fn report(&self, metrics: &mut impl Metrics) {
        for Sample { labels, value } in &self.samples {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, &**v)).collect();
            let metric = Metric {
                name: self.name,
                help: self.help,
                unit: self.unit(),
                labels: &labels,
            };
            match value {
                Value::Counter(sum) => metrics.counter(&metric, *sum),
                Value::Gauge(now) => metrics.gauge(&metric, *now),
                Value::Histogram(spread) => metrics.histogram(&metric, spread),
            }
        }
    }
}
