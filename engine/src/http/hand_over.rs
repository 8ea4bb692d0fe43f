//! From hyper to a shard: the socket of a client that was answered 101.

#[cfg(unix)]
use std::future::poll_fn;
use std::io;
#[cfg(unix)]
use std::pin::pin;
use std::sync::Arc;
#[cfg(unix)]
use std::task::Poll;
#[cfg(unix)]
use std::time::Duration;

use hyper::body::Bytes;
use hyper::rt::{Read, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use throng_transport::{Peer, Socket, StdStream};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(unix)]
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::event::Rejection;
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

/// What lies with a connection that is served through a [`bridge`], which ends soon after it.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Bridged {
    /// Nothing is ever sent: dropped, it tells.
    _gone: oneshot::Sender<()>,
}

/// Waits until hyper has sent the answer and gives the socket up, and moves it to a shard.
pub(super) async fn hand_over(on_upgrade: OnUpgrade, mut pending: Pending) {
    let (shared, peer) = (Arc::clone(&pending.shared), pending.peer);
    let particulars = pending.opening.particulars.as_ref();
    let client = particulars.and_then(|it| it.client);
    let time = shared.config.handshake_timeout;
    let handing = async {
        let upgraded = on_upgrade.await.map_err(io::Error::other)?;
        let (socket, peer, received) = take_apart(upgraded, &mut pending)?;
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
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::debug!(%error, "a client was lost before its connection opened"),
        Err(_) => tracing::debug!("a client took too long before its connection opened"),
    }
    shared.note_rejected_elsewhere(peer, client, Rejection::Abandoned, Some(101));
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
fn take_apart(upgraded: Upgraded, pending: &mut Pending) -> io::Result<(Socket, Peer, Bytes)> {
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
    let socket = adopted(upgraded, pending)?;
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
fn adopted(stream: Upgraded, pending: &mut Pending) -> io::Result<Socket> {
    let stream = TokioIo::new(stream);
    let config = &pending.shared.config;
    #[cfg(feature = "tokio")]
    if config.backend.has_tasks() {
        return Ok(Socket::from_stream(stream));
    }
    let (near, far) = UnixStream::pair()?;
    let (_gone, is_gone) = oneshot::channel();
    tokio::spawn(bridge(stream, near, is_gone, config.close_timeout));
    let particulars = pending.opening.particulars.get_or_insert_default();
    particulars.bridged = Some(Bridged { _gone });
    Socket::from_std(StdStream::Unix(far.into_std()?))
}

#[cfg(not(unix))]
fn adopted(_: Upgraded, _: &mut Pending) -> io::Result<Socket> {
    let reason = "a stream that is no socket cannot be served on this system";
    tracing::error!("{reason}");
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}

/// Copies both ways until both sides have ended, or one is lost. Who does not read is not read from. Once the
/// connection is gone, what is left of it has so much time to reach the client, who may be silent for ever.
#[cfg(unix)]
async fn bridge(
    mut stream: TokioIo<Upgraded>,
    mut near: UnixStream,
    is_gone: oneshot::Receiver<()>,
    close_timeout: Duration,
) {
    let mut copying = pin!(tokio::io::copy_bidirectional(&mut stream, &mut near));
    let mut cut = pin!(async {
        let _ = is_gone.await;
        sleep(close_timeout).await;
    });
    let outcome = poll_fn(|cx| match copying.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map(drop)),
        Poll::Pending => cut.as_mut().poll(cx).map(Ok),
    });
    if let Err(error) = outcome.await {
        tracing::debug!(%error, "a stream was lost");
    }
}
