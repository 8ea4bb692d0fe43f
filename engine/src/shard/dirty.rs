//! Which connections have something to be sent, and in which turn they are flushed.
//!
//! Most are flushed at the end of the turn. A large audience is flushed in slices over several turns,
//! so that ten thousand sends do not hold up whoever else is served: its members wait in line, in the
//! order in which they were handed something, and whatever comes to them meanwhile goes out in the
//! same write. Who is sent something of its own leaves the line and is flushed in the same turn.

use std::collections::VecDeque;

use crate::limits::{MAX_WAITING_IN_LINE, SENDS_PER_SLICE};

/// When a connection is flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is to be sent.
    #[default]
    Never,
    /// When its place in the line comes.
    InLine,
    /// At the end of the turn.
    Now,
}

impl Due {
    /// When the members of an audience of that size are flushed.
    pub(super) fn of_audience(members: usize) -> Due {
        if members > SENDS_PER_SLICE {
            Due::InLine
        } else {
            Due::Now
        }
    }
}

/// The slots of the connections that have something to be sent.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    now: Vec<u32>,
    line: VecDeque<Waiting>,
    /// The weight of all that large audiences were sent; wraps around.
    sent: u32,
}

/// A place in the line. It is void where its connection was flushed meanwhile.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    slot: u32,
    /// [`Dirty::sent`] when it was taken.
    since: u32,
}

/// Bytes that weigh as much as a message.
const BYTES_PER_WEIGHT: usize = 64;

impl Dirty {
    /// Lists the connection in the slot, whose `listed` says where it is listed already.
    #[inline]
    pub(super) fn list(&mut self, slot: u32, due: Due, listed: &mut Due) {
        if *listed == Due::Now || *listed == due {
            return;
        }
        *listed = due;
        match due {
            Due::Now => self.now.push(slot),
            Due::InLine => self.line.push_back(Waiting {
                slot,
                since: self.sent,
            }),
            Due::Never => {}
        }
    }

    /// Takes note of what is about to be handed to a large audience.
    pub(super) fn count(&mut self, messages: u32, bytes: usize) {
        let weight = u32::try_from(bytes / BYTES_PER_WEIGHT).unwrap_or(u32::MAX);
        self.sent = self.sent.wrapping_add(weight).wrapping_add(messages);
    }

    /// The slots to be flushed at the end of this turn, to be given back to [`Dirty::give_back`].
    pub(super) fn take_now(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.now)
    }

    /// Gives the list's memory back.
    pub(super) fn give_back(&mut self, mut list: Vec<u32>) {
        list.clear();
        list.append(&mut self.now);
        self.now = list;
    }

    /// The first in line. Unless there is time, only one who has waited for so much that it must not
    /// be handed more.
    #[inline]
    pub(super) fn next_in_line(&mut self, has_time: bool) -> Option<u32> {
        let first = self.line.front()?;
        let is_overdue = self.sent.wrapping_sub(first.since) >= MAX_WAITING_IN_LINE;
        if !has_time && !is_overdue {
            return None;
        }
        self.line.pop_front().map(|waiting| waiting.slot)
    }

    /// Whether somebody is still to be flushed.
    pub(super) fn has_any(&self) -> bool {
        !self.now.is_empty() || !self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_listed_is_listed_once() {
        let (mut dirty, mut listed) = (Dirty::default(), Due::Never);
        dirty.list(3, Due::InLine, &mut listed);
        dirty.list(3, Due::InLine, &mut listed);
        assert!(dirty.has_any());
        dirty.list(3, Due::Now, &mut listed);
        dirty.list(3, Due::InLine, &mut listed);
        assert_eq!(listed, Due::Now, "what is its own does not wait");
        assert_eq!(dirty.take_now(), [3]);
        assert_eq!(
            dirty.next_in_line(true),
            Some(3),
            "void, as its connection tells"
        );
        assert_eq!(dirty.next_in_line(true), None);
    }

    #[test]
    fn who_has_waited_for_much_is_not_put_off() {
        let mut dirty = Dirty {
            sent: u32::MAX - 10,
            ..Dirty::default()
        };
        dirty.list(1, Due::InLine, &mut Due::Never);
        dirty.count(20, 0);
        dirty.list(2, Due::InLine, &mut Due::Never);
        assert_eq!(dirty.next_in_line(false), None);
        dirty.count(4, (MAX_WAITING_IN_LINE as usize - 24) * BYTES_PER_WEIGHT);
        assert_eq!(dirty.next_in_line(false), Some(1));
        assert_eq!(dirty.next_in_line(false), None);
        assert_eq!(dirty.next_in_line(true), Some(2));
    }

    #[test]
    fn small_audiences_do_not_wait() {
        assert_eq!(Due::of_audience(SENDS_PER_SLICE), Due::Now);
        assert_eq!(Due::of_audience(SENDS_PER_SLICE + 1), Due::InLine);
    }
}
