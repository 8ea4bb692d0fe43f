//! A server in a process of its own, on a core of its own.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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

/// Does something in a thread that is confined to a core, as are processes that it starts. The calling one is
/// not: who is cannot choose another.
///
/// # Errors
/// When there is no such core, which `setting` names, and as `act`.
pub fn on_core<T, E>(
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
