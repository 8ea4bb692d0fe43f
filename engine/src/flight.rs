//! The flight recorder's records: what came last on connections that were closed in error.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use throng_transport::memory::Charge;

use crate::closed_list::closed_list;
use crate::event::{Cause, CauseKind, Counts};
use crate::events::Subject;
use crate::limits::{MAX_FLIGHT_ENTRIES, MAX_FLIGHT_RECORDS};

closed_list! {
    /// What a flight recorder has an entry for.
    pub enum FlightKind {
        /// The connection was opened.
        Opened = "opened",
        /// A message was received, of so many bytes.
        Received = "received",
        /// A ping was received, with so many bytes.
        Ping = "ping",
        /// A pong was received, with so many bytes.
        Pong = "pong",
        /// A close frame was received; its code is the size, 0 where it has none.
        Close = "close",
        /// So many bytes of messages were handed to the system; 0 where it was a control frame alone, or the
        /// answer to the upgrade.
        Sent = "sent",
        /// The heartbeat sent a ping.
        Pinged = "pinged",
        /// Of what was handed to the system, it did not take so many bytes at once.
        Behind = "behind",
        /// The system has taken all there was.
        CaughtUp = "caught_up",
        /// Nothing more is received from it for now.
        Paused = "paused",
        /// It is received from again.
        Resumed = "resumed",
        /// So many bytes that were received wait to be handled.
        HeldBack = "held_back",
        /// It has lost so many messages.
        Lost = "lost",
        /// It joined a room.
        Joined = "joined",
        /// It left a room.
        Left = "left",
        /// It ends; what follows may still be sent.
        Ending = "ending",
    }
}

/// Something that happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlightEntry {
    /// When, to within 10 ms.
    pub at: SystemTime,
    /// What.
    pub kind: FlightKind,
    /// How many, as [`FlightKind`] says; what is above 4 GiB is told as that.
    pub size: u32,
}

/// The last that happened on a connection which was closed in error: by a fault of the peer's or the
/// library's, for its memory, as a slow consumer, by the heartbeat, by a panic, or for breaking a rule.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlightRecord {
    /// Which one, its user, and who was at its other end.
    pub connection: Subject,
    /// Why it was closed.
    pub cause: Cause,
    /// When it was opened, to within 10 ms.
    pub opened: SystemTime,
    /// When it was closed, to within 10 ms.
    pub closed: SystemTime,
    /// What went over it.
    pub counts: Counts,
    /// What happened last, in order: 64 entries at most, of those that its shard had not yet overwritten.
    pub entries: Vec<FlightEntry>,
}

impl CauseKind {
    /// Whether something went wrong.
    pub(crate) fn is_error(self) -> bool {
        match self {
            CauseKind::PeerClosed
            | CauseKind::PeerVanished
            | CauseKind::Kicked
            | CauseKind::Drain => false,
            CauseKind::HeartbeatMissed
            | CauseKind::ProtocolFault
            | CauseKind::TooBig
            | CauseKind::SlowConsumer
            | CauseKind::OverBudget
            | CauseKind::Policy
            | CauseKind::HandlerPanicked
            | CauseKind::LibraryFault => true,
        }
    }
}

/// The records of an engine, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct FlightRecords(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<FlightRecord>>,
    charge: Charge,
}

impl FlightRecords {
    /// Keeps a record, in place of the oldest one where there are many.
    pub(crate) fn keep(&self, record: FlightRecord) {
        const EACH: usize =
            size_of::<FlightRecord>() + MAX_FLIGHT_ENTRIES * size_of::<FlightEntry>();
        let record = Arc::new(record);
        let mut kept = self.lock();
        let oldest = if kept.records.len() >= MAX_FLIGHT_RECORDS {
            kept.records.pop_front()
        } else {
            None
        };
        kept.records.push_back(record);
        let memory = kept.records.len() * EACH;
        kept.charge.set(memory);
        drop(kept);
        drop(oldest);
    }

    pub(crate) fn list(&self) -> Vec<FlightRecord> {
        let records: Vec<_> = self.lock().records.iter().cloned().collect();
        records.iter().map(|record| (**record).clone()).collect()
    }

    // Locked for a few instructions at a time.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
