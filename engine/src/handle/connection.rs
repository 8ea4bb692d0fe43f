//! A connection as other threads see it.

use std::sync::Arc;

use serde::Serialize;

use super::EngineHandle;
use super::outside::settle;
use crate::error::{PublishError, ReceiptError};
use crate::id::ConnectionId;
use crate::notice::Notify;
use crate::protocol::close::CloseCode;
use crate::protocol::message::Message;
use crate::publish::opcode;
use crate::receipt::PendingReceipt;
use crate::room::{Audience, Target};
use crate::shard::{Dispatch, Lane, Mail, Receipt, TallyShare};

/// A connection, for any thread or task of any runtime.
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    engine: EngineHandle,
    id: ConnectionId,
    lane: Lane,
    key: Option<Arc<str>>,
}

impl ConnectionHandle {
    pub(crate) fn new(engine: EngineHandle, id: ConnectionId) -> ConnectionHandle {
        ConnectionHandle {
            engine,
            id,
            lane: Lane::Normal,
            key: None,
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

    /// A handle whose messages are about `key`: see [`To::key`](crate::To::key).
    #[must_use]
    pub fn key(&self, key: &str) -> ConnectionHandle {
        ConnectionHandle {
            key: Some(Arc::from(key)),
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
            key: self.key.clone(),
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

    /// Tells the peer of an event, as [`To::notify`](crate::To::notify) does.
    ///
    /// # Errors
    /// As [`ConnectionHandle::send_json`].
    pub fn notify(&self, event: &str, data: &impl Serialize) -> Result<(), SendJsonError> {
        self.send_json(&Notify::new(event, data, self.engine.unix_time()))
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
