//! Which events a subscriber wants.

use std::fmt;
use std::ops::BitOr;

/// Kinds of [`Event`](crate::Event)s, united by `|`.
///
/// ```
/// use throng::EventKinds;
///
/// let ends = EventKinds::DISCONNECTED | EventKinds::SLOW_CONSUMER;
/// assert!(ends.contains(EventKinds::DISCONNECTED));
/// assert!(!ends.contains(EventKinds::MESSAGE));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EventKinds(u32);

macro_rules! kinds {
    ($($(#[$attribute:meta])* $NAME:ident = $bit:literal;)*) => {
        impl EventKinds {
            $($(#[$attribute])* pub const $NAME: EventKinds = EventKinds(1 << $bit);)*
            /// Every kind. Messages among them cost the most by far; see [`EventKinds::without`].
            pub const ALL: EventKinds = EventKinds($(1 << $bit)|*);

            const NAMES: &'static [(EventKinds, &'static str)] =
                &[$((EventKinds::$NAME, stringify!($NAME)),)*];
        }
    };
}

kinds! {
    /// [`Event::Connected`](crate::Event::Connected).
    CONNECTED = 0;
    /// [`Event::Disconnected`](crate::Event::Disconnected).
    DISCONNECTED = 1;
    /// [`Event::Message`](crate::Event::Message): one for each message received.
    MESSAGE = 2;
    /// [`Event::RoomCreated`](crate::Event::RoomCreated).
    ROOM_CREATED = 3;
    /// [`Event::RoomRemoved`](crate::Event::RoomRemoved).
    ROOM_REMOVED = 4;
    /// [`Event::Joined`](crate::Event::Joined).
    JOINED = 5;
    /// [`Event::Left`](crate::Event::Left).
    LEFT = 6;
    /// [`Event::Error`](crate::Event::Error).
    ERROR = 7;
    /// [`Event::SlowConsumer`](crate::Event::SlowConsumer).
    SLOW_CONSUMER = 8;
    /// [`Event::HandshakeRejected`](crate::Event::HandshakeRejected).
    HANDSHAKE_REJECTED = 9;
}

impl EventKinds {
    /// No kind.
    pub const NONE: EventKinds = EventKinds(0);

    /// Whether all of `kinds` are among these.
    #[must_use]
    pub const fn contains(self, kinds: EventKinds) -> bool {
        self.0 & kinds.0 == kinds.0
    }

    /// These but for `kinds`.
    #[must_use]
    pub const fn without(self, kinds: EventKinds) -> EventKinds {
        EventKinds(self.0 & !kinds.0)
    }

    /// Whether any of `kinds` are among these.
    #[inline]
    pub(crate) const fn has_any_of(self, kinds: EventKinds) -> bool {
        self.0 & kinds.0 != 0
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> EventKinds {
        EventKinds(bits)
    }
}

impl BitOr for EventKinds {
    type Output = EventKinds;

    fn bitor(self, other: EventKinds) -> EventKinds {
        EventKinds(self.0 | other.0)
    }
}

impl fmt::Debug for EventKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = EventKinds::NAMES.iter();
        let named = known.filter(|(kind, _)| self.contains(*kind));
        f.debug_set().entries(named.map(|(_, name)| name)).finish()
    }
}
