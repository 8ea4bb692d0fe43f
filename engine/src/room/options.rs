//! Rooms that are created before anybody joins them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::History;
use super::info::{MetadataError, metadata_of};
use crate::limits::MAX_ROOM_COUNT;

/// What a room is like that [`create_room`](crate::EngineHandle::create_room) makes.
///
/// The default is a room like those that are created by joining them, except that it is kept
/// without members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct RoomOptions {
    pub(crate) sequenced: bool,
    pub(crate) metadata: Option<Arc<Value>>,
    pub(crate) max_members: Option<usize>,
    pub(crate) history: Option<History>,
    pub(crate) presence: bool,
}

impl RoomOptions {
    /// The default.
    pub fn new() -> RoomOptions {
        RoomOptions::default()
    }

    /// All members see the room's messages in the same order, numbered without holes.
    ///
    /// One shard, the room's home, gives each message the next offset, whoever publishes it, and
    /// hands it to all others. What is promised:
    ///
    /// - Every member receives messages of the room by rising offsets, each once. From the first one
    ///   that it receives none is missing while it is a member, but for those that it was
    ///   [excepted](crate::To::except) from and those that its
    ///   [overflow policy](field@crate::Config::overflow) took.
    /// - Who has joined receives what is published from then on. The first messages may be some that
    ///   were published shortly before and still on their way.
    /// - What one sender publishes to the room keeps its order. A sender is a connection, by its handler, or
    ///   a thread; what a client said on one connection may come behind what it says on the next.
    /// - A message that is refused takes no offset: no hole tells of it but the publisher's
    ///   [`Receipt::refused`](crate::Receipt::refused) or
    ///   [`PublishError`](crate::PublishError). One is refused when the home's mailbox is full, or
    ///   what the home keeps for some shard with members
    ///   whose mailbox is full. The latter is told at once on the home's shard only; elsewhere a whole
    ///   receipt tells it ([`publish_then`](crate::Publication::publish_then)).
    ///
    /// What it costs: what is published elsewhere than on the home's shard takes one more way between
    /// threads, to the publisher's own shard too.
    ///
    /// Since each message counts, [`high`](crate::To::high) and keys have no effect: a message would
    /// overtake or replace others. What is for several rooms goes by way of the first sequenced
    /// one among them and gets its offset there; in the others, sequenced ones included, it arrives
    /// without an offset, and neither its place among other messages nor the order of what one sender
    /// published is promised. The same goes for what is sent to all or to one connection.
    ///
    /// A message can carry its offset: [`To::numbered`](crate::To::numbered).
    ///
    /// ```no_run
    /// use throng::{EngineHandle, RoomOptions};
    ///
    /// # fn example(engine: &EngineHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// engine.create_room("trades", RoomOptions::new().sequenced())?;
    /// engine.to("trades").numbered(|at| format!("{} BTC 97000", at.offset)).publish()?;
    /// engine.to("trades").text("without its number, in the same order").publish()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sequenced(mut self) -> RoomOptions {
        self.sequenced = true;
        self
    }

    /// What the service keeps with the room, as JSON of 64 KiB at most:
    /// [`RoomInfo::metadata`](crate::RoomInfo::metadata) gives it back. It can be
    /// [replaced](crate::EngineHandle::set_room_metadata).
    ///
    /// # Errors
    /// When it cannot be represented as JSON, or is too long.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use throng::RoomOptions;
    ///
    /// let topic = HashMap::from([("title", "Green and black")]);
    /// let options = RoomOptions::new().metadata(&topic)?.max_members(50);
    /// # Ok::<(), throng::MetadataError>(())
    /// ```
    pub fn metadata(mut self, metadata: &impl Serialize) -> Result<RoomOptions, MetadataError> {
        self.metadata = Some(metadata_of(metadata)?);
        Ok(self)
    }

    /// The most members that the room may have, from 1 to 4,294,967,295. Where
    /// [`max_room_members`](field@crate::Config::max_room_members) is less, that holds.
    pub fn max_members(mut self, max: usize) -> RoomOptions {
        self.max_members = Some(max);
        self
    }

    /// The room's last messages are kept, for those who join and have missed some
    /// ([`Conn::join_from`](crate::Conn::join_from)) or would see what came before
    /// ([`Conn::join_with_history`](crate::Conn::join_with_history)). Only with
    /// [`sequenced`](Self::sequenced).
    ///
    /// What was published to several rooms is in the history of the one that numbered it. Who is excepted
    /// [by name](crate::To::except) is excepted there, too; rooms that were are not.
    ///
    /// What it costs: the home copies each message once, and a lock that those who join take as well.
    pub fn history(mut self, history: History) -> RoomOptions {
        self.history = Some(history);
        self
    }

    /// The room knows which users are in it
    /// ([`EngineHandle::presence`](crate::EngineHandle::presence)), and tells its members who comes and goes
    /// ([`Handler::presence_notice`](crate::Handler::presence_notice)).
    ///
    /// A user is who [`Accept::user_id`](crate::Accept::user_id) says, with any number of connections; those
    /// of no user are counted and not named. All members are told in the same order, also who joined of
    /// himself. What happens at once is told as one: of a user who leaves and returns before that,
    /// nothing is. Once the engine drains nobody is told anything.
    ///
    /// Who joins asks who is there, and then follows what it is told: it may be told once more what it
    /// knows. Notices are messages like others, but without an offset in a sequenced room, and not in its
    /// history.
    pub fn presence(mut self) -> RoomOptions {
        self.presence = true;
        self
    }

    /// Checks each option against its bounds, and against the others.
    pub(crate) fn check(&self) -> Result<(), CreateRoomError> {
        let is_allowed = |max: usize| (1..=MAX_ROOM_COUNT).contains(&max);
        if !self.max_members.is_none_or(is_allowed) {
            return Err(CreateRoomError::Invalid {
                option: "max_members",
                rule: "must be from 1 to 4,294,967,295",
            });
        }
        if let Some(history) = &self.history {
            history.check()?;
            if !self.sequenced {
                return Err(CreateRoomError::Invalid {
                    option: "history",
                    rule: "needs sequenced: a history is of messages that are numbered",
                });
            }
        }
        Ok(())
    }
}

/// Why a room could not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreateRoomError {
    /// There is a room of that name: created before, or with members.
    #[error("there is a room of that name already")]
    Exists,
    /// The engine has as many rooms as `max_rooms` allows.
    #[error("no further room can be created: there are {max}, the most allowed (max_rooms)")]
    TooManyRooms {
        /// The bound.
        max: usize,
    },
    /// An option is out of its bounds, or contradicts another one.
    #[error("{option} {rule}")]
    Invalid {
        /// Which.
        option: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The operating system has no randomness for the epoch of a sequenced room.
    #[error(
        "the operating system gives no randomness, which a sequenced room's epoch is drawn from"
    )]
    NoEntropy,
}
