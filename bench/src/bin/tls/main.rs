//! Measures what TLS costs the server: a message, a new connection, and one that is idle, by the engine
//! and, if its program is given, by tokio-tungstenite over tokio-rustls.
//!
//! Servers run in turn on one core, the load on another. Both use rustls with ring, and the client has one
//! cipher suite: TLS_AES_128_GCM_SHA256.

mod client;
mod measure;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use throng_bench::child::Cores;
use throng_bench::serve::{Backend, Serve, ServeError};
use throng_loadtest::machine;

use crate::measure::{Cost, measure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what TLS costs the server, engine beside engine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Settings {
    /// The program of bench/peers, whose tokio-rustls is measured too
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Drivers to measure throng on
    #[arg(long, value_enum, value_delimiter = ',', default_value = "poll")]
    backend: Vec<Backend>,
    /// Connections that are idle, then echo
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Payload bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = size)]
    size: usize,
    /// Measurements of each server, taken in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measured window
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    cores: Cores,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serves one engine, as the program `server` does.
    #[command(hide = true)]
    Serve(Serve),
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Serve(#[from] ServeError),
    #[error("{0}")]
    Load(#[from] throng_loadtest::Error),
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let outcome = match &settings.part {
        Some(Part::Serve(serve)) => serve.run().map_err(Error::from),
        None => compare(&settings),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(settings: &Settings) -> Result<(), Error> {
    settings.cores.check()?;
    machine::raise_open_files();
    let mut out = io::stdout();
    writeln!(
        out,
        "{:18} {:>12} {:>12} {:>12} {:>8} {:>12} {:>8}",
        "server", "idle bytes", "us/message", "us/full", "full/s", "us/resumed", "res./s"
    )?;
    for _ in 0..settings.rounds {
        for (name, mut command) in servers(settings)? {
            let cost = measure(&mut command, settings)?;
            writeln!(out, "{}", line(&name, &cost))?;
        }
    }
    Ok(())
}

/// Those who are measured, and how each is started.
fn servers(settings: &Settings) -> Result<Vec<(String, Command)>, Error> {
    let program = env::current_exe()?;
    let throng = |backend: &Backend| {
        let mut command = Command::new(&program);
        let backend = backend.to_string();
        command.args(["serve", "--engine", "throng", "--tls", "--backend"]);
        command.arg(&backend);
        (format!("throng {backend}"), command)
    };
    let mut servers: Vec<_> = settings.backend.iter().map(throng).collect();
    if let Some(peers) = &settings.peers {
        let mut command = Command::new(peers);
        command.args(["--peer", "tokio-rustls", "--size"]);
        command.arg(settings.size.to_string());
        servers.push(("tokio-rustls".to_owned(), command));
    }
    Ok(servers)
}

fn line(name: &str, cost: &Cost) -> String {
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    format!(
        "{name:18} {:>12} {:>12.2} {:>12.1} {:>8.0} {:>12.1} {:>8.0}",
        cost.memory,
        micros(cost.message),
        micros(cost.full.each),
        cost.full.per_second,
        micros(cost.resumed.each),
        cost.resumed.per_second,
    )
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size <= client::MAX_SIZE => Ok(size),
        _ => Err(format!("must be a number, {} at most", client::MAX_SIZE)),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    const LONGEST: f64 = 3600.0;
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= LONGEST => Ok(seconds),
        _ => Err(format!("must be a number above 0 and at most {LONGEST}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
        for arguments in [["--size", "65536"], ["--seconds", "0"], ["--rounds", "0"]] {
            let all = ["tls"].into_iter().chain(arguments);
            assert!(Settings::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn each_backend_is_a_server_of_its_own() {
        let arguments = ["tls", "--backend", "poll,uring", "--peers", "/peers"];
        let settings = Settings::try_parse_from(arguments).unwrap();
        let servers = servers(&settings).unwrap();
        let names: Vec<_> = servers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["throng poll", "throng uring", "tokio-rustls"]);
    }
}
