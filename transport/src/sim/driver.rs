//! The driver of a simulated network.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Network;
use super::accepting::SimListener;
use super::far::SimSocket;
use super::state::Owner;
use crate::buffer::{SendQueue, Slice};
use crate::driver::{
    Detached, Driver, EVENTS_PER_WAIT, RECEIVED_PER_WAIT, Sent, Service, SocketKey,
};
use crate::listener::Listener;
use crate::runtime::Waker;
use crate::socket::{Socket, unsupported};

/// How long a wait takes at the least: whoever is never idle does not stop the time.
const SHORTEST_WAIT: Duration = Duration::from_micros(1);
/// Generations of keys are below this, as the contract has it.
const GENERATIONS: u32 = 1 << 31;

/// A driver over a simulated [`Network`].
///
/// A wait never parks. While there is nothing to tell it lets the network's events happen, for all
/// drivers and clients alike, and moves the time, until there is or the timeout is over. One without
/// a timeout ends, too, when nothing more will happen: only a thread elsewhere can wake it then, and
/// it returns so that it is called again. Every wait takes a microsecond, also one with a timeout of
/// zero, with which a world of several drivers decides for itself when the time moves on.
pub struct SimDriver {
    network: Network,
    /// Where the network puts what happens at our sockets.
    queue: usize,
    /// By slot.
    sockets: Vec<Option<Entry>>,
    listeners: Vec<SimListener>,
    buffer: Box<[u8]>,
    /// Bytes that this wait may still deliver.
    budget: usize,
    /// The number of the wait, wrapping.
    turn: u32,
    waker: Waker,
    is_woken: Arc<AtomicBool>,
}

struct Entry {
    socket: SimSocket,
    generation: u32,
    held: Option<Held>,
    /// The wait that last received from the socket.
    received_in: u32,
    /// Our side ends once what is held is sent.
    is_finishing: bool,
    /// The end of the stream has been reported.
    has_ended: bool,
}

/// What a send left behind.
enum Held {
    /// What the network has not taken.
    Rest {
        queue: SendQueue,
        /// The wait in or after which the network last refused more.
        refused_in: u32,
    },
    /// The send failed; reported once the bytes received before are delivered.
    Failure(io::Error),
}

impl Entry {
    /// Offers the network what is held; returns whether all of it is sent.
    fn send_rest(&mut self, turn: u32) -> bool {
        let Some(Held::Rest { queue, refused_in }) = &mut self.held else {
            return false;
        };
        match write(&mut self.socket, queue) {
            Ok(Sent::Done) => return true,
            Ok(Sent::Pending) => *refused_in = turn,
            Err(error) => self.held = Some(Held::Failure(error)),
        }
        false
    }
}

fn write(socket: &mut SimSocket, queue: &mut SendQueue) -> io::Result<Sent> {
    let written = socket.send(queue.iter().map(Slice::as_bytes))?;
    queue.advance(written);
    if queue.is_empty() {
        Ok(Sent::Done)
    } else {
        Ok(Sent::Pending)
    }
}

impl SimDriver {
    pub(super) fn new(network: &Network, receive_buffer: usize) -> SimDriver {
        let is_woken = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_woken);
        SimDriver {
            network: network.clone(),
            queue: network.state().add_queue(),
            sockets: Vec::new(),
            listeners: Vec::new(),
            buffer: vec![0; receive_buffer].into_boxed_slice(),
            budget: 0,
            turn: 0,
            waker: Waker::new(move || {
                flag.store(true, Ordering::Release);
                true
            }),
            is_woken,
        }
    }

    /// Whether a wait has something to tell.
    pub fn is_due(&self) -> bool {
        self.network.state().queued(self.queue) > 0
            || self.is_woken.load(Ordering::Acquire)
            || self.listeners.iter().any(SimListener::is_due)
    }

    /// Lets things happen until there is something to tell, for at most so long.
    fn pass_time(&self, timeout: Option<Duration>) {
        let end = timeout.map(|timeout| self.network.now() + timeout);
        while !self.is_due() {
            let next = self.network.next_event();
            match (next, end) {
                (Some(next), end) if end.is_none_or(|end| next <= end) => self.network.step(),
                (_, Some(end)) => return self.network.advance(end),
                (_, None) => return std::thread::yield_now(),
            }
        }
    }

    fn entry(&mut self, key: SocketKey) -> Option<&mut Entry> {
        let entry = self.sockets.get_mut(key.slot as usize)?.as_mut()?;
        (entry.generation == key.generation).then_some(entry)
    }

    fn take(&mut self, key: SocketKey) -> Option<Entry> {
        self.entry(key)?;
        self.sockets[key.slot as usize].take()
    }

    /// Has a following wait look at the socket.
    fn look_again(&mut self, key: SocketKey) {
        let network = self.network.clone();
        if let Some(entry) = self.entry(key) {
            network.state().notify(entry.socket.end());
        }
    }

    fn serve(&mut self, key: SocketKey, service: &mut impl Service) {
        let turn = self.turn;
        let Some(entry) = self.entry(key) else {
            return;
        };
        let is_sent = match &entry.held {
            Some(Held::Rest { queue, .. }) => queue.is_empty() || entry.send_rest(turn),
            _ => false,
        };
        if is_sent {
            entry.held = None;
            if entry.is_finishing {
                entry.socket.finish();
            }
            service.sent(key);
        }
        self.receive(key, service);
    }

    /// Receives once per wait; what is left is for a following one.
    fn receive(&mut self, key: SocketKey, service: &mut impl Service) {
        let (network, turn) = (self.network.clone(), self.turn);
        let is_spent = self.budget == 0;
        let Some(entry) = self
            .sockets
            .get_mut(key.slot as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let end = entry.socket.end();
        let has_failed = matches!(entry.held, Some(Held::Failure(_)));
        if entry.has_ended || network.state().is_paused(end) {
            if has_failed || network.state().is_reset(end) {
                self.fail(key, io::ErrorKind::ConnectionReset.into(), service);
            }
            return;
        }
        let is_interrupted = {
            let mut state = network.state();
            let interruptions = state.faults(end).interruptions;
            state.is_readable(end) && state.chance(interruptions)
        };
        if entry.received_in == turn || is_spent || is_interrupted {
            return self.look_again(key);
        }
        entry.received_in = turn;
        match entry.socket.receive(&mut self.buffer) {
            Ok(0) => {
                entry.has_ended = true;
                if has_failed || network.state().is_reset(end) {
                    network.state().notify(end);
                }
                service.ended(key);
            }
            Ok(count) => {
                self.budget = self.budget.saturating_sub(count);
                if has_failed || network.state().is_readable(end) {
                    network.state().notify(end);
                }
                service.received(key, &mut self.buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if has_failed {
                    self.fail(key, error, service);
                }
            }
            Err(error) => self.fail(key, error, service),
        }
    }

    /// Releases the socket and says so: with the error that a send has found, or else with this one.
    fn fail(&mut self, key: SocketKey, error: io::Error, service: &mut impl Service) {
        if let Some(entry) = self.take(key) {
            let error = match entry.held {
                Some(Held::Failure(found)) => found,
                _ => error,
            };
            entry.socket.close();
            service.failed(key, error);
        }
    }

    fn accept(&mut self, service: &mut impl Service) {
        self.listeners
            .retain_mut(|listener| !listener.accept(service));
    }
}

impl Driver for SimDriver {
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        let listener: SimListener = listener.into_foreign().map_err(|_| unsupported())?;
        if !listener.network().is_same(&self.network) {
            return Err(unsupported());
        }
        self.listeners.push(listener);
        Ok(())
    }

    fn stop_listening(&mut self) {
        self.listeners.clear();
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        let socket: SimSocket = socket.into_foreign().map_err(|_| unsupported())?;
        if !socket.network().is_same(&self.network) {
            return Err(unsupported());
        }
        let slot = key.slot as usize;
        if slot >= self.sockets.len() {
            self.sockets.resize_with(slot + 1, || None);
        }
        if key.generation >= GENERATIONS || self.sockets[slot].is_some() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let queue = self.queue;
        socket.own(Some(Owner { queue, key }));
        self.sockets[slot] = Some(Entry {
            socket,
            generation: key.generation,
            held: None,
            received_in: self.turn,
            is_finishing: false,
            has_ended: false,
        });
        Ok(())
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        if self.entry(key)?.held.is_some() {
            return None;
        }
        let entry = self.take(key)?;
        entry.socket.own(None);
        Some(Detached {
            socket: Socket::foreign(entry.socket),
            undelivered: Vec::new(),
        })
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        self.network.advance(self.network.now() + SHORTEST_WAIT);
        self.pass_time(timeout);
        self.turn = self.turn.wrapping_add(1);
        self.budget = RECEIVED_PER_WAIT;
        self.is_woken.store(false, Ordering::Release);
        service.begin(self.network.now());
        let due = self.network.state().queued(self.queue);
        for _ in 0..due.min(EVENTS_PER_WAIT) {
            if self.budget == 0 {
                break;
            }
            let next = self.network.state().next_queued(self.queue);
            let Some((_, key)) = next else {
                break;
            };
            self.serve(key, service);
        }
        if self.waker.take() {
            service.woken();
        }
        self.accept(service);
        Ok(())
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let (network, turn) = (self.network.clone(), self.turn);
        let Some(entry) = self.entry(key) else {
            queue.clear();
            return Sent::Done;
        };
        debug_assert!(entry.held.is_none(), "one send per socket");
        if queue.is_empty() {
            return Sent::Done;
        }
        let is_late = {
            let mut state = network.state();
            let late = state.faults(entry.socket.end()).late_sends;
            state.chance(late)
        };
        let outcome = if is_late {
            network.state().tell_later(entry.socket.end());
            Ok(Sent::Pending)
        } else {
            write(&mut entry.socket, queue)
        };
        match outcome {
            Ok(Sent::Done) => {
                queue.clear();
                return Sent::Done;
            }
            Ok(Sent::Pending) => {
                // A system that completes sends late reads the buffers themselves until then.
                if !is_late {
                    queue.compact();
                }
                entry.held = Some(Held::Rest {
                    queue: std::mem::take(queue),
                    refused_in: turn,
                });
            }
            Err(error) => {
                queue.clear();
                entry.held = Some(Held::Failure(error));
                self.look_again(key);
            }
        }
        Sent::Pending
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        let turn = self.turn;
        let Some(entry) = self.entry(key) else {
            return 0;
        };
        let is_refused = matches!(&entry.held, Some(Held::Rest { refused_in, queue })
            if *refused_in == turn || queue.is_empty());
        if !is_refused && (entry.send_rest(turn) || matches!(entry.held, Some(Held::Failure(_)))) {
            self.look_again(key);
            return 0;
        }
        match &entry.held {
            Some(Held::Rest { queue, .. }) => queue.bytes(),
            _ => 0,
        }
    }

    fn pause(&mut self, key: SocketKey) {
        let network = self.network.clone();
        if let Some(entry) = self.entry(key) {
            network.state().pause(entry.socket.end());
        }
    }

    fn resume(&mut self, key: SocketKey) {
        let network = self.network.clone();
        if let Some(entry) = self.entry(key) {
            // A failed send is told whether or not there is something to be read.
            if matches!(entry.held, Some(Held::Failure(_))) {
                network.state().notify(entry.socket.end());
            }
            network.state().resume(entry.socket.end());
        }
    }

    fn finish(&mut self, key: SocketKey) {
        if let Some(entry) = self.entry(key) {
            if entry.held.is_none() {
                entry.socket.finish();
            } else {
                entry.is_finishing = true;
            }
        }
    }

    fn close(&mut self, key: SocketKey) {
        if let Some(entry) = self.take(key) {
            entry.socket.close();
        }
    }

    fn abort(&mut self, key: SocketKey) {
        if let Some(entry) = self.take(key) {
            entry.socket.reset();
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl std::fmt::Debug for SimDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDriver")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
