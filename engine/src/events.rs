//! What observers are told: events on a bus.
//!
//! Each subscriber has a queue of its own, bounded. Shards never wait for it: what finds it full is dropped
//! and counted. Without a subscriber an event costs a branch and is not made.

mod bus;
mod event;
mod kinds;
mod queue;

pub(crate) use bus::{Bus, Told, Watch};
pub use event::{Event, Subject};
pub use kinds::EventKinds;
pub use queue::{Events, NextEvent, SubscribeError};
