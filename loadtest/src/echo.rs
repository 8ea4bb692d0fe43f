//! The echo scenario: every message comes back to the connection that sent it.

use crate::check::{Ledger, Subject};
use crate::clock::now;
use crate::frames::{self, Frame, Opcode};
use crate::job::{Job, Pace};
use crate::latency::{Latency, Recorder};
use crate::payload::{Head, Payloads};
use crate::report::Faults;
use crate::traffic::{Due, Schedule, Traffic};

/// The traffic of an echo run.
#[derive(Debug)]
pub(crate) struct Echo {
    payloads: Payloads,
    opcode: Opcode,
    /// Whether contents are checked, or only lengths and opcodes.
    contents: bool,
    pace: Pace,
    first_connection: u32,
    streams: Vec<Stream>,
    live: Vec<usize>,
    ledger: Ledger,
    recorder: Recorder,
    schedule: Schedule,
    /// Messages of the open loop dealt out to connections.
    dealt: u64,
    /// Messages dealt out and not yet sent.
    owed: u64,
    sent: u64,
    received: u64,
    stopped: bool,
}

/// What one connection sends.
#[derive(Debug, Clone, Default)]
struct Stream {
    sent: u64,
    owed: u64,
    /// When the batch in flight was sent (closed loop).
    sent_at: u64,
    /// The connection's place among the live ones.
    place: u64,
    live: bool,
}

impl Echo {
    pub(crate) fn new(job: &Job) -> Self {
        let connections = job.connections as usize;
        Self {
            payloads: Payloads::new(job.size, false, job.text, job.seed),
            opcode: if job.text {
                Opcode::Text
            } else {
                Opcode::Binary
            },
            contents: job.contents,
            pace: job.pace,
            first_connection: job.first_connection,
            streams: vec![Stream::default(); connections],
            live: Vec::new(),
            ledger: Ledger::new(connections),
            recorder: Recorder::default(),
            schedule: Schedule::new(0, 1.0),
            dealt: 0,
            owed: 0,
            sent: 0,
            received: 0,
            stopped: false,
        }
    }

    fn head(&self, at: usize, sequence: u64) -> Head {
        Head {
            source: self.subject(at).connection,
            sequence,
            stamp: 0,
        }
    }

    fn subject(&self, at: usize) -> Subject {
        Subject {
            connection: self.first_connection + u32::try_from(at).unwrap_or(u32::MAX),
            sender: None,
        }
    }

    /// When the message was sent, or in the open loop should have been.
    #[inline]
    fn sent_at(&self, at: usize, sequence: u64) -> u64 {
        let Some(stream) = self.streams.get(at) else {
            return 0;
        };
        match self.pace {
            Pace::Depth(_) => stream.sent_at,
            Pace::Rate(_) => self
                .schedule
                .moment(sequence * self.live.len() as u64 + stream.place),
        }
    }

    /// Starts the connection's next batch if the last one has been answered.
    #[inline]
    fn continue_batch(&mut self, at: usize, due: &mut Due) {
        let answered = self.ledger.next(at);
        if let (Pace::Depth(depth), false, Some(stream)) =
            (self.pace, self.stopped, self.streams.get_mut(at))
            && stream.live
            && stream.owed == 0
            && stream.sent == answered
        {
            stream.owed = u64::from(depth);
            self.owed += stream.owed;
            due.add(at);
        }
    }

    /// Whether a payload is that of message `sequence`, as far as contents are checked.
    #[inline]
    fn is_intact(&self, at: usize, sequence: u64, payload: &[u8]) -> bool {
        if self.contents {
            self.payloads.matches(self.head(at, sequence), payload)
        } else {
            payload.len() == self.payloads.size()
        }
    }

    /// A message that is not the next one expected.
    #[cold]
    fn handle_odd(&mut self, at: usize, frame: &Frame<'_>, sent: u64) {
        let expected = self.ledger.next(at);
        let head = self.head(at, expected);
        let meant = match self
            .payloads
            .claim(frame.payload)
            .filter(|_| self.payloads.is_whole())
        {
            Some(claim) => self
                .payloads
                .matches(
                    Head {
                        source: head.source,
                        ..claim
                    },
                    frame.payload,
                )
                .then_some(claim.sequence),
            None => self.payloads.nearest(head, frame.payload),
        };
        let subject = self.subject(at);
        let plausible =
            |sequence: &u64| self.contents && *sequence < sent && frame.opcode == self.opcode;
        match meant.filter(plausible) {
            Some(sequence) => self.ledger.take(at, sequence, || subject),
            None => {
                let wanted = if expected < sent {
                    format!(
                        "message {expected}, {}",
                        self.payloads.describe(self.opcode)
                    )
                } else {
                    "nothing: all it sent was answered".to_owned()
                };
                let got = self.payloads.difference(head, frame);
                self.ledger.corrupt(subject.connection, wanted, got);
                // It stands for the answer that was expected, or that would be lost, too.
                if expected < sent {
                    self.ledger.take(at, expected, || subject);
                }
            }
        }
    }
}

impl Traffic for Echo {
    fn start(&mut self, live: &[usize], start: u64) {
        self.live = live.to_vec();
        for (place, &at) in live.iter().enumerate() {
            if let Some(stream) = self.streams.get_mut(at) {
                stream.place = place as u64;
                stream.live = true;
            }
        }
        if let Pace::Rate(rate) = self.pace {
            self.schedule = Schedule::new(start, rate);
        }
    }

    #[inline]
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due) {
        self.received += 1;
        let sent = self.streams.get(at).map_or(0, |stream| stream.sent);
        let expected = self.ledger.next(at);
        if expected < sent
            && frame.opcode == self.opcode
            && self.is_intact(at, expected, frame.payload)
        {
            let subject = self.subject(at);
            self.ledger.take(at, expected, || subject);
            self.recorder.record(self.sent_at(at, expected), now);
        } else {
            self.handle_odd(at, frame, sent);
        }
        self.continue_batch(at, due);
    }

    fn handle_gone(&mut self, at: usize, _: &mut Due) {
        self.ledger.forget(at);
        if let Some(stream) = self.streams.get_mut(at) {
            self.owed -= stream.owed;
            *stream = Stream {
                place: stream.place,
                ..Stream::default()
            };
        }
    }

    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64 {
        if self.stopped || self.live.is_empty() {
            return u64::MAX;
        }
        match self.pace {
            Pace::Depth(depth) => {
                if self.dealt == 0 {
                    for at in 0..self.streams.len() {
                        self.continue_batch(at, due);
                    }
                    self.dealt = u64::from(depth);
                }
                u64::MAX
            }
            Pace::Rate(_) => loop {
                let moment = self.schedule.moment(self.dealt);
                if moment > now {
                    return moment;
                }
                let place = self.dealt % self.live.len() as u64;
                let at = usize::try_from(place)
                    .ok()
                    .and_then(|place| self.live.get(place));
                self.dealt += 1;
                if let Some(&at) = at
                    && let Some(stream) = self.streams.get_mut(at).filter(|stream| stream.live)
                {
                    stream.owed += 1;
                    self.owed += 1;
                    due.add(at);
                }
            },
        }
    }

    #[inline]
    fn encode(&mut self, at: usize, key: [u8; 4], room: usize, out: &mut Vec<u8>) -> bool {
        let source = self.head(at, 0).source;
        let Some(stream) = self.streams.get_mut(at) else {
            return false;
        };
        if stream.owed > 0
            && matches!(self.pace, Pace::Depth(depth) if stream.owed == u64::from(depth))
        {
            stream.sent_at = now();
        }
        while stream.owed > 0 && out.len() < room {
            let head = Head {
                source,
                sequence: stream.sent,
                stamp: 0,
            };
            frames::encode(out, self.opcode, key, self.payloads.size(), |out| {
                self.payloads.write(head, out);
            });
            stream.sent += 1;
            stream.owed -= 1;
            self.sent += 1;
            self.owed -= 1;
        }
        stream.owed > 0
    }

    fn measure(&mut self, from: u64, to: u64) {
        self.recorder.open(from, to);
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn has_sent_all(&self) -> bool {
        self.owed == 0
    }

    fn is_complete(&self) -> bool {
        let live = self.streams.iter().filter(|stream| stream.live);
        self.owed == 0
            && self.ledger.missing() == 0
            && self.ledger.advanced() == live.map(|stream| stream.sent).sum::<u64>()
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn settle(mut self) -> (Faults, Latency) {
        for at in 0..self.streams.len() {
            let subject = self.subject(at);
            if let Some(stream) = self.streams.get(at).filter(|stream| stream.live) {
                self.ledger.settle(at, stream.sent, || subject);
            }
        }
        (self.ledger.into_faults(), self.recorder.finish())
    }
}
