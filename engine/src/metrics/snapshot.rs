//! Everything that an engine has counted, at one moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Metrics;
use super::family::{Family, Told};
use super::shard::{ShardCounters, ShardSnapshot};
use crate::budget::MemoryUse;
use crate::shared::Shared;

/// What an engine has counted since it was started, and how much of everything there is.
///
/// With [`Config::metrics`](field@crate::Config::metrics) off, what shards count is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// All shards together, and upgrades that another server was asked for and that were refused there.
    pub total: ShardSnapshot,
    /// Each shard.
    pub shards: Vec<ShardSnapshot>,
    /// Open connections.
    pub connections: u64,
    /// Connections that may be open ([`Config::max_connections`](field@crate::Config::max_connections)).
    pub max_connections: u64,
    /// Rooms that have members or were created.
    pub rooms: u64,
    /// What waits in each shard's mailbox, by shard.
    pub mailboxes: Vec<u64>,
    /// Events that found a subscriber's queue full.
    pub events_dropped: u64,
    /// The memory budget.
    pub memory: MemoryUse,
    /// The fan-out pool, where there is one.
    pub fanout: Option<FanoutSnapshot>,
    /// TLS, where it is spoken.
    pub tls: Option<TlsSnapshot>,
}

/// What is in the fan-out pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FanoutSnapshot {
    /// Publications in line or being handed out.
    pub publications: u64,
    /// Those of them that wait for a worker.
    pub waiting: u64,
}

/// What became of TLS handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TlsSnapshot {
    /// Completed, those that resumed a session included.
    pub completed: u64,
    /// Completed by resuming a session.
    pub resumed: u64,
    /// Not completed.
    pub failed: u64,
    /// Refused, since too many were under way.
    pub refused: u64,
}

/// What an engine counts with.
#[derive(Debug)]
pub(crate) struct Sources {
    shards: Vec<Arc<ShardCounters>>,
    /// What comes to no shard, counted by one thread at a time.
    elsewhere: Mutex<ShardCounters>,
}

impl Sources {
    pub(crate) fn new(shards: usize) -> Sources {
        Sources {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            elsewhere: Mutex::default(),
        }
    }

    /// The counters of that shard.
    pub(crate) fn of(&self, shard: u8) -> Option<&Arc<ShardCounters>> {
        self.shards.get(usize::from(shard))
    }

    /// Counts what comes to no shard.
    #[cfg(feature = "http")]
    pub(crate) fn count_elsewhere(&self, count: impl FnOnce(&ShardCounters)) {
        count(&self.elsewhere());
    }

    fn elsewhere(&self) -> MutexGuard<'_, ShardCounters> {
        self.elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricsSnapshot {
    pub(crate) fn of(shared: &Shared) -> MetricsSnapshot {
        let sources = &shared.counters;
        let shards: Vec<ShardSnapshot> = sources.shards.iter().map(|it| it.read()).collect();
        let mut total = sources.elsewhere().read();
        shards.iter().for_each(|shard| total.add(shard));
        MetricsSnapshot {
            total,
            shards,
            connections: shared.open() as u64,
            max_connections: shared.config.max_connections as u64,
            rooms: shared.directory.len() as u64,
            mailboxes: shared.mail.iter().map(|mail| mail.len() as u64).collect(),
            events_dropped: shared.bus.dropped(),
            memory: shared.budget.memory_use(),
            fanout: shared.fanout.as_ref().map(|fanout| FanoutSnapshot {
                publications: fanout.outstanding() as u64,
                waiting: fanout.waiting() as u64,
            }),
            tls: TlsSnapshot::of(shared),
        }
    }

    /// Tells another system all of it.
    pub fn report(&self, metrics: &mut impl Metrics) {
        for family in self.families() {
            family.report(metrics);
        }
    }

    /// All metrics with their samples.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.total.families();
        for (number, shard) in self.shards.iter().enumerate() {
            shard.tell_each(&mut families, number);
        }
        let mut mailboxes = Family::new("throng_shard_mailbox", MAILBOX);
        for (shard, waiting) in self.mailboxes.iter().enumerate() {
            waiting.tell(&mut mailboxes, "", Some(shard));
        }
        families.push(mailboxes);
        let further = self.further().into_iter().chain(self.optional());
        families.extend(further.map(|(name, help, number)| {
            let mut family = Family::new(name, help);
            number.tell(&mut family, "", None);
            family
        }));
        families
    }

    /// What follows from the counters, and what is not a shard's.
    fn further(&self) -> [Row; 11] {
        let total = &self.total;
        [
            (
                "throng_connections_active",
                "Open connections.",
                self.connections,
            ),
            (
                "throng_connections_limit",
                "Connections that may be open.",
                self.max_connections,
            ),
            (
                "throng_handshakes_in_flight",
                "Opening handshakes that are under way.",
                total.handshaking(),
            ),
            (
                "throng_messages_received_total",
                "Messages received.",
                total.messages_in(),
            ),
            (
                "throng_received_bytes_total",
                "Payload bytes of the messages received.",
                total.bytes_in(),
            ),
            (
                "throng_rooms",
                "Rooms that have members or were created.",
                self.rooms,
            ),
            (
                "throng_room_members",
                "Memberships of rooms.",
                total.members(),
            ),
            (
                "throng_events_dropped_total",
                "Events that found a subscriber's queue full.",
                self.events_dropped,
            ),
            (
                "throng_memory_bytes",
                "Bytes held for connections, by all engines of the process.",
                self.memory.bytes as u64,
            ),
            (
                "throng_memory_refused_total",
                "Upgrades refused for the memory budget.",
                self.memory.refused,
            ),
            (
                "throng_memory_shed_total",
                "Connections given up for the memory budget.",
                self.memory.shed,
            ),
        ]
    }

    /// What not every engine has.
    fn optional(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(budget) = self.memory.budget {
            let help = "Bytes that may be held for connections.";
            rows.push(("throng_memory_budget_bytes", help, budget as u64));
        }
        if let Some(fanout) = &self.fanout {
            let help = "Publications in the fan-out pool.";
            rows.push(("throng_fanout_publications", help, fanout.publications));
            let help = "Publications that wait for a worker of the fan-out pool.";
            rows.push(("throng_fanout_waiting", help, fanout.waiting));
        }
        if let Some(tls) = &self.tls {
            let help = "TLS handshakes completed, those that resumed a session included.";
            rows.push(("throng_tls_handshakes_completed_total", help, tls.completed));
            let help = "TLS handshakes that resumed a session.";
            rows.push(("throng_tls_handshakes_resumed_total", help, tls.resumed));
            let help = "TLS handshakes that were not completed.";
            rows.push(("throng_tls_handshakes_failed_total", help, tls.failed));
            let help = "TLS handshakes refused, since too many were under way.";
            rows.push(("throng_tls_handshakes_refused_total", help, tls.refused));
        }
        rows
    }
}

/// A metric of one number: its name, its help and the number.
type Row = (&'static str, &'static str, u64);

const MAILBOX: &str = "What waits in a shard's mailbox.";

impl TlsSnapshot {
    #[cfg(feature = "tls")]
    fn of(shared: &Shared) -> Option<TlsSnapshot> {
        let counts = shared.tls.as_ref()?.counts();
        Some(TlsSnapshot {
            completed: counts.completed,
            resumed: counts.resumed,
            failed: counts.failed,
            refused: counts.refused,
        })
    }

    #[cfg(not(feature = "tls"))]
    fn of(_: &Shared) -> Option<TlsSnapshot> {
        None
    }
}
