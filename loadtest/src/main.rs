//! `loadtest`: puts a load on a WebSocket server and reports what it did and what it cost.

mod args;
mod console;
mod descriptors;
mod load;
mod plan;
mod serve;
mod server;
mod table;
mod worker;
mod workers;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;
use throng_loadtest::Error;

use crate::args::{Args, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a run in which something went wrong.
const FAULTY: u8 = 1;

/// The exit code of settings that cannot be used, the same as clap's.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Worker => worker::work(),
        Command::Serve(serve) => server::serve(&serve),
        Command::Idle(load) => plan::execute(&load),
        Command::Echo(load) => plan::execute(&load),
        Command::Broadcast(load) => plan::execute(&load),
    };
    let (lines, code) = match outcome {
        Ok(failures) if failures.is_empty() => return ExitCode::SUCCESS,
        Ok(failures) => (failures, FAULTY),
        Err(error @ Error::Setting { .. }) => (vec![format!("--{error}")], UNUSABLE),
        Err(error) => (vec![error.to_string()], FAULTY),
    };
    for line in lines {
        // With standard error gone there is nowhere left to say so; the exit code stands.
        let _ = writeln!(stderr(), "loadtest: {line}");
    }
    ExitCode::from(code)
}
