//! One connection: its socket, and the bytes that wait on either side of it.

#[cfg(not(target_os = "linux"))]
use std::io::Write;
use std::io::{self, ErrorKind, Read};

use mio::net::TcpStream;
#[cfg(target_os = "linux")]
use rustix::net::{RecvFlags, SendFlags};

use crate::clock::now;
use crate::frames::{self, Frame, FrameError, Keys, Opcode, Parsed};
use crate::handshake;

/// A frame larger than this that has come in part is read straight into its own buffer
/// rather than through the shared one, lest its start be copied for every read.
const DIRECT: usize = 16 * 1024;

/// A connection takes more messages into a write while it holds less than this.
pub(crate) const WRITE_BYTES: usize = 256 * 1024;

/// Pongs that wait for a server that does not read, in bytes; the rest are not sent.
const MAX_PONGS: usize = 64 * 1024;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The socket is connecting.
    Connecting,
    /// The upgrade request is on its way.
    Shaking,
    /// Frames go both ways.
    Open,
    /// Over, for whatever reason.
    Gone,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the server closed with code {0}")]
    Closed(u16),
    #[error("the server closed without a code")]
    ClosedBare,
    #[error("the server hung up")]
    HungUp,
    #[error("handshake: {0}")]
    Handshake(String),
    #[error("no answer to the handshake in time")]
    Late,
    #[error("no answer to the closing handshake in time")]
    Unclosed,
    #[error("protocol error: {0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl End {
    /// Whether it is a close frame of the server.
    pub(crate) fn is_close(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::ClosedBare)
    }
}

/// A connection of any phase.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Option<TcpStream>,
    phase: Phase,
    nonce: [u8; 16],
    /// The masking keys of its frames.
    keys: Keys,
    /// The socket took less than was offered; it will say when it takes more.
    blocked: bool,
    /// What is still to be written, whole frames at its end.
    pending: Vec<u8>,
    /// The start of a frame, or of the handshake's answer.
    partial: Vec<u8>,
    /// Total size of the frame in `partial` if it is read directly, otherwise 0.
    direct: usize,
}

impl Connection {
    /// A connection whose socket has begun to connect.
    pub(crate) fn new(socket: TcpStream, random: &mut fastrand::Rng) -> Self {
        let mut nonce = [0; 16];
        random.fill(&mut nonce);
        Self {
            socket: Some(socket),
            phase: Phase::Connecting,
            nonce,
            keys: Keys::new(random.u64(..)),
            blocked: false,
            pending: Vec::new(),
            partial: Vec::new(),
            direct: 0,
        }
    }

    /// A connection that never came about.
    pub(crate) fn stillborn() -> Self {
        Self {
            socket: None,
            phase: Phase::Gone,
            nonce: [0; 16],
            keys: Keys::new(0),
            blocked: false,
            pending: Vec::new(),
            partial: Vec::new(),
            direct: 0,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Ends the connection and gives back its socket and memory.
    pub(crate) fn end(&mut self) {
        *self = Self::stillborn();
    }

    /// Takes up the socket's being connected, or not: queues the upgrade request.
    pub(crate) fn handle_connected(&mut self, host: &str, path: &str) -> Result<(), End> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        if let Some(error) = socket.take_error()? {
            return Err(error.into());
        }
        match socket.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            other => other?,
        };
        self.pending = handshake::request(host, path, self.nonce);
        self.phase = Phase::Shaking;
        Ok(())
    }

    /// Reads the answer to the upgrade request; once it is complete the phase is open, and
    /// frames that came with it are handed to `handle`. Returns whether anything was read.
    pub(crate) fn receive_answer(
        &mut self,
        buffer: &mut [u8],
        limit: usize,
        mut handle: impl FnMut(Frame<'_>, u64),
    ) -> Result<bool, End> {
        let Some(socket) = &mut self.socket else {
            return Ok(false);
        };
        match receive_some(socket, buffer) {
            Ok(0) => return Err(End::HungUp),
            Ok(count) => self
                .partial
                .extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let answer = std::mem::take(&mut self.partial);
        match handshake::accepted(&answer, self.nonce).map_err(End::Handshake)? {
            None => self.partial = answer,
            Some(length) => {
                self.phase = Phase::Open;
                self.digest(answer.get(length..).unwrap_or_default(), limit, &mut handle)?;
            }
        }
        Ok(true)
    }

    /// Reads what has come and hands each message and pong to `handle` with the time it was
    /// read. `to_the_end` reads on until nothing is left, otherwise a read that does not
    /// fill `buffer` is the last: the edge-triggered poll tells of anything later.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        to_the_end: bool,
        buffer: &mut [u8],
        limit: usize,
        mut handle: impl FnMut(Frame<'_>, u64),
    ) -> Result<(), End> {
        loop {
            if self.direct > 0 && !self.gather(limit, &mut handle)? {
                return Ok(());
            }
            let start = self.partial.len();
            let Some(socket) = &mut self.socket else {
                return Ok(());
            };
            let Some((front, rest)) = buffer.split_at_mut_checked(start) else {
                return Ok(());
            };
            front.copy_from_slice(&self.partial);
            let filled = match receive_some(socket, rest) {
                Ok(0) => return Err(End::HungUp),
                Ok(count) => start + count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.partial.clear();
            self.digest(buffer.get(..filled).unwrap_or_default(), limit, &mut handle)?;
            if filled < buffer.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Queues a close frame with code 1000.
    pub(crate) fn close(&mut self) {
        let key = self.keys.draw();
        frames::encode(&mut self.pending, Opcode::Close, key, 2, |out| {
            out.extend_from_slice(&1000_u16.to_be_bytes());
        });
    }

    /// The socket takes more again. Tells whether anything waits for it.
    pub(crate) fn unblock(&mut self) -> bool {
        self.blocked = false;
        !self.pending.is_empty()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes once what is pending and what `encode` appends to it. Tells whether the
    /// socket took everything.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        scratch: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>, &mut Keys),
    ) -> Result<bool, End> {
        let Some(socket) = &mut self.socket else {
            return Ok(false);
        };
        if self.blocked {
            return Ok(false);
        }
        scratch.clear();
        scratch.append(&mut self.pending);
        if self.phase == Phase::Open {
            encode(scratch, &mut self.keys);
        }
        if scratch.is_empty() {
            return Ok(true);
        }
        let written = match send_some(socket, scratch) {
            Ok(count) => count,
            Err(error) if is_transient(&error) => 0,
            Err(error) => return Err(error.into()),
        };
        self.blocked = written < scratch.len();
        if self.blocked {
            self.pending
                .extend_from_slice(scratch.get(written..).unwrap_or_default());
        }
        Ok(!self.blocked)
    }

    /// Reads on with a frame of known size. True once it was whole and has been handled.
    fn gather(
        &mut self,
        limit: usize,
        handle: &mut impl FnMut(Frame<'_>, u64),
    ) -> Result<bool, End> {
        let Some(socket) = &mut self.socket else {
            return Ok(false);
        };
        let left = self.direct - self.partial.len();
        match socket.take(left as u64).read_to_end(&mut self.partial) {
            Ok(_) if self.partial.len() < self.direct => return Err(End::HungUp),
            Ok(_) => {}
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.direct = 0;
        let mut whole = std::mem::take(&mut self.partial);
        self.digest(&whole, limit, handle)?;
        // Keeps the allocation for the next frame of this size.
        whole.clear();
        self.partial = whole;
        Ok(true)
    }

    /// Handles the frames in `bytes` and keeps an incomplete one at their end.
    #[inline]
    fn digest(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        handle: &mut impl FnMut(Frame<'_>, u64),
    ) -> Result<(), End> {
        let time = now();
        loop {
            match frames::parse(bytes, limit)? {
                Parsed::Whole(frame, total) => {
                    bytes = bytes.get(total..).unwrap_or_default();
                    match frame.opcode {
                        Opcode::Close => return Err(closed(frame.payload)),
                        Opcode::Ping => self.answer(frame.payload),
                        _ => {}
                    }
                    handle(frame, time);
                }
                Parsed::Part(total) => {
                    if let Some(total) = total.filter(|&total| total > DIRECT) {
                        self.direct = total;
                        self.partial
                            .reserve_exact(total.saturating_sub(self.partial.len()));
                    }
                    self.partial.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
    }

    /// Queues the pong to a ping (RFC 6455 §5.5.3).
    fn answer(&mut self, payload: &[u8]) {
        if self.pending.len() < WRITE_BYTES + MAX_PONGS {
            let (key, len) = (self.keys.draw(), payload.len());
            frames::encode(&mut self.pending, Opcode::Pong, key, len, |out| {
                out.extend_from_slice(payload);
            });
        }
    }
}

/// Reads without the C library, whose calls can be cancelled, at some cost.
#[cfg(target_os = "linux")]
#[inline]
fn receive_some(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// Writes in the same way.
#[cfg(target_os = "linux")]
#[inline]
fn send_some(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

#[cfg(not(target_os = "linux"))]
fn receive_some(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    socket.read(buffer)
}

#[cfg(not(target_os = "linux"))]
fn send_some(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.write(bytes)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn closed(payload: &[u8]) -> End {
    match payload {
        [] => End::ClosedBare,
        [_] => FrameError::Close.into(),
        [high, low, ..] => End::Closed(u16::from_be_bytes([*high, *low])),
    }
}
