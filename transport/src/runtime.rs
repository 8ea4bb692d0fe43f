//! The threads that turn the wheel, and waking them from others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::driver::{Driver, Service};

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for at most that long; forever when `None`.
    Wait(Option<Duration>),
    /// End the loop.
    Stop,
}

/// A service that acts on the driver once per turn.
pub trait Turn: Service {
    /// Does everything that follows the completions of one wait: all work on the driver
    /// happens here.
    fn turn(&mut self, driver: &mut impl Driver) -> Next;
}

/// Waits and turns until the service says stop.
///
/// # Errors
/// What made the driver unusable.
pub fn run(driver: &mut impl Driver, service: &mut impl Turn) -> io::Result<()> {
    loop {
        match service.turn(driver) {
            Next::Wait(timeout) => driver.wait(timeout, service)?,
            Next::Stop => return Ok(()),
        }
    }
}

/// A driver whose wait can also be awaited, in a task of the runtime that it lives in.
pub trait AsyncDriver: Driver {
    /// [`Driver::wait`] without holding the thread. When the future is dropped before it is done, what
    /// it did not report is left for the following wait.
    ///
    /// # Errors
    /// Only what makes the driver itself unusable.
    fn wait_async<S: Service>(
        &mut self,
        timeout: Option<Duration>,
        service: &mut S,
    ) -> impl Future<Output = io::Result<()>>;
}

/// Waits and turns until the service says stop, as a task among others: every turn or two it lets
/// them run.
///
/// # Errors
/// What made the driver unusable.
pub async fn run_async<D: AsyncDriver, T: Turn>(driver: &mut D, service: &mut T) -> io::Result<()> {
    loop {
        match service.turn(driver) {
            Next::Wait(timeout) => driver.wait_async(timeout, service).await?,
            Next::Stop => return Ok(()),
        }
    }
}

/// Starts a named thread, pinned to the `cpu`-th of the cores available to the process when one
/// is given (modulo their number). Where the platform cannot pin, the thread runs unpinned.
///
/// # Errors
/// When the system cannot start a thread.
pub fn spawn<T: Send + 'static>(
    name: String,
    cpu: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(cpu) = cpu {
            pin(cpu);
        }
        body()
    })
}

fn pin(cpu: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if cores.is_empty() || !core_affinity::set_for_current(cores[cpu % cores.len()]) {
        tracing::debug!(cpu, "this thread could not be pinned");
    }
}

/// Ends a driver's parking from any thread.
///
/// Wake-ups coalesce: between two moments at which the driver takes note, only the first costs
/// a system call.
#[derive(Clone)]
pub struct Waker {
    inner: Arc<Inner>,
}

struct Inner {
    pending: AtomicBool,
    unpark: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Waker {
    /// A waker that calls `unpark` when a wake-up is not yet pending. `unpark` returns whether it
    /// worked: the wake-up that follows a failure tries again.
    pub fn new(unpark: impl Fn() -> bool + Send + Sync + 'static) -> Waker {
        let inner = Inner {
            pending: AtomicBool::new(false),
            unpark: Box::new(unpark),
        };
        Waker {
            inner: Arc::new(inner),
        }
    }

    /// Makes the driver call [`Service::woken`] soon. What this thread did before is visible to
    /// that call.
    pub fn wake(&self) {
        if !self.inner.pending.swap(true, Ordering::AcqRel) && !(self.inner.unpark)() {
            self.inner.pending.store(false, Ordering::Release);
        }
    }

    /// Takes note of the wake-ups so far; for drivers, before they call `woken`.
    ///
    /// A read-modify-write, so that it either sees a concurrent `wake` and what came before it,
    /// or is seen by it and leads to another unpark.
    pub fn take(&self) -> bool {
        self.inner.pending.swap(false, Ordering::AcqRel)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker")
            .field("pending", &self.inner.pending)
            .finish_non_exhaustive()
    }
}
