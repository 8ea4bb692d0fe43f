//! Whom a message is for.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use throng_transport::SocketKey;

use super::{LocalRooms, RoomIndex, SharedRoom};
use crate::id::ConnectionId;

/// Everybody in the target but those excepted. Who is in several of the rooms counts once.
#[derive(Clone, Debug)]
pub(crate) struct Audience<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) except_rooms: SmallVec<[Cow<'a, str>; 1]>,
    pub(crate) except: SmallVec<[ConnectionId; 2]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Target<'a> {
    All,
    Rooms(SmallVec<[Cow<'a, str>; 1]>),
    /// A room by its place in the shard that looks, where it has members there. This never travels.
    Here(Option<RoomIndex>),
    Connection(ConnectionId),
    /// The connections of a user.
    User(Cow<'a, str>),
}

impl<'a> Audience<'a> {
    pub(crate) fn new(target: Target<'a>) -> Audience<'a> {
        Audience {
            target,
            except_rooms: SmallVec::new(),
            except: SmallVec::new(),
        }
    }

    pub(crate) fn room(name: &'a str) -> Audience<'a> {
        Audience::new(Target::Rooms(SmallVec::from_iter([Cow::Borrowed(name)])))
    }

    /// Whether the connection is among those excepted.
    #[inline]
    pub(crate) fn excepts(&self, shard: u8, slot: u32, generation: u32) -> bool {
        self.except
            .iter()
            .any(|id| id.shard() == shard && id.key() == SocketKey { slot, generation })
    }

    fn into_owned(self) -> Audience<'static> {
        let owned = |names: SmallVec<[Cow<'a, str>; 1]>| {
            names
                .into_iter()
                .map(|name| Cow::Owned(name.into_owned()))
                .collect()
        };
        Audience {
            target: match self.target {
                Target::All => Target::All,
                Target::Rooms(rooms) => Target::Rooms(owned(rooms)),
                Target::Here(index) => Target::Here(index),
                Target::Connection(id) => Target::Connection(id),
                Target::User(user) => Target::User(Cow::Owned(user.into_owned())),
            },
            except_rooms: owned(self.except_rooms),
            except: self.except,
        }
    }

    /// The same audience in a form that travels between shards. `room` is the room's shared
    /// form when the audience is one room, which then travels without an allocation.
    pub(crate) fn to_shared(&self, room: Option<&Arc<SharedRoom>>) -> SharedAudience {
        match room {
            Some(room) if self.is_one_room() => SharedAudience::Room {
                room: Arc::clone(room),
                except: self.except.clone(),
            },
            _ => SharedAudience::Any(Arc::new(self.clone().into_owned())),
        }
    }

    /// The audience without those rooms.
    pub(crate) fn without(&self, is_left_out: impl Fn(&str) -> bool) -> Audience<'a> {
        let mut others = self.clone();
        if let Target::Rooms(rooms) = &mut others.target {
            rooms.retain(|name| !is_left_out(name));
        }
        others
    }

    /// The room at that place of the shard that looks, with the connections that this one excepts.
    pub(crate) fn at(&self, index: RoomIndex) -> Audience<'a> {
        Audience {
            except: self.except.clone(),
            ..Audience::new(Target::Here(Some(index)))
        }
    }

    /// One room, no room excepted.
    pub(crate) fn is_one_room(&self) -> bool {
        self.except_rooms.is_empty()
            && match &self.target {
                Target::Rooms(rooms) => rooms.len() == 1,
                Target::Here(_) => true,
                Target::All | Target::User(_) | Target::Connection(_) => false,
            }
    }

    /// The name of the room that is all of its target, no room excepted.
    pub(crate) fn only_name(&self) -> Option<&str> {
        match &self.target {
            Target::Rooms(rooms) if self.is_one_room() => Some(&rooms[0]),
            _ => None,
        }
    }
}

/// An [`Audience`] on its way to other shards. One room is the very room that was published to, deleted
/// or not; others are found by their names where it arrives.
#[derive(Clone, Debug)]
pub(crate) enum SharedAudience {
    Room {
        room: Arc<SharedRoom>,
        except: SmallVec<[ConnectionId; 2]>,
    },
    Any(Arc<Audience<'static>>),
}

impl SharedAudience {
    /// The audience as the shard of these rooms looks at it.
    pub(crate) fn seen_by(&self, rooms: &LocalRooms) -> Cow<'_, Audience<'static>> {
        match self {
            SharedAudience::Room { room, except } => Cow::Owned(Audience {
                except: except.clone(),
                ..Audience::new(Target::Here(rooms.place_of(room)))
            }),
            SharedAudience::Any(audience) => Cow::Borrowed(audience),
        }
    }
}
