//! Serving one engine for a measurement: what the program `server` does, and `compare` when it
//! starts itself as a server.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use throng::{Config, Credentials, Tls};
use throng_loadtest::embedded::{Service, start_as};
use throng_loadtest::machine;
use tokio::runtime::{Builder, Runtime};

use crate::floor::{Audience, Driver, Floor};

/// What is served, and where. As a command line, these are its options.
#[derive(Debug, Args)]
pub struct Serve {
    /// What serves: floor, throng
    #[arg(long, value_name = "ENGINE", value_parser = served)]
    pub engine: Engine,
    /// What happens to a message
    #[arg(long, value_enum, default_value = "echo")]
    pub scenario: Scenario,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    /// The driver of the sockets
    #[arg(long, value_enum, default_value = "poll")]
    pub backend: Backend,
    /// Speaks TLS, by a certificate that it has made and signed itself; throng only
    #[arg(long)]
    pub tls: bool,
    /// Pins all threads to this core
    #[arg(long, value_name = "CORE")]
    pub cpu: Option<usize>,
    /// Settings that differ from the engine's defaults: `metrics = false`; throng only
    #[arg(long, value_name = "TOML")]
    pub config: Option<String>,
    /// Payload bytes of every message, which the floor has to know
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A raw TCP loop that parses nothing
    Floor,
    /// The engine of this workspace
    Throng,
    /// A peer in Rust
    TokioTungstenite,
    /// A peer in Rust
    Fastwebsockets,
    /// A peer in Rust
    SockudoWs,
    /// A peer in Rust
    Yawc,
    /// A peer in Go: gorilla/websocket
    Gorilla,
    /// A peer on Node
    Ws,
}

impl Engine {
    /// Whether it is somebody else's, served by a program in `bench/peers`.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Floor | Self::Throng)
    }
}

/// An engine that this crate serves itself.
fn served(text: &str) -> Result<Engine, String> {
    match Engine::from_str(text, false) {
        Ok(engine) if !engine.is_peer() => Ok(engine),
        _ => Err("must be floor or throng".to_owned()),
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// It goes back to its sender
    Echo,
    /// It goes to every connection, the sender included
    Room,
    /// From `/room` it goes to every connection of that path, from `/echo` back to its sender
    Mixed,
}

impl Engine {
    /// Whether it can serve that: the floor does not look at what it is asked for.
    pub fn serves(self, scenario: Scenario) -> bool {
        scenario != Scenario::Mixed || self == Self::Throng
    }
}

/// The driver of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The best one the platform has
    Auto,
    /// Readiness: epoll, kqueue
    Poll,
    /// Completions: io_uring
    Uring,
    /// Readiness by a tokio runtime
    Tokio,
    /// Completions by a tokio-uring runtime
    TokioUring,
}

/// As the engine's settings name it.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Poll => "poll",
            Self::Uring => "uring",
            Self::Tokio => "tokio",
            Self::TokioUring => "tokio-uring",
        })
    }
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot serve like this.
    #[error("{0}")]
    Setting(#[from] throng_loadtest::Error),
    /// The engine did not start.
    #[error("{0}")]
    Start(#[from] throng::StartError),
    /// No certificate could be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The floor failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Serve {
    /// Serves until the engine ends, in the calling thread and such as it starts. Prints
    /// `listening on ADDR` as the first line once clients may connect.
    ///
    /// # Errors
    /// When the settings cannot be used, or the engine fails.
    pub fn run(&self) -> Result<(), ServeError> {
        machine::raise_open_files();
        if let Some(core) = self.cpu {
            machine::pin("cpu", core)?;
        }
        match self.engine {
            Engine::Floor => self.run_floor(),
            Engine::Throng => self.run_throng(),
            peer => {
                let reason = "is a peer, which has a program of its own";
                Err(throng_loadtest::Error::setting("engine", &format!("{peer:?}"), reason).into())
            }
        }
    }

    fn run_floor(&self) -> Result<(), ServeError> {
        let refused = |setting, value: &dyn fmt::Display, reason| {
            Err(throng_loadtest::Error::setting(setting, value, reason).into())
        };
        if self.tls {
            return refused("tls", &true, "the floor speaks no TLS");
        }
        if let Some(config) = &self.config {
            return refused("config", config, "the floor has no settings");
        }
        if self.shards != 1 {
            return refused("shards", &self.shards, "must be 1: the floor is one thread");
        }
        let Some(size) = self.size else {
            return refused(
                "size",
                &"missing",
                "the floor must be told the payload of a message",
            );
        };
        let audience = match self.scenario {
            Scenario::Echo => Audience::Sender,
            Scenario::Room => Audience::Everyone,
            Scenario::Mixed => {
                return refused(
                    "scenario",
                    &"mixed",
                    "the floor does not look at the path, which tells who is in the room",
                );
            }
        };
        let driver = match self.backend {
            Backend::Auto | Backend::Poll => Driver::Readiness,
            Backend::Uring => Driver::Completions,
            Backend::Tokio | Backend::TokioUring => {
                return refused("backend", &self.backend, "the floor runs on poll and uring");
            }
        };
        let mut floor = Floor::bind(driver, self.listen, audience, size)?;
        announce(floor.local_addr()?)?;
        match floor.run()? {}
    }

    fn run_throng(&self) -> Result<(), ServeError> {
        // By name: which there are depends on the platform and on how the engine was built.
        let backend = self.backend.to_string().parse().map_err(|_| {
            let reason = "is not in this build of the engine";
            throng_loadtest::Error::setting("backend", &self.backend, reason)
        })?;
        let service = match self.scenario {
            Scenario::Echo => Service::Echo,
            Scenario::Room => Service::Room,
            Scenario::Mixed => Service::Mixed,
        };
        let settings = self.config.as_deref().map(Config::from_toml).transpose();
        let config = settings.map_err(throng::StartError::from)?;
        let config = config.unwrap_or_default();
        let config = config.shards(self.shards).backend(backend);
        let begin = || {
            let mut builder = throng::Engine::builder().bind(self.listen)?;
            if self.tls {
                builder = builder.tls(tls()?);
            }
            let engine = start_as(service, builder, config)?;
            announce(engine.local_addr().unwrap_or(self.listen))?;
            Ok::<_, ServeError>(engine)
        };
        if backend == throng::Backend::Tokio {
            return runtime(self.shards)?.block_on(async {
                begin()?.wait_async().await;
                Ok(())
            });
        }
        #[cfg(target_os = "linux")]
        if backend == throng::Backend::TokioUring {
            let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
            return runtime.block_on(async {
                begin()?.wait_async().await;
                Ok(())
            });
        }
        begin()?.wait();
        Ok(())
    }
}

/// TLS by a certificate made now, that nobody has signed.
fn tls() -> Result<Tls, ServeError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let credentials = Credentials::pem(made.cert.pem(), made.signing_key.serialize_pem());
    Ok(Tls::new(credentials).map_err(throng::StartError::from)?)
}

/// The runtime whose tasks the shards are.
fn runtime(shards: usize) -> io::Result<Runtime> {
    let mut builder = if shards == 1 {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.worker_threads(shards).enable_all().build()
}

/// Tells whoever started the server where clients connect to.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on {addr}")?;
    out.flush()
}
