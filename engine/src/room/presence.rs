//! Who is in a room, by users, and what of that its members have not been told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{MAX_PRESENCE_BYTES, MAX_PRESENCE_LOOKS, MAX_PRESENCE_NAMES};

/// Who is in a room: [`EngineHandle::presence`](crate::EngineHandle::presence).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomPresence {
    /// The users, and how many connections each has in the room.
    pub users: BTreeMap<Arc<str>, usize>,
    /// Connections in the room that are no user's.
    pub anonymous: usize,
}

/// What members are to be told, together: each user is in one of the lists at most.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// How many there have been, with these.
    pub(crate) number: u64,
    pub(crate) joined: Vec<Arc<str>>,
    pub(crate) left: Vec<Arc<str>>,
}

/// What is to be told next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// There is nothing: the room's home must be told of the next change.
    Nothing,
    /// It cannot be told yet.
    NotNow,
    Tell(Changes, T),
}

/// Who is in a room, on all shards. Changed where somebody joins or leaves, never by a message.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    users: HashMap<Arc<str>, User>,
    /// How many of them are here.
    here: usize,
    anonymous: usize,
    /// Users of whom members are to be told something, in the order in which that began. Who returns to what
    /// they were told is taken out.
    changed: BTreeMap<u64, Arc<str>>,
    /// The number of the last change.
    changes: u64,
    /// How often members were told.
    told: u64,
    /// The room's home knows that there is something to be told.
    is_listed: bool,
    /// The room was deleted: nobody is told anything.
    is_over: bool,
}

/// One who is in the room, or of whom members have not been told that he has left.
#[derive(Debug, Default)]
struct User {
    devices: usize,
    /// What members were told last: that he is here.
    was_told: bool,
    change: Option<u64>,
}

impl Presence {
    /// A connection, of that user if of one, is in the room now. Returns whether the room's home must be
    /// told.
    #[must_use]
    pub(crate) fn enter(&self, user: Option<&str>) -> bool {
        let mut state = self.lock();
        let Some(name) = user else {
            state.anonymous += 1;
            return false;
        };
        let name = match state.users.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(name),
        };
        let user = state.users.entry(Arc::clone(&name)).or_default();
        user.devices += 1;
        let is_new = user.devices == 1;
        state.here += usize::from(is_new);
        state.note(&name)
    }

    /// It is in the room no more.
    #[must_use]
    pub(crate) fn exit(&self, user: Option<&str>) -> bool {
        let mut state = self.lock();
        let Some(name) = user else {
            state.anonymous = state.anonymous.saturating_sub(1);
            return false;
        };
        let Some((name, _)) = state.users.get_key_value(name) else {
            return false;
        };
        let name = Arc::clone(name);
        if let Some(user) = state.users.get_mut(&name)
            && user.devices > 0
        {
            user.devices -= 1;
            let is_gone = user.devices == 0;
            state.here -= usize::from(is_gone);
        }
        state.note(&name)
    }

    /// How often members were told. Of whoever asks who is there from now on, all that was told is known.
    pub(super) fn told(&self) -> u64 {
        self.lock().told
    }

    /// Takes what members are to be told next, so much of it as one message holds, if there is a way to them. That is looked
    /// for under the lock: a shard that gets its first member later counts it among what was told before.
    pub(crate) fn take_changes<T>(&self, way: impl FnOnce() -> Option<T>) -> Next<T> {
        let mut state = self.lock();
        if state.changed.is_empty() || state.is_over {
            state.is_listed = false;
            return Next::Nothing;
        }
        let Some(way) = way() else {
            return Next::NotNow;
        };
        state.told += 1;
        let mut changes = Changes {
            number: state.told,
            ..Changes::default()
        };
        let (mut names, mut bytes) = (0, 0);
        while let Some(next) = state.changed.first_entry() {
            bytes += next.get().len();
            if names > 0 && (names >= MAX_PRESENCE_NAMES || bytes > MAX_PRESENCE_BYTES) {
                break;
            }
            names += 1;
            let name = next.remove();
            let Some(user) = state.users.get_mut(&name) else {
                continue;
            };
            user.change = None;
            user.was_told = user.devices > 0;
            if user.was_told {
                changes.joined.push(name);
            } else {
                state.users.remove(&name);
                changes.left.push(name);
            }
        }
        Next::Tell(changes, way)
    }

    /// The room was deleted.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        *state = State {
            is_over: true,
            told: state.told,
            ..State::default()
        };
    }

    /// Who is in the room now.
    pub(crate) fn users(&self) -> RoomPresence {
        let state = self.lock();
        let here = state.users.iter().filter(|(_, user)| user.devices > 0);
        RoomPresence {
            users: here
                .map(|(name, user)| (Arc::clone(name), user.devices))
                .collect(),
            anonymous: state.anonymous,
        }
    }

    /// The same with some of the users, where there are many, and how many there are. The lock is held as long
    /// for a large room as for a small one.
    pub(crate) fn some_users(&self) -> (RoomPresence, usize) {
        let state = self.lock();
        let looked_at = state.users.iter().take(MAX_PRESENCE_LOOKS);
        let here = looked_at.filter(|(_, user)| user.devices > 0);
        let mut bytes = 0;
        let is_short = |(name, _): &(&Arc<str>, &User)| {
            bytes += name.len();
            bytes <= MAX_PRESENCE_BYTES
        };
        let named = here.take(MAX_PRESENCE_NAMES).take_while(is_short);
        let presence = RoomPresence {
            users: named
                .map(|(name, user)| (Arc::clone(name), user.devices))
                .collect(),
            anonymous: state.anonymous,
        };
        (presence, state.here)
    }

    // The state is whole between any two statements that may panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Compares what a user is with what members were told. Returns whether the home must be told.
    fn note(&mut self, name: &Arc<str>) -> bool {
        let Some(user) = self.users.get_mut(name) else {
            return false;
        };
        let is_here = user.devices > 0;
        if is_here == user.was_told || self.is_over {
            if let Some(change) = user.change.take() {
                self.changed.remove(&change);
            }
            if !is_here {
                self.users.remove(name);
            }
            return false;
        }
        if user.change.is_none() {
            self.changes += 1;
            user.change = Some(self.changes);
            self.changed.insert(self.changes, Arc::clone(name));
        }
        !std::mem::replace(&mut self.is_listed, true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn told(presence: &Presence) -> Option<(Vec<String>, Vec<String>)> {
        let strings = |names: Vec<Arc<str>>| names.iter().map(ToString::to_string).collect();
        let changes = take(presence)?;
        Some((strings(changes.joined), strings(changes.left)))
    }

    fn take(presence: &Presence) -> Option<Changes> {
        match presence.take_changes(|| Some(())) {
            Next::Tell(changes, ()) => Some(changes),
            Next::Nothing => None,
            Next::NotNow => unreachable!("there is a way"),
        }
    }

    fn lists(joined: &[&str], left: &[&str]) -> Option<(Vec<String>, Vec<String>)> {
        let strings = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Some((strings(joined), strings(left)))
    }

    #[test]
    fn several_devices_are_one_user() {
        let presence = Presence::default();
        assert!(presence.enter(Some("ann")), "the home is told once");
        assert!(!presence.enter(Some("ann")) && !presence.enter(None));
        assert!(!presence.enter(Some("bob")));
        assert_eq!(told(&presence), lists(&["ann", "bob"], &[]));
        assert_eq!(told(&presence), None);
        assert!(!presence.exit(Some("ann")), "a device is left");
        let known = presence.users();
        assert_eq!(
            (known.users["ann"], known.users["bob"], known.anonymous),
            (1, 1, 1)
        );
        assert!(presence.exit(Some("ann")) && !presence.exit(None));
        assert_eq!(told(&presence), lists(&[], &["ann"]));
        assert!(!presence.exit(Some("ann")), "who is not there");
        assert_eq!(presence.users().users.len(), 1);
    }

    #[test]
    fn who_returns_before_it_is_told_never_left() {
        let presence = Presence::default();
        assert!(presence.enter(Some("ann")));
        assert_eq!(told(&presence), lists(&["ann"], &[]));
        assert_eq!(told(&presence), None);
        assert!(presence.exit(Some("ann")) && !presence.enter(Some("ann")));
        assert!(!presence.enter(Some("bob")) && !presence.exit(Some("bob")));
        assert_eq!(told(&presence), None);
        assert_eq!(presence.lock().users.len(), 1);
    }

    #[test]
    fn what_cannot_be_told_yet_is_not_taken() {
        let presence = Presence::default();
        assert!(take(&presence).is_none());
        assert!(presence.enter(Some("ann")));
        let no_way = presence.take_changes(|| None::<()>);
        assert!(matches!(no_way, Next::NotNow));
        assert!(!presence.enter(Some("bob")), "the home knows");
        assert_eq!(presence.told(), 0);
        assert_eq!(told(&presence), lists(&["ann", "bob"], &[]));
        assert_eq!(presence.told(), 1);
    }

    #[test]
    fn a_storm_is_told_in_messages_of_bounded_length() {
        let presence = Presence::default();
        let many = MAX_PRESENCE_NAMES + 1;
        for number in 0..many {
            let _ = presence.enter(Some(&number.to_string()));
        }
        let take = || take(&presence);
        let first = take().unwrap();
        assert_eq!(
            (first.joined.len(), &*first.joined[9]),
            (MAX_PRESENCE_NAMES, "9")
        );
        assert_eq!(take().unwrap().joined.len(), 1);
        let (some, count) = presence.some_users();
        assert_eq!((some.users.len(), count), (MAX_PRESENCE_NAMES, many));
        for length in [1, 2, 3] {
            let _ = presence.enter(Some(&"x".repeat(MAX_PRESENCE_BYTES / 2 * length)));
        }
        let lengths = [2, 1].map(|_| take().unwrap().joined.len());
        assert_eq!(lengths, [1, 1], "one message each, however long");
        presence.end();
        assert!(take().is_none());
        assert!(!presence.exit(Some("1")) && !presence.enter(Some("2")));
        assert!(take().is_none());
    }

    proptest! {
        /// Whatever happens in between, who follows what is told knows who is there.
        #[test]
        fn what_is_told_adds_up(steps in prop::collection::vec((0..3u8, 0..4usize), 0..60)) {
            let (presence, mut known) = (Presence::default(), BTreeSet::new());
            let mut devices = [0usize; 4];
            let mut listed = false;
            for (step, user) in steps {
                let name = user.to_string();
                match step {
                    0 => {
                        devices[user] += 1;
                        listed |= presence.enter(Some(&name));
                    }
                    1 if devices[user] > 0 => {
                        devices[user] -= 1;
                        listed |= presence.exit(Some(&name));
                    }
                    _ => {}
                }
                if step == 2 {
                    while let Some((joined, left)) = told(&presence) {
                        prop_assert!(listed, "the home would not know");
                        joined.into_iter().for_each(|name| assert!(known.insert(name)));
                        left.iter().for_each(|name| assert!(known.remove(name)));
                    }
                    listed = false;
                    let here = (0..4).filter(|at| devices[*at] > 0);
                    let here: BTreeSet<String> = here.map(|at| at.to_string()).collect();
                    prop_assert_eq!(&known, &here);
                    prop_assert_eq!(presence.users().users.len(), here.len());
                    prop_assert_eq!(presence.some_users(), (presence.users(), here.len()));
                    prop_assert_eq!(presence.lock().users.len(), here.len(), "nothing more is kept");
                }
            }
        }
    }
}
