//! The servers that the engine is mounted in.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use throng::EngineHandle;
use throng_tests::engine::Client;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// A server in a runtime of its own, which ends with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
}

impl Server {
    /// The status that a request is answered with, and the whole response.
    pub(crate) fn answer(&self, request: &str) -> (u16, String) {
        let mut client = Client::silent(self.address);
        client.write(request.as_bytes());
        let head = client.read_head();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        client.finish();
        let body = String::from_utf8(client.read_to_end()).unwrap();
        (status, head + &body)
    }
}

pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn listen(runtime: &Runtime) -> TcpListener {
    runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap()
}

/// axum's own server.
pub(crate) fn serve_axum(app: Router) -> Server {
    let runtime = runtime();
    let listener = listen(&runtime);
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, app).await });
    Server { address, runtime }
}

/// hyper's, which hands every request to the engine.
pub(crate) fn serve_all(engine: EngineHandle) -> Server {
    serve_over(engine, |stream| stream)
}

/// The same over whatever `wrap` makes of the sockets.
pub(crate) fn serve_over<S>(
    engine: EngineHandle,
    wrap: impl Fn(TcpStream) -> S + Send + 'static,
) -> Server
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let runtime = runtime();
    let listener = listen(&runtime);
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(engine.clone(), wrap(stream)));
        }
    });
    Server { address, runtime }
}

/// One connection of hyper's.
pub(crate) async fn serve(
    engine: EngineHandle,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let service = service_fn(move |request| {
        let response = engine.upgrade(request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that leaves early is its own affair.
    let _ = connection.with_upgrades().await;
}

/// A stream that nobody can tell to be a socket.
pub(crate) struct Wrapped(pub(crate) TcpStream);

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
