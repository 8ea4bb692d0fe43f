//! The side door: what comes to the engine's port and asks for no upgrade.
//!
//! Such a connection leaves its shard, socket and all, and is answered by hyper on a thread of its
//! own, so that a slow download never delays a message. It is answered once and closed
//! (`Connection: close`): only shards upgrade connections, and a connection does not come back to
//! its shard. A client that wants to upgrade afterwards opens a new one.

mod answer;
mod page;
#[cfg(feature = "tls")]
mod secure;
mod serve;
mod side_door;
mod visitor;

pub use page::Page;

pub(crate) use page::Pages;
pub(crate) use side_door::{Entrance, Place, SideDoor, SideLimits};
pub(crate) use visitor::Visitor;

#[cfg(test)]
mod tests;
