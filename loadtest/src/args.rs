//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use throng_loadtest::{Error, HANDSHAKES, Job, Pace, Scenario, Target};

/// Puts a load on a WebSocket server, checks every answer, and reports latency, throughput
/// and what it cost the server.
///
/// Exit code 0: all connections opened and stayed, every message came once, in order and
/// unchanged. 1: something did not. 2: the settings cannot be used.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open connections and keep them open.
    Idle(IdleLoad),
    /// Each connection sends messages and expects them back.
    Echo(EchoLoad),
    /// Some connections send messages that every connection expects.
    Broadcast(BroadcastLoad),
    /// A part of a larger run; speaks JSON lines with the process that started it.
    #[command(hide = true)]
    Worker,
    /// The server of `--spawn`; prints its port, then serves until standard input ends.
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdleLoad {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EchoLoad {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pace: PaceArgs,
    /// Payload bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 20)]
    size: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BroadcastLoad {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pace: PaceArgs,
    /// Payload bytes of a message: at least 20, as text 28
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Connections that send
    #[arg(long, value_name = "S", default_value_t = 1)]
    senders: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PaceArgs {
    /// Closed loop: messages in flight, per connection in echo, in total in broadcast; the
    /// next batch is sent when the last one has been answered in full
    #[arg(long, value_name = "K", default_value_t = 1, conflicts_with = "rate")]
    depth: u32,
    /// Open loop: messages per second in total, evenly spaced whatever the server does;
    /// latency counts from when a message should have been sent
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Send text messages rather than binary ones
    #[arg(long)]
    text: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The server: ws://HOST[:PORT][/PATH]
    #[arg(long, required_unless_present = "spawn", conflicts_with = "spawn")]
    url: Option<String>,
    /// Start a Throng server of the scenario's kind in a process of its own and load that
    #[arg(long, conflicts_with = "server_pid")]
    pub(crate) spawn: bool,
    /// Shards (threads) of the server of --spawn
    #[arg(long, value_name = "N", default_value_t = 1, requires = "spawn")]
    pub(crate) shards: usize,
    /// Core to pin the server of --spawn to
    #[arg(long, value_name = "CORE", requires = "spawn")]
    pub(crate) server_cpu: Option<usize>,
    /// Connections to open
    #[arg(long, value_name = "N", default_value_t = 1000)]
    connections: u32,
    /// Measured seconds
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before measuring
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Longest seconds for a handshake, and without progress while something is outstanding
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    patience: Duration,
    /// Connections started per second; without, as fast as --handshakes allows
    #[arg(long, value_name = "PER_SECOND")]
    ramp: Option<f64>,
    /// Handshakes in flight at once, at most
    #[arg(long, value_name = "N", default_value_t = HANDSHAKES)]
    handshakes: u32,
    /// The server's process: reports its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Local addresses to connect from, in turn
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Processes to share the connections; without, as many as their descriptors need
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    /// Cores to pin the workers to, in turn
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    pub(crate) cpu: Vec<usize>,
    /// Determines masking keys and payloads; without, drawn anew
    #[arg(long)]
    seed: Option<u64>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
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

/// A load as the command line asks for it.
pub(crate) trait Load {
    /// What the connections do.
    const SCENARIO: Scenario;

    /// The settings all scenarios share.
    fn common(&self) -> &Common;

    /// Takes over the scenario's own settings.
    fn apply(&self, job: &mut Job);

    /// The job of the whole run, on the server spawned at `spawned` if there is one.
    ///
    /// # Errors
    /// [`Error::Setting`] when the URL does not resolve or a setting is out of bounds.
    fn job(&self, spawned: Option<SocketAddr>) -> Result<Job, Error> {
        let common = self.common();
        let target = match (spawned, &common.url) {
            (Some(addr), _) => Target::resolve(&format!("ws://{addr}/"))?,
            (None, Some(url)) => Target::resolve(url)?,
            (None, None) => return Err(Error::setting("url", "is missing")),
        };
        let mut job = Job::new(target.addr, target.path, Self::SCENARIO);
        job.host = target.host;
        job.connections = common.connections;
        job.duration = common.duration;
        job.warmup = common.warmup;
        job.patience = common.patience;
        job.ramp = common.ramp;
        job.handshakes = common.handshakes;
        job.sources.clone_from(&common.source);
        job.seed = common.seed.unwrap_or_else(|| fastrand::u64(..));
        self.apply(&mut job);
        job.spread_sources()?;
        Ok(job)
    }
}

impl Load for IdleLoad {
    const SCENARIO: Scenario = Scenario::Idle;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, _: &mut Job) {}
}

impl Load for EchoLoad {
    const SCENARIO: Scenario = Scenario::Echo;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, job: &mut Job) {
        self.pace.apply(job);
        job.size = self.size;
    }
}

impl Load for BroadcastLoad {
    const SCENARIO: Scenario = Scenario::Broadcast;

    fn common(&self) -> &Common {
        &self.common
    }

    fn apply(&self, job: &mut Job) {
        self.pace.apply(job);
        job.size = self.size;
        job.senders = self.senders;
    }
}

impl PaceArgs {
    fn apply(&self, job: &mut Job) {
        job.pace = self.rate.map_or(Pace::Depth(self.depth), Pace::Rate);
        job.text = self.text;
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
