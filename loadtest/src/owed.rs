//! The messages that a sender owes.

use std::collections::VecDeque;

/// Numbers of messages, ascending. Dealt out in turn they are evenly spaced, but where the number
/// of senders changes: kept are the stretches between such changes, however far a server is behind.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    stretches: VecDeque<Stretch>,
    len: u64,
}

#[derive(Debug)]
struct Stretch {
    first: u64,
    step: u64,
    len: u64,
}

impl Owed {
    /// Adds a number, higher than all before.
    pub(crate) fn push(&mut self, number: u64) {
        self.len += 1;
        let last = self.stretches.back_mut();
        if !last.is_some_and(|stretch| stretch.extend(number)) {
            let (step, len) = (0, 1);
            self.stretches.push_back(Stretch {
                first: number,
                step,
                len,
            });
        }
    }

    /// Takes the lowest number out.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let stretch = self.stretches.front_mut()?;
        let number = stretch.first;
        stretch.first += stretch.step;
        stretch.len -= 1;
        if stretch.len == 0 {
            self.stretches.pop_front();
        }
        self.len -= 1;
        Some(number)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl Stretch {
    /// Whether the number is the next one; if so it belongs to the stretch now.
    fn extend(&mut self, number: u64) -> bool {
        if self.len == 1 {
            self.step = number - self.first;
        }
        let is_next = number == self.first + self.step * self.len;
        self.len += u64::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let numbers = [3, 6, 9, 12, 14, 16, 17, 100, 103, 106];
        let mut owed = Owed::default();
        for number in numbers {
            owed.push(number);
        }
        assert_eq!(owed.len(), 10);
        let out: Vec<u64> = std::iter::from_fn(|| owed.pop()).collect();
        assert_eq!(out, numbers);
        assert_eq!(owed.len(), 0);
    }

    #[test]
    fn pushing_and_popping_may_alternate() {
        let mut owed = Owed::default();
        let mut out = Vec::new();
        for number in (0..50).step_by(5).chain(51..60) {
            owed.push(number);
            if number % 2 == 0 {
                out.extend(owed.pop());
            }
        }
        out.extend(std::iter::from_fn(|| owed.pop()));
        assert_eq!(out, (0..50).step_by(5).chain(51..60).collect::<Vec<_>>());
    }

    #[test]
    fn a_backlog_takes_no_room() {
        let mut owed = Owed::default();
        (0..1_000_000).for_each(|number| owed.push(number * 3 + 1));
        assert_eq!((owed.len(), owed.stretches.len()), (1_000_000, 1));
    }
}
