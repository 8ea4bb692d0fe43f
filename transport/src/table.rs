//! The table of a driver's sockets, indexed by the service's slots.

use crate::driver::SocketKey;

/// What a driver knows of a socket. The default is no socket.
pub(crate) trait Entry: Default {
    /// Whether there is a socket.
    fn is_open(&self) -> bool;

    /// That of its key.
    fn generation(&self) -> u32;
}

/// The open sockets.
#[derive(Debug)]
pub(crate) struct Table<E> {
    entries: Vec<E>,
}

impl<E: Entry> Table<E> {
    /// A table with room for so many; untouched memory costs nothing.
    pub(crate) fn with_capacity(expected: usize) -> Table<E> {
        Table {
            entries: Vec::with_capacity(expected),
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, key: SocketKey) -> Option<&mut E> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        (entry.generation() == key.generation && entry.is_open()).then_some(entry)
    }

    pub(crate) fn is_taken(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(E::is_open)
    }

    /// The key under which the slot is taken.
    #[cfg(all(unix, feature = "tokio"))]
    pub(crate) fn key(&self, slot: u32) -> Option<SocketKey> {
        let entry = self.entries.get(slot as usize)?;
        let generation = entry.generation();
        entry.is_open().then_some(SocketKey { slot, generation })
    }

    /// Puts an entry in a slot that is not taken.
    pub(crate) fn insert(&mut self, slot: u32, entry: E) {
        let slot = slot as usize;
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, E::default);
        }
        self.entries[slot] = entry;
    }

    /// Takes the entry out.
    pub(crate) fn remove(&mut self, key: SocketKey) -> Option<E> {
        self.get(key).map(std::mem::take)
    }
}
