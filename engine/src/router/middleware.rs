//! What happens around every event.

use std::time::Duration;

use super::codec::Payload;
use super::cx::Cx;
use super::error::EventError;

/// Something done around every event, in the order in which it was [added](super::Router::with).
///
/// It runs on the shard of the connection and must not block. An event's size and its sender's roles are looked at behind it: it sees
/// those that are refused, too, of clients who are not authenticated among them.
///
/// ```
/// use throng::router::{Call, Cx, EventError, Middleware};
///
/// /// Nobody may do anything but read.
/// struct ReadOnly;
///
/// impl<S> Middleware<S> for ReadOnly {
///     fn before(&self, _: &mut Cx<'_, S>, call: &Call<'_>) -> Result<(), EventError> {
///         if call.event().starts_with("get.") {
///             return Ok(());
///         }
///         Err(EventError::forbidden("the service is read-only for now"))
///     }
/// }
/// # throng::Router::new().with(ReadOnly);
/// ```
pub trait Middleware<S>: Send + Sync + 'static {
    /// The events that it concerns, by name; all, where it names none. One that is not registered is an error when the engine is
    /// started.
    fn events(&self) -> &[String] {
        &[]
    }

    /// Called before the event's handler.
    ///
    /// # Errors
    /// Stops the event: neither what comes behind nor the handler is called, and the client is answered this.
    fn before(&self, cx: &mut Cx<'_, S>, call: &Call<'_>) -> Result<(), EventError> {
        let _ = (cx, call);
        Ok(())
    }

    /// Called once the event has come to something, in the opposite order; only where `before` let it pass, and only if the
    /// connection is still open then.
    fn after(&self, cx: &mut Cx<'_, S>, outcome: &Outcome<'_>) {
        let _ = (cx, outcome);
    }
}

/// An event that a client has sent, before its handler is called.
#[derive(Debug)]
pub struct Call<'a> {
    pub(super) event: &'a str,
    pub(super) wants_answer: bool,
    pub(super) data: &'a Payload<'a>,
    pub(super) rules: &'a Rules,
}

impl Call<'_> {
    /// The event's name.
    pub fn event(&self) -> &str {
        self.event
    }

    /// Whether the client waits for an answer.
    pub fn wants_answer(&self) -> bool {
        self.wants_answer
    }

    /// Bytes of what the event carries.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// What was said of the event when it was registered.
    pub fn rules(&self) -> &Rules {
        self.rules
    }
}

/// What an event has come to.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub(super) event: &'a str,
    pub(super) error: Option<&'a EventError>,
}

impl Outcome<'_> {
    /// The event's name.
    pub fn event(&self) -> &str {
        self.event
    }

    /// The code of the answer: 200, or that of the error.
    pub fn code(&self) -> u16 {
        self.error.map_or(200, EventError::code)
    }

    /// What the client was told went wrong.
    pub fn error(&self) -> Option<&EventError> {
        self.error
    }
}

/// What is said of an event when it is registered.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub(super) roles: Vec<String>,
    pub(super) is_public: bool,
    pub(super) max_size: Option<usize>,
    pub(super) timeout: Option<Duration>,
}

impl Rules {
    /// The roles of which one is needed; where there are none, none is.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether it may be sent by those who are not authenticated.
    pub fn is_public(&self) -> bool {
        self.is_public
    }
}

/// Gives asynchronous handlers so much time, where their events have no [`timeout`](super::Route::timeout) of their own; then the
/// client is answered 408.
#[derive(Clone, Copy, Debug)]
pub struct Timeout(pub Duration);

impl<S> Middleware<S> for Timeout {
    fn before(&self, cx: &mut Cx<'_, S>, _: &Call<'_>) -> Result<(), EventError> {
        cx.set_timeout(self.0);
        Ok(())
    }
}

/// Logs every event with `tracing`, target `throng::router`: at level `debug` what came to something, at `warn` what failed by the
/// service's fault (500 and above).
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl<S> Middleware<S> for Log {
    fn after(&self, cx: &mut Cx<'_, S>, outcome: &Outcome<'_>) {
        let (connection, trace, elapsed) = (cx.id(), cx.trace_id(), cx.elapsed());
        let (event, code) = (outcome.event(), outcome.code());
        if code >= 500 {
            let user = cx.user_id();
            tracing::warn!(target: "throng::router", %connection, user, event, code, %trace, ?elapsed, "an event failed");
        } else {
            let user = cx.user_id();
            tracing::debug!(target: "throng::router", %connection, user, event, code, %trace, ?elapsed, "an event");
        }
    }
}
