//! Holding back what a peer has asked, while there is no room for the answers.
//!
//! One receive may bring tens of thousands of messages, and each may be answered by a large one. A
//! turn therefore makes a bounded amount ([`PRODUCED_PER_TURN`]) and inflates a bounded amount
//! ([`INFLATED_PER_TURN`]); who does not compress waits for nobody's inflating. A connection that is behind
//! is not handled beyond half of its queue's bounds. What is left of the bytes received waits in
//! its connection, which is not read from meanwhile.

use std::collections::VecDeque;

use throng_transport::SocketKey;

use super::Shard;
use super::compress::Encoding;
use super::connection::{Phase, Unhandled};
use super::core::{Core, Farewell, Release};
use crate::event::Cause;
use crate::handler::Handler;
use crate::limits::{INFLATED_PER_TURN, PRODUCED_PER_TURN};

/// Connections of which something was held back that can be handled now, in the order in which it
/// was. Those that compress wait in a line of their own.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    plain: VecDeque<SocketKey>,
    compressing: VecDeque<SocketKey>,
}

impl HeldBack {
    pub(super) fn push(&mut self, key: SocketKey, encoding: Encoding) {
        if encoding.compresses() {
            self.compressing.push_back(key);
        } else {
            self.plain.push_back(key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.compressing.is_empty()
    }
}

impl Core {
    /// Whether this turn has made, or inflated for an open connection, as much as a turn may.
    #[inline]
    pub(super) fn is_turn_full(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let has_inflated_enough = || connection.encoding.compresses() && self.has_inflated_enough();
        (self.has_made_enough() || has_inflated_enough()) && connection.is_open()
    }

    /// Whether the next message of an open connection should wait.
    #[inline]
    pub(super) fn must_hold(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let limits = &self.connections.limits;
        let is_half_full = || {
            let outbox = &connection.outbox;
            outbox.messages() >= limits.messages / 2 || outbox.bytes() >= limits.bytes / 2
        };
        // One whose send was completed in this turn is behind until it is seen what follows.
        let is_behind = connection.outbox.is_in_flight() || connection.paused;
        self.is_turn_full(slot) || is_behind && is_half_full() && connection.is_open()
    }

    #[inline]
    fn has_made_enough(&self) -> bool {
        self.chunks.produced() >= PRODUCED_PER_TURN
    }

    fn has_inflated_enough(&self) -> bool {
        self.decoders.inflated() >= INFLATED_PER_TURN
    }

    /// Keeps what was received and not handled.
    #[cold]
    pub(super) fn hold_back(&mut self, key: SocketKey, unhandled: Box<Unhandled>) {
        let connection = &mut self.connections[key.slot];
        connection.unhandled = Some(unhandled);
        connection.holds = true;
        self.held_back.push(key, connection.encoding);
        // The flush that ends the turn pauses it.
        self.connections.mark_dirty(key.slot);
    }
}

impl<H: Handler> Shard<H> {
    /// Handles what was held back, in the order in which it was.
    pub(super) fn handle_held(&mut self) {
        for _ in 0..self.core.held_back.plain.len() {
            if self.core.has_made_enough() {
                return;
            }
            if let Some(key) = self.core.held_back.plain.pop_front() {
                self.handle_held_of(key);
            }
        }
        for _ in 0..self.core.held_back.compressing.len() {
            if self.core.has_made_enough() || self.core.has_inflated_enough() {
                return;
            }
            if let Some(key) = self.core.held_back.compressing.pop_front() {
                self.handle_held_of(key);
            }
        }
    }

    #[cold]
    fn handle_held_of(&mut self, key: SocketKey) {
        let Some(connection) = self.core.connections.get(key) else {
            return;
        };
        // It is listed again when its send is completed.
        if !connection.holds || connection.is_open() && connection.outbox.is_in_flight() {
            return;
        }
        connection.holds = false;
        let Some(mut unhandled) = connection.unhandled.take() else {
            return;
        };
        if matches!(connection.phase, Phase::Open | Phase::Closing) {
            let unseen = &mut unhandled.bytes[unhandled.seen..];
            if let Some(left) = self.handle_frames(key, unseen) {
                unhandled.seen = unhandled.bytes.len() - left;
                return self.core.hold_back(key, unhandled);
            }
        }
        self.core.connections.mark_dirty(key.slot);
        if self.core.connections[key.slot].peer_ended {
            self.core.handle_end(key);
        }
    }
}

impl Core {
    /// Handles the end of a peer's stream, behind everything that was received.
    pub(super) fn handle_end(&mut self, key: SocketKey) {
        let connection = &mut self.connections[key.slot];
        match connection.phase {
            Phase::Open => {
                let farewell = Farewell::Drop(Release::Close);
                self.part(key.slot, Cause::PeerVanished, &farewell);
            }
            // No close frame will come any more. What waits is still sent; the flush that ends the
            // turn sees when that is done.
            Phase::Closing | Phase::Lingering => {
                connection.phase = Phase::Lingering;
                self.connections.mark_dirty(key.slot);
            }
            Phase::Handshake | Phase::Gone => self.drop_connection(key, Release::Close),
        }
    }
}
