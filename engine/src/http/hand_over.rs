//! From hyper to a shard: the socket of a client that was answered 101.

use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::rt::{Read, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use throng_transport::{Peer, Socket, StdStream};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::limits::RETRY_POSTING;
use crate::opening::Opening;
use crate::shard::{Mail, Mounted, PostError, Unopened};
use crate::shared::{HeldSeat, Shared};

/// A connection that is decided about. Dropped, it gives its seat up and its state with it.
pub(super) struct Pending {
    pub(super) shared: Arc<Shared>,
    /// Who asked, as far as the request told.
    pub(super) peer: Peer,
    pub(super) opening: Opening<Unopened>,
    pub(super) seat: HeldSeat,
}

/// Waits until hyper has sent the answer and gives the socket up, and moves it to a shard.
pub(super) async fn hand_over(on_upgrade: OnUpgrade, pending: Pending) {
    let time = pending.shared.config.handshake_timeout;
    let handing = async {
        let upgraded = on_upgrade.await.map_err(io::Error::other)?;
        let (socket, peer, received) = take_apart(upgraded, &pending)?;
        let Pending {
            shared,
            opening,
            seat,
            ..
        } = pending;
        let mounted = Mounted {
            socket,
            peer,
            received: received.into(),
            opening,
            seat,
        };
        post(&shared, mounted).await
    };
    match timeout(time, handing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client was lost before its connection opened"),
        Err(_) => tracing::debug!("a client took too long before its connection opened"),
    }
}

/// Puts a connection into the mailbox of the shard whose turn it is, waiting while that is full.
async fn post(shared: &Shared, mounted: Mounted) -> io::Result<()> {
    let shard = shared.deal();
    let mut mail = Mail::Mount(Box::new(mounted));
    loop {
        match shard.try_post(mail) {
            Ok(()) => return Ok(()),
            Err(PostError::Stopped) => return Err(io::Error::other("the engine has stopped")),
            Err(PostError::Full(refused)) => mail = refused,
        }
        sleep(RETRY_POSTING).await;
    }
}

/// The socket below what hyper gives up, who is at its other end, and what was read from it.
fn take_apart(upgraded: Upgraded, pending: &Pending) -> io::Result<(Socket, Peer, Bytes)> {
    let upgraded = match downcast::<TcpStream>(upgraded) {
        Ok((stream, received)) => {
            let stream = stream.into_std()?;
            let peer = Peer::Tcp(stream.peer_addr()?);
            // A turn sends what it has in one write, which must not wait for another.
            stream.set_nodelay(true)?;
            let socket = Socket::from_std(StdStream::Tcp(stream))?;
            return Ok((socket.in_clear(), peer, received));
        }
        Err(upgraded) => upgraded,
    };
    #[cfg(unix)]
    let upgraded = match downcast::<UnixStream>(upgraded) {
        Ok((stream, received)) => {
            let socket = Socket::from_std(StdStream::Unix(stream.into_std()?))?;
            return Ok((socket, Peer::Unix, received));
        }
        Err(upgraded) => upgraded,
    };
    let socket = adopted(upgraded, &pending.shared)?;
    // What was read comes out of it first.
    Ok((socket, pending.peer, Bytes::new()))
}

/// What hyper's own connections give up, or hyper-util's, which wrap it.
fn downcast<T>(upgraded: Upgraded) -> Result<(T, Bytes), Upgraded>
where
    T: 'static,
    TokioIo<T>: Read + Write + Unpin,
{
    let upgraded = match upgraded.downcast::<TokioIo<T>>() {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts = auto::upgrade::downcast::<TokioIo<T>>(upgraded)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// A socket for a stream that is not the system's.
#[cfg(unix)]
fn adopted(stream: Upgraded, shared: &Shared) -> io::Result<Socket> {
    let stream = TokioIo::new(stream);
    #[cfg(feature = "tokio")]
    if shared.config.backend.has_tasks() {
        return Ok(Socket::from_stream(stream));
    }
    #[cfg(not(feature = "tokio"))]
    let _ = shared;
    let (near, far) = UnixStream::pair()?;
    tokio::spawn(bridge(stream, near));
    Socket::from_std(StdStream::Unix(far.into_std()?))
}

#[cfg(not(unix))]
fn adopted(_: Upgraded, _: &Shared) -> io::Result<Socket> {
    let reason = "a stream that is no socket cannot be served on this system";
    tracing::error!("{reason}");
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}

/// Copies both ways until both sides have ended, or one is lost. Who does not read is not read from.
#[cfg(unix)]
async fn bridge(mut stream: TokioIo<Upgraded>, mut near: UnixStream) {
    if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut near).await {
        tracing::debug!(%error, "a stream was lost");
    }
}
