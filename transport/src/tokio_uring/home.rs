//! The runtime that a driver lives in.

use std::fmt;
use std::fs;
use std::panic::catch_unwind;
use std::rc::Rc;

use io_uring::IoUring;
use tokio::runtime::{EnterGuard, Handle, RuntimeFlavor};
use tokio::task::spawn_local;
use tokio_uring::Runtime;

use super::letter::submit_nothing;
use crate::uring::Refusal;

/// What the system calls the descriptor of a ring.
const RING: &str = "anon_inode:[io_uring]";

/// Why there can be no driver here: the thread is in no tokio-uring runtime.
#[derive(Debug)]
pub struct Outside {
    /// Where the system gives nobody a ring, as a likely reason.
    refusal: Option<Refusal>,
}

impl Outside {
    fn new() -> Outside {
        Outside {
            refusal: IoUring::new(2).err().map(Refusal::new),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the calling thread must be in a tokio-uring runtime (tokio_uring::start)")?;
        match &self.refusal {
            Some(refusal) => write!(f, ", and {refusal}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Outside {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.refusal.as_ref().map(|refusal| refusal as _)
    }
}

/// Where a driver lives.
#[derive(Clone)]
pub(super) struct Home {
    /// Of the tokio runtime within.
    handle: Handle,
    own: Option<Rc<Runtime>>,
}

impl Home {
    /// The runtime that the caller is in.
    pub(super) fn here() -> Result<Home, Outside> {
        let handle = Handle::try_current().map_err(|_| Outside::new())?;
        let may_be = handle.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !may_be || !has_ring() {
            return Err(Outside::new());
        }
        Ok(Home { handle, own: None })
    }

    pub(super) fn own(runtime: Runtime) -> Home {
        Home {
            handle: runtime.block_on(async { Handle::current() }),
            own: Some(Rc::new(runtime)),
        }
    }

    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Has the runtime do what is left when the driver goes, if that is possible here.
    pub(super) fn leave(&self, rest: impl Future<Output = ()> + 'static) {
        match (&self.own, Handle::try_current()) {
            (Some(runtime), Err(_)) => runtime.block_on(rest),
            (None, Ok(current)) if current.id() == self.handle.id() => drop(spawn_local(rest)),
            // The runtime is gone, or about to go.
            _ => {}
        }
    }

    /// The runtime, if it is the driver's own.
    pub(super) fn runtime(&self) -> Option<&Runtime> {
        self.own.as_deref()
    }
}

/// Whether the thread has a ring of tokio-uring's.
///
/// That crate says so only by panicking when there is none. It is not asked where the process has no
/// ring at all, so that an ordinary tokio runtime that was taken for one is found out quietly. Where
/// another thread has one, the hook for panics hears of it, and a process whose panics abort ends.
fn has_ring() -> bool {
    process_has_ring() && catch_unwind(submit_nothing).is_ok()
}

fn process_has_ring() -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return true;
    };
    let links = descriptors
        .flatten()
        .map(|entry| fs::read_link(entry.path()));
    links.flatten().any(|link| link.as_os_str() == RING)
}
