//! An engine whose shards are tasks of the runtime that its clients are in, too.

use futures_util::{SinkExt, StreamExt};
use throng::{Backend, Config, Engine, Origins, StartError};
use throng_tests::engine::PATIENCE;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// What clients ask for, whatever they are connected by.
pub(crate) const URL: &str = "ws://throng.test/";

/// Two shards, any origin, no pings unasked for.
pub(crate) fn config(backend: Backend) -> Config {
    Config::default()
        .shards(2)
        .backend(backend)
        .ping_interval(None)
        .origins(Origins::danger_allow_any_origin())
}

/// An engine that echoes; whoever says `join` joins the room.
pub(crate) fn start_with(config: Config) -> Result<Engine, StartError> {
    let builder = Engine::builder().bind("127.0.0.1:0")?.config(config);
    let builder = builder.on_message(|conn, message| {
        if message.as_text() == Some("join") {
            conn.join("room").unwrap();
        }
        conn.send(message);
    });
    builder.start()
}

/// A client over TCP.
pub(crate) async fn connect(engine: &Engine) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(engine.local_addr().unwrap()).await;
    client_async(URL, stream.unwrap()).await.unwrap().0
}

/// What comes next, in time.
pub(crate) async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut WebSocketStream<S>,
) -> Message {
    let next = timeout(PATIENCE, client.next()).await;
    next.expect("in time").expect("no end").unwrap()
}

/// Sends a text and expects it back.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut WebSocketStream<S>,
    text: &str,
) {
    client.send(text.into()).await.unwrap();
    assert_eq!(next(client).await, text.into());
}

/// Reads up to the close frame, whose code it checks.
pub(crate) async fn expect_close<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut WebSocketStream<S>,
    code: u16,
) {
    let Message::Close(Some(frame)) = next(client).await else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), code);
    while let Ok(Some(Ok(_))) = timeout(PATIENCE, client.next()).await {}
}
