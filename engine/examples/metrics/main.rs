//! A service that is watched: its metrics for Prometheus, alerts, a dashboard for Grafana, and some clients
//! that give it something to show.
//!
//! ```text
//! cargo run --release -p throng --example metrics
//! prometheus --config.file engine/examples/metrics/prometheus.yml --storage.tsdb.path target/prometheus
//! ```
//!
//! The metrics are at <http://127.0.0.1:8080/metrics>. In Grafana, add the Prometheus at <http://localhost:9090>
//! and import `dashboard.json`. All three files are for services of your own, too: the tests check
//! that every metric, label and cause they name is there.

mod load;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use throng::{Accept, Config, Conn, Engine, Handler, Message, Reject, StartError, Upgrade};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rooms and echoes, with metrics, and clients of its own.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// How many clients of its own it has
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    clients: usize,
}

/// Texts are for the room that its address names, bytes come back, and an empty message is none.
struct Rooms;

impl Handler for Rooms {
    type State = String;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<String>, Reject> {
        match request.query_value("room") {
            Some(room) => Ok(Accept::new(room.into_owned())),
            None => Err(Reject::new(400).text("which room? /?room=tea")),
        }
    }

    fn on_open(&self, conn: &mut Conn<'_, String>) {
        let room = conn.state().clone();
        if let Err(full) = conn.join(&room) {
            conn.close(1013.into(), &full.to_string());
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, String>, message: Message<'_>) {
        match message {
            Message::Text(text) if !text.is_empty() => {
                let room = conn.state().clone();
                conn.to(&room).text(text).publish();
            }
            Message::Binary(bytes) if !bytes.is_empty() => {
                conn.send(message);
            }
            _ => conn.report_invalid(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;

    let engine = start(&options.listen, config().with_env()?)?;
    for address in engine.local_addrs() {
        tracing::info!("metrics at http://{address}/metrics");
    }
    if let Some(address) = engine.local_addr() {
        std::thread::spawn(move || load::run(address, options.clients));
    }

    signals.forever().next();
    engine.drain(Duration::from_secs(1));
    Ok(())
}

/// Bounds small enough to be seen.
fn config() -> Config {
    Config::default()
        .max_connections(1000)
        .max_rooms(100)
        .memory_budget(64 << 20)
        .send_queue_messages(32)
}

fn start(address: &str, config: Config) -> Result<Engine, StartError> {
    Engine::builder()
        .bind(address)?
        .config(config)
        .serve_metrics()
        .handler(Rooms)
        .start()
}
