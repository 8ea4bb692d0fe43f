//! Serves one engine for a measurement, until it is killed.
//!
//! The first line on standard output is `listening on ADDR`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use throng_bench::serve::Serve;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves one engine for a measurement, until it is killed.
#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    serve: Serve,
}

fn main() -> ExitCode {
    match Settings::parse().serve.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
