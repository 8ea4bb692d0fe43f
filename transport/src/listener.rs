//! Listening sockets, and accepting when descriptors run out.

use std::any::Any;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
#[cfg(any(target_os = "linux", all(unix, feature = "tokio")))]
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Type};

use crate::socket::{Peer, Socket, SocketOptions, SystemSocket, unsupported};

/// How long accepting rests after an error that would be the same at once: the system had no
/// descriptor left, or somebody forbids it.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Connections turned away at once when descriptors run out.
const SHED_AT_ONCE: usize = 64;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// A TCP address; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A path in the file system. The file must not exist, and is not removed afterwards.
    Unix(PathBuf),
}

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Length of the queue of connections not yet accepted; the system may cap it.
    pub backlog: u32,
    /// Options of the sockets accepted.
    pub sockets: SocketOptions,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 4096,
            sockets: SocketOptions::default(),
        }
    }
}

/// A listening socket, on its way to the driver that accepts from it.
#[derive(Debug)]
pub struct Listener {
    source: ListenerSource,
    options: SocketOptions,
}

#[derive(Debug)]
enum ListenerSource {
    Tcp(mio::net::TcpListener),
    #[cfg(unix)]
    Unix(mio::net::UnixListener),
    Foreign(Box<dyn Any + Send>),
}

impl Listener {
    /// Whether several listeners of one process can share a TCP address on this platform with
    /// connections spread over them.
    pub const CAN_SHARE_PORT: bool = cfg!(target_os = "linux");

    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says: the address is in use, not ours, not permitted, or of a kind that
    /// the platform lacks.
    pub fn bind(address: &BindAddress, options: &ListenOptions) -> io::Result<Listener> {
        match address {
            BindAddress::Tcp(address) => listen_tcp(bind_tcp(*address, false)?, options),
            #[cfg(unix)]
            BindAddress::Unix(path) => {
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.bind(&socket2::SockAddr::unix(path)?)?;
                socket.listen(backlog(options))?;
                Listener::from_unix(socket.into(), options.sockets)
            }
            #[cfg(not(unix))]
            BindAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Binds `count` listeners of one TCP address, the system dealing out connections among them
    /// (`SO_REUSEPORT`). With port 0 it chooses one for all. There is a single listener for a Unix
    /// socket, and where the platform [cannot share](Listener::CAN_SHARE_PORT).
    ///
    /// They share among themselves only: where somebody listens already the address is in use,
    /// even if that somebody would share it. (Two that bind in the very same moment can miss each
    /// other.)
    ///
    /// # Errors
    /// As for [`Listener::bind`].
    pub fn bind_shared(
        address: &BindAddress,
        options: &ListenOptions,
        count: usize,
    ) -> io::Result<Vec<Listener>> {
        let address = match address {
            BindAddress::Tcp(address) if Listener::CAN_SHARE_PORT && count > 1 => *address,
            _ => return Ok(vec![Listener::bind(address, options)?]),
        };
        // Unlike those that share, this one cannot be bound where anybody listens. Until they are
        // bound it keeps a port that the system chose from being given to somebody else.
        let alone = bind_tcp(address, false)?;
        let address = alone.local_addr()?.as_socket().unwrap_or(address);
        (0..count)
            .map(|_| listen_tcp(bind_tcp(address, true)?, options))
            .collect()
    }

    /// Adopts a TCP listener made elsewhere, inherited for instance.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub fn from_tcp(listener: std::net::TcpListener, options: SocketOptions) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let source = ListenerSource::Tcp(mio::net::TcpListener::from_std(listener));
        Ok(Listener { source, options })
    }

    /// Adopts a Unix listener made elsewhere, inherited for instance.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    #[cfg(unix)]
    pub fn from_unix(
        listener: std::os::unix::net::UnixListener,
        options: SocketOptions,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let source = ListenerSource::Unix(mio::net::UnixListener::from_std(listener));
        Ok(Listener { source, options })
    }

    /// A listener of any kind, that drivers who know `T` can accept from. Others refuse it.
    pub fn foreign<T: Any + Send>(listener: T) -> Listener {
        Listener {
            source: ListenerSource::Foreign(Box::new(listener)),
            options: SocketOptions::default(),
        }
    }

    /// What was given to [`Listener::foreign`], or the listener as it was when that is none or of
    /// another type.
    ///
    /// # Errors
    /// The listener, when it holds no `T`.
    pub fn into_foreign<T: Any>(self) -> Result<T, Listener> {
        let Listener { source, options } = self;
        let source = match source {
            ListenerSource::Foreign(listener) => match listener.downcast() {
                Ok(listener) => return Ok(*listener),
                Err(listener) => ListenerSource::Foreign(listener),
            },
            of_the_system => of_the_system,
        };
        Err(Listener { source, options })
    }

    /// The TCP address listened on; `None` for a Unix socket, and for what is foreign.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.source {
            ListenerSource::Tcp(listener) => listener.local_addr().map(Some),
            #[cfg(unix)]
            ListenerSource::Unix(_) => Ok(None),
            ListenerSource::Foreign(_) => Ok(None),
        }
    }

    /// The descriptor of a listener of the system.
    #[cfg(any(target_os = "linux", all(unix, feature = "tokio")))]
    pub(crate) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.source {
            ListenerSource::Tcp(listener) => Ok(listener.as_fd()),
            ListenerSource::Unix(listener) => Ok(listener.as_fd()),
            ListenerSource::Foreign(_) => Err(unsupported()),
        }
    }

    /// What the system can watch.
    fn watched(&mut self) -> io::Result<&mut dyn Source> {
        match &mut self.source {
            ListenerSource::Tcp(listener) => Ok(listener),
            #[cfg(unix)]
            ListenerSource::Unix(listener) => Ok(listener),
            ListenerSource::Foreign(_) => Err(unsupported()),
        }
    }

    fn accept(&self) -> io::Result<(SystemSocket, Peer)> {
        match &self.source {
            ListenerSource::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                let socket = SystemSocket::tcp(stream);
                socket.set_options(&self.options);
                Ok((socket, Peer::Tcp(address)))
            }
            #[cfg(unix)]
            ListenerSource::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((SystemSocket::unix(stream), Peer::Unix))
            }
            ListenerSource::Foreign(_) => Err(unsupported()),
        }
    }
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen_tcp(socket: socket2::Socket, options: &ListenOptions) -> io::Result<Listener> {
    socket.listen(backlog(options))?;
    Listener::from_tcp(socket.into(), options.sockets)
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

impl Source for Listener {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.watched()?.register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.watched()?.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.watched()?.deregister(registry)
    }
}

/// What one attempt to accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection.
    Connection(Socket, Peer),
    /// Nobody is waiting.
    Drained,
    /// A connection was lost, or accepting rests.
    Failed(io::Error),
    /// The listener listens no more.
    Over(io::Error),
}

/// Accepts from a listener, and keeps doing so when descriptors run out.
///
/// A spare descriptor is held back. When the system has none left, the spare is given up for a
/// moment to accept those who wait and close them at once, so that they learn rather than hang;
/// then accepting rests for [`ACCEPT_BACKOFF`].
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Listener,
    spare: Option<File>,
    resting_until: Option<Instant>,
    /// Connections may be waiting.
    pub(crate) pending: bool,
    /// The system has reported an end, as it does when somebody shuts the listener down.
    pub(crate) hung_up: bool,
}

impl Acceptor {
    pub(crate) fn new(listener: Listener) -> Acceptor {
        Acceptor {
            listener,
            spare: spare_descriptor(),
            resting_until: None,
            pending: true,
            hung_up: false,
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(crate) fn into_listener(self) -> Listener {
        self.listener
    }

    /// When accepting will be tried again, if it rests.
    pub(crate) fn resting_until(&self) -> Option<Instant> {
        self.resting_until
    }

    /// Whether an attempt makes sense now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.pending && self.resting_until.is_none_or(|until| now >= until)
    }

    pub(crate) fn accept(&mut self, now: Instant) -> Accepted {
        if self.resting_until.take().is_some() && self.spare.is_none() {
            self.spare = spare_descriptor();
        }
        loop {
            match self.listener.accept() {
                Ok((socket, peer)) => return Accepted::Connection(socket.into(), peer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Of a Unix listener that was shut down Linux says no more than that nobody waits.
                Err(_) if self.hung_up => return Accepted::Over(shut_down()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = false;
                    return Accepted::Drained;
                }
                Err(error) if is_exhaustion(&error) => {
                    return self.shed(error, now);
                }
                Err(error) if is_over(&error) => return Accepted::Over(error),
                Err(error) => {
                    if !concerns_one_connection(&error) {
                        self.resting_until = Some(now + ACCEPT_BACKOFF);
                    }
                    return Accepted::Failed(error);
                }
            }
        }
    }

    /// Turns those away who wait, by means of the spare descriptor, and rests.
    fn shed(&mut self, error: io::Error, now: Instant) -> Accepted {
        self.spare = None;
        let mut is_drained = false;
        let mut turned_away = 0;
        while turned_away < SHED_AT_ONCE && !is_drained {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.reset_on_close();
                    turned_away += 1;
                }
                Err(error) => {
                    is_drained = error.kind() == io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.spare = spare_descriptor();
        // The system says that it lacks descriptors before it looks whether anybody waits.
        if is_drained && turned_away == 0 {
            self.pending = false;
            return Accepted::Drained;
        }
        self.resting_until = Some(now + ACCEPT_BACKOFF);
        Accepted::Failed(error)
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl std::os::fd::AsRawFd for Acceptor {
    /// -1 of what is foreign.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        let descriptor = self.listener.descriptor();
        descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd())
    }
}

/// EMFILE, ENFILE, ENOBUFS and ENOMEM: trying again at once would fail again.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    /// WSAEMFILE, WSAENOBUFS.
    const WINDOWS: [i32; 2] = [10024, 10055];
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    error.raw_os_error().is_some_and(|code| {
        if cfg!(windows) {
            WINDOWS.contains(&code)
        } else {
            [ENOMEM, ENFILE, EMFILE, ENOBUFS].contains(&code)
        }
    })
}

fn shut_down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener was shut down")
}

/// EINVAL, EBADF and ENOTSOCK: this will never accept again. Somebody else who holds it has shut it
/// down, or it never was a listener.
fn is_over(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const ENOTSOCK: i32 = if cfg!(target_os = "linux") { 88 } else { 38 };
    const WSAENOTSOCK: i32 = 10038;
    error.kind() == io::ErrorKind::InvalidInput
        || error.raw_os_error().is_some_and(|code| {
            if cfg!(windows) {
                code == WSAENOTSOCK
            } else {
                [EBADF, ENOTSOCK].contains(&code)
            }
        })
}

/// Whether the next connection may do better: this one was lost while it waited, or the system
/// passes on an error of its network, as accept(2) says of Linux.
fn concerns_one_connection(error: &io::Error) -> bool {
    const ENONET: i32 = 64;
    const EPROTO: i32 = 71;
    const ENOPROTOOPT: i32 = 92;
    const EHOSTDOWN: i32 = 112;
    let code = error.raw_os_error();
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
    ) || cfg!(target_os = "linux")
        && code.is_some_and(|code| [ENONET, EPROTO, ENOPROTOOPT, EHOSTDOWN].contains(&code))
}

fn spare_descriptor() -> Option<File> {
    if cfg!(unix) {
        File::open("/dev/null").ok()
    } else {
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;

    use super::*;

    const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn share(address: SocketAddr, count: usize) -> io::Result<Vec<Listener>> {
        Listener::bind_shared(&BindAddress::Tcp(address), &ListenOptions::default(), count)
    }

    fn address(listener: &Listener) -> SocketAddr {
        listener.tcp_address().unwrap().unwrap()
    }

    #[test]
    fn shared_listeners_have_one_port_and_each_a_share() {
        let listeners = share(ANY.into(), 3).unwrap();
        assert_eq!(listeners.len(), 3);
        let port = address(&listeners[0]);
        assert!(listeners.iter().all(|listener| address(listener) == port));
        let connections: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(port).unwrap())
            .collect();
        let mut accepted = [0; 3];
        let begun = Instant::now();
        while accepted.iter().sum::<usize>() < connections.len() {
            assert!(begun.elapsed() < PATIENCE, "{accepted:?} were accepted");
            for (listener, accepted) in listeners.iter().zip(&mut accepted) {
                *accepted += std::iter::from_fn(|| listener.accept().ok()).count();
            }
        }
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    }

    #[test]
    fn a_port_is_not_shared_with_others() {
        for (first, second) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
            let held = share(ANY.into(), first).unwrap();
            let taken = share(address(&held[0]), second).map_err(|error| error.kind());
            assert_eq!(taken.unwrap_err(), io::ErrorKind::AddrInUse);
        }
    }

    fn acceptor(descriptor: impl Into<OwnedFd>) -> Acceptor {
        let listener = TcpListener::from(descriptor.into());
        Acceptor::new(Listener::from_tcp(listener, SocketOptions::default()).unwrap())
    }

    /// Accepting from a datagram socket is an error that persists, as one of a security policy is.
    #[test]
    fn accepting_rests_after_an_error_that_would_persist() {
        let mut acceptor = acceptor(UdpSocket::bind(ANY).unwrap());
        let mut now = Instant::now();
        for _ in 0..3 {
            assert!(acceptor.is_due(now));
            assert!(matches!(acceptor.accept(now), Accepted::Failed(_)));
            assert!(!acceptor.is_due(now));
            now += ACCEPT_BACKOFF;
        }
    }

    #[test]
    fn what_does_not_listen_is_over() {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let mut acceptor = acceptor(socket);
        let accepted = acceptor.accept(Instant::now());
        assert!(matches!(accepted, Accepted::Over(_)), "{accepted:?}");
    }

    #[test]
    fn a_lost_connection_is_no_reason_to_rest() {
        use io::ErrorKind::{ConnectionAborted, NetworkDown, PermissionDenied};
        for kind in [ConnectionAborted, NetworkDown] {
            assert!(concerns_one_connection(&kind.into()), "{kind:?}");
        }
        assert!(!concerns_one_connection(&PermissionDenied.into()));
        let protocol = io::Error::from(rustix::io::Errno::PROTO);
        assert!(concerns_one_connection(&protocol));
    }
}
