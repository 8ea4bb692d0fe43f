//! A chat with rooms, names and private messages, and the page to use it from.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! Then open <http://127.0.0.1:8080> in two windows. This is also a skeleton for services of your
//! own: `protocol` is what clients and service say to each other, `people` what the service knows,
//! `service` what it does.

mod people;
mod protocol;
mod service;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use throng::{Config, Engine, Page, StartError};

use service::Chat;

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
            .max_rooms(10_000)
            .max_rooms_per_connection(20),
    };
    let engine = start(&options.listen, config.with_env()?)?;
    for address in engine.local_addrs() {
        tracing::info!("chat on http://{address}");
    }

    signals.forever().next();
    tracing::info!("draining {} connections", engine.connections());
    let report = engine.drain(Duration::from_secs(options.drain));
    tracing::info!(?report, "drained");
    Ok(())
}

/// Starts the chat with its page.
fn start(address: &str, config: Config) -> Result<Engine, StartError> {
    Engine::builder()
        .bind(address)?
        .config(config)
        .page(Page::new(
            "/",
            "text/html; charset=utf-8",
            include_str!("chat.html"),
        ))
        .handler(Chat::default())
        .start()
}
