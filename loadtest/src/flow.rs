//! What the scenarios that send have in common: what is sent, at which pace, and the books.

use crate::check::Ledger;
use crate::frames::{self, Opcode};
use crate::job::{Job, Pace};
use crate::latency::{Latency, Recorder};
use crate::payload::{Head, Payloads};
use crate::report::Faults;

/// The messages of a run, dealt out to connections, sent, received and checked.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) payloads: Payloads,
    pub(crate) opcode: Opcode,
    /// Whether contents are checked, or only lengths and opcodes.
    pub(crate) contents: bool,
    pub(crate) pace: Pace,
    pub(crate) ledger: Ledger,
    pub(crate) recorder: Recorder,
    pub(crate) schedule: Schedule,
    /// Messages dealt out so far.
    pub(crate) dealt: u64,
    /// Messages dealt out and not yet sent.
    pub(crate) owed: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Nothing more is dealt out.
    pub(crate) stopped: bool,
    first_connection: u32,
}

impl Flow {
    /// A flow that is checked in so many `streams`; `stamped` if messages carry their time.
    pub(crate) fn new(job: &Job, streams: usize, stamped: bool) -> Self {
        Self {
            payloads: Payloads::new(job.size, stamped, job.text, job.seed),
            opcode: if job.text {
                Opcode::Text
            } else {
                Opcode::Binary
            },
            contents: job.contents,
            pace: job.pace,
            ledger: Ledger::new(streams),
            recorder: Recorder::default(),
            schedule: Schedule::new(0, 1.0),
            dealt: 0,
            owed: 0,
            sent: 0,
            received: 0,
            stopped: false,
            first_connection: job.first_connection,
        }
    }

    /// The number in the whole run of the connection at a place in this process.
    #[inline]
    pub(crate) fn number(&self, at: usize) -> u32 {
        self.first_connection + u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Sets the schedule of an open loop that begins at `start`.
    pub(crate) fn start(&mut self, start: u64) {
        if let Pace::Rate(rate) = self.pace {
            self.schedule = Schedule::new(start, rate);
        }
    }

    /// Takes the next message of the open loop if it is due by `now`.
    ///
    /// # Errors
    /// The moment it will be due.
    #[inline]
    pub(crate) fn deal_by(&mut self, now: u64) -> Result<u64, u64> {
        let moment = self.schedule.moment(self.dealt);
        if moment > now {
            return Err(moment);
        }
        self.dealt += 1;
        Ok(self.dealt - 1)
    }

    /// Appends the message of `head`, one of those owed.
    #[inline]
    pub(crate) fn write(&mut self, head: Head, key: [u8; 4], out: &mut Vec<u8>) {
        frames::encode(out, self.opcode, key, self.payloads.size(), |out| {
            self.payloads.write(head, out);
        });
        self.sent += 1;
        self.owed -= 1;
    }

    /// What was wrong, and how long it took.
    pub(crate) fn settle(self) -> (Faults, Latency) {
        (self.ledger.into_faults(), self.recorder.finish())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_even() {
        let schedule = Schedule::new(1000, 3e6);
        assert_eq!(schedule.moment(0), 1000);
        assert_eq!(schedule.moment(3), 2000);
        assert_eq!(schedule.moment(3_000_000_000), 1_000_000_001_000);
    }
}
