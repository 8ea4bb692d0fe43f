//! How messages flow through a peer that is a stream of messages and a sink for them.

use std::task::Poll;

use futures_util::{Sink, SinkExt, Stream, StreamExt, poll};
use tokio::select;
use tokio::sync::mpsc::UnboundedReceiver;

/// Messages answered with one flush, at most. Yawc's own comparison, where tokio-tungstenite is
/// served alike, has the same number.
pub(crate) const BATCH: usize = 32;

/// Sends back every message that `is_data`, all that are there at once with one flush.
pub(crate) async fn echo<W, M, E>(mut ws: W, is_data: impl Fn(&M) -> bool) -> Result<(), E>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    while let Some(first) = ws.next().await {
        let mut received = Some(first);
        let mut fed = 0;
        while let Some(message) = received.take() {
            let message = message?;
            if is_data(&message) {
                ws.feed(message).await?;
                fed += 1;
            }
            if fed < BATCH
                && let Poll::Ready(next) = poll!(ws.next())
            {
                received = next;
            }
        }
        ws.flush().await?;
    }
    Ok(())
}

/// Publishes every message that `is_data`, and sends what comes into the inbox, all that is there
/// at once with one flush.
pub(crate) async fn join<W, M, E>(
    mut ws: W,
    mut inbox: UnboundedReceiver<M>,
    publish: impl Fn(M),
    is_data: impl Fn(&M) -> bool,
) -> Result<(), E>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    let mut batch = Vec::new();
    loop {
        // What was received goes first, so that all of it is published before anybody writes.
        select! {
            biased;
            received = ws.next() => match received.transpose()? {
                Some(message) if is_data(&message) => publish(message),
                Some(_) => {}
                None => return Ok(()),
            },
            _ = inbox.recv_many(&mut batch, BATCH) => {
                for message in batch.drain(..) {
                    ws.feed(message).await?;
                }
                ws.flush().await?;
            }
        }
    }
}
