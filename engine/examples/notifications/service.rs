//! What is answered: users connect at `/ws`, and who has the service's token tells them things.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use throng::router::{Invalid, Valid, Validate};
use throng::{
    Accept, Conn, EngineHandle, FromOutside, Handler, Message, Peer, ReceiptError, Reject, To,
    Upgrade, UpgradeResponse,
};

use crate::auth::{Service, Tokens, User};

/// Bytes that a request's body may have.
pub(crate) const MAX_BODY: usize = 8 * 1024;

/// What requests are answered with.
pub(crate) struct App {
    engine: EngineHandle,
    pub(crate) tokens: Tokens,
}

/// All that the service answers.
pub(crate) fn routes(engine: EngineHandle, tokens: Tokens) -> Router {
    Router::new()
        .route("/", get(Html(include_str!("inbox.html"))))
        .route("/ws", get(socket))
        .route("/users/{user}", get(presence))
        .route("/users/{user}/notifications", post(notify))
        .route("/broadcast", post(broadcast))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(App { engine, tokens }))
}

/// What connections are told and may say.
pub(crate) struct Inbox;

impl Handler for Inbox {
    type State = ();

    /// Asked of who is not let in by [`socket`]: of nobody.
    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Err(Reject::new(401))
    }

    /// From now on the connection is sent what its user is sent.
    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        let welcome = json!({"user": conn.user_id()});
        if let Err(error) = conn.notify("welcome", &welcome) {
            tracing::error!(%error, "a welcome is no JSON");
        }
    }

    /// There is nothing to be said here; who goes on talking is closed.
    fn on_message(&self, conn: &mut Conn<'_, ()>, _: Message<'_>) {
        conn.report_invalid();
    }
}

/// `GET /ws`, by a user.
async fn socket(
    User(user): User,
    State(app): State<Arc<App>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> UpgradeResponse {
    // For `max_connections_per_ip`, `trusted_proxies` and the log: the request itself does not tell.
    request.extensions_mut().insert(Peer::Tcp(address));
    let accept = Accept::new(()).user_id(user);
    app.engine.upgrade_with(request, accept)
}

/// What users are told.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Notification {
    title: String,
    #[serde(default)]
    text: String,
}

impl Validate for Notification {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless_chars("title", &self.title, 1..=100)?;
        Invalid::unless_chars("text", &self.text, 0..=1000)
    }
}

/// `POST /users/{user}/notifications`: to all connections of a user, of whom there may be none.
async fn notify(
    _: Service,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    Json(Valid(notification)): Json<Valid<Notification>>,
) -> Result<Json<Sent>, NotSent> {
    publish(app.engine.to_user(&user), &notification).await
}

/// `POST /broadcast`: to everybody.
async fn broadcast(
    _: Service,
    State(app): State<Arc<App>>,
    Json(Valid(notification)): Json<Valid<Notification>>,
) -> Result<Json<Sent>, NotSent> {
    publish(app.engine.to_all(), &notification).await
}

/// What became of a notification.
#[derive(Serialize)]
struct Sent {
    /// Connections that it was queued for.
    connections: usize,
    /// Connections too far behind to be sent it.
    lost: usize,
}

async fn publish(
    to: To<'_, FromOutside<'_>>,
    notification: &Notification,
) -> Result<Json<Sent>, NotSent> {
    let publication = to.notify("notification", notification);
    let pending = publication
        .map_err(ReceiptError::from)?
        .publish_with_receipt();
    let receipt = pending.await?;
    if receipt.refused > 0 {
        return Err(NotSent::Refused(receipt.refused));
    }
    Ok(Json(Sent {
        connections: receipt.queued,
        lost: receipt.dropped + receipt.evicted,
    }))
}

/// Not everybody was sent it. Where it is asked for again, some may be told twice.
#[derive(Debug, Error)]
enum NotSent {
    #[error("{0} threads of the engine have too much to do, or have stopped")]
    Refused(usize),
    #[error(transparent)]
    Engine(#[from] ReceiptError),
}

impl IntoResponse for NotSent {
    fn into_response(self) -> Response {
        tracing::warn!(error = %self, "a notification was not sent to everybody");
        let when = [(RETRY_AFTER, "1")];
        (StatusCode::SERVICE_UNAVAILABLE, when, format!("{self}\n")).into_response()
    }
}

/// `GET /users/{user}`: whether a user is there.
async fn presence(
    _: Service,
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
) -> Json<Presence> {
    let connections = app.engine.user_len(&user);
    Json(Presence {
        online: connections > 0,
        connections,
    })
}

#[derive(Serialize)]
struct Presence {
    online: bool,
    connections: usize,
}
