//! The streams that a [`TokioUringDriver`](super::TokioUringDriver) serves: the system's, and any other.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::timeout;

use super::letter::{Letter, Request};
use crate::buffer::SendQueue;
use crate::driver::Sent;
use crate::readiness::{Edge, Stream};
use crate::socket::{Socket, SystemSocket};
use crate::tokio::foreign::{BoxedStream, CLOSE_LINGER, Foreign, Lingering};
use crate::tokio::task::TaskStream;
use crate::tokio::watch::Watch;

/// Bytes that the end of a socket reads at once to drop them, where the driver has no buffer to lend.
const SCRATCH: usize = 4096;

/// A stream of either kind.
pub(super) enum RingStream {
    System(Posting),
    Foreign(Foreign),
}

/// A socket of the system's that is received from by readiness and sent to through the ring.
pub(super) struct Posting {
    watch: Watch<Rc<SystemSocket>>,
    /// What was handed over and did not go to the ring yet.
    letter: Option<Box<Letter>>,
    /// The ring has a letter of this socket.
    is_under_way: bool,
    lingering: Lingering,
}

impl Posting {
    /// The letter to be sent next, from `fresh` if there was none. Whether that is so.
    pub(super) fn write(
        &mut self,
        queue: &mut SendQueue,
        fresh: impl FnOnce() -> Box<Letter>,
    ) -> bool {
        let is_first = self.letter.is_none();
        let letter = self.letter.get_or_insert_with(fresh);
        letter.queue.append(queue);
        is_first
    }

    /// Whether the next send may go by the ring: nothing was handed over in this turn, or the ring has
    /// not answered to what came before.
    pub(super) fn may_write(&self) -> bool {
        self.letter.is_none() || self.is_under_way
    }

    /// Whether the ring has a letter that it has not answered to.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Gives the letter to the ring, unless it has one: what follows that goes with the answer.
    pub(super) fn submit(&mut self) -> Option<Request> {
        if self.is_under_way {
            return None;
        }
        let letter = self.letter.take()?;
        self.is_under_way = true;
        Some(letter.submit(Rc::clone(self.watch.get_ref())))
    }

    /// The ring has answered. Sends what is left of `queue`, and what was handed over meanwhile.
    pub(super) fn conclude(
        &mut self,
        answer: io::Result<usize>,
        queue: &mut SendQueue,
    ) -> io::Result<Sent> {
        self.is_under_way = false;
        match answer {
            Ok(count) => queue.advance(count),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        if let Some(mut behind) = self.letter.take() {
            queue.append(&mut behind.queue);
        }
        if queue.is_empty() {
            return Ok(Sent::Done);
        }
        self.watch.transmit(queue)
    }

    /// Bytes that were handed over and did not go to the ring yet.
    pub(super) fn handed_over(&self) -> usize {
        let letter = self.letter.as_ref();
        letter.map_or(0, |letter| letter.queue.bytes())
    }

    /// Sends what was handed over without the ring; what the system does not take stays.
    pub(super) fn send_directly(&mut self) -> io::Result<Sent> {
        let Some(letter) = &mut self.letter else {
            return Ok(Sent::Done);
        };
        if self.is_under_way || self.watch.transmit(&mut letter.queue)? == Sent::Pending {
            return Ok(Sent::Pending);
        }
        self.letter = None;
        Ok(Sent::Done)
    }

    /// Closes the socket, which was to be closed before the ring answered to `letter`: what is left of that
    /// and what was handed over behind it goes first.
    pub(super) fn part(mut self, answer: io::Result<usize>, mut letter: Box<Letter>) {
        self.letter = match self.conclude(answer, &mut letter.queue) {
            Ok(Sent::Pending) => Some(letter),
            // Behind a failure nothing more may follow.
            Ok(Sent::Done) | Err(_) => None,
        };
        Stream::close(self, &mut [0; SCRATCH]);
    }

    /// Gives the system what it had no room for when the socket was closed, once it has. A readiness
    /// driver would have said that the send is pending, and not been asked to close.
    fn linger(self) {
        let (Some(letter), Ok(place)) = (self.letter, self.lingering.try_acquire_owned()) else {
            return;
        };
        let Some(socket) = Rc::into_inner(self.watch.into_inner()) else {
            return;
        };
        let mut queue = letter.queue;
        tokio::spawn(async move {
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let Ok(mut watch) = Watch::new(socket, waker) else {
                return;
            };
            let parted = poll_fn(|_| match watch.transmit(&mut queue) {
                Ok(Sent::Pending) => Poll::Pending,
                // There is nobody left to be told.
                Ok(Sent::Done) | Err(_) => Poll::Ready(()),
            });
            let _ = timeout(CLOSE_LINGER, parted).await;
            Stream::close(watch, &mut [0; SCRATCH]);
            drop(place);
        });
    }
}

/// What a retry may cure.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

impl TaskStream for RingStream {
    fn adopt(socket: Socket, waker: Waker, lingering: &Lingering) -> io::Result<RingStream> {
        let lingering = lingering.clone();
        match socket.into_foreign::<BoxedStream>() {
            Ok(stream) => Ok(RingStream::Foreign(Foreign::new(stream, waker, lingering))),
            Err(socket) => Ok(RingStream::System(Posting {
                watch: Watch::new(Rc::new(socket.into_system()?), waker)?,
                letter: None,
                is_under_way: false,
                lingering,
            })),
        }
    }

    fn edge(&mut self) -> Edge {
        match self {
            RingStream::System(posting) => posting.watch.edge(),
            RingStream::Foreign(foreign) => foreign.edge(),
        }
    }

    fn into_socket(self) -> Option<Socket> {
        match self {
            RingStream::System(posting) => {
                Rc::into_inner(posting.watch.into_inner()).map(Socket::from)
            }
            RingStream::Foreign(foreign) => Some(Socket::foreign(foreign.into_inner())),
        }
    }
}

/// Calls the method on whichever stream it is.
macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            RingStream::System($stream) => $call,
            RingStream::Foreign($stream) => $call,
        }
    };
}

impl Stream for RingStream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        on_stream!(self, stream => stream.receive(buffer))
    }

    fn short_receive_drains(&self) -> bool {
        on_stream!(self, stream => stream.short_receive_drains())
    }

    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        on_stream!(self, stream => stream.transmit(queue))
    }

    fn is_posting(&self) -> bool {
        on_stream!(self, stream => stream.is_posting())
    }

    fn finish(&mut self) {
        on_stream!(self, stream => stream.finish());
    }

    fn take_error(&self) -> Option<io::Error> {
        on_stream!(self, stream => stream.take_error())
    }

    fn close(self, scratch: &mut [u8]) {
        on_stream!(self, stream => stream.close(scratch));
    }

    fn abort(self) {
        on_stream!(self, stream => stream.abort());
    }
}

impl Stream for Posting {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.receive(buffer)
    }

    fn short_receive_drains(&self) -> bool {
        self.watch.short_receive_drains()
    }

    /// Without the ring, behind what was handed over before.
    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        if let Some(mut letter) = self.letter.take() {
            letter.queue.append(queue);
            std::mem::swap(&mut letter.queue, queue);
        }
        self.watch.transmit(queue)
    }

    fn is_posting(&self) -> bool {
        self.letter.is_some() || self.is_under_way
    }

    fn finish(&mut self) {
        self.watch.finish();
    }

    fn take_error(&self) -> Option<io::Error> {
        self.watch.take_error()
    }

    fn close(mut self, scratch: &mut [u8]) {
        match self.send_directly() {
            Ok(Sent::Pending) if !self.is_under_way => self.linger(),
            _ => self.watch.close(scratch),
        }
    }

    fn abort(self) {
        self.watch.abort();
    }
}
