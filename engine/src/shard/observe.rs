//! What a shard takes note of, for those who observe it: called where things happen, each by a name
//! that says what has happened.

mod backlog;
#[cfg(feature = "http")]
mod elsewhere;
mod flight;
mod times;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use throng_transport::{Peer, SocketKey};

pub(crate) use times::{Clock, WallClock};

use super::core::Core;
use super::mailbox::PostError;
use super::outbox::{Batch, Outbox};
use super::publish::Receipt;
use super::recorder::Recorder;
use super::timer::Tick;
use crate::event::{Cause, Close, ErrorKind, Rejection};
use crate::events::{Event, EventKinds, Subject, Watch};
use crate::flight::FlightKind;
use crate::metrics::{Meter, ShardCounters};
use crate::protocol::close::CloseFrame;
use crate::protocol::frame::OpCode;
use crate::protocol::message::Message;
use crate::room::RoomIndex;
use crate::shared::Shared;
use backlog::Backlog;

/// What a shard observes itself with.
pub(crate) struct Observer {
    meter: Meter,
    watch: Watch,
    recorder: Recorder,
    /// Flight records made in this turn.
    records: usize,
    clock: Option<Clock>,
    /// When the wait ended that this turn follows.
    turn_began: Option<Duration>,
    /// Receives until one is timed.
    until_timed: u32,
    /// What this turn's flushes have handed to the system.
    sent: Sent,
    backlog: Backlog,
}

#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    bytes: u64,
}

impl Observer {
    pub(super) fn new(shard: u8, shared: &Shared) -> Observer {
        let counters = shared.counters.of(shard);
        let counters = counters.filter(|_| shared.config.metrics);
        let clock = shared.clock.filter(|_| counters.is_some());
        Observer {
            meter: counters.map(Meter::new).unwrap_or_default(),
            watch: Watch::new(&shared.bus),
            recorder: Recorder::new(shared.config.flight_recorder),
            records: 0,
            clock,
            turn_began: None,
            until_timed: u32::from(clock.is_some()),
            sent: Sent::default(),
            backlog: Backlog::default(),
        }
    }

    /// For others that count on this thread.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// A turn begins at `now`.
    #[inline]
    pub(super) fn begin(&mut self, now: Duration) {
        self.turn_began = Some(now);
        self.watch.refresh();
        self.records = 0;
    }

    /// Data was handed to the system.
    #[inline]
    pub(super) fn note_sent(&mut self, key: SocketKey, batch: Batch, tick: Tick) {
        self.sent.messages += u64::from(batch.messages);
        self.sent.bytes += u64::from(batch.bytes);
        self.recorder.note(key, FlightKind::Sent, batch.bytes, tick);
    }

    /// A flush has left something that waits for the connection in the slot.
    #[cold]
    pub(super) fn note_behind(&mut self, slot: u32, outbox: &Outbox) {
        if self.meter.counters().is_some() {
            self.backlog.set(slot, outbox.messages(), outbox.bytes());
        }
    }

    /// The system did not take all of what it was handed.
    #[cold]
    pub(super) fn note_stuck(&mut self, key: SocketKey, unsent: u32, tick: Tick) {
        self.recorder.note(key, FlightKind::Behind, unsent, tick);
    }

    /// Nothing waits any more for a connection that was behind.
    #[cold]
    pub(super) fn note_caught_up(&mut self, key: SocketKey, tick: Tick) {
        self.backlog.set(key.slot, 0, 0);
        self.recorder.note(key, FlightKind::CaughtUp, 0, tick);
    }

    /// For how many connections something waits.
    #[cfg(feature = "internals")]
    pub(super) fn backlogs(&self) -> usize {
        self.backlog.len()
    }

    #[inline]
    fn count(&self, count: impl FnOnce(&ShardCounters)) {
        if let Some(counters) = self.meter.counters() {
            count(counters);
        }
    }
}

/// Opening handshakes.
impl Core {
    /// A socket was taken on, to do the opening handshake.
    pub(super) fn note_accepted(&self) {
        self.observer.count(|it| it.accepted.add(1));
    }

    /// A socket was dropped before it was taken on.
    #[cold]
    pub(super) fn note_lost_socket(&self) {
        self.note_error(ErrorKind::MailboxFull, None);
    }

    /// A socket was dropped of which no more is known than who is at its other end.
    #[cold]
    pub(super) fn note_turned_away(&self, peer: Peer, rejection: Rejection) {
        let client = peer.address().map(|it| it.ip().to_canonical());
        self.note_rejected(peer, client, rejection, None);
    }

    /// An opening handshake did not end in a connection; it was answered with that status, if it was.
    #[cold]
    pub(super) fn note_rejected(
        &self,
        peer: Peer,
        client: Option<IpAddr>,
        rejection: Rejection,
        status: Option<u16>,
    ) {
        self.observer.count(|it| it.rejected.add(rejection, 1));
        self.tell(EventKinds::HANDSHAKE_REJECTED, || {
            Some(Event::HandshakeRejected {
                peer,
                client,
                rejection,
                status,
            })
        });
    }

    /// A request for something else goes to the side door.
    #[cfg(feature = "http")]
    pub(super) fn note_visitor(&self) {
        self.observer.count(|it| it.visitors.add(1));
    }

    /// A connection was opened.
    pub(super) fn note_opened(&mut self, key: SocketKey) {
        self.observer.count(|it| it.opened.add(1));
        self.note_change(key, FlightKind::Opened, 0);
        self.tell(EventKinds::CONNECTED, || {
            let connection = self.subject(key)?;
            Some(Event::Connected { connection })
        });
    }
}

/// Connections.
impl Core {
    /// A message has arrived.
    #[inline]
    pub(super) fn note_message(&mut self, key: SocketKey, message: Message<'_>, is_traced: bool) {
        self.observer
            .count(|it| it.message_size.observe(message.len() as u64, 1));
        let observer = &mut self.observer;
        let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
        observer
            .recorder
            .note(key, FlightKind::Received, bytes, self.tick);
        if is_traced | observer.watch.wants(EventKinds::MESSAGE) {
            self.tell_message(key, message);
        }
    }

    #[cold]
    fn tell_message(&self, key: SocketKey, message: Message<'_>) {
        self.trace_message(key, message);
        self.tell(EventKinds::MESSAGE, || {
            Some(Event::Message {
                connection: self.subject(key)?,
                bytes: message.len(),
                is_text: message.as_text().is_some(),
            })
        });
    }

    /// A publication was delivered here.
    #[inline]
    pub(super) fn note_published(&self, receipt: &Receipt) {
        self.observer.count(|it| {
            it.publications.add(u64::from(receipt.audience() > 0));
            it.deliveries
                .add((receipt.queued + receipt.conflated) as u64);
        });
    }

    /// Something for another shard was not taken; one that has stopped has nobody who misses it.
    #[cold]
    pub(super) fn note_unposted(&self, error: &PostError) {
        if matches!(error, PostError::Full(_)) {
            self.note_error(ErrorKind::MailboxFull, None);
        }
    }

    /// A connection has become a member of a room.
    pub(super) fn note_joined(&mut self, key: SocketKey, room: RoomIndex) {
        self.observer.count(|it| it.joins.add(1));
        self.note_change(key, FlightKind::Joined, 0);
        self.tell(EventKinds::JOINED, || {
            Some(Event::Joined {
                connection: self.subject(key)?,
                room: Arc::clone(self.rooms.name_of(room)?),
            })
        });
    }

    /// A membership is about to end.
    pub(super) fn note_leaving(&mut self, key: SocketKey, room: RoomIndex) {
        self.observer.count(|it| it.leaves.add(1));
        self.note_change(key, FlightKind::Left, 0);
        self.tell(EventKinds::LEFT, || {
            Some(Event::Left {
                connection: self.subject(key)?,
                room: Arc::clone(self.rooms.name_of(room)?),
            })
        });
    }

    /// A connection has lost messages, since it is behind.
    #[cold]
    pub(super) fn note_slow(&mut self, key: SocketKey, lost: u64, is_given_up: bool) {
        let told = u32::try_from(lost).unwrap_or(u32::MAX);
        self.note_change(key, FlightKind::Lost, told);
        self.tell(EventKinds::SLOW_CONSUMER, || {
            Some(Event::SlowConsumer {
                connection: self.subject(key)?,
                lost,
                is_given_up,
            })
        });
    }

    /// Something went wrong, on a connection where one is named.
    #[cold]
    pub(crate) fn note_error(&self, error: ErrorKind, key: Option<SocketKey>) {
        self.observer.count(|it| it.errors.add(error, 1));
        self.tell(EventKinds::ERROR, || {
            let connection = key.and_then(|key| self.subject(key));
            Some(Event::Error { connection, error })
        });
    }

    /// A connection has ended, and its handler was told.
    #[cold]
    pub(super) fn note_closed(&mut self, key: SocketKey, close: Close) {
        self.observer.count(|it| {
            it.closed.add(close.cause.kind(), 1);
            let open = u64::try_from(close.duration.as_millis()).unwrap_or(u64::MAX);
            it.connection_duration.observe(open, 1);
        });
        if close.cause == Cause::SlowConsumer {
            self.note_slow(key, close.counts.dropped, true);
        }
        if close.cause.kind().is_error() && self.observer.recorder.is_on() {
            self.record_flight(key, &close);
        }
        self.tell(EventKinds::DISCONNECTED, || {
            Some(Event::Disconnected {
                connection: self.subject(key)?,
                cause: close.cause,
                duration: close.duration,
                counts: close.counts,
            })
        });
    }

    /// A ping or a pong has arrived.
    #[cold]
    pub(super) fn note_control(&mut self, key: SocketKey, opcode: OpCode, payload: &[u8]) {
        let kind = match opcode {
            OpCode::Ping => FlightKind::Ping,
            _ => FlightKind::Pong,
        };
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.observer.recorder.note(key, kind, bytes, self.tick);
        self.trace_received(key, opcode, payload);
    }

    /// A close frame has arrived.
    pub(super) fn note_close_frame(&mut self, key: SocketKey, frame: Option<CloseFrame<'_>>) {
        let code = frame.map_or(0, |frame| u16::from(frame.code));
        let (kind, code) = (FlightKind::Close, u32::from(code));
        self.observer.recorder.note(key, kind, code, self.tick);
        let reason = frame.map_or("", |frame| frame.reason);
        self.trace_received(key, OpCode::Close, reason.as_bytes());
    }

    /// An open connection ends.
    pub(super) fn note_ending(&mut self, key: SocketKey, cause: &Cause) {
        let ending = FlightKind::Ending;
        self.observer.recorder.note(key, ending, 0, self.tick);
        self.trace_change(key, cause.kind().as_str(), 0);
    }

    /// Something rare has become of a connection.
    #[cold]
    pub(super) fn note_change(&mut self, key: SocketKey, kind: FlightKind, size: u32) {
        self.observer.recorder.note(key, kind, size, self.tick);
        self.trace_change(key, kind.as_str(), size);
    }

    /// Tells whoever wants events of that kind.
    #[inline]
    fn tell(&self, kind: EventKinds, event: impl FnOnce() -> Option<Event>) {
        if self.observer.watch.wants(kind)
            && let Some(event) = event()
        {
            self.observer.watch.tell(&event);
        }
    }

    /// A connection, as events name it.
    fn subject(&self, key: SocketKey) -> Option<Subject> {
        let connection = self.connections.peek(key)?;
        let user = connection.particulars.as_ref();
        let user = user.and_then(|it| it.user_id.as_deref());
        Some(Subject {
            id: self.id(key),
            user: user.map(Arc::from),
            peer: connection.peer(),
        })
    }

    /// A connection is no more.
    pub(super) fn note_removed(&mut self, key: SocketKey) {
        self.observer.backlog.set(key.slot, 0, 0);
    }
}
