//! What members of a room are told of it by the engine itself.

use serde::Serialize;

use crate::notice::notice;
use crate::owned::OwnedMessage;

/// A room was [deleted](crate::EngineHandle::delete_room): its members are told by what
/// [`Handler::room_deleted`](crate::Handler::room_deleted) makes of this, and leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RoomDeleted<'a> {
    /// Which.
    pub room: &'a str,
    /// When it is told, in seconds since 1970.
    #[serde(skip)]
    pub timestamp: u64,
}

impl RoomDeleted<'_> {
    /// The text message that tells of it by default:
    ///
    /// ```json
    /// {"type":"notify","event":"room.deleted","data":{"room":"tea"},"timestamp":1707552000}
    /// ```
    pub fn to_json(&self) -> OwnedMessage {
        OwnedMessage::Text(notice("room.deleted", self, self.timestamp))
    }
}

/// Users who have joined or left a room with [presence](crate::RoomOptions::presence): its members are told
/// by what [`Handler::presence_notice`](crate::Handler::presence_notice) makes of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PresenceChange<'a> {
    /// The room.
    pub room: &'a str,
    /// Users who are in it and were not: with the first of their connections.
    pub joined: &'a [&'a str],
    /// Users who were in it and are not: with the last of their connections.
    pub left: &'a [&'a str],
    /// When it is told, in seconds since 1970.
    #[serde(skip)]
    pub timestamp: u64,
}

impl PresenceChange<'_> {
    /// The text message that tells of it by default:
    ///
    /// ```json
    /// {"type":"notify","event":"presence","data":{"room":"tea","joined":["ann"],"left":["bob"]},"timestamp":1707552000}
    /// ```
    pub fn to_json(&self) -> OwnedMessage {
        OwnedMessage::Text(notice("presence", self, self.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_told_so() {
        let deleted = RoomDeleted {
            room: "\"tea\"",
            timestamp: 1_707_552_000,
        };
        let told = r#"{"type":"notify","event":"room.deleted","data":{"room":"\"tea\""},"timestamp":1707552000}"#;
        assert_eq!(deleted.to_json(), OwnedMessage::Text(told.to_owned()));
    }

    #[test]
    fn a_change_of_presence_is_told_so() {
        let change = PresenceChange {
            room: "tea",
            joined: &["ann", "\"eve\""],
            left: &[],
            timestamp: 1_707_552_000,
        };
        let told = r#"{"type":"notify","event":"presence","data":{"room":"tea","joined":["ann","\"eve\""],"left":[]},"timestamp":1707552000}"#;
        assert_eq!(change.to_json(), OwnedMessage::Text(told.to_owned()));
    }
}
