//! The driver over readiness: non-blocking sockets and one `mio::Poll`.
//!
//! Every socket is registered once, for reading and writing, edge-triggered. An edge is
//! remembered rather than acted on at once where the contract asks for it: a paused socket
//! keeps `readable`; a receive buffer that was filled, or an end behind the bytes, puts the
//! socket on the `again` list. The system reports writability only after a send came up short,
//! so the second interest costs nothing while peers keep up.

mod sockets;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Token};

use crate::acceptors::{Acceptors, MAX_LISTENERS};
use crate::buffer::SendQueue;
use crate::driver::{
    Detached, Driver, EVENTS_PER_WAIT, GENERATIONS, RECEIVED_PER_WAIT, Sent, Service, SocketKey,
};
use crate::listener::Listener;
use crate::runtime::Waker;
use crate::socket::{Socket, SystemSocket};
use crate::table::Table;
use sockets::{Entry, Held};

/// Whether an edge follows a receive that did not fill the buffer, even though the system was
/// not asked until it said that there is nothing. On Windows mio watches again only then.
const SHORT_RECEIVE_DRAINS: bool = cfg!(unix);

/// What a socket is watched for. A receive stops at urgent data, and no edge follows for what lies
/// behind; with the last of these the edge before says so.
#[cfg(target_os = "linux")]
const INTEREST: Interest = BOTH_WAYS.add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const INTEREST: Interest = BOTH_WAYS;
const BOTH_WAYS: Interest = Interest::READABLE.add(Interest::WRITABLE);

// Generations are below 2³¹, so no key looks like the tokens that follow.
const _: () = assert!(GENERATIONS == 1 << 31);
/// The token of the waker.
const WAKER: Token = Token(usize::MAX);
/// Listeners have the tokens from here up to the waker's.
const FIRST_LISTENER: usize = usize::MAX - MAX_LISTENERS;

/// How a [`PollDriver`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct PollOptions {
    /// Bytes of the one receive buffer.
    pub receive_buffer: usize,
    /// How many sockets room is made for at once. There may be more; then the table grows.
    pub expected_sockets: usize,
    /// The moment that the times given to [`Service::begin`] are measured from.
    pub epoch: Instant,
}

/// A readiness driver (epoll, kqueue, Windows).
pub struct PollDriver {
    poll: Poll,
    events: Events,
    sockets: Table<Entry>,
    /// By their tokens.
    acceptors: Acceptors,
    /// Sockets with something to receive or report that no event will announce.
    again: Vec<SocketKey>,
    /// Scratch for `again` while it is worked off.
    due: Vec<SocketKey>,
    /// The number of the wait, wrapping.
    turn: u32,
    /// Bytes that this wait may still deliver.
    budget: usize,
    buffer: Box<[u8]>,
    waker: Waker,
    epoch: Instant,
}

const _: () = assert!(usize::BITS == 64, "a token holds both halves of a key");

fn token(key: SocketKey) -> Token {
    Token((key.generation as usize) << 32 | key.slot as usize)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of the token")]
fn key(token: Token) -> SocketKey {
    SocketKey {
        slot: token.0 as u32,
        generation: (token.0 >> 32) as u32,
    }
}

impl PollDriver {
    /// A driver without sockets.
    ///
    /// # Errors
    /// When the system has no descriptors for it.
    pub fn new(options: &PollOptions) -> io::Result<PollDriver> {
        let poll = Poll::new()?;
        let unparker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let waker = Waker::new(move || {
            let woken = unparker.wake();
            if let Err(error) = &woken {
                tracing::error!(%error, "a driver could not be woken");
            }
            woken.is_ok()
        });
        Ok(PollDriver {
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            sockets: Table::with_capacity(options.expected_sockets),
            acceptors: Acceptors::default(),
            again: Vec::new(),
            due: Vec::new(),
            turn: 0,
            budget: 0,
            buffer: vec![0; options.receive_buffer].into_boxed_slice(),
            waker,
            epoch: options.epoch,
        })
    }

    /// How long the poll may park, given what is already known to be due.
    fn parking(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.again.is_empty() {
            self.acceptors.parking(timeout)
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Takes note of an event; receiving happens where it is found, everything else is told.
    fn handle_event(&mut self, event: &Event, service: &mut impl Service) {
        let key = key(event.token());
        let closed = event.is_read_closed() || event.is_error();
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        entry.hung_up |= closed;
        entry.urgent |= event.is_priority();
        if event.is_writable() && entry.held.is_some() {
            self.continue_send(key, service);
        }
        if event.is_readable() || closed {
            self.receive(key, service);
        }
    }

    /// Receives once per wait; what is left is for the following one.
    fn receive(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        entry.readable = !entry.ended;
        if entry.paused || entry.ended {
            return self.report_failure(key, service);
        }
        if entry.received_in == self.turn || self.budget == 0 {
            return self.look_again(key);
        }
        entry.received_in = self.turn;
        let Some(socket) = entry.socket.as_mut() else {
            return;
        };
        match socket.receive(&mut self.buffer) {
            Ok(0) if entry.has_failed() => self.report_failure(key, service),
            Ok(0) => {
                entry.readable = false;
                entry.ended = true;
                service.ended(key);
            }
            Ok(count) => {
                self.budget = self.budget.saturating_sub(count);
                let full = count == self.buffer.len();
                let more = entry.hung_up || entry.urgent || entry.has_failed();
                entry.readable = full || more || !SHORT_RECEIVE_DRAINS;
                if entry.readable {
                    self.look_again(key);
                }
                service.received(key, &mut self.buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                entry.readable = false;
                entry.urgent = false;
                self.report_failure(key, service);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.look_again(key),
            Err(error) => self.fail(key, error, service),
        }
    }

    /// Has the following wait look at the socket, whether or not there is an event.
    fn look_again(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key)
            && !std::mem::replace(&mut entry.again, true)
        {
            self.again.push(key);
        }
    }

    fn continue_send(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let (Some(socket), Some(Held::Rest { queue, refused_in })) =
            (&mut entry.socket, entry.held.as_deref_mut())
        else {
            return;
        };
        match socket.send_queue(queue) {
            Ok(Sent::Pending) => *refused_in = self.turn,
            Ok(Sent::Done) => {
                if entry.finishing {
                    socket.finish();
                }
                entry.held = None;
                service.sent(key);
            }
            Err(error) => self.break_off(key, error),
        }
    }

    /// A send has failed. What the peer said before may still be there to be received.
    fn break_off(&mut self, key: SocketKey, error: io::Error) {
        if let Some(entry) = self.sockets.get(key) {
            entry.held = Some(Box::new(Held::Failure(error)));
            entry.readable = true;
            self.look_again(key);
        }
    }

    /// Reports the failure of a socket that has nothing more to deliver, if it has failed.
    fn report_failure(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        let error = match entry.take_failure() {
            None if entry.hung_up => entry.socket.as_ref().and_then(SystemSocket::take_error),
            failure => failure,
        };
        if let Some(error) = error {
            self.fail(key, error, service);
        }
    }

    fn fail(&mut self, key: SocketKey, error: io::Error, service: &mut impl Service) {
        if self.release(key).is_some() {
            service.failed(key, error);
        }
    }

    /// Takes the socket out of the table. Dropping it takes it off the poll.
    fn release(&mut self, key: SocketKey) -> Option<SystemSocket> {
        self.sockets.remove(key)?.socket
    }

    /// What earlier waits and sends left over. Whoever is not served now is the first next time.
    fn report_leftovers(&mut self, service: &mut impl Service) {
        std::mem::swap(&mut self.again, &mut self.due);
        let mut served = 0;
        while served < self.due.len() && self.budget > 0 {
            let key = self.due[served];
            served += 1;
            let Some(entry) = self.sockets.get(key) else {
                continue;
            };
            entry.again = false;
            let is_readable = entry.readable;
            if entry.has_sent() {
                self.continue_send(key, service);
            }
            if is_readable {
                self.receive(key, service);
            }
        }
        self.due.drain(..served);
        self.due.append(&mut self.again);
        std::mem::swap(&mut self.again, &mut self.due);
    }
}

impl Driver for PollDriver {
    fn listen(&mut self, mut listener: Listener) -> io::Result<()> {
        let place = self.acceptors.vacancy()?;
        let token = Token(FIRST_LISTENER + place);
        listener.register(self.poll.registry(), token, Interest::READABLE)?;
        self.acceptors.insert(place, listener);
        Ok(())
    }

    fn stop_listening(&mut self) {
        for mut listener in self.acceptors.drain() {
            let _ = listener.deregister(self.poll.registry());
        }
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        let mut socket = socket.into_system()?;
        if key.generation >= GENERATIONS || self.sockets.is_taken(key.slot) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.register(self.poll.registry(), token(key), INTEREST)?;
        let entry = Entry {
            socket: Some(socket),
            generation: key.generation,
            ..Entry::default()
        };
        self.sockets.insert(key.slot, entry);
        Ok(())
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        let entry = self.sockets.get(key)?;
        if entry.held.is_some() {
            return None;
        }
        let mut socket = self.release(key)?;
        if let Err(error) = socket.deregister(self.poll.registry()) {
            tracing::warn!(%error, "a socket that is given away could not be deregistered");
        }
        Some(Detached {
            socket: socket.into(),
            undelivered: Vec::new(),
        })
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        let parking = self.parking(timeout);
        match self.poll.poll(&mut self.events, parking) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        self.turn = self.turn.wrapping_add(1);
        self.budget = RECEIVED_PER_WAIT;
        service.begin(self.epoch.elapsed());
        self.report_leftovers(service);
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKER => {
                    self.waker.take();
                    service.woken();
                }
                Token(listener) if listener >= FIRST_LISTENER => {
                    let place = listener - FIRST_LISTENER;
                    self.acceptors.look_at(place, event.is_read_closed());
                }
                _ => self.handle_event(event, service),
            }
        }
        self.events = events;
        let poll = &self.poll;
        self.acceptors.accept(service, |listener, _| {
            let _ = listener.deregister(poll.registry());
        });
        Ok(())
    }

    #[inline]
    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let Some(Entry {
            socket: Some(socket),
            held,
            ..
        }) = self.sockets.get(key)
        else {
            queue.clear();
            return Sent::Done;
        };
        debug_assert!(held.is_none(), "one send per socket");
        match socket.send_queue(queue) {
            Ok(Sent::Done) => return Sent::Done,
            Ok(Sent::Pending) => {
                queue.compact();
                *held = Some(Box::new(Held::Rest {
                    queue: std::mem::take(queue),
                    refused_in: self.turn,
                }));
            }
            Err(error) => {
                queue.clear();
                self.break_off(key, error);
            }
        }
        Sent::Pending
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        let Some(entry) = self.sockets.get(key) else {
            return 0;
        };
        let (Some(socket), Some(Held::Rest { queue, refused_in })) =
            (&mut entry.socket, entry.held.as_deref_mut())
        else {
            return 0;
        };
        // Linux tells of room once a third of a TCP buffer is free, or three quarters of a Unix
        // socket's: at the pace of a slow peer that is many seconds. It takes bytes long before.
        if *refused_in == self.turn {
            return queue.bytes();
        }
        match socket.send_queue(queue) {
            Ok(Sent::Pending) => {
                *refused_in = self.turn;
                return queue.bytes();
            }
            Ok(Sent::Done) => self.look_again(key),
            Err(error) => self.break_off(key, error),
        }
        0
    }

    fn pause(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            entry.paused = true;
        }
    }

    fn resume(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            entry.paused = false;
            if entry.readable {
                self.look_again(key);
            }
        }
    }

    fn finish(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            match (&entry.held, &entry.socket) {
                (None, Some(socket)) => socket.finish(),
                _ => entry.finishing = true,
            }
        }
    }

    fn close(&mut self, key: SocketKey) {
        let Some(mut socket) = self.release(key) else {
            return;
        };
        socket.discard_received(&mut self.buffer);
    }

    fn abort(&mut self, key: SocketKey) {
        if let Some(socket) = self.release(key) {
            socket.reset_on_close();
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
