//! Who was woken: how the runtime tells a driver which of its sockets to look at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Something of a driver's that the runtime wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Whoever has that slot.
    Socket(u32),
    /// The listener in that place.
    Listener(usize),
}

/// Those that were woken and not looked at yet, each once, in the order of their waking.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    woken: Vec<Woken>,
    /// The driver itself is to look up.
    notified: bool,
    /// The task that parks.
    task: Option<Waker>,
}

/// Puts one socket or listener on the list. It stays with its slot, whoever has that, so that a waker
/// which outlives its socket makes somebody be looked at in vain and no more.
#[derive(Debug)]
pub(crate) struct Bell {
    ready: Arc<Ready>,
    woken: Woken,
    /// It is on the list.
    rung: AtomicBool,
}

impl Ready {
    /// Ends the parking of the driver.
    pub(crate) fn notify(&self) {
        let mut state = self.lock();
        state.notified = true;
        wake(state);
    }

    /// Moves those that were woken to `woken`, which is empty. The driver looks up: what it was notified
    /// of before, it sees after this.
    pub(crate) fn take(&self, woken: &mut Vec<Woken>) {
        let mut state = self.lock();
        state.notified = false;
        std::mem::swap(&mut state.woken, woken);
    }

    /// Whether somebody was woken or the driver notified; the task is woken when that is so.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.notified) || !state.woken.is_empty() {
            return Poll::Ready(());
        }
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn push(&self, woken: Woken) {
        let mut state = self.lock();
        state.woken.push(woken);
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the task, if it parks, once the lock is released.
fn wake(mut state: MutexGuard<'_, State>) {
    let task = state.task.take();
    drop(state);
    if let Some(task) = task {
        task.wake();
    }
}

impl Bell {
    pub(crate) fn new(ready: &Arc<Ready>, woken: Woken) -> Arc<Bell> {
        Arc::new(Bell {
            ready: Arc::clone(ready),
            woken,
            rung: AtomicBool::new(false),
        })
    }

    /// Takes note; what happens from now on rings it again. To be called before the look.
    pub(crate) fn silence(&self) {
        // A read-modify-write: what was done before a ringing that finds it rung is seen by this look.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ready.push(self.woken);
        }
    }
}
