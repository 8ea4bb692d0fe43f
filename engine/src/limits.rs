//! Bounds that are not settings: every queue, buffer and loop of the engine has its named
//! bound here or in [`Config`](crate::Config).

use std::time::Duration;

/// Shards of one engine.
pub(crate) const MAX_SHARDS: usize = 256;
/// Pongs waiting for one connection.
pub(crate) const MAX_PENDING_PONGS: usize = 16;
/// Rooms whose losses are told to a connection by name; those of further ones are one sum.
pub(crate) const MAX_GAP_ROOMS: usize = 16;
/// Bytes of a room's name beyond which it is not told, so that the notices of one completed send
/// are fewer bytes than were sent.
pub(crate) const MAX_GAP_ROOM_NAME: usize = 512;
/// Bytes of JSON that a room's metadata may have.
pub(crate) const MAX_ROOM_METADATA: usize = 64 * 1024;
/// Rooms of an engine or a connection, and members of a room, where a setting bounds them.
pub(crate) const MAX_ROOM_COUNT: usize = u32::MAX as usize;
/// Messages that a room's history may have.
pub(crate) const MAX_HISTORY_MESSAGES: usize = 65_536;
/// Bytes that they may take.
pub(crate) const MAX_HISTORY_BYTES: usize = 256 * 1024 * 1024;
/// How old they may be.
pub(crate) const MAX_HISTORY_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Users that one presence notice names, and one answer to who is there.
pub(crate) const MAX_PRESENCE_NAMES: usize = 256;
/// Users that are looked at for such an answer: some may have left and not been told of.
pub(crate) const MAX_PRESENCE_LOOKS: usize = 1024;
/// Bytes of their names, unless it is one name.
pub(crate) const MAX_PRESENCE_BYTES: usize = 16 * 1024;
/// Presence notices of one room that a turn publishes.
pub(crate) const PRESENCE_NOTICES_PER_TURN: usize = 16;
/// Things that rooms ask of a shard and that it does in one turn.
pub(crate) const ERRANDS_PER_TURN: usize = 256;
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
/// Messages that wait for a connection's future, or for its shard, each way.
pub(crate) const LINK_MESSAGES: usize = 64;
/// Bytes of messages that may wait so before the last one.
pub(crate) const LINK_BYTES: usize = 64 * 1024;
/// Characters of a room's or user's name that a client may name in a ready-made event.
pub(crate) const MAX_ROOM_NAME: usize = 128;
/// Rooms that a session keeps, and that a client may name its position in when it resumes one.
pub(crate) const MAX_POSITIONS: usize = 4096;
/// Connections that one question about them is answered with.
pub(crate) const MAX_INSPECTED: usize = 1000;
/// What all sessions that wait for their clients may take together: this part of the memory budget, so that
/// they alone never have anybody refused.
pub(crate) const PARKED_PART: usize = 16;
/// Sessions given up at most when one is kept, those whose time is over and those that make room for it, and when
/// somebody connects.
pub(crate) const GIVEN_UP_PER_PARKED: usize = 16;
/// Bytes of rooms' histories that resuming one session recalls before further rooms are joined without: one message of a
/// client's names thousands of rooms.
pub(crate) const RECALLED_PER_RESUME: usize = 4 * 1024 * 1024;
/// Users, or networks, whose rates are known at once to one rate limit; who comes then is limited by connection.
pub(crate) const MAX_BUCKETS: usize = 262_144;
/// How often a full table of them is looked through for those that are quiet.
pub(crate) const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Keys that a token's signature is tried with.
#[cfg(feature = "jwt")]
pub(crate) const MAX_TRIED_KEYS: usize = 4;
/// Events refused by a rate limit, with none let through between them, after which the connection is closed.
pub(crate) const REFUSALS_BEFORE_CLOSE: u32 = 16;
/// Users whose tokens are remembered as revoked.
pub(crate) const MAX_REVOCATIONS: usize = 65_536;
/// Tokens that do not hold, after which their connection is closed.
pub(crate) const MAX_AUTH_FAILURES: u32 = 5;
/// Tokens that a connection may show at once, those that hold included: checking one takes as long as hundreds of messages.
pub(crate) const AUTH_BURST: u32 = 8;
/// How long until it may show one more: tokens that are renewed last for minutes.
pub(crate) const AUTH_PAUSE: Duration = Duration::from_secs(10);
/// Futures polled in one turn, and calls made whose time has come.
pub(crate) const JOBS_PER_TURN: usize = 256;
/// For how long a shard sleeps at most until a call is due.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Entries taken from a shard's mailbox in one turn.
pub(crate) const MAIL_PER_TURN: usize = 1024;
/// A frame up to this size, published by another thread, is copied into a chunk of the shard's, beside
/// others: what lies side by side goes to each member as one buffer.
pub(crate) const MAX_REPACKED: usize = 4096;
/// Publications that wait for a worker of the fan-out pool; what comes then is not prepared in it.
pub(crate) const MAX_FANOUT_TASKS: usize = 256;
/// Workers of the fan-out pool.
pub(crate) const MAX_FANOUT_WORKERS: usize = 64;
/// Entries kept for another shard whose mailbox is full, and publications that a shard has in the
/// fan-out pool.
pub(crate) const MAX_BACKLOG: usize = 4096;
/// Connections beyond `max_connections`, which are told so (503) or ask for a page; more are dropped.
pub(crate) const MAX_SURPLUS: usize = 1024;
/// Opening handshakes that one address may have in flight where `max_connections_per_ip` is set and lower: a page and
/// what belongs to it come at once.
pub(crate) const LEAST_HANDSHAKES_OF_ONE: usize = 32;
/// How soon posting to another shard, whose mailbox was full, is tried again.
pub(crate) const RETRY_POSTING: Duration = Duration::from_millis(1);
/// Bytes of a header of the PROXY protocol; what proxies add to the addresses is a few hundred.
pub(crate) const MAX_PROXY_HEADER: usize = 4096;
/// Networks of proxies that are trusted.
pub(crate) const MAX_TRUSTED_PROXIES: usize = 1024;
/// How long a client that was answered with an error status may take to end its side.
pub(crate) const REFUSAL_LINGER: Duration = Duration::from_secs(2);
/// The same for who has as many connections in their handshakes already as one address may.
pub(crate) const UNCOUNTED_LINGER: Duration = Duration::from_millis(100);
/// What `Retry-After` says when the engine is full, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "5";
/// How often a shard asks for the time of day: after a machine's sleep, or a step of its clock, it is so old at most.
pub(crate) const WALL_CLOCK_PAUSE: Duration = Duration::from_secs(1);
/// Time between two steps of a drain.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(20);
/// A table of connections is allocated at once up to this many; pages not used cost nothing.
pub(crate) const MAX_PREALLOCATED: usize = 65_536;
/// What an idle connection takes besides its state, for the memory budget: the figure of `compare`, rounded
/// up.
pub(crate) const IDLE_CONNECTION: usize = 272;
/// Who holds less is not given up for the memory budget: that would free little, and too many hold as much.
pub(crate) const LEAST_SHED: usize = 4 * 1024;
/// Connections given up for the memory budget by one shard in one turn.
pub(crate) const SHEDS_PER_TURN: usize = 64;
/// How often a shard looks at all that its connections hold, from seven eighths of the memory budget on.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Connections that a shard lists as those that hold most.
pub(crate) const MAX_WORST: usize = 1024;
/// For how long it counts what another shard said of its worst connection, and how long a shard that
/// says nothing is waited for.
pub(crate) const REPORT_LASTS: Duration = Duration::from_millis(100);
/// What all shards together may take in, and make, in one turn: this part of the memory budget, which is
/// a quarter of the last sixteenth. But each at least [`LEAST_PER_TURN`].
pub(crate) const PART_PER_TURN: usize = 64;
/// More than the chunk that a turn begins with.
pub(crate) const LEAST_PER_TURN: usize = 256 * 1024;
/// Entries of the flight recorder in one record.
pub(crate) const MAX_FLIGHT_ENTRIES: usize = 64;
/// Records of connections that were closed in error, for one engine; the oldest goes first.
pub(crate) const MAX_FLIGHT_RECORDS: usize = 256;
/// Records that a shard makes in one turn: looking one's entries up takes as long as some messages do.
pub(crate) const FLIGHT_RECORDS_PER_TURN: usize = 32;
/// Subscribers to an engine's events at once.
pub(crate) const MAX_SUBSCRIBERS: usize = 64;
/// Events that may wait for one subscriber.
pub(crate) const MAX_EVENTS: usize = 1 << 20;
/// Of so many receives with messages one is timed, on average; which one, chance decides, so that no
/// pattern of the peers' falls in with it.
pub(crate) const TIMED_RECEIVES: u32 = 16;
/// How often the log says at most that the memory budget is nearly used up, by shard.
pub(crate) const WARN_OF_MEMORY: Duration = Duration::from_secs(10);
