//! What a shard counts with.

use std::sync::Arc;

use super::ShardCounters;

/// A shard's counters, for what counts on its thread; nothing where metrics are off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Arc<ShardCounters>>);

impl Meter {
    /// Counts there.
    pub(crate) fn new(counters: &Arc<ShardCounters>) -> Meter {
        Meter(Some(Arc::clone(counters)))
    }

    /// Where to count.
    #[inline]
    pub(crate) fn counters(&self) -> Option<&ShardCounters> {
        self.0.as_deref()
    }
}
