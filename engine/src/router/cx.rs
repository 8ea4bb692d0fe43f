//! What the handler of an event has in hand.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::auth::Identity;
use crate::conn::Conn;

/// A connection and the event that it has sent, while its handler runs.
///
/// It is a [`Conn`] with more: everything that a [`Conn`] can do can be done with it.
pub struct Cx<'a, S = ()> {
    conn: Conn<'a, S>,
    pub(super) about: About<'a>,
    pub(super) timeout: Option<Duration>,
}

/// What is known of an event from its arrival to its answer.
#[derive(Clone, Debug)]
pub(super) struct About<'a> {
    /// The index of its route.
    pub(super) route: usize,
    pub(super) request_id: Option<Cow<'a, str>>,
    pub(super) wants_answer: bool,
    pub(super) trace: TraceId,
    pub(super) arrived: Duration,
}

impl About<'_> {
    /// The same for an event that goes on when its message is gone.
    pub(super) fn to_owned(&self) -> About<'static> {
        let request_id = self.request_id.as_deref().map(str::to_owned);
        About {
            request_id: request_id.map(Cow::Owned),
            ..*self
        }
    }
}

/// Names one event in answers and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub(super) u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl<'a, S> Cx<'a, S> {
    pub(super) fn new(conn: Conn<'a, S>, about: About<'a>) -> Cx<'a, S> {
        Cx {
            conn,
            about,
            timeout: None,
        }
    }

    /// What the client calls its request; `None` where it wants no answer, or sent no such name.
    pub fn request_id(&self) -> Option<&str> {
        self.about.request_id.as_deref()
    }

    /// The event's name in answers and logs.
    pub fn trace_id(&self) -> TraceId {
        self.about.trace
    }

    /// How long ago the event arrived, to within a turn of the shard: nothing within a handler that is
    /// not asynchronous.
    pub fn elapsed(&self) -> Duration {
        self.conn.now().saturating_sub(self.about.arrived)
    }

    /// Who was authenticated; `None` before that, or in a router without
    /// [`auth`](super::Router::auth).
    pub fn identity(&self) -> Option<&Identity> {
        self.conn.attribute()
    }

    /// Gives an asynchronous handler so much time; beyond it the client is answered 408 and the
    /// handler's future is dropped. For [`Middleware::before`](super::Middleware::before); without effect on other handlers.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }
}

impl<'a, S> Deref for Cx<'a, S> {
    type Target = Conn<'a, S>;

    fn deref(&self) -> &Conn<'a, S> {
        &self.conn
    }
}

impl<'a, S> DerefMut for Cx<'a, S> {
    fn deref_mut(&mut self) -> &mut Conn<'a, S> {
        &mut self.conn
    }
}

impl<S: fmt::Debug> fmt::Debug for Cx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("conn", &self.conn)
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}
