//! Serves one peer for a measurement, until it is killed.
//!
//! The first line on standard output is `listening on ADDR`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use throng_peers::{Peer, Scenario, serve};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves one peer for a measurement, until it is killed.
#[derive(Debug, Parser)]
struct Settings {
    /// What serves
    #[arg(long, value_enum)]
    peer: Peer,
    /// What happens to a message
    #[arg(long, value_enum, default_value = "echo")]
    scenario: Scenario,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Payload bytes of the messages to come, which buffers are made for
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
}

fn main() -> ExitCode {
    match run(&Settings::parse()) {
        Ok(never) => match never {},
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread, as the engine is measured with one shard: work that moves between threads would
/// only cost more.
fn run(settings: &Settings) -> io::Result<std::convert::Infallible> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(settings.listen).await?;
        let mut out = io::stdout();
        writeln!(out, "listening on {}", listener.local_addr()?)?;
        out.flush()?;
        serve(settings.peer, settings.scenario, settings.size, listener).await
    })
}
