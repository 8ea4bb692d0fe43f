//! Keeping to the memory budget, at the end of each turn.
//!
//! What was queued in the turn is with the system by then, or with members of a large audience who
//! wait in line for the next turns' slices; what other connections still hold is held by those who
//! are behind. Under pressure a shard first gives back what it keeps for later.
//! If that is not enough, connections are given up one after another, the worst of all shards first.
//! Each is looked at again before the next: what it held alone is freed at once, but what it shared
//! with others who are behind is freed with the last of them, and the following turn looks again.

use std::time::Duration;

use throng_transport::memory::{Charge, charged};
use throng_transport::{Driver, SocketKey};

use super::Shard;
use super::connection::{Connection, Phase};
use super::connections::Connections;
use super::core::{Core, Farewell, Release};
use super::hold::Held;
use super::timer::{TICK, Tick};
use crate::budget::{Budget, Pressure, Worst};
use crate::config::Config;
use crate::event::{Cause, Rejection};
use crate::handler::Handler;
use crate::limits::{
    IDLE_CONNECTION, LEAST_SHED, LOOK_AGAIN, MAX_WORST, SHEDS_PER_TURN, WARN_OF_MEMORY,
};
use crate::opening::SHORT_OF_MEMORY;
use crate::protocol::close::CloseCode;

/// What a shard keeps to the budget with.
#[derive(Debug)]
pub(super) struct Thrift {
    /// What the shard holds and does not charge piece by piece.
    charge: Charge,
    /// Connections that held most when they were last looked at, and how much; the worst one last.
    worst: Vec<(usize, SocketKey)>,
    /// When that was.
    looked: Option<Tick>,
    /// What a turn may add to the memory of decoders and compressors, and to what is to be sent.
    pub(super) per_turn: usize,
    /// What decoders and compressors may hold before the rest of what this turn receives is held back.
    most_allocated: usize,
    /// When the log was last told.
    warned: Option<Duration>,
    /// How soon the next turn must come, under pressure.
    pub(super) wait: Option<Duration>,
}

/// Bytes that a connection keeps from others.
#[derive(Clone, Copy, Debug)]
struct Holding {
    /// What waits to be sent to it, since it is behind, and the entries of that; what its future wants sent.
    queued: usize,
    /// What the driver has of that.
    in_flight: usize,
    /// What arrived and is incomplete, held back, or not taken by its future.
    received: usize,
}

impl Holding {
    fn of(connection: &Connection) -> Holding {
        let outbox = &connection.outbox;
        let in_flight = outbox.in_flight_bytes() as usize;
        // Who is not behind will be sent everything by the flush.
        let queued = if outbox.is_in_flight() {
            (outbox.bytes() as usize).saturating_sub(in_flight) + outbox.overhead()
        } else {
            0
        };
        let unhandled = connection.unhandled.as_ref();
        let link = connection.link().map(|link| link.waiting());
        let (incoming, outgoing) = link.unwrap_or_default();
        Holding {
            queued: queued + outgoing,
            in_flight,
            received: connection.decoder.memory()
                + unhandled.map_or(0, |unhandled| unhandled.memory())
                + incoming,
        }
    }

    fn total(self) -> usize {
        self.queued + self.in_flight + self.received
    }
}

impl<H: Handler> Shard<H> {
    /// Sees to it that no more is held than may be.
    #[inline]
    pub(super) fn keep_to_budget(&mut self, driver: &mut impl Driver) {
        self.recharge();
        let budget = &self.core.shared.budget;
        let pressure = budget.pressure();
        if budget.has_risen_to(pressure) {
            self.core.wake_others(pressure);
        }
        if pressure == Pressure::None {
            self.core.thrift.wait = None;
        } else {
            self.relieve(pressure, driver);
        }
    }

    /// Charges what the shard holds.
    #[inline]
    fn recharge(&mut self) {
        let core = &mut self.core;
        let each = IDLE_CONNECTION + size_of::<Option<H::State>>();
        let allocated = core.allocated();
        core.thrift
            .charge
            .set(core.connections.len() * each + allocated + core.batches.memory());
        core.thrift.most_allocated = allocated.saturating_add(core.thrift.per_turn);
    }

    #[cold]
    fn relieve(&mut self, pressure: Pressure, driver: &mut impl Driver) {
        let looks = self.core.is_to_look(pressure);
        if looks || self.core.spare() > self.core.thrift.per_turn {
            self.core.give_back();
            self.recharge();
        }
        if looks {
            self.core.thrift.looked = Some(self.core.tick);
            self.core.look_for_worst();
        }
        let (sheds, wait) = self.shed_worst(looks, driver);
        self.core.thrift.wait = Some(wait);
        if sheds > 0 {
            self.settle();
            self.core.flush(driver);
            self.release(driver);
        }
    }

    /// Gives connections up until little enough is held, as far as that shows at once. Returns how
    /// many those were, and how soon to look again. What the worst one holds is said before anybody
    /// need be given up, so that nobody is waited for then.
    fn shed_worst(&mut self, mut is_news: bool, driver: &mut impl Driver) -> (usize, Duration) {
        for sheds in 0..SHEDS_PER_TURN {
            let core = &mut self.core;
            let budget = &core.shared.budget;
            let next = core.thrift.next_worst(&core.connections);
            let bytes = next.map_or(0, |(_, holding)| holding.total());
            let worst = budget.report(usize::from(core.shard), core.now, bytes);
            if let Worst::Theirs(other) = worst
                && is_news
            {
                core.shared.mail[other].wake();
            }
            let is_enough = budget.pressure() < Pressure::Shed;
            let (false, Worst::Ours, Some((key, holding))) = (is_enough, worst, next) else {
                return (sheds, TICK);
            };
            is_news = true;
            let before = charged();
            core.thrift.worst.pop();
            core.shed(key, holding, driver);
            self.recharge();
            if before.saturating_sub(charged()) < holding.total() / 2 {
                return (sheds + 1, Duration::ZERO);
            }
        }
        (SHEDS_PER_TURN, Duration::ZERO)
    }
}

impl Thrift {
    pub(super) fn new(config: &Config) -> Thrift {
        let per_turn = Budget::per_turn(config.memory_budget, config.shards);
        Thrift {
            charge: Charge::default(),
            worst: Vec::new(),
            looked: None,
            per_turn,
            most_allocated: per_turn,
            warned: None,
            wait: None,
        }
    }

    /// The worst connection that still holds about what it did.
    fn next_worst(&mut self, connections: &Connections) -> Option<(SocketKey, Holding)> {
        while let Some(&(bytes, key)) = self.worst.last() {
            if connections.key(key.slot) == Some(key) {
                let holding = Holding::of(&connections[key.slot]);
                let is_gone = connections[key.slot].phase == Phase::Gone;
                if !is_gone && holding.total() >= (bytes / 2).max(LEAST_SHED) {
                    return Some((key, holding));
                }
            }
            self.worst.pop();
        }
        None
    }
}

impl Core {
    /// Whether this turn's messages have taken as much memory as a turn's may before it is seen what
    /// all hold.
    #[inline]
    pub(super) fn has_taken_enough(&self) -> bool {
        self.allocated() > self.thrift.most_allocated
    }

    #[inline]
    fn allocated(&self) -> usize {
        self.decoders.allocated() + self.compressors.allocated()
    }

    /// Whether it is time to look at everything that is held: once a tick where somebody may have to
    /// go, now and then where it is only to be known who would be the first.
    fn is_to_look(&self, pressure: Pressure) -> bool {
        let pause = if pressure < Pressure::Shed {
            LOOK_AGAIN
        } else {
            TICK
        };
        let looked = self.thrift.looked;
        looked.is_none_or(|looked| self.tick.since(looked) >= pause)
    }

    /// What is kept for later and may be given back.
    fn spare(&self) -> usize {
        let chunks = self.chunks.pooled_bytes() + self.publications.pooled_bytes();
        chunks + self.decoders.spare_bytes() + self.compressors.allocated()
    }

    /// The pressure has risen: others may sleep on much that can be given back.
    #[cold]
    fn wake_others(&mut self, pressure: Pressure) {
        let is_said = |at: Duration| self.now.saturating_sub(at) < WARN_OF_MEMORY;
        if !self.thrift.warned.is_some_and(is_said) {
            self.thrift.warned = Some(self.now);
            let held = charged();
            tracing::warn!(held, ?pressure, "the memory budget is nearly used up");
        }
        for (shard, mail) in self.shared.mail.iter().enumerate() {
            if shard != usize::from(self.shard) {
                mail.wake();
            }
        }
    }

    /// Frees what is kept for later, but for what the next message needs anyway.
    fn give_back(&mut self) {
        self.chunks.trim();
        self.publications.trim();
        self.decoders.trim();
        self.compressors.trim();
        self.connections.trim();
    }

    /// Lists the connections that hold most.
    fn look_for_worst(&mut self) {
        let worst = &mut self.thrift.worst;
        worst.clear();
        let held = self.connections.iter();
        let held = held.map(|(key, connection)| (Holding::of(connection).total(), key));
        worst.extend(held.filter(|(bytes, _)| *bytes >= LEAST_SHED));
        if let Some(others) = worst
            .len()
            .checked_sub(MAX_WORST)
            .filter(|others| *others > 0)
        {
            worst.select_nth_unstable_by_key(others, |(bytes, _)| *bytes);
            worst.drain(..others);
        }
        worst.sort_unstable_by_key(|(bytes, _)| *bytes);
    }

    /// Gives a connection up, in the way that frees most of what it holds.
    fn shed(&mut self, key: SocketKey, holding: Holding, driver: &mut impl Driver) {
        let slot = key.slot;
        let phase = self.connections[slot].phase;
        tracing::debug!(connection = %self.id(key), ?phase, ?holding, "given up for its memory");
        let is_received = holding.received > holding.queued + holding.in_flight;
        match phase {
            Phase::Handshake => {
                self.shared.budget.count_refused();
                self.refuse_for_now(key, Rejection::Memory, SHORT_OF_MEMORY);
            }
            Phase::Open => {
                self.shared.budget.count_shed();
                let queue_is_most = holding.queued >= holding.in_flight;
                let (cause, farewell) = if is_received {
                    let code = CloseCode::TRY_AGAIN_LATER;
                    (Cause::OverBudget, Farewell::Final(code, SHORT_OF_MEMORY))
                } else if queue_is_most {
                    (
                        Cause::SlowConsumer,
                        Farewell::Urgent(CloseCode::POLICY, "slow consumer"),
                    )
                } else {
                    driver.abort(key);
                    (Cause::SlowConsumer, Farewell::Drop(Release::Lost))
                };
                self.part(slot, cause, &farewell);
            }
            // It was told to go, and has not gone.
            Phase::Closing | Phase::Lingering | Phase::Gone => {
                driver.abort(key);
                self.drop_connection(key, Release::Lost);
            }
        }
        self.forget_received(slot);
        self.decoders.trim();
    }

    /// Frees what a connection that has ended has sent.
    fn forget_received(&mut self, slot: u32) {
        let connection = &mut self.connections[slot];
        if let Some(link) = connection.link() {
            link.forget_received();
        }
        if connection.phase == Phase::Closing {
            // What it says is looked through for its close frame.
            return connection.decoder.discard_messages(&mut self.decoders);
        }
        if connection.phase == Phase::Gone {
            connection.outbox.discard();
        }
        connection.unhandled = None;
        connection.held = Held::Nothing;
        std::mem::take(&mut connection.decoder).release(&mut self.decoders);
    }
}
