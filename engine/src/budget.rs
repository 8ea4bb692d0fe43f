//! The memory budget: what an engine's shards share about it, and what it tells.
//!
//! What is held is counted in the whole process ([`charged`]); the shards see to it at the ends of
//! their turns (`shard/budget.rs`). Between shards only two things matter. Whoever sees the pressure
//! rise wakes the others, which may sleep on much memory. And the connection to be shed next is the
//! worst of all shards: each says what its worst one holds, and the one with the most goes first.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use throng_transport::memory::charged;

use crate::limits::{LEAST_PER_TURN, PART_PER_TURN, REPORT_LASTS};

/// What the process holds for connections, and what this engine had to do about it.
///
/// See [`Config::memory_budget`](field@crate::Config::memory_budget) for what is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Bytes held now, by all engines of the process.
    pub bytes: usize,
    /// This engine's budget.
    pub budget: Option<usize>,
    /// Upgrades that this engine has refused (`503`), seven eighths of the budget being held.
    pub refused: u64,
    /// Open connections that this engine has given up, fifteen sixteenths being held.
    pub shed: u64,
}

/// How much of the budget is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Pressure {
    /// Nothing is to be done.
    None,
    /// From seven eighths on: nobody is let in, and what is kept for later is given back.
    Refuse,
    /// From fifteen sixteenths on: who holds most is given up.
    Shed,
}

/// Which shard is to shed its worst connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worst {
    /// The one that asks.
    Ours,
    /// Another one's holds more.
    Theirs(usize),
    /// Some have not said yet what theirs holds.
    Unknown,
}

/// An engine's budget.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Option<usize>,
    refused: AtomicU64,
    shed: AtomicU64,
    /// The [`Pressure`] seen last by any shard.
    seen: AtomicU8,
    reports: Mutex<Reports>,
}

/// What the worst connections of the shards hold, while there is pressure to shed them.
#[derive(Debug)]
struct Reports {
    by_shard: Vec<Option<Report>>,
    /// When the first of those reports came that followed one another without a gap.
    since: Duration,
    latest: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    at: Duration,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: Option<usize>, shards: usize) -> Budget {
        Budget {
            bytes,
            refused: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            seen: AtomicU8::new(Pressure::None as u8),
            reports: Mutex::new(Reports {
                by_shard: vec![None; shards],
                since: Duration::ZERO,
                latest: Duration::ZERO,
            }),
        }
    }

    pub(crate) fn memory_use(&self) -> MemoryUse {
        MemoryUse {
            bytes: charged(),
            budget: self.bytes,
            refused: self.refused.load(Ordering::Relaxed),
            shed: self.shed.load(Ordering::Relaxed),
        }
    }

    /// Bytes that one of so many shards may take in, or make, in one turn: little enough that it can
    /// look before the budget is passed.
    pub(crate) fn per_turn(bytes: Option<usize>, shards: usize) -> usize {
        let part = bytes.map(|budget| budget / PART_PER_TURN / shards);
        part.map_or(usize::MAX, |part| part.max(LEAST_PER_TURN))
    }

    /// How much is held now.
    #[inline]
    pub(crate) fn pressure(&self) -> Pressure {
        self.bytes
            .map_or(Pressure::None, |budget| pressure_of(charged(), budget))
    }

    /// Takes note of the pressure; returns whether it has risen, of which all shards must know.
    #[inline]
    pub(crate) fn has_risen_to(&self, pressure: Pressure) -> bool {
        let now = pressure as u8;
        self.seen.load(Ordering::Relaxed) != now && self.seen.swap(now, Ordering::Relaxed) < now
    }

    /// Counts an upgrade that is refused.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is given up.
    pub(crate) fn count_shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// Says at `now` that a shard's worst connection holds so many bytes, and learns whose turn it is.
    /// Shards that have been silent for [`REPORT_LASTS`] though there was something to say are not
    /// waited for.
    pub(crate) fn report(&self, shard: usize, now: Duration, bytes: usize) -> Worst {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(reports.latest) > REPORT_LASTS {
            reports.since = now;
        }
        reports.latest = reports.latest.max(now);
        reports.by_shard[shard] = Some(Report { at: now, bytes });
        let waits_for_all = now.saturating_sub(reports.since) <= REPORT_LASTS;
        let mut worst = (0, shard);
        for (other, report) in reports.by_shard.iter().enumerate() {
            match report.filter(|report| now.saturating_sub(report.at) <= REPORT_LASTS) {
                Some(report) => worst = worst.max((report.bytes, other)),
                None if waits_for_all => return Worst::Unknown,
                None => {}
            }
        }
        if worst.1 == shard {
            Worst::Ours
        } else {
            Worst::Theirs(worst.1)
        }
    }
}

fn pressure_of(held: usize, budget: usize) -> Pressure {
    if held < budget - budget / 8 {
        Pressure::None
    } else if held < budget - budget / 16 {
        Pressure::Refuse
    } else {
        Pressure::Shed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn pressure_rises_before_the_budget_is_reached() {
        let budget = 1 << 20;
        for (held, pressure) in [
            (0, Pressure::None),
            (budget / 8 * 7 - 1, Pressure::None),
            (budget / 8 * 7, Pressure::Refuse),
            (budget / 16 * 15 - 1, Pressure::Refuse),
            (budget / 16 * 15, Pressure::Shed),
            (usize::MAX, Pressure::Shed),
        ] {
            assert_eq!(pressure_of(held, budget), pressure, "{held}");
        }
        assert_eq!(Budget::new(None, 1).pressure(), Pressure::None);
    }

    #[test]
    fn one_shard_wakes_the_others_for_each_rise() {
        let budget = Budget::new(Some(1), 2);
        let rises = [
            (Pressure::None, false),
            (Pressure::Refuse, true),
            (Pressure::Refuse, false),
            (Pressure::Shed, true),
            (Pressure::Refuse, false),
            (Pressure::Shed, true),
            (Pressure::None, false),
            (Pressure::Shed, true),
        ];
        for (pressure, has_risen) in rises {
            assert_eq!(budget.has_risen_to(pressure), has_risen, "{pressure:?}");
        }
    }

    #[test]
    fn the_worst_of_all_shards_goes_first() {
        let budget = Budget::new(Some(1), 3);
        assert_eq!(budget.report(0, millis(1000), 70), Worst::Unknown);
        assert_eq!(budget.report(1, millis(1001), 90), Worst::Unknown);
        assert_eq!(budget.report(2, millis(1002), 10), Worst::Theirs(1));
        assert_eq!(budget.report(0, millis(1003), 70), Worst::Theirs(1));
        assert_eq!(budget.report(1, millis(1003), 90), Worst::Ours);
        assert_eq!(budget.report(1, millis(1003), 20), Worst::Theirs(0));
        assert_eq!(budget.report(0, millis(1004), 70), Worst::Ours);
    }

    #[test]
    fn who_says_nothing_is_not_waited_for_long() {
        let budget = Budget::new(Some(1), 2);
        assert_eq!(budget.report(1, millis(10), 90), Worst::Unknown);
        for at in (1000..).step_by(10) {
            // The other one's report is of a pressure long over.
            let expected = if millis(at - 1000) <= REPORT_LASTS {
                Worst::Unknown
            } else {
                Worst::Ours
            };
            assert_eq!(budget.report(0, millis(at), 70), expected, "{at}");
            if expected == Worst::Ours {
                break;
            }
        }
    }
}
