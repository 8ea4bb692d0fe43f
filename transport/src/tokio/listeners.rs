//! The listeners of a driver inside a runtime.

use std::io;
use std::sync::Arc;

use super::ready::{Bell, Ready, Woken};
use super::watch::Watch;
use crate::acceptors::{Acceptors, Place};
use crate::listener::{Acceptor, Listener};

/// Listeners that the runtime watches.
pub(crate) type Listeners = Acceptors<Watched>;

/// A listener, and the bell that it rings.
#[derive(Debug)]
pub(crate) struct Watched {
    acceptor: Watch<Acceptor>,
    bell: Arc<Bell>,
}

impl Place for Watched {
    fn acceptor(&self) -> &Acceptor {
        self.acceptor.get_ref()
    }

    fn acceptor_mut(&mut self) -> &mut Acceptor {
        self.acceptor.get_mut()
    }
}

impl Listeners {
    pub(crate) fn add(&mut self, listener: Listener, ready: &Arc<Ready>) -> io::Result<()> {
        let place = self.vacancy()?;
        let bell = Bell::new(ready, Woken::Listener(place));
        let acceptor = Watch::new(Acceptor::new(listener), Arc::clone(&bell).into())?;
        self.insert(place, Watched { acceptor, bell });
        self.look_at_woken(place);
        ready.notify();
        Ok(())
    }

    /// Takes note of what happened to the one in that place. The bell rings when there is more.
    pub(crate) fn look_at_woken(&mut self, place: usize) {
        if let Some(watched) = self.get_mut(place) {
            watched.bell.silence();
            let edge = watched.acceptor.edge();
            self.look_at(place, edge.closed);
        }
    }
}
