//! A handler that gives each connection a future of its own.

use std::any::Any;
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
        let admitted = conn.attributes().remove::<Admitted<T>>();
        let Some(state) = admitted.map(|it| it.0).or_else(nothing) else {
            tracing::error!(
                "upgrade_with: a future needs what Builder::serve_with has of a client"
            );
            return conn.close(CloseCode::INTERNAL_ERROR, "internal error");
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

/// What is said of a client whom `EngineHandle::upgrade_with` has let in, where that is nothing in any case.
fn nothing<T: 'static>() -> Option<T> {
    let mut state = None::<T>;
    let any: &mut dyn Any = &mut state;
    if let Some(state) = any.downcast_mut::<Option<()>>() {
        *state = Some(());
    }
    state
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
