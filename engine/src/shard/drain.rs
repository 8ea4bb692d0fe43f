//! Emptying a shard over a window of time, and reporting what became of it.

use std::time::Duration;

use crossbeam_channel::Sender;
use throng_transport::{Driver, SocketKey};

use super::Shard;
use super::connection::{Connection, Phase};
use super::core::{Core, Farewell, Release};
use crate::event::{Cause, Rejection};
use crate::handler::Handler;
use crate::limits::DRAIN_STEP;
use crate::opening::GOING_DOWN;
use crate::protocol::close::CloseCode;

/// What became of a shard's connections in a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardDrained {
    /// Connections when the drain began, those being closed included.
    pub(crate) connections: usize,
    /// Those among them that were sent everything queued for them.
    pub(crate) flushed: usize,
    /// Messages that were not sent to the others, those of a send in flight included.
    pub(crate) messages_cut: usize,
}

impl ShardDrained {
    /// Adds another shard's.
    pub(crate) fn add(&mut self, other: &ShardDrained) {
        self.connections += other.connections;
        self.flushed += other.flushed;
        self.messages_cut += other.messages_cut;
    }
}

/// A drain under way.
#[derive(Debug)]
pub(super) struct Draining {
    code: CloseCode,
    began: Duration,
    window: Duration,
    /// Those yet to be told, the next one last.
    untold: Vec<SocketKey>,
    /// How many were to be told.
    told_in_all: usize,
    /// When this shard's first is told, as a part of the time between two: shards do not tell theirs
    /// all at once.
    phase: f64,
    report: ShardDrained,
    /// When nobody was left.
    emptied: Option<Duration>,
    /// Who waits for the report; nobody once it is given.
    answers: Vec<Sender<ShardDrained>>,
}

impl Draining {
    /// How many should still be untold at `now`.
    fn untold_at(&self, now: Duration) -> usize {
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= self.window {
            return 0;
        }
        let passed = elapsed.as_secs_f64() / self.window.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of the number of connections, of which there are below 2^24"
        )]
        let told = (self.told_in_all as f64 * passed - self.phase).ceil() as usize;
        self.told_in_all.saturating_sub(told)
    }

    /// Somebody else wants the same, within `window` from `now`. The sooner end holds.
    fn join(&mut self, window: Duration, answer: Sender<ShardDrained>, now: Duration) {
        let elapsed = now.saturating_sub(self.began);
        self.window = self.window.min(elapsed.saturating_add(window));
        self.answers.push(answer);
    }

    /// Takes note of a connection that goes.
    pub(super) fn count(&mut self, connection: &Connection) {
        let outbox = &connection.outbox;
        if !connection.marks.was_open() {
            return;
        }
        let is_flushed = outbox.is_empty() && !outbox.is_in_flight();
        if is_flushed && connection.has_farewell {
            self.report.flushed += 1;
        } else {
            let frames = outbox.messages() as usize;
            self.report.messages_cut += frames.saturating_sub(usize::from(connection.has_farewell));
        }
    }
}

impl<H: Handler> Shard<H> {
    /// Begins a drain: nobody is let in any more.
    pub(super) fn begin_drain(
        &mut self,
        code: CloseCode,
        window: Duration,
        answer: Sender<ShardDrained>,
        driver: &mut impl Driver,
    ) {
        if let Some(draining) = &mut self.draining {
            return draining.join(window, answer, self.core.now);
        }
        driver.stop_listening();
        let core = &mut self.core;
        let mut untold = core.connections.keys();
        let connections = untold
            .iter()
            .filter(|key| core.connections[key.slot].marks.was_open())
            .count();
        for &key in &untold {
            if core.connections[key.slot].phase == Phase::Handshake {
                core.refuse_for_now(key, Rejection::Draining, GOING_DOWN);
            }
        }
        untold.retain(|key| core.connections[key.slot].is_open());
        self.draining = Some(Draining {
            code,
            began: core.now,
            window,
            told_in_all: untold.len(),
            untold,
            report: ShardDrained {
                connections,
                ..ShardDrained::default()
            },
            emptied: None,
            phase: f64::from(core.shard) / core.shared.mail.len() as f64,
            answers: vec![answer],
        });
    }

    /// Tells those whose moment has come.
    pub(super) fn continue_drain(&mut self) {
        let Some(draining) = &mut self.draining else {
            return;
        };
        let untold = draining.untold_at(self.core.now);
        for key in draining.untold.split_off(untold.min(draining.untold.len())) {
            if self.core.connections.open(key).is_some() {
                let farewell = Farewell::Last(draining.code, GOING_DOWN);
                self.core.part(key.slot, Cause::Drain, &farewell);
            }
        }
    }

    /// Reports, once everybody is gone; returns whether the shard is needed no longer.
    ///
    /// The home of a sequenced room is, as long as other shards have members: without it nobody could
    /// publish. It goes when the whole engine stops, which follows a drain.
    pub(super) fn finish_drain(&mut self) -> bool {
        let Some(draining) = &mut self.draining else {
            return false;
        };
        let core = &self.core;
        if core.connections.len() > 0 {
            return false;
        }
        // Futures that go on are told by the end of their connections, and may have something to do yet.
        let emptied = *draining.emptied.get_or_insert(core.now);
        let is_over = core.now.saturating_sub(emptied) >= core.shared.config.close_timeout;
        if !is_over && core.jobs.have_lasting() {
            return false;
        }
        for answer in draining.answers.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = answer.try_send(draining.report);
        }
        let shared = &self.core.shared;
        shared.mail.len() == 1 || !shared.directory.has_sequenced()
    }

    /// How soon the next ones are to be told.
    pub(super) fn drain_step(&self) -> Option<Duration> {
        let draining = self.draining.as_ref()?;
        let waits_for_futures = draining.emptied.is_some() && !draining.answers.is_empty();
        let is_unfinished = !draining.untold.is_empty() || waits_for_futures;
        is_unfinished.then_some(DRAIN_STEP)
    }
}

impl Core {
    /// Cuts every connection that is open or to be opened.
    pub(super) fn cut_all(&mut self) {
        for key in self.connections.keys() {
            let farewell = Farewell::Final(CloseCode::GOING_AWAY, "");
            self.part(key.slot, Cause::Drain, &farewell);
            if self.connections[key.slot].phase == Phase::Handshake {
                self.drop_connection(key, Release::Close);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drain of one of `shards`, which has `connections` to tell within a second.
    fn draining(shard: u8, shards: u8, connections: usize) -> Draining {
        Draining {
            code: CloseCode::GOING_AWAY,
            began: Duration::ZERO,
            window: Duration::from_secs(1),
            untold: Vec::new(),
            told_in_all: connections,
            phase: f64::from(shard) / f64::from(shards),
            report: ShardDrained::default(),
            emptied: None,
            answers: Vec::new(),
        }
    }

    #[test]
    fn shards_with_few_connections_tell_them_one_after_the_other() {
        const SHARDS: u8 = 10;
        for connections in [1, 3] {
            let drains = (0..SHARDS).map(|shard| draining(shard, SHARDS, connections));
            let drains: Vec<Draining> = drains.collect();
            let all = connections * usize::from(SHARDS);
            let untold_at = |millis| {
                let now = Duration::from_millis(millis);
                drains
                    .iter()
                    .map(|drain| drain.untold_at(now))
                    .sum::<usize>()
            };
            assert_eq!((untold_at(0), untold_at(1000)), (all, 0));
            for millis in 1..1000 {
                let told = all - untold_at(millis);
                let due = (all as u64 * millis / 1000) as usize;
                assert!(
                    told.abs_diff(due) <= 1,
                    "{told} instead of {due} told at {millis} ms"
                );
            }
        }
    }
}
