//! The fixture of a driver over streams that are not the system's: pipes in memory.

use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use throng_transport::Socket;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, DuplexStream, ReadBuf, duplex};

use super::{Buffers, Build, Far, Fixture};

/// What a pipe holds in each direction.
const DEFAULT: usize = 256 * 1024;
const SMALL: usize = 8 * 1024;
/// What a pipe that has to be flushed keeps.
const KEPT: usize = 3000;

/// The fixture of a driver over [`tokio::io::duplex`], or over pipes that keep what they are given until
/// they are flushed.
#[derive(Debug)]
pub struct OverPipe<B, const BUFFERED: bool>(PhantomData<B>);

/// Over [`tokio::io::duplex`].
pub type OverDuplex<B> = OverPipe<B, false>;
/// Over pipes that have to be flushed.
pub type OverBuffered<B> = OverPipe<B, true>;

impl<B, const BUFFERED: bool> Default for OverPipe<B, BUFFERED> {
    fn default() -> Self {
        OverPipe(PhantomData)
    }
}

impl<B: Build, const BUFFERED: bool> Fixture for OverPipe<B, BUFFERED> {
    type Driver = B::Driver;
    type Far = FarDuplex;

    fn driver(&mut self, receive_buffer: usize) -> B::Driver {
        B::build(receive_buffer)
    }

    fn pair(&mut self, buffers: Buffers) -> (Socket, FarDuplex) {
        let (near, far) = pipe(buffers);
        let near = if BUFFERED {
            Socket::from_stream(BufWriter::with_capacity(KEPT, near))
        } else {
            Socket::from_stream(near)
        };
        (near, far)
    }
}

fn pipe(buffers: Buffers) -> (DuplexStream, FarDuplex) {
    let holds = match buffers {
        Buffers::Default => DEFAULT,
        Buffers::Small => SMALL,
    };
    let (near, far) = duplex(holds);
    (near, FarDuplex(far))
}

/// The far end, which nobody wakes.
#[derive(Debug)]
pub struct FarDuplex(DuplexStream);

impl FarDuplex {
    fn poll<T>(
        &mut self,
        call: impl FnOnce(Pin<&mut DuplexStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut cx = Context::from_waker(Waker::noop());
        match call(Pin::new(&mut self.0), &mut cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for FarDuplex {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut bytes = ReadBuf::new(bytes);
        self.poll(|stream, cx| stream.poll_read(cx, &mut bytes))?;
        Ok(bytes.filled().len())
    }
}

impl Write for FarDuplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.poll(|stream, cx| stream.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(AsyncWrite::poll_flush)
    }
}

impl Far for FarDuplex {
    fn finish(&mut self) {
        self.poll(AsyncWrite::poll_shutdown).unwrap();
    }
}
