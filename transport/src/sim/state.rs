//! The network's state: ends, listeners, and what happens when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::Duration;

use super::faults::{CHANCES, Faults};
use super::pipe::{Pipe, Segment};
use crate::driver::SocketKey;

/// Connections that a listener holds for its driver to accept; more are reset.
const BACKLOG: usize = 4096;
/// The queue of events for ends that no driver owns.
pub(super) const FARS: usize = 0;

/// An end of a connection. Its other end differs in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId(pub(super) usize);

impl EndId {
    pub(super) fn peer(self) -> EndId {
        EndId(self.0 ^ 1)
    }

    /// The connection's number, counted from 0.
    pub(super) fn connection(self) -> usize {
        self.0 / 2
    }

    /// The end on the side of the connection that accepts.
    pub(super) fn near(connection: usize) -> EndId {
        EndId(connection * 2)
    }
}

/// Who is told what happens at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) queue: usize,
    pub(super) key: SocketKey,
}

/// What has become of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Released: what arrives is answered by a reset.
    Closed,
    /// Gone without a word: what arrives is neither read nor answered.
    Vanished,
}

#[derive(Debug)]
struct End {
    inbox: Pipe,
    owner: Option<Owner>,
    /// In its owner's queue.
    is_queued: bool,
    /// Its owner wants to hear of a reset only.
    is_paused: bool,
    phase: Phase,
    /// A reset has arrived.
    is_reset: bool,
    /// The end of the stream was sent.
    is_finished: bool,
    /// Found no room; to be told when there is some.
    is_blocked: bool,
    faults: Faults,
}

#[derive(Debug)]
struct ListenerState {
    port: u16,
    backlog: VecDeque<EndId>,
    is_open: bool,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next segment arrives at the end.
    Arrival(EndId),
    /// The end may find room to write.
    Room(EndId),
    /// A connection reaches the listener.
    Connection(EndId, usize),
    /// A rest is over; whoever rests looks at the time.
    RestIsOver,
}

pub(super) struct State {
    pub(super) now: Duration,
    pub(super) random: fastrand::Rng,
    faults: Box<dyn FnMut(u64) -> Faults + Send>,
    /// By time, then by a number drawn at random, so that no order of what happens at once is
    /// relied on; then in the order of their making.
    events: BinaryHeap<Reverse<(Duration, u32, u64, Event)>>,
    made: u64,
    pub(super) happened: u64,
    pub(super) digest: u64,
    ends: Vec<End>,
    listeners: Vec<ListenerState>,
    /// Ends that something has happened at, by whom is to be told.
    queues: Vec<VecDeque<EndId>>,
}

impl State {
    pub(super) fn new(seed: u64, faults: Box<dyn FnMut(u64) -> Faults + Send>) -> State {
        State {
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
            faults,
            events: BinaryHeap::new(),
            made: 0,
            happened: 0,
            digest: seed,
            ends: Vec::new(),
            listeners: Vec::new(),
            queues: vec![VecDeque::new()],
        }
    }

    /// A queue for a driver.
    pub(super) fn add_queue(&mut self) -> usize {
        self.queues.push(VecDeque::new());
        self.queues.len() - 1
    }

    /// Takes part in the digest.
    pub(super) fn note(&mut self, what: u64) {
        let mixed = (self.digest ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.digest = mixed.rotate_left(29);
    }

    fn note_bytes(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut whole = [0; 8];
            whole[..word.len()].copy_from_slice(word);
            self.note(u64::from_le_bytes(whole));
        }
    }

    pub(super) fn chance(&mut self, out_of_thousand: u32) -> bool {
        out_of_thousand > 0 && self.random.u32(0..CHANCES) < out_of_thousand
    }

    fn latency(&mut self, end: EndId) -> Duration {
        let faults = self.ends[end.0].faults;
        let spread = faults.most_latency.saturating_sub(faults.least_latency);
        let mut latency = faults.least_latency + spread.mul_f64(self.random.f64());
        if self.chance(faults.stalls) {
            latency += faults.stall.mul_f64(self.random.f64());
        }
        latency
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.made += 1;
        let tie = self.random.u32(..);
        self.events.push(Reverse((time, tie, self.made, event)));
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Option<Duration> {
        self.events.peek().map(|Reverse((time, ..))| *time)
    }

    /// Lets the next event happen.
    pub(super) fn step(&mut self) {
        let Some(Reverse((time, _, number, event))) = self.events.pop() else {
            return;
        };
        self.now = self.now.max(time);
        self.happened += 1;
        self.note(number ^ u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        match event {
            Event::Arrival(end) => self.arrive(end),
            Event::Room(end) => self.notify(end),
            Event::Connection(end, listener) => self.reach(end, listener),
            Event::RestIsOver => {}
        }
    }

    /// A rest begins that is over at `time`.
    pub(super) fn rest_until(&mut self, time: Duration) {
        self.at(time, Event::RestIsOver);
    }

    fn arrive(&mut self, end: EndId) {
        let Some(segment) = self.ends[end.0].inbox.arrive() else {
            return;
        };
        match (self.ends[end.0].phase, segment) {
            (Phase::Open, Segment::Reset) => {
                let state = &mut self.ends[end.0];
                state.is_reset = true;
                let peers = &mut self.ends[end.peer().0];
                peers.inbox.is_cut = true;
                if peers.phase != Phase::Open {
                    peers.inbox.clear();
                }
                self.notify(end);
            }
            // The end of what was cut off before it is no end.
            (Phase::Open, Segment::End) if self.ends[end.0].is_reset => {
                self.ends[end.0].inbox.has_ended = false;
            }
            (Phase::Open, _) if self.ends[end.0].is_paused => {}
            (Phase::Open, _) => self.notify(end),
            (Phase::Closed, Segment::Bytes(_)) => {
                self.ends[end.0].inbox.is_cut = true;
                self.transmit(end, Segment::Reset);
            }
            (Phase::Closed | Phase::Vanished, _) => {}
        }
    }

    fn reach(&mut self, end: EndId, listener: usize) {
        let listener = &mut self.listeners[listener];
        if listener.is_open && listener.backlog.len() < BACKLOG {
            listener.backlog.push_back(end);
        } else {
            self.reset(end);
        }
    }

    /// Puts the end into its owner's queue.
    pub(super) fn notify(&mut self, end: EndId) {
        let state = &mut self.ends[end.0];
        if let Some(owner) = state.owner
            && !std::mem::replace(&mut state.is_queued, true)
        {
            self.queues[owner.queue].push_back(end);
        }
    }

    /// How many ends wait in a queue, at the most.
    pub(super) fn queued(&self, queue: usize) -> usize {
        self.queues[queue].len()
    }

    /// The next end in the queue, and what its owner calls it.
    pub(super) fn next_queued(&mut self, queue: usize) -> Option<(EndId, SocketKey)> {
        while let Some(end) = self.queues[queue].pop_front() {
            let state = &mut self.ends[end.0];
            let owner = state.owner.filter(|owner| owner.queue == queue);
            if let Some(owner) = owner
                && std::mem::take(&mut state.is_queued)
            {
                return Some((end, owner.key));
            }
        }
        None
    }

    pub(super) fn own(&mut self, end: EndId, owner: Option<Owner>) {
        let state = &mut self.ends[end.0];
        state.owner = owner;
        state.is_queued = false;
        state.is_paused = false;
        if owner.is_some() {
            self.notify(end);
        }
    }

    pub(super) fn faults(&self, end: EndId) -> Faults {
        self.ends[end.0].faults
    }

    /// Ends on the accepting side that are open.
    pub(super) fn open_near_ends(&self) -> usize {
        let near = self.ends.iter().step_by(2);
        near.filter(|end| end.phase == Phase::Open).count()
    }
}

/// Connecting.
impl State {
    pub(super) fn add_listener(&mut self, port: u16) -> usize {
        self.listeners.push(ListenerState {
            port,
            backlog: VecDeque::new(),
            is_open: true,
        });
        self.listeners.len() - 1
    }

    /// Whether the listener still listens.
    pub(super) fn is_listening(&self, listener: usize) -> bool {
        self.listeners[listener].is_open
    }

    pub(super) fn has_backlog(&self, listener: usize) -> bool {
        !self.listeners[listener].backlog.is_empty()
    }

    /// The next connection that waits to be accepted.
    pub(super) fn accept(&mut self, listener: usize) -> Option<EndId> {
        self.listeners[listener].backlog.pop_front()
    }

    /// Puts a connection back that could not be accepted now.
    pub(super) fn put_back(&mut self, listener: usize, end: EndId) {
        self.listeners[listener].backlog.push_front(end);
    }

    /// Stops listening; who waits is turned away.
    pub(super) fn close_listener(&mut self, listener: usize) {
        self.listeners[listener].is_open = false;
        while let Some(end) = self.accept(listener) {
            self.reset(end);
        }
    }

    /// Stops every listener on the port.
    pub(super) fn shut_down(&mut self, port: u16) {
        let on_port = |number: &usize| self.listeners[*number].port == port;
        let listeners: Vec<usize> = (0..self.listeners.len()).filter(on_port).collect();
        for listener in listeners {
            self.close_listener(listener);
        }
    }

    /// A connection's two ends, the far one owned. What happens there is told under the connection's
    /// number.
    pub(super) fn pair(&mut self, faults: Option<Faults>) -> EndId {
        let drawn = (self.faults)(self.random.u64(..));
        let faults = faults.unwrap_or(drawn);
        let connection = self.ends.len() / 2;
        for _ in 0..2 {
            self.ends.push(End {
                inbox: Pipe::default(),
                owner: None,
                is_queued: false,
                is_paused: false,
                phase: Phase::Open,
                is_reset: false,
                is_finished: false,
                is_blocked: false,
                faults,
            });
        }
        let near = EndId::near(connection);
        let slot = u32::try_from(connection).unwrap_or(u32::MAX);
        let key = SocketKey {
            slot,
            generation: 0,
        };
        self.ends[near.peer().0].owner = Some(Owner { queue: FARS, key });
        near
    }

    /// The far end of a new connection to one of the port's listeners.
    pub(super) fn connect(&mut self, port: u16) -> io::Result<EndId> {
        let listening = |number: &usize| {
            let listener = &self.listeners[*number];
            listener.is_open && listener.port == port
        };
        let listening: Vec<usize> = (0..self.listeners.len()).filter(listening).collect();
        if listening.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let listener = listening[self.random.usize(..listening.len())];
        let near = self.pair(None);
        let reached = self.now + self.latency(near);
        self.at(reached, Event::Connection(near, listener));
        Ok(near.peer())
    }
}

/// Reading and writing.
impl State {
    /// Whether there is something to be read, an end or a reset.
    pub(super) fn is_readable(&self, end: EndId) -> bool {
        let state = &self.ends[end.0];
        state.inbox.unread() > 0 || state.inbox.has_ended || state.is_reset
    }

    pub(super) fn is_paused(&self, end: EndId) -> bool {
        self.ends[end.0].is_paused
    }

    pub(super) fn pause(&mut self, end: EndId) {
        self.ends[end.0].is_paused = true;
    }

    pub(super) fn resume(&mut self, end: EndId) {
        self.ends[end.0].is_paused = false;
        if self.is_readable(end) {
            self.notify(end);
        }
    }

    pub(super) fn is_reset(&self, end: EndId) -> bool {
        self.ends[end.0].is_reset
    }

    /// Reads what has arrived; 0 is the end of the stream.
    pub(super) fn read(&mut self, end: EndId, out: &mut [u8]) -> io::Result<usize> {
        let inbox = &mut self.ends[end.0].inbox;
        let count = inbox.read(out);
        if count > 0 {
            self.tell_of_room(end.peer());
            return Ok(count);
        }
        let state = &self.ends[end.0];
        if state.inbox.has_ended || out.is_empty() {
            // A reset behind the end takes nothing away any more.
            Ok(0)
        } else if state.is_reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn tell_of_room(&mut self, writer: EndId) {
        if std::mem::take(&mut self.ends[writer.0].is_blocked) {
            self.tell_later(writer);
        }
    }

    /// Has the end looked at again after some time.
    pub(super) fn tell_later(&mut self, end: EndId) {
        let time = self.now + self.latency(end);
        self.at(time, Event::Room(end));
    }

    /// Writes as much as there is room for; returns how much that was.
    pub(super) fn write<'b>(
        &mut self,
        end: EndId,
        parts: impl Iterator<Item = &'b [u8]>,
    ) -> io::Result<usize> {
        let state = &self.ends[end.0];
        if state.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.is_finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = self.ends[end.peer().0].inbox.room(state.faults.capacity);
        let mut written = 0;
        let mut is_short = false;
        for part in parts {
            let count = part.len().min(room);
            self.ends[end.peer().0].inbox.push(&part[..count]);
            self.note_bytes(&part[..count]);
            room -= count;
            written += count;
            is_short |= count < part.len();
        }
        self.ends[end.0].is_blocked |= is_short;
        self.cut_into_segments(end, written);
        Ok(written)
    }

    /// Sends off what was written, in pieces; within one of them the network may reset the
    /// connection.
    fn cut_into_segments(&mut self, end: EndId, mut rest: usize) {
        let faults = self.ends[end.0].faults;
        while rest > 0 && !self.ends[end.peer().0].inbox.is_cut {
            let most = rest.min(faults.segment);
            let is_whole = faults.segment == usize::MAX;
            let count = if is_whole {
                most
            } else {
                self.random.usize(1..=most)
            };
            if self.chance(faults.resets) {
                let heard = self.random.usize(..count);
                self.ends[end.peer().0].inbox.unpush(rest - heard);
                self.transmit(end, Segment::Bytes(heard));
                return self.cut(end);
            }
            self.transmit(end, Segment::Bytes(count));
            rest -= count;
        }
    }

    /// The network resets the connection, both ends learning it.
    fn cut(&mut self, end: EndId) {
        self.transmit(end, Segment::Reset);
        self.transmit(end.peer(), Segment::Reset);
        for end in [end, end.peer()] {
            self.ends[end.0].inbox.is_cut = true;
        }
    }

    /// Sends a segment off, from `end` to the other.
    fn transmit(&mut self, end: EndId, segment: Segment) {
        let latency = self.latency(end);
        let receiver = end.peer();
        let arrival = self.ends[receiver.0].inbox.send(segment, self.now, latency);
        self.at(arrival, Event::Arrival(receiver));
    }

    /// Ends this side of the stream.
    pub(super) fn finish(&mut self, end: EndId) {
        let state = &mut self.ends[end.0];
        if !std::mem::replace(&mut state.is_finished, true) && !state.is_reset {
            self.transmit(end, Segment::End);
        }
    }

    /// Releases the end; what was written still arrives. Over bytes that were not read the connection
    /// is reset.
    pub(super) fn close(&mut self, end: EndId) {
        if self.ends[end.0].inbox.unread() > 0 {
            return self.reset(end);
        }
        if self.ends[end.0].phase == Phase::Open {
            self.finish(end);
            self.release(end, Phase::Closed);
        }
    }

    /// Releases the end and resets the connection.
    pub(super) fn reset(&mut self, end: EndId) {
        if self.ends[end.0].phase == Phase::Open {
            if self.ends[end.0].faults.resets_overtake {
                self.ends[end.peer().0].inbox.drop_in_flight();
            }
            self.transmit(end, Segment::Reset);
            self.release(end, Phase::Closed);
        }
    }

    /// The end is gone without a word.
    pub(super) fn vanish(&mut self, end: EndId) {
        self.release(end, Phase::Vanished);
    }

    fn release(&mut self, end: EndId, phase: Phase) {
        self.note(end.0 as u64);
        let state = &mut self.ends[end.0];
        state.phase = phase;
        state.owner = None;
        if phase == Phase::Closed {
            state.inbox.discard();
        }
    }

    /// Drops what has arrived, as a driver does before it closes.
    pub(super) fn discard(&mut self, end: EndId) {
        self.ends[end.0].inbox.discard();
    }
}
