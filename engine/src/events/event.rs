//! What can be told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use throng_transport::Peer;

use super::EventKinds;
use crate::event::{Cause, Counts, ErrorKind, Rejection};
use crate::id::ConnectionId;

/// A connection that an event is about, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// Its id.
    pub id: ConnectionId,
    /// The user that [`Accept::user_id`](crate::Accept::user_id) named.
    pub user: Option<Arc<str>>,
    /// Who is at its other end.
    pub peer: Peer,
}

/// Something that has happened. What a peer has said is never in it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was opened. Comes before all else about it.
    Connected {
        /// Which.
        connection: Subject,
    },
    /// A connection has ended, its handler was told, and it has left its rooms. Nothing follows about it.
    Disconnected {
        /// Which.
        connection: Subject,
        /// Why.
        cause: Cause,
        /// How long it was open, to within 10 ms.
        duration: Duration,
        /// What went over it.
        counts: Counts,
    },
    /// A message was received, and is about to be handled.
    Message {
        /// From whom.
        connection: Subject,
        /// Bytes of its payload.
        bytes: usize,
        /// Whether it is text.
        is_text: bool,
    },
    /// A room came to be: its first member joined, or it was created.
    RoomCreated {
        /// Its name.
        room: Arc<str>,
    },
    /// A room is no more: its last member left, or it was forgotten without members.
    RoomRemoved {
        /// Its name.
        room: Arc<str>,
    },
    /// A connection has become a member of a room.
    Joined {
        /// Which.
        connection: Subject,
        /// The room's name.
        room: Arc<str>,
    },
    /// A connection's membership of a room has ended.
    Left {
        /// Which.
        connection: Subject,
        /// The room's name.
        room: Arc<str>,
    },
    /// Something went wrong.
    Error {
        /// The connection that it happened on, where it was one that is open or closing.
        connection: Option<Subject>,
        /// What it was.
        error: ErrorKind,
    },
    /// A connection has lost messages, since it did not read what it was sent: once it takes what was
    /// sent before, and when it is given up.
    SlowConsumer {
        /// Which.
        connection: Subject,
        /// Messages lost since this was last told of it; where it was given up, all that were.
        lost: u64,
        /// Whether it was given up.
        is_given_up: bool,
    },
    /// An opening handshake did not end in a connection.
    HandshakeRejected {
        /// Who was at the other end.
        peer: Peer,
        /// The client's address, as far as it was known by then: behind proxies it is told by what is read first.
        client: Option<IpAddr>,
        /// Why.
        rejection: Rejection,
        /// The HTTP status that it was answered with, if it was.
        status: Option<u16>,
    },
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKinds {
        match self {
            Event::Connected { .. } => EventKinds::CONNECTED,
            Event::Disconnected { .. } => EventKinds::DISCONNECTED,
            Event::Message { .. } => EventKinds::MESSAGE,
            Event::RoomCreated { .. } => EventKinds::ROOM_CREATED,
            Event::RoomRemoved { .. } => EventKinds::ROOM_REMOVED,
            Event::Joined { .. } => EventKinds::JOINED,
            Event::Left { .. } => EventKinds::LEFT,
            Event::Error { .. } => EventKinds::ERROR,
            Event::SlowConsumer { .. } => EventKinds::SLOW_CONSUMER,
            Event::HandshakeRejected { .. } => EventKinds::HANDSHAKE_REJECTED,
        }
    }

    /// The connection that it is about.
    pub fn connection(&self) -> Option<&Subject> {
        match self {
            Event::Connected { connection }
            | Event::Disconnected { connection, .. }
            | Event::Message { connection, .. }
            | Event::Joined { connection, .. }
            | Event::Left { connection, .. }
            | Event::SlowConsumer { connection, .. } => Some(connection),
            Event::Error { connection, .. } => connection.as_ref(),
            Event::RoomCreated { .. }
            | Event::RoomRemoved { .. }
            | Event::HandshakeRejected { .. } => None,
        }
    }
}
