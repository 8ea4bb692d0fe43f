//! The runtime of engines whose shards are tasks, in suites that have none.

use std::sync::LazyLock;

use tokio::runtime::{Builder, EnterGuard, Runtime};

thread_local! {
    static ENTERED: EnterGuard<'static> = RUNTIME.enter();
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().unwrap()
});

/// Enters a runtime that lives as long as the test program, for the rest of the thread.
pub(super) fn enter() {
    ENTERED.with(|_| ());
}
