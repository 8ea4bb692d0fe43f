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
/// Members of a large audience that are sent to in one turn, when nothing hurries.
pub(crate) const SENDS_PER_SLICE: usize = 128;
/// Bytes that a turn sends to such members before it leaves the others to the next one.
pub(crate) const BYTES_PER_SLICE: usize = 512 * 1024;
/// What a member may be handed while it waits for its slice, in messages of 64 bytes: about what a
/// fresh socket takes at once. Then it is sent to, whatever else there is to do.
pub(crate) const MAX_WAITING_IN_LINE: u32 = 1024;
/// Members of a room that what is published to it is kept from, or was handed to before, in one run.
pub(crate) const MAX_RUN_EXCEPTIONS: usize = 64;
/// Bytes of one room's messages after which its batch goes out, whatever its window says.
pub(crate) const MAX_BATCH_BYTES: usize = 16 * 1024;
/// Bytes in all batches of a shard after which they go out.
pub(crate) const MAX_BATCHED_BYTES: usize = 4 * 1024 * 1024;
/// Entries taken from a shard's mailbox in one turn.
pub(crate) const MAIL_PER_TURN: usize = 1024;
/// Entries kept for another shard whose mailbox is full.
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
