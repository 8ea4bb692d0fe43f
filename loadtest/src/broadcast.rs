//! The broadcast scenario: every message comes to every connection.

use crate::check::{Ledger, Subject};
use crate::clock::now;
use crate::frames::{self, Frame, Opcode};
use crate::job::{Job, Pace};
use crate::latency::{Latency, Recorder};
use crate::payload::{Head, Payloads};
use crate::report::Faults;
use crate::traffic::{Due, Schedule, Traffic};

/// The traffic of a broadcast run.
#[derive(Debug)]
pub(crate) struct Broadcast {
    payloads: Payloads,
    opcode: Opcode,
    /// Whether contents are checked, or only lengths and opcodes.
    contents: bool,
    pace: Pace,
    first_connection: u32,
    /// Senders of the whole run; streams of a receiver.
    width: usize,
    sends: bool,
    /// The senders in this process.
    senders: Vec<Sender>,
    /// What every sender of the run has sent, as far as known.
    sent_each: Vec<u64>,
    /// The stamp of the message sent last.
    stamp: u64,
    /// Whether `sent_each` can be relied on.
    told: bool,
    live: Vec<bool>,
    /// Live connections.
    receivers: u64,
    ledger: Ledger,
    recorder: Recorder,
    schedule: Schedule,
    /// Messages dealt out to senders.
    dealt: u64,
    /// Messages dealt out and not yet sent.
    owed: u64,
    sent: u64,
    received: u64,
    stopped: bool,
}

#[derive(Debug)]
struct Sender {
    at: usize,
    owed: u64,
}

impl Broadcast {
    pub(crate) fn new(job: &Job) -> Self {
        let (connections, width) = (job.connections as usize, job.senders as usize);
        Self {
            payloads: Payloads::new(job.size, true, job.text, job.seed),
            opcode: if job.text {
                Opcode::Text
            } else {
                Opcode::Binary
            },
            contents: job.contents,
            pace: job.pace,
            first_connection: job.first_connection,
            width,
            sends: job.sends,
            senders: Vec::new(),
            sent_each: vec![0; width],
            stamp: 0,
            told: job.sends,
            live: vec![false; connections],
            receivers: 0,
            ledger: Ledger::new(connections * width),
            recorder: Recorder::default(),
            schedule: Schedule::new(0, 1.0),
            dealt: 0,
            owed: 0,
            sent: 0,
            received: 0,
            stopped: false,
        }
    }

    fn subject(&self, at: usize, sender: usize) -> Subject {
        Subject {
            connection: self.first_connection + u32::try_from(at).unwrap_or(u32::MAX),
            sender: u32::try_from(sender).ok(),
        }
    }

    /// Whether all that was sent has come to everyone.
    #[inline]
    fn is_delivered(&self) -> bool {
        self.owed == 0 && self.ledger.advanced() == self.receivers * self.sent
    }

    fn deal(&mut self, due: &mut Due) {
        let place = self.dealt % self.senders.len().max(1) as u64;
        self.dealt += 1;
        let sender = usize::try_from(place)
            .ok()
            .and_then(|place| self.senders.get_mut(place));
        if let Some(sender) = sender
            && self.live.get(sender.at) == Some(&true)
        {
            sender.owed += 1;
            self.owed += 1;
            due.add(sender.at);
        }
    }

    /// Starts the next batch if the last one has come to everyone.
    #[inline]
    fn continue_batch(&mut self, due: &mut Due) {
        if let Pace::Depth(depth) = self.pace
            && self.sends
            && !self.stopped
            && self.is_delivered()
        {
            for _ in 0..depth {
                self.deal(due);
            }
        }
    }

    /// The message a payload says it is, if it is that, unchanged, and has been sent.
    #[inline]
    fn recognise(&self, at: usize, frame: &Frame<'_>) -> Option<Head> {
        if !self.contents {
            return self.presume(at, frame);
        }
        let head = self.payloads.claim(frame.payload)?;
        let sender = usize::try_from(head.source).ok()?;
        let sent = *self.sent_each.get(sender)?;
        let genuine = frame.opcode == self.opcode
            && (head.sequence < sent || !self.told)
            && self.payloads.matches(head, frame.payload);
        genuine.then_some(head)
    }

    /// The message the one sender's next one must be, if the frame has its length and opcode.
    #[inline]
    fn presume(&self, at: usize, frame: &Frame<'_>) -> Option<Head> {
        let sequence = self.ledger.next(at);
        let sent = *self.sent_each.first()?;
        let presumable = frame.opcode == self.opcode
            && (sequence < sent || !self.told)
            && frame.payload.len() == self.payloads.size();
        presumable.then_some(Head {
            source: 0,
            sequence,
            stamp: self.stamp,
        })
    }

    /// A message that none of the senders has sent like this.
    #[cold]
    fn handle_corrupt(&mut self, at: usize, frame: &Frame<'_>) {
        let claim = self.payloads.claim(frame.payload);
        let claimed = claim.and_then(|head| usize::try_from(head.source).ok());
        let sender = claimed.filter(|&sender| sender < self.width).unwrap_or(0);
        let stream = at * self.width + sender;
        let (expected, subject) = (self.ledger.next(stream), self.subject(at, sender));
        let head = Head {
            source: u32::try_from(sender).unwrap_or_default(),
            sequence: expected,
            stamp: claim.map_or(0, |head| head.stamp),
        };
        let kind = self.payloads.describe(self.opcode);
        let wanted = format!("message {expected} of sender {sender}, {kind}");
        let got = self.payloads.difference(head, frame);
        self.ledger.corrupt(subject.connection, wanted, got);
        // It stands for the message that was expected, or that would be lost, too: if it
        // says so itself or no other sender can be meant.
        let outstanding = !self.told || self.sent_each.get(sender) > Some(&expected);
        let meant = claim.is_some_and(|head| head.sequence == expected) || self.width == 1;
        if outstanding && meant {
            self.ledger.take(stream, expected, || subject);
        }
    }
}

impl Traffic for Broadcast {
    fn start(&mut self, live: &[usize], start: u64) {
        for &at in live {
            if let Some(is_live) = self.live.get_mut(at) {
                *is_live = true;
            }
        }
        self.receivers = live.len() as u64;
        if self.sends {
            let senders = live.iter().take(self.width);
            self.senders = senders.map(|&at| Sender { at, owed: 0 }).collect();
        }
        if let Pace::Rate(rate) = self.pace {
            self.schedule = Schedule::new(start, rate);
        }
    }

    #[inline]
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due) {
        self.received += 1;
        match self.recognise(at, frame) {
            Some(head) => {
                let sender = head.source as usize;
                let stream = at * self.width + sender;
                if head.sequence >= self.ledger.next(stream) {
                    self.recorder.record(head.stamp, now);
                }
                let subject = self.subject(at, sender);
                self.ledger.take(stream, head.sequence, || subject);
            }
            None => self.handle_corrupt(at, frame),
        }
        self.continue_batch(due);
    }

    fn handle_gone(&mut self, at: usize, due: &mut Due) {
        for sender in 0..self.width {
            self.ledger.forget(at * self.width + sender);
        }
        if let Some(live) = self.live.get_mut(at).filter(|live| **live) {
            *live = false;
            self.receivers -= 1;
        }
        for sender in self.senders.iter_mut().filter(|sender| sender.at == at) {
            self.owed -= std::mem::take(&mut sender.owed);
        }
        if self.dealt > 0 && self.receivers > 0 {
            self.continue_batch(due);
        }
    }

    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64 {
        if self.stopped || self.senders.is_empty() {
            return u64::MAX;
        }
        match self.pace {
            Pace::Depth(_) => {
                if self.dealt == 0 {
                    self.continue_batch(due);
                }
                u64::MAX
            }
            Pace::Rate(_) => loop {
                let moment = self.schedule.moment(self.dealt);
                if moment > now {
                    return moment;
                }
                self.deal(due);
            },
        }
    }

    fn encode(&mut self, at: usize, key: [u8; 4], room: usize, out: &mut Vec<u8>) -> bool {
        // Senders are the first live connections, in their order.
        let Ok(index) = self.senders.binary_search_by_key(&at, |sender| sender.at) else {
            return false;
        };
        let width = self.senders.len() as u64;
        let (Some(sender), Some(sent)) =
            (self.senders.get_mut(index), self.sent_each.get_mut(index))
        else {
            return false;
        };
        let time = now();
        while sender.owed > 0 && out.len() < room {
            let stamp = match self.pace {
                Pace::Depth(_) => time,
                Pace::Rate(_) => self.schedule.moment(*sent * width + index as u64),
            };
            let source = u32::try_from(index).unwrap_or_default();
            let head = Head {
                source,
                sequence: *sent,
                stamp,
            };
            frames::encode(out, self.opcode, key, self.payloads.size(), |out| {
                self.payloads.write(head, out);
            });
            self.stamp = stamp;
            *sent += 1;
            sender.owed -= 1;
            self.sent += 1;
            self.owed -= 1;
        }
        sender.owed > 0
    }

    fn measure(&mut self, from: u64, to: u64) {
        self.recorder.open(from, to);
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn sent_elsewhere(&mut self, sent: &[u64]) {
        self.sent_each = sent.to_vec();
        self.sent_each.resize(self.width, 0);
        self.told = true;
    }

    fn sent_each(&self) -> Vec<u64> {
        self.sent_each.clone()
    }

    fn has_sent_all(&self) -> bool {
        self.owed == 0
    }

    fn is_complete(&self) -> bool {
        let sent: u64 = self.sent_each.iter().sum();
        self.told
            && self.owed == 0
            && self.ledger.missing() == 0
            && self.ledger.advanced() == self.receivers * sent
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn settle(mut self) -> (Faults, Latency) {
        for at in 0..self.live.len() {
            if self.live.get(at) != Some(&true) {
                continue;
            }
            for sender in 0..self.width {
                let subject = self.subject(at, sender);
                let sent = self.sent_each.get(sender).copied().unwrap_or_default();
                self.ledger
                    .settle(at * self.width + sender, sent, || subject);
            }
        }
        (self.ledger.into_faults(), self.recorder.finish())
    }
}
