//! One connection of the side door.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Error, Request};
use hyper_util::rt::TokioIo;
use throng_transport::{Peer, StdStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::answer;
use super::offering::Checked;
#[cfg(feature = "tls")]
use super::secure::Secure;
use super::side_door::{Guest, SideLimits, Sources};
use super::visitor::Visitor;

/// How many bytes are read away after an answer.
const LINGER_BYTES: u64 = 1024 * 1024;

/// What the connections of a side door share.
pub(super) struct Desk {
    pub(super) content: Checked,
    pub(super) sources: Sources,
    pub(super) limits: SideLimits,
    lingering: Semaphore,
}

impl Desk {
    pub(super) fn new(content: Checked, sources: Sources, limits: SideLimits) -> Desk {
        Desk {
            content,
            sources,
            limits,
            lingering: Semaphore::new(limits.lingering),
        }
    }
}

/// Answers the one request of a connection that began with `head`, and closes it. Whatever fails
/// is between that client and its network.
pub(super) async fn serve(guest: Guest, desk: Arc<Desk>) {
    let Guest {
        visitor,
        peer,
        head,
        place,
        seat,
    } = guest;
    let asked = Asked { peer, head, place };
    let work = async {
        match visitor {
            Visitor::Plain(StdStream::Tcp(stream)) => {
                let (reader, writer) = TcpStream::from_std(stream)?.into_split();
                exchange(reader, writer, asked, &desk).await
            }
            #[cfg(unix)]
            Visitor::Plain(StdStream::Unix(stream)) => {
                let (reader, writer) = UnixStream::from_std(stream)?.into_split();
                exchange(reader, writer, asked, &desk).await
            }
            #[cfg(feature = "tls")]
            Visitor::Secure(stream) => {
                let (socket, pipe) = stream.into_parts()?;
                let Ok(StdStream::Tcp(stream)) = socket.into_std() else {
                    return Err(io::ErrorKind::Unsupported.into());
                };
                let stream = Secure::new(TcpStream::from_std(stream)?, pipe);
                let (reader, writer) = tokio::io::split(stream);
                exchange(reader, writer, asked, &desk).await
            }
        }
    };
    match timeout(desk.limits.total, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "side door: connection failed"),
        Err(_) => tracing::debug!("side door: connection took too long"),
    }
    drop(seat);
}

/// A request of which a part has been read.
struct Asked {
    peer: Peer,
    head: Vec<u8>,
    place: OwnedSemaphorePermit,
}

async fn exchange(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    Asked { peer, head, place }: Asked,
    desk: &Desk,
) -> io::Result<()> {
    let mut stream = tokio::io::join(Cursor::new(head).chain(reader), writer);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        async move { Ok::<_, Infallible>(answer(desk, request).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // Shards bring whole heads only: there is none to wait for.
        .header_read_timeout(None)
        .max_buf_size(desk.limits.buffer)
        .serve_connection(TokioIo::new(&mut stream), service)
        .await;
    // Answered clients that stay must not keep others from being answered.
    drop(place);
    // A request that cannot be parsed has been answered as well.
    if served.as_ref().err().is_none_or(Error::is_parse) {
        linger(stream, desk).await;
    }
    served.map_err(io::Error::other)
}

/// Reads away what the client still sends. A socket closed with bytes unread is reset, and the
/// reset can overtake the answer (RFC 9112 §9.6). Where too many linger already, that risk is taken.
async fn linger(reader: impl AsyncRead + Unpin, desk: &Desk) {
    let Ok(_permit) = desk.lingering.try_acquire() else {
        return;
    };
    let mut rest = reader.take(LINGER_BYTES);
    let mut sink = tokio::io::sink();
    // Over time or cut off, the connection ends either way.
    let _ = timeout(desk.limits.linger, tokio::io::copy(&mut rest, &mut sink)).await;
}
