//! Simulated listeners, and accepting that fails.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Network;
use super::far::SimSocket;
use crate::driver::{ACCEPTS_PER_WAIT, Service};
use crate::listener::ACCEPT_BACKOFF;
use crate::socket::{Peer, Socket};

/// What accepting may fail with.
const EMFILE: i32 = 24;
const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };

/// A listener, closed when dropped.
#[derive(Debug)]
pub(super) struct SimListener {
    network: Network,
    number: usize,
    resting_until: Duration,
}

impl SimListener {
    pub(super) fn new(network: &Network, number: usize) -> SimListener {
        SimListener {
            network: network.clone(),
            number,
            resting_until: Duration::ZERO,
        }
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Whether a wait would accept from it, or find it shut down.
    pub(super) fn is_due(&self) -> bool {
        let state = self.network.state();
        let is_waited_for = state.has_backlog(self.number) && state.now >= self.resting_until;
        is_waited_for || !state.is_listening(self.number)
    }

    /// Accepts a bounded number of connections; returns whether the listener is over.
    pub(super) fn accept(&mut self, service: &mut impl Service) -> bool {
        for _ in 0..ACCEPTS_PER_WAIT {
            if !self.network.state().is_listening(self.number) {
                let over =
                    io::Error::new(io::ErrorKind::NotConnected, "the listener was shut down");
                service.accept_failed(&over);
                return true;
            }
            if !self.is_due() || !self.accept_one(service) {
                return false;
            }
        }
        false
    }

    /// Accepts one; returns whether to go on.
    fn accept_one(&mut self, service: &mut impl Service) -> bool {
        let mut state = self.network.state();
        let Some(end) = state.accept(self.number) else {
            return false;
        };
        let failures = state.faults(end).accept_failures;
        if !state.chance(failures) {
            drop(state);
            let socket = SimSocket::new(&self.network, end);
            service.accepted(Socket::foreign(socket), peer(end.connection()));
            return true;
        }
        match state.random.u8(0..3) {
            // It was lost while it waited.
            0 => {
                state.reset(end);
                drop(state);
                service.accept_failed(&io::ErrorKind::ConnectionAborted.into());
                true
            }
            // A spare descriptor serves to turn it away.
            1 => {
                state.reset(end);
                drop(state);
                self.rest(EMFILE, service)
            }
            _ => {
                state.put_back(self.number, end);
                drop(state);
                self.rest(ENOBUFS, service)
            }
        }
    }

    fn rest(&mut self, code: i32, service: &mut impl Service) -> bool {
        let mut state = self.network.state();
        self.resting_until = state.now + ACCEPT_BACKOFF;
        state.rest_until(self.resting_until);
        drop(state);
        service.accept_failed(&io::Error::from_raw_os_error(code));
        false
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.network.state().close_listener(self.number);
    }
}

/// The name that a connection's far end goes by.
fn peer(connection: usize) -> Peer {
    let [.., high, middle, low_high, low] = connection.to_be_bytes();
    let address = Ipv4Addr::new(10, 0, high, middle);
    let port = u16::from_be_bytes([low_high, low]);
    Peer::Tcp(SocketAddr::from((address, port)))
}
