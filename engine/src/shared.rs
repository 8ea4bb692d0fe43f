//! What the shards of an engine and the handles on it share.

use std::sync::Arc;
#[cfg(feature = "http")]
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::address::{PerAddress, Proxies};
use crate::budget::Budget;
use crate::config::{Config, open_file_limit};
use crate::events::Bus;
use crate::fanout::Fanout;
use crate::flight::FlightRecords;
#[cfg(feature = "http")]
use crate::handler::Handler;
#[cfg(feature = "http")]
use crate::http::MountPoint;
use crate::limits::{LEAST_HANDSHAKES_OF_ONE, MAX_PREALLOCATED, MAX_SHARDS, MAX_SURPLUS};
use crate::metrics::Sources;
use crate::readiness::ReadyCheck;
use crate::room::{Audience, Directory, LocalRooms, RoomLimits, SharedAudience, Target};
use crate::shard::{Clock, Errands, MailSender, WallClock, WindowsInUse};
#[cfg(feature = "tls")]
use throng_transport::tls::Tls;

/// One engine's common knowledge. Handles keep it alive; it keeps no shard alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// What TCP listeners speak.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// The moment that shards measure time from.
    pub(crate) epoch: Instant,
    /// The time of day, for what clients are told and tokens say; without it the epoch is in 1970.
    pub(crate) wall_clock: Option<WallClock>,
    /// What times are measured by, for the metrics; without it none are.
    pub(crate) clock: Option<Clock>,
    pub(crate) directory: Arc<Directory>,
    /// The users who are connected, each as a room of its connections.
    pub(crate) users: Arc<Directory>,
    /// The mailboxes, by shard.
    pub(crate) mail: Vec<MailSender>,
    /// What rooms ask of the shards, by shard.
    pub(crate) errands: Vec<Errands>,
    pub(crate) budget: Budget,
    /// What came last on connections that were closed in error.
    pub(crate) flights: FlightRecords,
    /// Who is told of events.
    pub(crate) bus: Arc<Bus>,
    /// What shards count.
    pub(crate) counters: Sources,
    /// The fan-out pool, where there is one.
    pub(crate) fanout: Option<Fanout>,
    /// The runtime that the engine was started in, if any.
    pub(crate) runtime: Ambient,
    /// What open connections compress with.
    pub(crate) windows: WindowsInUse,
    /// Sockets that count towards `max_connections`: in their handshake, open or closing.
    admitted: AtomicUsize,
    /// Sockets beyond `max_connections`.
    surplus: AtomicUsize,
    max_surplus: usize,
    /// Open connections.
    open: AtomicUsize,
    /// Seats of connections that are gone and whose futures go on.
    lasting: AtomicUsize,
    pub(crate) proxies: Proxies,
    /// Connections by client, where they are bounded.
    pub(crate) per_address: Option<Arc<PerAddress>>,
    /// Opening handshakes in flight by client, as far as one is known before its request is, where they are bounded.
    pub(crate) handshakes_per_address: Option<Arc<PerAddress>>,
    /// Opening handshakes in flight.
    handshakes: AtomicUsize,
    /// The service's part in whether the engine is ready.
    pub(crate) ready_check: Option<ReadyCheck>,
    /// The shard that the next connection from outside goes to, beyond the number of shards or not.
    #[cfg(any(feature = "http", feature = "tokio"))]
    next_shard: AtomicUsize,
    /// What decides about upgrades that are asked for elsewhere. The handler may hold handles on its
    /// engine, so that it is kept alive by the shards alone.
    #[cfg(feature = "http")]
    pub(crate) mount_point: Option<Weak<dyn MountPoint>>,
    /// Set once the engine drains or stops.
    draining: AtomicBool,
    stopping: AtomicBool,
}

impl Shared {
    /// The time in seconds since 1970, for threads that are no shards.
    pub(crate) fn unix_time(&self) -> u64 {
        let now = self.wall_clock.map(|wall_clock| wall_clock());
        now.unwrap_or_else(|| self.epoch.elapsed()).as_secs()
    }

    /// The same with a clock that the shards measure times by, and one that tells the time of day.
    pub(crate) fn by_the_clocks(self, clock: Clock, wall_clock: WallClock) -> Shared {
        Shared {
            wall_clock: Some(wall_clock),
            clock: Some(clock),
            ..self
        }
    }

    /// The same with TLS, if there is any.
    #[cfg(feature = "tls")]
    pub(crate) fn speaking(self, tls: Option<Tls>) -> Shared {
        Shared { tls, ..self }
    }

    /// The same with a handler that is asked about upgrades elsewhere.
    #[cfg(feature = "http")]
    pub(crate) fn mounting<H: Handler>(self, handler: &Arc<H>) -> Shared {
        let point: Weak<H> = Arc::downgrade(handler);
        Shared {
            mount_point: Some(point as Weak<dyn MountPoint>),
            ..self
        }
    }

    /// The same, which is ready when this says so, too.
    pub(crate) fn ready_if(self, ready_check: Option<ReadyCheck>) -> Shared {
        Shared {
            ready_check,
            ..self
        }
    }

    pub(crate) fn new(config: Config, epoch: Instant, mail: Vec<MailSender>) -> Shared {
        let bound = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
        let limits = RoomLimits {
            rooms: bound(config.max_rooms),
            members: bound(config.max_room_members),
            rooms_of_connection: bound(config.max_rooms_per_connection),
        };
        let bus = Arc::new(Bus::default());
        let directory = Directory::new(limits)
            .with_presence(config.presence)
            .telling(&bus);
        Shared {
            surplus: AtomicUsize::new(0),
            max_surplus: max_surplus(&config),
            budget: Budget::new(config.memory_budget, mail.len()),
            counters: Sources::new(mail.len()),
            fanout: Fanout::new(&config),
            runtime: Ambient::current(),
            windows: WindowsInUse::default(),
            proxies: Proxies::new(&config),
            per_address: config.max_connections_per_ip.map(PerAddress::new),
            handshakes_per_address: config
                .max_connections_per_ip
                .map(|max| PerAddress::new(max.max(LEAST_HANDSHAKES_OF_ONE))),
            handshakes: AtomicUsize::new(0),
            config,
            #[cfg(feature = "tls")]
            tls: None,
            epoch,
            wall_clock: None,
            clock: None,
            directory: Arc::new(directory),
            users: Arc::new(Directory::new(RoomLimits::NONE)),
            errands: mail.iter().map(|_| Errands::default()).collect(),
            bus,
            flights: FlightRecords::default(),
            mail,
            admitted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            lasting: AtomicUsize::new(0),
            ready_check: None,
            #[cfg(any(feature = "http", feature = "tokio"))]
            next_shard: AtomicUsize::new(0),
            #[cfg(feature = "http")]
            mount_point: None,
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Counts a socket in; `None` when there are too many.
    pub(crate) fn admit(&self) -> Option<Seat> {
        if count_in(&self.admitted, self.config.max_connections) {
            Some(Seat::Regular)
        } else {
            count_in(&self.surplus, self.max_surplus).then_some(Seat::Surplus)
        }
    }

    /// Counts a handshake in; returns whether it is one too many.
    pub(crate) fn begin_handshake(&self) -> bool {
        let others = self.handshakes.fetch_add(1, Ordering::Relaxed);
        others >= self.config.max_handshakes
    }

    /// Counts a handshake out.
    pub(crate) fn end_handshake(&self) {
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a socket may be upgraded; its seat becomes a regular one.
    pub(crate) fn may_open(&self, seat: &mut Seat) -> bool {
        if *seat == Seat::Surplus && count_in(&self.admitted, self.config.max_connections) {
            self.discharge(std::mem::replace(seat, Seat::Regular));
        }
        *seat == Seat::Regular
    }

    /// Counts a socket out.
    pub(crate) fn discharge(&self, seat: Seat) {
        let seats = match seat {
            Seat::Regular => &self.admitted,
            Seat::Surplus => &self.surplus,
        };
        seats.fetch_sub(1, Ordering::Relaxed);
    }

    /// A future that goes on has the seat of its connection, which is gone.
    pub(crate) fn count_lasting(&self) {
        self.lasting.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn discharge_lasting(&self, seat: Seat) {
        self.lasting.fetch_sub(1, Ordering::Relaxed);
        self.discharge(seat);
    }

    /// Seats that connections have, or futures of connections that are gone.
    pub(crate) fn taken(&self) -> usize {
        self.open() + self.lasting.load(Ordering::Relaxed)
    }

    /// The shard that a connection from outside goes to, each in turn.
    #[cfg(any(feature = "http", feature = "tokio"))]
    pub(crate) fn deal(&self) -> &MailSender {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.mail[next % self.mail.len()]
    }

    /// Whether a message is worth compressing, for those that agreed on it.
    #[inline]
    pub(crate) fn is_compressible(&self, payload: &[u8]) -> bool {
        let compression = &self.config.compression;
        compression
            .as_ref()
            .is_some_and(|compression| payload.len() >= compression.threshold)
    }

    /// Whether publishing a message is work for the fan-out pool: a large one that somebody is sent
    /// compressed.
    #[inline]
    pub(crate) fn is_heavy(&self, payload: &[u8]) -> bool {
        let fanout = self.fanout.as_ref();
        fanout.is_some_and(|fanout| fanout.takes(payload.len()))
            && self.is_compressible(payload)
            && self.windows.in_use().next().is_some()
    }

    pub(crate) fn count_opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets nobody in any more.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Has every shard cut its connections and stop.
    pub(crate) fn stop(&self) {
        self.begin_drain();
        self.stopping.store(true, Ordering::Release);
        self.mail.iter().for_each(MailSender::wake);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The shards that may have somebody of the audience. `local` spares the directory's lock for
    /// rooms that the asking shard has members of.
    pub(crate) fn shards_of(
        &self,
        audience: &Audience<'_>,
        local: Option<&LocalRooms>,
    ) -> ShardSet {
        let mut set = ShardSet::default();
        match &audience.target {
            Target::All => (0u8..=u8::MAX)
                .take(self.mail.len())
                .for_each(|shard| set.insert(shard)),
            Target::Connection(id) if usize::from(id.shard()) < self.mail.len() => {
                set.insert(id.shard());
            }
            // A room that travels is no such target.
            Target::Connection(_) | Target::Here(_) => {}
            Target::User(user) => {
                let user = self.users.get(user);
                user.iter()
                    .flat_map(|u| u.shards())
                    .for_each(|shard| set.insert(shard));
            }
            Target::Rooms(rooms) => {
                for name in rooms {
                    match local.and_then(|rooms| rooms.shared(name)) {
                        Some(room) => room.shards().for_each(|shard| set.insert(shard)),
                        None => {
                            let room = self.directory.get(name);
                            room.iter()
                                .flat_map(|r| r.shards())
                                .for_each(|s| set.insert(s));
                        }
                    }
                }
            }
        }
        set
    }

    /// The shards that may have somebody of an audience that travels.
    pub(crate) fn shards_for(&self, audience: &SharedAudience) -> ShardSet {
        match audience {
            SharedAudience::Room { room, .. } => room.shards().collect(),
            SharedAudience::Any(audience) => self.shards_of(audience, None),
        }
    }

    /// An audience in a form that travels.
    pub(crate) fn travelling(&self, audience: &Audience<'_>) -> SharedAudience {
        let room = audience
            .only_name()
            .and_then(|name| self.directory.get(name));
        audience.to_shared(room.as_ref())
    }
}

/// The tokio runtime that an engine was started in: futures beside its shards may use what is bound to one.
#[derive(Debug)]
pub(crate) struct Ambient {
    #[cfg(any(feature = "http", feature = "tokio"))]
    handle: Option<tokio::runtime::Handle>,
}

impl Ambient {
    #[cfg(any(feature = "http", feature = "tokio"))]
    fn current() -> Ambient {
        Ambient {
            handle: tokio::runtime::Handle::try_current().ok(),
        }
    }

    #[cfg(not(any(feature = "http", feature = "tokio")))]
    fn current() -> Ambient {
        Ambient {}
    }

    /// Makes it the thread's, until what is returned is dropped.
    #[cfg(any(feature = "http", feature = "tokio"))]
    pub(crate) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.handle.as_ref().map(tokio::runtime::Handle::enter)
    }

    #[cfg(not(any(feature = "http", feature = "tokio")))]
    pub(crate) fn enter(&self) -> Option<()> {
        None
    }
}

/// What a socket counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// One of `max_connections`.
    Regular,
    /// One beyond them, to be told so or to go to the side door.
    Surplus,
}

/// The seat of a socket that is with no shard, given up when dropped.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct HeldSeat {
    shared: Arc<Shared>,
    seat: Option<Seat>,
}

#[cfg(feature = "http")]
impl HeldSeat {
    /// That of a socket which has left its shard.
    pub(crate) fn new(shared: &Arc<Shared>, seat: Seat) -> HeldSeat {
        HeldSeat {
            shared: Arc::clone(shared),
            seat: Some(seat),
        }
    }

    /// The seat, which is the caller's to give up.
    pub(crate) fn keep(mut self) -> Option<Seat> {
        self.seat.take()
    }
}

#[cfg(feature = "http")]
impl Drop for HeldSeat {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.shared.discharge(seat);
        }
    }
}

/// Counts one more, unless that is too many.
fn count_in(seats: &AtomicUsize, max: usize) -> bool {
    let has_room = seats.fetch_add(1, Ordering::Relaxed) < max;
    if !has_room {
        seats.fetch_sub(1, Ordering::Relaxed);
    }
    has_room
}

/// Half of the descriptors that `max_connections` leaves are for sockets beyond it; the others are
/// for listeners and whatever else the process opens.
fn max_surplus(config: &Config) -> usize {
    let left = open_file_limit().map_or(usize::MAX, |limit| {
        limit.saturating_sub(config.max_connections)
    });
    (left / 2).clamp(1, MAX_SURPLUS)
}

/// How many connections a shard's tables are made for. Tables that do not grow waste nothing: memory
/// that is not touched costs nothing, but growing leaves a copy's worth behind.
pub(crate) fn expected_per_shard(config: &Config) -> usize {
    (config.max_connections / config.shards + 1).min(MAX_PREALLOCATED)
}

/// A set of shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardSet([u64; MAX_SHARDS / 64]);

impl ShardSet {
    pub(crate) fn insert(&mut self, shard: u8) {
        self.0[usize::from(shard) / 64] |= 1 << (shard % 64);
    }

    pub(crate) fn remove(&mut self, shard: u8) {
        self.0[usize::from(shard) / 64] &= !(1 << (shard % 64));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl FromIterator<u8> for ShardSet {
    fn from_iter<I: IntoIterator<Item = u8>>(shards: I) -> ShardSet {
        let mut set = ShardSet::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

impl Iterator for ShardSet {
    type Item = u8;

    /// Takes the smallest.
    fn next(&mut self) -> Option<u8> {
        let (index, word) = (0u8..).zip(&mut self.0).find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        u8::try_from(u32::from(index) * 64 + bit).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_shards_gives_them_in_order() {
        let mut set = ShardSet::default();
        for shard in [255, 0, 64, 63, 7, 128, 7] {
            set.insert(shard);
        }
        set.remove(64);
        set.remove(1);
        assert!(set.eq([0, 7, 63, 128, 255]));
    }
}
