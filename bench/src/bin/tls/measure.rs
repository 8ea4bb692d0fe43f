//! One server, measured.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use throng_loadtest::{ProcessCpu, ProcessMemory, machine};

use crate::client::{self, Client};
use crate::{Error, Settings};

/// How long the load lasts before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections done before any are measured: the server's code is in memory then, and so are tickets in
/// that of a client that resumes.
const FIRST: u32 = 20;

/// What one server cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Bytes of an idle connection.
    pub(crate) memory: u64,
    /// CPU time of a message that is echoed.
    pub(crate) message: Duration,
    pub(crate) full: Handshakes,
    pub(crate) resumed: Handshakes,
}

/// What new connections cost, one after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handshakes {
    /// The server's CPU time of one, from accepting it to closing it.
    pub(crate) each: Duration,
    /// How many a core of the server's takes in a second.
    pub(crate) per_second: f64,
}

/// A server's process; killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server on its core, and measures it from another.
pub(crate) fn measure(command: &mut Command, settings: &Settings) -> Result<Cost, Error> {
    // A child stays where the thread was that has started it.
    let server = on_core("server-cpu", settings.server_cpu, || begin(command))?;
    on_core("load-cpu", settings.load_cpu, || load(&server, settings))
}

/// Does something in a thread that is confined to a core. This one is not: who is cannot choose another.
fn on_core<T: Send>(
    setting: &'static str,
    core: usize,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let pinned = || {
        machine::pin(setting, core)?;
        act()
    };
    let outcome = thread::scope(|scope| scope.spawn(pinned).join());
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn load(server: &Server, settings: &Settings) -> Result<Cost, Error> {
    let window = Duration::from_secs_f64(settings.seconds);
    // First of all: what handshakes leave behind is no part of an idle connection.
    let (memory, message) = echo(server, settings, window)?;
    Ok(Cost {
        memory,
        message,
        full: handshakes(server, false, window)?,
        resumed: handshakes(server, true, window)?,
    })
}

fn begin(command: &mut Command) -> Result<Server, Error> {
    // With huge pages, memory comes in steps that hide what a connection takes.
    command.env("MIMALLOC_ALLOW_THP", "0");
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let address = line.trim().strip_prefix("listening on ");
    let address = address.and_then(|address| address.parse().ok());
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let server = Server {
        child,
        address: address.unwrap_or(unknown),
    };
    match address {
        Some(_) => Ok(server),
        None => Err(io::Error::other("the server does not tell where it listens").into()),
    }
}

/// Bytes of an idle connection, and the CPU time of a message where each connection has one in flight.
fn echo(server: &Server, settings: &Settings, window: Duration) -> Result<(u64, Duration), Error> {
    let pid = server.child.id();
    let config = client::config(false)?;
    let mut clients = Vec::new();
    for _ in 0..FIRST {
        clients.push(Client::connect(server.address, &config)?);
    }
    let before = ProcessMemory::of(pid)?.rss_bytes;
    for _ in 0..settings.connections {
        clients.push(Client::connect(server.address, &config)?);
    }
    let after = ProcessMemory::of(pid)?.rss_bytes;
    let memory = after.saturating_sub(before) / u64::from(settings.connections);
    let message = client::message(settings.size);
    let mut buffer = Vec::new();
    let mut load = |window| -> Result<u64, Error> {
        let (begun, mut messages) = (Instant::now(), 0);
        while begun.elapsed() < window {
            for client in &mut clients {
                client.send(&message)?;
            }
            for client in &mut clients {
                client.read_echo(settings.size, &mut buffer)?;
                messages += 1;
            }
        }
        Ok(messages)
    };
    load(WARM_UP)?;
    let begun = ProcessCpu::of(pid)?;
    let messages = load(window)?;
    let used = ProcessCpu::of(pid)?.since(begun);
    Ok((memory, share(used, messages)))
}

fn handshakes(server: &Server, resumes: bool, window: Duration) -> Result<Handshakes, Error> {
    let pid = server.child.id();
    let config = client::config(resumes)?;
    for _ in 0..FIRST {
        Client::connect(server.address, &config)?;
    }
    let (before, begun) = (ProcessCpu::of(pid)?, Instant::now());
    let mut done = 0;
    while begun.elapsed() < window {
        let client = Client::connect(server.address, &config)?;
        if client.is_resumed() != resumes {
            return Err(io::Error::other("a session was resumed, or was not, unasked for").into());
        }
        done += 1;
    }
    let each = share(ProcessCpu::of(pid)?.since(before), done);
    Ok(Handshakes {
        each,
        per_second: 1.0 / each.as_secs_f64(),
    })
}

fn share(used: Duration, parts: u64) -> Duration {
    let nanoseconds = used.as_nanos() / u128::from(parts.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
