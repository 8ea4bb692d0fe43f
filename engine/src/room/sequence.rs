//! The numbers of a sequenced room.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::History;
use super::history::{Kept, Ring, Wanted};

/// A message's place in a [sequenced](crate::RoomOptions::sequenced) room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Drawn at random when the room is created: offsets of different epochs have nothing to do with
    /// each other. It takes all 64 bits, more than a number has in JavaScript: a browser should be sent
    /// it as text.
    pub epoch: u64,
    /// The first message of an epoch has offset 1, each further one the next.
    pub offset: u64,
}

/// How a room's messages are numbered, and which shards they are for.
///
/// A shard has *terms* in the room: one lasts from its first member's joining until its last one has
/// left. The home sends each message with the term that it finds. Since it finds them in order,
/// those sent for one term have offsets without holes; one that arrives in a later term is
/// for nobody, or it would come to new members with a hole behind it.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// The room's name.
    pub(crate) room: Arc<str>,
    home: u8,
    epoch: u64,
    /// Offsets given so far; only the home gives them.
    given: AtomicU64,
    /// The room was deleted and gives no more; only the home says so.
    closed: AtomicBool,
    /// The last messages, if they are kept. Whoever holds the lock finds in it what was given.
    history: Option<Mutex<Ring>>,
    /// By shard: twice the terms it has had, and one more in the midst of a term. Only the shard
    /// itself changes its own.
    terms: Box<[AtomicU64]>,
}

impl Sequence {
    /// For a new room. `shards` is from 1 to 256.
    pub(crate) fn new(name: &str, shards: usize, epoch: u64) -> Sequence {
        Sequence {
            room: name.into(),
            home: home_of(name, shards),
            epoch,
            given: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            history: None,
            terms: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The same with a history.
    pub(crate) fn keeping(self, history: Option<History>) -> Sequence {
        let ring = |history| Mutex::new(Ring::new(history));
        Sequence {
            history: history.map(ring),
            ..self
        }
    }

    /// The shard that gives the numbers.
    pub(crate) fn home(&self) -> u8 {
        self.home
    }

    /// What the next message gets. Only on the home.
    pub(crate) fn next(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.given.load(Ordering::Relaxed) + 1,
        }
    }

    /// Gives [`Sequence::next`] away. Only on the home.
    pub(crate) fn give(&self) -> Position {
        let position = self.next();
        self.given.store(position.offset, Ordering::Relaxed);
        position
    }

    /// The last messages, if they are kept, for as long as the guard lives.
    pub(crate) fn history(&self) -> Option<MutexGuard<'_, Ring>> {
        // The ring is whole between any two statements that may panic.
        let ring = self.history.as_ref()?;
        Some(ring.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// What is wanted of the last messages, `None` where some of it is not there, and the last offset that
    /// was given when it was read.
    pub(crate) fn recall(&self, wanted: Wanted, now: Duration) -> (Position, Option<Vec<Kept>>) {
        let mut history = self.history();
        let last = Position {
            epoch: self.epoch,
            offset: self.given.load(Ordering::Relaxed),
        };
        let recalled = history.as_mut();
        let recalled = recalled.and_then(|ring| ring.recall(wanted, last, now));
        (last, recalled)
    }

    /// No further offset is given. Only on the home.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether no further offset is given. Only on the home.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The shard's first member joins, or its last one has left.
    pub(super) fn turn_term(&self, shard: u8) {
        self.terms[usize::from(shard)].fetch_add(1, Ordering::AcqRel);
    }

    /// The shard's term, to be compared.
    pub(crate) fn term(&self, shard: u8) -> u64 {
        self.terms[usize::from(shard)].load(Ordering::Acquire)
    }

    /// The shards in the midst of a term, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = u8> {
        let terms = (0u8..=u8::MAX).zip(&self.terms);
        terms.filter_map(|(shard, term)| {
            let is_on = term.load(Ordering::Acquire) % 2 == 1;
            is_on.then_some(shard)
        })
    }
}

/// The same shard for a name as long as the process runs.
pub(crate) fn home_of(name: &str, shards: usize) -> u8 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    u8::try_from(hasher.finish() % shards as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn offsets_count_from_one() {
        let sequence = Sequence::new("trades", 1, 7);
        assert_eq!(
            sequence.next(),
            Position {
                epoch: 7,
                offset: 1
            }
        );
        let given: Vec<u64> = (0..3).map(|_| sequence.give().offset).collect();
        assert_eq!(given, [1, 2, 3]);
        assert_eq!(sequence.next().offset, 4);
    }

    #[test]
    fn homes_are_spread_over_the_shards_and_stay() {
        let names = (0..1000).map(|number| format!("room-{number}"));
        let homes: Vec<(String, u8)> = names
            .map(|name| (name.clone(), Sequence::new(&name, 256, 0).home()))
            .collect();
        let used: BTreeSet<u8> = homes.iter().map(|(_, home)| *home).collect();
        assert!(used.len() > 200, "{} of 256", used.len());
        for (name, home) in homes {
            assert_eq!(Sequence::new(&name, 256, 1).home(), home);
            assert_eq!(Sequence::new(&name, 1, 1).home(), 0);
        }
    }

    #[test]
    fn a_shard_has_one_term_after_the_other() {
        let sequence = Sequence::new("trades", 3, 0);
        let on = |sequence: &Sequence| sequence.shards().collect::<Vec<_>>();
        sequence.turn_term(2);
        sequence.turn_term(0);
        assert_eq!(on(&sequence), [0, 2]);
        let first = sequence.term(2);
        sequence.turn_term(2);
        assert_eq!(on(&sequence), [0]);
        sequence.turn_term(2);
        assert_eq!(on(&sequence), [0, 2]);
        assert_ne!(sequence.term(2), first);
    }
}
