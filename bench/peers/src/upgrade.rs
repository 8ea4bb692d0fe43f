//! The opening handshake by hyper, for peers that leave it to hyper.

use std::convert::Infallible;
use std::io;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, upgrade};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// What a request is answered with.
pub(crate) type Answer = Response<Empty<Bytes>>;

/// Answers the request on `tcp` as `answer` says, with 400 if it says nothing, and returns the
/// socket once it is one for WebSocket.
///
/// The peers would go on with hyper's own stream. The plain socket spares them a call through a
/// table for each read and write.
///
/// # Errors
/// When the client asked for something else, or sent more than a request.
pub(crate) async fn accept(
    tcp: TcpStream,
    answer: impl Fn(&mut Request<Incoming>) -> Option<Answer>,
) -> io::Result<TcpStream> {
    let (upgraded, upgrading) = oneshot::channel();
    let upgraded = std::sync::Mutex::new(Some(upgraded));
    let service = service_fn(|mut request| {
        let on_upgrade = upgrade::on(&mut request);
        let answer = answer(&mut request).unwrap_or_else(bad_request);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Ok(mut upgraded) = upgraded.lock()
            && let Some(upgraded) = upgraded.take()
        {
            let _ = upgraded.send(on_upgrade);
        }
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    connection.with_upgrades().await.map_err(io::Error::other)?;
    let on_upgrade = upgrading.await.map_err(io::Error::other)?;
    let parts = on_upgrade
        .await
        .map_err(io::Error::other)?
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("the stream is another one"))?;
    if !parts.read_buf.is_empty() {
        return Err(io::Error::other("the client did not wait for the answer"));
    }
    Ok(parts.io.into_inner())
}

fn bad_request() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}
