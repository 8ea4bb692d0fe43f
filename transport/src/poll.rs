//! The driver over readiness: non-blocking sockets and one `mio::Poll`.
//!
//! Every socket is registered once, for reading and writing, edge-triggered. The system
//! reports writability only after a send came up short, so the second interest costs nothing while
//! peers keep up.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Token};

use crate::acceptors::{Acceptors, MAX_LISTENERS};
use crate::buffer::SendQueue;
use crate::driver::{Detached, Driver, EVENTS_PER_WAIT, GENERATIONS, Sent, Service, SocketKey};
use crate::listener::{Acceptor, Listener};
use crate::readiness::{Edge, Readiness};
use crate::runtime::Waker;
use crate::socket::{Socket, SystemSocket};

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
    readiness: Readiness<SystemSocket>,
    /// By their tokens.
    acceptors: Acceptors,
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

fn edge(event: &Event) -> Edge {
    Edge {
        readable: event.is_readable(),
        writable: event.is_writable(),
        closed: event.is_read_closed() || event.is_error(),
        urgent: event.is_priority(),
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
            readiness: Readiness::new(options.expected_sockets, options.receive_buffer),
            acceptors: Acceptors::default(),
            waker,
            epoch: options.epoch,
        })
    }

    /// How long the poll may park, given what is already known to be due.
    fn parking(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.readiness.has_leftovers() {
            Some(Duration::ZERO)
        } else {
            self.acceptors.parking(timeout)
        }
    }
}

impl Driver for PollDriver {
    fn listen(&mut self, mut listener: Listener) -> io::Result<()> {
        let place = self.acceptors.vacancy()?;
        let token = Token(FIRST_LISTENER + place);
        listener.register(self.poll.registry(), token, Interest::READABLE)?;
        self.acceptors.insert(place, Acceptor::new(listener));
        Ok(())
    }

    fn stop_listening(&mut self) {
        for (acceptor, _) in self.acceptors.drain() {
            let _ = acceptor.into_listener().deregister(self.poll.registry());
        }
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        let mut socket = socket.into_system()?;
        self.readiness.check(key)?;
        socket.register(self.poll.registry(), token(key), INTEREST)?;
        self.readiness.insert(key, socket);
        Ok(())
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        let mut socket = self.readiness.take(key)?;
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
        service.begin(self.epoch.elapsed());
        self.readiness.begin(service);
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
                token => self.readiness.handle_edge(key(token), edge(event), service),
            }
        }
        self.events = events;
        let poll = &self.poll;
        self.acceptors.accept(service, |acceptor, _| {
            let _ = acceptor.into_listener().deregister(poll.registry());
        });
        Ok(())
    }

    #[inline]
    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        self.readiness.send(key, queue)
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.readiness.unsent(key)
    }

    fn pause(&mut self, key: SocketKey) {
        self.readiness.pause(key);
    }

    fn resume(&mut self, key: SocketKey) {
        self.readiness.resume(key);
    }

    fn finish(&mut self, key: SocketKey) {
        self.readiness.finish(key);
    }

    fn close(&mut self, key: SocketKey) {
        self.readiness.close(key);
    }

    fn abort(&mut self, key: SocketKey) {
        self.readiness.abort(key);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}
