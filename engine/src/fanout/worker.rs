//! The pool's threads.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use throng_transport::runtime;

use crate::handle::enter_shard;
use crate::shard::Compressors;
use crate::shared::Shared;

/// Starts the threads of an engine's pool, if it has one; they end once it is closed. Those that were
/// started are in `threads`, also when another one cannot be.
///
/// # Errors
/// When the system cannot start a thread.
pub(crate) fn start(shared: &Arc<Shared>, threads: &mut Vec<JoinHandle<()>>) -> io::Result<()> {
    let workers = shared.fanout.as_ref().map_or(0, |fanout| fanout.workers);
    for worker in 0..workers {
        let shared = Arc::clone(shared);
        let body = move || work(&shared);
        threads.push(runtime::spawn(
            format!("throng-fanout-{worker}"),
            None,
            body,
        )?);
    }
    Ok(())
}

fn work(shared: &Shared) {
    let Some(fanout) = &shared.fanout else {
        return;
    };
    // What the service has called here must wait for this thread as little as for a shard's.
    enter_shard();
    let compression = shared.config.compression.clone().unwrap_or_default();
    let mut compressors = Compressors::new(compression.strength());
    for task in &fanout.tasks {
        let parcel = task.job.make(&mut compressors, shared);
        fanout.finish(task.ticket, parcel, |parcel| parcel.hand_out(shared));
    }
}
