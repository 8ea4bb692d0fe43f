//! What is told of a room, and what the service keeps with it.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::limits::MAX_ROOM_METADATA;

/// A room as seen from outside, at the moment it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its members on all shards.
    pub members: usize,
    /// The most members that it may have: its own limit or
    /// [`max_room_members`](field@crate::Config::max_room_members), whichever is less.
    pub max_members: Option<usize>,
    /// Whether it stays without members, having been created.
    pub kept: bool,
    /// Whether its messages are [numbered](crate::RoomOptions::sequenced).
    pub sequenced: bool,
    /// Whether its last messages are [kept](crate::RoomOptions::history).
    pub has_history: bool,
    /// Whether its members are told [who comes and goes](crate::RoomOptions::presence).
    pub has_presence: bool,
    pub(super) metadata: Option<Arc<Value>>,
}

impl RoomInfo {
    /// What [`RoomOptions::metadata`](crate::RoomOptions::metadata) or
    /// [`EngineHandle::set_room_metadata`](crate::EngineHandle::set_room_metadata) gave the room, as a
    /// `T`; `None` where neither has.
    ///
    /// # Errors
    /// When it is no `T`.
    ///
    /// ```no_run
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Topic {
    ///     title: String,
    /// }
    ///
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// engine.set_room_metadata("tea", &Topic { title: "Green and black".into() })?;
    /// if let Some(room) = engine.room("tea") {
    ///     let topic: Option<Topic> = room.metadata()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn metadata<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.metadata.as_deref().map(T::deserialize).transpose()
    }

    /// The same as the JSON that it is kept as.
    pub fn metadata_json(&self) -> Option<&Value> {
        self.metadata.as_deref()
    }
}

/// Why a room was not given metadata. It has what it had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It cannot be represented as JSON: its `Serialize` fails, or a map has keys that are no strings.
    #[error("metadata: it cannot be represented as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Its JSON is too long.
    #[error("metadata: {bytes} bytes of JSON, where {max} are the most allowed")]
    TooLong {
        /// What it has.
        bytes: usize,
        /// The bound: 64 KiB.
        max: usize,
    },
    /// There is no such room.
    #[error("there is no room of that name")]
    NoSuchRoom,
}

/// What a room keeps of `value`.
pub(crate) fn metadata_of(value: &impl Serialize) -> Result<Arc<Value>, MetadataError> {
    let value = serde_json::to_value(value)?;
    let bytes = serde_json::to_vec(&value)?.len();
    let max = MAX_ROOM_METADATA;
    if bytes > max {
        return Err(MetadataError::TooLong { bytes, max });
    }
    Ok(Arc::new(value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn metadata_is_json_of_a_bounded_length() {
        let longest = "x".repeat(MAX_ROOM_METADATA - 2);
        assert_eq!(*metadata_of(&longest).unwrap(), Value::from(longest));
        let longer = metadata_of(&"x".repeat(MAX_ROOM_METADATA - 1)).unwrap_err();
        let told = "metadata: 65537 bytes of JSON, where 65536 are the most allowed";
        assert_eq!(longer.to_string(), told);
        let no_json = metadata_of(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert!(matches!(no_json, MetadataError::Json(_)), "{no_json}");
    }
}
