//! The listeners of a driver, and their share of a wait.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::driver::{ACCEPTS_PER_WAIT, Service};
use crate::listener::{Accepted, Acceptor};

/// Listeners of one driver.
pub(crate) const MAX_LISTENERS: usize = 1024;

/// What a driver keeps in a listener's place: its acceptor, and maybe what watches it.
pub(crate) trait Place {
    fn acceptor(&self) -> &Acceptor;

    fn acceptor_mut(&mut self) -> &mut Acceptor;
}

impl Place for Acceptor {
    fn acceptor(&self) -> &Acceptor {
        self
    }

    fn acceptor_mut(&mut self) -> &mut Acceptor {
        self
    }
}

/// Listeners in places of their own. Where one is over its place is free.
#[derive(Debug)]
pub(crate) struct Acceptors<P = Acceptor> {
    places: Vec<Option<P>>,
}

impl<P> Default for Acceptors<P> {
    fn default() -> Acceptors<P> {
        Acceptors { places: Vec::new() }
    }
}

impl<P: Place> Acceptors<P> {
    /// A free place.
    ///
    /// # Errors
    /// When there are [`MAX_LISTENERS`].
    pub(crate) fn vacancy(&self) -> io::Result<usize> {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or(self.places.len());
        if place == MAX_LISTENERS {
            return Err(io::Error::other("too many listeners"));
        }
        Ok(place)
    }

    /// Takes a listener in, in a place that [`Acceptors::vacancy`] has named.
    pub(crate) fn insert(&mut self, place: usize, kept: P) {
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(kept);
    }

    /// Takes all listeners out, with their places.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (P, usize)> {
        let places = self.places.drain(..).enumerate();
        places.filter_map(|(index, place)| Some((place?, index)))
    }

    /// What is kept in a place.
    #[cfg(all(unix, feature = "tokio"))]
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut P> {
        self.places.get_mut(place)?.as_mut()
    }

    /// What the system can watch of the listener in a place.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptor(&self, place: usize) -> Option<BorrowedFd<'_>> {
        let place = self.places.get(place)?.as_ref()?;
        place.acceptor().listener().descriptor().ok()
    }

    /// Has the next [`Acceptors::accept`] look whether somebody waits. `hung_up`: the system has
    /// reported an end.
    pub(crate) fn look_at(&mut self, place: usize, hung_up: bool) {
        if let Some(Some(place)) = self.places.get_mut(place) {
            let acceptor = place.acceptor_mut();
            acceptor.pending = true;
            acceptor.hung_up |= hung_up;
        }
    }

    /// How long the driver may park for at most `timeout`: those who wait to be accepted are not to
    /// wait longer than they must.
    pub(crate) fn parking(&self, timeout: Option<Duration>) -> Option<Duration> {
        let rests = self
            .pending()
            .map(|acceptor| match acceptor.resting_until() {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::ZERO,
            });
        rests.chain(timeout).min()
    }

    fn pending(&self) -> impl Iterator<Item = &Acceptor> {
        let acceptors = self.places.iter().flatten().map(P::acceptor);
        acceptors.filter(|acceptor| acceptor.pending)
    }

    /// Accepts from each listener for which it is due a bounded number of connections. Those that
    /// are over are given to `let_go`, with their places.
    pub(crate) fn accept(&mut self, service: &mut impl Service, mut let_go: impl FnMut(P, usize)) {
        if self.pending().next().is_none() {
            return;
        }
        let now = Instant::now();
        for (index, place) in self.places.iter_mut().enumerate() {
            let acceptor = place.as_mut().map(P::acceptor_mut);
            let due = acceptor.filter(|acceptor| acceptor.is_due(now));
            let is_over = due.is_some_and(|acceptor| accept_from(acceptor, now, service));
            if is_over && let Some(place) = place.take() {
                let_go(place, index);
            }
        }
    }
}

/// Accepts a bounded number of connections. Whether the listener is over.
fn accept_from(acceptor: &mut Acceptor, now: Instant, service: &mut impl Service) -> bool {
    for _ in 0..ACCEPTS_PER_WAIT {
        match acceptor.accept(now) {
            Accepted::Connection(socket, peer) => service.accepted(socket, peer),
            Accepted::Drained => return false,
            Accepted::Failed(error) => {
                service.accept_failed(&error);
                if acceptor.resting_until().is_some() {
                    return false;
                }
            }
            Accepted::Over(error) => {
                service.accept_failed(&error);
                return true;
            }
        }
    }
    false
}
