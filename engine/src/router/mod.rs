//! Typed events: what clients send is routed by name to handlers that take and return values.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use throng::Router;
//! use throng::router::EventError;
//!
//! #[derive(Deserialize)]
//! struct Add {
//!     left: u32,
//!     right: u32,
//! }
//!
//! #[derive(Serialize)]
//! struct Sum {
//!     sum: u32,
//! }
//!
//! let mut router = Router::new();
//! router.on("add", |_, Add { left, right }| {
//!     let sum = left.checked_add(right);
//!     let sum = sum.ok_or(EventError::malformed("left and right: their sum is too large"))?;
//!     Ok(Sum { sum })
//! });
//! let engine = throng::Engine::builder().bind("127.0.0.1:0")?.router(router)?.start()?;
//! # Ok::<(), throng::StartError>(())
//! ```
//!
//! A client that sends `{"type":"request","event":"add","request_id":"r1","data":{"left":1,"right":2}}` is
//! answered `{"type":"response","request_id":"r1","code":200,"message":"success","data":{"sum":3},"trace_id":"…","timestamp":…}`.
//!
//! # Envelopes
//!
//! In the [standard style](Style::Standard) a message's `type` says what it is:
//!
//! | from clients | | answered by |
//! |---|---|---|
//! | `request` | `event`, `request_id`, `data` | `response` or `error` of the same `request_id` |
//! | `notify` | `event`, `data` | nothing, or `error` |
//! | `auth` | `token` | `auth_success` or `auth_error` ([`auth`]) |
//! | `ping` | | `{"type":"pong","timestamp":…}` |
//!
//! In the [plain style](Style::Plain) the `type` is the event itself and its fields lie beside it:
//! `{"type":"chat","room":"general","content":"…"}`. All but `type` and `request_id` are the event's own, and an `auth` has its `token`. Answers
//! are the same, with the field `event`; a `request_id` is optional, and makes events answer that [want no answer](Router::notify).
//!
//! What is no message of these, or carries something else than its event takes, is answered with code 400 and the field that is wrong,
//! an unknown event with 404, one that its sender may not send with 401 or 403, and one that is too large with 413. All count as
//! [invalid](crate::Conn::report_invalid).

mod answer;
pub mod auth;
mod codec;
mod cx;
mod error;
mod hooks;
mod json;
mod middleware;
#[cfg(feature = "msgpack")]
mod msgpack;
mod rate;
pub mod ready;
mod resume;
mod route;
mod serve;
mod validate;
mod wire;

pub use crate::session::Sessions;
pub use auth::{
    Auth, Expiry, Identity, Revocations, RevokeError, Source, TokenError, TokenValidator,
};
#[cfg(feature = "jwt")]
pub use auth::{Jwt, JwtError};
pub use codec::{Codec, Envelope, Payload};
pub use cx::{Cx, TraceId};
pub use error::{DecodeError, EventError, RouterError};
pub use json::Json;
pub use middleware::{Call, Log, Middleware, Outcome, Rules, Timeout};
#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
pub use rate::RateLimit;
pub use route::{Done, Route};
pub use serve::Routes;
pub use validate::{Invalid, Valid, Validate, escape_html};

use std::fmt;

use hashbrown::HashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::handler::{Accept, Reject, Upgrade};
use hooks::Hooks;
use route::Entry;

/// Bytes of a `request_id`, and of an event's name.
pub(crate) const MAX_NAME: usize = 128;

/// How a message says what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `{"type":"request","event":"chat.send","request_id":"r1","data":{…}}`
    #[default]
    Standard,
    /// `{"type":"chat.send","room":"general","content":"…"}`
    Plain,
}

/// Events and their handlers. It becomes an engine's handler by
/// [`Builder::router`](crate::Builder::router).
///
/// `S` is the state of each connection ([`Conn::state`](crate::Conn::state)), `C` how envelopes travel.
pub struct Router<S = (), C = Json> {
    style: Style,
    codec: C,
    entries: Vec<Entry<S, C>>,
    by_name: HashMap<Box<str>, usize>,
    middleware: Vec<Box<dyn Middleware<S>>>,
    hooks: Hooks<S>,
    auth: Option<Auth>,
    sessions: Option<Sessions>,
    /// The first thing that is wrong.
    fault: Option<RouterError>,
}

impl Router {
    /// A router without events, whose connections have no state and are all let in.
    pub fn new() -> Router {
        Router::with_state(|_| Ok(Accept::new(())))
    }
}

impl Default for Router {
    fn default() -> Router {
        Router::new()
    }
}

impl<S: Send + 'static> Router<S> {
    /// A router without events. `admit` decides about upgrades and makes the state of each connection; see
    /// [`Handler::on_upgrade`](crate::Handler::on_upgrade).
    pub fn with_state(
        admit: impl Fn(&Upgrade<'_>) -> Result<Accept<S>, Reject> + Send + Sync + 'static,
    ) -> Router<S> {
        Router {
            style: Style::default(),
            codec: Json,
            entries: Vec::new(),
            by_name: HashMap::new(),
            middleware: Vec::new(),
            hooks: Hooks::new(admit),
            auth: None,
            sessions: None,
            fault: None,
        }
    }
}

/// Events.
impl<S: Send + 'static, C: Codec> Router<S, C> {
    /// Registers an event whose handler answers at once.
    ///
    /// A name that was registered before, is empty, longer than 128 bytes, or `ping` or `auth`, is an error when the engine is
    /// started.
    ///
    /// ```
    /// # use throng::Router;
    /// let mut router = Router::new();
    /// router.on::<String, usize>("measure", |cx, text| {
    ///     cx.send("measuring");
    ///     Ok(text.len())
    /// });
    /// ```
    pub fn on<Req, Res>(
        &mut self,
        event: &str,
        handler: impl Fn(&mut Cx<'_, S>, Req) -> Result<Res, EventError> + Send + Sync + 'static,
    ) -> Route<'_>
    where
        Req: DeserializeOwned + 'static,
        Res: Serialize + 'static,
    {
        self.register(event, route::answering(handler))
    }

    /// Registers an event whose handler is asynchronous. What it needs of the connection it takes before its
    /// future begins; the future is polled beside the shard ([`Conn::spawn`](crate::Conn::spawn)) and dropped when the connection closes.
    /// Answers come in the order in which they are made.
    ///
    /// ```
    /// # use throng::Router;
    /// # async fn look_up(user: Option<String>, key: String) -> u32 { 7 }
    /// let mut router = Router::new();
    /// router.on_async::<String, u32, _>("look-up", |cx, key| {
    ///     let user = cx.user_id().map(str::to_owned);
    ///     async move { Ok(look_up(user, key).await) }
    /// });
    /// ```
    pub fn on_async<Req, Res, Fut>(
        &mut self,
        event: &str,
        handler: impl Fn(&mut Cx<'_, S>, Req) -> Fut + Send + Sync + 'static,
    ) -> Route<'_>
    where
        Req: DeserializeOwned + 'static,
        Res: Serialize + Send + 'static,
        Fut: Future<Output = Result<Res, EventError>> + Send + 'static,
    {
        self.register(event, route::answering_later(handler))
    }

    /// Registers an event that wants no answer. A client that asks for one all the same is answered `null`.
    ///
    /// ```
    /// # use throng::Router;
    /// let mut router = Router::new();
    /// router.notify::<String, _>("typing", |cx, room| {
    ///     let user = cx.user_id().unwrap_or("somebody").to_owned();
    ///     cx.to(&room).except_self().text(format!("{user} is typing")).publish();
    /// });
    /// ```
    pub fn notify<Req, R>(
        &mut self,
        event: &str,
        handler: impl Fn(&mut Cx<'_, S>, Req) -> R + Send + Sync + 'static,
    ) -> Route<'_>
    where
        Req: DeserializeOwned + 'static,
        R: Done,
    {
        let run =
            route::answering(move |cx: &mut Cx<'_, S>, request: Req| handler(cx, request).done());
        let entries = self.entries.len();
        self.register(event, run);
        let entry = &mut self.entries[entries];
        entry.is_notice = true;
        Route::new(&mut entry.rules)
    }

    fn register(&mut self, event: &str, run: route::Run<S, C>) -> Route<'_> {
        let rule = match event {
            "" => Some("it is empty"),
            "ping" | "auth" => Some("the router answers it"),
            _ if event.len() > MAX_NAME => Some("it is longer than 128 bytes"),
            _ => None,
        };
        let index = self.entries.len();
        let event = event.to_owned();
        if let Some(rule) = rule {
            let event = event.clone();
            self.fault.get_or_insert(RouterError::Name { event, rule });
        } else if self.by_name.insert(event.clone().into(), index).is_some() {
            let event = event.clone();
            self.fault.get_or_insert(RouterError::Duplicate { event });
        }
        self.entries.push(Entry {
            name: event.into(),
            rules: Rules::default(),
            is_notice: false,
            run,
        });
        Route::new(&mut self.entries[index].rules)
    }
}

/// What is the same for all events.
impl<S: Send + 'static, C: Codec> Router<S, C> {
    /// How messages say what they are; [`Style::Standard`] if nothing is said.
    pub fn style(&mut self, style: Style) -> &mut Self {
        self.style = style;
        self
    }

    /// Adds something to be done around every event, within what was added before.
    pub fn with(&mut self, middleware: impl Middleware<S>) -> &mut Self {
        self.middleware.push(Box::new(middleware));
        self
    }

    /// Says how clients are authenticated. From then on events are for those who are, unless they are
    /// [public](Route::public).
    pub fn auth(&mut self, auth: Auth) -> &mut Self {
        self.auth = Some(auth);
        self
    }

    /// Gives clients that have lost their connections back what they had; see [`Sessions`].
    pub fn sessions(&mut self, sessions: Sessions) -> &mut Self {
        let resume = resume::resuming(&sessions);
        // The token says who it is.
        self.register("session.resume", resume).public();
        self.sessions = Some(sessions);
        self
    }

    /// Has envelopes travel in another way. To be chosen before the first event is registered.
    pub fn codec<D: Codec>(self, codec: D) -> Router<S, D> {
        let too_late = self.entries.into_iter().next().map(|entry| {
            let event = entry.name.into();
            RouterError::CodecTooLate { event }
        });
        Router {
            style: self.style,
            codec,
            entries: Vec::new(),
            by_name: HashMap::new(),
            middleware: self.middleware,
            hooks: self.hooks,
            auth: self.auth,
            sessions: self.sessions,
            fault: self.fault.or(too_late),
        }
    }

    /// Ends registration.
    ///
    /// # Errors
    /// The first thing that was wrong with what was registered.
    ///
    /// ```
    /// # use throng::Router;
    /// # use throng::router::RouterError;
    /// let mut router = Router::new();
    /// router.notify("a", |_, ()| {});
    /// router.notify("a", |_, ()| {});
    /// let event = "a".to_owned();
    /// assert_eq!(router.freeze().unwrap_err(), RouterError::Duplicate { event });
    /// ```
    ///
    /// What is frozen takes no more events:
    ///
    /// ```compile_fail
    /// # use throng::Router;
    /// let mut router = Router::new();
    /// let routes = router.freeze();
    /// router.notify("too-late", |_, ()| {});
    /// ```
    pub fn freeze(self) -> Result<Routes<S, C>, RouterError> {
        match self.check() {
            Some(fault) => Err(fault),
            None => Ok(Routes::new(self)),
        }
    }

    /// What is wrong, if anything is.
    fn check(&self) -> Option<RouterError> {
        let needs_role = |entry: &&Entry<S, C>| !entry.rules.roles.is_empty();
        let without_auth = self.entries.iter().filter(|_| self.auth.is_none());
        let without_auth = without_auth.filter(needs_role).map(|entry| {
            let event = entry.name.clone().into();
            RouterError::RolesWithoutAuth { event }
        });
        let concerned = self.middleware.iter().flat_map(|it| it.events());
        let unknown = concerned.filter(|event| !self.by_name.contains_key(event.as_str()));
        let unknown = unknown.map(|event| {
            let event = event.clone();
            RouterError::UnknownEvent { event }
        });
        let faults = self.fault.clone().into_iter();
        faults.chain(without_auth).chain(unknown).next()
    }
}

impl<S, C> fmt::Debug for Router<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<&str> = self.entries.iter().map(|entry| &*entry.name).collect();
        f.debug_struct("Router")
            .field("style", &self.style)
            .field("events", &events)
            .finish_non_exhaustive()
    }
}
