//! The last messages of a sequenced room, for those who join and have missed some.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::SmallVec;
use throng_transport::Slice;
use throng_transport::memory::Charge;

use super::{CreateRoomError, Position};
use crate::id::ConnectionId;
use crate::limits::{MAX_HISTORY_AGE, MAX_HISTORY_BYTES, MAX_HISTORY_MESSAGES};

const DEFAULT_BYTES: usize = 1024 * 1024;
const LEAST_BYTES: usize = 1024;
const LEAST_AGE: Duration = Duration::from_millis(10);
/// What a message takes beside its bytes.
const OVERHEAD: usize = size_of::<Kept>() + 64;
/// What it takes in an outbox beside them, about.
const QUEUED: usize = 64;

/// How much a [sequenced](crate::RoomOptions::sequenced) room keeps of what was published to it, in memory:
/// [`RoomOptions::history`](crate::RoomOptions::history).
///
/// Whichever of its bounds is reached first holds. Who recovers is sent all it has missed at once: a
/// client that does not take that at once is behind until it has, and if that is more than
/// [`send_queue_messages`](field@crate::Config::send_queue_messages) or
/// [`send_queue_bytes`](field@crate::Config::send_queue_bytes) allow, the next message for it meets the
/// [overflow policy](field@crate::Config::overflow). So a history should not be larger than those queues.
///
/// ```
/// use std::time::Duration;
/// use throng::{History, RoomOptions};
///
/// let last_minute = History::messages(200).max_age(Duration::from_secs(60));
/// let options = RoomOptions::new().sequenced().history(last_minute);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct History {
    messages: usize,
    max_age: Option<Duration>,
    max_bytes: usize,
}

impl History {
    /// The last `count` messages, from 1 to 65,536, and 1 MiB of them at most.
    pub fn messages(count: usize) -> History {
        History {
            messages: count,
            max_age: None,
            max_bytes: DEFAULT_BYTES,
        }
    }

    /// Only what was published within that time, from 10 ms to 7 days. What is older is forgotten when the
    /// next message comes, or somebody asks.
    ///
    /// Default: none.
    pub fn max_age(mut self, age: Duration) -> History {
        self.max_age = Some(age);
        self
    }

    /// As many bytes of memory, from 1 KiB to 256 MiB, where each message takes some 200 beside its own.
    /// One that is longer is not kept, nor are those before it. All count to the
    /// [`memory_budget`](field@crate::Config::memory_budget), but are not given up for it.
    ///
    /// Default: 1 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> History {
        self.max_bytes = bytes;
        self
    }

    /// Checks each bound against its own.
    pub(super) fn check(&self) -> Result<(), CreateRoomError> {
        let ages = LEAST_AGE..=MAX_HISTORY_AGE;
        let wrong = if !(1..=MAX_HISTORY_MESSAGES).contains(&self.messages) {
            Some(("history.messages", "must be from 1 to 65,536"))
        } else if !(LEAST_BYTES..=MAX_HISTORY_BYTES).contains(&self.max_bytes) {
            Some(("history.max_bytes", "must be from 1 KiB to 256 MiB"))
        } else if !self.max_age.is_none_or(|age| ages.contains(&age)) {
            Some(("history.max_age", "must be from 10 ms to 7 days"))
        } else {
            None
        };
        match wrong {
            Some((option, rule)) => Err(CreateRoomError::Invalid { option, rule }),
            None => Ok(()),
        }
    }
}

/// What became of joining a room with what was missed of it
/// ([`Conn::join_from`](crate::Conn::join_from),
/// [`Conn::join_with_history`](crate::Conn::join_with_history)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Whether everything that was asked for has been queued for the connection. If not, nothing has.
    pub recovered: bool,
    /// The last message of the room so far: what comes from now on follows it, without a hole. Without a
    /// history it is only about where the room stands. In a room that is not sequenced both its numbers are
    /// 0.
    pub position: Position,
    /// Messages that were queued for the connection.
    pub messages: usize,
}

/// What who joins asks of a history.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// All that came behind that place.
    Since(Position),
    /// The last messages, as many as there are.
    Last(usize),
}

/// A message that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Its frame, in memory of its own: a part of a chunk would keep all of that.
    pub(crate) frame: Slice,
    pub(crate) is_compressible: bool,
    /// Connections that it was not for.
    pub(crate) except: SmallVec<[ConnectionId; 2]>,
    at: Duration,
}

impl Kept {
    /// Copies a frame.
    pub(crate) fn new(
        frame: &Slice,
        is_compressible: bool,
        except: &[ConnectionId],
        now: Duration,
    ) -> Kept {
        let bytes = frame.as_bytes();
        Kept {
            frame: Slice::with_len(bytes.len(), |out| out.copy_from_slice(bytes)),
            is_compressible,
            except: except.into(),
            at: now,
        }
    }

    /// What queueing it for a connection counts as, in bytes: it is shared, but its entry in the outbox is not.
    pub(crate) fn cost(&self) -> usize {
        self.frame.len() + QUEUED
    }

    fn memory(&self) -> usize {
        self.frame.len() + OVERHEAD
    }
}

/// The last messages of a room, the last one last: that is the one with the offset given last.
#[derive(Debug)]
pub(crate) struct Ring {
    bounds: History,
    kept: VecDeque<Kept>,
    bytes: usize,
    /// For the entries; the frames are charged by themselves.
    charge: Charge,
}

impl Ring {
    pub(super) fn new(bounds: History) -> Ring {
        Ring {
            bounds,
            kept: VecDeque::new(),
            bytes: 0,
            charge: Charge::default(),
        }
    }

    /// Keeps a message, which is about to be given the next offset.
    pub(crate) fn append(&mut self, message: Kept) {
        let now = message.at;
        self.bytes += message.memory();
        self.kept.push_back(message);
        self.forget_old(now);
        let entry = size_of::<Kept>();
        self.charge.set(self.kept.capacity() * entry);
    }

    /// What is wanted of a room that stands at `last`; `None` where some of it is not there.
    pub(super) fn recall(
        &mut self,
        wanted: Wanted,
        last: Position,
        now: Duration,
    ) -> Option<Vec<Kept>> {
        self.forget_old(now);
        let count = match wanted {
            Wanted::Last(count) => count.min(self.kept.len()),
            Wanted::Since(since) if since.epoch != last.epoch => return None,
            Wanted::Since(since) => {
                let missed = last.offset.checked_sub(since.offset)?;
                usize::try_from(missed).ok()?
            }
        };
        let first = self.kept.len().checked_sub(count)?;
        Some(self.kept.range(first..).cloned().collect())
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some(oldest) = self.kept.front() {
            let age = now.saturating_sub(oldest.at);
            let is_within = self.kept.len() <= self.bounds.messages
                && self.bytes <= self.bounds.max_bytes
                && self.bounds.max_age.is_none_or(|max| age <= max);
            if is_within {
                return;
            }
            self.bytes -= oldest.memory();
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 7;

    fn at(offset: u64) -> Position {
        Position {
            epoch: EPOCH,
            offset,
        }
    }

    /// Messages of so many bytes, the first at 1 s, each a second behind the one before.
    fn ring(bounds: History, count: u8, bytes: usize) -> Ring {
        let mut ring = Ring::new(bounds);
        for second in 1..=count {
            let frame = Slice::with_len(bytes, |out| out.fill(second));
            let at = Duration::from_secs(second.into());
            ring.append(Kept::new(&frame, false, &[], at));
        }
        ring
    }

    fn recalled(ring: &mut Ring, wanted: Wanted, last: u64, second: u64) -> Option<Vec<u8>> {
        let kept = ring.recall(wanted, at(last), Duration::from_secs(second))?;
        Some(kept.iter().map(|kept| kept.frame.as_bytes()[0]).collect())
    }

    #[test]
    fn all_that_was_missed_is_there_or_nothing() {
        let mut ring = ring(History::messages(3), 5, 1);
        let mut since = |offset| recalled(&mut ring, Wanted::Since(at(offset)), 5, 5);
        assert_eq!(since(5), Some(vec![]));
        assert_eq!(since(4), Some(vec![5]));
        assert_eq!(since(2), Some(vec![3, 4, 5]));
        assert_eq!((since(1), since(0)), (None, None), "too old");
        assert_eq!((since(6), since(u64::MAX)), (None, None), "not yet");
        let other = Wanted::Since(Position {
            epoch: EPOCH + 1,
            offset: 5,
        });
        assert_eq!(recalled(&mut ring, other, 5, 5), None, "another epoch");
        let mut last = |count| recalled(&mut ring, Wanted::Last(count), 5, 5).unwrap();
        assert_eq!((last(0), last(2)), (vec![], vec![4, 5]));
        assert_eq!(last(usize::MAX), [3, 4, 5]);
    }

    #[test]
    fn what_is_too_old_or_too_much_is_forgotten() {
        let aged = History::messages(10).max_age(Duration::from_secs(2));
        let mut aged = ring(aged, 5, 1);
        let last = Wanted::Last(10);
        assert_eq!(recalled(&mut aged, last, 5, 5), Some(vec![3, 4, 5]));
        assert_eq!(
            recalled(&mut aged, last, 5, 0),
            Some(vec![3, 4, 5]),
            "behind"
        );
        assert_eq!(recalled(&mut aged, last, 5, 7), Some(vec![5]));
        let since = Wanted::Since(at(5));
        assert_eq!(recalled(&mut aged, since, 5, 100), Some(vec![]));
        assert_eq!(aged.bytes, 0);
        let each = 1000 + OVERHEAD;
        let mut small = ring(History::messages(10).max_bytes(2 * each), 5, 1000);
        assert_eq!(recalled(&mut small, last, 5, 5), Some(vec![4, 5]));
        let mut smaller = ring(History::messages(10).max_bytes(each - 1), 5, 1000);
        assert_eq!(recalled(&mut smaller, last, 5, 5), Some(vec![]));
        assert!(small.charge_is_of_entries() && smaller.charge_is_of_entries());
    }

    impl Ring {
        fn charge_is_of_entries(&self) -> bool {
            self.kept.capacity() >= self.kept.len() && self.bytes <= self.bounds.max_bytes
        }
    }

    #[test]
    fn bounds_are_bounded() {
        let second = Duration::from_secs(1);
        let option = |history: History| match history.check() {
            Ok(()) => "",
            Err(CreateRoomError::Invalid { option, .. }) => option,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(option(History::messages(1).max_bytes(1024)), "");
        assert_eq!(option(History::messages(65_536).max_age(second)), "");
        assert_eq!(option(History::messages(0)), "history.messages");
        assert_eq!(option(History::messages(65_537)), "history.messages");
        let bytes = |bytes| option(History::messages(1).max_bytes(bytes));
        assert_eq!(bytes(1023), "history.max_bytes");
        assert_eq!(
            (bytes(256 << 20), bytes((256 << 20) + 1)),
            ("", "history.max_bytes")
        );
        let age = |age| option(History::messages(1).max_age(age));
        assert_eq!(
            (age(second / 100), age(second / 101)),
            ("", "history.max_age")
        );
        assert_eq!(age(second * 60 * 60 * 24 * 8), "history.max_age");
    }
}
