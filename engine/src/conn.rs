//! A connection as its handler sees it.

mod jobs;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use throng_transport::{Peer, SocketKey};

use crate::attributes::Attributes;
use crate::error::ReceiptError;
use crate::event::{Cause, Counts};
use crate::fanout::Later;
use crate::handle::{ConnectionHandle, EngineHandle};
use crate::id::ConnectionId;
use crate::notice::Notify;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::MAX_CONTROL_PAYLOAD;
use crate::protocol::message::Message;
use crate::publish::{To, opcode, sealed};
use crate::room::{Audience, JoinError, Position, Recovery, RoomInfo, Target, Wanted};
use crate::shard::{Connection, Core, Farewell, Lane, Receipt, TallyShare, Trace};
use crate::socket::Link;

/// A connection, while its handler runs.
///
/// Nothing called here blocks or writes to a socket: what is sent in a turn of the shard goes out
/// at its end, in one write per connection.
pub struct Conn<'a, S> {
    core: &'a mut Core,
    key: SocketKey,
    state: &'a mut S,
}

impl<'a, S> Conn<'a, S> {
    pub(crate) fn new(core: &'a mut Core, key: SocketKey, state: &'a mut S) -> Conn<'a, S> {
        Conn { core, key, state }
    }

    /// The link to the future that has the connection.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.core.link(self.key)
    }

    /// Gives the connection a link.
    pub(crate) fn open_link(&mut self) -> Arc<Link> {
        let max_message = self.core.shared.config.max_waiting_message();
        let link = Arc::new(Link::new(max_message));
        let particulars = &mut self.core.connections[self.key.slot].particulars;
        particulars.get_or_insert_default().link = Some(Arc::clone(&link));
        link
    }

    pub(crate) fn push_to_link(&mut self, message: Message<'_>) {
        self.core.push_to_link(self.key, message.into());
    }

    /// The same, for a while.
    pub(crate) fn reborrow(&mut self) -> Conn<'_, S> {
        Conn::new(self.core, self.key, self.state)
    }

    /// A random number, from the shard's seed.
    pub(crate) fn random(&mut self) -> u64 {
        self.core.random()
    }

    /// What the turn has queued of rooms' histories, in bytes.
    pub(crate) fn recalled(&self) -> usize {
        self.core.recalled()
    }

    fn connection(&self) -> &Connection {
        &self.core.connections[self.key.slot]
    }
}

/// Sending.
impl<S> Conn<'_, S> {
    /// Sends a message to this connection's peer.
    ///
    /// ```
    /// # use throng::Conn;
    /// # fn example(conn: &mut Conn<'_, ()>) {
    /// conn.send("text");
    /// conn.send(&[1, 2, 3]);
    /// # }
    /// ```
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Receipt {
        Receipt::of(self.core.send(self.key, message.into(), Lane::Normal))
    }

    /// Sends `value` as JSON, in a text message.
    ///
    /// # Errors
    /// When `value` cannot be represented: its `Serialize` fails, or a map has keys that are no
    /// strings.
    pub fn send_json(&mut self, value: &impl Serialize) -> Result<Receipt, serde_json::Error> {
        self.direct(self.id(), Lane::Normal).send_json(value)
    }

    /// Tells the peer of an event, as [`To::notify`] does.
    ///
    /// # Errors
    /// As [`Conn::send_json`].
    pub fn notify(
        &mut self,
        event: &str,
        data: &impl Serialize,
    ) -> Result<Receipt, serde_json::Error> {
        self.send_json(&Notify::new(event, data, self.unix_time()))
    }

    /// Sends before everything on the normal lane that has not been sent.
    pub fn high(&mut self) -> Direct<'_> {
        self.direct(self.id(), Lane::High)
    }

    /// Sends to another connection, on whichever shard it is. When it is gone, nobody receives
    /// the message; on this shard the receipt shows that.
    pub fn to_connection(&mut self, id: ConnectionId) -> Direct<'_> {
        self.direct(id, Lane::Normal)
    }

    fn direct(&mut self, id: ConnectionId, lane: Lane) -> Direct<'_> {
        Direct {
            core: self.core,
            id,
            lane,
            key: None,
        }
    }

    /// A message for the members of a room, on all shards. Publishing gives a [`Receipt`]: of what
    /// was delivered on this shard, and to how many other shards the message was handed. The counts of
    /// all shards, [`publish_then`](crate::Publication::publish_then) asks for.
    ///
    /// Messages of one shard's handlers to a room reach each member in the order published. A large one
    /// that is compressed for somebody goes through the fan-out pool
    /// ([`Config::fanout_workers`](field@crate::Config::fanout_workers)), and until it has left it so does
    /// all that the shard's handlers publish to rooms: it is delivered in a later turn, here too, to
    /// those who are members then. What is [sent](Conn::send) meanwhile to one connection may arrive before
    /// it.
    pub fn to<'p>(&'p mut self, room: &'p str) -> To<'p, FromHandler<'p>> {
        let me = Some(self.id());
        To::room(FromHandler { core: self.core }, room, me)
    }

    /// A message for all connections, on all shards.
    pub fn to_all(&mut self) -> To<'_, FromHandler<'_>> {
        let me = Some(self.id());
        To::all(FromHandler { core: self.core }, me)
    }

    /// A message for all connections of a user ([`Conn::user_id`]), this one among them where it is the
    /// user's, on all shards.
    pub fn to_user<'p>(&'p mut self, user: &'p str) -> To<'p, FromHandler<'p>> {
        let me = Some(self.id());
        To::user(FromHandler { core: self.core }, user, me)
    }

    /// Sends a ping with a payload of at most 125 bytes; what is beyond is cut off. The peer's
    /// pong counts as a sign of life.
    pub fn ping(&mut self, payload: &[u8]) {
        let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
        self.core.ping(self.key, payload);
    }

    /// Says that the peer's message was not one the service understands.
    ///
    /// With more than
    /// [`invalid_messages_per_minute`](field@crate::Config::invalid_messages_per_minute) of them the
    /// connection is closed with `1008`, behind what has been sent ([`Cause::Policy`]); whether that
    /// has happened, [`is_closed`](Conn::is_closed) tells.
    ///
    /// ```
    /// # use throng::{Conn, Message};
    /// # fn on_message(conn: &mut Conn<'_, ()>, message: Message<'_>) {
    /// match message.as_text().and_then(|text| text.parse::<u64>().ok()) {
    ///     Some(number) => drop(conn.send(&*(number + 1).to_string())),
    ///     None => conn.report_invalid(),
    /// }
    /// # }
    /// ```
    pub fn report_invalid(&mut self) {
        self.core.report_invalid(self.key);
    }

    /// Has all be logged that the connection says and is sent from now on; see
    /// [`EngineHandle::trace`].
    pub fn trace(&mut self, trace: impl Into<Trace>) {
        self.core.trace(self.key, trace.into());
    }

    /// Closes the connection, behind what has been sent. The handler is told
    /// ([`Cause::Kicked`]) before the turn ends.
    ///
    /// A code that may not be sent (RFC 6455 §7.4) goes out as none; a reason longer than 123
    /// bytes is cut.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.core.part(
            self.key.slot,
            Cause::Kicked { code },
            &Farewell::Last(code, reason),
        );
    }
}

/// Rooms.
impl<S> Conn<'_, S> {
    /// Joins a room, which is created for its first member. Joining twice changes nothing.
    ///
    /// # Errors
    /// When a limit would be passed ([`JoinError`] says which), or the connection is closed.
    pub fn join(&mut self, room: &str) -> Result<(), JoinError> {
        self.core.join(self.key, room)
    }

    /// Joins a [sequenced](crate::RoomOptions::sequenced) room from a place in it: what was published behind
    /// `since` comes first, in order, and then what is new, without a hole and nothing twice.
    ///
    /// For a client that returns, and says how far it has heard (a position of offset 0 is before the
    /// first message). Either all that it missed is queued, or nothing and
    /// [`recovered`](Recovery::recovered) is `false`: where the room's
    /// [history](crate::RoomOptions::history) does not go back so far, or it has none; where
    /// the epoch is another one, that of a former room; where nothing has that offset yet; and where the
    /// connection is behind and its queue would overflow. Either way it is a member then.
    ///
    /// ```
    /// # use throng::{Conn, JoinError, Position};
    /// # fn example(conn: &mut Conn<'_, ()>, since: Position) -> Result<(), JoinError> {
    /// let recovery = conn.join_from("trades", since)?;
    /// if !recovery.recovered {
    ///     // The client must be sent the state of things, as of `recovery.position`.
    ///     conn.send("reload");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`join`](Conn::join), and where the connection is in the room already
    /// ([`JoinError::AlreadyMember`]).
    pub fn join_from(&mut self, room: &str, since: Position) -> Result<Recovery, JoinError> {
        self.core
            .join_and_recover(self.key, room, Wanted::Since(since))
    }

    /// Joins a [sequenced](crate::RoomOptions::sequenced) room and has its last messages queued first, as many
    /// as its [history](crate::RoomOptions::history) has of that number.
    /// [`recovered`](Recovery::recovered) is `false`, and nothing queued, where it has no history, and where the
    /// connection is behind and its queue would overflow.
    ///
    /// # Errors
    /// As [`join_from`](Conn::join_from).
    pub fn join_with_history(
        &mut self,
        room: &str,
        messages: usize,
    ) -> Result<Recovery, JoinError> {
        self.core
            .join_and_recover(self.key, room, Wanted::Last(messages))
    }

    /// Leaves a room; returns whether the connection was in it.
    pub fn leave(&mut self, room: &str) -> bool {
        self.core.leave(self.key, room)
    }

    /// Leaves every room. This happens by itself when the connection ends.
    pub fn leave_all(&mut self) {
        self.core.leave_all(self.key);
    }

    /// The rooms that the connection is in.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        let rooms = &self.core.rooms;
        self.connection()
            .rooms
            .iter()
            .filter_map(|room| rooms.name_of(room))
            .map(|name| &**name)
    }

    /// Whether the connection is in a room: a look-up, where [`rooms`](Conn::rooms) walks all of them.
    pub fn is_in(&self, room: &str) -> bool {
        let place = self.core.rooms.held(room);
        place.is_some_and(|place| self.connection().rooms.contains(place))
    }

    /// What is known of a room; `None` when there is none of that name.
    pub fn room_info(&self, room: &str) -> Option<RoomInfo> {
        self.core.shared.directory.info(room)
    }

    /// Whether a room's messages are [numbered](crate::RoomOptions::sequenced).
    pub fn is_sequenced(&self, room: &str) -> bool {
        match self.core.rooms.shared(room) {
            Some(room) => room.sequence().is_some(),
            None => self.room_info(room).is_some_and(|room| room.sequenced),
        }
    }

    /// Members of a room, on all shards.
    pub fn room_len(&self, room: &str) -> usize {
        match self.core.rooms.shared(room) {
            Some(room) => room.members(),
            None => self.engine().room_len(room),
        }
    }
}

/// What is known of the connection.
impl<S> Conn<'_, S> {
    /// The service's state of this connection.
    pub fn state(&self) -> &S {
        self.state
    }

    /// The service's state of this connection, to be changed.
    pub fn state_mut(&mut self) -> &mut S {
        self.state
    }

    /// What is kept of the connection beside its state: the value of that type.
    pub fn attribute<T: 'static>(&self) -> Option<&T> {
        let particulars = self.connection().particulars.as_ref()?;
        particulars.attributes.get()?.get()
    }

    /// All that is kept of the connection beside its state. It ends with the connection, after
    /// [`Handler::on_close`](crate::Handler::on_close).
    pub fn attributes(&mut self) -> &mut Attributes {
        let particulars = &mut self.core.connections[self.key.slot].particulars;
        particulars
            .get_or_insert_default()
            .attributes
            .get_mut_or_default()
    }

    /// The connection's name in its engine.
    pub fn id(&self) -> ConnectionId {
        self.core.id(self.key)
    }

    /// Who is at the other end of the socket.
    pub fn peer(&self) -> Peer {
        self.connection().peer()
    }

    /// The address at the other end of the socket; `None` over a Unix socket. Behind a proxy it is the proxy's.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.peer().address()
    }

    /// The client's address, which differs from [`remote_addr`](Conn::remote_addr)'s behind proxies that are
    /// trusted: what [`Upgrade::client_addr`](crate::Upgrade::client_addr) was.
    pub fn client_addr(&self) -> Option<IpAddr> {
        self.connection().client_addr()
    }

    /// Whose connection it is: whom [`Accept::user_id`](crate::Accept::user_id) or
    /// [`Conn::set_user_id`] named.
    pub fn user_id(&self) -> Option<&str> {
        self.connection().particulars.as_ref()?.user_id.as_deref()
    }

    /// Says whose connection it is, where that is known only after it was opened; `None` makes it
    /// nobody's. From now on it receives what is [sent to the user](Conn::to_user).
    pub fn set_user_id<'u>(&mut self, user: impl Into<Option<&'u str>>) {
        self.core.set_user(self.key, user.into().map(Box::from));
    }

    /// What [`Accept::metadata`](crate::Accept::metadata) gave under that name.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let metadata = &self.connection().particulars.as_ref()?.metadata;
        metadata
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    /// The subprotocol agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.core.subprotocol(self.connection())
    }

    /// The time in seconds since 1970, as in the timestamps of envelopes: the system's, of a second ago at most.
    pub fn unix_time(&self) -> u64 {
        self.core.unix_time()
    }

    /// The time since the engine's epoch, the same throughout a turn.
    pub(crate) fn now(&self) -> Duration {
        self.core.now
    }

    /// The engine's budget of memory.
    pub(crate) fn memory_budget(&self) -> Option<usize> {
        self.core.shared.config.memory_budget
    }

    /// When the connection was opened, to within 10 ms.
    pub fn connected_at(&self) -> Instant {
        self.core.instant(self.connection().since.opened)
    }

    /// When its last message arrived, to within 10 ms; before the first one, when it was opened. A
    /// connection that was behind, and therefore not read from, counts as active until it is again.
    pub fn last_active(&self) -> Instant {
        self.core.instant(self.connection().active)
    }

    /// Messages and bytes so far.
    pub fn counts(&self) -> Counts {
        self.connection().counts()
    }

    /// Messages and bytes that wait to be sent.
    pub fn queued(&self) -> (usize, usize) {
        self.core.queued(self.key)
    }

    /// Whether the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        !self.connection().is_open()
    }

    /// A handle that other threads and tasks may send to this connection with.
    pub fn handle(&self) -> ConnectionHandle {
        ConnectionHandle::new(self.engine(), self.id())
    }

    /// A handle on the engine.
    pub fn engine(&self) -> EngineHandle {
        EngineHandle::new(&self.core.shared)
    }
}

impl<S: fmt::Debug> fmt::Debug for Conn<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Sends to one connection, from a handler.
pub struct Direct<'c> {
    core: &'c mut Core,
    id: ConnectionId,
    lane: Lane,
    key: Option<&'c str>,
}

impl<'c> Direct<'c> {
    /// Sends before everything on the normal lane that has not been sent.
    #[must_use]
    pub fn high(mut self) -> Self {
        self.lane = Lane::High;
        self
    }

    /// Says what the message is about, as [`To::key`] does.
    #[must_use]
    pub fn key(mut self, key: &'c str) -> Self {
        self.key = Some(key);
        self
    }

    /// Sends a message. The receipt is that of [`Conn::to`].
    pub fn send<'m>(self, message: impl Into<Message<'m>>) -> Receipt {
        self.send_counted(message.into(), None)
    }

    /// Sends a message, and has `then` called with the whole receipt, also from another shard; see
    /// [`Publication::publish_then`](crate::Publication::publish_then).
    pub fn send_then<'m, F>(self, message: impl Into<Message<'m>>, then: F) -> Receipt
    where
        F: FnOnce(Result<Receipt, ReceiptError>) + Send + 'static,
    {
        let tally = TallyShare::calling(then);
        let receipt = self.send_counted(message.into(), Some(&tally));
        tally.report(&receipt);
        receipt
    }

    fn send_counted(self, message: Message<'_>, tally: Option<&TallyShare>) -> Receipt {
        self.core.publish(&sealed::Outgoing {
            audience: &Audience::new(Target::Connection(self.id)),
            opcode: opcode(message),
            payload: message.as_bytes(),
            lane: self.lane,
            key: self.key,
            tally,
        })
    }

    /// Sends `value` as JSON, in a text message.
    ///
    /// # Errors
    /// When `value` cannot be represented: its `Serialize` fails, or a map has keys that are no
    /// strings.
    pub fn send_json(self, value: &impl Serialize) -> Result<Receipt, serde_json::Error> {
        Ok(self.send(Message::Text(&serde_json::to_string(value)?)))
    }
}

impl fmt::Debug for Direct<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("id", &self.id)
            .field("lane", &self.lane)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Publishes from a handler.
pub struct FromHandler<'c> {
    core: &'c mut Core,
}

impl sealed::Publish for FromHandler<'_> {
    type Outcome = Receipt;

    fn publish(self, outgoing: &sealed::Outgoing<'_, '_>) -> Receipt {
        let FromHandler { core } = self;
        match core.shared.sequenced(outgoing.audience, Some(&core.rooms)) {
            Some(room) => core.publish_sequenced(&room, outgoing),
            None => core.publish(outgoing),
        }
    }

    fn publish_numbered(self, numbered: sealed::Numbered<'_, '_>) -> Receipt {
        self.core.publish_numbered(numbered)
    }

    fn publish_later(self, outgoing: &sealed::Outgoing<'_, '_>, later: Later) -> Receipt {
        let FromHandler { core } = self;
        match core.shared.sequenced(outgoing.audience, Some(&core.rooms)) {
            Some(room) => core.publish_later_sequenced(&room, outgoing, later),
            None => core.publish_later(outgoing, later),
        }
    }

    fn unix_time(&self) -> u64 {
        self.core.unix_time()
    }

    fn settle(receipt: &Receipt, tally: TallyShare) {
        tally.report(receipt);
    }
}

impl fmt::Debug for FromHandler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromHandler").finish_non_exhaustive()
    }
}
