//! Measures what a typed event costs the server: a request that is parsed, limited, handled and answered, beside the
//! same bytes echoed, and beside an event with an acknowledgement of socketioxide's, if its program is given.
//!
//! Servers run in turn on one core, the load on another. Every connection has one request in flight.

mod client;
mod serve;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use throng_bench::child::{Cores, Server, share};
use throng_bench::serve::Backend;
use throng_loadtest::{ProcessCpu, machine};

use crate::client::{Client, Dialect};
use crate::serve::{Kind, Serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the load lasts before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures what a typed event costs the server.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Settings {
    /// The program of bench/peers, whose socketioxide is measured too
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Driver to measure throng on
    #[arg(long, value_enum, default_value = "poll")]
    backend: Backend,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Measurements of each server, taken in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measured window
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(flatten)]
    cores: Cores,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serves one of them.
    #[command(hide = true)]
    Serve(Serve),
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Start(#[from] throng::StartError),
    #[error("{0}")]
    Load(#[from] throng_loadtest::Error),
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let outcome = match &settings.part {
        Some(Part::Serve(serve)) => serve.run(),
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

/// A server that is measured.
struct Contender {
    name: &'static str,
    dialect: Dialect,
    command: Command,
    /// CPU time of a request, by round.
    costs: Vec<Duration>,
}

fn compare(settings: &Settings) -> Result<(), Error> {
    settings.cores.check()?;
    machine::raise_open_files();
    let mut contenders = contenders(settings)?;
    for _ in 0..settings.rounds {
        for contender in &mut contenders {
            let cost = measure(contender, settings)?;
            contender.costs.push(cost);
        }
    }
    let mut out = io::stdout();
    writeln!(
        out,
        "{:20} {:>12} {:>22} {:>22}",
        "server", "us/request", "of the echo's", "of the router's"
    )?;
    let [echo, router] = [0, 1].map(|at| contenders[at].costs.clone());
    for contender in &contenders {
        writeln!(out, "{}", line(contender, [&echo, &router]))?;
    }
    Ok(())
}

/// The echo comes first, and then the router.
fn contenders(settings: &Settings) -> Result<Vec<Contender>, Error> {
    let program = env::current_exe()?;
    let throng = |name, kind: Kind, dialect| {
        let mut command = Command::new(&program);
        let backend = settings.backend.to_string();
        command.args(["serve", "--kind", kind.as_str(), "--backend", &backend]);
        Contender {
            name,
            dialect,
            command,
            costs: Vec::new(),
        }
    };
    let mut contenders = vec![
        throng("throng, echo", Kind::Echo, Dialect::Echo),
        throng("throng, router", Kind::Router, Dialect::Router),
    ];
    if let Some(peers) = &settings.peers {
        let mut command = Command::new(peers);
        command.args(["--peer", "socketioxide"]);
        contenders.push(Contender {
            name: "socketioxide",
            dialect: Dialect::SocketIo,
            command,
            costs: Vec::new(),
        });
    }
    Ok(contenders)
}

/// Starts a server on its core, and has it serve a load from another.
fn measure(contender: &mut Contender, settings: &Settings) -> Result<Duration, Error> {
    let Contender {
        dialect, command, ..
    } = contender;
    // A child stays where the thread was that has started it.
    let start = || Ok::<_, Error>(Server::start(command)?);
    let server = settings.cores.serve(start)?;
    settings.cores.load(|| load(&server, *dialect, settings))
}

fn load(server: &Server, dialect: Dialect, settings: &Settings) -> Result<Duration, Error> {
    let clients = (0..settings.connections).map(|_| Client::connect(server.address(), dialect));
    let mut clients = clients.collect::<io::Result<Vec<Client>>>()?;
    let mut ask = |window| -> Result<u64, Error> {
        let (begun, mut answered) = (Instant::now(), 0);
        while begun.elapsed() < window {
            for client in &mut clients {
                client.ask()?;
            }
            for client in &mut clients {
                client.hear_answer()?;
                answered += 1;
            }
        }
        Ok(answered)
    };
    ask(WARM_UP)?;
    let begun = ProcessCpu::of(server.pid())?;
    let answered = ask(Duration::from_secs(settings.seconds))?;
    let used = ProcessCpu::of(server.pid())?.since(begun);
    Ok(share(used, answered))
}

/// The median cost, and the medians and spread of the ratios to others of the same round.
fn line(contender: &Contender, others: [&[Duration]; 2]) -> String {
    let micros = |cost: &Duration| cost.as_secs_f64() * 1e6;
    let costs = sorted(contender.costs.iter().map(micros));
    let middle = costs.len() / 2;
    let [echo, router] = others.map(|other| {
        let pairs = contender.costs.iter().zip(other);
        let ratios = sorted(pairs.map(|(cost, other)| cost.as_secs_f64() / other.as_secs_f64()));
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        format!("{:.2} ({least:.2}-{most:.2})", ratios[middle])
    });
    format!(
        "{:20} {:>12.2} {echo:>22} {router:>22}",
        contender.name, costs[middle]
    )
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Settings::command().debug_assert();
        let settings = Settings::try_parse_from(["events", "--peers", "/peers"]).unwrap();
        let names: Vec<_> = contenders(&settings)
            .unwrap()
            .iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(names, ["throng, echo", "throng, router", "socketioxide"]);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let micros = |costs: [u64; 3]| costs.map(Duration::from_micros).to_vec();
        let contender = Contender {
            name: "it",
            dialect: Dialect::Echo,
            command: Command::new("it"),
            costs: micros([2, 40, 6]),
        };
        let line = line(&contender, [&micros([1, 10, 3]), &micros([2, 40, 6])]);
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["it", "6.00", "2.00", "(2.00-4.00)", "1.00", "(1.00-1.00)"]
        );
    }
}
