//! Shards as tasks of the runtime that the service lives in.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, Sender, bounded};
use throng_transport::runtime::{AsyncDriver, run_async};
use throng_transport::{Peer, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle, Id, RuntimeFlavor};
#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
use tokio::task::spawn_local;
use tokio::task::{block_in_place, coop, spawn_blocking};

use crate::error::AdoptError;
use crate::handle::{EngineHandle, on_shard};
use crate::handler::Handler;
use crate::protocol::close::CloseCode;
use crate::server::{DrainReport, Engine};
use crate::shard::{Mail, PostError, Shard, ShardParts};

/// The tasks of an engine, for whoever waits until they are over.
#[derive(Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    /// Dropped by each task when it is over.
    running: Sender<()>,
    over: Receiver<()>,
}

impl Tasks {
    /// No tasks yet, of the runtime that the caller is in. `None` outside one.
    pub(crate) fn of_this_runtime() -> Option<Tasks> {
        let (running, over) = bounded(0);
        let runtime = Handle::try_current().ok()?;
        drive(&runtime);
        Some(Tasks {
            runtime,
            running,
            over,
        })
    }

    /// Has the runtime run a shard, on whichever of its threads.
    pub(crate) fn spawn(&self, shard: impl Future<Output = ()> + Send + 'static) {
        let shard = OnShard::new(shard, &self.runtime);
        self.runtime.spawn(coop::unconstrained(shard));
    }

    /// Has the tokio-uring runtime that the caller is in run a shard, on this thread.
    ///
    /// # Panics
    /// Outside such a runtime.
    #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
    pub(crate) fn spawn_here(&self, shard: impl Future<Output = ()> + 'static) {
        let shard = OnShard::new(shard, &self.runtime);
        spawn_local(coop::unconstrained(shard));
    }

    /// What one of these tasks is to run.
    pub(crate) fn shard<D, H: Handler>(&self, driver: D, parts: ShardParts<H>) -> Serving<D, H> {
        Serving {
            driver,
            guarded: Guarded(Some(Shard::new(parts))),
            _running: self.running.clone(),
        }
    }

    /// Waits until all are over.
    pub(crate) fn join(self) {
        drop(self.running);
        while self.over.recv().is_ok() {}
    }
}

/// What a task has from the start, so that its connections are told even if the runtime never gets to it.
///
/// Whenever it is dropped, it is in this order: the sockets are closed and the handler has heard of that
/// before whoever waits for the task is told.
pub(crate) struct Serving<D, H: Handler> {
    driver: D,
    guarded: Guarded<H>,
    _running: Sender<()>,
}

impl<D: AsyncDriver, H: Handler> Serving<D, H> {
    pub(crate) async fn run(mut self) {
        if let Some(shard) = &mut self.guarded.0 {
            match run_async(&mut self.driver, shard).await {
                Ok(()) => drop(self.guarded.0.take()),
                Err(error) => {
                    tracing::error!(%error, "a shard has failed; its connections are cut");
                }
            }
        }
    }
}

/// A shard whose task may be dropped at any time: by a panic, or with its runtime.
struct Guarded<H: Handler>(Option<Shard<H>>);

impl<H: Handler> Drop for Guarded<H> {
    fn drop(&mut self) {
        if let Some(shard) = &mut self.0 {
            tracing::error!("a shard's task was ended; its connections are cut");
            // Beyond repair already, it may panic again.
            if catch_unwind(AssertUnwindSafe(|| shard.fail())).is_err() {
                tracing::error!("a shard has panicked while its connections were cut");
            }
        }
    }
}

/// Tells the thread, while it runs the task, that it must not wait for shards. A turn has bounds of its own, so
/// the runtime's budget for a task does not hold for what is polled in it.
struct OnShard<F> {
    shard: Pin<Box<F>>,
    runtime: Handle,
}

impl<F: Future> OnShard<F> {
    fn new(shard: F, runtime: &Handle) -> OnShard<F> {
        OnShard {
            shard: Box::pin(shard),
            runtime: runtime.clone(),
        }
    }
}

impl<F: Future> Future for OnShard<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        drive(&self.runtime);
        on_shard(|| self.shard.as_mut().poll(cx))
    }
}

thread_local! {
    /// The runtime whose shards this thread has last polled.
    static DRIVEN: Cell<Option<Id>> = const { Cell::new(None) };
}

fn drive(runtime: &Handle) {
    DRIVEN.set(Some(runtime.id()));
}

/// Waits for shards that are tasks: in a runtime of several threads the thread's other tasks are moved elsewhere
/// first. `None` in a task of their own runtime where that has a single thread, which would wait for itself.
pub(crate) fn wait_in_place<T>(wait: impl FnOnce() -> T) -> Option<T> {
    match Handle::try_current() {
        Ok(current) if current.runtime_flavor() != RuntimeFlavor::CurrentThread => {
            Some(block_in_place(wait))
        }
        Ok(current) if DRIVEN.get() == Some(current.id()) => None,
        _ => Some(wait()),
    }
}

/// [`wait_in_place`] for what cannot say that it has not waited.
///
/// # Panics
/// In a task of the shards' own runtime where that has a single thread.
pub(crate) fn must_wait_in_place<T>(wait: impl FnOnce() -> T) -> T {
    wait_in_place(wait)
        .unwrap_or_else(|| panic!("a thread waits for shards that are tasks of its own runtime"))
}

/// The asynchronous forms of what waits, on every backend. They have a thread of the runtime's wait,
/// so that they hold up nobody; when the future is dropped the engine ends all the same.
impl Engine {
    /// [`Engine::drain`] in a task.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// ```
    /// # async fn example(engine: throng::Engine) {
    /// let report = engine.drain_async(std::time::Duration::from_secs(30)).await;
    /// println!("{} of {} were told everything", report.flushed, report.connections);
    /// # }
    /// ```
    pub async fn drain_async(self, window: std::time::Duration) -> DrainReport {
        self.drain_with_async(CloseCode::SERVICE_RESTART, window)
            .await
    }

    /// [`Engine::drain_with`] in a task.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn drain_with_async(
        self,
        code: CloseCode,
        window: std::time::Duration,
    ) -> DrainReport {
        let draining = spawn_blocking(move || self.drain_with(code, window));
        // Nothing is left to report where the runtime ends meanwhile.
        draining.await.unwrap_or_default()
    }

    /// [`Engine::wait`] in a task.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn wait_async(self) {
        // Where the runtime ends, so has the engine.
        let _ = spawn_blocking(move || self.wait()).await;
    }
}

impl EngineHandle {
    /// Hands a stream to one of the shards, which does the opening handshake on it and serves it as a
    /// connection like any other: an in-memory pipe, one that is encrypted, one that hyper has given
    /// up. `peer` is what [`Conn::peer`](crate::Conn::peer) says; [`Peer::Unix`] for who has no
    /// address. A request that asks for no upgrade is not answered: the stream is closed. An engine that
    /// speaks TLS speaks none on it.
    ///
    /// # Errors
    /// When the engine's shards are not tasks of a runtime ([`Backend::Tokio`](crate::Backend::Tokio),
    /// [`Backend::TokioUring`](crate::Backend::TokioUring)), when it is stopping, and when the shard's mailbox
    /// is full. The stream is dropped.
    ///
    /// ```
    /// use throng::{Backend, Config, Engine, Peer};
    ///
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// let engine = Engine::builder()
    ///     .bind("127.0.0.1:0")?
    ///     .config(Config::default().backend(Backend::Tokio))
    ///     .on_message(|conn, message| {
    ///         conn.send(message);
    ///     })
    ///     .start()?;
    /// let (near, _far) = tokio::io::duplex(64 * 1024);
    /// engine.adopt(near, Peer::Unix)?;
    /// engine.drain_async(std::time::Duration::ZERO).await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: Peer,
    ) -> Result<(), AdoptError> {
        let shared = self.shared();
        let backend = shared.config.backend;
        if !backend.has_tasks() {
            return Err(AdoptError::Backend(backend));
        }
        if shared.is_draining() {
            return Err(AdoptError::Stopped);
        }
        let socket = Socket::from_stream(stream);
        match shared.deal().try_post(Mail::Adopt { socket, peer }) {
            Ok(()) => Ok(()),
            Err(PostError::Full(_)) => Err(AdoptError::MailboxFull),
            Err(PostError::Stopped) => Err(AdoptError::Stopped),
        }
    }
}
