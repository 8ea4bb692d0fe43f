//! Streams that are not the system's: whatever can be read from and written to in a task.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::buffer::SendQueue;
use crate::driver::Sent;
use crate::readiness::{Edge, Stream};
use crate::socket::{DISCARDS, GATHERED, Socket};

/// How long a stream that was closed may take to pass on what it was given.
pub(crate) const CLOSE_LINGER: Duration = Duration::from_secs(10);
/// Streams of one driver that do so at once; one more is dropped instead.
pub(crate) const MAX_LINGERING: usize = 1024;

/// Places for streams that linger.
pub(crate) type Lingering = Arc<Semaphore>;

/// What a foreign [`Socket`] holds.
pub(crate) struct BoxedStream(Pin<Box<dyn AnyStream>>);

trait AnyStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> AnyStream for T {}

impl Socket {
    /// A stream of any kind, for a [`TokioDriver`](super::TokioDriver): a connection that hyper has
    /// upgraded, one that is encrypted, [`tokio::io::duplex`]. Other drivers refuse it.
    ///
    /// What is sent is flushed ([`AsyncWrite::poll_flush`]) before it counts as sent, and when the
    /// socket is closed the stream is shut down, within ten seconds.
    pub fn from_stream(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Socket {
        Socket::foreign(BoxedStream(Box::pin(stream)))
    }
}

/// A stream that a driver serves.
pub(crate) struct Foreign {
    stream: BoxedStream,
    waker: Waker,
    /// Our side is to end, and may not have done so yet.
    is_ending: bool,
    lingering: Lingering,
}

impl Foreign {
    pub(crate) fn new(stream: BoxedStream, waker: Waker, lingering: Lingering) -> Foreign {
        Foreign {
            stream,
            waker,
            is_ending: false,
            lingering,
        }
    }

    /// A foreign stream does not say what it was woken for.
    pub(crate) fn edge(&mut self) -> Edge {
        if self.is_ending {
            self.finish();
        }
        Edge {
            readable: true,
            writable: true,
            ..Edge::default()
        }
    }

    pub(crate) fn into_inner(self) -> BoxedStream {
        self.stream
    }

    /// Calls one of the stream's `poll_` functions; what is pending would block.
    fn poll<T>(
        &mut self,
        call: impl FnOnce(Pin<&mut (dyn AnyStream + 'static)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut cx = Context::from_waker(&self.waker);
        match call(self.stream.0.as_mut(), &mut cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, queue: &SendQueue) -> io::Result<usize> {
        let mut gathered = [IoSlice::new(&[]); GATHERED];
        let count = queue.gather(&mut gathered);
        let slices = &gathered[..count];
        self.poll(|stream, cx| match slices {
            [single] => stream.poll_write(cx, single),
            [first, ..] if !stream.is_write_vectored() => stream.poll_write(cx, first),
            _ => stream.poll_write_vectored(cx, slices),
        })
    }
}

impl Stream for Foreign {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        self.poll(|stream, cx| stream.poll_read(cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }

    /// A stream wakes those only whom it told to wait.
    fn short_receive_drains(&self) -> bool {
        false
    }

    fn transmit(&mut self, queue: &mut SendQueue) -> io::Result<Sent> {
        while queue.bytes() > 0 {
            match self.write(queue) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => queue.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Sent::Pending);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.poll(AsyncWrite::poll_flush) {
            Ok(()) => {
                queue.clear();
                Ok(Sent::Done)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Pending),
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self) {
        let ended = self.poll(AsyncWrite::poll_shutdown);
        self.is_ending = ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    }

    fn take_error(&self) -> Option<io::Error> {
        None
    }

    fn close(mut self, scratch: &mut [u8]) {
        self.finish();
        // A socket below that is closed over bytes not received may drop what it was given.
        for _ in 0..DISCARDS {
            if !self.receive(scratch).is_ok_and(|count| count > 0) {
                break;
            }
        }
        if !self.is_ending {
            return;
        }
        let Ok(place) = self.lingering.try_acquire_owned() else {
            return;
        };
        let mut stream = self.stream.0;
        // Whether it ends or fails or takes too long, there is nobody left to be told.
        tokio::spawn(async move {
            let shutdown = poll_fn(|cx| stream.as_mut().poll_shutdown(cx));
            let _ = timeout(CLOSE_LINGER, shutdown).await;
            drop(place);
        });
    }

    fn abort(self) {}
}
