//! The driver inside a tokio-uring runtime, for services that live there.
//!
//! It shares with the [driver inside tokio](crate::tokio) whatever that does with its runtime, which is
//! a part of every tokio-uring runtime. Sends differ: what a turn sends goes into the runtime's ring as
//! requests that own their buffers, which the system takes in one call when the runtime parks.
//!
//! Receiving is by readiness, into one buffer. A receive in the ring owns its buffer from the moment
//! when it is made, and tokio-uring 0.5 can neither lend it one later nor have one request serve
//! a socket time and again: an idle connection would cost a whole receive buffer.
//!
//! The price of the ring: a wait that follows a turn with sends returns to the runtime at least once, so
//! that the runtime can park, and an idle socket takes 64 bytes more than inside tokio. What stalls is sent on
//! when the socket has room, without the ring, as is a socket's second send of a turn, and whatever a
//! socket has to send when it is closed or given away: a request cannot be taken back, and the runtime
//! enters its ring when it likes. Where tasks of the runtime's that never wait keep it from that, the
//! driver has it do so within about ten milliseconds, by filling the ring. That is for a ring of the usual
//! size, 256 requests: one that holds more takes that long for each further 256.
//!
//! ```
//! use std::io;
//! use std::time::{Duration, Instant};
//! use throng_transport::runtime::AsyncDriver;
//! use throng_transport::tokio_uring::{TokioUringDriver, TokioUringOptions};
//! use throng_transport::{Driver, Peer, SendQueue, Sent, Service, Slice, Socket, SocketKey, StdStream};
//! use std::os::unix::net::UnixStream;
//! use tokio::io::AsyncReadExt;
//!
//! /// Is not interested.
//! struct Nobody;
//!
//! impl Service for Nobody {
//!     fn begin(&mut self, _: Duration) {}
//!     fn accepted(&mut self, _: Socket, _: Peer) {}
//!     fn accept_failed(&mut self, _: &io::Error) {}
//!     fn received(&mut self, _: SocketKey, _: &mut [u8]) {}
//!     fn ended(&mut self, _: SocketKey) {}
//!     fn stalled(&mut self, _: SocketKey, _: usize) {}
//!     fn sent(&mut self, _: SocketKey) {}
//!     fn failed(&mut self, _: SocketKey, _: io::Error) {}
//!     fn woken(&mut self) {}
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! tokio_uring::start(async {
//!     let options = TokioUringOptions { receive_buffer: 4096, expected_sockets: 1, epoch: Instant::now() };
//!     let mut driver = TokioUringDriver::new(&options)?;
//!     let (near, far) = UnixStream::pair()?;
//!     let key = SocketKey { slot: 0, generation: 0 };
//!     driver.adopt(key, Socket::from_std(StdStream::Unix(near))?)?;
//!     let mut queue = SendQueue::new();
//!     queue.push(Slice::with_len(5, |out| out.copy_from_slice(b"hello")));
//!     assert_eq!(driver.send(key, &mut queue), Sent::Done);
//!     driver.wait_async(Some(Duration::ZERO), &mut Nobody).await?;
//!     far.set_nonblocking(true)?;
//!     let mut heard = [0; 5];
//!     tokio::net::UnixStream::from_std(far)?.read_exact(&mut heard).await?;
//!     assert_eq!(&heard, b"hello");
//!     Ok(())
//! })
//! # }
//! ```

mod exchange;
mod home;
mod letter;
mod stream;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use tokio::task::coop;
use tokio_uring::Runtime;

use crate::buffer::SendQueue;
use crate::driver::{Detached, Driver, Sent, Service, SocketKey};
use crate::listener::Listener;
use crate::runtime::{AsyncDriver, Waker};
use crate::socket::Socket;
use crate::tokio::task::TaskDriver;
use exchange::Exchange;
use home::Home;
pub use home::Outside;
use stream::RingStream;

/// How a [`TokioUringDriver`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct TokioUringOptions {
    /// Bytes of the one receive buffer.
    pub receive_buffer: usize,
    /// How many sockets room is made for at once. There may be more; then the table grows.
    pub expected_sockets: usize,
    /// The moment that the times given to [`Service::begin`] are measured from.
    pub epoch: Instant,
}

/// A driver inside a tokio-uring runtime, on whose thread it stays.
///
/// It adopts the system's sockets and [any other stream](Socket::from_stream).
pub struct TokioUringDriver {
    tasked: TaskDriver<RingStream>,
    exchange: Exchange,
    /// Dropped behind what lives there.
    home: Home,
}

impl TokioUringDriver {
    /// A driver inside the runtime that the caller is in, for a task there:
    /// [`run_async`](crate::runtime::run_async) or [`AsyncDriver::wait_async`], which panic
    /// elsewhere.
    ///
    /// # Errors
    /// Where there is none. The hook for panics hears of that, too, if another thread of the process
    /// uses a ring, since it cannot be told otherwise then; where panics abort (`panic = "abort"`), that
    /// ends the process instead. Within a tokio-uring runtime there is no panic.
    pub fn new(options: &TokioUringOptions) -> Result<TokioUringDriver, Outside> {
        Ok(TokioUringDriver::at(options, Home::here()?))
    }

    /// A driver with a runtime of its own: for a thread that calls
    /// [`runtime::run`](crate::runtime::run). The runtime makes progress within waits.
    ///
    /// # Panics
    /// Inside a runtime.
    pub fn with_runtime(options: &TokioUringOptions, runtime: Runtime) -> TokioUringDriver {
        TokioUringDriver::at(options, Home::own(runtime))
    }

    fn at(options: &TokioUringOptions, home: Home) -> TokioUringDriver {
        let epoch = options.epoch.into();
        TokioUringDriver {
            tasked: TaskDriver::new(options.expected_sockets, options.receive_buffer, epoch),
            exchange: Exchange::default(),
            home,
        }
    }

    /// Sends to that socket without the ring what it was handed over.
    fn send_directly(&mut self, key: SocketKey) {
        if let Some(RingStream::System(posting)) = self.tasked.readiness.socket(key) {
            // What is left, or has failed, is found again by the next wait.
            let _ = posting.send_directly();
        }
    }
}

impl AsyncDriver for TokioUringDriver {
    async fn wait_async<S: Service>(
        &mut self,
        timeout: Option<Duration>,
        service: &mut S,
    ) -> io::Result<()> {
        let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let TokioUringDriver {
            tasked, exchange, ..
        } = self;
        let mut telling = tasked.telling(service);
        if !exchange.is_over() {
            coop::unconstrained(exchange.run(&mut tasked.readiness, &mut telling)).await;
            tasked.has_yielded();
        }
        let rest = |deadline: tokio::time::Instant| {
            let now = tokio::time::Instant::now();
            deadline.saturating_duration_since(now)
        };
        tasked.wait(deadline.map(rest), &mut telling).await;
        Ok(())
    }
}

impl Driver for TokioUringDriver {
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        let _entered = self.home.enter();
        self.tasked.listen(listener)
    }

    fn stop_listening(&mut self) {
        self.tasked.stop_listening();
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        let _entered = self.home.enter();
        self.tasked.adopt(key, socket)
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        self.send_directly(key);
        self.tasked.detach(key)
    }

    /// # Errors
    /// Where the runtime is not the driver's own.
    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        let home = self.home.clone();
        match home.runtime() {
            Some(runtime) => runtime.block_on(self.wait_async(timeout, service)),
            None => Err(io::Error::other("inside a runtime a wait is awaited")),
        }
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        if let Some(RingStream::System(posting)) = self.tasked.readiness.socket(key)
            && posting.may_write()
            && !queue.is_empty()
        {
            self.exchange.send(key, posting, queue);
            return Sent::Done;
        }
        self.tasked.readiness.send(key, queue)
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.send_directly(key);
        let handed_over = match self.tasked.readiness.socket(key) {
            Some(RingStream::System(posting)) => posting.handed_over(),
            _ => 0,
        };
        handed_over + self.tasked.readiness.unsent(key)
    }

    fn pause(&mut self, key: SocketKey) {
        self.tasked.readiness.pause(key);
    }

    fn resume(&mut self, key: SocketKey) {
        self.tasked.readiness.resume(key);
    }

    fn finish(&mut self, key: SocketKey) {
        self.tasked.readiness.finish(key);
    }

    fn close(&mut self, key: SocketKey) {
        let _entered = self.home.enter();
        self.exchange.close(key, &mut self.tasked.readiness);
    }

    fn abort(&mut self, key: SocketKey) {
        self.tasked.readiness.abort(key);
    }

    fn waker(&self) -> Waker {
        self.tasked.waker.clone()
    }
}

impl Drop for TokioUringDriver {
    /// What was handed over is sent.
    fn drop(&mut self) {
        let keys: Vec<_> = self.exchange.drain().collect();
        for key in keys {
            self.send_directly(key);
        }
        if let Some(rest) = self.exchange.close_all(&mut self.tasked.readiness) {
            self.home.leave(rest);
        }
    }
}

impl fmt::Debug for TokioUringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioUringDriver").finish_non_exhaustive()
    }
}
