//! One connection of the side door.

use std::convert::Infallible;
use std::future;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use hyper::Error;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use throng_transport::StdStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::answer::Answers;
use super::side_door::SideLimits;

/// How long, and for how many bytes, a client is listened to after its answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// Answers the one request of a connection that began with `head`, and closes it. Whatever fails
/// is between that client and its network.
pub(super) async fn serve(
    stream: StdStream,
    head: Vec<u8>,
    answers: Arc<Answers>,
    limits: SideLimits,
) {
    let work = async {
        match stream {
            StdStream::Tcp(stream) => {
                let (reader, writer) = TcpStream::from_std(stream)?.into_split();
                exchange(reader, writer, head, &answers, limits).await
            }
            #[cfg(unix)]
            StdStream::Unix(stream) => {
                let (reader, writer) = UnixStream::from_std(stream)?.into_split();
                exchange(reader, writer, head, &answers, limits).await
            }
        }
    };
    match timeout(limits.total, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "side door: connection failed"),
        Err(_) => tracing::debug!("side door: connection took too long"),
    }
}

async fn exchange(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    head: Vec<u8>,
    answers: &Answers,
    limits: SideLimits,
) -> io::Result<()> {
    let mut stream = tokio::io::join(Cursor::new(head).chain(reader), writer);
    let service = service_fn(|request| {
        let answer = answers.answer(request.method(), request.uri().path());
        future::ready(Ok::<_, Infallible>(answer))
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.buffer)
        .serve_connection(TokioIo::new(&mut stream), service)
        .await;
    // A request that cannot be parsed has been answered as well.
    if served.as_ref().err().is_none_or(Error::is_parse) {
        linger(stream).await;
    }
    served.map_err(io::Error::other)
}

/// Reads away what the client still sends. A socket closed with bytes unread is reset, and the
/// reset can overtake the answer (RFC 9112 §9.6).
async fn linger(reader: impl AsyncRead + Unpin) {
    let mut rest = reader.take(LINGER_BYTES);
    let mut sink = tokio::io::sink();
    // Over time or cut off, the connection ends either way.
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut sink)).await;
}
