//! Whether an engine takes newcomers.

use std::fmt;

use thiserror::Error;

use crate::budget::Pressure;
use crate::shard::guard;
use crate::shared::Shared;

/// Why an engine takes no newcomers at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotReady {
    /// It is being drained, or has stopped.
    #[error("the server is going down")]
    GoingDown,
    /// [`max_connections`](field@crate::Config::max_connections) are open, or have futures that go on.
    #[error("the server is full")]
    Full,
    /// Seven eighths of the [`memory_budget`](field@crate::Config::memory_budget) are held.
    #[error("the server is short of memory")]
    ShortOfMemory,
    /// The service says so, by [`Builder::ready_check`](crate::Builder::ready_check).
    #[error("the service is not ready")]
    Service,
}

/// The service's own part in it.
pub(crate) struct ReadyCheck(pub(crate) Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for ReadyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCheck").finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether newcomers are taken.
    pub(crate) fn readiness(&self) -> Result<(), NotReady> {
        if self.is_draining() {
            return Err(NotReady::GoingDown);
        }
        if self.taken() >= self.config.max_connections {
            return Err(NotReady::Full);
        }
        if self.budget.pressure() >= Pressure::Refuse {
            return Err(NotReady::ShortOfMemory);
        }
        match &self.ready_check {
            // One that panics cannot say that all is well.
            Some(ReadyCheck(check)) if guard(check) != Some(true) => Err(NotReady::Service),
            _ => Ok(()),
        }
    }
}
