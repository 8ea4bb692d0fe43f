//! Bounds that are not settings: every queue, buffer and loop of the engine has its named
//! bound here or in [`Config`](crate::Config).

use std::time::Duration;

/// Shards of one engine.
pub(crate) const MAX_SHARDS: usize = 256;
/// Pongs waiting for one connection.
pub(crate) const MAX_PENDING_PONGS: usize = 16;
/// Empty lane boxes that a shard keeps.
pub(crate) const MAX_SPARE_LANES: usize = 1024;
/// How long a peer that is behind goes unheard at least, and at most while sends are completed.
pub(crate) const MAX_UNHEARD: Duration = Duration::from_secs(1);
/// Bytes of messages made in one turn before what was received is held back for the next.
pub(crate) const PRODUCED_PER_TURN: usize = 4 * 1024 * 1024;
/// Bytes of messages inflated in one turn before what is compressed is held back for the next.
pub(crate) const INFLATED_PER_TURN: usize = 4 * 1024 * 1024;
/// Bytes handed to the driver at once; a single longer run still goes as one.
pub(crate) const SEND_BATCH_BYTES: usize = 64 * 1024;
/// Entries taken from a shard's mailbox in one turn.
pub(crate) const MAIL_PER_TURN: usize = 1024;
/// Publications that wait for a worker of the fan-out pool; what comes then is not prepared in it.
pub(crate) const MAX_FANOUT_TASKS: usize = 256;
/// Workers of the fan-out pool.
pub(crate) const MAX_FANOUT_WORKERS: usize = 64;
/// Entries kept for another shard whose mailbox is full, and publications that a shard has in the
/// fan-out pool.
pub(crate) const MAX_BACKLOG: usize = 4096;
/// Connections beyond `max_connections`, which are told so (503) or ask for a page; more are dropped.
pub(crate) const MAX_SURPLUS: usize = 1024;
/// How soon posting to another shard, whose mailbox was full, is tried again.
pub(crate) const RETRY_POSTING: Duration = Duration::from_millis(1);
/// How long a client that was answered with an error status may take to end its side.
pub(crate) const REFUSAL_LINGER: Duration = Duration::from_secs(2);
/// What `Retry-After` says when the engine is full, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "5";
/// Time between two steps of a drain.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(20);
/// A table of connections is allocated at once up to this many; pages not used cost nothing.
pub(crate) const MAX_PREALLOCATED: usize = 65_536;
