//! The broadcast scenario: every message comes to every connection.

use crate::check::Subject;
use crate::clock::now;
use crate::flow::Flow;
use crate::frames::{Frame, Keys};
use crate::job::{Job, Pace};
use crate::latency::Latency;
use crate::owed::Owed;
use crate::payload::Head;
use crate::report::Faults;
use crate::traffic::{Due, Traffic};

/// The traffic of a broadcast run: each sender is a stream of its own to each receiver.
#[derive(Debug)]
pub(crate) struct Broadcast {
    flow: Flow,
    /// Senders of the whole run; streams of a receiver.
    width: usize,
    sends: bool,
    /// The senders in this process.
    senders: Vec<Sender>,
    /// The places among them of those whose connections live.
    live_senders: Vec<usize>,
    /// What every sender of the run has sent, as far as known.
    sent_each: Vec<u64>,
    /// Whether `sent_each` can be relied on.
    told: bool,
    /// When the batch in flight was sent (closed loop, one sender).
    batch_at: u64,
    live: Vec<bool>,
    /// Live connections.
    receivers: u64,
}

#[derive(Debug)]
struct Sender {
    at: usize,
    owed: Owed,
}

impl Broadcast {
    pub(crate) fn new(job: &Job) -> Self {
        let (connections, width) = (job.connections as usize, job.senders as usize);
        Self {
            flow: Flow::new(job, connections * width, true),
            width,
            sends: job.sends,
            senders: Vec::new(),
            live_senders: Vec::new(),
            sent_each: vec![0; width],
            told: job.sends,
            batch_at: 0,
            live: vec![false; connections],
            receivers: 0,
        }
    }

    fn subject(&self, at: usize, sender: usize) -> Subject {
        Subject {
            connection: self.flow.number(at),
            sender: u32::try_from(sender).ok(),
        }
    }

    /// The place of the sender on that connection.
    fn sender_at(&self, at: usize) -> Option<usize> {
        // Senders are the first live connections, in their order.
        self.senders
            .binary_search_by_key(&at, |sender| sender.at)
            .ok()
    }

    /// Whether all that was sent has come to everyone.
    #[inline]
    fn is_delivered(&self) -> bool {
        self.has_sent_all() && self.flow.ledger.advanced() == self.receivers * self.flow.sent
    }

    /// Has the live sender whose turn it is owe message `number` of the run.
    fn owe(&mut self, number: u64, due: &mut Due) {
        let place = number.checked_rem(self.live_senders.len() as u64);
        let sender = place
            .and_then(|place| self.live_senders.get(usize::try_from(place).ok()?))
            .and_then(|&index| self.senders.get_mut(index));
        if let Some(sender) = sender {
            sender.owed.push(number);
            self.flow.owed += 1;
            due.add(sender.at);
        }
    }

    /// Starts the next batch if the last one has come to everyone.
    #[inline]
    fn continue_batch(&mut self, due: &mut Due) {
        if let Pace::Depth(depth) = self.flow.pace
            && self.can_send()
            && !self.flow.stopped
            && self.is_delivered()
        {
            let first = self.flow.dealt;
            self.flow.dealt += u64::from(depth);
            for number in first..self.flow.dealt {
                self.owe(number, due);
            }
        }
    }

    /// The message a payload says it is, if it is that, unchanged, and has been sent.
    #[inline]
    fn recognise(&self, at: usize, frame: &Frame<'_>) -> Option<Head> {
        if !self.flow.contents {
            return self.presume(at, frame);
        }
        let head = self.flow.payloads.claim(frame.payload)?;
        let sender = usize::try_from(head.source).ok()?;
        let sent = *self.sent_each.get(sender)?;
        let genuine = frame.opcode == self.flow.opcode
            && (head.sequence < sent || !self.told)
            && self.flow.payloads.matches(head, frame.payload);
        genuine.then_some(head)
    }

    /// The message the one sender's next one must be, if the frame has its length and opcode. As
    /// there is one sender, a message's number in the run is that in the stream.
    #[inline]
    fn presume(&self, at: usize, frame: &Frame<'_>) -> Option<Head> {
        let sequence = self.flow.ledger.next(at);
        let sent = *self.sent_each.first()?;
        let presumable = frame.opcode == self.flow.opcode
            && (sequence < sent || !self.told)
            && frame.payload.len() == self.flow.payloads.size();
        presumable.then(|| Head {
            source: 0,
            sequence,
            stamp: match self.flow.pace {
                Pace::Depth(_) => self.batch_at,
                Pace::Rate(_) => self.flow.schedule.moment(sequence),
            },
        })
    }

    /// A message that none of the senders has sent like this.
    #[cold]
    fn handle_corrupt(&mut self, at: usize, frame: &Frame<'_>) {
        let claim = self.flow.payloads.claim(frame.payload);
        let claimed = claim.and_then(|head| usize::try_from(head.source).ok());
        let sender = claimed.filter(|&sender| sender < self.width).unwrap_or(0);
        let stream = at * self.width + sender;
        let (expected, subject) = (self.flow.ledger.next(stream), self.subject(at, sender));
        let head = Head {
            source: u32::try_from(sender).unwrap_or_default(),
            sequence: expected,
            stamp: claim.map_or(0, |head| head.stamp),
        };
        let kind = self.flow.payloads.describe(self.flow.opcode);
        let wanted = format!("message {expected} of sender {sender}, {kind}");
        let got = self.flow.payloads.difference(head, frame);
        self.flow.ledger.corrupt(subject.connection, wanted, got);
        // It stands for the message that was expected, or that would be lost, too: if it
        // says so itself or no other sender can be meant.
        let outstanding = !self.told || self.sent_each.get(sender) > Some(&expected);
        let meant = claim.is_some_and(|head| head.sequence == expected) || self.width == 1;
        if outstanding && meant {
            self.flow.ledger.take(stream, expected, || subject);
        }
    }
}

impl Traffic for Broadcast {
    fn flow(&self) -> &Flow {
        &self.flow
    }

    fn flow_mut(&mut self) -> &mut Flow {
        &mut self.flow
    }

    fn start(&mut self, live: &[usize], start: u64) {
        for &at in live {
            if let Some(is_live) = self.live.get_mut(at) {
                *is_live = true;
            }
        }
        self.receivers = live.len() as u64;
        if self.sends {
            let senders = live.iter().take(self.width);
            let owed = Owed::default;
            self.senders = senders.map(|&at| Sender { at, owed: owed() }).collect();
            self.live_senders = (0..self.senders.len()).collect();
        }
        self.flow.start(start);
    }

    #[inline]
    fn handle_message(&mut self, at: usize, frame: &Frame<'_>, now: u64, due: &mut Due) {
        self.flow.received += 1;
        match self.recognise(at, frame) {
            Some(head) => {
                let sender = head.source as usize;
                let stream = at * self.width + sender;
                if head.sequence >= self.flow.ledger.next(stream) {
                    self.flow.recorder.record(head.stamp, now);
                }
                let subject = self.subject(at, sender);
                self.flow.ledger.take(stream, head.sequence, || subject);
            }
            None => self.handle_corrupt(at, frame),
        }
        self.continue_batch(due);
    }

    fn handle_gone(&mut self, at: usize, due: &mut Due) {
        for sender in 0..self.width {
            self.flow.ledger.forget(at * self.width + sender);
        }
        if let Some(live) = self.live.get_mut(at).filter(|live| **live) {
            *live = false;
            self.receivers -= 1;
        }
        if let Some(index) = self.sender_at(at)
            && let Some(sender) = self.senders.get_mut(index)
        {
            self.flow.owed -= std::mem::take(&mut sender.owed).len();
            self.live_senders.retain(|&live| live != index);
        }
        if self.flow.dealt > 0 && self.receivers > 0 {
            self.continue_batch(due);
        }
    }

    fn poll_due(&mut self, now: u64, due: &mut Due) -> u64 {
        if self.flow.stopped || !self.can_send() {
            return u64::MAX;
        }
        if let Pace::Depth(_) = self.flow.pace {
            if self.flow.dealt == 0 {
                self.continue_batch(due);
            }
            return u64::MAX;
        }
        loop {
            match self.flow.deal_by(now) {
                Ok(number) => self.owe(number, due),
                Err(moment) => return moment,
            }
        }
    }

    fn encode(&mut self, at: usize, keys: &mut Keys, room: usize, out: &mut Vec<u8>) -> bool {
        let Some(index) = self.sender_at(at) else {
            return false;
        };
        let (Some(sender), Some(sent)) =
            (self.senders.get_mut(index), self.sent_each.get_mut(index))
        else {
            return false;
        };
        let source = u32::try_from(index).unwrap_or_default();
        let time = now();
        while out.len() < room
            && let Some(number) = sender.owed.pop()
        {
            let sequence = *sent;
            let stamp = match self.flow.pace {
                Pace::Depth(depth) => {
                    if number.is_multiple_of(u64::from(depth)) {
                        self.batch_at = time;
                    }
                    time
                }
                Pace::Rate(_) => self.flow.schedule.moment(number),
            };
            self.flow.write(
                Head {
                    source,
                    sequence,
                    stamp,
                },
                keys.draw(),
                out,
            );
            *sent += 1;
        }
        sender.owed.len() > 0
    }

    fn can_send(&self) -> bool {
        !self.live_senders.is_empty()
    }

    fn sent_elsewhere(&mut self, sent: &[u64]) {
        self.sent_each = sent.to_vec();
        self.sent_each.resize(self.width, 0);
        self.told = true;
    }

    fn sent_each(&self) -> Vec<u64> {
        self.sent_each.clone()
    }

    fn is_complete(&self) -> bool {
        let sent: u64 = self.sent_each.iter().sum();
        self.told
            && self.flow.owed == 0
            && self.flow.ledger.missing() == 0
            && self.flow.ledger.advanced() == self.receivers * sent
    }

    fn settle(mut self) -> (Faults, Latency) {
        for at in 0..self.live.len() {
            if self.live.get(at) != Some(&true) {
                continue;
            }
            for sender in 0..self.width {
                let subject = self.subject(at, sender);
                let sent = self.sent_each.get(sender).copied().unwrap_or_default();
                self.flow
                    .ledger
                    .settle(at * self.width + sender, sent, || subject);
            }
        }
        self.flow.settle()
    }
}
