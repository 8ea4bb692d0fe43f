//! What a client is answered when its event comes to nothing, and what is wrong with a router.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::room::JoinError;
use crate::shard::SpawnError;

/// Why an event came to nothing, as its client is told: a code after those of HTTP, and a message.
///
/// ```
/// use throng::router::EventError;
///
/// let error = EventError::forbidden("only its author may delete a message");
/// assert_eq!((error.code(), error.message()), (403, "only its author may delete a message"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct EventError {
    code: u16,
    message: Cow<'static, str>,
    closing: Option<Cow<'static, str>>,
    /// It is the router's own: what was sent is malformed, too large, or not for its sender.
    is_refusal: bool,
}

impl EventError {
    /// Any code from 400 to 599; another one is told as 500.
    pub fn new(code: u16, message: impl Into<Cow<'static, str>>) -> EventError {
        EventError {
            code: if (400..=599).contains(&code) {
                code
            } else {
                500
            },
            message: message.into(),
            closing: None,
            is_refusal: false,
        }
    }

    /// Has the connection closed with 1008 once the client is told, for that reason.
    #[must_use]
    pub fn closing(mut self, reason: impl Into<Cow<'static, str>>) -> EventError {
        self.closing = Some(reason.into());
        self
    }

    /// 400: what was sent is malformed. Name the field.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(400, message)
    }

    /// 401: it is not known who asks.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(401, message)
    }

    /// 403: who asks may not.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(403, message)
    }

    /// 404: there is nothing of that name.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(404, message)
    }

    /// 408: it took too long.
    pub fn timeout(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(408, message)
    }

    /// 409: it cannot be done as things are.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(409, message)
    }

    /// 413: what was sent is too large.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(413, message)
    }

    /// 429: it was asked too often.
    pub fn too_many(message: impl Into<Cow<'static, str>>) -> EventError {
        EventError::new(429, message)
    }

    /// 500: it is the service's fault. What went wrong belongs in the log, not in the message.
    pub fn internal() -> EventError {
        EventError::new(500, "internal error")
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same as the router's own.
    pub(super) fn refusing(mut self) -> EventError {
        self.is_refusal = true;
        self
    }

    /// Whether it counts as an invalid message.
    pub(super) fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Why the connection is to be closed, if it is.
    pub(super) fn close_reason(&self) -> Option<&str> {
        self.closing.as_deref()
    }
}

impl From<JoinError> for EventError {
    /// 409, with the limit that was met.
    fn from(error: JoinError) -> EventError {
        EventError::conflict(error.to_string())
    }
}

impl From<SpawnError> for EventError {
    /// 429.
    fn from(error: SpawnError) -> EventError {
        EventError::too_many(error.to_string())
    }
}

/// What is wrong with a router. It is told when the engine is started, before anything is bound.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouterError {
    /// Two handlers for one event.
    #[error("the event {event:?} was registered twice")]
    Duplicate {
        /// Its name.
        event: String,
    },
    /// A name that no client can send, or that the router answers itself.
    #[error("{event:?} is no name for an event: {rule}")]
    Name {
        /// What was given.
        event: String,
        /// What a name must be.
        rule: &'static str,
    },
    /// An event is for those who have a role, and nobody has any without [`auth`](super::Router::auth).
    #[error("the event {event:?} needs a role, and the router has no auth")]
    RolesWithoutAuth {
        /// Its name.
        event: String,
    },
    /// A middleware concerns an event that is not registered.
    #[error("a middleware is for the event {event:?}, which is not registered")]
    UnknownEvent {
        /// What it calls it.
        event: String,
    },
    /// The codec was changed after events had been registered with another one.
    #[error("the codec must be chosen before the first event is registered ({event:?})")]
    CodecTooLate {
        /// An event that was registered before.
        event: String,
    },
}

/// What a codec could not read, with the field that it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field, as a path from the message's own (`data.text`); empty where the message as a whole is malformed.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl DecodeError {
    /// A message that is malformed as a whole.
    pub fn whole(reason: impl fmt::Display) -> DecodeError {
        DecodeError {
            field: String::new(),
            reason: reason.to_string(),
        }
    }
}

impl From<DecodeError> for EventError {
    /// 400, naming the field; what is longer than 256 bytes is cut.
    fn from(error: DecodeError) -> EventError {
        let DecodeError { field, reason } = error;
        let (field, reason) = (cut(field), cut(reason));
        if field.is_empty() {
            EventError::malformed(reason)
        } else {
            EventError::malformed(format!("{field}: {reason}"))
        }
    }
}

/// Bytes of a field's name, and of what is wrong with it, that a client is told: both may repeat what it has sent.
const MAX_TOLD: usize = 256;

fn cut(mut text: String) -> String {
    if text.len() > MAX_TOLD {
        text.truncate(text.floor_char_boundary(MAX_TOLD));
        text.push('…');
    }
    text
}
