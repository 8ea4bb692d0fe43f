//! What happens when a connection's time is up. Each connection has one timer; it fires at the
//! earliest deadline that its phase knows, or earlier, and is set anew.

use std::time::Duration;

use throng_transport::{Driver, SocketKey};

use super::connection::{Connection, Phase};
use super::core::{Core, Farewell, Release};
use super::flush::unsent;
use super::timer::Tick;
use crate::config::Config;
use crate::event::{Cause, Rejection};
use crate::flight::FlightKind;
use crate::limits::REFUSAL_LINGER;
use crate::protocol::close::CloseCode;
use crate::protocol::frame::OpCode;

/// What an open connection's time being up calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It takes nothing of what is sent.
    WriteTimeout,
    /// The last ping was not answered.
    PongTimeout,
    /// No message came.
    IdleTimeout,
    /// The next ping.
    Ping,
}

impl Core {
    /// Gives a connection that is not open until `timeout` from now.
    pub(super) fn expect_end(&mut self, slot: u32, timeout: Duration) {
        let until = self.tick.after(timeout);
        self.connections[slot].until = until;
        self.wheel.set(slot, until);
    }

    /// Starts the heartbeat of a connection that has just been opened. The first ping comes after
    /// a random part of the interval, so that many connections opened at once are not pinged at
    /// once for ever after.
    pub(super) fn start_heartbeat(&mut self, slot: u32) {
        let tick = self.tick;
        if let Some(interval) = self.shared.config.ping_interval {
            let head_start = self.random_part(interval);
            self.connections[slot].since.ping = tick.before(head_start);
        }
        self.set_deadline(slot);
    }

    /// Something was heard of a connection whose last ping was not answered, or that is behind.
    #[cold]
    pub(super) fn handle_sign_of_life(&mut self, key: SocketKey) {
        if let Some(connection) = self.connections.open(key) {
            connection.ping_unanswered = false;
            connection.may_speak = false;
            // The flush that ends the turn pauses it where a send is still in flight.
            self.connections.mark_dirty(key.slot);
            self.set_deadline(key.slot);
        }
    }

    /// Handles the timer of the slot.
    pub(super) fn handle_deadline(&mut self, slot: u32, driver: &mut impl Driver) {
        let Some(key) = self.connections.key(slot) else {
            return;
        };
        let connection = &self.connections[slot];
        let is_over = connection.until.is_due(self.tick);
        match connection.phase {
            Phase::Open => self.handle_open_deadline(key, driver),
            // An answer would wait for the end of what has taken too long already.
            Phase::Handshake if is_over && driver.is_mute(key) => {
                self.drop_connection(key, Release::Close);
            }
            Phase::Handshake if is_over => {
                self.refuse(
                    key,
                    Rejection::Timeout,
                    408,
                    &[],
                    "the upgrade request took too long",
                );
            }
            Phase::Closing | Phase::Lingering if is_over => {
                let (in_flight, was_open) = (
                    connection.outbox.is_in_flight(),
                    connection.marks.was_open(),
                );
                // Somebody who is told why it is refused may take that in slowly, but holds no drain up.
                let may_linger = !was_open && !self.shared.is_draining();
                if may_linger && self.has_moved(key, driver) {
                    return self.expect_end(slot, REFUSAL_LINGER);
                }
                let release = if in_flight {
                    Release::Abort
                } else {
                    Release::Close
                };
                self.drop_connection(key, release);
            }
            _ => self.set_deadline(slot),
        }
    }

    fn handle_open_deadline(&mut self, key: SocketKey, driver: &mut impl Driver) {
        let connection = &self.connections[key.slot];
        let deadlines = open_deadlines(connection, &self.shared.config);
        let due = deadlines
            .into_iter()
            .flatten()
            .find(|(at, _)| at.is_due(self.tick));
        let slot = key.slot;
        match due.map(|(_, due)| due) {
            Some(Due::WriteTimeout) => {
                if self.has_moved(key, driver) {
                    return self.set_deadline(slot);
                }
                self.part(slot, Cause::SlowConsumer, &Farewell::Drop(Release::Abort));
            }
            Some(Due::PongTimeout) => {
                self.part(
                    slot,
                    Cause::HeartbeatMissed,
                    &Farewell::Drop(Release::Abort),
                );
            }
            Some(Due::IdleTimeout) => {
                self.part(
                    slot,
                    Cause::Policy,
                    &Farewell::Last(CloseCode::POLICY, "idle"),
                );
            }
            Some(Due::Ping) => {
                self.compressors.rest(slot);
                let frame = self.encode(OpCode::Ping, &[]);
                self.connections.push_control(slot, &frame);
                let connection = &mut self.connections[slot];
                connection.since.ping = self.tick;
                connection.ping_unanswered = true;
                self.set_deadline(slot);
                self.note_change(key, FlightKind::Pinged, 0);
            }
            None => self.set_deadline(slot),
        }
    }

    /// Whether the send in flight has made progress since this was asked.
    fn has_moved(&mut self, key: SocketKey, driver: &mut impl Driver) -> bool {
        let connection = &mut self.connections[key.slot];
        if !connection.outbox.is_in_flight() {
            return false;
        }
        let left = unsent(driver, key);
        let has_moved = left < connection.unsent;
        if has_moved {
            connection.unsent = left;
            connection.since.sending = self.tick;
        }
        has_moved
    }

    /// Sets the timer to the connection's earliest deadline.
    pub(super) fn set_deadline(&mut self, slot: u32) {
        let connection = &self.connections[slot];
        let due = match connection.phase {
            Phase::Open => {
                let deadlines = open_deadlines(connection, &self.shared.config);
                deadlines
                    .into_iter()
                    .flatten()
                    .map(|(at, _)| at)
                    .reduce(Tick::min)
            }
            _ => Some(connection.until),
        };
        if let Some(due) = due {
            self.wheel.set(slot, due);
        }
    }
}

/// The deadlines of an open connection, the gravest first.
fn open_deadlines(connection: &Connection, config: &Config) -> [Option<(Tick, Due)>; 4] {
    let since = &connection.since;
    let in_flight = connection.outbox.is_in_flight();
    let write = in_flight.then(|| (since.sending.after(config.write_timeout), Due::WriteTimeout));
    // While reading is paused neither an answer nor a message can be seen; the write timeout watches
    // over the peer.
    let is_read = !connection.paused;
    let is_pinged = connection.ping_unanswered && is_read;
    let pong = is_pinged.then(|| (since.ping.after(config.pong_timeout), Due::PongTimeout));
    let idle = config
        .idle_timeout
        .filter(|_| is_read)
        .map(|idle| (connection.active.after(idle), Due::IdleTimeout));
    let ping = config.ping_interval.filter(|_| !connection.ping_unanswered);
    let ping = ping.map(|interval| (since.ping.after(interval), Due::Ping));
    [write, pong, idle, ping]
}
