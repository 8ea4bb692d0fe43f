//! Connected byte streams: TCP and, on Unix, local sockets; and what else a driver may know.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
#[cfg(not(target_os = "linux"))]
use std::io::{Read, Write};
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
#[cfg(target_os = "linux")]
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{SockRef, TcpKeepalive};

use crate::buffer::SendQueue;
use crate::driver::Sent;

/// Slices gathered into one write.
pub(crate) const GATHERED: usize = 64;
/// Reads that a close spends on what was not delivered.
pub(crate) const DISCARDS: usize = 64;

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The remote address of a TCP connection.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket.
    Unix,
}

impl Peer {
    /// The remote address of a TCP connection.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        }
    }
}

/// Options of accepted TCP sockets. Nagle's algorithm is always off: a turn sends what it has
/// in one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Idle time before the system probes the peer; `None` leaves keep-alive off.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged before the system gives the connection up
    /// (`TCP_USER_TIMEOUT`, Linux only).
    pub user_timeout: Option<Duration>,
}

/// A connected byte stream, on its way to the driver that adopts it.
pub struct Socket {
    kind: Kind,
    is_clear: bool,
}

enum Kind {
    System(SystemSocket),
    Foreign(Box<dyn Any + Send>),
}

impl Socket {
    /// A socket from a connected stream of the standard library.
    ///
    /// # Errors
    /// When the stream cannot be made non-blocking.
    pub fn from_std(stream: StdStream) -> io::Result<Socket> {
        SystemSocket::from_std(stream).map(Socket::from)
    }

    /// The stream as the standard library's, or the socket as it was when it is not one of the system.
    ///
    /// # Errors
    /// The socket, when it is [foreign](Socket::foreign).
    pub fn into_std(self) -> Result<StdStream, Socket> {
        match self.kind {
            Kind::System(socket) => Ok(socket.into_std()),
            Kind::Foreign(_) => Err(self),
        }
    }

    /// A stream of any kind, that drivers who know `T` can adopt. Others refuse it.
    pub fn foreign<T: Any + Send>(stream: T) -> Socket {
        Socket::of(Kind::Foreign(Box::new(stream)))
    }

    /// The stream that was given to [`Socket::foreign`], or the socket as it was when that is none
    /// or of another type.
    ///
    /// # Errors
    /// The socket, when it holds no `T`.
    pub fn into_foreign<T: Any>(self) -> Result<T, Socket> {
        match self.kind {
            Kind::Foreign(stream) => match stream.downcast() {
                Ok(stream) => Ok(*stream),
                Err(stream) => Err(Socket {
                    kind: Kind::Foreign(stream),
                    is_clear: self.is_clear,
                }),
            },
            Kind::System(_) => Err(self),
        }
    }

    /// Whether this is a stream that was given to [`Socket::foreign`].
    pub fn is_foreign(&self) -> bool {
        matches!(self.kind, Kind::Foreign(_))
    }

    /// The same socket, to be left as it is by a layer that would secure it (TLS): its bytes are plain, or
    /// somebody else has seen to them.
    #[must_use]
    pub fn in_clear(self) -> Socket {
        Socket {
            is_clear: true,
            ..self
        }
    }

    /// Whether [`in_clear`](Socket::in_clear) was said of it.
    pub fn is_in_clear(&self) -> bool {
        self.is_clear
    }

    fn of(kind: Kind) -> Socket {
        Socket {
            kind,
            is_clear: false,
        }
    }

    /// Whether this is a Unix socket of the system, whose bytes never leave the machine.
    pub fn is_unix(&self) -> bool {
        match &self.kind {
            #[cfg(unix)]
            Kind::System(SystemSocket(Stream::Unix(_))) => true,
            _ => false,
        }
    }

    /// The socket of the system, for a driver that can adopt no other.
    pub(crate) fn into_system(self) -> io::Result<SystemSocket> {
        match self.kind {
            Kind::System(socket) => Ok(socket),
            Kind::Foreign(_) => Err(unsupported()),
        }
    }
}

/// What a driver says to a socket or a listener of a kind that it does not know.
pub(crate) fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this driver knows only what is the system's",
    )
}

impl From<SystemSocket> for Socket {
    fn from(socket: SystemSocket) -> Socket {
        Socket::of(Kind::System(socket))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::System(socket) => f.debug_tuple("Socket").field(socket).finish(),
            Kind::Foreign(_) => f.debug_tuple("Socket").field(&"foreign").finish(),
        }
    }
}

/// A connected, non-blocking socket of the system.
#[derive(Debug)]
pub(crate) struct SystemSocket(Stream);

#[derive(Debug)]
enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

/// A socket given back to the standard library, still non-blocking.
#[derive(Debug)]
pub enum StdStream {
    /// A TCP connection.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

/// Calls the method on whichever stream it is.
macro_rules! on_stream {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
        }
    };
}

impl SystemSocket {
    pub(crate) fn tcp(stream: mio::net::TcpStream) -> SystemSocket {
        SystemSocket(Stream::Tcp(stream))
    }

    #[cfg(unix)]
    pub(crate) fn unix(stream: mio::net::UnixStream) -> SystemSocket {
        SystemSocket(Stream::Unix(stream))
    }

    fn from_std(stream: StdStream) -> io::Result<SystemSocket> {
        Ok(match stream {
            StdStream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                SystemSocket::tcp(mio::net::TcpStream::from_std(stream))
            }
            #[cfg(unix)]
            StdStream::Unix(stream) => {
                stream.set_nonblocking(true)?;
                SystemSocket::unix(mio::net::UnixStream::from_std(stream))
            }
        })
    }

    fn into_std(self) -> StdStream {
        match self.0 {
            Stream::Tcp(stream) => StdStream::Tcp(stream.into()),
            #[cfg(unix)]
            Stream::Unix(stream) => StdStream::Unix(stream.into()),
        }
    }

    /// Sets the options; those that the system refuses are left as they are, since a
    /// connection works without them.
    pub(crate) fn set_options(&self, options: &SocketOptions) {
        #[cfg_attr(not(unix), expect(clippy::infallible_destructuring_match))]
        let stream = match &self.0 {
            Stream::Tcp(stream) => stream,
            #[cfg(unix)]
            Stream::Unix(_) => return,
        };
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_nodelay(true);
        if let Some(idle) = options.keepalive {
            let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle));
        }
        #[cfg(target_os = "linux")]
        if options.user_timeout.is_some() {
            let _ = socket.set_tcp_user_timeout(options.user_timeout);
        }
    }

    /// Receives into `buffer`; 0 is the end of the stream.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        on_stream!(&self.0, stream => {
            let mut stream = stream;
            stream.read(buffer)
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        on_stream!(&self.0, stream => {
            let mut stream = stream;
            stream.write(bytes)
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn send_gathered(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        on_stream!(&self.0, stream => {
            let mut stream = stream;
            stream.write_vectored(slices)
        })
    }

    /// Ends our side of the stream.
    pub(crate) fn finish(&self) {
        let _ = on_stream!(&self.0, stream => stream.shutdown(std::net::Shutdown::Write));
    }

    /// Makes the coming close reset the connection and drop what was not delivered.
    pub(crate) fn reset_on_close(&self) {
        let _ =
            on_stream!(&self.0, stream => SockRef::from(stream).set_linger(Some(Duration::ZERO)));
    }

    /// Sends as much of the queue as the system takes. It is empty when all is taken.
    pub(crate) fn send_queue(&self, queue: &mut SendQueue) -> io::Result<Sent> {
        while queue.bytes() > 0 {
            let result = match queue.single() {
                Some(slice) => self.send(slice.as_bytes()),
                None => {
                    let mut gathered = [IoSlice::new(&[]); GATHERED];
                    let count = queue.gather(&mut gathered);
                    self.send_gathered(&gathered[..count])
                }
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) if count == queue.bytes() => break,
                Ok(count) => queue.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Sent::Pending);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        queue.clear();
        Ok(Sent::Done)
    }

    /// Drops what was received and not read, a bounded number of times `scratch`, before a close:
    /// closed over it, a connection is reset and what was sent is dropped.
    pub(crate) fn discard_received(&self, scratch: &mut [u8]) {
        for _ in 0..DISCARDS {
            let discarded = self.receive(scratch);
            if !discarded.is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    /// The error that the system holds for this socket, if any.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        on_stream!(&self.0, stream => stream.take_error().ok().flatten())
    }
}

/// Not to wait is said with each call, since sockets of a ring are blocking ones.
#[cfg(target_os = "linux")]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Straight to the system: the C library's `send` and `recv` are points of cancellation, for which
/// they pay two atomic operations per call once a process has threads. `NOSIGNAL`, because a host
/// whose `main` is not Rust's dies of SIGPIPE otherwise; `writev` could not be told.
#[cfg(target_os = "linux")]
impl SystemSocket {
    /// Receives into `buffer`; 0 is the end of the stream.
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(self.descriptor(), buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.descriptor(), bytes, SEND_FLAGS)?)
    }

    pub(crate) fn send_gathered(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::net::sendmsg(
            self.descriptor(),
            slices,
            &mut SendAncillaryBuffer::default(),
            SEND_FLAGS,
        )?)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        on_stream!(&self.0, stream => stream.as_fd())
    }

    /// Makes it a blocking socket or a non-blocking one again. A request of a ring waits for the
    /// former only.
    pub(crate) fn set_blocking(&self, is_blocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self.descriptor(), !is_blocking)?)
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl AsRef<SystemSocket> for SystemSocket {
    fn as_ref(&self) -> &SystemSocket {
        self
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl std::os::fd::AsRawFd for SystemSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        on_stream!(&self.0, stream => stream.as_raw_fd())
    }
}

impl Source for SystemSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        on_stream!(&mut self.0, stream => stream.register(registry, token, interest))
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        on_stream!(&mut self.0, stream => stream.reregister(registry, token, interest))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        on_stream!(&mut self.0, stream => stream.deregister(registry))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A handler of our own in place of Rust's `SIG_IGN`, so that the signal can be seen.
    #[test]
    fn sending_to_nobody_raises_no_signal() {
        let signalled = Arc::new(AtomicBool::new(false));
        let sigpipe = signal_hook::consts::SIGPIPE;
        signal_hook::flag::register(sigpipe, Arc::clone(&signalled)).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let bare = near.try_clone().unwrap();
        let socket = SystemSocket::from_std(StdStream::Unix(near)).unwrap();
        drop(far);
        let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
        let gathered = socket.send_gathered(&slices).map_err(|error| error.kind());
        assert_eq!(gathered, Err(io::ErrorKind::BrokenPipe));
        let single = socket.send(b"three").map_err(|error| error.kind());
        assert_eq!(single, Err(io::ErrorKind::BrokenPipe));
        assert!(!signalled.load(Ordering::Relaxed));
        assert!(rustix::io::writev(&bare, &slices).is_err());
        assert!(signalled.load(Ordering::Relaxed), "the test sees signals");
    }
}
