//! The turn: everything a shard does between two waits of its driver, in this order.
//!
//! 1. what was received and held back ([`hold`](super::hold)),
//! 2. futures that were woken, and calls whose time has come ([`jobs`](super::jobs)); what other threads posted, then what
//!    rooms asked for ([`errands`](super::errands)),
//! 3. deadlines, and batches whose window is over,
//! 4. a step of a drain,
//! 5. `on_close` for those that have ended, gap notices for those whose sends were completed,
//! 6. connections accepted; other shards that have been handed something are woken,
//! 7. one gathered write for each connection that has something to be sent; of a large audience, for
//!    some ([`dirty`](super::dirty)),
//! 8. what is over is released,
//! 9. where too much memory is held, who holds most is given up ([`budget`](super::budget)).
//!
//! What arrived was handled before, while the driver waited. Nothing but step 7 (and 9, to those given up) writes to a
//! socket: that is what makes one write out of all that a turn has for a connection.

use std::sync::Arc;
use std::time::Duration;

use throng_transport::runtime::Turn;
use throng_transport::{Driver, Next, Peer, Socket, SocketKey};

use super::connection::{Connection, Phase};
use super::core::{Farewell, Release};
use super::mailbox::{Mail, PostError};
use super::{Shard, guard};
use crate::conn::Conn;
use crate::event::{Cause, Close, ErrorKind, Rejection};
use crate::handler::Handler;
use crate::limits::{MAIL_PER_TURN, RETRY_POSTING, UNCOUNTED_LINGER};
use crate::opening::{Denial, GOING_DOWN, TOO_MANY_HANDSHAKES};
use crate::room::Circle;

impl<H: Handler> Turn for Shard<H> {
    fn turn(&mut self, driver: &mut impl Driver) -> Next {
        let is_stopping = self.core.shared.is_stopping();
        self.handle_held();
        self.work();
        self.take_errands();
        self.take_mail(driver);
        self.run_errands();
        self.handle_deadlines(driver);
        self.core.deliver_due_batches();
        self.continue_drain();
        if is_stopping {
            driver.stop_listening();
            self.core.cut_all();
        }
        self.settle_and_tell();
        self.secure_announced(driver);
        self.admit(driver);
        // Before the flush, which takes longest.
        self.core.wake_receivers();
        self.core.flush(driver);
        self.release(driver);
        self.core.decoders.reset_inflated();
        self.keep_to_budget(driver);
        self.core.wake_receivers();
        self.core.end_turn();
        if is_stopping || self.finish_drain() {
            return Next::Stop;
        }
        self.next_wait()
    }
}

impl<H: Handler> Shard<H> {
    /// How long the driver may wait when nothing happens.
    fn next_wait(&mut self) -> Next {
        let core = &mut self.core;
        let retry = core
            .forwarding
            .pump(&core.shared.mail)
            .then_some(RETRY_POSTING);
        let has_errands = self.has_errands();
        let core = &mut self.core;
        if self.has_mail
            || has_errands
            || !core.held_back.is_empty()
            || core.connections.dirty.has_any()
        {
            return Next::Wait(Some(Duration::ZERO));
        }
        let timer = core.wheel.next_due(core.now);
        let batch = core.batches.wait(core.now);
        let job = core.jobs.wait(core.now);
        Next::Wait(
            [
                retry,
                timer,
                batch,
                job,
                self.drain_step(),
                self.core.thrift.wait,
            ]
            .into_iter()
            .flatten()
            .min(),
        )
    }

    /// Takes what other threads have posted, woken or not: what was posted before a message was handled
    /// is delivered before the answer to it goes out, and so before anything that follows from that.
    fn take_mail(&mut self, driver: &mut impl Driver) {
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = self.mailbox.take() else {
                self.has_mail = false;
                return;
            };
            self.errands.count_mail();
            self.handle_mail(mail, driver);
        }
        self.has_mail = true;
    }

    fn handle_mail(&mut self, mail: Mail, driver: &mut impl Driver) {
        let core = &mut self.core;
        match mail {
            Mail::Publish {
                audience,
                mut dispatch,
                tally,
            } => {
                core.repack(&mut dispatch.frames);
                let audience = audience.seen_by(&core.rooms);
                let receipt = core.deliver_unordered(&audience, &dispatch);
                if let Some(tally) = tally {
                    tally.report(&receipt);
                }
            }
            Mail::Unnumbered(unnumbered) => core.handle_unnumbered(*unnumbered),
            Mail::Numbered(numbered) => core.handle_numbered(*numbered),
            Mail::Presence(notice) => core.handle_presence_notice(*notice),
            Mail::FannedOut => core.handle_fanned_out(),
            Mail::Close { key, code, reason } => {
                if core.connections.open(key).is_some() {
                    core.part(
                        key.slot,
                        Cause::Kicked { code },
                        &Farewell::Last(code, &reason),
                    );
                }
            }
            Mail::Trace { key, trace } => {
                core.trace(key, trace);
            }
            Mail::Adopt { socket, peer } => {
                self.adopt(socket, peer, driver);
            }
            #[cfg(feature = "admin")]
            Mail::Refer(referred) => self.serve_referred(*referred, driver),
            #[cfg(feature = "http")]
            Mail::Mount(mounted) => self.mount(*mounted, driver),
            Mail::CloseUser { user, code, reason } => core.close_user(&user, code, &reason),
            // Whoever asks may have stopped waiting.
            Mail::Members { group, answer } => drop(answer.try_send(core.members_of(&group))),
            Mail::RoomsOf { key, answer } => drop(answer.try_send(core.rooms_of(key))),
            Mail::Inspect(inspection) => core.inspect(&inspection),
            Mail::Drain {
                code,
                window,
                answer,
            } => self.begin_drain(code, window, answer, driver),
        }
    }

    fn handle_deadlines(&mut self, driver: &mut impl Driver) {
        let mut fired = std::mem::take(&mut self.fired);
        self.core.wheel.advance(self.core.tick, &mut fired);
        for slot in fired.drain(..) {
            self.core.handle_deadline(slot, driver);
        }
        self.fired = fired;
    }

    /// Tells the handler of connections that have ended; what it does then may end others.
    pub(super) fn settle(&mut self) {
        while let Some((key, cause)) = self.core.ended.pop_front() {
            self.core.cancel_jobs(key);
            let close = self.call_on_close(key, cause);
            self.core.leave_all(key);
            self.core.leave_user(key.slot);
            self.core
                .deliver_run_before_leave(Circle::Everyone, key.slot);
            self.core.rooms.exit(key.slot);
            self.core.unsettled.pop_front();
            self.core.shared.count_closed();
            if let Some(close) = close {
                self.core.note_closed(key, close);
            }
        }
    }

    #[cold]
    fn call_on_close(&mut self, key: SocketKey, cause: Cause) -> Option<Close> {
        let mut state = self.states[key.slot as usize].take()?;
        let connection = &self.core.connections[key.slot];
        let duration = self.core.tick.since(connection.since.opened);
        let close = Close {
            cause,
            duration,
            counts: connection.counts(),
            waiting: connection.waiting(),
        };
        let (core, handler) = (&mut self.core, &*self.handler);
        // The state is dropped within too: its `Drop` is the service's code.
        let told = &close;
        let called = guard(move || {
            handler.on_close(&mut Conn::new(core, key, &mut state), told);
        });
        if called.is_none() {
            tracing::error!(connection = %self.core.id(key), "a handler panicked in on_close");
            self.core.note_error(ErrorKind::Panic, Some(key));
        }
        Some(close)
    }

    /// Serves what was accepted, or deals it out to all shards.
    fn admit(&mut self, driver: &mut impl Driver) {
        let mut accepted = std::mem::take(&mut self.accepted);
        for (socket, peer) in accepted.drain(..) {
            let is_dealt = self.deals_tcp || peer == Peer::Unix;
            let shards = self.core.shared.mail.len();
            let shard = if is_dealt {
                self.next_shard
            } else {
                usize::from(self.core.shard)
            };
            if is_dealt {
                self.next_shard = (shard + 1) % shards;
            }
            if shard == usize::from(self.core.shard) {
                self.adopt(socket, peer, driver);
                continue;
            }
            let mail = Mail::Adopt { socket, peer };
            if let Err(PostError::Full(_)) = self.core.shared.mail[shard].try_post(mail) {
                self.core.note_lost_socket();
                tracing::warn!(
                    shard,
                    "a connection was dropped: its shard's mailbox is full"
                );
            }
        }
        self.accepted = accepted;
    }

    /// Takes a connection on, which is to do its opening handshake; `None` where it is dropped at once.
    pub(super) fn adopt(
        &mut self,
        socket: Socket,
        peer: Peer,
        driver: &mut impl Driver,
    ) -> Option<SocketKey> {
        let shared = Arc::clone(&self.core.shared);
        self.core.note_accepted();
        let is_announced = self.core.expects_announcement(&socket);
        if is_announced && !shared.proxies.may_announce(peer) {
            let why = Rejection::ProxyHeader;
            self.core.note_turned_away(peer, why);
            return None;
        }
        let Some(seat) = shared.admit() else {
            self.core.note_turned_away(peer, Rejection::Full);
            return None;
        };
        let is_too_many = shared.begin_handshake();
        let is_secured = !socket.is_foreign() && self.core.is_to_be_secured(peer);
        let taken = if is_too_many && is_secured {
            // To refuse in TLS takes a handshake, which is what there are too many of.
            Err(Rejection::Handshakes)
        } else {
            let socket = if is_announced {
                socket.in_clear()
            } else {
                socket
            };
            let key = self.take_in(socket, peer, driver);
            key.ok_or(Rejection::Failed)
        };
        let core = &mut self.core;
        let key = match taken {
            Ok(key) => key,
            Err(why) => {
                core.note_turned_away(peer, why);
                shared.end_handshake();
                shared.discharge(seat);
                return None;
            }
        };
        core.connections[key.slot].seat = seat;
        if is_announced {
            core.unannounced.insert(key);
        }
        if shared.is_draining() {
            core.refuse_for_now(key, Rejection::Draining, GOING_DOWN);
        } else if is_too_many {
            core.refuse_for_now(key, Rejection::Handshakes, TOO_MANY_HANDSHAKES);
        } else if is_announced || core.count_asking(key) {
            core.expect_end(key.slot, shared.config.handshake_timeout);
        } else if is_secured {
            core.drop_for(key, Release::Close, Rejection::PerIp);
        } else {
            core.deny(key, &Denial::too_many_of_one());
            // Nothing counts these any more: they are not waited for.
            core.expect_end(key.slot, UNCOUNTED_LINGER);
        }
        Some(key)
    }

    /// Gives a socket a slot; `None` where that, or the socket, cannot be had.
    pub(super) fn take_in(
        &mut self,
        socket: Socket,
        peer: Peer,
        driver: &mut impl Driver,
    ) -> Option<SocketKey> {
        let connections = &mut self.core.connections;
        let key = connections.insert(peer, self.core.tick)?;
        match driver.adopt(key, socket) {
            Ok(()) => Some(key),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be served");
                connections.remove(key);
                self.core.note_error(ErrorKind::Adopt, None);
                None
            }
        }
    }

    /// Lets go of what is over.
    pub(super) fn release(&mut self, driver: &mut impl Driver) {
        for departure in std::mem::take(&mut self.departing) {
            if let Some(mut connection) = self.remove(departure.key) {
                departure.leave(&mut connection, &self.core.shared, driver);
            }
        }
        while let Some((key, release)) = self.core.released.pop() {
            match release {
                Release::Lost => {}
                Release::Close => driver.close(key),
                Release::Abort => driver.abort(key),
            }
            let Some(connection) = self.remove(key) else {
                continue;
            };
            self.core.discharge(&connection);
            if let Some(draining) = &mut self.draining {
                draining.count(&connection);
            }
        }
    }

    /// Takes a connection out of the shard. Its seat is the caller's.
    pub(super) fn remove(&mut self, key: SocketKey) -> Option<Connection> {
        self.secured.remove(&key);
        #[cfg(feature = "admin")]
        self.referred.remove(&key);
        let core = &mut self.core;
        core.unannounced.remove(&key);
        let mut connection = core.connections.remove(key)?;
        core.note_removed(key);
        if connection.phase == Phase::Handshake {
            core.shared.end_handshake();
        }
        core.wheel.clear(key.slot);
        core.compressors.remove(key.slot);
        core.shared.windows.exit(connection.encoding);
        connection.decoder.release(&mut core.decoders);
        Some(connection)
    }
}
