//! What a seed stands for: an engine's settings, its network, and how its clients behave.

use std::time::Duration;

use fastrand::Rng;
use throng::{Compression, Config, History, Overflow, RoomOptions};
use throng_transport::sim::Faults;

/// Of so many seeds one has a crowd.
const CROWDS: u32 = 50;

/// Everything about a run that is decided before it begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shards: usize,
    pub(super) config: Config,
    pub(super) clients: usize,
    /// What each client does, at the most.
    pub(super) acts: usize,
    /// Rooms: the first of them sequenced.
    pub(super) sequenced: usize,
    pub(super) rooms: usize,
    /// Messages that the histories of sequenced rooms keep, if they have any.
    pub(super) history: Option<usize>,
    /// How long clients come and act.
    pub(super) length: Duration,
    pub(super) drain_window: Duration,
    /// Nothing fails, and everybody reads.
    pub(super) is_calm: bool,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Plan {
        let mut random = Rng::with_seed(seed);
        let clients = match random.u32(0..CROWDS) {
            0 => random.usize(100..400),
            1..10 => random.usize(20..80),
            _ => random.usize(2..16),
        };
        let rooms = random.usize(1..5);
        let shards = random.usize(1..4);
        Plan {
            seed,
            shards,
            config: config(&mut random),
            clients,
            acts: random.usize(3..20),
            sequenced: random.usize(0..=rooms),
            rooms,
            length: Duration::from_millis(random.u64(200..8_000)),
            drain_window: Duration::from_millis(random.u64(0..2_000)),
            is_calm: random.u8(0..4) == 0,
            history: (random.u8(0..4) > 0).then(|| random.usize(1..100)),
        }
    }

    /// What sequenced rooms are like.
    pub(super) fn sequenced_room(&self) -> RoomOptions {
        let sequenced = RoomOptions::new().sequenced();
        match self.history {
            Some(messages) => sequenced.history(History::messages(messages)),
            None => sequenced,
        }
    }

    /// The network's faults.
    pub(super) fn faults(&self) -> fn(u64) -> Faults {
        if self.is_calm {
            |_| Faults::calm()
        } else {
            Faults::drawn
        }
    }

    /// The longest that a drain may take: what `Engine::drain_with` promises.
    pub(super) fn drain_bound(&self) -> Duration {
        self.drain_window + self.config.close_timeout + Duration::from_secs(1)
    }
}

fn config(random: &mut Rng) -> Config {
    let millis = |random: &mut Rng, from, to| Duration::from_millis(random.u64(from..to));
    let overflow = match random.u8(0..4) {
        0 => Overflow::Disconnect,
        1 => Overflow::RefuseNewest,
        2 => Overflow::DropOldest,
        _ => Overflow::Conflate,
    };
    let mut config = Config::default()
        .max_connections(1000)
        .max_message_size(8 * 1024)
        .read_buffer_size(4096 << random.u32(0..5))
        .overflow(overflow)
        .handshake_timeout(millis(random, 2_000, 20_000))
        .pong_timeout(millis(random, 5_000, 20_000))
        .write_timeout(millis(random, 3_000, 20_000))
        .close_timeout(millis(random, 500, 5_000))
        .send_queue_messages(1 << random.u32(2..9))
        .send_queue_bytes(8 * 1024 + 10 + random.usize(0..64 * 1024))
        .mailbox_capacity(1 << random.u32(2..14));
    config.ping_interval = random.bool().then(|| millis(random, 500, 5_000));
    config.batch_window = (random.u8(0..3) == 0).then(|| millis(random, 1, 50));
    config.batch_messages = 1 << random.u32(0..7);
    if random.u8(0..3) == 0 {
        let takeover = overflow != Overflow::DropOldest && random.bool();
        config.compression = Some(
            Compression::default()
                .server_context_takeover(takeover)
                .threshold(random.usize(0..600))
                .memory_level(1)
                .level(1),
        );
    }
    config
}
