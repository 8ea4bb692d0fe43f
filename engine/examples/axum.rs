//! An axum service with a WebSocket, `ws://localhost:8080/ws?user=ann`: `cargo run --example axum`.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::routing::{get, post};
use throng::*;

struct Chat;

impl Handler for Chat {
    type State = ();

    /// Asked of who is not let in by `socket`: of nobody.
    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Err(Reject::new(401))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        let _ = conn.join("lobby");
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let line = format!("{:?}: {message:?}", conn.user_id());
        conn.to("lobby").text(&line).publish();
    }
}

#[derive(serde::Deserialize)]
struct Who {
    user: String,
}

/// `GET /ws?user=ann`; without a user axum answers 400.
async fn socket(
    State(engine): State<EngineHandle>,
    Query(Who { user }): Query<Who>,
    request: Request,
) -> UpgradeResponse {
    engine.upgrade_with(request, Accept::new(()).user_id(user))
}

/// `POST /say` with a text.
async fn say(State(engine): State<EngineHandle>, text: String) -> String {
    format!("{:?}\n", engine.to("lobby").text(&text).publish())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder().mounted().handler(Chat).start()?;
    let routes = Router::new()
        .route("/", get(|| async { "a page" }))
        .route("/ws", get(socket))
        .route("/say", post(say))
        .with_state(engine.handle());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, routes).await?)
}
