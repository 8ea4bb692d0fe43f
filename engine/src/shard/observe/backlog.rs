//! What waits for connections that are behind.

use hashbrown::HashMap;

/// Messages and bytes, for each connection that is behind and in all.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    by_slot: HashMap<u32, (u32, u32)>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Backlog {
    /// How many connections are behind.
    #[inline]
    pub(in crate::shard) fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Takes note of what waits for the connection in the slot.
    pub(super) fn set(&mut self, slot: u32, messages: u32, bytes: u32) {
        let now = (messages, bytes);
        let before = if now == (0, 0) {
            self.by_slot.remove(&slot)
        } else {
            self.by_slot.insert(slot, now)
        };
        let before = before.unwrap_or_default();
        self.messages = self.messages + messages as usize - before.0 as usize;
        self.bytes = self.bytes + bytes as usize - before.1 as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_the_sum_of_what_waits() {
        let mut backlog = Backlog::default();
        backlog.set(1, 2, 200);
        backlog.set(2, 1, 50);
        backlog.set(1, 1, 100);
        assert_eq!((backlog.messages, backlog.bytes), (2, 150));
        backlog.set(1, 0, 0);
        backlog.set(1, 0, 0);
        backlog.set(3, 0, 0);
        assert_eq!((backlog.messages, backlog.bytes), (1, 50));
        assert_eq!(backlog.len(), 1);
    }
}
