//! Rooms: who is in them, and whom a message is for. Knows ids of connections, not connections.
//!
//! Each shard holds its own slice of each room ([`LocalRooms`]): a bitmap over its slots. The
//! [`Directory`], shared by all, knows which rooms exist, how many members each has and which
//! shards have a slice. It is locked when a shard's first member joins a room or its last one
//! leaves, and when a room is looked up from outside; never per message between members.

mod algebra;
mod audience;
mod by_name;
mod directory;
mod few;
mod history;
mod info;
mod local;
mod members;
mod options;
mod presence;
mod room_set;
mod sequence;
mod shard_bits;
#[cfg(test)]
mod tests;

pub(crate) use audience::{Audience, SharedAudience, Target};
pub(crate) use directory::{Directory, RoomLimits, RoomTraits, SharedRoom};
pub use history::{History, Recovery};
pub(crate) use history::{Kept, Wanted};
pub(crate) use info::metadata_of;
pub use info::{MetadataError, RoomInfo};
pub(crate) use local::{Circle, LocalRooms, RoomIndex};
pub(crate) use members::Members;
pub use options::{CreateRoomError, RoomOptions};
pub use presence::RoomPresence;
pub(crate) use presence::{Changes, Next, Presence};
pub(crate) use room_set::RoomSet;
pub use sequence::Position;
pub(crate) use sequence::{Sequence, home_of};

use thiserror::Error;

/// Why a connection could not join a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The room has as many members as its own limit ([`RoomOptions::max_members`]) or
    /// `max_room_members` allows.
    #[error(
        "the room is full: it has {max} members, the most allowed (max_room_members, or its own limit)"
    )]
    RoomFull {
        /// The bound.
        max: usize,
    },
    /// The engine has as many rooms as `max_rooms` allows.
    #[error("no further room can be created: there are {max}, the most allowed (max_rooms)")]
    TooManyRooms {
        /// The bound.
        max: usize,
    },
    /// The connection is in as many rooms as `max_rooms_per_connection` allows.
    #[error("the connection is in {max} rooms, the most allowed (max_rooms_per_connection)")]
    TooManyRoomsOfConnection {
        /// The bound.
        max: usize,
    },
    /// A room of that name was [deleted](crate::EngineHandle::delete_room) a moment ago, and its members
    /// on the connection's shard have not left it yet.
    #[error("a room of that name is being deleted: its members have not all left yet; try again")]
    BeingDeleted,
    /// The connection is in the room already, and misses nothing: history is for who joins.
    #[error("the connection is in the room already: what it missed is for who joins")]
    AlreadyMember,
    /// The connection is closing or gone.
    #[error("the connection is not open")]
    NotOpen,
}
