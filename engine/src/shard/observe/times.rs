//! Measuring times, without a clock of the shard's own: how long messages take, and turns.

use std::time::{Duration, Instant};

use crate::limits::TIMED_RECEIVES;
use crate::shard::core::Core;

/// Where times come from: what it is now, measured from the shards' epoch.
pub(crate) type Clock = fn(&Instant) -> Duration;

/// Where the time of day comes from: what it is now, since 1970.
pub(crate) type WallClock = fn() -> Duration;

/// A receive that is timed.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Timing {
    began: Duration,
    /// Messages of its connection before it.
    messages: u64,
}

impl Core {
    /// A receive begins; it may be one that is timed.
    #[inline]
    pub(in crate::shard) fn begin_receive(&mut self, slot: u32) -> Option<Timing> {
        self.observer.until_timed = self.observer.until_timed.wrapping_sub(1);
        (self.observer.until_timed == 0)
            .then(|| self.begin_timing(slot))
            .flatten()
    }

    #[cold]
    fn begin_timing(&self, slot: u32) -> Option<Timing> {
        let clock = self.observer.clock?;
        Some(Timing {
            began: clock(&self.shared.epoch),
            messages: self.connections[slot].counts.messages_in,
        })
    }

    /// The receive is over. Its messages share the time.
    #[cold]
    pub(in crate::shard) fn end_timing(&mut self, slot: u32, timing: Timing) {
        let Some(clock) = self.observer.clock else {
            return;
        };
        let messages = self.connections[slot].counts.messages_in - timing.messages;
        if messages == 0 {
            self.observer.until_timed = 1;
            return;
        }
        let spent = clock(&self.shared.epoch).saturating_sub(timing.began);
        let each = nanoseconds(spent) / messages;
        self.observer
            .count(|it| it.handling_time.observe(each, messages));
        self.observer.until_timed = self.random.u32(1..2 * TIMED_RECEIVES);
    }

    /// The turn is over.
    #[inline]
    pub(in crate::shard) fn end_turn(&mut self) {
        let observer = &mut self.observer;
        let began = observer.turn_began.take();
        let Some(counters) = observer.meter.counters() else {
            return;
        };
        let sent = std::mem::take(&mut observer.sent);
        counters.messages_out.add(sent.messages);
        counters.bytes_out.add(sent.bytes);
        counters.held_back.set(self.held_back.len());
        counters.behind.set(observer.backlog.len());
        counters.waiting_messages.set(observer.backlog.messages);
        counters.waiting_bytes.set(observer.backlog.bytes);
        if let Some(clock) = observer.clock
            && let Some(began) = began
        {
            let spent = clock(&self.shared.epoch).saturating_sub(began);
            counters.turn_time.observe(nanoseconds(spent), 1);
        }
    }
}

/// Of a time that is far below what the number holds.
#[inline]
fn nanoseconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(time.subsec_nanos()))
}
