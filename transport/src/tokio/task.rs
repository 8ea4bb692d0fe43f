//! A driver whose wait is a future.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{coop, yield_now};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::foreign::{Lingering, MAX_LINGERING};
use super::listeners::Listeners;
use super::ready::{Bell, Ready, Woken};
use super::telling::Telling;
use crate::driver::{Detached, EVENTS_PER_WAIT, Service, SocketKey};
use crate::listener::Listener;
use crate::readiness::{Edge, Readiness, Stream};
use crate::runtime;
use crate::socket::Socket;

/// A stream that wakes whoever was told to wait.
pub(crate) trait TaskStream: Stream {
    /// Takes a socket over, in the runtime that the caller is in.
    fn adopt(socket: Socket, waker: Waker, lingering: &Lingering) -> io::Result<Self>;

    /// What happened since the last call.
    fn edge(&mut self) -> Edge;

    /// The socket as it came, unless something that was asked of the system has it still.
    fn into_socket(self) -> Option<Socket>;
}

/// What drivers inside a runtime share. All of it is to be called inside that runtime.
pub(crate) struct TaskDriver<S> {
    pub(crate) readiness: Readiness<S>,
    listeners: Listeners,
    ready: Arc<Ready>,
    /// Those that were woken and are yet to be looked at, the next one last.
    woken: Vec<Woken>,
    /// By slot.
    bells: Vec<Option<Arc<Bell>>>,
    alarm: Alarm,
    lingering: Lingering,
    pub(crate) waker: runtime::Waker,
    epoch: Instant,
    /// The last wait ended without letting others run.
    owes_yield: bool,
}

impl<S: TaskStream> TaskDriver<S> {
    pub(crate) fn new(expected: usize, receive_buffer: usize, epoch: Instant) -> TaskDriver<S> {
        let ready = Arc::new(Ready::default());
        let notified = Arc::clone(&ready);
        TaskDriver {
            readiness: Readiness::new(expected, receive_buffer),
            listeners: Listeners::default(),
            ready,
            woken: Vec::new(),
            bells: Vec::with_capacity(expected),
            alarm: Alarm::default(),
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
            waker: runtime::Waker::new(move || {
                notified.notify();
                true
            }),
            epoch,
            owes_yield: false,
        }
    }

    pub(crate) fn listen(&mut self, listener: Listener) -> io::Result<()> {
        self.listeners.add(listener, &self.ready)
    }

    pub(crate) fn stop_listening(&mut self) {
        self.listeners.drain().for_each(drop);
    }

    pub(crate) fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        self.readiness.check(key)?;
        let bell = self.bell(key.slot);
        let stream = S::adopt(socket, Arc::clone(&bell).into(), &self.lingering)?;
        self.readiness.insert(key, stream);
        // Whatever came before is found by a first look.
        Waker::from(bell).wake();
        Ok(())
    }

    pub(crate) fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        let stream = self.readiness.take(key)?;
        Some(Detached {
            socket: stream.into_socket()?,
            undelivered: Vec::new(),
        })
    }

    /// The service, to be told of a wait's beginning.
    pub(crate) fn telling<'s, T: Service>(&self, service: &'s mut T) -> Telling<'s, T> {
        Telling::new(service, self.epoch)
    }

    /// See [`AsyncDriver::wait_async`](runtime::AsyncDriver::wait_async). Where something was told
    /// already, it does not park.
    pub(crate) async fn wait(
        &mut self,
        timeout: Option<Duration>,
        telling: &mut Telling<'_, impl Service>,
    ) {
        // Each of the runtime's streams costs a part of a task's budget. A turn has bounds of its own.
        coop::unconstrained(self.wait_unconstrained(timeout, telling)).await;
    }

    /// The task has let others run: the wait that follows need not.
    #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
    pub(crate) fn has_yielded(&mut self) {
        self.owes_yield = false;
    }

    async fn wait_unconstrained(
        &mut self,
        timeout: Option<Duration>,
        telling: &mut Telling<'_, impl Service>,
    ) {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut has_yielded = self.owes_yield || timeout == Some(Duration::ZERO);
        self.owes_yield = true;
        if has_yielded {
            yield_now().await;
        }
        loop {
            self.report(telling);
            if telling.has_begun() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let mut has_parked = false;
            if self.may_park() {
                poll_fn(|cx| {
                    let parked = self.poll_parked(deadline, cx);
                    has_parked |= parked.is_pending();
                    parked
                })
                .await;
            }
            // A stream that tells nobody to wait, but wakes whoever asks, would have the next look follow
            // this one for ever.
            if !has_parked {
                yield_now().await;
            }
            has_yielded = true;
        }
        telling.begun();
        self.owes_yield = !has_yielded;
    }

    /// Looks at whatever is due.
    fn report(&mut self, service: &mut Telling<'_, impl Service>) {
        self.readiness.begin(service);
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken);
            self.woken.reverse();
        }
        for _ in 0..EVENTS_PER_WAIT {
            match self.woken.pop() {
                Some(Woken::Socket(slot)) => self.look_at(slot, service),
                Some(Woken::Listener(place)) => self.listeners.look_at_woken(place),
                None => break,
            }
        }
        if self.waker.take() {
            service.woken();
        }
        self.listeners.accept(service, |watched, _| drop(watched));
    }

    fn look_at(&mut self, slot: u32, service: &mut impl Service) {
        if let Some(Some(bell)) = self.bells.get(slot as usize) {
            bell.silence();
        }
        let Some(key) = self.readiness.key(slot) else {
            return;
        };
        if let Some(stream) = self.readiness.socket(key) {
            let edge = stream.edge();
            self.readiness.handle_edge(key, edge, service);
        }
    }

    fn may_park(&self) -> bool {
        self.woken.is_empty() && !self.readiness.has_leftovers()
    }

    fn poll_parked(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ready.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let retry = self.listeners.parking(None);
        let retry = retry.map(|rest| Instant::now() + rest);
        match [deadline, retry].into_iter().flatten().min() {
            Some(earliest) => self.alarm.poll(earliest, cx),
            None => Poll::Pending,
        }
    }

    fn bell(&mut self, slot: u32) -> Arc<Bell> {
        let place = slot as usize;
        if place >= self.bells.len() {
            self.bells.resize(place + 1, None);
        }
        let fresh = || Bell::new(&self.ready, Woken::Socket(slot));
        Arc::clone(self.bells[place].get_or_insert_with(fresh))
    }
}
