//! The end of a turn: what was queued is sent, and back-pressure takes hold or lets go.

use throng_transport::{Driver, Sent, SocketKey};

use super::connection::Phase;
use super::core::{Core, Release};
use super::hold::Held;
use crate::flight::FlightKind;
use crate::id::ConnectionId;
use crate::limits::{BYTES_PER_SLICE, MAX_UNHEARD, SENDS_PER_SLICE};

/// What the driver holds of the send in flight.
pub(super) fn unsent(driver: &mut impl Driver, key: SocketKey) -> u32 {
    u32::try_from(driver.unsent(key)).unwrap_or(u32::MAX)
}

impl Core {
    /// What the driver kept of a send is with the system.
    pub(super) fn handle_sent(&mut self, key: SocketKey) {
        let Some(connection) = self.connections.sent(key) else {
            return;
        };
        // It may have something else in flight at the end of every turn, for ever.
        connection.may_speak = connection.paused && connection.until.is_due(self.tick);
        self.to_tell.push(key);
        self.line_up(key);
    }

    /// Sends what waits, with one gathered write per connection.
    pub(super) fn flush(&mut self, driver: &mut impl Driver) {
        self.deliver_run();
        let dirty = self.connections.dirty.take_now();
        for &slot in &dirty {
            self.flush_connection(slot, driver);
        }
        self.connections.dirty.give_back(dirty);
        let (mut sends, mut bytes) = (0, 0);
        loop {
            let has_time = sends < SENDS_PER_SLICE && bytes < BYTES_PER_SLICE;
            let Some(slot) = self.connections.next_in_line(has_time) else {
                return;
            };
            sends += 1;
            bytes += self.flush_connection(slot, driver);
        }
    }

    /// Sends what waits for a connection; returns how many bytes.
    #[inline]
    fn flush_connection(&mut self, slot: u32, driver: &mut impl Driver) -> usize {
        let Core {
            connections,
            batch,
            observer,
            ..
        } = self;
        let (connection, stock, behind) = connections.flushing(slot);
        connection.listed.flush();
        if connection.phase == Phase::Gone {
            return 0;
        }
        let (mut bytes, marks) = (0, connection.marks);
        let key = SocketKey {
            slot,
            generation: connection.generation,
        };
        let outbox = &mut connection.outbox;
        let was_behind = outbox.is_behind();
        while !outbox.is_in_flight() && !outbox.is_empty() {
            let high = if marks.is_traced() {
                outbox.high_bytes()
            } else {
                0
            };
            let taken = outbox.next_batch(batch, stock);
            if marks.is_traced() {
                let id = ConnectionId::new(self.shard, key);
                marks.traced().show_batch(id, batch, high);
            }
            connection.counts.messages_out += u64::from(taken.messages);
            connection.counts.bytes_out += u64::from(taken.bytes);
            bytes += taken.bytes as usize;
            observer.note_sent(key, taken, self.tick);
            match driver.send(key, batch) {
                Sent::Done => outbox.sent(),
                Sent::Pending => {
                    outbox.compact();
                    connection.since.sending = self.tick;
                    connection.unsent = unsent(driver, key);
                    observer.note_stuck(key, connection.unsent, self.tick);
                    behind.insert(slot);
                }
            }
        }
        if was_behind && !connection.outbox.is_in_flight() {
            behind.remove(slot);
            connection.outbox.caught_up();
            observer.note_caught_up(key, self.tick);
        }
        let is_at_ease = !connection.outbox.is_in_flight()
            && !connection.paused
            && connection.held == Held::Nothing;
        if connection.phase != Phase::Open || !is_at_ease {
            self.adjust(key, driver);
        }
        bytes
    }

    /// What follows from a send that is not done, or from a connection that is ending.
    #[cold]
    fn adjust(&mut self, key: SocketKey, driver: &mut impl Driver) {
        let connection = &mut self.connections[key.slot];
        connection.outbox.face_stall();
        let outbox = &connection.outbox;
        if outbox.is_in_flight() {
            self.observer.note_behind(key.slot, outbox);
            let deadline = connection
                .since
                .sending
                .after(self.shared.config.write_timeout);
            self.wheel.set_earlier(key.slot, deadline);
        }
        // A peer that does not take its answers is asked for no more questions. One that is closing
        // is read on: its close frame is awaited. Of a send that failed nothing is unsent: what the
        // peer said last is still to be heard.
        let is_open = connection.phase == Phase::Open;
        let is_behind = is_open && outbox.is_in_flight() && connection.unsent > 0;
        let pause = connection.held != Held::Nothing || is_behind && !connection.may_speak;
        if pause && !connection.paused {
            connection.paused = true;
            if is_open {
                connection.until = self.tick.after(MAX_UNHEARD);
            }
            driver.pause(key);
            self.note_change(key, FlightKind::Paused, 0);
        } else if connection.paused && !pause {
            self.resume(key, driver);
        }
        let connection = &mut self.connections[key.slot];
        let outbox = &connection.outbox;
        if connection.phase == Phase::Lingering && !outbox.is_in_flight() && outbox.is_empty() {
            driver.finish(key);
            // What was said to be done may turn out to have stalled.
            if connection.marks.peer_ended() && driver.unsent(key) == 0 {
                self.drop_connection(key, Release::Close);
            }
        }
    }

    /// Reads again. What the peer has said meanwhile, an answer to the last ping among it, could not
    /// be heard.
    fn resume(&mut self, key: SocketKey, driver: &mut impl Driver) {
        let connection = &mut self.connections[key.slot];
        connection.paused = false;
        connection.since.ping = self.tick;
        connection.active = self.tick;
        driver.resume(key);
        if connection.is_open() {
            self.set_deadline(key.slot);
        }
        self.note_change(key, FlightKind::Resumed, 0);
    }
}
