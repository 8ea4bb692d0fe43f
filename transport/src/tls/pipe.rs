//! A TLS connection for whoever moves its records without a driver.

use std::fmt;
use std::io;

use super::link::TlsStream;
use super::session::{Outgoing, Session};
use crate::buffer::{ChunkPool, SendQueue};
use crate::socket::Socket;

/// The server's side of a TLS connection without a socket: records in, plain bytes out, and the other
/// way round.
///
/// It bounds nothing: whoever calls takes the plain bytes before more is received, and has the records
/// sent before more is sealed.
pub struct Pipe {
    session: Session,
    pool: ChunkPool,
    records: SendQueue,
    gathered: Vec<u8>,
    plain: Vec<u8>,
    is_finished: bool,
}

impl TlsStream {
    /// The socket, and the connection with what was received on it and not decrypted before.
    ///
    /// # Errors
    /// As for [`Pipe::receive`]. The socket is closed.
    pub fn into_parts(mut self) -> io::Result<(Socket, Pipe)> {
        let mut pipe = Pipe {
            session: self.session,
            pool: ChunkPool::keeping(0),
            records: SendQueue::new(),
            gathered: Vec::new(),
            plain: Vec::new(),
            is_finished: self.is_finished,
        };
        if !self.records.is_empty() {
            pipe.receive(&mut self.records)?;
        }
        Ok((self.socket, pipe))
    }
}

impl Pipe {
    /// Takes in records, whole or in parts. Bytes that it is given are changed.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the peer broke the rules; an alert is in
    /// [`records`](Pipe::records), and the connection is over.
    pub fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut outgoing = Outgoing {
            pool: &mut self.pool,
            queue: &mut self.records,
        };
        self.session
            .receive(bytes, &mut self.plain, &mut outgoing)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Takes up to as many of the plain bytes received as `out` has room for. How many it took.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.plain.len());
        out[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        count
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_peer_done(&self) -> bool {
        self.session.is_peer_done()
    }

    /// Makes records of plain bytes.
    ///
    /// # Errors
    /// When the handshake is not done, the connection is over, or the keys are used up.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut queue = SendQueue::new();
        queue.push(
            self.pool
                .write(bytes.len(), |out| out.copy_from_slice(bytes)),
        );
        let mut outgoing = Outgoing {
            pool: &mut self.pool,
            queue: &mut self.records,
        };
        self.session
            .seal(&mut queue, bytes.len(), &mut self.gathered, &mut outgoing)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Says that nothing more will be sent. More calls do nothing, nor does the first one after a fault of
    /// the peer's, when an alert was the last word.
    ///
    /// # Errors
    /// As for [`Pipe::seal`].
    pub fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_finished, true) || self.session.is_over() {
            return Ok(());
        }
        let mut outgoing = Outgoing {
            pool: &mut self.pool,
            queue: &mut self.records,
        };
        self.session.close(&mut outgoing).map_err(io::Error::other)
    }

    /// Records to be sent, in order; what was sent is to be [taken off](SendQueue::advance).
    pub fn records(&mut self) -> &mut SendQueue {
        &mut self.records
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("session", &self.session)
            .field("records", &self.records.bytes())
            .finish_non_exhaustive()
    }
}
