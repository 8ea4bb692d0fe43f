//! Whether every message came, once, in order and unchanged.

use std::collections::HashMap;
use std::ops::Range;

use crate::report::{Faults, Offence};

/// Gaps remembered per stream, so that a message that comes late can be told from one that
/// comes twice. Beyond that, the oldest gap counts as lost for good.
const MAX_GAPS: usize = 1024;

/// The widest gap taken for one; beyond that, the sequence number must be corrupt.
const MAX_GAP: u64 = 1 << 32;

/// The streams of a run: in echo one per connection, in broadcast one per receiver and
/// sender. Each numbers its messages from 0.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: Vec<u64>,
    gaps: HashMap<usize, Vec<Range<u64>>>,
    advanced: u64,
    open_gaps: u64,
    faults: Faults,
}

impl Ledger {
    /// A ledger of so many streams, none of which has received anything.
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            next: vec![0; streams],
            ..Self::default()
        }
    }

    /// The number the stream expects next: one more than the highest it has received.
    #[inline]
    pub(crate) fn next(&self, stream: usize) -> u64 {
        self.next.get(stream).copied().unwrap_or_default()
    }

    /// The sum of [`Self::next`] over all streams.
    #[inline]
    pub(crate) fn advanced(&self) -> u64 {
        self.advanced
    }

    /// Messages below the highest received that have not come.
    pub(crate) fn missing(&self) -> u64 {
        self.open_gaps
    }

    /// Notes that message `sequence` came intact; `subject` names the stream if that is an
    /// offence.
    #[inline]
    pub(crate) fn take(&mut self, stream: usize, sequence: u64, subject: impl FnOnce() -> Subject) {
        match self.next.get_mut(stream) {
            Some(next) if *next == sequence => {
                *next += 1;
                self.advanced += 1;
            }
            _ => self.take_out_of_order(stream, sequence, subject()),
        }
    }

    /// Notes a message that is not what it must be.
    #[cold]
    pub(crate) fn corrupt(&mut self, connection: u32, expected: String, got: String) {
        self.faults.corrupt += 1;
        self.offend(connection, "corrupt", expected, got);
    }

    /// Forgets a stream whose connection is gone.
    pub(crate) fn forget(&mut self, stream: usize) {
        if let Some(next) = self.next.get_mut(stream) {
            self.advanced -= std::mem::take(next);
        }
        let gaps = self.gaps.remove(&stream).unwrap_or_default();
        self.open_gaps -= gaps.iter().map(|gap| gap.end - gap.start).sum::<u64>();
    }

    /// Counts what is missing from a stream that was sent `sent` messages.
    pub(crate) fn settle(&mut self, stream: usize, sent: u64, subject: impl FnOnce() -> Subject) {
        let next = self.next(stream);
        let gaps = self.gaps.remove(&stream).unwrap_or_default();
        let in_gaps: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        self.open_gaps -= in_gaps;
        let lost = in_gaps + sent.saturating_sub(next);
        if lost > 0 {
            self.faults.lost += lost;
            let first = gaps.first().map_or(next, |gap| gap.start);
            let Subject { connection, sender } = subject();
            let got = format!("{next} as the highest, with {lost} of {sent} missing");
            self.offend(connection, "lost", named(first, sender), got);
        }
    }

    /// What has been counted.
    pub(crate) fn into_faults(self) -> Faults {
        self.faults
    }

    #[cold]
    fn take_out_of_order(&mut self, stream: usize, sequence: u64, subject: Subject) {
        let Some(next) = self.next.get_mut(stream) else {
            return;
        };
        let expected = *next;
        let Subject { connection, sender } = subject;
        let (kind, count) = if sequence > expected && sequence - expected > MAX_GAP {
            ("corrupt", &mut self.faults.corrupt)
        } else if sequence > expected {
            *next = sequence + 1;
            self.advanced += *next - expected;
            self.open_gaps += sequence - expected;
            let gaps = self.gaps.entry(stream).or_default();
            gaps.push(expected..sequence);
            if gaps.len() > MAX_GAPS {
                let oldest = gaps.remove(0);
                self.open_gaps -= oldest.end - oldest.start;
                self.faults.lost += oldest.end - oldest.start;
            }
            // Whether lost or late shows later; the first sight of it is what to report.
            let got = named(sequence, sender);
            return self.offend(
                connection,
                "lost or reordered",
                named(expected, sender),
                got,
            );
        } else if self
            .gaps
            .get_mut(&stream)
            .is_some_and(|gaps| fill(gaps, sequence))
        {
            self.open_gaps -= 1;
            ("reordered", &mut self.faults.reordered)
        } else {
            ("duplicated", &mut self.faults.duplicated)
        };
        *count += 1;
        self.offend(
            connection,
            kind,
            named(expected, sender),
            named(sequence, sender),
        );
    }

    fn offend(&mut self, connection: u32, kind: &str, expected: String, got: String) {
        self.faults.first.get_or_insert_with(|| Offence {
            connection,
            kind: kind.to_owned(),
            expected,
            got,
        });
    }
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// The receiving connection's number in the whole run.
    pub(crate) connection: u32,
    /// The sender's number in a broadcast.
    pub(crate) sender: Option<u32>,
}

/// How a message is called in an offence.
fn named(sequence: u64, sender: Option<u32>) -> String {
    match sender {
        Some(sender) => format!("message {sequence} of sender {sender}"),
        None => format!("message {sequence}"),
    }
}

/// Takes `sequence` out of the gap it lies in; false if it lies in none.
fn fill(gaps: &mut Vec<Range<u64>>, sequence: u64) -> bool {
    let Some(at) = gaps.iter().position(|gap| gap.contains(&sequence)) else {
        return false;
    };
    let gap = gaps.remove(at);
    let halves = [gap.start..sequence, sequence + 1..gap.end];
    for half in halves.into_iter().rev().filter(|half| !half.is_empty()) {
        gaps.insert(at, half);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(arrivals: &[u64], sent: u64) -> Faults {
        let subject = || Subject {
            connection: 7,
            sender: None,
        };
        let mut ledger = Ledger::new(1);
        for &sequence in arrivals {
            ledger.take(0, sequence, subject);
        }
        ledger.settle(0, sent, subject);
        assert_eq!(ledger.missing(), 0);
        ledger.into_faults()
    }

    fn counts(arrivals: &[u64], sent: u64) -> [u64; 4] {
        let faults = faults(arrivals, sent);
        [
            faults.lost,
            faults.duplicated,
            faults.reordered,
            faults.corrupt,
        ]
    }

    #[test]
    fn streams_in_order_are_clean() {
        assert_eq!(faults(&[0, 1, 2, 3], 4), Faults::default());
    }

    #[test]
    fn each_offence_is_told_from_the_others() {
        assert_eq!(counts(&[0, 2, 3], 4), [1, 0, 0, 0]);
        assert_eq!(counts(&[0, 1], 4), [2, 0, 0, 0]);
        assert_eq!(counts(&[0, 1, 1, 2], 3), [0, 1, 0, 0]);
        assert_eq!(counts(&[0, 2, 1, 3], 4), [0, 0, 1, 0]);
        assert_eq!(counts(&[3, 1, 1, 0], 4), [1, 1, 2, 0]);
        assert_eq!(counts(&[0, u64::MAX, 1], 2), [0, 0, 0, 1]);
    }

    #[test]
    fn the_first_offence_is_the_one_named() {
        let first = faults(&[0, 2, 2], 3).first.unwrap();
        assert_eq!(first.connection, 7);
        assert_eq!(
            (first.expected.as_str(), first.got.as_str()),
            ("message 1", "message 2")
        );
    }

    #[test]
    fn gaps_are_bounded() {
        let arrivals: Vec<u64> = (0..3000).map(|n| n * 2 + 1).collect();
        assert_eq!(counts(&arrivals, 6000), [3000, 0, 0, 0]);
    }

    #[test]
    fn forgotten_streams_count_for_nothing() {
        let subject = || Subject {
            connection: 0,
            sender: Some(1),
        };
        let mut ledger = Ledger::new(2);
        ledger.take(0, 4, subject);
        ledger.take(1, 0, subject);
        ledger.forget(0);
        assert_eq!((ledger.advanced(), ledger.missing()), (1, 0));
    }
}
