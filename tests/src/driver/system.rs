//! Fixtures for drivers over the system's sockets: TCP over loopback, and Unix sockets.

use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Type};
use throng_transport::{
    BindAddress, Driver, ListenOptions, Listener, Socket, SocketOptions, StdStream,
};

use super::{Buffers, Far, Fixture, Listens, Reset, Urge};

/// What is asked of the system for [`Buffers::Small`]; it rounds up as it likes.
const SMALL: usize = 8 * 1024;

/// How a driver over the system's sockets is made.
pub trait Build {
    /// The driver.
    type Driver: Driver;

    /// A driver whose waits deliver at most `receive_buffer` bytes per socket.
    fn build(receive_buffer: usize) -> Self::Driver;
}

/// The fixture of a driver over TCP.
#[derive(Debug)]
pub struct OverTcp<B>(PhantomData<B>);

impl<B> Default for OverTcp<B> {
    fn default() -> Self {
        OverTcp(PhantomData)
    }
}

impl<B: Build> Fixture for OverTcp<B> {
    type Driver = B::Driver;
    type Far = TcpStream;

    fn driver(&mut self, receive_buffer: usize) -> B::Driver {
        B::build(receive_buffer)
    }

    fn pair(&mut self, buffers: Buffers) -> (Socket, TcpStream) {
        let listener = listen_tcp();
        let address = listener.local_addr().unwrap();
        if buffers == Buffers::Small {
            // Accepted sockets inherit it; set later, it could not shrink the window.
            SockRef::from(&listener)
                .set_recv_buffer_size(SMALL)
                .unwrap();
        }
        let far = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        shrink(&far, buffers);
        far.connect(&address.into()).unwrap();
        let (near, _) = listener.accept().unwrap();
        shrink(&near, buffers);
        near.set_nodelay(true).unwrap();
        far.set_tcp_nodelay(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let near = Socket::from_std(StdStream::Tcp(near)).unwrap();
        (near, far.into())
    }
}

impl<B: Build> Listens for OverTcp<B> {
    type Address = SocketAddr;

    fn listener(&mut self) -> (Listener, SocketAddr) {
        let any = BindAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let listener = Listener::bind(&any, &ListenOptions::default()).unwrap();
        let address = listener.tcp_address().unwrap().unwrap();
        (listener, address)
    }

    fn inherited(&mut self) -> (Listener, SocketAddr) {
        let listener = listen_tcp();
        let address = listener.local_addr().unwrap();
        let listener = Listener::from_tcp(listener, SocketOptions::default()).unwrap();
        (listener, address)
    }

    fn held_elsewhere(&mut self) -> (Listener, SocketAddr, Box<dyn Fn()>) {
        let listener = listen_tcp();
        let address = listener.local_addr().unwrap();
        let shut_down = shut_down_later(listener.try_clone().unwrap());
        let listener = Listener::from_tcp(listener, SocketOptions::default()).unwrap();
        (listener, address, shut_down)
    }

    fn connect(&mut self, address: &SocketAddr) -> io::Result<TcpStream> {
        let far = TcpStream::connect(address)?;
        far.set_nodelay(true)?;
        far.set_nonblocking(true)?;
        Ok(far)
    }
}

impl Far for TcpStream {
    fn finish(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Urge for TcpStream {
    fn urge(&mut self, byte: u8) {
        let sent = SockRef::from(&*self).send_out_of_band(&[byte]);
        assert_eq!(sent.unwrap(), 1);
    }
}

impl Reset for TcpStream {
    fn reset(self) {
        SockRef::from(&self)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

fn listen_tcp() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Shuts a listener down when called, and holds it until dropped.
fn shut_down_later<S>(listener: S) -> Box<dyn Fn()>
where
    for<'a> SockRef<'a>: From<&'a S>,
    S: 'static,
{
    Box::new(move || SockRef::from(&listener).shutdown(Shutdown::Both).unwrap())
}

fn shrink<S>(socket: &S, buffers: Buffers)
where
    for<'a> SockRef<'a>: From<&'a S>,
{
    if buffers == Buffers::Small {
        let socket = SockRef::from(socket);
        socket.set_send_buffer_size(SMALL).unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
    }
}

#[cfg(unix)]
pub use unix::OverUnix;

#[cfg(unix)]
mod unix {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{
        BindAddress, Buffers, Build, Far, Fixture, ListenOptions, Listener, Listens, PhantomData,
        Shutdown, Socket, SocketOptions, StdStream, io, shrink, shut_down_later,
    };

    /// The fixture of a driver over Unix sockets.
    #[derive(Debug)]
    pub struct OverUnix<B>(PhantomData<B>);

    impl<B> Default for OverUnix<B> {
        fn default() -> Self {
            OverUnix(PhantomData)
        }
    }

    impl<B: Build> Fixture for OverUnix<B> {
        type Driver = B::Driver;
        type Far = UnixStream;

        fn driver(&mut self, receive_buffer: usize) -> B::Driver {
            B::build(receive_buffer)
        }

        fn pair(&mut self, buffers: Buffers) -> (Socket, UnixStream) {
            let (near, far) = UnixStream::pair().unwrap();
            shrink(&near, buffers);
            shrink(&far, buffers);
            far.set_nonblocking(true).unwrap();
            (Socket::from_std(StdStream::Unix(near)).unwrap(), far)
        }
    }

    /// The path of a Unix socket, removed with the value.
    #[derive(Debug)]
    pub struct SocketPath(PathBuf);

    impl SocketPath {
        fn fresh() -> SocketPath {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("throng-suite-{}-{number}.sock", std::process::id());
            SocketPath(std::env::temp_dir().join(name))
        }
    }

    impl Drop for SocketPath {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    impl<B: Build> Listens for OverUnix<B> {
        type Address = SocketPath;

        fn listener(&mut self) -> (Listener, SocketPath) {
            let path = SocketPath::fresh();
            let address = BindAddress::Unix(path.0.clone());
            let listener = Listener::bind(&address, &ListenOptions::default()).unwrap();
            assert_eq!(listener.tcp_address().unwrap(), None);
            (listener, path)
        }

        fn inherited(&mut self) -> (Listener, SocketPath) {
            let path = SocketPath::fresh();
            let listener = UnixListener::bind(&path.0).unwrap();
            let listener = Listener::from_unix(listener, SocketOptions::default()).unwrap();
            (listener, path)
        }

        fn held_elsewhere(&mut self) -> (Listener, SocketPath, Box<dyn Fn()>) {
            let path = SocketPath::fresh();
            let listener = UnixListener::bind(&path.0).unwrap();
            let shut_down = shut_down_later(listener.try_clone().unwrap());
            let listener = Listener::from_unix(listener, SocketOptions::default()).unwrap();
            (listener, path, shut_down)
        }

        fn connect(&mut self, address: &SocketPath) -> io::Result<UnixStream> {
            let far = UnixStream::connect(&address.0)?;
            far.set_nonblocking(true)?;
            Ok(far)
        }
    }

    impl Far for UnixStream {
        fn finish(&mut self) {
            self.shutdown(Shutdown::Write).unwrap();
        }
    }
}
