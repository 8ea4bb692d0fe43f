//! Events that many services have, to be switched on one by one.
//!
//! ```
//! use throng::Router;
//! use throng::router::{EventError, ready};
//!
//! let mut router = Router::new();
//! ready::join(&mut router, |cx, room| match room {
//!     "staff" => Err(EventError::forbidden("members of staff only")),
//!     _ => Ok(()),
//! });
//! ready::leave(&mut router);
//! ready::say(&mut router);
//! ready::tell(&mut router);
//! ready::presence(&mut router);
//! ready::echo(&mut router);
//! # router.freeze().unwrap();
//! ```
//!
//! | event | data | answer |
//! |---|---|---|
//! | `room.join` | `{"room":"tea"}`, with `"since":{"epoch":"…","offset":7}` or `"history":20` | `{"room":"tea","members":3}`, in sequenced rooms with `"position"` and `"recovered"` |
//! | `room.leave` | `{"room":"tea"}` | `{"room":"tea","left":true}` |
//! | `room.say` | `{"room":"tea","content":…}` | `{"room":"tea"}`; the others are told `room.message` |
//! | `user.tell` | `{"user":"ann","content":…}` | `{"user":"ann","connections":2}`; she is told `user.message` |
//! | `room.presence` | `{"room":"tea"}` | `{"room":"tea","users":{"ann":2},"count":1,"anonymous":1}`, which names 256 users at most, of as many as `count` says |
//! | `echo` | anything | the same |
//!
//! `room.message` carries `{"room":"tea","from":"ann","content":…}`, and in a sequenced room `"position":{"epoch":"…","offset":8}`;
//! `user.message` carries `{"from":"ann","content":…}`. Epochs are text, since they take more than a number has in JavaScript.
//! All of it is JSON; with another codec the same maps.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Codec, Cx, EventError, Invalid, Json, Route, Router, Valid, Validate};
use crate::limits::MAX_ROOM_NAME;
use crate::notice::Notify;
use crate::room::Position;

/// A router whose events are JSON.
type JsonRouter<S> = Router<S, Json>;

#[derive(Deserialize)]
struct Named {
    room: String,
}

impl Validate for Named {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("room", &self.room)
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Invalid> {
    Invalid::unless_chars(field, name, 1..=MAX_ROOM_NAME)
}

fn check_member<S>(cx: &Cx<'_, S>, room: &str) -> Result<(), EventError> {
    let refusal = EventError::forbidden("join the room first");
    cx.is_in(room).then_some(()).ok_or(refusal)
}

/// A [`Position`] as clients see it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Place {
    #[serde(serialize_with = "epoch_as_text", deserialize_with = "epoch_from_text")]
    epoch: u64,
    offset: u64,
}

impl From<Position> for Place {
    fn from(Position { epoch, offset }: Position) -> Place {
        Place { epoch, offset }
    }
}

impl From<Place> for Position {
    fn from(Place { epoch, offset }: Place) -> Position {
        Position { epoch, offset }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn epoch_as_text<S: Serializer>(epoch: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(epoch)
}

fn epoch_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct Join {
    room: String,
    #[serde(default)]
    since: Option<Place>,
    #[serde(default)]
    history: Option<usize>,
}

impl Validate for Join {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("room", &self.room)?;
        if self.since.is_some() && self.history.is_some() {
            return Err(Invalid::new("history", "cannot be beside since"));
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Joined {
    room: String,
    members: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
}

/// `room.join`, where `may` lets the client. What it asks for of a room's history comes before the answer.
pub fn join<S: Send + 'static>(
    router: &mut JsonRouter<S>,
    may: impl Fn(&mut Cx<'_, S>, &str) -> Result<(), EventError> + Send + Sync + 'static,
) -> Route<'_> {
    router.on("room.join", move |cx, Valid(join): Valid<Join>| {
        let Join {
            room,
            since,
            history,
        } = join;
        may(cx, &room)?;
        let recovery = match (since, history) {
            (Some(since), _) => Some(cx.join_from(&room, since.into())?),
            (None, Some(messages)) => Some(cx.join_with_history(&room, messages)?),
            (None, None) => {
                cx.join(&room)?;
                None
            }
        };
        Ok(Joined {
            members: cx.room_len(&room),
            // Other rooms know no places.
            position: recovery
                .filter(|_| cx.is_sequenced(&room))
                .map(|it| it.position.into()),
            recovered: recovery.map(|it| it.recovered),
            room,
        })
    })
}

#[derive(Serialize)]
struct Left {
    room: String,
    left: bool,
}

/// `room.leave`.
pub fn leave<S: Send + 'static>(router: &mut JsonRouter<S>) -> Route<'_> {
    router.on("room.leave", |cx, Valid(Named { room }): Valid<Named>| {
        let left = cx.leave(&room);
        Ok(Left { room, left })
    })
}

#[derive(Deserialize)]
struct Say {
    room: String,
    content: Value,
}

impl Validate for Say {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("room", &self.room)
    }
}

#[derive(Serialize)]
struct Said {
    room: String,
}

#[derive(Serialize)]
struct RoomMessage<'a> {
    room: &'a str,
    from: Option<&'a str>,
    content: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place>,
}

/// `room.say`: for members only; others are answered 403. The sender is not told its own message, but in a
/// sequenced room, where its place is news.
pub fn say<S: Send + 'static>(router: &mut JsonRouter<S>) -> Route<'_> {
    router.on(
        "room.say",
        |cx, Valid(Say { room, content }): Valid<Say>| {
            check_member(cx, &room)?;
            let from = cx.user_id().map(str::to_owned);
            if !cx.is_sequenced(&room) {
                let data = RoomMessage {
                    room: &room,
                    from: from.as_deref(),
                    content: &content,
                    position: None,
                };
                let message = cx.to(&room).except_self().notify("room.message", &data);
                message.map_err(|_| EventError::internal())?.publish();
                return Ok(Said { room });
            }
            let (told, timestamp) = (room.clone(), cx.unix_time());
            let receipt = cx.to(&room).numbered(move |position| {
                let data = RoomMessage {
                    room: &told,
                    from: from.as_deref(),
                    content: &content,
                    position: Some(position.into()),
                };
                // What was read as JSON can be written as such.
                serde_json::to_string(&Notify::new("room.message", &data, timestamp))
                    .unwrap_or_default()
            });
            if receipt.publish().refused > 0 {
                return Err(EventError::too_many("too much is said in this room"));
            }
            Ok(Said { room })
        },
    )
}

#[derive(Deserialize)]
struct Tell {
    user: String,
    content: Value,
}

impl Validate for Tell {
    fn validate(&self) -> Result<(), Invalid> {
        check_name("user", &self.user)
    }
}

#[derive(Serialize)]
struct Told {
    user: String,
    connections: usize,
}

#[derive(Serialize)]
struct UserMessage<'a> {
    from: Option<&'a str>,
    content: &'a Value,
}

/// `user.tell`: a private message; 404 where the user is not connected.
pub fn tell<S: Send + 'static>(router: &mut JsonRouter<S>) -> Route<'_> {
    router.on(
        "user.tell",
        |cx, Valid(Tell { user, content }): Valid<Tell>| {
            let connections = cx.engine().user_len(&user);
            if connections == 0 {
                return Err(EventError::not_found("the user is not connected"));
            }
            let from = cx.user_id().map(str::to_owned);
            let data = UserMessage {
                from: from.as_deref(),
                content: &content,
            };
            let message = cx.to_user(&user).notify("user.message", &data);
            message.map_err(|_| EventError::internal())?.publish();
            Ok(Told { user, connections })
        },
    )
}

#[derive(Serialize)]
struct Present {
    room: String,
    users: BTreeMap<String, usize>,
    count: usize,
    anonymous: usize,
}

/// `room.presence`: for members of rooms with [presence](crate::RoomOptions::presence); others are answered 403, and 404 where
/// the room has none. Of a large room, some of the users are named: who wants to know all of them follows the room's notices.
pub fn presence<S: Send + 'static>(router: &mut JsonRouter<S>) -> Route<'_> {
    router.on(
        "room.presence",
        |cx, Valid(Named { room }): Valid<Named>| {
            check_member(cx, &room)?;
            let present = cx.engine().some_presence(&room);
            let none = EventError::not_found("the room has no presence");
            let (present, count) = present.ok_or(none)?;
            let users = present.users.into_iter();
            Ok(Present {
                room,
                users: users
                    .map(|(user, devices)| (user.to_string(), devices))
                    .collect(),
                count,
                anonymous: present.anonymous,
            })
        },
    )
}

/// `echo`.
pub fn echo<S: Send + 'static, C: Codec>(router: &mut Router<S, C>) -> Route<'_> {
    router.on("echo", |_, data: Value| Ok(data))
}
