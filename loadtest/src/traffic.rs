//! What a scenario tells the loop: when to send what, and what to make of an answer.

use crate::flow::Flow;
use crate::frames::{Frame, Keys};
use crate::job::Job;
use crate::latency::Latency;
use crate::report::Faults;

/// A scenario's side of a run. The loop knows sockets and phases, the traffic knows
/// messages; connections are called by their place in the loop, from 0.
pub(crate) trait Traffic {
    /// The messages of the run.
    fn flow(&self) -> &Flow;

    /// As [`Self::flow`].
    fn flow_mut(&mut self) -> &mut Flow;

    /// Load begins at `start` with the connections `live`, ascending.
    fn start(&mut self, live: &[usize], start: u64);

    /// Takes in a message (never a control frame) that was read at `now`.
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due);

    /// Takes in that a live connection is gone.
    fn handle_gone(&mut self, at: usize, due: &mut Due);

    /// Puts the connections that have something to send by `now` into `due`. Returns when
    /// to ask again: `u64::MAX` for not before something has come.
    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64;

    /// Appends messages that the connection has to send, each masked with one of `keys`, while
    /// `out` holds less than `room`. Returns whether it has more.
    fn encode(&mut self, at: usize, keys: &mut Keys, room: usize, out: &mut Vec<u8>) -> bool;

    /// What the senders of other processes have sent, each.
    fn sent_elsewhere(&mut self, _sent: &[u64]) {}

    /// What each sender has sent, if other processes have to know.
    fn sent_each(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Whether any connection of this process is there to send.
    fn can_send(&self) -> bool {
        true
    }

    /// Whether all that fell due has been sent.
    fn has_sent_all(&self) -> bool {
        self.flow().owed == 0
    }

    /// Whether everything has been sent and has come.
    fn is_complete(&self) -> bool;

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

/// The scenario in which nothing is sent.
#[derive(Debug)]
pub(crate) struct Idle(Flow);

impl Idle {
    pub(crate) fn new(job: &Job) -> Self {
        Self(Flow::new(job, 0, false))
    }
}

impl Traffic for Idle {
    fn flow(&self) -> &Flow {
        &self.0
    }

    fn flow_mut(&mut self) -> &mut Flow {
        &mut self.0
    }

    fn start(&mut self, _: &[usize], _: u64) {}

    fn handle_message(&mut self, _: usize, _: &Frame<'_>, _: u64, _: &mut Due) {
        self.0.received += 1;
    }

    fn handle_gone(&mut self, _: usize, _: &mut Due) {}

    fn poll_due(&mut self, _: u64, _: &mut Due) -> u64 {
        u64::MAX
    }

    fn encode(&mut self, _: usize, _: &mut Keys, _: usize, _: &mut Vec<u8>) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        true
    }

    fn settle(self) -> (Faults, Latency) {
        self.0.settle()
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
}
