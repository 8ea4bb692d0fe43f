//! One server, measured.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use throng_bench::child::{Server, share};
use throng_loadtest::{ProcessCpu, ProcessMemory};

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

/// Starts a server on its core, and measures it from another.
pub(crate) fn measure(command: &mut Command, settings: &Settings) -> Result<Cost, Error> {
    // A child stays where the thread was that has started it.
    let server = settings
        .cores
        .serve(|| Ok::<_, Error>(Server::start(command)?))?;
    settings.cores.load(|| load(&server, settings))
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

/// Bytes of an idle connection, and the CPU time of a message where each connection has one in flight.
fn echo(server: &Server, settings: &Settings, window: Duration) -> Result<(u64, Duration), Error> {
    let pid = server.pid();
    let config = client::config(false)?;
    let mut clients = Vec::new();
    for _ in 0..FIRST {
        clients.push(Client::connect(server.address(), &config)?);
    }
    let before = ProcessMemory::of(pid)?.rss_bytes;
    for _ in 0..settings.connections {
        clients.push(Client::connect(server.address(), &config)?);
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
    let pid = server.pid();
    let config = client::config(resumes)?;
    for _ in 0..FIRST {
        Client::connect(server.address(), &config)?;
    }
    let (before, begun) = (ProcessCpu::of(pid)?, Instant::now());
    let mut done = 0;
    while begun.elapsed() < window {
        let client = Client::connect(server.address(), &config)?;
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
