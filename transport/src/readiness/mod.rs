//! What drivers over readiness share: the table of sockets, and what an edge leads to.
//!
//! A driver finds the edges, in whatever way its system or runtime tells of them; [`Readiness`]
//! does the rest. An edge is remembered rather than acted on at once where the contract asks for it:
//! a paused socket keeps `readable`; a receive buffer that was filled, or an end behind the bytes, puts
//! the socket on the `again` list.

mod sockets;

use std::io;

use crate::buffer::SendQueue;
use crate::driver::{GENERATIONS, RECEIVED_PER_WAIT, Sent, Service, SocketKey};
use crate::socket::SystemSocket;
use crate::table::Table;
use sockets::{Entry, Held};

/// Whether an edge follows a receive that did not fill the buffer, even though the system was
/// not asked until it said that there is nothing. On Windows mio watches again only then.
const SHORT_RECEIVE_DRAINS: bool = cfg!(unix);

/// A stream that tells when it would block, and of whose edges somebody tells the driver.
pub(crate) trait Stream: Sized {
    /// Receives into `buffer`; 0 is the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether an edge follows a receive that did not fill the buffer.
    fn short_receive_drains(&self) -> bool;

    /// Hands over as much of `queue` as is taken. Once all of it is, the queue is empty.
    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent>;

    /// Whether something was handed over that is not on its way yet, nor pending.
    fn is_posting(&self) -> bool {
        false
    }

    /// Ends our side of the stream.
    fn finish(&mut self);

    /// The error that is held for this stream, if any.
    fn take_error(&self) -> Option<io::Error>;

    /// Lets what was handed over arrive. `scratch` may be written to.
    fn close(self, scratch: &mut [u8]);

    /// Drops what was handed over, and lets the peer know where it can.
    fn abort(self);
}

/// What has become of a socket since its last edge.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edge {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of the stream or an error waits behind the bytes.
    pub(crate) closed: bool,
    /// A receive may stop short of bytes that are there: urgent data lies between.
    pub(crate) urgent: bool,
}

/// The sockets of a driver, and what is due of them.
pub(crate) struct Readiness<S> {
    sockets: Table<Entry<S>>,
    /// Sockets with something to receive or report that no event will announce.
    again: Vec<SocketKey>,
    /// Scratch for `again` while it is worked off.
    due: Vec<SocketKey>,
    /// The number of the wait, wrapping.
    turn: u32,
    /// Bytes that this wait may still deliver.
    budget: usize,
    buffer: Box<[u8]>,
}

impl<S: Stream> Readiness<S> {
    /// A table with room for `expected` sockets, and the one buffer that all receive into.
    pub(crate) fn new(expected: usize, receive_buffer: usize) -> Readiness<S> {
        Readiness {
            sockets: Table::with_capacity(expected),
            again: Vec::new(),
            due: Vec::new(),
            turn: 0,
            budget: 0,
            buffer: vec![0; receive_buffer].into_boxed_slice(),
        }
    }

    /// Whether a socket may be adopted under `key`.
    pub(crate) fn check(&self, key: SocketKey) -> io::Result<()> {
        if key.generation >= GENERATIONS || self.sockets.is_taken(key.slot) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    /// Takes over a socket under a key that was [checked](Self::check).
    pub(crate) fn insert(&mut self, key: SocketKey, socket: S) {
        let entry = Entry {
            socket: Some(socket),
            generation: key.generation,
            ..Entry::default()
        };
        self.sockets.insert(key.slot, entry);
    }

    /// Takes a socket out, unless a send is pending.
    pub(crate) fn take(&mut self, key: SocketKey) -> Option<S> {
        let entry = self.sockets.get(key)?;
        let is_posting = entry.socket.as_ref().is_some_and(S::is_posting);
        if entry.held.is_some() || is_posting {
            return None;
        }
        self.release(key)
    }

    /// The key under which the slot is taken.
    #[cfg(all(unix, feature = "tokio"))]
    pub(crate) fn key(&self, slot: u32) -> Option<SocketKey> {
        self.sockets.key(slot)
    }

    #[cfg(all(unix, feature = "tokio"))]
    pub(crate) fn socket(&mut self, key: SocketKey) -> Option<&mut S> {
        self.sockets.get(key)?.socket.as_mut()
    }

    /// Whether something is due without an event.
    pub(crate) fn has_leftovers(&self) -> bool {
        !self.again.is_empty()
    }

    /// Begins a wait: reports what earlier waits and sends left over. Whoever is not served now is the
    /// first next time.
    pub(crate) fn begin(&mut self, service: &mut impl Service) {
        self.turn = self.turn.wrapping_add(1);
        self.budget = RECEIVED_PER_WAIT;
        self.report_leftovers(service);
    }

    /// Takes note of an edge; receiving happens where it is found, everything else is told.
    pub(crate) fn handle_edge(&mut self, key: SocketKey, edge: Edge, service: &mut impl Service) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        entry.hung_up |= edge.closed;
        entry.urgent |= edge.urgent;
        if edge.writable && entry.held.is_some() {
            self.continue_send(key, service);
        }
        if edge.readable || edge.closed {
            self.receive(key, service);
        }
    }

    #[inline]
    pub(crate) fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
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
        match socket.transmit(queue) {
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

    /// Tells what became of a send that was said to be done, as [`Stream::transmit`] would have said at
    /// once: `rest` is what the stream did not take.
    #[cfg(all(target_os = "linux", feature = "tokio-uring"))]
    pub(crate) fn decide(
        &mut self,
        key: SocketKey,
        outcome: io::Result<Sent>,
        rest: &mut SendQueue,
        service: &mut impl Service,
    ) {
        let Some(entry) = self.sockets.get(key) else {
            return;
        };
        match outcome {
            Ok(Sent::Done) => {
                if let (true, Some(socket)) = (entry.finishing, &mut entry.socket) {
                    socket.finish();
                }
            }
            Ok(Sent::Pending) => {
                rest.compact();
                service.stalled(key, unsent(rest));
                entry.held = Some(Box::new(Held::Rest {
                    queue: std::mem::take(rest),
                    refused_in: self.turn,
                }));
            }
            Err(error) => {
                // So that nothing more is sent until the failure is told.
                service.stalled(key, unsent(rest));
                self.break_off(key, error);
            }
        }
    }

    pub(crate) fn unsent(&mut self, key: SocketKey) -> usize {
        let Some(entry) = self.sockets.get(key) else {
            return 0;
        };
        let (Some(socket), Some(held)) = (&mut entry.socket, entry.held.as_deref_mut()) else {
            return 0;
        };
        let Held::Rest { queue, refused_in } = held else {
            return 0;
        };
        // Linux tells of room once a third of a TCP buffer is free, or three quarters of a Unix
        // socket's: at the pace of a slow peer that is many seconds. It takes bytes long before.
        if *refused_in == self.turn {
            return unsent(queue);
        }
        match socket.transmit(queue) {
            Ok(Sent::Pending) => {
                *refused_in = self.turn;
                return unsent(queue);
            }
            Ok(Sent::Done) => {
                *held = Held::Sent;
                self.look_again(key);
            }
            Err(error) => self.break_off(key, error),
        }
        0
    }

    pub(crate) fn pause(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            entry.paused = true;
        }
    }

    pub(crate) fn resume(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            entry.paused = false;
            if entry.readable {
                self.look_again(key);
            }
        }
    }

    pub(crate) fn finish(&mut self, key: SocketKey) {
        if let Some(entry) = self.sockets.get(key) {
            match (&entry.held, &mut entry.socket) {
                (None, Some(socket)) if !socket.is_posting() => socket.finish(),
                _ => entry.finishing = true,
            }
        }
    }

    pub(crate) fn close(&mut self, key: SocketKey) {
        if let Some(socket) = self.release(key) {
            socket.close(&mut self.buffer);
        }
    }

    pub(crate) fn abort(&mut self, key: SocketKey) {
        if let Some(socket) = self.release(key) {
            socket.abort();
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
        let drains = socket.short_receive_drains();
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
                entry.readable = full || more || !drains;
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
        let (Some(socket), Some(held)) = (&mut entry.socket, entry.held.as_deref_mut()) else {
            return;
        };
        match held {
            Held::Rest { queue, refused_in } => match socket.transmit(queue) {
                Ok(Sent::Done) => {}
                Ok(Sent::Pending) => return *refused_in = self.turn,
                Err(error) => return self.break_off(key, error),
            },
            Held::Sent => {}
            Held::Failure(_) => return,
        }
        if entry.finishing {
            socket.finish();
        }
        entry.held = None;
        service.sent(key);
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
            None if entry.hung_up => entry.socket.as_ref().and_then(S::take_error),
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

    /// Takes the socket out of the table, with whatever is pending or due of it.
    pub(crate) fn release(&mut self, key: SocketKey) -> Option<S> {
        self.sockets.remove(key)?.socket
    }

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

/// What is left of a send. There is something as long as the stream has not passed all of it on.
fn unsent(queue: &SendQueue) -> usize {
    queue.bytes().max(1)
}

impl Stream for SystemSocket {
    #[inline]
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        SystemSocket::receive(self, buffer)
    }

    #[inline]
    fn short_receive_drains(&self) -> bool {
        SHORT_RECEIVE_DRAINS
    }

    #[inline]
    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        self.send_queue(queue)
    }

    fn finish(&mut self) {
        SystemSocket::finish(self);
    }

    fn take_error(&self) -> Option<io::Error> {
        SystemSocket::take_error(self)
    }

    fn close(self, scratch: &mut [u8]) {
        self.discard_received(scratch);
    }

    fn abort(self) {
        self.reset_on_close();
    }
}
