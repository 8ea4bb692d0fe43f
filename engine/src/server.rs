//! Running an engine, draining it.

mod builder;
mod listening;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::bounded;
use throng_transport::{Driver, runtime};

#[cfg(feature = "admin")]
use crate::admin::AdminServer;
use crate::backend::ShardDriver;
use crate::error::OnShard;
use crate::handle::{EngineHandle, enter_shard};
use crate::handler::Handler;
#[cfg(feature = "http")]
use crate::http::SideDoor;
use crate::protocol::close::CloseCode;
use crate::shard::{Mail, Shard, ShardDrained, ShardParts};
use crate::shared::Shared;
#[cfg(all(unix, feature = "tokio"))]
use crate::tasks::{Tasks, must_wait_in_place};

pub use builder::Builder;
#[cfg(feature = "admin")]
pub(crate) use builder::resolve;

/// A running engine. Dropping it cuts its connections and stops its threads, and waits for them; where
/// its shards are tasks ([`Backend::Tokio`](crate::Backend::Tokio) and
/// [`Backend::TokioUring`](crate::Backend::TokioUring)) it waits for nobody.
///
/// It dereferences to an [`EngineHandle`], which publishes and counts and can be cloned for other
/// threads.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    /// The shards that are tasks.
    #[cfg(all(unix, feature = "tokio"))]
    tasks: Option<Tasks>,
    /// The fan-out pool's threads.
    fanout: Vec<JoinHandle<()>>,
    #[cfg(feature = "http")]
    side_door: Option<SideDoor>,
    #[cfg(feature = "admin")]
    admin: Option<AdminServer>,
}

/// What became of the connections in a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections when the drain began, those being closed included.
    pub connections: usize,
    /// Those among them that were sent everything that was queued for them, and the close frame.
    pub flushed: usize,
    /// Those that were cut before.
    pub cut: usize,
    /// Messages that were not sent to those cut. Where the system took a part of several that went
    /// to it together, all of them count.
    pub messages_cut: usize,
}

impl From<ShardDrained> for DrainReport {
    fn from(total: ShardDrained) -> DrainReport {
        DrainReport {
            connections: total.connections,
            flushed: total.flushed,
            cut: total.connections - total.flushed,
            messages_cut: total.messages_cut,
        }
    }
}

impl Engine {
    /// An engine to be set up.
    pub fn builder() -> Builder<()> {
        Builder::new()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// The TCP addresses listened on, in the order given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first TCP address listened on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Where the [admin page](Builder::admin) is, where that has an address of its own.
    #[cfg(feature = "admin")]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr()
    }

    /// Empties the engine for a restart: see [`Engine::drain_with`]. Clients are told 1012.
    pub fn drain(self, window: Duration) -> DrainReport {
        self.drain_with(CloseCode::SERVICE_RESTART, window)
    }

    /// Empties the engine and stops it. Nobody is let in any more; connections are closed with
    /// `code` (1012 when the service comes back, 1001 when it does not) behind what is queued for
    /// them, spread evenly over `window`, so that they do not all come back at once.
    ///
    /// Blocks until all are gone, which takes at most the window,
    /// [`close_timeout`](field@crate::Config::close_timeout), as long again where futures of [`Builder::serve`] go on
    /// when their connections are gone (then they are dropped), and a second for pages that are being served.
    ///
    /// # Panics
    /// Where the shards are tasks of a runtime with a single thread and it is called in another one of
    /// them; `drain_with_async` may be. The engine is cut then.
    pub fn drain_with(mut self, code: CloseCode, window: Duration) -> DrainReport {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return must_wait_in_place(|| self.drain_in_place(code, window));
        }
        self.drain_in_place(code, window)
    }

    fn drain_in_place(&mut self, code: CloseCode, window: Duration) -> DrainReport {
        let report = self.handle.empty(code, window);
        self.stop();
        report
    }

    /// Waits until the engine has stopped, which another thread may have it do by
    /// [`EngineHandle::shutdown`].
    ///
    /// # Panics
    /// As [`Engine::drain_with`]; `wait_async` may be called anywhere.
    pub fn wait(mut self) {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return must_wait_in_place(|| self.join());
        }
        self.join();
    }

    fn stop(&mut self) {
        self.handle.shutdown();
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
        #[cfg(all(unix, feature = "tokio"))]
        if let Some(tasks) = self.tasks.take() {
            tasks.join();
        }
        if let Some(fanout) = &self.handle.shared().fanout {
            fanout.close();
        }
        self.handle.shared().bus.close();
        for thread in self.fanout.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the fan-out pool panicked");
            }
        }
        #[cfg(feature = "http")]
        if let Some(side_door) = self.side_door.take() {
            side_door.stop();
        }
        #[cfg(feature = "admin")]
        drop(self.admin.take());
    }
}

/// Going down, from wherever that is decided.
impl EngineHandle {
    /// Empties the engine and stops it as [`Engine::drain_with`] does, from any thread that may wait; whoever has the
    /// [`Engine`] finds it stopped ([`Engine::wait`] returns). Where it is being drained already, this waits for the end of
    /// that, which comes no later than it would by itself: the shorter window holds.
    ///
    /// # Errors
    /// Where [`EngineHandle::members`] may not be asked, on a shard's own thread for instance; nothing is done.
    pub fn drain_with(&self, code: CloseCode, window: Duration) -> Result<DrainReport, OnShard> {
        let drained = self.ask(|| {
            let report = self.empty(code, window);
            self.shutdown();
            Ok(report)
        });
        // Nothing else is said of it.
        drained.map_err(|_| OnShard)
    }

    /// Closes all connections over a time, and waits until they are gone.
    fn empty(&self, code: CloseCode, window: Duration) -> DrainReport {
        let shared = self.shared();
        shared.begin_drain();
        if let Some(fanout) = &shared.fanout {
            fanout.flush();
        }
        let (answer, answers) = bounded(shared.mail.len());
        for mailbox in &shared.mail {
            // A shard that has failed has nobody to close.
            let _ = mailbox.post_blocking(Mail::Drain {
                code,
                window,
                answer: answer.clone(),
            });
        }
        drop(answer);
        let mut total = ShardDrained::default();
        while let Ok(drained) = answers.recv() {
            total.add(&drained);
        }
        total.into()
    }
}

impl Deref for Engine {
    type Target = EngineHandle;

    fn deref(&self) -> &EngineHandle {
        &self.handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        #[cfg(all(unix, feature = "tokio"))]
        if self.tasks.is_some() {
            return self.leave_to_a_thread();
        }
        self.stop();
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl Engine {
    /// Stops the engine without waiting for the runtime, which this thread may have to drive.
    fn leave_to_a_thread(&mut self) {
        self.handle.shutdown();
        let tasks = self.tasks.take();
        let mut rest = Engine {
            handle: self.handle.clone(),
            addresses: Vec::new(),
            threads: Vec::new(),
            tasks: None,
            fanout: std::mem::take(&mut self.fanout),
            #[cfg(feature = "http")]
            side_door: self.side_door.take(),
            #[cfg(feature = "admin")]
            admin: self.admin.take(),
        };
        let waiting = runtime::spawn("throng-end".to_owned(), None, move || {
            tasks.into_iter().for_each(Tasks::join);
            rest.join();
        });
        if let Err(error) = waiting {
            tracing::warn!(%error, "an engine's threads were left to themselves");
        }
    }
}

impl Engine {
    fn without_shards(shared: &Arc<Shared>, addresses: Vec<SocketAddr>) -> Engine {
        Engine {
            handle: EngineHandle::new(shared),
            addresses,
            threads: Vec::new(),
            #[cfg(all(unix, feature = "tokio"))]
            tasks: None,
            fanout: Vec::new(),
            #[cfg(feature = "http")]
            side_door: None,
            #[cfg(feature = "admin")]
            admin: None,
        }
    }

    /// Starts a shard, on a thread or as a task.
    fn launch<H: Handler>(&mut self, driver: ShardDriver, parts: ShardParts<H>) -> io::Result<()> {
        match driver {
            ShardDriver::Poll(driver) => self.threads.push(spawn(driver, parts)?),
            #[cfg(target_os = "linux")]
            ShardDriver::Uring(driver) => self.threads.push(spawn(*driver, parts)?),
            #[cfg(all(unix, feature = "tokio"))]
            ShardDriver::Tokio(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn(tasks.shard(driver, parts).run());
            }
            #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
            ShardDriver::TokioUring(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn_here(tasks.shard(*driver, parts).run());
            }
            #[cfg(feature = "tls")]
            ShardDriver::PollTls(driver) => self.threads.push(spawn(driver, parts)?),
            #[cfg(all(target_os = "linux", feature = "tls"))]
            ShardDriver::UringTls(driver) => self.threads.push(spawn(*driver, parts)?),
            #[cfg(all(unix, feature = "tokio", feature = "tls"))]
            ShardDriver::TokioTls(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn(tasks.shard(*driver, parts).run());
            }
            #[cfg(all(target_os = "linux", feature = "tokio-uring", feature = "tls"))]
            ShardDriver::TokioUringTls(driver) => {
                let tasks = self.tasks()?;
                tasks.spawn_here(tasks.shard(*driver, parts).run());
            }
        }
        Ok(())
    }

    #[cfg(all(unix, feature = "tokio"))]
    fn tasks(&mut self) -> io::Result<&Tasks> {
        let tasks = match self.tasks.take() {
            Some(tasks) => tasks,
            None => Tasks::of_this_runtime().ok_or(io::ErrorKind::Other)?,
        };
        Ok(self.tasks.insert(tasks))
    }
}

/// A moment of the past since 1970; nothing where the system's clock is before that.
fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn spawn<D, H>(mut driver: D, parts: ShardParts<H>) -> io::Result<JoinHandle<()>>
where
    D: Driver + Send + 'static,
    H: Handler,
{
    let shard = usize::from(parts.shard);
    let cpu = parts.shared.config.pin_shards.then_some(shard);
    runtime::spawn(format!("throng-{shard}"), cpu, move || {
        enter_shard();
        let mut shard = Shard::new(parts);
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime::run(&mut driver, &mut shard)));
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "a shard has failed; its connections are cut");
            }
            Err(_) => tracing::error!("a shard has panicked; its connections are cut"),
        }
        shard.fail();
    })
}
