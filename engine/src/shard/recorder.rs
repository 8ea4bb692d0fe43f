//! The flight recorder: a ring in which the shard notes, in few bytes, what happens on all its
//! connections, and from which the last of one connection can be gathered.

use throng_transport::SocketKey;
use throng_transport::memory::Charge;

use super::timer::Tick;
use crate::flight::FlightKind;
use crate::id::MAX_SLOTS;
use crate::limits::MAX_FLIGHT_ENTRIES;

/// Bytes of an entry: four of them fill a cache line.
pub(crate) const ENTRY: usize = size_of::<Entry>();
const _: () = assert!(ENTRY == 16);
/// The bits of a slot; what kind of entry it is lies above them.
const SLOT: u32 = (1 << KIND_AT) - 1;
const KIND_AT: u32 = MAX_SLOTS.trailing_zeros();
/// Of an entry that was never written.
const VACANT: u32 = u32::MAX;

/// What a shard noted last.
#[derive(Debug)]
pub(super) struct Recorder {
    ring: Box<[Entry]>,
    /// Where the next entry goes.
    next: usize,
    _charge: Charge,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot_and_kind: u32,
    generation: u32,
    tick: Tick,
    size: u32,
}

/// An entry of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) kind: FlightKind,
    pub(super) tick: Tick,
    pub(super) size: u32,
}

impl Recorder {
    /// One that remembers so many entries; with none it is off.
    pub(super) fn new(entries: usize) -> Recorder {
        let vacant = Entry {
            slot_and_kind: VACANT,
            generation: 0,
            tick: Tick::default(),
            size: 0,
        };
        Recorder {
            ring: vec![vacant; entries].into_boxed_slice(),
            next: 0,
            _charge: Charge::new(entries * ENTRY),
        }
    }

    /// Notes something, over the oldest entry.
    #[inline]
    pub(super) fn note(&mut self, key: SocketKey, kind: FlightKind, size: u32, tick: Tick) {
        if let Some(entry) = self.ring.get_mut(self.next) {
            *entry = Entry {
                slot_and_kind: key.slot | (kind as u32) << KIND_AT,
                generation: key.generation,
                tick,
                size,
            };
            self.next += 1;
            if self.next == self.ring.len() {
                self.next = 0;
            }
        }
    }

    /// Whether anything is remembered.
    pub(super) fn is_on(&self) -> bool {
        !self.ring.is_empty()
    }

    /// What it remembers of a connection, from its opening on, in order: the last entries only, where
    /// they are many.
    pub(super) fn of(&self, key: SocketKey) -> Vec<Noted> {
        let (older, newer) = (&self.ring[self.next..], &self.ring[..self.next]);
        let mut noted = Vec::new();
        for entry in newer.iter().rev().chain(older.iter().rev()) {
            if entry.slot_and_kind & SLOT != key.slot || entry.generation != key.generation {
                continue;
            }
            let Some(kind) = entry.kind() else {
                continue;
            };
            noted.push(Noted {
                kind,
                tick: entry.tick,
                size: entry.size,
            });
            if noted.len() == MAX_FLIGHT_ENTRIES || kind == FlightKind::Opened {
                break;
            }
        }
        noted.reverse();
        noted
    }
}

impl Entry {
    fn kind(&self) -> Option<FlightKind> {
        let place = self.slot_and_kind >> KIND_AT;
        FlightKind::ALL.get(place as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32, generation: u32) -> SocketKey {
        SocketKey { slot, generation }
    }

    fn sizes(recorder: &Recorder, key: SocketKey) -> Vec<u32> {
        recorder.of(key).iter().map(|noted| noted.size).collect()
    }

    #[test]
    fn the_last_of_a_connection_is_found_in_order() {
        let mut recorder = Recorder::new(10);
        let tick = Tick::default();
        assert_eq!(recorder.of(key(0, 0)), []);
        for size in 0..100 {
            let who = key(size % 3, 7);
            recorder.note(who, FlightKind::Received, size, tick);
        }
        assert_eq!(sizes(&recorder, key(0, 7)), [90, 93, 96, 99]);
        assert_eq!(sizes(&recorder, key(1, 7)), [91, 94, 97]);
        assert_eq!(sizes(&recorder, key(1, 6)), [0; 0], "another generation");
        recorder.note(key(1, 7), FlightKind::Opened, 0, tick);
        recorder.note(key(1, 7), FlightKind::Ending, 5, tick);
        let noted = recorder.of(key(1, 7));
        assert_eq!(noted[0].kind, FlightKind::Opened, "nothing is before it");
        assert_eq!(noted[1].kind, FlightKind::Ending);
    }

    #[test]
    fn few_of_many_are_told() {
        let mut recorder = Recorder::new(1000);
        let last = SLOT;
        for size in 0..1500 {
            recorder.note(key(last, 1), FlightKind::Sent, size, Tick::default());
        }
        let sizes = sizes(&recorder, key(last, 1));
        assert_eq!(sizes.len(), MAX_FLIGHT_ENTRIES);
        assert_eq!(sizes.last(), Some(&1499));
        assert!(sizes.is_sorted());
    }

    #[test]
    fn off_it_remembers_nothing() {
        let mut recorder = Recorder::new(0);
        recorder.note(key(1, 1), FlightKind::Sent, 1, Tick::default());
        assert_eq!(recorder.of(key(1, 1)), []);
    }
}
