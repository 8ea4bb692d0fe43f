//! The runtime of engines whose shards are tasks, in suites that have none.

use std::sync::LazyLock;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

thread_local! {
    static ENTERED: EnterGuard<'static> = RUNTIME.enter();
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
});

/// Enters a runtime that lives as long as the test program, for the rest of the thread. A thread that is in
/// another one stays there.
pub(super) fn enter() {
    if Handle::try_current().is_err() {
        ENTERED.with(|_| ());
    }
}

/// Calls `start` in that runtime, from within another as well: a test may then hold up its own without
/// holding up the shards that it has started.
pub fn beside<T>(start: impl FnOnce() -> T) -> T {
    let _entered = RUNTIME.enter();
    start()
}
