//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum, value_parser};
use throng_loadtest::{CONNECTIONS_PER_SOURCE, HANDSHAKES, Scenario};

const EXIT_CODES: &str = "\
Exit codes:
  0  all connections opened, stayed and closed in order, every message came once, in order and
     unchanged
  1  something did not, or the run could not be made; standard error says what
  2  the settings cannot be used; nothing was done";

/// Puts a load on a WebSocket server, checks every answer, and reports latency, throughput
/// and what it cost the server.
///
/// The client is one thread per worker process. Its own CPU time per message is reported, and
/// so is its having been the bottleneck.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open connections and keep them open
    #[command(after_help = EXIT_CODES)]
    Idle(IdleLoad),
    /// Each connection sends messages and expects them back
    #[command(after_help = EXIT_CODES)]
    Echo(EchoLoad),
    /// Some connections send messages that every connection, the sender's own included, expects
    #[command(after_help = EXIT_CODES)]
    Broadcast(BroadcastLoad),
    /// A part of a larger run; speaks JSON lines with the process that started it
    #[command(hide = true)]
    Worker,
    /// The server of `--spawn`; prints its port, then serves until standard input ends
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdleLoad {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EchoLoad {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) messages: Messages,
    /// Payload bytes of a message
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 20,
        help_heading = "Messages"
    )]
    pub(crate) size: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BroadcastLoad {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) messages: Messages,
    /// Payload bytes of a message: at least 20, as text 28
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 64,
        help_heading = "Messages"
    )]
    pub(crate) size: usize,
    /// Connections that send
    #[arg(long, value_name = "S", default_value_t = 1, help_heading = "Messages")]
    pub(crate) senders: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct Messages {
    /// Closed loop: messages in flight, per connection in echo, in total in broadcast; the next
    /// batch is sent when the last one has been answered in full
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "rate")]
    pub(crate) depth: u32,
    /// Open loop: messages per second in total, evenly spaced whatever the server does; latency
    /// counts from when a message should have been sent
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// Send text messages rather than binary ones
    #[arg(long)]
    pub(crate) text: bool,
    /// Check number, length and opcode of what comes, not its content: for a server that answers
    /// with other bytes
    #[arg(long)]
    pub(crate) lengths_only: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The server: ws://HOST:PORT/PATH; without a port, 80
    #[arg(
        long,
        required_unless_present = "spawn",
        conflicts_with = "spawn",
        help_heading = "Server"
    )]
    pub(crate) url: Option<String>,
    /// Start a Throng server of the scenario's kind in a process of its own and load that
    #[arg(long, conflicts_with = "server_pid", help_heading = "Server")]
    pub(crate) spawn: bool,
    /// Shards (threads) of the server of --spawn
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "url",
        value_parser = value_parser!(u16).range(1..=1024),
        help_heading = "Server"
    )]
    pub(crate) shards: u16,
    /// Core to pin the server of --spawn to
    #[arg(
        long,
        value_name = "CORE",
        conflicts_with = "url",
        help_heading = "Server"
    )]
    pub(crate) server_cpu: Option<usize>,
    /// The server's process, if it runs on this machine: reports its CPU time per message, and its
    /// user-space resident memory per connection, that is, by how much its RSS grows from before
    /// the first connection until all are open; what the kernel holds for the sockets is no part
    /// of it
    #[arg(long, value_name = "PID", help_heading = "Server")]
    pub(crate) server_pid: Option<u32>,
    /// Connections to open
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        help_heading = "Connections"
    )]
    pub(crate) connections: u32,
    /// Connections started per second; without, as fast as --handshakes allows
    #[arg(long, value_name = "PER_SECOND", help_heading = "Connections")]
    pub(crate) ramp: Option<f64>,
    /// Handshakes in flight at once, at most
    #[arg(long, value_name = "N", default_value_t = HANDSHAKES, help_heading = "Connections")]
    pub(crate) handshakes: u32,
    /// Local addresses to connect from, in turn; without, the system's choice, or for a server on
    /// 127.0.0.0/8 as many of 127.0.0.1, 127.0.0.2, … as --per-source makes it
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        help_heading = "Connections"
    )]
    pub(crate) source: Vec<IpAddr>,
    /// Connections from one local address, at most: what its ephemeral ports allow
    #[arg(
        long,
        value_name = "N",
        default_value_t = CONNECTIONS_PER_SOURCE,
        value_parser = value_parser!(u32).range(1..=65_535),
        help_heading = "Connections"
    )]
    pub(crate) per_source: u32,
    /// Measured seconds
    #[arg(
        long,
        value_name = "SECS",
        default_value = "10",
        value_parser = seconds,
        help_heading = "Time"
    )]
    pub(crate) duration: Duration,
    /// Seconds of load before measuring
    #[arg(
        long,
        value_name = "SECS",
        default_value = "1",
        value_parser = seconds,
        help_heading = "Time"
    )]
    pub(crate) warmup: Duration,
    /// Longest seconds for a handshake and for closing, and without progress while something is
    /// outstanding
    #[arg(
        long,
        value_name = "SECS",
        default_value = "10",
        value_parser = seconds,
        help_heading = "Time"
    )]
    pub(crate) patience: Duration,
    /// Processes to share the connections; without, as many as it takes to hold them with the files
    /// each may open (ulimit -n)
    #[arg(
        long,
        value_name = "N",
        value_parser = value_parser!(u32).range(1..),
        help_heading = "Client"
    )]
    pub(crate) workers: Option<u32>,
    /// Cores to pin the workers to, in turn
    #[arg(
        long,
        value_name = "CORE",
        value_delimiter = ',',
        help_heading = "Client"
    )]
    pub(crate) cpu: Vec<usize>,
    /// Determines masking keys and payloads; without, drawn anew
    #[arg(long, help_heading = "Client")]
    pub(crate) seed: Option<u64>,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Client")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// What to do with a message
    #[arg(long)]
    pub(crate) scenario: Kind,
    /// Shards (threads)
    #[arg(long, default_value_t = 1)]
    pub(crate) shards: usize,
    /// Core to pin to
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
}

/// A scenario by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Idle,
    Echo,
    Broadcast,
}

impl From<Scenario> for Kind {
    fn from(scenario: Scenario) -> Self {
        match scenario {
            Scenario::Idle => Self::Idle,
            Scenario::Echo => Self::Echo,
            Scenario::Broadcast => Self::Broadcast,
        }
    }
}

impl Kind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
