//! A set of shards that several threads change.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::MAX_SHARDS;

/// Words beyond the first.
const FURTHER: usize = MAX_SHARDS / 64 - 1;

/// A bit for each shard. Those of the first 64 are within; few engines have more.
#[derive(Debug, Default)]
pub(super) struct ShardBits {
    first: AtomicU64,
    further: OnceLock<Box<[AtomicU64; FURTHER]>>,
}

impl ShardBits {
    pub(super) fn set(&self, shard: u8) {
        let word = match usize::from(shard / 64).checked_sub(1) {
            None => &self.first,
            Some(at) => &self.further.get_or_init(Box::default)[at],
        };
        word.fetch_or(1 << (shard % 64), Ordering::Release);
    }

    pub(super) fn unset(&self, shard: u8) {
        let word = match usize::from(shard / 64).checked_sub(1) {
            None => Some(&self.first),
            Some(at) => self.further.get().map(|further| &further[at]),
        };
        if let Some(word) = word {
            word.fetch_and(!(1 << (shard % 64)), Ordering::Release);
        }
    }

    /// The shards in the set, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        let further = self
            .further
            .get()
            .into_iter()
            .flat_map(|words| words.iter());
        let words = std::iter::once(&self.first).chain(further);
        words.zip(0u8..).flat_map(|(word, index)| {
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                u8::try_from(u32::from(index) * 64 + bit).ok()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_in_order_and_go() {
        let bits = ShardBits::default();
        bits.unset(200);
        for shard in [255, 0, 64, 63, 7, 128, 7] {
            bits.set(shard);
        }
        bits.unset(64);
        bits.unset(1);
        assert!(bits.iter().eq([0, 7, 63, 128, 255]));
    }
}
