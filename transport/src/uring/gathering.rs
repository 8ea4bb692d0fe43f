//! How many completions a wait is for.

/// Completions that a wait is for at most: with 10,000 connections, about as many as are worth while.
const ENOUGH: u32 = 128;
/// Completions that the system looks for where it is asked for fewer (Linux 6.13).
const LOOKED_FOR: u32 = 20;

/// Decides it by what came before: as many as the last wait has brought. So whoever is alone is not made
/// to wait for others, and those that come close to each other cost one wait.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// What the last wait was for.
    wanted: u32,
    /// How many requests have completed something since.
    brought: u32,
    /// The last of them.
    last: Option<u64>,
    /// Something may be there already.
    is_hasty: bool,
}

impl Gathering {
    /// A request has completed, or brought something and goes on. What it brings in several portions
    /// counts once: the system gathers requests.
    #[inline]
    pub(super) fn count(&mut self, request: u64) {
        if self.last.replace(request) != Some(request) {
            self.brought = self.brought.saturating_add(1);
        }
    }

    /// What is being requested may be there already: the next wait is not for more.
    pub(super) fn hurry(&mut self) {
        self.is_hasty = true;
    }

    /// How many completions the wait is for that follows.
    pub(super) fn decide(&mut self) -> u32 {
        let Gathering {
            wanted,
            brought,
            is_hasty,
            ..
        } = std::mem::take(self);
        self.wanted = if is_hasty {
            1
        } else if brought > wanted.max(LOOKED_FOR) {
            // There was more than it looked for.
            ENOUGH
        } else {
            brought.clamp(1, ENOUGH)
        };
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(gathering: &mut Gathering, requests: u64) -> u32 {
        (0..requests).for_each(|request| gathering.count(request));
        gathering.decide()
    }

    #[test]
    fn who_is_alone_waits_for_nobody() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.decide(), 1);
        assert_eq!(after(&mut gathering, 1), 1);
        for _ in 0..4 {
            gathering.count(7);
        }
        assert_eq!(gathering.decide(), 1);
    }

    #[test]
    fn those_in_step_wait_for_each_other_and_for_nobody_else() {
        let mut gathering = Gathering::default();
        for many in [2, 16, 20] {
            assert_eq!(after(&mut gathering, many), u32::try_from(many).unwrap());
        }
        // More than before: there may be more yet. If there is not, that was all.
        assert_eq!(after(&mut gathering, 100), ENOUGH);
        assert_eq!(after(&mut gathering, 100), 100);
        assert_eq!(after(&mut gathering, 100), 100);
        assert_eq!(after(&mut gathering, 3), 3);
    }

    #[test]
    fn there_is_enough_at_some_point() {
        let mut gathering = Gathering::default();
        for _ in 0..3 {
            assert_eq!(after(&mut gathering, 5000), ENOUGH);
        }
    }

    #[test]
    fn what_may_be_there_is_looked_for_at_once() {
        let mut gathering = Gathering::default();
        gathering.hurry();
        assert_eq!(after(&mut gathering, 64), 1);
        assert_eq!(after(&mut gathering, 8), 8);
    }
}
