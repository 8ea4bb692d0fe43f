//! Connections that another HTTP server has upgraded.

use std::any::Any;

use throng_transport::{Driver, Peer, Service, Socket, SocketKey};

use super::Shard;
use super::connection::Phase;
use crate::event::Rejection;
use crate::handler::Handler;
use crate::limits::REFUSAL_LINGER;
use crate::opening::{GOING_DOWN, Opening, drop_state};
use crate::protocol::close::{CloseCode, write_close};
use crate::protocol::frame::{MAX_CONTROL_PAYLOAD, OpCode};
use crate::shared::HeldSeat;

/// A connection whose client has been answered 101.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    /// What the client has sent since.
    pub(crate) received: Vec<u8>,
    pub(crate) opening: Opening<Unopened>,
    pub(crate) seat: HeldSeat,
}

/// The state of a connection that is not open yet, of whichever type the handler has. Dropped, it costs
/// nobody anything but itself.
pub(crate) struct Unopened(Option<Box<dyn Any + Send>>);

impl Unopened {
    pub(crate) fn new(state: Box<dyn Any + Send>) -> Unopened {
        Unopened(Some(state))
    }

    /// The state as what it is.
    fn open<S: 'static>(mut self) -> Option<S> {
        match self.0.take()?.downcast() {
            Ok(state) => Some(*state),
            Err(state) => {
                self.0 = Some(state);
                None
            }
        }
    }
}

impl Drop for Unopened {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(drop_state);
    }
}

impl std::fmt::Debug for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unopened").finish_non_exhaustive()
    }
}

impl<H: Handler> Shard<H> {
    /// Serves a connection that was upgraded elsewhere. What cannot be served is dropped, and with it its
    /// seat and its state.
    pub(super) fn mount(&mut self, mounted: Mounted, driver: &mut impl Driver) {
        let Mounted {
            socket,
            peer,
            mut received,
            opening,
            seat,
        } = mounted;
        self.core.note_accepted();
        let Some(key) = self.take_in(socket, peer, driver) else {
            return self.core.note_turned_away(peer, Rejection::Failed);
        };
        if let Some(seat) = seat.keep() {
            self.core.connections[key.slot].seat = seat;
        }
        if self.draining.is_some() {
            return self.send_away(key);
        }
        let Opening {
            state,
            protocol,
            particulars,
            compression,
            headers,
        } = opening;
        let Some(state) = state.open::<H::State>() else {
            return self.send_away(key);
        };
        let opening = Opening {
            state,
            protocol,
            particulars,
            compression,
            headers,
        };
        self.open(key, opening);
        if !received.is_empty() {
            self.received(key, &mut received);
        }
    }

    /// Says goodbye to a client that expects a WebSocket, of which the handler has not heard.
    #[cold]
    fn send_away(&mut self, key: SocketKey) {
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let length = write_close(&mut payload, CloseCode::SERVICE_RESTART, GOING_DOWN);
        let frame = self.core.encode(OpCode::Close, &payload[..length]);
        let connection = &mut self.core.connections[key.slot];
        connection.phase = Phase::Lingering;
        let (peer, client) = (connection.peer(), connection.client_addr());
        self.core
            .note_rejected(peer, client, Rejection::Draining, Some(101));
        self.core.connections.push_control(key.slot, &frame);
        let linger = self.core.shared.config.close_timeout.min(REFUSAL_LINGER);
        self.core.expect_end(key.slot, linger);
    }
}
