//! Serves one engine for a measurement, until it is killed.
//!
//! The first line on standard output is `listening on ADDR`.

mod floor;
mod throng;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use throng_bench::machine::{self, PinError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves one engine for a measurement, until it is killed.
#[derive(Debug, Parser)]
struct Settings {
    /// What serves
    #[arg(long, value_enum)]
    engine: Engine,
    /// What happens to a message
    #[arg(long, value_enum, default_value = "echo")]
    scenario: Scenario,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: usize,
    /// The driver of the sockets
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Pins all threads to this core
    #[arg(long, value_name = "CORE")]
    cpu: Option<usize>,
    /// Payload bytes of every message, which the floor has to know
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// The engine of this workspace
    Throng,
    /// A raw TCP loop that parses nothing
    Floor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// It goes back to its sender
    Echo,
    /// It goes to every connection, the sender included
    Room,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The best one the platform has
    Auto,
    /// Readiness: epoll, kqueue
    Poll,
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{setting}: {reason}")]
    Setting {
        setting: &'static str,
        reason: &'static str,
    },
    #[error("{0}")]
    Start(#[from] ::throng::StartError),
    #[error("cpu: {0}")]
    Pin(#[from] PinError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    match serve(&Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings) -> Result<(), Error> {
    machine::raise_open_files();
    if let Some(core) = settings.cpu {
        machine::pin(core)?;
    }
    match settings.engine {
        Engine::Throng => throng::serve(settings),
        Engine::Floor => floor::serve(settings),
    }
}

/// Tells whoever started the server where clients connect to.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on {addr}")?;
    out.flush()
}
