//! The ends of simulated connections.

use std::io::{self, Read, Write};

use super::Network;
use super::faults::Faults;
use super::state::{EndId, Owner};

/// An end, released when dropped.
#[derive(Debug)]
pub(super) struct SimSocket {
    network: Network,
    end: EndId,
}

impl SimSocket {
    pub(super) fn new(network: &Network, end: EndId) -> SimSocket {
        SimSocket {
            network: network.clone(),
            end,
        }
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(super) fn end(&self) -> EndId {
        self.end
    }

    pub(super) fn own(&self, owner: Option<Owner>) {
        self.network.state().own(self.end, owner);
    }

    pub(super) fn faults(&self) -> Faults {
        self.network.state().faults(self.end)
    }

    pub(super) fn receive(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.network.state().read(self.end, out)
    }

    pub(super) fn send<'b>(&mut self, parts: impl Iterator<Item = &'b [u8]>) -> io::Result<usize> {
        self.network.state().write(self.end, parts)
    }

    pub(super) fn finish(&self) {
        self.network.state().finish(self.end);
    }

    /// Releases the end whether or not bytes were read.
    pub(super) fn close(self) {
        let mut state = self.network.state();
        state.discard(self.end);
        state.close(self.end);
    }

    pub(super) fn reset(self) {
        self.network.state().reset(self.end);
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.network.state().close(self.end);
    }
}

/// A client's end of a simulated connection. Reading and writing never block
/// ([`io::ErrorKind::WouldBlock`]). Dropping it closes it, or resets the connection where bytes were
/// not read.
#[derive(Debug)]
pub struct SimFar {
    socket: SimSocket,
    /// The reset was told; reads find the end from now on.
    is_over: bool,
}

impl SimFar {
    pub(super) fn new(socket: SimSocket) -> SimFar {
        SimFar {
            socket,
            is_over: false,
        }
    }

    /// The connection's number: they are counted from 0.
    pub fn number(&self) -> usize {
        self.socket.end.connection()
    }

    /// How the network treats the connection.
    pub fn faults(&self) -> Faults {
        self.socket.faults()
    }

    /// Ends this side of the stream; reading goes on.
    pub fn finish(&mut self) {
        self.socket.finish();
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.socket.network.state().reset(self.socket.end);
    }

    /// Leaves without a word: nobody learns of it, and what is sent to this end is never taken.
    pub fn vanish(self) {
        self.socket.network.state().vanish(self.socket.end);
    }
}

impl Read for SimFar {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        let read = self.socket.receive(out);
        self.is_over =
            matches!(&read, Err(error) if error.kind() == io::ErrorKind::ConnectionReset);
        read
    }
}

impl Write for SimFar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send(std::iter::once(bytes)) {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
