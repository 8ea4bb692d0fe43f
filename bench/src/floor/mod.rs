//! A raw TCP loop that answers a WebSocket client's bytes without looking at them: the least
//! that one thread costs, on readiness and, on Linux, on completions.
//!
//! After a correct handshake a floor only counts bytes. The payload's size is known, so a
//! frame's worth of bytes stands for a message, and the answer is one fixed frame of the same
//! size. What a floor costs is therefore what the kernel costs, for the same reads and writes
//! that an engine has to do: a turn first takes in what has arrived on all sockets, and then sends
//! to each socket that is owed something once.
//!
//! A client must send nothing but frames of that size, of three bytes of payload at least, and a
//! close frame with a code as the last one; other control frames are counted as bytes of the next
//! message. It can check lengths and opcodes, never contents.

mod inbound;
mod poll;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod uring;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Who receives an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The connection that sent the message.
    Sender,
    /// Every open connection, the sender included.
    Everyone,
}

/// What a floor learns from the kernel, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Which sockets are ready, to be read and written one call each: epoll, kqueue.
    Readiness,
    /// What was received and sent, many in one call: io_uring, on Linux only.
    Completions,
}

/// A loop with its sockets.
#[derive(Debug)]
pub struct Floor(Loop);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process has one, and another indirection would be measured"
)]
enum Loop {
    Readiness(poll::Floor),
    #[cfg(target_os = "linux")]
    Completions(uring::Floor),
}

impl Floor {
    /// Listens on `addr` for clients whose messages all have `payload` bytes.
    ///
    /// # Errors
    /// When the address cannot be bound, the system has no descriptors left, or it does not
    /// have that driver: no io_uring, or one older than Linux 6.12.
    pub fn bind(
        driver: Driver,
        addr: SocketAddr,
        audience: Audience,
        payload: usize,
    ) -> io::Result<Self> {
        Ok(Self(match driver {
            Driver::Readiness => Loop::Readiness(poll::Floor::bind(addr, audience, payload)?),
            #[cfg(target_os = "linux")]
            Driver::Completions => Loop::Completions(uring::Floor::bind(addr, audience, payload)?),
            #[cfg(not(target_os = "linux"))]
            Driver::Completions => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// The address clients connect to.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Loop::Readiness(floor) => floor.local_addr(),
            #[cfg(target_os = "linux")]
            Loop::Completions(floor) => floor.local_addr(),
        }
    }

    /// Turns until something fails.
    ///
    /// # Errors
    /// Always: what [`Floor::turn`] failed with.
    pub fn run(&mut self) -> io::Result<Infallible> {
        loop {
            self.turn(None)?;
        }
    }

    /// Waits until something has happened, at most for `timeout`; then first takes in what has
    /// arrived, then sends what is owed. All turns must be the same thread's.
    ///
    /// # Errors
    /// When waiting or accepting fails. What fails on a connection closes that connection.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.0 {
            Loop::Readiness(floor) => floor.turn(timeout),
            #[cfg(target_os = "linux")]
            Loop::Completions(floor) => floor.turn(timeout),
        }
    }
}
