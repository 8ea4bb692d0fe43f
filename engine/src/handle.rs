//! The engine as other threads see it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::config::Config;
use crate::error::{MembersError, PublishError, ReceiptError};
use crate::fanout::{Later, Unmade};
use crate::id::ConnectionId;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::OpCode;
use crate::protocol::message::Message;
use crate::publish::{To, opcode, sealed};
use crate::receipt::PendingReceipt;
use crate::room::{Audience, RoomInfo, Target};
use crate::shard::{Dispatch, Frames, Lane, Mail, Receipt, TallyShare, encode_detached};
use crate::shared::Shared;

thread_local! {
    static ON_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the calling thread is a shard's or the fan-out pool's, which must not wait for shards.
pub(crate) fn enter_shard() {
    ON_SHARD.set(true);
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
    /// Messages published by one thread reach each member in that order. Publishing fails with
    /// [`PublishError`] when the message could not be handed to every shard that has members. What is
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

    /// A connection, by its id. Nothing is checked: when it is gone, nobody receives what is sent.
    pub fn connection(&self, id: ConnectionId) -> ConnectionHandle {
        ConnectionHandle::new(self.clone(), id)
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.0.open()
    }

    /// The rooms that have members, in no particular order.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        self.0.directory.list()
    }

    /// Number of rooms that have members.
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
    /// On a shard's own thread, and when the engine has stopped.
    pub fn members(&self, room: &str) -> Result<Vec<ConnectionId>, MembersError> {
        if is_on_shard() {
            return Err(MembersError::OnShard);
        }
        let Some(room) = self.0.directory.get(room) else {
            return Ok(Vec::new());
        };
        let shards: Vec<u8> = room.shards().collect();
        let (answer, answers) = bounded(shards.len());
        let mut asked = 0;
        for &shard in &shards {
            let mail = Mail::Members {
                room: Arc::clone(&room.name),
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
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle")
            .field("shards", &self.0.mail.len())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Publishes from any thread.
#[derive(Clone, Copy, Debug)]
pub struct FromOutside<'e>(&'e EngineHandle);

impl sealed::Publish for FromOutside<'_> {
    type Outcome = Result<(), PublishError>;

    fn publish(self, outgoing: &sealed::Outgoing<'_, '_>) -> Result<(), PublishError> {
        let dispatch = Dispatch {
            frames: self.0.encode(outgoing.opcode, outgoing.payload),
            lane: outgoing.lane,
            key: outgoing.key.map(Arc::from),
        };
        let shared = &self.0.0;
        let is_heavy = shared.is_heavy(outgoing.payload);
        shared.publish(outgoing.audience, &dispatch, is_heavy, outgoing.tally)
    }

    fn publish_later(
        self,
        outgoing: &sealed::Outgoing<'_, '_>,
        later: Later,
    ) -> Result<(), PublishError> {
        self.0.0.publish_later(Unmade {
            audience: outgoing.audience.to_shared(None),
            later,
            lane: outgoing.lane,
            key: outgoing.key.map(Arc::from),
            tally: outgoing.tally.cloned(),
            origin: None,
        })
    }

    fn settle(outcome: &Result<(), PublishError>, tally: TallyShare) {
        settle(*outcome, tally);
    }
}

/// Ends the share of a thread outside. Shards that refused the message have ended theirs.
fn settle(outcome: Result<(), PublishError>, tally: TallyShare) {
    if let Err(error @ (PublishError::FanoutFull | PublishError::Stopped)) = outcome {
        tally.fail(error.into());
    }
    tally.end();
}

/// A connection, for any thread or task of any runtime.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    engine: EngineHandle,
    id: ConnectionId,
    lane: Lane,
}

impl ConnectionHandle {
    pub(crate) fn new(engine: EngineHandle, id: ConnectionId) -> ConnectionHandle {
        ConnectionHandle {
            engine,
            id,
            lane: Lane::Normal,
        }
    }

    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// A handle whose messages go before everything on the normal lane that has not been sent.
    #[must_use]
    pub fn high(&self) -> ConnectionHandle {
        ConnectionHandle {
            lane: Lane::High,
            ..self.clone()
        }
    }

    /// Sends a message; when the connection is gone, nobody receives it. Never blocks.
    ///
    /// # Errors
    /// When the shard's mailbox is full or the engine has stopped.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), PublishError> {
        self.send_counted(message.into(), None)
    }

    /// Sends a message and gives its receipt, once the connection's shard has answered. Where the
    /// connection is gone, the receipt's audience is nobody.
    ///
    /// ```no_run
    /// # async fn example(conn: &throng::ConnectionHandle) -> Result<(), throng::ReceiptError> {
    /// let was_there = conn.send_with_receipt("hello").await?.audience() == 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_with_receipt<'m>(&self, message: impl Into<Message<'m>>) -> PendingReceipt {
        let (share, tally) = TallyShare::fetched();
        let outcome = self.send_counted(message.into(), Some(&share));
        settle(outcome, share);
        PendingReceipt::new(tally)
    }

    /// Sends a message and has `then` called with its receipt; see
    /// [`Publication::publish_then`](crate::Publication::publish_then).
    ///
    /// # Errors
    /// As [`ConnectionHandle::send`]; `then` is called all the same.
    pub fn send_then<'m, F>(
        &self,
        message: impl Into<Message<'m>>,
        then: F,
    ) -> Result<(), PublishError>
    where
        F: FnOnce(Result<Receipt, ReceiptError>) + Send + 'static,
    {
        let share = TallyShare::calling(then);
        let outcome = self.send_counted(message.into(), Some(&share));
        settle(outcome, share);
        outcome
    }

    fn send_counted(
        &self,
        message: Message<'_>,
        tally: Option<&TallyShare>,
    ) -> Result<(), PublishError> {
        let (opcode, payload, shared) = (opcode(message), message.as_bytes(), self.engine.shared());
        let dispatch = Dispatch {
            frames: self.engine.encode(opcode, payload),
            lane: self.lane,
            key: None,
        };
        let audience = Audience::new(Target::Connection(self.id));
        shared.publish(&audience, &dispatch, shared.is_heavy(payload), tally)
    }

    /// Sends `value` as JSON, in a text message.
    ///
    /// # Errors
    /// When `value` cannot be represented as JSON, and as [`ConnectionHandle::send`].
    pub fn send_json(&self, value: &impl Serialize) -> Result<(), SendJsonError> {
        Ok(self.send(Message::Text(&serde_json::to_string(value)?))?)
    }

    /// Closes the connection, behind what has been sent. A code that may not be sent
    /// (RFC 6455 §7.4) goes out as none; a reason longer than 123 bytes is cut.
    ///
    /// # Errors
    /// When the shard's mailbox is full or the engine has stopped.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), PublishError> {
        let mail = Mail::Close {
            key: self.id.key(),
            code,
            reason: reason.to_owned(),
        };
        self.engine.shared().post(self.id.shard(), mail)
    }
}

/// Why a value could not be sent as JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendJsonError {
    /// It cannot be represented.
    #[error("the value cannot be represented as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It could not be handed to the connection's shard.
    #[error(transparent)]
    Publish(#[from] PublishError),
}
