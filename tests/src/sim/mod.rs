//! Whole engines on a simulated network, one per seed, held against a model.
//!
//! A seed decides everything: shards and settings, rooms, clients and what they do, and each fault of
//! the network. [`run`] lets it happen, drains the engine, and checks that
//!
//! - every member got every message of its room, once and in its sender's order, by offsets without
//!   holes where the room is sequenced, unless it was told of a loss;
//! - who joined from a place in a sequenced room got all it had missed, if it was told so, and from then
//!   on everything: no hole, nothing twice;
//! - nobody else got any, and each was what had been said;
//! - receipts were told once and add up to the members;
//! - servers said only what RFC 6455 allows;
//! - each connection was opened and closed once, for a reason that fits what happened to it;
//! - nothing is left: connections, timers, rooms, queues, sockets; and the drain was in time.
//!
//! The same seed does the same, which [`Outcome::digest`] tells.

mod book;
mod check;
mod client;
mod plan;
mod service;
mod world;

use check::Known;
use plan::Plan;
use service::room_name;
use world::World;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Differs where two runs differ.
    pub digest: u64,
    /// Events of the network and turns of shards.
    pub events: u64,
    /// Messages that clients heard.
    pub heard: u64,
    /// The rule that was broken.
    pub violation: Option<String>,
    /// What was done to the engine, by simulated time, where that was asked for.
    pub trace: Vec<String>,
}

/// Runs a seed.
///
/// ```
/// let outcome = throng_tests::sim::run(1, false);
/// assert_eq!(outcome.violation, None);
/// assert_eq!(outcome, throng_tests::sim::run(1, false));
/// ```
pub fn run(seed: u64, is_traced: bool) -> Outcome {
    let mut world = match World::new(Plan::of(seed), is_traced) {
        Ok(world) => world,
        Err(violation) => {
            return Outcome {
                digest: 0,
                events: 0,
                heard: 0,
                violation: Some(violation),
                trace: Vec::new(),
            };
        }
    };
    let ran = world.run().and_then(|()| finish(&mut world));
    Outcome {
        digest: world.network.digest(),
        events: world.network.happened() + world.turns,
        heard: world
            .clients
            .iter()
            .map(|client| client.heard.len() as u64)
            .sum(),
        violation: ran.err(),
        trace: world.trace.take().unwrap_or_default(),
    }
}

/// Lets what is on its way arrive, and checks.
fn finish(world: &mut World) -> Result<(), String> {
    while world.network.next_event().is_some() {
        world.network.step();
        world.wake_clients();
    }
    world.wake_clients();
    let known = Known {
        plan: &world.plan,
        book: &world.shelf.book(),
        clients: &world.clients,
    };
    known.check()?;
    check_leaks(world)
}

/// Nothing is left of anybody.
fn check_leaks(world: &World) -> Result<(), String> {
    if let Some(leftover) = world.fleet.leftovers().first() {
        return Err(format!("left behind: {leftover}"));
    }
    let handle = world.fleet.handle();
    for room in 0..world.plan.sequenced {
        handle.forget_room(&room_name(room));
    }
    let left = [
        ("connections", handle.connections()),
        ("rooms", handle.room_count()),
        ("sockets", world.network.open_near_ends()),
    ];
    if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
        return Err(format!("left behind: {count} {what}"));
    }
    match world.drained {
        Some((report, _)) if report.flushed + report.cut == report.connections => Ok(()),
        drained => Err(format!("a drain that does not add up: {drained:?}")),
    }
}
