//! The floor on completions: the kernel receives by itself, and the sends of a turn are handed over
//! together, in the call that waits for the next.
//!
//! A send that a socket has room for completes in silence while it is handed over; one completion
//! for each that it has no room for comes in the same call. So when a call returns, every send
//! before it is decided, and none can overtake another.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use slab::Slab;
use socket2::SockRef;

use super::Audience;
use super::inbound::{GOODBYE, Inbound, Received};
use super::ring::{Completion, Piece, Ring};
use crate::tape::{Tape, client_frame};

/// Bits of a key that are the connection's place; those above are its age, so that what
/// completes late is not taken for a successor's.
const PLACE: u32 = 32;
const AGE: u64 = (1 << 28) - 1;

/// The loop with its sockets.
pub(super) struct Floor {
    ring: Ring,
    listener: TcpListener,
    accepting: bool,
    connections: Slab<Connection>,
    /// Connections that were ever accepted.
    accepted: u64,
    /// Connections that may be owed something at the end of the turn.
    dirty: Vec<usize>,
    audience: Audience,
    client_frame: usize,
}

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Floor").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What its requests are known by.
    key: u64,
    inbound: Inbound,
    /// Bytes to send.
    owed: usize,
    /// Bytes sent of the frame that the next byte belongs to.
    phase: usize,
    /// Bytes of those owed that were offered last: they are sent, unless a completion tells.
    offered: usize,
    /// A send waits for room, and others for its end.
    blocked: bool,
}

impl Floor {
    /// Listens on `addr` for clients whose messages all have `payload` bytes.
    ///
    /// # Errors
    /// When the address cannot be bound or the system has no such ring.
    pub(super) fn bind(addr: SocketAddr, audience: Audience, payload: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        // Connections have it from their listener.
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        Ok(Self {
            ring: Ring::new(Tape::new(payload))?,
            listener,
            accepting: false,
            connections: Slab::new(),
            accepted: 0,
            dirty: Vec::new(),
            audience,
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

    /// Hands over what is to be sent and waits, at most for `timeout`; then first takes in all
    /// that has completed, then asks for a send to each that is owed something.
    ///
    /// # Errors
    /// When waiting or accepting fails. What fails on a connection closes that connection.
    pub(super) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.accepting {
            self.ring.accept(&self.listener)?;
            self.accepting = true;
        }
        self.ring.wait(timeout)?;
        let mut frames = 0;
        while let Some(completion) = self.ring.next() {
            match completion {
                Completion::Accepted { stream, more } => {
                    self.accepting = more;
                    self.accept(stream)?;
                }
                Completion::Received {
                    key,
                    result,
                    bytes,
                    more,
                } => {
                    let Some(connection) = find(&mut self.connections, key) else {
                        continue;
                    };
                    let received = connection.receive(result, bytes, self.client_frame).ok();
                    frames += self.handle(key, received, more)?;
                }
                Completion::Sent { key, result } => self.sent(key, result)?,
            }
        }
        self.flush(frames)
    }

    fn accept(&mut self, stream: io::Result<TcpStream>) -> io::Result<()> {
        let stream = match stream {
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return Ok(()),
            stream => stream?,
        };
        let entry = self.connections.vacant_entry();
        let key = (self.accepted & AGE) << PLACE | entry.key() as u64;
        self.accepted += 1;
        self.ring.receive(&stream, key)?;
        entry.insert(Connection {
            stream,
            key,
            inbound: Inbound::new(),
            owed: 0,
            phase: 0,
            offered: 0,
            blocked: false,
        });
        Ok(())
    }

    /// Acts on what was received: messages, or nothing at the end of the stream. Returns the messages.
    fn handle(&mut self, key: u64, received: Option<usize>, more: bool) -> io::Result<usize> {
        let slot = place(key);
        let Some(messages) = received else {
            self.connections.remove(slot).end();
            return Ok(0);
        };
        let connection = &mut self.connections[slot];
        if !more {
            self.ring.receive(&connection.stream, key)?;
        }
        if self.audience == Audience::Sender && messages > 0 {
            connection.owed += messages * self.ring.tape().frame();
            self.dirty.push(slot);
        }
        Ok(messages)
    }

    /// Sends the rest of what a socket did not have room for at once.
    #[cold]
    fn sent(&mut self, key: u64, result: i32) -> io::Result<()> {
        let Some(connection) = find(&mut self.connections, key) else {
            return Ok(());
        };
        let len = match usize::try_from(result) {
            Ok(len) => len,
            Err(_) if result == -libc::EAGAIN => 0,
            Err(_) => {
                self.connections.remove(place(key)).end();
                return Ok(());
            }
        };
        connection.offered = 0;
        connection.advance(len, self.ring.tape().frame());
        connection.blocked = connection.owed > 0;
        if connection.blocked {
            self.ring
                .send(&connection.stream, connection.piece(), key)?;
        }
        Ok(())
    }

    /// Asks for one send to each connection that is owed something and is not waiting.
    fn flush(&mut self, frames: usize) -> io::Result<()> {
        if self.audience == Audience::Everyone && frames > 0 {
            let bytes = frames * self.ring.tape().frame();
            for (_, connection) in &mut self.connections {
                if connection.inbound.is_open() {
                    connection.owed += bytes;
                    connection.flush(&mut self.ring)?;
                }
            }
        }
        for slot in self.dirty.drain(..) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.flush(&mut self.ring)?;
            }
        }
        Ok(())
    }
}

fn place(key: u64) -> usize {
    (key & ((1 << PLACE) - 1)) as usize
}

/// The connection whose request that was, if it is still there.
#[inline]
fn find(connections: &mut Slab<Connection>, key: u64) -> Option<&mut Connection> {
    let connection = connections.get_mut(place(key));
    connection.filter(|connection| connection.key == key)
}

impl Connection {
    /// Takes in what has arrived. Returns the messages completed by it.
    #[inline]
    fn receive(&mut self, result: i32, bytes: &[u8], frame: usize) -> io::Result<usize> {
        if bytes.is_empty() {
            // Without a free buffer, the request only has to be made again.
            return match result {
                _ if result == -libc::ENOBUFS => Ok(0),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        }
        match self.inbound.take(bytes, frame)? {
            Received::Messages(messages) => Ok(messages),
            Received::Opened { answer, messages } => {
                // The send buffer of a fresh socket always has room for it.
                self.stream.write_all(answer.as_bytes())?;
                Ok(messages)
            }
            Received::Close => {
                // To a client that does not read it is not worth waiting for.
                self.stream.set_nonblocking(true)?;
                self.stream.write_all(&GOODBYE)?;
                Err(ErrorKind::UnexpectedEof.into())
            }
        }
    }

    /// Ends the stream. Its requests, which hold it open otherwise, end with it.
    fn end(self) {
        // If it is no longer connected, they have.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn piece(&self) -> Piece {
        Piece {
            phase: self.phase,
            len: self.owed,
        }
    }

    fn advance(&mut self, len: usize, frame: usize) {
        self.owed -= len;
        self.phase = (self.phase + len) % frame;
    }

    /// Offers all that is owed, or what of it lies in one piece of the tape.
    #[inline]
    fn flush(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.blocked {
            return Ok(());
        }
        let offered = std::mem::take(&mut self.offered);
        self.advance(offered, ring.tape().frame());
        let piece = self.piece();
        let len = ring.tape().next(piece.phase, piece.len).len();
        if len < piece.len {
            self.blocked = true;
            return ring.send(&self.stream, piece, self.key);
        }
        if len > 0 {
            self.offered = len;
            ring.offer(&self.stream, piece, self.key)?;
        }
        Ok(())
    }
}
