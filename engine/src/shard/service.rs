//! What the driver tells a shard.

use std::io;
use std::time::Duration;

use throng_transport::{Peer, Secured, Service, Socket, SocketKey};

use super::Shard;
use super::connection::{Phase, Unhandled};
use super::core::{Farewell, Release};
use super::hold::Held;
use crate::event::{Cause, ErrorKind};
use crate::handler::Handler;

impl<H: Handler> Service for Shard<H> {
    fn begin(&mut self, now: Duration) {
        self.core.begin(now);
    }

    fn accepted(&mut self, socket: Socket, peer: Peer) {
        self.accepted.push((socket, peer));
    }

    fn accept_failed(&mut self, error: &io::Error) {
        tracing::warn!(shard = self.core.shard, %error, "connections could not be accepted");
        self.core.note_error(ErrorKind::Accept, None);
    }

    #[inline]
    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        let Some(connection) = self.core.connections.get(key) else {
            return;
        };
        let (phase, held) = (connection.phase, connection.held);
        if connection.ping_unanswered | connection.may_speak {
            self.core.handle_sign_of_life(key);
        }
        match phase {
            // A wait may bring more before the flush that ends the turn has paused it.
            Phase::Open | Phase::Closing if held != Held::Nothing => {
                let connection = &mut self.core.connections[key.slot];
                if let Some(unhandled) = &mut connection.unhandled {
                    unhandled.extend(bytes);
                }
            }
            Phase::Open | Phase::Closing => {
                let timing = self.core.begin_receive(key.slot);
                let left = if self.core.must_wait(key.slot) {
                    Some(bytes.len())
                } else {
                    self.handle_frames(key, bytes)
                };
                if let Some(timing) = timing {
                    self.core.end_timing(key.slot, timing);
                }
                if let Some(left) = left {
                    let unhandled = Unhandled::new(&bytes[bytes.len() - left..], 0);
                    self.core.hold_back(key, unhandled);
                }
            }
            Phase::Handshake => self.handle_request(key, bytes),
            Phase::Gone => self.take_along(key, bytes),
            Phase::Lingering => {}
        }
    }

    fn ended(&mut self, key: SocketKey) {
        let Some(connection) = self.core.connections.get(key) else {
            return;
        };
        connection.marks.set_peer_ended();
        if connection.held == Held::Nothing {
            self.core.handle_end(key);
        }
    }

    fn stalled(&mut self, key: SocketKey, unsent: usize) {
        let core = &mut self.core;
        core.connections.stalled(key, unsent, core.tick);
        let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        core.observer.note_stuck(key, unsent, core.tick);
    }

    #[inline]
    fn sent(&mut self, key: SocketKey) {
        self.core.handle_sent(key);
    }

    fn failed(&mut self, key: SocketKey, error: io::Error) {
        tracing::debug!(connection = %self.core.id(key), %error, "the connection is lost");
        self.core.part(
            key.slot,
            Cause::PeerVanished,
            &Farewell::Drop(Release::Lost),
        );
        self.core.drop_connection(key, Release::Lost);
    }

    fn woken(&mut self) {
        self.has_mail = true;
    }

    fn secured(&mut self, key: SocketKey, secured: Secured) {
        if self.core.connections.get(key).is_some() {
            self.secured.insert(key, secured);
        }
    }
}
