//! tokio-tungstenite.
//!
//! Its documentation: buffers of 4 KiB for a lot of connections, larger ones for larger messages (each
//! read clears what it may fill, which makes small messages dearer in those); `feed` and `flush`
//! instead of `send`, as each `send` is a write; payloads that are shared when a message is cloned;
//! and, in the example `server`, a channel per connection for what goes to all.

use ::tokio_tungstenite::accept_async_with_config;
use ::tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use ::tokio_tungstenite::tungstenite::{Error, Message};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::flow;
use crate::room::Room;

pub(crate) async fn echo<S>(stream: S, buffer: usize) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ws = accept_async_with_config(stream, Some(config(buffer))).await?;
    flow::echo(ws, is_data).await
}

pub(crate) async fn join<S>(stream: S, buffer: usize, room: Room<Message>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ws = accept_async_with_config(stream, Some(config(buffer))).await?;
    let (membership, inbox) = room.join();
    flow::join(ws, inbox, |message| membership.publish(&message), is_data).await
}

fn config(buffer: usize) -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(buffer)
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
