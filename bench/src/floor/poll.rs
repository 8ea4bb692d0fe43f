//! The floor on readiness: each socket that has something is read, each that is owed something
//! written, with a call of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Audience;
use super::inbound::{GOODBYE, Inbound, Received};
use crate::tape::{Tape, client_frame};

/// Events taken per turn, as many as the engine takes: few enough that the sockets a turn has
/// read are still in the core's cache, the kernel's part too, when it writes to them. With more,
/// ten thousand connections cost more, and this would not be the least.
const EVENTS: usize = 256;
/// Bytes of the one receive buffer.
const RECEIVE_BUFFER: usize = 256 * 1024;
const LISTENER: Token = Token(usize::MAX);

/// The loop with its sockets.
#[derive(Debug)]
pub(super) struct Floor {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    connections: Slab<Connection>,
    /// Connections that may be owed something at the end of the turn.
    dirty: Vec<usize>,
    buffer: Box<[u8]>,
    audience: Audience,
    tape: Tape,
    client_frame: usize,
}

impl Floor {
    /// Listens on `addr` for clients whose messages all have `payload` bytes.
    ///
    /// # Errors
    /// When the address cannot be bound or the system has no descriptors left.
    pub(super) fn bind(addr: SocketAddr, audience: Audience, payload: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(addr)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            listener,
            connections: Slab::new(),
            dirty: Vec::new(),
            buffer: vec![0; RECEIVE_BUFFER].into(),
            audience,
            tape: Tape::new(payload),
            client_frame: client_frame(payload),
        })
    }

    /// The address clients connect to.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for events, at most for `timeout`; then first reads all sockets that have
    /// something, then writes all that are owed something.
    ///
    /// # Errors
    /// When waiting or accepting fails. What fails on a connection closes that connection.
    pub(super) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let (mut frames, mut accept) = (0, false);
        for event in &self.events {
            if event.token() == LISTENER {
                accept = true;
                continue;
            }
            let slot = event.token().0;
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            match connection.handle(event, &mut self.buffer, self.client_frame) {
                Ok(received) => {
                    frames += received;
                    if self.audience == Audience::Sender {
                        connection.owed += received * self.tape.frame();
                    }
                    if connection.owed > 0 {
                        self.dirty.push(slot);
                    }
                }
                // Dropping a socket takes it off the poll.
                Err(_) => drop(self.connections.remove(slot)),
            }
        }
        self.flush(frames);
        // Last, so that no event of this turn can be taken for one of a new connection.
        if accept { self.accept() } else { Ok(()) }
    }

    /// Writes each connection that is owed something once.
    fn flush(&mut self, frames: usize) {
        let mut failed = Vec::new();
        if self.audience == Audience::Everyone && frames > 0 {
            let bytes = frames * self.tape.frame();
            for (slot, connection) in &mut self.connections {
                if connection.inbound.is_open() {
                    connection.owed += bytes;
                    if connection.flush(&self.tape).is_err() {
                        failed.push(slot);
                    }
                }
            }
        }
        for &slot in &self.dirty {
            if let Some(connection) = self.connections.get_mut(slot)
                && connection.flush(&self.tape).is_err()
            {
                failed.push(slot);
            }
        }
        self.dirty.clear();
        for slot in failed {
            self.connections.try_remove(slot);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            // The system reports writability only after a write came up short, so the second
            // interest costs nothing while clients keep up.
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(Connection::new(stream));
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    inbound: Inbound,
    /// Bytes to send.
    owed: usize,
    /// Bytes sent of the frame that the next byte belongs to.
    phase: usize,
    /// The system takes nothing until it says so.
    blocked: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbound: Inbound::new(),
            owed: 0,
            phase: 0,
            blocked: false,
        }
    }

    /// Takes in what an event tells of. Returns the messages completed by it.
    fn handle(&mut self, event: &Event, buffer: &mut [u8], frame: usize) -> io::Result<usize> {
        if event.is_writable() {
            self.blocked = false;
        }
        if !event.is_readable() && !event.is_read_closed() {
            return Ok(0);
        }
        let mut messages = 0;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match self.inbound.take(&buffer[..len], frame)? {
                Received::Messages(more) => messages += more,
                Received::Opened {
                    answer,
                    messages: more,
                } => {
                    // The send buffer of a fresh socket always has room for it.
                    self.stream.write_all(answer.as_bytes())?;
                    messages += more;
                }
                Received::Close => {
                    self.stream.write_all(&GOODBYE)?;
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            // A read that left room in the buffer has emptied the socket (epoll(7)); only an
            // end of the stream would be announced by no further event.
            if len < buffer.len() && !event.is_read_closed() {
                break;
            }
        }
        Ok(messages)
    }

    /// Writes what is owed as far as the system takes it: one write, unless the piece of the
    /// tape is too short.
    #[inline]
    fn flush(&mut self, tape: &Tape) -> io::Result<()> {
        while self.owed > 0 && !self.blocked {
            let bytes = tape.next(self.phase, self.owed);
            match self.stream.write(bytes) {
                Ok(len) => {
                    self.owed -= len;
                    self.phase = (self.phase + len) % tape.frame();
                    self.blocked = len < bytes.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
