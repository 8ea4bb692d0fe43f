//! A chat with logins, rooms, their last messages, who is there, and private messages, and the page to use it
//! from.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! Then open <http://127.0.0.1:8080> in two windows. With a token in the variable `CHAT_ADMIN_TOKEN` there is the
//! admin page, too, at `/admin`. This is also a skeleton for services of your own: `service` is what clients can
//! ask for, `logins` who they are.

mod logins;
mod service;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use throng::{Admin, CloseCode, Config, Engine, Page, StartError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A chat with rooms, served with its page on one port.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Settings of the engine, as TOML; variables named THRONG_* override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to spread the closing of connections over when told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    drain: u64,
    /// The token of the admin page, which there is none of without it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CHAT_ADMIN_TOKEN",
        hide_env_values = true
    )]
    admin_token: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;

    let config = match &options.config {
        Some(path) => Config::from_toml(&std::fs::read_to_string(path)?)?,
        // Rooms cost memory, and anybody may make them.
        None => Config::default()
            .max_message_size(8 * 1024)
            .max_rooms(10_000)
            .max_rooms_per_connection(20),
    };
    let engine = start(&options.listen, config.with_env()?, options.admin_token)?;
    for address in engine.local_addrs() {
        tracing::info!("chat on http://{address}");
    }

    let (handle, window) = (engine.handle(), Duration::from_secs(options.drain));
    std::thread::spawn(move || {
        signals.forever().next();
        tracing::info!("draining {} connections", handle.connections());
        let report = handle.drain_with(CloseCode::SERVICE_RESTART, window);
        tracing::info!(?report, "drained");
    });
    // Until a signal, or the admin page, has it drained.
    engine.wait();
    Ok(())
}

/// Starts the chat with its pages.
fn start(address: &str, config: Config, admin: Option<String>) -> Result<Engine, StartError> {
    let page = include_str!("chat.html");
    let mut builder = Engine::builder()
        .bind(address)?
        .config(config)
        .page(Page::new("/", "text/html; charset=utf-8", page));
    if let Some(token) = admin {
        builder = builder.admin(Admin::new(token));
    }
    builder.router(service::router())?.start()
}
