//! Which connections have something to be sent, and in which turn they are flushed.
//!
//! Most are flushed at the end of the turn. A large audience is flushed in slices over several turns,
//! so that ten thousand sends do not hold up whoever else is served: its members wait in line, in the
//! order in which they were handed something, and whatever comes to them meanwhile goes out in the
//! same write. Who is sent something of its own leaves the line and is flushed in the same turn.

use std::collections::VecDeque;

use throng_transport::driver::EVENTS_PER_WAIT;

use crate::limits::{MAX_WAITING_IN_LINE, SENDS_PER_SLICE};

/// When a connection is to be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
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

/// Where a connection is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Nowhere: nothing is to be sent.
    #[default]
    Nowhere,
    /// It has a place in the line and is flushed there.
    InLine,
    /// The same; it was flushed since it took that place, and has not waited for as much as it seems.
    InLineAgain,
    /// It is flushed at the end of the turn.
    Now,
    /// The same, and it has a place in the line.
    NowBeforePlace,
    /// It was flushed, and still has a place in the line.
    Void,
}

impl Listed {
    /// It is flushed.
    #[inline]
    pub(super) fn flush(&mut self) {
        *self = match self {
            Listed::Nowhere | Listed::Now => Listed::Nowhere,
            Listed::InLine | Listed::InLineAgain | Listed::NowBeforePlace | Listed::Void => {
                Listed::Void
            }
        };
    }

    /// Its place in the line has come. Whether it is to be flushed there.
    #[inline]
    pub(super) fn leave_line(&mut self) -> bool {
        let (now, is_due) = match self {
            Listed::InLine | Listed::InLineAgain => (Listed::Nowhere, true),
            Listed::NowBeforePlace => (Listed::Now, false),
            Listed::Void => (Listed::Nowhere, false),
            // The place was that of another connection, in whose slot it is.
            Listed::Nowhere | Listed::Now => (*self, false),
        };
        *self = now;
        is_due
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
    /// Nobody is listed. There is room for what usual turns list, as growing to it would leave blocks of
    /// every size behind.
    pub(super) fn new() -> Dirty {
        Dirty {
            now: Vec::with_capacity(EVENTS_PER_WAIT),
            ..Dirty::default()
        }
    }

    /// Lists the connection in the slot, whose `listed` says where it is listed already. A place in the
    /// line that was left void is taken again.
    #[inline]
    pub(super) fn list(&mut self, slot: u32, due: Due, listed: &mut Listed) {
        match (due, *listed) {
            (Due::Now, Listed::Nowhere) => {
                *listed = Listed::Now;
                self.now.push(slot);
            }
            (Due::Now, Listed::InLine | Listed::InLineAgain | Listed::Void) => {
                *listed = Listed::NowBeforePlace;
                self.now.push(slot);
            }
            (Due::InLine, Listed::Nowhere) => {
                *listed = Listed::InLine;
                let since = self.sent;
                self.line.push_back(Waiting { slot, since });
            }
            (Due::InLine, Listed::Void) => *listed = Listed::InLineAgain,
            (Due::InLine, Listed::InLine | Listed::InLineAgain)
            | (_, Listed::Now | Listed::NowBeforePlace) => {}
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
        let (mut dirty, mut listed) = (Dirty::default(), Listed::default());
        dirty.list(3, Due::InLine, &mut listed);
        dirty.list(3, Due::InLine, &mut listed);
        assert!(dirty.has_any());
        for _ in 0..3 {
            dirty.list(3, Due::Now, &mut listed);
            dirty.list(3, Due::InLine, &mut listed);
            assert_eq!(
                listed,
                Listed::NowBeforePlace,
                "what is its own does not wait"
            );
            assert_eq!(dirty.take_now(), [3]);
            listed.flush();
            dirty.list(3, Due::InLine, &mut listed);
        }
        assert_eq!(dirty.next_in_line(true), Some(3));
        assert!(listed.leave_line());
        assert_eq!(dirty.next_in_line(true), None, "it had one place");
        dirty.list(3, Due::Now, &mut listed);
        dirty.list(3, Due::InLine, &mut listed);
        assert_eq!(dirty.next_in_line(true), None);
    }

    #[test]
    fn who_has_waited_for_much_is_not_put_off() {
        let mut dirty = Dirty {
            sent: u32::MAX - 10,
            ..Dirty::default()
        };
        dirty.list(1, Due::InLine, &mut Listed::default());
        dirty.count(20, 0);
        dirty.list(2, Due::InLine, &mut Listed::default());
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
