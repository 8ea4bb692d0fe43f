//! Connections as sockets: a future for each, which receives when it wants to.

mod link;
mod serve;

pub(crate) use link::{Link, Op};
pub(crate) use serve::Sockets;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use thiserror::Error;

use crate::conn::Conn;
use crate::event::Cause;
use crate::handle::ConnectionHandle;
use crate::id::ConnectionId;
use crate::owned::OwnedMessage;
use crate::protocol::close::CloseCode;
use crate::shard::guard;

/// A connection in the hands of a future of its own ([`Builder::serve`](crate::Builder::serve)).
///
/// ```no_run
/// # fn main() -> Result<(), throng::StartError> {
/// let engine = throng::Engine::builder()
///     .bind("127.0.0.1:8080")?
///     .serve(|mut socket| async move {
///         while let Some(message) = socket.recv().await {
///             let _ = socket.send(message).await;
///         }
///     })
///     .start()?;
/// # Ok(())
/// # }
/// ```
///
/// Both ways there is back-pressure: what is not received is not read from the peer, and sending waits for a peer that does
/// not read. When the future ends, or drops this, the connection is closed with 1000.
///
/// The future is polled beside the connection's shard, as those of [`Conn::spawn`] are, and must not block. When the connection ends it
/// goes on: [`WebSocket::recv`] gives what had arrived and then `None`, and it should end soon. (What had arrived is
/// dropped where the connection is given up for the [`memory_budget`](field@crate::Config::memory_budget).) Until then it has its
/// connection's place among [`max_connections`](field@crate::Config::max_connections), beyond which newcomers are answered 503. In a
/// drain it has another [`close_timeout`](field@crate::Config::close_timeout) from when nobody is left in its shard, and is dropped then;
/// it is dropped at once when the engine is stopped.
pub struct WebSocket {
    link: Arc<Link>,
    handle: ConnectionHandle,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// It would never have room in the queue of a peer that is behind.
    #[error("the message has {bytes} bytes, of which {max} may wait for a peer (send_queue_bytes)")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// The connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection has ended")]
pub struct Ended;

impl WebSocket {
    pub(crate) fn new(link: Arc<Link>, handle: ConnectionHandle) -> WebSocket {
        WebSocket { link, handle }
    }

    /// The next message; `None` once the connection has ended and all that had arrived was received.
    ///
    /// Dropping the future before it is done loses nothing.
    pub async fn recv(&mut self) -> Option<OwnedMessage> {
        poll_fn(|cx| self.link.poll_recv(cx)).await
    }

    /// Sends a message; waits while the peer is behind. Whatever the overflow policy is, no message of this way
    /// makes it act.
    ///
    /// # Errors
    /// When the connection has ended, or does before there is room, and when the message has more bytes than may
    /// wait for a peer ([`send_queue_bytes`](field@crate::Config::send_queue_bytes)).
    pub async fn send(&mut self, message: impl Into<OwnedMessage>) -> Result<(), SendError> {
        let message = message.into();
        self.link.check(&message)?;
        Ok(self.submit(Op::Send(message)).await?)
    }

    /// Has something done with the connection on its shard, behind what was sent: joining a room, publishing, changing
    /// attributes.
    ///
    /// ```no_run
    /// # async fn example(socket: &mut throng::WebSocket) -> Result<(), Box<dyn std::error::Error>> {
    /// socket.with(|conn| conn.join("general")).await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the connection has ended, or does before; then `call` is not called.
    pub async fn with<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut Conn<'_, ()>) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let answer = Arc::new(Mutex::new(Answer::<R>::default()));
        // Dropped without having been called, it says so.
        let promise = Promise(Arc::clone(&answer));
        let call = move |conn: &mut Conn<'_, ()>| promise.keep(call(conn));
        self.submit(Op::Call(Box::new(call))).await?;
        poll_fn(|cx| {
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            match (answer.value.take(), answer.is_over) {
                (Some(value), _) => Poll::Ready(Ok(value)),
                (None, true) => Poll::Ready(Err(Ended)),
                (None, false) => {
                    let former = answer.waker.replace(cx.waker().clone());
                    drop(answer);
                    drop(former);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Closes the connection, behind what was sent. A code that may not be sent (RFC 6455 §7.4) goes out as none; a
    /// reason longer than 123 bytes is cut.
    pub async fn close(self, code: CloseCode, reason: impl Into<String>) {
        // Where it has ended already there is nothing to close.
        let _ = self.submit(Op::Close(code, reason.into())).await;
    }

    /// Why the connection ended; `None` while it has not.
    pub fn cause(&self) -> Option<Cause> {
        self.link.cause()
    }

    /// The connection's name in its engine.
    pub fn id(&self) -> ConnectionId {
        self.handle.id()
    }

    /// A handle that other threads and tasks may send to this connection with.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle.clone()
    }

    async fn submit(&self, op: Op) -> Result<(), Ended> {
        let mut op = Some(op);
        poll_fn(|cx| self.link.poll_submit(cx, &mut op)).await
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.link.hang_up();
    }
}

/// What a call on the shard has made.
struct Answer<R> {
    value: Option<R>,
    is_over: bool,
    waker: Option<Waker>,
}

impl<R> Default for Answer<R> {
    fn default() -> Answer<R> {
        Answer {
            value: None,
            is_over: false,
            waker: None,
        }
    }
}

struct Promise<R>(Arc<Mutex<Answer<R>>>);

impl<R> Promise<R> {
    fn keep(self, value: R) {
        let mut answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answer.value = Some(value);
    }
}

impl<R> Drop for Promise<R> {
    fn drop(&mut self) {
        let mut answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answer.is_over = true;
        let waker = answer.waker.take();
        drop(answer);
        // Perhaps in the course of a panic, which another one would make the process's end.
        if let Some(waker) = waker
            && guard(|| waker.wake()).is_none()
        {
            tracing::error!("a waker panicked");
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
