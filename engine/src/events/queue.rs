//! A subscriber's queue.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use thiserror::Error;

use super::bus::Bus;
use super::{Event, EventKinds};
use crate::handle::is_on_shard;
use crate::limits::{MAX_EVENTS, MAX_SUBSCRIBERS};
use crate::shard::guard;

/// Why nobody was subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The queue would hold nothing, or more than may be.
    #[error("capacity {capacity}: must be 1 to {MAX_EVENTS}")]
    Capacity {
        /// What was asked for.
        capacity: usize,
    },
    /// There are as many subscribers as there may be.
    #[error("there are {MAX_SUBSCRIBERS} subscribers already")]
    TooMany,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// The events that a subscriber wants, in the order in which each shard had them. Dropping it ends the
/// subscription.
///
/// Taken from by threads ([`recv`](Events::recv)) and by tasks of any runtime ([`next`](Events::next)).
pub struct Events {
    events: Receiver<Event>,
    listener: Arc<Listener>,
    bus: Arc<Bus>,
}

/// What a subscriber and whoever tells it share.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) kinds: EventKinds,
    /// Events that found the queue full.
    dropped: AtomicU64,
    /// A task waits.
    is_awaited: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The way into a subscriber's queue.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    queue: Sender<Event>,
    pub(super) listener: Arc<Listener>,
}

/// A queue of that capacity, which the bus will tell.
pub(super) fn queue(kinds: EventKinds, capacity: usize, bus: &Arc<Bus>) -> (Teller, Events) {
    let (sender, receiver) = bounded(capacity);
    let listener = Arc::new(Listener {
        kinds,
        dropped: AtomicU64::new(0),
        is_awaited: AtomicBool::new(false),
        waker: Mutex::default(),
    });
    let teller = Teller {
        queue: sender,
        listener: Arc::clone(&listener),
    };
    let events = Events {
        events: receiver,
        listener,
        bus: Arc::clone(bus),
    };
    (teller, events)
}

impl Events {
    /// The next event, as soon as there is one; `None` once the engine has stopped and all were taken. On
    /// the engine's own threads, which must not wait, it is [`try_recv`](Events::try_recv).
    pub fn recv(&mut self) -> Option<Event> {
        if is_on_shard() {
            return self.try_recv();
        }
        self.events.recv().ok()
    }

    /// The same, waiting so long at most.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Event> {
        if is_on_shard() {
            return self.try_recv();
        }
        self.events.recv_timeout(timeout).ok()
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next event, for a task to await; `None` once the engine has stopped and all were taken. Dropped
    /// before it is done, it has taken nothing.
    ///
    /// ```no_run
    /// # async fn example(engine: &throng::EngineHandle) -> Result<(), throng::SubscribeError> {
    /// use throng::{Event, EventKinds};
    ///
    /// let mut events = engine.subscribe(EventKinds::SLOW_CONSUMER, 1024)?;
    /// while let Some(Event::SlowConsumer { connection, lost, .. }) = events.next().await {
    ///     eprintln!("{} at {:?} has lost {lost} messages", connection.id, connection.peer);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::should_implement_trait,
        reason = "what it gives is to be awaited, as elsewhere"
    )]
    pub fn next(&mut self) -> NextEvent<'_> {
        NextEvent(self)
    }

    /// How many events found the queue full and were dropped.
    pub fn dropped(&self) -> u64 {
        self.listener.dropped.load(Ordering::Relaxed)
    }

    /// How many wait to be taken.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn poll_next(&mut self, waker: &Waker) -> Poll<Option<Event>> {
        match self.events.try_recv() {
            Err(TryRecvError::Empty) => {}
            taken => return Poll::Ready(taken.ok()),
        }
        self.listener.await_by(waker);
        // What came before that was not seen is seen now.
        match self.events.try_recv() {
            Err(TryRecvError::Empty) => Poll::Pending,
            taken => Poll::Ready(taken.ok()),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.bus.unsubscribe(&self.listener);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("kinds", &self.listener.kinds)
            .field("len", &self.len())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

/// The future of [`Events::next`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct NextEvent<'e>(&'e mut Events);

impl Future for NextEvent<'_> {
    type Output = Option<Event>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next(context.waker())
    }
}

impl Listener {
    fn await_by(&self, waker: &Waker) {
        let waker = waker.clone();
        let former = self.lock().replace(waker);
        // A waker's `Drop` is somebody else's code.
        drop(former);
        self.is_awaited.store(true, Ordering::Relaxed);
        // Either whoever tells finds somebody waiting, or who waits finds what was told.
        fence(Ordering::SeqCst);
    }

    /// Wakes the task that waits, if there is one.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.is_awaited.load(Ordering::Relaxed) && self.is_awaited.swap(false, Ordering::Relaxed)
        {
            let waker = self.lock().take();
            guard(|| waker.into_iter().for_each(Waker::wake));
        }
    }

    // Locked for a few instructions at a time, and nothing of the service's runs meanwhile.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Teller {
    /// Puts an event into the queue of the subscriber, who is to be woken; returns false where it was
    /// dropped. Never waits.
    pub(super) fn tell(&self, event: Event) -> bool {
        match self.queue.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.listener.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
            // The subscription has ended.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }
}
