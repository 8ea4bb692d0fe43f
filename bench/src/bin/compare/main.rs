//! Measures what a message costs the server, engine beside engine.
//!
//! Servers run in turn, each pinned to one core, with the load on another. The unit is the
//! server's CPU time (user and system) over the messages, or in rooms the deliveries, of the
//! measured window. Every engine gets the same load and the same checks of what it answers:
//! lengths and opcodes, as the floor cannot return what it does not read.
//!
//! Rows at a fixed rate are about time instead: how long a message takes from when it was due, and
//! what a broadcast adds to that for those who are not in the room. Tables go to standard output,
//! charts to a folder, and everything to a file from which both can be had again.

mod bystanders;
mod chart;
mod columns;
mod contender;
mod delay;
mod engine;
mod install;
mod latency;
mod load;
mod measure;
mod peers;
mod plot;
mod record;
mod row;
mod spread;
mod table;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use throng_bench::serve::{Backend, Engine, Serve, ServeError};
use throng_loadtest::machine;

use crate::measure::Plan;
use crate::record::Record;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a message costs the server, engine beside engine.
#[derive(Debug, Parser)]
struct Settings {
    /// Rows to measure, by name; all if none are given
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = row::named)]
    rows: Vec<row::Row>,
    /// Prints the names of the rows and ends
    #[arg(long)]
    list: bool,
    /// Engines to measure; ratios are to the first
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,throng"
    )]
    engines: Vec<Engine>,
    /// Drivers to measure throng on; with uring, the floor on io_uring is measured too
    #[arg(long, value_enum, value_delimiter = ',', default_value = "poll")]
    backend: Vec<Backend>,
    /// Measures the peers too, as far as they are there or can be built and installed; says which it
    /// left out, and why
    #[arg(long)]
    peers: bool,
    /// Measurements of each engine in each row, taken in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of the measured window, after a second of the same load
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Core of the server; without, the first that this process may use
    #[arg(long, value_name = "CORE")]
    server_cpu: Option<usize>,
    /// Core of the load; without, the first that the server does not have
    #[arg(long, value_name = "CORE")]
    load_cpu: Option<usize>,
    /// Messages a second to the room that bystanders stand beside
    #[arg(long, value_name = "N")]
    room_rate: Option<NonZeroU32>,
    /// Writes every single measurement to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws cpu.svg, latency.svg and memory.svg, as far as there are rows for them, in this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Measures nothing: shows what an earlier run wrote with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = MEASURING)]
    from: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What says how to measure.
const MEASURING: [&str; 10] = [
    "peers",
    "backend",
    "rows",
    "engines",
    "rounds",
    "seconds",
    "server_cpu",
    "load_cpu",
    "room_rate",
    "json",
];

#[derive(Debug, Subcommand)]
enum Part {
    /// Puts one load on one server and prints what came out, as JSON.
    #[command(hide = true)]
    Load {
        /// What to do, as JSON.
        order: String,
    },
    /// Serves one engine, as the program `server` does.
    #[command(hide = true)]
    Serve(Serve),
    /// Confines itself to a core, then becomes that command.
    #[command(hide = true)]
    Pinned {
        #[arg(long)]
        cpu: usize,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("{name}: {reason}")]
    Child { name: String, reason: String },
    #[error("not measured: {}", shown(.failures))]
    Failed { failures: Vec<Error> },
    #[error("{0}")]
    Serve(#[from] ServeError),
    #[error("{0}")]
    Load(#[from] throng_loadtest::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// An adapter for `map_err` that names what was being done.
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action: action.into(),
            source,
        }
    }

    fn child(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Child {
            name: name.into(),
            reason: reason.into(),
        }
    }
}

fn shown(failures: &[Error]) -> String {
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn main() -> ExitCode {
    match run(Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> Result<(), Error> {
    match settings.part {
        Some(Part::Load { order }) => {
            let measured = load::put(&serde_json::from_str(&order)?)?;
            print(&serde_json::to_string(&measured)?)
        }
        Some(Part::Serve(serve)) => Ok(serve.run()?),
        Some(Part::Pinned { cpu, command }) => become_pinned(cpu, &command),
        None if settings.list => {
            let lines = row::all().map(|row| format!("{:14} {}\n", row.name, row.title()));
            print(&lines.collect::<String>())
        }
        None => compare(settings),
    }
}

fn compare(settings: Settings) -> Result<(), Error> {
    if let Some(folder) = &settings.plots {
        // Before minutes of measuring, not after them.
        let action = format!("making the folder {}", folder.display());
        fs::create_dir_all(folder).map_err(Error::io(action))?;
    }
    let (json, plots) = (settings.json.clone(), settings.plots.clone());
    let (record, peers, failures) = match &settings.from {
        Some(path) => (Record::read(path)?, String::new(), Vec::new()),
        None => measured(settings)?,
    };
    if let Some(path) = json {
        record.write(&path)?;
    }
    print(&table::render(&record))?;
    print(&peers)?;
    for path in plots.map_or(Ok(Vec::new()), |folder| plot::draw(&record, &folder))? {
        say(&format_args!("wrote {}", path.display()));
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Error::Failed { failures })
}

/// What was measured, what is to be known of the peers, and what could not be measured.
fn measured(settings: Settings) -> Result<(Record, String, Vec<Error>), Error> {
    let mut rows = if settings.rows.is_empty() {
        row::all().collect()
    } else {
        settings.rows
    };
    if let Some(rate) = settings.room_rate {
        rows.iter_mut()
            .for_each(|row| row.set_room_rate(rate.get()));
    }
    let (server_cpu, load_cpu) = cores(settings.server_cpu, settings.load_cpu, &machine::cores());
    machine::check_cores("server-cpu", [&server_cpu])?;
    machine::check_cores("load-cpu", [&load_cpu])?;
    let (engines, peers) = peers::gather(&settings.engines, settings.peers, install::installer())?;
    let plan = Plan {
        rows,
        engines: contender::contenders(&engines, &settings.backend),
        rounds: settings.rounds,
        seconds: settings.seconds,
        server_cpu,
        load_cpu,
    };
    let (samples, failures) = measure::run(&plan, &peers, say)?;
    let record = Record {
        rows: plan.rows,
        engines: plan.engines,
        rounds: plan.rounds,
        samples,
    };
    Ok((record, peers.to_string(), failures))
}

/// Tells of progress, which is a courtesy: it does not matter if no one reads it.
fn say(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Gives way to a server that cannot confine itself. Its process, and with it what is measured of
/// it, stays this one.
fn become_pinned(cpu: usize, command: &[OsString]) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::child("pinned", "there is no command"));
    };
    machine::raise_open_files();
    machine::pin("cpu", cpu)?;
    let error = Command::new(program).args(arguments).exec();
    Err(Error::io(format!("starting {}", program.display()))(error))
}

/// The cores of server and load: those asked for, otherwise the first of the `usable` ones that are
/// free. Where there is one only, they share it.
fn cores(server: Option<usize>, load: Option<usize>, usable: &[usize]) -> (usize, usize) {
    let first_but = |taken| {
        let free = usable.iter().find(|core| Some(**core) != taken);
        free.or(usable.first()).copied().unwrap_or_default()
    };
    let server = server.unwrap_or_else(|| first_but(load));
    (server, load.unwrap_or_else(|| first_but(Some(server))))
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("printing"))
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
        let settings =
            Settings::try_parse_from(["compare", "--rows", "echo-100,room-1k-32"]).unwrap();
        assert_eq!(settings.engines, [Engine::Floor, Engine::Throng]);
        assert_eq!(settings.backend, [Backend::Poll]);
        assert_eq!(settings.rows.len(), 2);
    }

    #[test]
    fn an_earlier_run_is_shown_as_it_was() {
        let from = |more: &[&str]| {
            let first = ["compare", "--from", "run.json", "--plots", "docs"];
            Settings::try_parse_from(first.iter().chain(more))
        };
        assert!(from(&[]).is_ok());
        for option in [
            "--rounds=1",
            "--rows=echo-100",
            "--json=a",
            "--room-rate=1",
            "--backend=uring",
        ] {
            assert!(from(&[option]).is_err(), "{option}");
        }
    }

    #[test]
    fn peers_have_programs_of_their_own() {
        let served = |engine| Settings::try_parse_from(["compare", "serve", "--engine", engine]);
        assert!(served("throng").is_ok());
        let error = served("yawc").unwrap_err().to_string();
        assert!(error.contains("must be floor or throng"), "{error}");
        let command = ["compare", "pinned", "--cpu", "0", "--", "node", "--version"];
        assert!(Settings::try_parse_from(command).is_ok());
    }

    #[test]
    fn server_and_load_have_a_core_each() {
        assert_eq!(cores(None, None, &[2, 3, 7]), (2, 3));
        assert_eq!(cores(Some(3), None, &[2, 3, 7]), (3, 2));
        assert_eq!(cores(None, Some(2), &[2, 3, 7]), (3, 2));
        assert_eq!(cores(Some(7), Some(7), &[2, 3, 7]), (7, 7));
        assert_eq!(cores(None, None, &[5]), (5, 5));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for arguments in [
            ["--rounds", "0"],
            ["--seconds", "0"],
            ["--rows", "echo"],
            ["--room-rate", "0"],
        ] {
            let all = ["compare"].into_iter().chain(arguments);
            assert!(Settings::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }
}
