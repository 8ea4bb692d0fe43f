//! The engine as other threads see it.

mod connection;
mod outside;

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::budget::MemoryUse;
use crate::config::{Backend, Config};
use crate::entropy::system_entropy;
use crate::error::{MembersError, PublishError};
use crate::events::{EventKinds, Events, SubscribeError};
use crate::flight::FlightRecord;
use crate::id::ConnectionId;
use crate::metrics::MetricsSnapshot;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::OpCode;
use crate::publish::To;
use crate::readiness::NotReady;
use crate::room::{
    Audience, CreateRoomError, MetadataError, Presence, RoomInfo, RoomOptions, RoomPresence,
    RoomTraits, Sequence, SharedRoom, metadata_of,
};
use crate::shard::{
    Content, Errand, Frames, Group, Mail, SequencedRoom, TallyShare, Trace, Unnumbered,
    encode_detached,
};
use crate::shared::Shared;
#[cfg(all(unix, feature = "tokio"))]
use crate::tasks::wait_in_place;
#[cfg(feature = "tls")]
use throng_transport::tls::Tls;

pub use connection::{ConnectionHandle, SendJsonError};
pub use outside::FromOutside;

thread_local! {
    static ON_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the calling thread is a shard's or the fan-out pool's, which must not wait for shards.
pub(crate) fn enter_shard() {
    ON_SHARD.set(true);
}

/// Does what a shard does on a thread that is not its own.
#[cfg(all(unix, feature = "tokio"))]
pub(crate) fn on_shard<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON_SHARD.set(self.0);
        }
    }
    let _restore = Restore(ON_SHARD.replace(true));
    work()
}

/// Whether the calling thread must not wait for shards.
pub(crate) fn is_on_shard() -> bool {
    ON_SHARD.get()
}

/// A handle on a running engine, for any thread or task of any runtime.
///
/// Cloning it is cheap, and it may outlive the [`Engine`](crate::Engine): then there are no
/// connections, and publishing says [`PublishError::Stopped`].
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

impl EngineHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> EngineHandle {
        EngineHandle(Arc::clone(shared))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// A message for the members of a room. Publishing never blocks.
    ///
    /// Messages published by one thread to one room reach each member in that order; so do those to
    /// several rooms, but for [sequenced](RoomOptions::sequenced) ones. Publishing fails with
    /// [`PublishError`] when the message could not be handed to every shard that has members; for a
    /// sequenced room, `Ok` says that it was handed to the room's home, which may still refuse it (a whole
    /// receipt tells: [`publish_with_receipt`](crate::Publication::publish_with_receipt)). What is
    /// heavy goes through the fan-out pool ([`Config::fanout_workers`](field@crate::Config::fanout_workers)),
    /// which waits where a mailbox is full; then, what follows waits behind it.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), throng::PublishError> {
    /// engine.to("general").and_to("news").text("hello").publish()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to<'a>(&'a self, room: &'a str) -> To<'a, FromOutside<'a>> {
        To::room(FromOutside(self), room, None)
    }

    /// A message for all connections.
    pub fn to_all(&self) -> To<'_, FromOutside<'_>> {
        To::all(FromOutside(self), None)
    }

    /// A message for all connections of a user ([`Accept::user_id`](crate::Accept::user_id)), on all
    /// shards. When there are none, nobody receives it; a receipt tells.
    ///
    /// Messages that one thread publishes to one user reach each connection in that order.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), throng::PublishError> {
    /// engine.to_user("42").high().text("your order has shipped").publish()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_user<'a>(&'a self, user: &'a str) -> To<'a, FromOutside<'a>> {
        To::user(FromOutside(self), user, None)
    }

    /// A connection, by its id. Nothing is checked: when it is gone, nobody receives what is sent.
    pub fn connection(&self, id: ConnectionId) -> ConnectionHandle {
        ConnectionHandle::new(self.clone(), id)
    }

    /// The TLS that the engine speaks, whether it was given in code or by the settings: to
    /// [reload](Tls::reload) it, or to count handshakes.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Whether newcomers are let in, as `/readyz` tells load balancers at the engine's own port.
    ///
    /// # Errors
    /// Why they are not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.0.readiness()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.0.open()
    }

    /// What the process holds for connections, and what came of
    /// [`memory_budget`](field@Config::memory_budget).
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) {
    /// let memory = engine.memory();
    /// if memory.shed > 0 {
    ///     eprintln!("{} slow clients were given up at {} bytes", memory.shed, memory.bytes);
    /// }
    /// # }
    /// ```
    pub fn memory(&self) -> MemoryUse {
        self.0.budget.memory_use()
    }

    /// What the engine has counted, and how much of everything there is; see [`Metrics`](crate::Metrics).
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) {
    /// let metrics = engine.metrics();
    /// let slow = metrics.total.dropped.total();
    /// println!("{} connections, {slow} messages lost to slow ones", metrics.connections);
    /// # }
    /// ```
    pub fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot::of(&self.0)
    }

    /// Has events of those kinds told to the caller, from the next turn of each shard on; rooms' at once.
    ///
    /// At most `capacity` (1 to 1,048,576) wait to be taken; what comes then is dropped, and
    /// [counted](Events::dropped): no shard waits for a subscriber. The events of one shard, and so those of
    /// one connection, come in order; so do those of one room's coming and going.
    ///
    /// # Errors
    /// When `capacity` is out of bounds, when there are 64 subscribers, and when the engine has stopped.
    ///
    /// ```no_run
    /// use throng::{Event, EventKinds};
    ///
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), throng::SubscribeError> {
    /// let mut ends = engine.subscribe(EventKinds::DISCONNECTED, 10_000)?;
    /// std::thread::spawn(move || {
    ///     while let Some(Event::Disconnected { connection, cause, .. }) = ends.recv() {
    ///         println!("{} is gone: {cause:?}", connection.id);
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self, kinds: EventKinds, capacity: usize) -> Result<Events, SubscribeError> {
        self.0.bus.subscribe(kinds, capacity)
    }

    /// What came last on the connections that were closed in error, the oldest first: on 256 of them at
    /// most. See [`Config::flight_recorder`](field@Config::flight_recorder). They are also logged, each once
    /// and at level debug, under the target `throng::flight`.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) {
    /// for record in engine.flight_records() {
    ///     println!("{}: {:?}", record.connection.id, record.cause);
    ///     for entry in record.entries {
    ///         println!("  {:?} {} {}", entry.at, entry.kind, entry.size);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn flight_records(&self) -> Vec<FlightRecord> {
        self.0.flights.list()
    }

    /// Has all be logged that a connection says and is sent, and what becomes of it: under the target
    /// `throng::wire`, at level debug. It costs the others nothing. When the connection is gone, nothing
    /// happens.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle, id: throng::ConnectionId) -> Result<(), throng::PublishError> {
    /// engine.trace(id, true)?;
    /// engine.trace(id, throng::Trace::Payloads)?;
    /// engine.trace(id, false)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the shard's mailbox is full or the engine has stopped.
    pub fn trace(&self, id: ConnectionId, trace: impl Into<Trace>) -> Result<(), PublishError> {
        let (key, trace) = (id.key(), trace.into());
        self.0.post(id.shard(), Mail::Trace { key, trace })
    }

    /// Creates a room, which is kept without members until it is [forgotten](Self::forget_room).
    ///
    /// Needed only for what joining does not give: a room that stays, and [`RoomOptions`]. May be
    /// called in handlers too ([`Conn::engine`](crate::Conn::engine)).
    ///
    /// # Errors
    /// When an option is out of its bounds, when there is such a room, when there are as many as `max_rooms`
    /// allows, and when a sequenced room finds the system without randomness; then nothing has changed.
    ///
    /// ```no_run
    /// use throng::{CreateRoomError, RoomOptions};
    ///
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), CreateRoomError> {
    /// engine.create_room("trades", RoomOptions::new().sequenced())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_room(&self, name: &str, options: RoomOptions) -> Result<(), CreateRoomError> {
        options.check()?;
        let RoomOptions {
            sequenced,
            metadata,
            max_members,
            history,
            presence,
        } = options;
        let sequence = if sequenced {
            let mut epoch = [0; 8];
            system_entropy(&mut epoch).map_err(|_| CreateRoomError::NoEntropy)?;
            let epoch = u64::from_ne_bytes(epoch);
            let sequence = Sequence::new(name, self.0.mail.len(), epoch);
            Some(Arc::new(sequence.keeping(history)))
        } else {
            None
        };
        let traits = RoomTraits {
            sequence,
            metadata: Mutex::new(metadata),
            max_members,
            presence: presence.then(Presence::default),
        };
        self.0.directory.create(name, traits)
    }

    /// Deletes a room, also one with members: they are told
    /// ([`Handler::room_deleted`](crate::Handler::room_deleted)) and leave it. Returns whether there was
    /// such a room. May be called in handlers too.
    ///
    /// From this call on nobody finds the room: what is published to the name is for nobody, or for another
    /// room that is created or joined by it. Its members leave in the next turns of their shards; until a
    /// shard's have, joining the name there is refused
    /// ([`JoinError::BeingDeleted`](crate::JoinError::BeingDeleted)). They are sent what the same thread, or
    /// the same handler, had published to the room before, unless it waits where a mailbox is full or in the
    /// fan-out pool.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), throng::PublishError> {
    /// engine.to("auction").text("sold!").publish()?;
    /// engine.delete_room("auction");
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_room(&self, name: &str) -> bool {
        let Some(room) = self.0.directory.delete(name) else {
            return false;
        };
        let home = room.sequence().map(|sequence| sequence.home());
        let is_alive = |home: &u8| !self.0.mail[usize::from(*home)].is_closed();
        match home.filter(is_alive) {
            // What is on its way there gets its place first.
            Some(home) => self.0.send_on(home, Errand::Close(room)),
            None => self.0.dissolve(&room),
        }
        true
    }

    /// Gives a room metadata, in place of what it had. A room that was not created keeps it until its last
    /// member leaves.
    ///
    /// # Errors
    /// When there is no such room, when the metadata cannot be represented as JSON, and when that is more
    /// than 64 KiB; then it has what it had.
    pub fn set_room_metadata(
        &self,
        room: &str,
        metadata: &impl Serialize,
    ) -> Result<(), MetadataError> {
        let metadata = metadata_of(metadata)?;
        let room = self.0.directory.get(room);
        room.ok_or(MetadataError::NoSuchRoom)?
            .set_metadata(metadata);
        Ok(())
    }

    /// What is known of a room; `None` when there is none of that name.
    pub fn room(&self, name: &str) -> Option<RoomInfo> {
        self.0.directory.info(name)
    }

    /// Who is in a room with [presence](RoomOptions::presence), at this moment: users with the number of
    /// their connections in it, on all shards. `None` when there is no such room, or it has no presence.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) -> Option<()> {
    /// let present = engine.presence("tea")?;
    /// for (user, devices) in &present.users {
    ///     println!("{user} on {devices} devices");
    /// }
    /// println!("and {} of no name", present.anonymous);
    /// # Some(())
    /// # }
    /// ```
    pub fn presence(&self, room: &str) -> Option<RoomPresence> {
        let room = self.0.directory.get(room)?;
        Some(room.presence()?.users())
    }

    /// The same with 256 of its users at most, and how many there are.
    pub(crate) fn some_presence(&self, room: &str) -> Option<(RoomPresence, usize)> {
        let room = self.0.directory.get(room)?;
        Some(room.presence()?.some_users())
    }

    /// A room that was created is kept no longer: it goes with its last member, now if it has none.
    /// Returns whether there was such a room.
    pub fn forget_room(&self, name: &str) -> bool {
        self.0.directory.forget(name)
    }

    /// The rooms that have members or were created, in no particular order.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        self.0.directory.list()
    }

    /// The system's time in seconds since 1970.
    pub fn unix_time(&self) -> u64 {
        self.0.unix_time()
    }

    /// What the shards run on: where [`Backend::Auto`] was asked for, what that came to.
    pub fn backend(&self) -> Backend {
        self.0.config.backend
    }

    /// Number of rooms that have members or were created.
    pub fn room_count(&self) -> usize {
        self.0.directory.len()
    }

    /// Members of a room; 0 when there is no such room.
    pub fn room_len(&self, room: &str) -> usize {
        self.0.directory.get(room).map_or(0, |room| room.members())
    }

    /// The members of a room, in no particular order. Waits for the shards to answer, a turn each.
    ///
    /// # Errors
    /// On a shard's own thread, and when the engine has stopped. Where the shards are tasks of a runtime with a
    /// single thread ([`Backend::Tokio`](crate::Backend::Tokio),
    /// [`Backend::TokioUring`](crate::Backend::TokioUring)) that is theirs.
    pub fn members(&self, room: &str) -> Result<Vec<ConnectionId>, MembersError> {
        self.ask(|| match self.0.directory.get(room) {
            Some(room) => self.ask_for_members(&Group::Room(Arc::clone(&room.name)), &room),
            None => Ok(Vec::new()),
        })
    }

    /// Asks what shards are waited for for, where this thread may wait.
    pub(crate) fn ask<T>(
        &self,
        ask: impl FnOnce() -> Result<T, MembersError>,
    ) -> Result<T, MembersError> {
        if is_on_shard() {
            return Err(MembersError::OnShard);
        }
        #[cfg(all(unix, feature = "tokio"))]
        if self.0.config.backend.has_tasks() {
            return wait_in_place(ask).unwrap_or(Err(MembersError::OnShard));
        }
        ask()
    }

    /// The names of the rooms that a connection is in, in no particular order; none when it is gone. Waits
    /// for its shard to answer, a turn.
    ///
    /// # Errors
    /// On a shard's own thread ([`Conn::rooms`](crate::Conn::rooms) is for handlers), and when the engine has
    /// stopped; as [`members`](Self::members).
    pub fn rooms_of(&self, connection: ConnectionId) -> Result<Vec<Arc<str>>, MembersError> {
        self.ask(|| self.ask_for_rooms(connection))
    }

    fn ask_for_rooms(&self, connection: ConnectionId) -> Result<Vec<Arc<str>>, MembersError> {
        let Some(mailbox) = self.0.mail.get(usize::from(connection.shard())) else {
            return Ok(Vec::new());
        };
        let (answer, answers) = bounded(1);
        let key = connection.key();
        let posted = mailbox.post_blocking(Mail::RoomsOf { key, answer });
        posted.map_err(|_| MembersError::Stopped)?;
        answers.recv().map_err(|_| MembersError::Stopped)
    }

    fn ask_for_members(
        &self,
        group: &Group,
        shared: &SharedRoom,
    ) -> Result<Vec<ConnectionId>, MembersError> {
        let shards: Vec<u8> = shared.shards().collect();
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answers) = bounded(shards.len());
        let mut asked = 0;
        for shard in shards {
            let mail = Mail::Members {
                group: group.clone(),
                answer: answer.clone(),
            };
            let posted = self.0.mail[usize::from(shard)].post_blocking(mail);
            asked += usize::from(posted.is_ok());
        }
        drop(answer);
        if asked == 0 {
            return Err(MembersError::Stopped);
        }
        // A shard that has stopped meanwhile has no members.
        Ok(answers.iter().flatten().collect())
    }

    /// Users who have connections, of any number.
    pub fn user_count(&self) -> usize {
        self.0.users.len()
    }

    /// Connections of a user; 0 when there are none.
    pub fn user_len(&self, user: &str) -> usize {
        self.0.users.get(user).map_or(0, |user| user.members())
    }

    /// The connections of a user, in no particular order. Waits for the shards to answer, a turn each.
    ///
    /// # Errors
    /// As [`EngineHandle::members`].
    pub fn connections_of_user(&self, user: &str) -> Result<Vec<ConnectionId>, MembersError> {
        self.ask(|| match self.0.users.get(user) {
            Some(user) => self.ask_for_members(&Group::User(Arc::clone(&user.name)), &user),
            None => Ok(Vec::new()),
        })
    }

    /// Closes all connections that a user has now, behind what has been sent to them
    /// ([`Cause::Kicked`](crate::Cause::Kicked)). Never blocks. A code that may not be sent goes out as none; a reason
    /// longer than 123 bytes is cut.
    ///
    /// # Errors
    /// When the mailbox of a shard that has some of them is full, or the fan-out pool, which leaves those there
    /// open, or when the engine has stopped.
    pub fn close_user(
        &self,
        user: &str,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), PublishError> {
        let Some(shared) = self.0.users.get(user) else {
            return Ok(());
        };
        let reason: Arc<str> = reason.into();
        let close = |shard| {
            let mail = Mail::CloseUser {
                user: Arc::clone(&shared.name),
                code,
                reason: Arc::clone(&reason),
            };
            self.0.post(shard, mail)
        };
        let (mut addressed, mut refused, mut failure) = (0, 0, None);
        for shard in shared.shards() {
            addressed += 1;
            match close(shard) {
                Ok(()) => {}
                Err(PublishError::MailboxFull { .. }) => refused += 1,
                // The others are asked all the same.
                Err(error) => failure = Some(error),
            }
        }
        match (failure, refused) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, _) => Err(PublishError::MailboxFull { refused, addressed }),
        }
    }

    /// Cuts all connections (1001, without waiting for anybody) and stops the engine, without
    /// waiting for that either. See [`Engine::drain`](crate::Engine::drain) for a gentle end.
    pub fn shutdown(&self) {
        self.0.stop();
    }

    /// The settings that the engine runs with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    fn encode(&self, opcode: OpCode, payload: &[u8]) -> Frames {
        let frame = encode_detached(opcode, payload);
        Frames::new(frame, self.0.is_compressible(payload))
    }

    fn submit(
        &self,
        room: &SequencedRoom,
        audience: &Audience<'_>,
        content: Content,
        tally: Option<&TallyShare>,
    ) -> Result<(), PublishError> {
        let unnumbered = Unnumbered::new(room, audience, content, tally);
        self.0
            .post(unnumbered.home(), Mail::Unnumbered(Box::new(unnumbered)))
    }
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle")
            .field("shards", &self.0.mail.len())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
