//! The echo scenario: every message comes back to the connection that sent it.

use crate::check::Subject;
use crate::clock::now;
use crate::flow::Flow;
use crate::frames::{Frame, Keys};
use crate::job::{Job, Pace};
use crate::latency::Latency;
use crate::payload::Head;
use crate::report::Faults;
use crate::traffic::{Due, Traffic};

/// The traffic of an echo run: each connection is a stream of its own.
#[derive(Debug)]
pub(crate) struct Echo {
    flow: Flow,
    streams: Vec<Stream>,
    live: Vec<usize>,
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
            flow: Flow::new(job, connections, false),
            streams: vec![Stream::default(); connections],
            live: Vec::new(),
        }
    }

    fn head(&self, at: usize, sequence: u64) -> Head {
        let source = self.flow.number(at);
        Head {
            source,
            sequence,
            stamp: 0,
        }
    }

    fn subject(&self, at: usize) -> Subject {
        let connection = self.flow.number(at);
        Subject {
            connection,
            sender: None,
        }
    }

    /// When the message was sent, or in the open loop should have been.
    #[inline]
    fn sent_at(&self, at: usize, sequence: u64) -> u64 {
        let Some(stream) = self.streams.get(at) else {
            return 0;
        };
        match self.flow.pace {
            Pace::Depth(_) => stream.sent_at,
            Pace::Rate(_) => {
                let number = sequence * self.live.len() as u64 + stream.place;
                self.flow.schedule.moment(number)
            }
        }
    }

    fn owe(&mut self, at: usize, messages: u64, due: &mut Due) {
        if let Some(stream) = self.streams.get_mut(at).filter(|stream| stream.live) {
            stream.owed += messages;
            self.flow.owed += messages;
            due.add(at);
        }
    }

    /// Starts the connection's next batch if the last one has been answered.
    #[inline]
    fn continue_batch(&mut self, at: usize, due: &mut Due) {
        if let Pace::Depth(depth) = self.flow.pace
            && !self.flow.stopped
            && let Some(stream) = self.streams.get(at)
            && stream.owed == 0
            && stream.sent == self.flow.ledger.next(at)
        {
            self.owe(at, u64::from(depth), due);
        }
    }

    /// Whether a payload is that of message `sequence`, as far as contents are checked.
    #[inline]
    fn is_intact(&self, at: usize, sequence: u64, payload: &[u8]) -> bool {
        let payloads = &self.flow.payloads;
        if self.flow.contents {
            payloads.matches(self.head(at, sequence), payload)
        } else {
            payload.len() == payloads.size()
        }
    }

    /// The message of this connection that a payload is, though not the one expected.
    fn recognise(&self, expected: Head, payload: &[u8]) -> Option<u64> {
        let payloads = &self.flow.payloads;
        if !payloads.is_whole() {
            return payloads.nearest(expected, payload);
        }
        let sequence = payloads.claim(payload)?.sequence;
        let meant = Head {
            sequence,
            ..expected
        };
        payloads.matches(meant, payload).then_some(sequence)
    }

    /// A message that is not the next one expected, where `sent` were sent.
    #[cold]
    fn handle_odd(&mut self, at: usize, frame: &Frame<'_>, sent: u64) {
        let expected = self.flow.ledger.next(at);
        let (head, subject) = (self.head(at, expected), self.subject(at));
        if self.flow.contents
            && frame.opcode == self.flow.opcode
            && let Some(sequence) = self.recognise(head, frame.payload)
            && sequence < sent
        {
            return self.flow.ledger.take(at, sequence, || subject);
        }
        let outstanding = expected < sent;
        let wanted = if outstanding {
            let kind = self.flow.payloads.describe(self.flow.opcode);
            format!("message {expected}, {kind}")
        } else {
            "nothing: all it sent was answered".to_owned()
        };
        let got = self.flow.payloads.difference(head, frame);
        self.flow.ledger.corrupt(subject.connection, wanted, got);
        // It stands for the answer that was expected, or that would be lost, too.
        if outstanding {
            self.flow.ledger.take(at, expected, || subject);
        }
    }
}

impl Traffic for Echo {
    fn flow(&self) -> &Flow {
        &self.flow
    }

    fn flow_mut(&mut self) -> &mut Flow {
        &mut self.flow
    }

    fn start(&mut self, live: &[usize], start: u64) {
        self.live = live.to_vec();
        for (place, &at) in live.iter().enumerate() {
            if let Some(stream) = self.streams.get_mut(at) {
                stream.place = place as u64;
                stream.live = true;
            }
        }
        self.flow.start(start);
    }

    #[inline]
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due) {
        self.flow.received += 1;
        let sent = self.streams.get(at).map_or(0, |stream| stream.sent);
        let expected = self.flow.ledger.next(at);
        if expected < sent
            && frame.opcode == self.flow.opcode
            && self.is_intact(at, expected, frame.payload)
        {
            let subject = self.subject(at);
            self.flow.ledger.take(at, expected, || subject);
            let sent_at = self.sent_at(at, expected);
            self.flow.recorder.record(sent_at, now);
        } else {
            self.handle_odd(at, frame, sent);
        }
        self.continue_batch(at, due);
    }

    fn handle_gone(&mut self, at: usize, _: &mut Due) {
        self.flow.ledger.forget(at);
        if let Some(stream) = self.streams.get_mut(at) {
            self.flow.owed -= stream.owed;
            let place = stream.place;
            *stream = Stream {
                place,
                ..Stream::default()
            };
        }
    }

    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64 {
        if self.flow.stopped || self.live.is_empty() {
            return u64::MAX;
        }
        if let Pace::Depth(depth) = self.flow.pace {
            if self.flow.dealt == 0 {
                for at in 0..self.streams.len() {
                    self.continue_batch(at, due);
                }
                self.flow.dealt = u64::from(depth);
            }
            return u64::MAX;
        }
        loop {
            match self.flow.deal_by(now) {
                Ok(number) => {
                    let place = usize::try_from(number % self.live.len() as u64).ok();
                    if let Some(&at) = place.and_then(|place| self.live.get(place)) {
                        self.owe(at, 1, due);
                    }
                }
                Err(moment) => return moment,
            }
        }
    }

    #[inline]
    fn encode(&mut self, at: usize, keys: &mut Keys, room: usize, out: &mut Vec<u8>) -> bool {
        let source = self.flow.number(at);
        let Some(stream) = self.streams.get_mut(at) else {
            return false;
        };
        let depth = match self.flow.pace {
            Pace::Depth(depth) => u64::from(depth),
            Pace::Rate(_) => 0,
        };
        if stream.owed > 0 && stream.owed == depth {
            stream.sent_at = now();
        }
        while stream.owed > 0 && out.len() < room {
            let sequence = stream.sent;
            self.flow.write(
                Head {
                    source,
                    sequence,
                    stamp: 0,
                },
                keys.draw(),
                out,
            );
            stream.sent += 1;
            stream.owed -= 1;
        }
        stream.owed > 0
    }

    fn is_complete(&self) -> bool {
        let live = self.streams.iter().filter(|stream| stream.live);
        self.has_sent_all()
            && self.flow.ledger.missing() == 0
            && self.flow.ledger.advanced() == live.map(|stream| stream.sent).sum::<u64>()
    }

    fn settle(mut self) -> (Faults, Latency) {
        for at in 0..self.streams.len() {
            let subject = self.subject(at);
            if let Some(stream) = self.streams.get(at).filter(|stream| stream.live) {
                self.flow.ledger.settle(at, stream.sent, || subject);
            }
        }
        self.flow.settle()
    }
}
