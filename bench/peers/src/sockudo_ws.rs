//! sockudo-ws.
//!
//! Its documentation: `accept_raw`, which boxes no stream; a loop that only feeds, as reading
//! writes what was fed before it waits; `PubSub` for rooms, with the channel of each subscriber
//! drained before a flush; SIMD, which is found at run time. Its pings and deadlines are off: the
//! other peers have none.

use std::sync::Arc;

use ::sockudo_ws::pubsub::PubSub;
use ::sockudo_ws::server::WebSocketServer;
use ::sockudo_ws::{Config, Error, Http1, Message, WebSocketStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;

use crate::flow;

const TOPIC: &str = "room";

/// Who is in the room.
pub(crate) type Topics = Arc<PubSub>;

pub(crate) async fn echo(tcp: TcpStream) -> Result<(), Error> {
    let mut ws = accept(tcp).await?;
    while let Some(message) = ws.next().await {
        let message = message?;
        if is_data(&message) {
            ws.feed(message).await?;
        }
    }
    Ok(())
}

pub(crate) async fn join(tcp: TcpStream, topics: Topics) -> Result<(), Error> {
    let ws = accept(tcp).await?;
    let (outbox, inbox) = unbounded_channel();
    let subscriber = topics.create_subscriber(outbox);
    topics.subscribe(subscriber, TOPIC);
    let publish = |message| {
        topics.publish(TOPIC, message);
    };
    let ended = flow::join(ws, inbox, publish, is_data).await;
    topics.remove_subscriber(subscriber);
    ended
}

async fn accept(tcp: TcpStream) -> Result<WebSocketStream<TcpStream>, Error> {
    let config = Config::builder()
        .auto_ping(false)
        .ping_interval(0)
        .idle_timeout(0)
        .build();
    let (ws, _) = WebSocketServer::<Http1>::new(config)
        .accept_raw(tcp)
        .await?;
    Ok(ws)
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
