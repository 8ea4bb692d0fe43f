//! Holding back what a peer has asked, while there is no room for the answers.
//!
//! One receive may bring tens of thousands of messages, and each may be answered by a large one. A
//! turn therefore makes a bounded amount ([`PRODUCED_PER_TURN`], in which what is recalled of histories counts), inflates a bounded amount
//! ([`INFLATED_PER_TURN`]), and takes a bounded part of the memory budget ([`budget`](super::budget)); who does not compress waits for nobody's inflating. A connection that is behind
//! is not handled beyond half of its queue's bounds. What is left of the bytes received waits in
//! its connection, which is not read from meanwhile.

use std::collections::VecDeque;

use throng_transport::SocketKey;

use super::Shard;
use super::compress::Encoding;
use super::connection::{Phase, Unhandled};
use super::core::{Core, Farewell, Release};
use crate::event::Cause;
use crate::flight::FlightKind;
use crate::handler::Handler;
use crate::limits::{INFLATED_PER_TURN, PRODUCED_PER_TURN};

/// What was received of a connection and is not handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing.
    #[default]
    Nothing,
    /// It waits for the connection's send in flight.
    Aside,
    /// Its connection is in [`HeldBack`].
    InLine,
}

/// Connections of which something was held back that can be handled now, in the order in which it
/// was. Those that compress wait in a line of their own.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    plain: Line,
    compressing: Line,
    /// Before its line: the connection whose message is inflated in part. There is one at most, since
    /// such a message may hold many times what was sent.
    unfinished: Option<SocketKey>,
    /// The line that compresses comes first in this turn; the other one does in the next.
    compressing_first: bool,
}

#[derive(Debug, Default)]
struct Line {
    keys: VecDeque<SocketKey>,
    /// The last turn left somebody in it, behind whom others must wait.
    is_backed_up: bool,
}

impl HeldBack {
    pub(super) fn is_empty(&self) -> bool {
        let lines_are = self.plain.keys.is_empty() && self.compressing.keys.is_empty();
        lines_are && self.unfinished.is_none()
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let unfinished = usize::from(self.unfinished.is_some());
        self.plain.keys.len() + self.compressing.keys.len() + unfinished
    }

    /// Whether a connection that has arrived just now must wait behind others.
    #[inline]
    fn must_wait(&self, encoding: Encoding) -> bool {
        if encoding.compresses() {
            self.compressing.is_backed_up || self.unfinished.is_some()
        } else {
            self.plain.is_backed_up
        }
    }
}

impl Core {
    /// Whether this turn has made, or inflated for an open connection, as much as a turn may.
    #[inline]
    pub(super) fn is_turn_full(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let has_inflated_enough = || connection.encoding.compresses() && self.has_inflated_enough();
        (self.has_done_enough() || has_inflated_enough()) && connection.is_open()
    }

    /// Whether nothing of what has just been received should be handled yet.
    #[inline]
    pub(super) fn must_wait(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let must_wait =
            self.held_back.must_wait(connection.encoding) || connection.outbox.has_stalled();
        let must_wait = must_wait || connection.marks.is_full();
        must_wait && connection.is_open() || self.is_turn_full(slot)
    }

    /// Whether the next message of an open connection should wait.
    #[inline(always)]
    pub(super) fn must_hold(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let limits = &self.connections.limits;
        let is_half_full = || {
            let outbox = &connection.outbox;
            outbox.messages() >= limits.messages / 2 || outbox.bytes() >= limits.bytes / 2
        };
        // One whose send was completed in this turn is behind until it is seen what follows.
        let is_behind = connection.outbox.is_behind() || connection.paused;
        let must_hold = is_behind && is_half_full() || connection.marks.is_full();
        self.is_turn_full(slot) || must_hold && connection.is_open()
    }

    /// Whether this turn has made, or taken in, as much as it may for any connection.
    #[inline]
    pub(super) fn has_done_enough(&self) -> bool {
        let most = PRODUCED_PER_TURN.min(self.thrift.per_turn);
        let produced = self.chunks.produced() + self.publications.produced() + self.recalled;
        produced >= most || self.has_taken_enough()
    }

    fn has_inflated_enough(&self) -> bool {
        self.decoders.inflated() >= INFLATED_PER_TURN
    }

    /// Keeps what was received and not handled.
    #[cold]
    pub(super) fn hold_back(&mut self, key: SocketKey, unhandled: Box<Unhandled>) {
        let connection = &mut self.connections[key.slot];
        let waiting = unhandled.bytes.len() - unhandled.seen;
        connection.unhandled = Some(unhandled);
        if connection.decoder.is_inflating() {
            connection.held = Held::InLine;
            self.held_back.unfinished = Some(key);
        } else {
            connection.held = Held::Aside;
            self.line_up(key);
        }
        // The flush that ends the turn pauses it.
        self.connections.mark_dirty(key.slot);
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.note_change(key, FlightKind::HeldBack, waiting);
    }

    /// What was set aside, if anything was, can be handled now.
    pub(super) fn line_up(&mut self, key: SocketKey) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if connection.held != Held::Aside {
            return;
        }
        connection.held = Held::InLine;
        let line = if connection.encoding.compresses() {
            &mut self.held_back.compressing
        } else {
            &mut self.held_back.plain
        };
        line.keys.push_back(key);
    }
}

impl<H: Handler> Shard<H> {
    /// Handles what was held back, in the order in which it was.
    pub(super) fn handle_held(&mut self) {
        if self.core.held_back.is_empty() {
            return;
        }
        // Either line may use up what a turn may make.
        self.core.held_back.compressing_first ^= true;
        if self.core.held_back.compressing_first {
            self.handle_compressing();
            self.handle_plain();
        } else {
            self.handle_plain();
            self.handle_compressing();
        }
    }

    fn handle_plain(&mut self) {
        let mut waiting = self.core.held_back.plain.keys.len();
        while waiting > 0 && !self.core.has_done_enough() {
            waiting -= 1;
            if let Some(key) = self.core.held_back.plain.keys.pop_front() {
                self.handle_held_of(key);
            }
        }
        self.core.held_back.plain.is_backed_up = waiting > 0;
    }

    fn handle_compressing(&mut self) {
        let mut waiting = self.core.held_back.compressing.keys.len();
        while !self.core.has_done_enough() && !self.core.has_inflated_enough() {
            let held_back = &mut self.core.held_back;
            let next = held_back.unfinished.take().or_else(|| {
                waiting = waiting.checked_sub(1)?;
                held_back.compressing.keys.pop_front()
            });
            let Some(key) = next else {
                break;
            };
            self.handle_held_of(key);
        }
        self.core.held_back.compressing.is_backed_up = waiting > 0;
    }

    #[cold]
    fn handle_held_of(&mut self, key: SocketKey) {
        let Some(connection) = self.core.connections.get(key) else {
            return;
        };
        connection.held = Held::Aside;
        // It is lined up again when there is room.
        if connection.is_open() && connection.marks.is_full() {
            return;
        }
        // A message that is inflated in part holds up others, and more memory than it will.
        let outbox = &connection.outbox;
        if connection.is_open() && outbox.is_behind() && !connection.decoder.is_inflating() {
            // It is lined up again when its send is completed. Between two sends the flush shows whether
            // there will be one.
            if !outbox.is_in_flight() {
                self.core.line_up(key);
            }
            return;
        }
        connection.held = Held::Nothing;
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
        if self.core.connections[key.slot].marks.peer_ended() {
            self.core.handle_end(key);
        }
    }
}

impl Core {
    /// Handles the end of a peer's stream, behind everything that was received.
    pub(super) fn handle_end(&mut self, key: SocketKey) {
        let connection = &mut self.connections[key.slot];
        match connection.phase {
            Phase::Open => self.part(key.slot, Cause::PeerVanished, &Farewell::Rest),
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
