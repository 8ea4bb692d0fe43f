//! What the page asks for.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use throng_transport::runtime::spawn;
use tokio::sync::oneshot;

use super::desk::{Desk, Find, Order, WATCHERS};
use super::sample::{RoomRow, Row, Sample};
use crate::handle::EngineHandle;
use crate::id::ConnectionId;
use crate::protocol::close::CloseCode;
use crate::router::{
    Auth, Cx, EventError, Identity, Invalid, RateLimit, Router, TokenError, Valid, Validate,
};

/// How long a connection may be open before it has shown the token.
const TO_SHOW_IT: Duration = Duration::from_secs(3);
/// The longest drain.
const MAX_WINDOW: u64 = 3600;
/// What those are told who are closed from the page.
const REASON: &str = "closed by an administrator";

/// The events of a page that has shown the token.
pub(super) fn router(
    token: String,
    watched: EngineHandle,
    desk: &Arc<Desk>,
    orders: &Sender<Order>,
) -> Router {
    let mut router = Router::new();
    let validate = move |shown: &str, _now: u64| {
        if is_same(shown, &token) {
            return Ok(Identity::new("admin"));
        }
        tracing::info!(target: "throng::admin", "a wrong token was shown");
        Err(TokenError::Unknown)
    };
    router.auth(Auth::new(validate).first_message(TO_SHOW_IT));
    router.with(RateLimit::per_connection(20.0, 40));
    looking(&mut router, &watched, desk, orders);
    acting(&mut router, watched);
    router
}

/// Compares without telling by the time it takes how much is the same.
fn is_same(shown: &str, token: &str) -> bool {
    let (shown, token) = (shown.as_bytes(), token.as_bytes());
    let differing = shown.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
    black_box(differing) == 0 && shown.len() == token.len()
}

/// What a page is shown when it is opened.
#[derive(Serialize)]
struct Overview {
    version: &'static str,
    backend: String,
    shards: usize,
    max_connections: usize,
    counts: bool,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    after: Option<Id>,
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
struct Kick {
    id: Id,
}

#[derive(Deserialize)]
struct KickUser {
    user: String,
}

#[derive(Deserialize)]
struct CloseRoom {
    room: String,
}

#[derive(Deserialize)]
struct Drain {
    /// Seconds.
    window: u64,
    /// Whether the service comes back.
    returns: bool,
}

impl Validate for Drain {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless_within("window", &self.window, 0..=MAX_WINDOW)
    }
}

/// A connection's id as text: it takes more than a number has in JavaScript.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Id(ConnectionId);

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Id, &'static str> {
        let number = u64::from_str_radix(&text, 16);
        let id = number.map_err(|_| "no id of a connection")?;
        Ok(Id(ConnectionId::from_u64(id)))
    }
}

/// Registers what changes nothing.
fn looking(router: &mut Router, watched: &EngineHandle, desk: &Arc<Desk>, orders: &Sender<Order>) {
    let (desk, engine) = (Arc::clone(desk), watched.clone());
    router.on("watch", move |cx, ()| {
        cx.join(WATCHERS)?;
        let config = engine.config();
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION"),
            backend: engine.backend().to_string(),
            shards: config.shards,
            max_connections: config.max_connections,
            counts: config.metrics,
            samples: desk.samples(),
        })
    });
    let asking = orders.clone();
    router.on_async::<Search, Vec<Row>, _>("connections", move |_, search| {
        let find = match (search.id, search.user) {
            (Some(Id(id)), _) => Find::One(id),
            (None, Some(user)) => Find::OfUser(user),
            (None, None) => Find::After(search.after.map(|Id(id)| id)),
        };
        let found = ask(&asking, |answer| Order::Find(find, answer));
        async move {
            found
                .await?
                .map_err(|error| EventError::conflict(error.to_string()))
        }
    });
    let asking = orders.clone();
    router.on_async::<(), Vec<RoomRow>, _>("rooms", move |_, ()| ask(&asking, Order::Rooms));
}

/// Registers what changes something.
fn acting(router: &mut Router, watched: EngineHandle) {
    let engine = watched.clone();
    router.on("kick", move |cx, Kick { id: Id(id) }| {
        note(cx, "kick", &id.to_string());
        let closed = engine.connection(id).close(CloseCode::POLICY, REASON);
        closed.map_err(|error| EventError::conflict(error.to_string()))
    });
    let engine = watched.clone();
    router.on("kick_user", move |cx, KickUser { user }| {
        note(cx, "kick_user", &user);
        let closed = engine.close_user(&user, CloseCode::POLICY, REASON);
        closed.map_err(|error| EventError::conflict(error.to_string()))
    });
    let engine = watched.clone();
    router.on("close_room", move |cx, CloseRoom { room }| {
        note(cx, "close_room", &room);
        let was_there = engine.delete_room(&room);
        was_there
            .then_some(())
            .ok_or(EventError::not_found("there is no such room"))
    });
    router.on(
        "drain",
        move |cx, Valid(Drain { window, returns }): Valid<Drain>| {
            note(cx, "drain", &format!("{window} s"));
            let code = if returns {
                CloseCode::SERVICE_RESTART
            } else {
                CloseCode::GOING_AWAY
            };
            if watched.shared().is_draining() {
                return Err(EventError::conflict("it is being drained already"));
            }
            begin_drain(watched.clone(), code, Duration::from_secs(window))
        },
    );
}

/// Drains on a thread of its own, which it waits in.
fn begin_drain(watched: EngineHandle, code: CloseCode, window: Duration) -> Result<(), EventError> {
    let drain = move || match watched.drain_with(code, window) {
        Ok(report) => tracing::info!(?report, "drained from the admin page"),
        Err(error) => tracing::error!(%error, "not drained"),
    };
    match spawn("throng-drain".to_owned(), None, drain) {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "not drained");
            Err(EventError::internal())
        }
    }
}

/// What is done from the page is logged.
fn note(cx: &Cx<'_>, action: &str, what: &str) {
    let who = cx.client_addr();
    tracing::info!(target: "throng::admin", ?who, action, what, "asked for on the admin page");
}

fn busy() -> EventError {
    EventError::too_many("too much is being asked")
}

/// Has the desk's thread answer.
fn ask<T, F>(
    orders: &Sender<Order>,
    order: F,
) -> impl Future<Output = Result<T, EventError>> + Send + use<T, F>
where
    T: Send,
    F: FnOnce(oneshot::Sender<T>) -> Order,
{
    let (answer, answered) = oneshot::channel();
    let ordered = orders.try_send(order(answer));
    async move {
        ordered.map_err(|_| busy())?;
        answered.await.map_err(|_| EventError::internal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same("0123456789abcdef", "0123456789abcdef"));
        for shown in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcdeg",
        ] {
            assert!(!is_same(shown, "0123456789abcdef"), "{shown}");
        }
    }
}
