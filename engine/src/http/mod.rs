//! HTTP on both sides of the engine: mounted in a server of hyper's ([`mount`]), it upgrades what comes to that;
//! and the side door answers what comes to the engine's own port and asks for no upgrade.
//!
//! A connection of the latter kind leaves its shard, socket and all, and is answered by hyper on a thread of its
//! own, so that a slow download never delays a message. It is answered once and closed
//! (`Connection: close`): only shards upgrade connections, and a connection does not come back to
//! its shard. A client that wants to upgrade afterwards opens a new one.

mod answer;
#[cfg(feature = "files")]
mod files;
mod hand_over;
mod mount;
mod offering;
mod page;
mod routes;
#[cfg(feature = "tls")]
mod secure;
mod serve;
mod side_door;
mod visitor;

pub use mount::UpgradeResponse;
pub use page::Page;
#[cfg(feature = "admin")]
pub(crate) use page::check_path;
pub use routes::RequestBody;

#[cfg(feature = "files")]
pub(crate) use files::Folder;
#[cfg(unix)]
pub(crate) use hand_over::Bridged;
pub(crate) use mount::MountPoint;
pub(crate) use offering::Offering;
pub(crate) use routes::SideService;
pub(crate) use side_door::{Entrance, Place, SideDoor};
pub(crate) use visitor::Visitor;

#[cfg(test)]
mod tests;
