//! TLS for the side door: what a shard began goes on over a socket of tokio's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use throng_transport::tls::Pipe;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes received at once.
const RECEIVE: usize = 16 * 1024;
/// Records written at once.
const GATHERED: usize = 16;
/// Plain bytes sealed at once.
const SEAL: usize = 64 * 1024;

/// The plain bytes of a TLS connection whose records go over `stream`.
pub(super) struct Secure<S> {
    stream: S,
    pipe: Pipe,
    received: Box<[u8]>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secure<S> {
    pub(super) fn new(stream: S, pipe: Pipe) -> Secure<S> {
        Secure {
            stream,
            pipe,
            received: vec![0; RECEIVE].into_boxed_slice(),
        }
    }

    /// Writes the records that wait.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let records = self.pipe.records();
        while !records.is_empty() {
            let mut gathered = [IoSlice::new(&[]); GATHERED];
            let slices = records.gather(&mut gathered);
            let stream = Pin::new(&mut self.stream);
            let count = ready!(stream.poll_write_vectored(cx, &gathered[..slices]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            records.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secure<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let count = this.pipe.read(buffer.initialize_unfilled());
            buffer.advance(count);
            if count > 0 || buffer.remaining() == 0 || this.pipe.is_peer_done() {
                return Poll::Ready(Ok(()));
            }
            let mut received = ReadBuf::new(&mut this.received);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut received))?;
            if received.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let outcome = this.pipe.receive(received.filled_mut());
            // An answer that finds no room goes out with whatever is written next.
            if let Poll::Ready(Err(error)) = this.poll_records(cx) {
                return Poll::Ready(Err(error));
            }
            outcome?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secure<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_records(cx))?;
        let count = bytes.len().min(SEAL);
        self.pipe.seal(&bytes[..count])?;
        match self.poll_records(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_records(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.finish()?;
        ready!(self.poll_records(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
