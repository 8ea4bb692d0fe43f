//! A server in a process of its own, on a core of its own.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use clap::Args;
use throng_loadtest::machine;

/// A server's process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it, and waits until it tells where it listens: `listening on ADDR`, in its first line.
    ///
    /// # Errors
    /// When it cannot be started, or tells something else.
    pub fn start(command: &mut Command) -> io::Result<Server> {
        // With huge pages, memory comes in steps that hide what a connection takes.
        command.env("MIMALLOC_ALLOW_THP", "0");
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
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
            None => Err(io::Error::other(
                "the server does not tell where it listens",
            )),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cores of a measurement.
#[derive(Debug, Args)]
pub struct Cores {
    /// Core of the server
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    server_cpu: usize,
    /// Core of the load
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    load_cpu: usize,
}

const SERVER: &str = "server-cpu";
const LOAD: &str = "load-cpu";

impl Cores {
    /// Whether there are such cores.
    ///
    /// # Errors
    /// When there are not.
    pub fn check(&self) -> Result<(), throng_loadtest::Error> {
        machine::check_cores(SERVER, [&self.server_cpu])?;
        machine::check_cores(LOAD, [&self.load_cpu])
    }

    /// Starts a server in a thread that is confined to its core, where the process it starts stays.
    ///
    /// # Errors
    /// As `start`, and where the thread cannot be confined.
    pub fn serve<E>(&self, start: impl FnOnce() -> Result<Server, E> + Send) -> Result<Server, E>
    where
        E: From<throng_loadtest::Error> + Send,
    {
        on_core(SERVER, self.server_cpu, start)
    }

    /// Puts a load on it, in a thread that is confined to the load's core.
    ///
    /// # Errors
    /// As `act`, and where the thread cannot be confined.
    pub fn load<T: Send, E>(&self, act: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
    where
        E: From<throng_loadtest::Error> + Send,
    {
        on_core(LOAD, self.load_cpu, act)
    }
}

/// Does something in a thread that is confined to a core. The calling one is not: who is cannot choose another.
fn on_core<T, E>(
    setting: &'static str,
    core: usize,
    act: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E>
where
    T: Send,
    E: From<throng_loadtest::Error> + Send,
{
    let pinned = || {
        machine::pin(setting, core)?;
        act()
    };
    let outcome = thread::scope(|scope| scope.spawn(pinned).join());
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What of a time falls to each of so many parts.
pub fn share(used: Duration, parts: u64) -> Duration {
    let nanoseconds = used.as_nanos() / u128::from(parts.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
