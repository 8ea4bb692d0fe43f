//! What a scenario tells the loop: when to send what, and what to make of an answer.

use crate::frames::Frame;
use crate::latency::Latency;
use crate::report::Faults;

/// A scenario's side of a run. The loop knows sockets and phases, the traffic knows
/// messages; connections are called by their place in the loop, from 0.
pub(crate) trait Traffic {
    /// Load begins at `start` with the connections `live`, ascending.
    fn start(&mut self, live: &[usize], start: u64);

    /// Takes in a message (never a control frame) that was read at `now`.
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due);

    /// Takes in that a live connection is gone.
    fn handle_gone(&mut self, at: usize, due: &mut Due);

    /// Puts the connections that have something to send by `now` into `due`. Returns when
    /// to ask again: `u64::MAX` for not before something has come.
    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64;

    /// Appends messages that the connection has to send, masked with `key`, while `out`
    /// holds less than `room`. Returns whether it has more.
    fn encode(&mut self, at: usize, key: [u8; 4], room: usize, out: &mut Vec<u8>) -> bool;

    /// The window in which messages are sent whose latency counts.
    fn measure(&mut self, from: u64, to: u64);

    /// No further message falls due; what has, is still sent.
    fn stop(&mut self);

    /// What the senders of other processes have sent, each.
    fn sent_elsewhere(&mut self, _sent: &[u64]) {}

    /// What each sender has sent, if other processes have to know.
    fn sent_each(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Whether all that fell due has been sent.
    fn has_sent_all(&self) -> bool;

    /// Whether everything has been sent and has come.
    fn is_complete(&self) -> bool;

    /// Messages sent so far.
    fn sent(&self) -> u64;

    /// Messages received so far.
    fn received(&self) -> u64;

    /// Counts what is missing, and sums up.
    fn settle(self) -> (Faults, Latency);
}

/// The connections that have something to send, each once.
#[derive(Debug, Default)]
pub(crate) struct Due {
    list: Vec<usize>,
    listed: Vec<bool>,
}

impl Due {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            list: Vec::with_capacity(connections),
            listed: vec![false; connections],
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, at: usize) {
        if let Some(listed) = self.listed.get_mut(at)
            && !std::mem::replace(listed, true)
        {
            self.list.push(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the list out, swapping in the empty `spare`, so that what is added meanwhile
    /// waits for the next turn.
    pub(crate) fn take(&mut self, spare: &mut Vec<usize>) {
        std::mem::swap(&mut self.list, spare);
        for &at in spare.iter() {
            if let Some(listed) = self.listed.get_mut(at) {
                *listed = false;
            }
        }
    }
}

/// When the messages of an open loop should be sent: so many per second from a start on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: u64,
    interval: f64,
}

impl Schedule {
    /// Messages at `rate` per second from `start` on.
    pub(crate) fn new(start: u64, rate: f64) -> Self {
        Self {
            start,
            interval: 1e9 / rate,
        }
    }

    /// When message `number` should be sent.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, after centuries"
    )]
    #[expect(clippy::cast_sign_loss, reason = "never negative")]
    pub(crate) fn moment(&self, number: u64) -> u64 {
        self.start
            .saturating_add((number as f64 * self.interval) as u64)
    }
}

/// The scenario in which nothing is sent.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    received: u64,
}

impl Traffic for Idle {
    fn start(&mut self, _: &[usize], _: u64) {}

    fn handle_message(&mut self, _: usize, _: &Frame<'_>, _: u64, _: &mut Due) {
        self.received += 1;
    }

    fn handle_gone(&mut self, _: usize, _: &mut Due) {}

    fn poll_due(&mut self, _: u64, _: &mut Due) -> u64 {
        u64::MAX
    }

    fn encode(&mut self, _: usize, _: [u8; 4], _: usize, _: &mut Vec<u8>) -> bool {
        false
    }

    fn measure(&mut self, _: u64, _: u64) {}

    fn stop(&mut self) {}

    fn has_sent_all(&self) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        true
    }

    fn sent(&self) -> u64 {
        0
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn settle(self) -> (Faults, Latency) {
        Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_listed_once_per_turn() {
        let mut due = Due::new(3);
        let mut taken = Vec::new();
        for at in [2, 0, 2, 9] {
            due.add(at);
        }
        due.take(&mut taken);
        assert_eq!(taken, [2, 0]);
        taken.clear();
        due.add(2);
        due.take(&mut taken);
        assert_eq!(taken, [2]);
    }

    #[test]
    fn schedules_are_even() {
        let schedule = Schedule::new(1000, 3e6);
        assert_eq!(schedule.moment(0), 1000);
        assert_eq!(schedule.moment(3), 2000);
        assert_eq!(schedule.moment(3_000_000_000), 1_000_000_001_000);
    }
}
