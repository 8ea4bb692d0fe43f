//! Who is to be told of what.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::{Listener, Teller, queue};
use super::{Event, EventKinds, Events, SubscribeError};
use crate::limits::{MAX_EVENTS, MAX_SUBSCRIBERS};

/// The subscribers of an engine. Each shard has a [`Watch`] of its own on them.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    /// What any of them wants.
    kinds: AtomicU32,
    /// Differs after each change.
    version: AtomicU64,
    subscribers: Mutex<Subscribers>,
    /// Events that found a queue full.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Subscribers {
    tellers: Vec<Teller>,
    is_closed: bool,
}

impl Bus {
    /// A queue that is told of those kinds.
    pub(crate) fn subscribe(
        self: &Arc<Bus>,
        kinds: EventKinds,
        capacity: usize,
    ) -> Result<Events, SubscribeError> {
        if !(1..=MAX_EVENTS).contains(&capacity) {
            return Err(SubscribeError::Capacity { capacity });
        }
        let mut subscribers = self.lock();
        if subscribers.is_closed {
            return Err(SubscribeError::Stopped);
        }
        if subscribers.tellers.len() >= MAX_SUBSCRIBERS {
            return Err(SubscribeError::TooMany);
        }
        let (teller, events) = queue(kinds, capacity, self);
        subscribers.tellers.push(teller);
        self.publish(&subscribers);
        Ok(events)
    }

    /// Whoever listens so wants no more.
    pub(super) fn unsubscribe(&self, listener: &Arc<Listener>) {
        let mut subscribers = self.lock();
        let is_other = |teller: &Teller| !Arc::ptr_eq(&teller.listener, listener);
        subscribers.tellers.retain(is_other);
        self.publish(&subscribers);
    }

    /// The engine has stopped: there will be no more events.
    pub(crate) fn close(&self) {
        let tellers = {
            let mut subscribers = self.lock();
            subscribers.is_closed = true;
            let tellers = std::mem::take(&mut subscribers.tellers);
            self.publish(&subscribers);
            tellers
        };
        for teller in tellers {
            let listener = Arc::clone(&teller.listener);
            drop(teller);
            listener.wake();
        }
    }

    /// Whether anybody wants events of that kind.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKinds) -> bool {
        EventKinds::from_bits(self.kinds.load(Ordering::Relaxed)).has_any_of(kind)
    }

    /// Tells of what no shard alone knows of. Whoever waits for it is woken when `told` is dropped: by
    /// code of the service's, which no lock of ours is to be held for.
    pub(crate) fn tell(&self, event: &Event, told: &mut Told) {
        let subscribers = self.lock();
        self.count_dropped(tell_all(&subscribers.tellers, event));
        let listeners = subscribers.tellers.iter().map(|it| &it.listener);
        told.0.extend(listeners.cloned());
    }

    /// Events that found a queue full, of all subscribers.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn count_dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    fn publish(&self, subscribers: &Subscribers) {
        let wanted = subscribers.tellers.iter().map(|it| it.listener.kinds);
        let kinds = wanted.fold(EventKinds::NONE, |all, kinds| all | kinds);
        self.kinds.store(kinds.bits(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    // Locked for a few instructions at a time, and nothing of the service's runs meanwhile.
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who were told something, to be woken.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<Arc<Listener>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.iter().for_each(|listener| listener.wake());
    }
}

/// Tells those who want it; returns how many had no room.
fn tell_all(tellers: &[Teller], event: &Event) -> u64 {
    let kind = event.kind();
    let wanted = tellers.iter().filter(|it| it.listener.kinds.contains(kind));
    let dropped = wanted.filter(|teller| !teller.tell(event.clone()));
    dropped.count() as u64
}

/// A shard's view of the subscribers, as they were when its turn began.
#[derive(Debug)]
pub(crate) struct Watch {
    bus: Arc<Bus>,
    kinds: EventKinds,
    version: u64,
    tellers: Vec<Teller>,
}

impl Watch {
    pub(crate) fn new(bus: &Arc<Bus>) -> Watch {
        Watch {
            bus: Arc::clone(bus),
            kinds: EventKinds::NONE,
            version: 0,
            tellers: Vec::new(),
        }
    }

    /// Takes note of who has subscribed, and who has ended that.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        let version = self.bus.version.load(Ordering::Acquire);
        if version != self.version {
            self.look_again(version);
        }
    }

    #[cold]
    fn look_again(&mut self, version: u64) {
        let former = {
            let now = self.bus.lock().tellers.clone();
            std::mem::replace(&mut self.tellers, now)
        };
        self.version = version;
        let wanted = self.tellers.iter().map(|it| it.listener.kinds);
        self.kinds = wanted.fold(EventKinds::NONE, |all, kinds| all | kinds);
        drop(former);
    }

    /// Whether anybody wants events of that kind.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKinds) -> bool {
        self.kinds.has_any_of(kind)
    }

    /// Tells whoever wants it. Never waits.
    #[cold]
    pub(crate) fn tell(&self, event: &Event) {
        self.bus.count_dropped(tell_all(&self.tellers, event));
        self.tellers.iter().for_each(|it| it.listener.wake());
    }
}
