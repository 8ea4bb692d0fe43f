//! A handler that gives each connection a future of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Link, WebSocket};
use crate::conn::Conn;
use crate::event::Close;
use crate::handler::{Accept, Handler, Reject, Upgrade};
use crate::protocol::close::CloseCode;
use crate::protocol::message::Message;

/// The handler of [`Builder::serve_with`](crate::Builder::serve_with).
pub(crate) struct Sockets<A, F> {
    pub(crate) admit: A,
    pub(crate) serve: F,
}

/// What an upgrade said of a connection, until its future has it.
struct Admitted<T>(T);

impl<A, F, T, Fut> Handler for Sockets<A, F>
where
    A: Fn(&Upgrade<'_>) -> Result<Accept<T>, Reject> + Send + Sync + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    T: Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    type State = ();

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        let (accept, state) = (self.admit)(request)?.without_state();
        Ok(accept.attribute(Admitted(state)))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        let Some(Admitted(state)) = conn.attributes().remove::<Admitted<T>>() else {
            return;
        };
        let link = conn.open_link();
        let socket = WebSocket::new(Arc::clone(&link), conn.handle());
        let served = Served {
            link,
            future: Box::pin((self.serve)(socket, state)),
        };
        if conn.spawn_to_outlive(served).is_err() {
            conn.close(CloseCode::INTERNAL_ERROR, "");
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        conn.push_to_link(message);
    }

    fn on_close(&self, conn: &mut Conn<'_, ()>, close: &Close) {
        if let Some(link) = conn.link() {
            link.end(close.cause.clone());
        }
    }
}

/// A future that has a socket, polled on its shard.
struct Served<Fut> {
    link: Arc<Link>,
    future: Pin<Box<Fut>>,
}

impl<Fut: Future<Output = ()>> Future for Served<Fut> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.link.begin_poll(cx.waker());
        let outcome = self.future.as_mut().poll(cx);
        self.link.end_poll();
        outcome
    }
}
