//! A shard without its handler: connections, rooms, timers, and what is to be sent.
//!
//! Everything here is bookkeeping in memory. The turn ([`super::turn`]) carries it out on the
//! driver; handlers reach it through [`Conn`](crate::Conn).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashSet;
use throng_transport::{ChunkPool, SendQueue, SocketKey};

use super::batch::Batches;
use super::budget::Thrift;
use super::compress::Compressors;
use super::connection::{Connection, Phase};
use super::connections::Connections;
use super::forward::Forwarding;
use super::hold::HeldBack;
use super::jobs::Jobs;
use super::observe::Observer;
use super::outbox::OutboxLimits;
use super::run::Run;
use super::timer::{Tick, Wheel};
use crate::event::{Cause, Rejection};
use crate::id::ConnectionId;
use crate::limits::WALL_CLOCK_PAUSE;
use crate::protocol::close::{CloseCode, write_close};
use crate::protocol::frame::{MAX_CONTROL_PAYLOAD, OpCode};
use crate::protocol::message::{MessageLimits, Pool};
use crate::room::{Circle, JoinError, LocalRooms, RoomIndex};
use crate::shared::{Shared, expected_per_shard};

/// How a connection leaves [`Phase::Open`].
#[derive(Debug)]
pub(crate) enum Farewell<'a> {
    /// Our close frame goes behind what is queued; the peer's is awaited.
    Last(CloseCode, &'a str),
    /// Our close frame goes before what is queued, which is dropped; the peer's is awaited.
    Urgent(CloseCode, &'a str),
    /// Our close frame goes behind what is queued and is the end: the peer has sent its own, or
    /// broke the rules.
    Final(CloseCode, &'a str),
    /// What is queued is the end: the peer has ended its side without a close frame, but may still be listening
    /// for what it has asked.
    Rest,
    /// Nothing more is said.
    Drop(Release),
}

/// How a released connection's socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// The driver has released it.
    Lost,
    /// Closed; what the system was given is still delivered.
    Close,
    /// Reset.
    Abort,
}

/// A shard's state, without the handler and its per-connection states.
pub(crate) struct Core {
    pub(crate) shard: u8,
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Connections,
    pub(crate) rooms: LocalRooms,
    /// The users who have connections here.
    pub(crate) users: LocalRooms,
    pub(crate) wheel: Wheel,
    /// What single connections are sent.
    pub(crate) chunks: ChunkPool,
    /// What many are sent: apart, so that it lies side by side whatever comes between.
    pub(super) publications: ChunkPool,
    pub(crate) decoders: Pool,
    pub(super) compressors: Compressors,
    /// Connections that left [`Phase::Open`] and whose handler has not been told.
    pub(crate) ended: VecDeque<(SocketKey, Cause)>,
    /// Connections of which something was held back that can be handled now.
    pub(super) held_back: HeldBack,
    /// Slots of connections that have ended and are still in their rooms, in that order.
    pub(crate) unsettled: VecDeque<u32>,
    /// What has been published to a room and not been queued for its members yet.
    pub(super) run: Option<Run>,
    pub(super) batches: Batches,
    pub(super) jobs: Jobs,
    /// Slots of connections to be given up as slow consumers. Ending one may hand others more than
    /// they take, so that they are ended one after another, never one within another.
    pub(super) to_evict: VecDeque<u32>,
    pub(super) defers_evictions: bool,
    /// Connections whose sends were completed in this turn: they are told of what they have lost.
    pub(super) to_tell: Vec<SocketKey>,
    /// Connections to be released at the end of the turn.
    pub(crate) released: Vec<(SocketKey, Release)>,
    /// Connections whose header of the PROXY protocol is not whole yet.
    pub(super) unannounced: HashSet<SocketKey>,
    pub(crate) forwarding: Forwarding,
    /// What this turn has queued of rooms' histories, in bytes of memory and of messages.
    pub(super) recalled: usize,
    /// Publications of this shard that the fan-out pool has not told the end of.
    pub(super) in_fanout: usize,
    pub(crate) batch: SendQueue,
    pub(crate) message_limits: MessageLimits,
    pub(crate) now: Duration,
    pub(crate) tick: Tick,
    /// The shards' epoch since 1970, by the time of day as it was asked for last.
    unix_epoch: Duration,
    /// When that is due again.
    asks_for_time: Duration,
    pub(super) thrift: Thrift,
    pub(crate) observer: Observer,
    pub(super) random: fastrand::Rng,
}

impl Core {
    pub(crate) fn new(shard: u8, shared: Arc<Shared>, seed: u64) -> Core {
        let config = &shared.config;
        let limit = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let expected = expected_per_shard(config);
        let limits = OutboxLimits {
            messages: limit(config.send_queue_messages),
            bytes: limit(config.send_queue_bytes),
            overflow: config.overflow,
        };
        let observer = Observer::new(shard, &shared);
        Core {
            shard,
            connections: Connections::new(expected, limits, observer.meter()),
            rooms: LocalRooms::new(shard, Arc::clone(&shared.directory)),
            users: LocalRooms::new(shard, Arc::clone(&shared.users)),
            wheel: Wheel::new(Tick::default(), expected),
            chunks: ChunkPool::new(),
            publications: ChunkPool::new(),
            decoders: Pool::new(),
            compressors: Compressors::new(
                config.compression.clone().unwrap_or_default().strength(),
            ),
            ended: VecDeque::new(),
            held_back: HeldBack::default(),
            unsettled: VecDeque::new(),
            run: None,
            batches: Batches::default(),
            jobs: Jobs::new(shared.mail[usize::from(shard)].waker().clone()),
            to_evict: VecDeque::new(),
            defers_evictions: false,
            to_tell: Vec::new(),
            released: Vec::new(),
            unannounced: HashSet::new(),
            forwarding: Forwarding::new(config.shards),
            recalled: 0,
            in_fanout: 0,
            batch: SendQueue::new(),
            message_limits: MessageLimits {
                max_message_size: config.max_message_size,
                max_frame_size: config.max_frame_size.unwrap_or(config.max_message_size),
            },
            now: Duration::ZERO,
            tick: Tick::default(),
            unix_epoch: Duration::ZERO,
            asks_for_time: Duration::ZERO,
            thrift: Thrift::new(config),
            observer,
            random: fastrand::Rng::with_seed(seed),
            shared,
        }
    }

    pub(crate) fn id(&self, key: SocketKey) -> ConnectionId {
        ConnectionId::new(self.shard, key)
    }

    /// Takes note of the time.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.now = now;
        self.tick = Tick::at(now);
        if now >= self.asks_for_time
            && let Some(wall_clock) = self.shared.wall_clock
        {
            self.unix_epoch = wall_clock().saturating_sub(now);
            self.asks_for_time = now.saturating_add(WALL_CLOCK_PAUSE);
        }
        self.observer.begin(now);
        self.jobs.begin_turn();
        // By now the driver has let go of what the turn before has sent.
        self.chunks.rewind();
        self.publications.rewind();
        self.recalled = 0;
    }

    /// A tick of the past as a moment.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.shared.epoch + self.now.saturating_sub(self.tick.since(tick))
    }

    /// A tick of the past as a time of day.
    pub(super) fn system_time(&self, tick: Tick) -> SystemTime {
        let ago = self.tick.since(tick);
        SystemTime::UNIX_EPOCH + (self.unix_epoch + self.now).saturating_sub(ago)
    }

    /// The time in seconds since 1970.
    pub(crate) fn unix_time(&self) -> u64 {
        (self.unix_epoch + self.now).as_secs()
    }

    /// What this turn has queued of rooms' histories, in bytes.
    pub(crate) fn recalled(&self) -> usize {
        self.recalled
    }

    /// A random number.
    pub(crate) fn random(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// A random part of `whole`.
    pub(crate) fn random_part(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.random.f64())
    }

    /// The subprotocol agreed on with a connection.
    pub(crate) fn subprotocol<'c>(&'c self, connection: &'c Connection) -> Option<&'c str> {
        let listed = self
            .shared
            .config
            .subprotocols
            .get(usize::from(connection.protocol));
        let own = || connection.particulars.as_ref()?.subprotocol.as_deref();
        listed.map(String::as_str).or_else(own)
    }

    /// Makes an open connection a member of a room.
    pub(crate) fn join(&mut self, key: SocketKey, name: &str) -> Result<(), JoinError> {
        self.enter(key, name).map(drop)
    }

    /// The same; returns the room's place, or `None` where it was a member already.
    pub(super) fn enter(
        &mut self,
        key: SocketKey,
        name: &str,
    ) -> Result<Option<RoomIndex>, JoinError> {
        if let Some(index) = self.rooms.held(name) {
            self.deliver_run_of(Circle::Room(index));
        }
        let max = self.rooms.directory().limits.rooms_of_connection;
        let Some(connection) = self.connections.open(key) else {
            return Err(JoinError::NotOpen);
        };
        if connection.rooms.len() >= max {
            let is_member = |room| self.rooms.contains(Circle::Room(room), key.slot);
            let is_member = self.rooms.index_of(name).is_some_and(is_member);
            return if is_member {
                Ok(None)
            } else {
                Err(JoinError::TooManyRoomsOfConnection { max })
            };
        }
        let joined = self.rooms.join(name, key.slot)?;
        if let Some(index) = joined {
            self.connections[key.slot].rooms.insert(index);
            self.note_entry(index, key.slot);
            self.note_joined(key, index);
        }
        Ok(joined)
    }

    /// Ends a membership; returns whether there was one.
    pub(crate) fn leave(&mut self, key: SocketKey, name: &str) -> bool {
        let Some(index) = self.rooms.held(name) else {
            return false;
        };
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        if !connection.rooms.remove(index) {
            return false;
        }
        self.note_exit(index, key.slot);
        self.deliver_run_before_leave(Circle::Room(index), key.slot);
        self.note_leaving(key, index);
        self.rooms.leave(index, key.slot);
        true
    }

    pub(crate) fn leave_all(&mut self, key: SocketKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        for index in std::mem::take(&mut connection.rooms).iter() {
            self.note_exit(index, key.slot);
            self.deliver_run_before_leave(Circle::Room(index), key.slot);
            self.note_leaving(key, index);
            self.rooms.leave(index, key.slot);
        }
    }

    /// Ends an open connection: from now on it neither receives nor is sent messages. The
    /// handler is told before the turn ends.
    pub(crate) fn part(&mut self, slot: u32, cause: Cause, farewell: &Farewell<'_>) {
        if !self.connections[slot].is_open() {
            return;
        }
        // What it still gets may be too much for others, who end after it.
        let is_deferring = std::mem::replace(&mut self.defers_evictions, true);
        self.leave_run(slot);
        self.end(slot, cause, farewell);
        self.defers_evictions = is_deferring;
        self.evict_pending();
    }

    fn end(&mut self, slot: u32, cause: Cause, farewell: &Farewell<'_>) {
        let connection = &mut self.connections[slot];
        self.unsettled.push_back(slot);
        let key = SocketKey {
            slot,
            generation: connection.generation,
        };
        self.note_ending(key, &cause);
        self.ended.push_back((key, cause));
        let connection = &mut self.connections[slot];
        let (phase, code, reason) = match *farewell {
            Farewell::Last(code, reason) | Farewell::Urgent(code, reason) => {
                (Phase::Closing, code, reason)
            }
            Farewell::Final(code, reason) => (Phase::Lingering, code, reason),
            Farewell::Rest if connection.outbox.is_in_flight() || !connection.outbox.is_empty() => {
                connection.phase = Phase::Lingering;
                self.connections.mark_dirty(slot);
                return self.expect_end(slot, self.shared.config.close_timeout);
            }
            Farewell::Rest => return self.drop_connection(key, Release::Close),
            Farewell::Drop(release) => {
                let waiting = connection.outbox.waiting();
                connection.counts.dropped += u64::from(waiting);
                self.connections.note_given_up(waiting);
                return self.drop_connection(key, release);
            }
        };
        connection.phase = phase;
        self.line_up(key);
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let length = write_close(&mut payload, code, reason);
        let frame = self.encode(OpCode::Close, &payload[..length]);
        if matches!(farewell, Farewell::Urgent(..)) {
            let connection = &mut self.connections[slot];
            let (messages, _) = connection.outbox.discard();
            connection.counts.dropped += u64::from(messages);
            self.connections.note_given_up(messages);
            self.connections.push_control(slot, &frame);
        } else {
            self.connections[slot].has_farewell = true;
            self.connections.push_last(slot, &frame);
        }
        self.expect_end(slot, self.shared.config.close_timeout);
    }

    /// Marks a connection for release at the end of the turn.
    pub(crate) fn drop_connection(&mut self, key: SocketKey, release: Release) {
        self.drop_for(key, release, Rejection::Abandoned);
    }

    /// The same; that is why it was not opened, if it was not.
    pub(super) fn drop_for(&mut self, key: SocketKey, release: Release, why: Rejection) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (was, peer, client) = (
            connection.phase,
            connection.peer(),
            connection.client_addr(),
        );
        if was != Phase::Gone {
            self.leave_handshake(key.slot);
            self.connections[key.slot].phase = Phase::Gone;
            self.released.push((key, release));
        }
        if was == Phase::Handshake {
            self.note_rejected(peer, client, why, None);
        }
    }

    /// Comes before a connection that was accepted here is in another phase than its first.
    pub(super) fn leave_handshake(&mut self, slot: u32) {
        if self.connections[slot].phase == Phase::Handshake {
            self.shared.end_handshake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use throng_transport::Waker;

    use super::*;
    use crate::config::Config;
    use crate::shard::mailbox;

    /// A machine that slept, or whose clock was set, tells the right time again.
    #[test]
    fn the_time_of_day_is_the_systems() {
        static WALL: AtomicU64 = AtomicU64::new(1_800_000_000);
        let wall_clock = || Duration::from_secs(WALL.load(Ordering::Relaxed));
        let (sender, _mailbox) = mailbox(1, Waker::new(|| true));
        let shared = Shared::new(Config::default().shards(1), Instant::now(), vec![sender]);
        let shared = shared.by_the_clocks(Instant::elapsed, wall_clock);
        let mut core = Core::new(0, Arc::new(shared), 1);
        let mut at = |seconds, wall| {
            WALL.store(wall, Ordering::Relaxed);
            core.begin(Duration::from_secs_f64(seconds));
            core.unix_time()
        };
        assert_eq!(at(5.0, 1_800_000_005), 1_800_000_005);
        assert_eq!(at(5.5, 1_800_003_605), 1_800_000_005, "not asked for yet");
        assert_eq!(at(6.0, 1_800_003_606), 1_800_003_606);
        assert_eq!(at(7.5, 1_700_000_000), 1_700_000_000, "it may go back");
    }
}
