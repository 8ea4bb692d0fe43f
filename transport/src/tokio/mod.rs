//! The driver inside a tokio runtime, of the service's own or of the process that it is part of.
//!
//! It serves the system's sockets and [any other stream](Socket::from_stream). What the runtime
//! wakes is put on a list, so that a wait touches those sockets only that something happened to;
//! there is one receive buffer for all. A wait is a future ([`AsyncDriver::wait_async`]), and a service
//! is a task ([`run_async`](crate::runtime::run_async)): it returns to the runtime whenever
//! nothing is due, and at least after every other turn.
//!
//! ```
//! use std::io;
//! use std::time::{Duration, Instant};
//! use throng_transport::tokio::{TokioDriver, TokioOptions};
//! use throng_transport::runtime::run_async;
//! use throng_transport::{Driver, Next, Peer, SendQueue, Sent, Service, Slice, Socket, SocketKey, Turn};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! /// Sends back what it receives, until its only peer has ended.
//! #[derive(Default)]
//! struct Echo {
//!     answer: SendQueue,
//!     has_ended: bool,
//! }
//!
//! const ONLY: SocketKey = SocketKey { slot: 0, generation: 0 };
//!
//! impl Service for Echo {
//!     fn received(&mut self, _: SocketKey, bytes: &mut [u8]) {
//!         self.answer.push(Slice::with_len(bytes.len(), |out| out.copy_from_slice(bytes)));
//!     }
//!     fn ended(&mut self, _: SocketKey) {
//!         self.has_ended = true;
//!     }
//!     fn begin(&mut self, _: Duration) {}
//!     fn accepted(&mut self, _: Socket, _: Peer) {}
//!     fn accept_failed(&mut self, _: &io::Error) {}
//!     fn stalled(&mut self, _: SocketKey, _: usize) {}
//!     fn sent(&mut self, _: SocketKey) {}
//!     fn failed(&mut self, _: SocketKey, _: io::Error) {}
//!     fn woken(&mut self) {}
//! }
//!
//! impl Turn for Echo {
//!     fn turn(&mut self, driver: &mut impl Driver) -> Next {
//!         if !self.answer.is_empty() {
//!             assert_eq!(driver.send(ONLY, &mut self.answer), Sent::Done);
//!         }
//!         if self.has_ended { Next::Stop } else { Next::Wait(None) }
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let options = TokioOptions { receive_buffer: 4096, expected_sockets: 1, epoch: Instant::now() };
//! let mut driver = TokioDriver::new(&options, tokio::runtime::Handle::current());
//! let (near, mut far) = tokio::io::duplex(1024);
//! driver.adopt(ONLY, Socket::from_stream(near))?;
//! let service = tokio::spawn(async move {
//!     run_async(&mut driver, &mut Echo::default()).await
//! });
//! far.write_all(b"hello").await?;
//! let mut heard = [0; 5];
//! far.read_exact(&mut heard).await?;
//! assert_eq!(&heard, b"hello");
//! drop(far);
//! service.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod alarm;
pub(crate) mod foreign;
mod listeners;
mod ready;
mod stream;
pub(crate) mod task;
pub(crate) mod telling;
pub(crate) mod watch;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{EnterGuard, Handle, Runtime};

use crate::buffer::SendQueue;
use crate::driver::{Detached, Driver, Sent, Service, SocketKey};
use crate::listener::Listener;
use crate::runtime::{AsyncDriver, Waker};
use crate::socket::Socket;
use stream::TokioStream;
use task::TaskDriver;

/// How a [`TokioDriver`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct TokioOptions {
    /// Bytes of the one receive buffer.
    pub receive_buffer: usize,
    /// How many sockets room is made for at once. There may be more; then the table grows.
    pub expected_sockets: usize,
    /// The moment that the times given to [`Service::begin`] are measured from.
    pub epoch: Instant,
}

/// A driver inside a tokio runtime.
///
/// Time is the runtime's: where that is paused (`tokio::time::pause`), so is the service's.
///
/// [`Driver::wait`] is for a thread of the service's own. It panics inside a runtime, as does whatever
/// blocks there.
pub struct TokioDriver {
    tasked: TaskDriver<TokioStream>,
    home: Home,
}

/// Where a driver lives.
#[derive(Clone)]
enum Home {
    Foreign(Handle),
    Own(Arc<Runtime>),
}

impl TokioDriver {
    /// A driver inside `runtime`, which must have its I/O and its time enabled.
    pub fn new(options: &TokioOptions, runtime: Handle) -> TokioDriver {
        TokioDriver::at(options, Home::Foreign(runtime))
    }

    /// A driver with a runtime of its own, which must have its I/O and its time enabled: for a
    /// thread that calls [`runtime::run`](crate::runtime::run). The runtime makes progress within
    /// waits, if it is one without threads of its own.
    pub fn with_runtime(options: &TokioOptions, runtime: Runtime) -> TokioDriver {
        TokioDriver::at(options, Home::Own(Arc::new(runtime)))
    }

    fn at(options: &TokioOptions, home: Home) -> TokioDriver {
        let epoch = options.epoch.into();
        TokioDriver {
            tasked: TaskDriver::new(options.expected_sockets, options.receive_buffer, epoch),
            home,
        }
    }
}

impl Home {
    fn enter(&self) -> EnterGuard<'_> {
        match self {
            Home::Foreign(handle) => handle.enter(),
            Home::Own(runtime) => runtime.enter(),
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Home::Foreign(handle) => handle.block_on(future),
            Home::Own(runtime) => runtime.block_on(future),
        }
    }
}

impl AsyncDriver for TokioDriver {
    async fn wait_async<S: Service>(
        &mut self,
        timeout: Option<Duration>,
        service: &mut S,
    ) -> io::Result<()> {
        let mut telling = self.tasked.telling(service);
        self.tasked.wait(timeout, &mut telling).await;
        Ok(())
    }
}

impl Driver for TokioDriver {
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
        self.tasked.detach(key)
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        let home = self.home.clone();
        home.block_on(self.wait_async(timeout, service))
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        self.tasked.readiness.send(key, queue)
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.tasked.readiness.unsent(key)
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
        self.tasked.readiness.close(key);
    }

    fn abort(&mut self, key: SocketKey) {
        self.tasked.readiness.abort(key);
    }

    fn waker(&self) -> Waker {
        self.tasked.waker.clone()
    }
}

impl fmt::Debug for TokioDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioDriver").finish_non_exhaustive()
    }
}
