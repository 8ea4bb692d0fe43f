//! A service that is told of a wait's beginning once there is something to tell.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::{Service, SocketKey};
use crate::socket::{Peer, Socket};

/// A look at what is due may find nothing, and the wait goes on; so it begins with the first callback.
pub(crate) struct Telling<'s, S> {
    service: &'s mut S,
    epoch: Instant,
    has_begun: bool,
}

impl<'s, S: Service> Telling<'s, S> {
    pub(crate) fn new(service: &'s mut S, epoch: Instant) -> Telling<'s, S> {
        Telling {
            service,
            epoch,
            has_begun: false,
        }
    }

    /// Whether something was told.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The service, which knows the time.
    pub(crate) fn begun(&mut self) -> &mut S {
        if !self.has_begun {
            self.has_begun = true;
            self.service.begin(self.epoch.elapsed());
        }
        self.service
    }
}

impl<S: Service> Service for Telling<'_, S> {
    fn begin(&mut self, now: Duration) {
        self.has_begun = true;
        self.service.begin(now);
    }

    fn accepted(&mut self, socket: Socket, peer: Peer) {
        self.begun().accepted(socket, peer);
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.begun().accept_failed(error);
    }

    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        self.begun().received(key, bytes);
    }

    fn ended(&mut self, key: SocketKey) {
        self.begun().ended(key);
    }

    fn stalled(&mut self, key: SocketKey, unsent: usize) {
        self.begun().stalled(key, unsent);
    }

    fn sent(&mut self, key: SocketKey) {
        self.begun().sent(key);
    }

    fn failed(&mut self, key: SocketKey, error: io::Error) {
        self.begun().failed(key, error);
    }

    fn woken(&mut self) {
        self.begun().woken();
    }
}
