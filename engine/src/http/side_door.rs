//! The side door's thread.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use throng_transport::Peer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::answer::{HEALTH, METRICS, READY};
use super::offering::Checked;
use super::serve::{Desk, serve};
use super::visitor::Visitor;
#[cfg(feature = "metrics")]
use crate::handle::EngineHandle;
use crate::readiness::NotReady;
use crate::shared::Shared;

/// How long connections may take to finish once the side door stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Bounds of the side door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideLimits {
    /// Connections that wait for their answer or are being sent it, at once.
    pub(crate) connections: usize,
    /// Further ones, where all these are taken, that ask whether the engine lives or takes newcomers, and as many
    /// that ask for its metrics: what others send slowly does not keep that from being answered.
    pub(crate) reserved: usize,
    /// Connections that are listened to after their answer, at once; one more is closed instead.
    pub(crate) lingering: usize,
    /// How long a connection is listened to after its answer.
    pub(crate) linger: Duration,
    /// How long a connection may take in all, from the moment it came to the side door.
    pub(crate) total: Duration,
    /// Bytes of a request's head; a longer one is answered `431`. At least 8 KiB.
    pub(crate) buffer: usize,
    /// Bytes of a request's body; a longer one is answered `413`.
    pub(crate) body: usize,
}

/// What the engine says of itself.
pub(crate) struct Sources {
    /// Whether it takes newcomers.
    pub(super) readiness: Box<dyn Fn() -> Result<(), NotReady> + Send + Sync>,
    /// Its metrics, where they are served.
    pub(super) metrics: Option<MetricsText>,
}

/// Makes the text that is served at `/metrics`.
pub(super) type MetricsText = Box<dyn Fn() -> String + Send + Sync>;

impl Default for SideLimits {
    fn default() -> SideLimits {
        SideLimits {
            connections: 256,
            reserved: 16,
            lingering: 256,
            linger: Duration::from_secs(1),
            total: Duration::from_secs(30),
            buffer: 16 * 1024,
            body: 1024 * 1024,
        }
    }
}

/// The thread that answers what asks for no upgrade. It also ends, without waiting for its
/// connections, once this and every [`Entrance`] are dropped.
#[derive(Debug)]
pub(crate) struct SideDoor {
    entrance: Entrance,
    thread: JoinHandle<()>,
}

impl SideDoor {
    /// That of an engine.
    ///
    /// # Errors
    /// As [`SideDoor::start`].
    pub(crate) fn of(shared: &Arc<Shared>, content: Checked) -> io::Result<SideDoor> {
        let limits = SideLimits {
            body: shared.config.max_request_body,
            ..SideLimits::default()
        };
        let shared = Arc::clone(shared);
        let sources = Sources {
            metrics: metrics_of(&shared, &content),
            readiness: Box::new(move || shared.readiness()),
        };
        SideDoor::start(content, sources, limits)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses the thread or what its runtime needs.
    pub(super) fn start(
        content: Checked,
        sources: Sources,
        limits: SideLimits,
    ) -> io::Result<SideDoor> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // One more than connections, so that there is always room for `Errand::Stop`.
        let (sender, errands) = mpsc::channel(limits.connections + 2 * limits.reserved + 1);
        let places = |count| Arc::new(Semaphore::new(count));
        let free = places(limits.connections);
        let (checks, scrapes) = (places(limits.reserved), places(limits.reserved));
        let desk = Arc::new(Desk::new(content, sources, limits));
        let thread = thread::Builder::new()
            .name("throng-http".to_owned())
            .spawn(move || run(&runtime, errands, &desk))?;
        Ok(SideDoor {
            entrance: Entrance {
                sender,
                free,
                checks,
                scrapes,
            },
            thread,
        })
    }

    /// Where shards bring connections.
    pub(crate) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Takes no more connections, gives those it has a second to finish, and ends the thread.
    pub(crate) fn stop(self) {
        let SideDoor { entrance, thread } = self;
        for places in [&entrance.free, &entrance.checks, &entrance.scrapes] {
            places.close();
        }
        // Refused only where the thread has ended already.
        let _ = entrance.sender.try_send(Errand::Stop);
        if thread.join().is_err() {
            tracing::error!("side door: its thread panicked");
        }
    }
}

/// Makes the text of an engine's metrics, where it is asked for.
#[cfg(feature = "metrics")]
fn metrics_of(shared: &Arc<Shared>, content: &Checked) -> Option<MetricsText> {
    let handle = EngineHandle::new(shared);
    let text: MetricsText = Box::new(move || handle.prometheus());
    Some(text).filter(|_| content.serves_metrics)
}

#[cfg(not(feature = "metrics"))]
fn metrics_of(_: &Arc<Shared>, _: &Checked) -> Option<MetricsText> {
    None
}

/// Where shards bring connections.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    sender: Sender<Errand>,
    free: Arc<Semaphore>,
    /// Places that nobody else takes: for the questions of load balancers, and for those who read metrics.
    checks: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
}

impl Entrance {
    /// One that leads nowhere: there is never a place.
    #[cfg(feature = "internals")]
    pub(crate) fn walled_up() -> Entrance {
        let none = Arc::new(Semaphore::new(0));
        Entrance {
            sender: mpsc::channel(1).0,
            free: Arc::clone(&none),
            checks: Arc::clone(&none),
            scrapes: none,
        }
    }

    /// A place for one connection whose request begins with `head`, taken before its socket leaves the shard;
    /// `None` while the side door is full or once it has stopped.
    pub(crate) fn reserve(&self, head: &[u8]) -> Option<Place> {
        let acquire = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let reserved = || match path_of(head)? {
            HEALTH | READY => acquire(&self.checks),
            METRICS => acquire(&self.scrapes),
            _ => None,
        };
        let permit = acquire(&self.free).or_else(reserved)?;
        (!self.sender.is_closed()).then(|| Place {
            sender: self.sender.clone(),
            permit,
        })
    }
}

/// The path that a request asks for.
fn path_of(head: &[u8]) -> Option<&str> {
    let target = head.split(|byte| *byte == b' ').nth(1)?;
    let path = target.split(|byte| *byte == b'?').next()?;
    str::from_utf8(path).ok()
}

/// A place in the side door, free again when dropped or once its connection has been answered.
#[derive(Debug)]
pub(crate) struct Place {
    sender: Sender<Errand>,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Moves a stream, which does not block, to the side door, with the bytes already read from it. Where
    /// the side door has stopped meanwhile, the connection is closed. `seat` is dropped once it is.
    pub(crate) fn hand_over(
        self,
        visitor: impl Into<Visitor>,
        peer: Peer,
        head: Vec<u8>,
        seat: impl Send + 'static,
    ) {
        let Place { sender, permit } = self;
        // There is room for every permit: refused only where the thread has ended.
        let _ = sender.try_send(Errand::Serve(Guest {
            visitor: visitor.into(),
            peer,
            head,
            place: permit,
            seat: Box::new(seat),
        }));
    }
}

enum Errand {
    Serve(Guest),
    Stop,
}

/// A connection that has come to the side door.
pub(super) struct Guest {
    pub(super) visitor: Visitor,
    pub(super) peer: Peer,
    pub(super) head: Vec<u8>,
    pub(super) place: OwnedSemaphorePermit,
    /// What counts the connection where it came from.
    pub(super) seat: Box<dyn Send>,
}

fn run(runtime: &Runtime, mut errands: Receiver<Errand>, desk: &Arc<Desk>) {
    runtime.block_on(async {
        let mut open = JoinSet::new();
        while let Some(Errand::Serve(guest)) = errands.recv().await {
            while let Some(ended) = open.try_join_next() {
                note(ended);
            }
            open.spawn(serve(guest, Arc::clone(desk)));
        }
        errands.close();
        let finish = async {
            while let Some(ended) = open.join_next().await {
                note(ended);
            }
        };
        if timeout(STOP_GRACE, finish).await.is_err() {
            tracing::debug!("side door: stopped with connections open");
        }
    });
}

/// A panic ends its connection and nothing else.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "side door: connection panicked");
    }
}
