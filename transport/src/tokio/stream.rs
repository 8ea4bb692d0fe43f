//! The streams that a [`TokioDriver`](super::TokioDriver) serves: the system's, and any other.

use std::io;
use std::task::Waker;

use crate::buffer::SendQueue;
use crate::driver::Sent;
use crate::readiness::{Edge, Stream};
use crate::socket::{Socket, SystemSocket};

use super::foreign::{BoxedStream, Foreign, Lingering};
use super::task::TaskStream;
use super::watch::{Descriptor, Watch};

/// A stream of either kind.
pub(crate) enum TokioStream {
    System(Watch<SystemSocket>),
    Foreign(Foreign),
}

/// Calls the method on whichever stream it is.
macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            TokioStream::System($stream) => $call,
            TokioStream::Foreign($stream) => $call,
        }
    };
}

impl TaskStream for TokioStream {
    fn adopt(socket: Socket, waker: Waker, lingering: &Lingering) -> io::Result<TokioStream> {
        match socket.into_foreign::<BoxedStream>() {
            Ok(stream) => {
                let stream = Foreign::new(stream, waker, lingering.clone());
                Ok(TokioStream::Foreign(stream))
            }
            Err(socket) => {
                let watch = Watch::new(socket.into_system()?, waker)?;
                Ok(TokioStream::System(watch))
            }
        }
    }

    fn edge(&mut self) -> Edge {
        on_stream!(self, stream => stream.edge())
    }

    fn into_socket(self) -> Option<Socket> {
        Some(match self {
            TokioStream::System(watch) => watch.into_inner().into(),
            TokioStream::Foreign(foreign) => Socket::foreign(foreign.into_inner()),
        })
    }
}

impl Stream for TokioStream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        on_stream!(self, stream => stream.receive(buffer))
    }

    fn short_receive_drains(&self) -> bool {
        on_stream!(self, stream => stream.short_receive_drains())
    }

    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        on_stream!(self, stream => stream.transmit(queue))
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

impl<T: Descriptor + AsRef<SystemSocket>> Stream for Watch<T> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.get_ref().as_ref().receive(buffer)
    }

    fn short_receive_drains(&self) -> bool {
        self.get_ref().as_ref().short_receive_drains()
    }

    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        self.write(|watch| watch.get_ref().as_ref().send_queue(queue))
    }

    fn finish(&mut self) {
        self.get_ref().as_ref().finish();
    }

    fn take_error(&self) -> Option<io::Error> {
        self.get_ref().as_ref().take_error()
    }

    fn close(self, scratch: &mut [u8]) {
        self.into_inner().as_ref().discard_received(scratch);
    }

    fn abort(self) {
        self.into_inner().as_ref().reset_on_close();
    }
}
