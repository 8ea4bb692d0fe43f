//! Running servers and load in turn.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;
use crate::contender::Contender;
use crate::engine;
use crate::load::{Measured, Order};
use crate::peers::Peers;
use crate::row::Row;
use serde::{Deserialize, Serialize};

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    /// Ratios are to the first.
    pub(crate) engines: Vec<Contender>,
    pub(crate) rounds: u32,
    /// Length of the measured window.
    pub(crate) seconds: f64,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The row's name.
    pub(crate) row: String,
    pub(crate) engine: Contender,
    /// From 0.
    pub(crate) round: u32,
    pub(crate) measured: Measured,
}

/// Measures everything planned, but what an engine does not serve, and shows each measurement as
/// it is made. One that fails is shown too, and the others go on. The engines take turns within a row,
/// in the opposite order every other round, so that what drifts on the machine meets all of them
/// alike.
pub(crate) fn run(
    plan: &Plan,
    peers: &Peers,
    mut show: impl FnMut(&dyn fmt::Display),
) -> Result<(Vec<Sample>, Vec<Error>), Error> {
    let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for row in &plan.rows {
        for round in 0..plan.rounds {
            for engine in in_turn(&plan.engines, row, round) {
                let server = engine::command(&program, peers, engine, row, plan.server_cpu);
                match measure(plan, &program, server, row, engine) {
                    Ok(measured) => {
                        let row = row.name.clone();
                        let sample = Sample {
                            row,
                            engine,
                            round,
                            measured,
                        };
                        show(&sample);
                        samples.push(sample);
                    }
                    Err(failure) => {
                        show(&failure);
                        failures.push(failure);
                    }
                }
            }
        }
    }
    Ok((samples, failures))
}

/// The engines that serve a row, in the order of that round.
fn in_turn(engines: &[Contender], row: &Row, round: u32) -> Vec<Contender> {
    let able = engines.iter().filter(|it| it.engine.serves(row.scenario));
    let mut order: Vec<_> = able.copied().collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn measure(
    plan: &Plan,
    program: &Path,
    server: Command,
    row: &Row,
    engine: Contender,
) -> Result<Measured, Error> {
    let server = Server::start(server, engine)?;
    let order = Order {
        server: server.addr,
        server_pid: server.child.id(),
        load: row.load,
        connections: row.connections,
        size: row.size,
        seconds: plan.seconds,
        cpu: plan.load_cpu,
    };
    // In a process of its own, so that its core and its memory are its own.
    let load = Command::new(program)
        .args(["load", &serde_json::to_string(&order)?])
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("starting the load"))?;
    let cell = format!("{} on {engine}", row.name);
    if !load.status.success() {
        return Err(Error::child(cell, "the load could not be put on it"));
    }
    let measured: Measured = serde_json::from_slice(&load.stdout)?;
    if !measured.failures.is_empty() {
        return Err(Error::child(cell, measured.failures.join("; ")));
    }
    Ok(measured)
}

/// A server process; killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(mut command: Command, engine: Contender) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io(format!("starting {program}")))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(Error::io(format!("reading from {program}")))?;
        }
        match line.trim().strip_prefix("listening on ").map(str::parse) {
            Some(Ok(addr)) => Ok(Self { child, addr }),
            _ => {
                stop(&mut child);
                Err(Error::child(
                    engine.to_string(),
                    "the server did not say where it listens",
                ))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    // Either fails only when the process has already ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// A line that tells of progress.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            row,
            engine,
            round,
            measured,
        } = self;
        write!(f, "{row} round {} {engine}: ", round + 1)?;
        if let Some(delay) = measured.delay {
            let (p50, p99) = (delay.p50_ms(), delay.p99_ms());
            write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, ")?;
        }
        match measured.server_us() {
            Some(cost) => write!(
                f,
                "{cost:.3} µs of the server and {:.3} µs of the client each, {:.0}/s",
                measured.client_us().unwrap_or_default(),
                measured.per_second()
            ),
            None => write!(
                f,
                "{:.0} bytes per connection",
                measured.bytes_per_connection()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use throng_bench::serve::Engine;

    use super::*;
    use crate::row;

    #[test]
    fn the_order_of_engines_alternates() {
        let engines = [Engine::Floor, Engine::Throng].map(Contender::from);
        let order = |round| in_turn(&engines, &row::named("echo-100").unwrap(), round);
        assert_eq!(order(0), engines);
        assert_eq!(order(1), [engines[1], engines[0]]);
        assert_eq!(order(2), engines);
    }

    #[test]
    fn engines_are_left_out_where_they_cannot_serve() {
        let engines = [Engine::Floor, Engine::Throng].map(Contender::from);
        let row = row::named("bystanders").unwrap();
        assert_eq!(in_turn(&engines, &row, 0), [engines[1]]);
    }

    #[test]
    fn a_server_that_says_nothing_is_named() {
        let error = Server::start(Command::new("true"), Engine::Floor.into())
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().starts_with("floor: "), "{error}");
    }
}
