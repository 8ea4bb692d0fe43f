//! An axum service that tells its users things, on all of their devices.
//!
//! ```text
//! SERVICE_TOKEN=secret cargo run --release -p throng --example notifications -- --user ann=a1 --user bob=b2
//! ```
//!
//! Open <http://127.0.0.1:8080/#a1> in two windows, which are Ann's then, and tell her something:
//!
//! ```text
//! curl 127.0.0.1:8080/users/ann/notifications -H 'Authorization: Bearer secret' --json '{"title":"Tea is ready"}'
//! ```
//!
//! `auth` is who may do what, `service` what is answered.

mod auth;
mod service;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use throng::{Config, DrainReport, Engine, StartError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use auth::Tokens;
use service::{Inbox, routes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Notifications for users, published over HTTP and received over WebSockets.
#[derive(Parser)]
struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// What publishers must show
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SERVICE_TOKEN",
        hide_env_values = true
    )]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service_token: String,
    /// A user and the token to connect with; may be given again
    #[arg(
        long = "user",
        value_name = "NAME=TOKEN",
        env = "USER_TOKENS",
        hide_env_values = true
    )]
    #[arg(value_parser = name_and_token, value_delimiter = ',')]
    users: Vec<(String, String)>,
    /// How long requests and connections have to end when told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain: u64,
}

fn name_and_token(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, token)) if !name.is_empty() && !token.is_empty() => {
            Ok((name.to_owned(), token.to_owned()))
        }
        _ => Err("a name, = and a token are needed"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let options = Options::parse();
    let tokens = Tokens::new(options.service_token, options.users);
    let stop = told_to_stop()?;

    let engine = start(Config::default().with_env()?)?;
    let listener = TcpListener::bind(&options.listen).await?;
    tracing::info!("notifications on http://{}", listener.local_addr()?);
    let window = Duration::from_secs(options.drain);
    let report = serve(listener, engine, tokens, stop, window).await?;
    tracing::info!(?report, "drained");
    Ok(())
}

/// Starts the engine, which has no port of its own.
fn start(config: Config) -> Result<Engine, StartError> {
    Engine::builder()
        .mounted()
        .config(config)
        .handler(Inbox)
        .start()
}

/// Serves until told to stop. Requests end first, so that what they publish is sent before connections are closed.
async fn serve(
    listener: TcpListener,
    engine: Engine,
    tokens: Tokens,
    stop: impl Future<Output = ()> + Send + 'static,
    window: Duration,
) -> io::Result<DrainReport> {
    let routes = routes(engine.handle(), tokens);
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(
        listener,
        routes.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(async {
        stop.await;
        let _ = stopping.send(());
    });
    let overdue = async {
        let _ = stopped.await;
        tokio::time::sleep(window).await;
    };
    tokio::select! {
        ended = server.into_future() => ended?,
        () = overdue => tracing::warn!("requests are still under way"),
    }
    Ok(tokio::task::spawn_blocking(move || engine.drain(window)).await?)
}

/// Resolves on SIGINT and SIGTERM.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
