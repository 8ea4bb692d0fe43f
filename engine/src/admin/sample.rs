//! What the page shows, made of what the engine has counted.

use std::time::Duration;

use serde::Serialize;

use crate::event::{CauseKind, ErrorKind, Loss, Rejection};
use crate::handle::EngineHandle;
use crate::inspect::ConnectionInfo;
use crate::metrics::{ByLabel, HistogramSnapshot, MetricsSnapshot, ShardSnapshot};
use crate::room::RoomInfo;

/// An engine at one moment, and what happened in the time before: a point of the plots.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// In seconds since 1970.
    time: u64,
    connections: u64,
    users: usize,
    rooms: u64,
    members: u64,
    rates: Rates,
    load: Load,
    /// Bytes held for connections, by all engines of the process.
    memory: usize,
    budget: Option<usize>,
}

/// How often things happened, per second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rates {
    opened: f64,
    closed: f64,
    rejected: f64,
    messages_in: f64,
    messages_out: f64,
    bytes_in: f64,
    bytes_out: f64,
    dropped: f64,
}

/// How much a shard has to do, or all of them.
#[derive(Clone, Copy, Debug, Serialize)]
struct Load {
    /// The part of the time that it worked, 0 to 1.
    busy: f64,
    /// Of its turns; none where it had none, or counts nothing.
    turn_p99: Option<f64>,
    /// Of the times to handle a message.
    handling_p99: Option<f64>,
    behind: u64,
    waiting_messages: u64,
    waiting_bytes: u64,
    mailbox: u64,
}

#[derive(Debug, Serialize)]
struct ShardReport {
    connections: u64,
    rates: Rates,
    load: Load,
}

/// All that is told each second.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) sample: Sample,
    shards: Vec<ShardReport>,
    slow: Vec<Row>,
    closed: ByLabel<CauseKind>,
    rejected: ByLabel<Rejection>,
    dropped: ByLabel<Loss>,
    errors: ByLabel<ErrorKind>,
    /// Why no newcomers are taken, where that is so.
    not_ready: Option<String>,
}

impl Report {
    pub(super) fn new(
        watched: &EngineHandle,
        before: &MetricsSnapshot,
        now: &MetricsSnapshot,
        passed: Duration,
        slow: Vec<ConnectionInfo>,
    ) -> Report {
        let passed = passed.as_secs_f64().max(0.001);
        let shards = now.shards.iter().zip(&before.shards).zip(&now.mailboxes);
        let shards = shards.map(|((now, before), mailbox)| ShardReport {
            connections: now.active(),
            rates: Rates::new(before, now, passed),
            load: Load::new(before, now, passed, *mailbox),
        });
        let shards: Vec<ShardReport> = shards.collect();
        let mailboxes = now.mailboxes.iter().sum();
        let mut load = Load::new(&before.total, &now.total, passed, mailboxes);
        load.busy /= shards.len().max(1) as f64;
        let total = &now.total;
        Report {
            sample: Sample {
                time: watched.unix_time(),
                connections: now.connections,
                users: watched.user_count(),
                rooms: now.rooms,
                members: total.members(),
                rates: Rates::new(&before.total, total, passed),
                load,
                memory: now.memory.bytes,
                budget: now.memory.budget,
            },
            shards,
            slow: slow.into_iter().map(Row::from).collect(),
            closed: total.closed.clone(),
            rejected: total.rejected.clone(),
            dropped: total.dropped.clone(),
            errors: total.errors.clone(),
            not_ready: watched.readiness().err().map(|why| why.to_string()),
        }
    }
}

impl Rates {
    fn new(before: &ShardSnapshot, now: &ShardSnapshot, passed: f64) -> Rates {
        let rate = |count: fn(&ShardSnapshot) -> u64| {
            count(now).saturating_sub(count(before)) as f64 / passed
        };
        Rates {
            opened: rate(|it| it.opened),
            closed: rate(|it| it.closed.total()),
            rejected: rate(|it| it.rejected.total()),
            messages_in: rate(ShardSnapshot::messages_in),
            messages_out: rate(|it| it.messages_out),
            bytes_in: rate(ShardSnapshot::bytes_in),
            bytes_out: rate(|it| it.bytes_out),
            dropped: rate(|it| it.dropped.total()),
        }
    }
}

impl Load {
    fn new(before: &ShardSnapshot, now: &ShardSnapshot, passed: f64, mailbox: u64) -> Load {
        let p99 = |now: &HistogramSnapshot, before| {
            let bound = now.since(before).quantile(0.99);
            bound.filter(|seconds| seconds.is_finite())
        };
        Load {
            busy: (now.turn_time.sum - before.turn_time.sum).max(0.0) / passed,
            turn_p99: p99(&now.turn_time, &before.turn_time),
            handling_p99: p99(&now.handling_time, &before.handling_time),
            behind: now.behind,
            waiting_messages: now.waiting_messages,
            waiting_bytes: now.waiting_bytes,
            mailbox,
        }
    }
}

/// A connection, as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: String,
    address: Option<String>,
    user: Option<String>,
    subprotocol: Option<String>,
    open_for: u64,
    idle_for: u64,
    rooms: usize,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    dropped: u64,
    waiting_messages: usize,
    waiting_bytes: usize,
    is_behind: bool,
}

impl From<ConnectionInfo> for Row {
    fn from(info: ConnectionInfo) -> Row {
        Row {
            id: info.id.to_string(),
            address: info.client.map(|address| address.to_string()),
            user: info.user_id,
            subprotocol: info.subprotocol,
            open_for: info.open_for.as_secs(),
            idle_for: info.idle_for.as_secs(),
            rooms: info.rooms,
            messages_in: info.counts.messages_in,
            messages_out: info.counts.messages_out,
            bytes_in: info.counts.bytes_in,
            bytes_out: info.counts.bytes_out,
            dropped: info.counts.dropped,
            waiting_messages: info.waiting.messages,
            waiting_bytes: info.waiting.bytes,
            is_behind: info.is_behind,
        }
    }
}

/// A room, as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct RoomRow {
    name: String,
    members: usize,
    max_members: Option<usize>,
    is_kept: bool,
    is_sequenced: bool,
}

impl From<RoomInfo> for RoomRow {
    fn from(info: RoomInfo) -> RoomRow {
        RoomRow {
            name: info.name.to_string(),
            members: info.members,
            max_members: info.max_members,
            is_kept: info.kept,
            is_sequenced: info.sequenced,
        }
    }
}
