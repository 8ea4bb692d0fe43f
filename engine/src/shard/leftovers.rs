//! What a shard still holds, for simulations: once all its connections are gone, nothing.

use super::Shard;
use crate::handler::Handler;

impl<H: Handler> Shard<H> {
    /// What is left of connections, by name and number; `None` where nothing is.
    pub(crate) fn leftovers(&self) -> Option<String> {
        let core = &self.core;
        let counts = [
            ("connections", core.connections.len()),
            ("states", self.states.iter().flatten().count()),
            ("timers", core.wheel.len()),
            ("jobs", core.jobs.len()),
            ("untold ends", core.ended.len()),
            ("unsettled slots", core.unsettled.len()),
            ("evictions", core.to_evict.len()),
            ("gaps to tell", core.to_tell.len()),
            ("releases", core.released.len()),
            ("departures", self.departing.len()),
            ("accepted sockets", self.accepted.len()),
            ("held back", usize::from(!core.held_back.is_empty())),
            ("a run", usize::from(core.run.is_some())),
            ("batches", usize::from(!core.batches.is_empty())),
            ("mail to forward", usize::from(!core.forwarding.is_empty())),
            ("slots behind", core.connections.behind().iter().count()),
            ("backlogs in the metrics", core.observer.backlogs()),
            (
                "slots to flush",
                usize::from(core.connections.dirty.has_any()),
            ),
        ];
        let left: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{what}: {count}"))
            .collect();
        (!left.is_empty()).then(|| format!("shard {}: {}", core.shard, left.join(", ")))
    }
}
