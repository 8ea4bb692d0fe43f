//! Code of the service's that may panic, called and dropped so that only its own connection suffers.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls into the service; `None` when it panicked.
///
/// What a panic leaves half done is the service's own state, which `on_close` may still see; the
/// shard's is whole between any two calls of `Conn`.
#[inline]
pub(crate) fn guard<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(forget_panic)
        .ok()
}

/// What a service has handed over to be called later. Its `Drop` may panic, in whose hands ever.
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) fn new(it: T) -> Foreign<T> {
        Foreign(Some(it))
    }

    /// The thing itself.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Calls it; `None` when it panicked.
    pub(crate) fn call<R>(mut self, call: impl FnOnce(T) -> R) -> Option<R> {
        let it = self.0.take()?;
        guard(move || call(it))
    }
}

impl<T> Default for Foreign<T> {
    /// Nothing.
    fn default() -> Foreign<T> {
        Foreign(None)
    }
}

impl<T: Default> Foreign<T> {
    /// The thing itself, made now if there is none.
    pub(crate) fn get_mut_or_default(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        if let Some(it) = self.0.take()
            && guard(move || drop(it)).is_none()
        {
            tracing::error!("what the service had handed over panicked when it was dropped");
        }
    }
}

impl<T> fmt::Debug for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").finish_non_exhaustive()
    }
}

/// What a panic was raised with is the service's too, and its `Drop` may panic again.
#[cold]
fn forget_panic(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
