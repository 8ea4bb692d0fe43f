//! The order in which publications leave the pool: that in which they came.

use std::collections::VecDeque;

/// Places in a line. What is made for a place is served when everything before it has been, by one
/// server at a time.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Each holds what is ready.
    places: VecDeque<Option<T>>,
    /// The ticket of the first place.
    first: u64,
    is_serving: bool,
}

impl<T> Line<T> {
    pub(super) fn new() -> Line<T> {
        Line {
            places: VecDeque::new(),
            first: 0,
            is_serving: false,
        }
    }

    /// Nothing waits and nothing is being served.
    pub(super) fn is_idle(&self) -> bool {
        self.places.is_empty() && !self.is_serving
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The ticket that [`Line::line_up`] gives a place to.
    pub(super) fn next_ticket(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Takes the last place, for what is ready or will be.
    pub(super) fn line_up(&mut self, ready: Option<T>) {
        self.places.push_back(ready);
    }

    /// What is to be served at a place is ready. Each is filled once.
    pub(super) fn fill(&mut self, ticket: u64, ready: T) {
        let index = usize::try_from(ticket - self.first).unwrap_or(usize::MAX);
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(ready);
        }
    }

    /// Begins to serve, until [`Line::serve`] gives nothing more. False when somebody does already.
    pub(super) fn begin_serving(&mut self) -> bool {
        !std::mem::replace(&mut self.is_serving, true)
    }

    /// What is first, if it is ready; otherwise serving ends.
    pub(super) fn serve(&mut self) -> Option<T> {
        let ready = self.places.front_mut().and_then(Option::take);
        if ready.is_some() {
            self.places.pop_front();
            self.first += 1;
        } else {
            self.is_serving = false;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_serves_at_a_time() {
        let mut line = Line::new();
        assert!(line.is_idle());
        line.line_up(None);
        line.line_up(Some("light"));
        assert!(line.begin_serving());
        assert_eq!(line.serve(), None, "the first is not ready");
        line.fill(0, "heavy");
        assert!(line.begin_serving() && !line.begin_serving());
        assert_eq!(line.serve(), Some("heavy"));
        assert_eq!(line.serve(), Some("light"));
        assert!(!line.is_idle(), "the last is being served");
        assert_eq!(line.serve(), None);
        assert!(line.is_idle());
    }

    proptest! {
        /// In whatever order places are filled, and however often somebody serves meanwhile.
        #[test]
        fn what_is_served_is_in_order(
            order in Just((0u64..50).collect::<Vec<_>>()).prop_shuffle(),
            serving in proptest::collection::vec(any::<bool>(), 50),
        ) {
            let mut line = Line::new();
            let mut served = Vec::new();
            for _ in &order {
                line.line_up(None);
            }
            for (ticket, serves) in order.into_iter().zip(serving) {
                line.fill(ticket, ticket);
                if serves {
                    prop_assert!(line.begin_serving());
                    served.extend(std::iter::from_fn(|| line.serve()));
                }
            }
            prop_assert!(line.begin_serving());
            served.extend(std::iter::from_fn(|| line.serve()));
            prop_assert_eq!(served, (0..50).collect::<Vec<_>>());
            prop_assert!(line.is_idle());
        }
    }
}
