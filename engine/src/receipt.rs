//! Waiting for a publication's whole receipt.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::error::ReceiptError;
use crate::handle::is_on_shard;
use crate::shard::{Receipt, Tally};

/// A publication's whole receipt, once every shard has answered: a future for any runtime, or
/// [`wait`](PendingReceipt::wait) for threads. Dropping it changes nothing for the message.
///
/// It resolves within a turn of the busiest shard that has members, also when the engine stops. Polled
/// again after that, it stays pending.
///
/// ```no_run
/// # async fn example(engine: &throng::EngineHandle) -> Result<(), throng::ReceiptError> {
/// let receipt = engine.to("general").text("hello").publish_with_receipt().await?;
/// println!("{} of {} will get it", receipt.queued, receipt.audience());
/// # Ok(())
/// # }
/// ```
#[must_use = "without waiting for the receipt, `publish` costs less"]
pub struct PendingReceipt(Arc<Tally>);

impl PendingReceipt {
    pub(crate) fn new(tally: Arc<Tally>) -> PendingReceipt {
        PendingReceipt(tally)
    }

    /// Blocks until the receipt is there.
    ///
    /// # Errors
    /// On one of the engine's own threads, at once; and as the future does ([`ReceiptError`]).
    pub fn wait(self) -> Result<Receipt, ReceiptError> {
        if is_on_shard() {
            return Err(ReceiptError::OnShard);
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if let Poll::Ready(outcome) = self.0.poll(&waker) {
                return outcome;
            }
            thread::park();
        }
    }
}

impl Future for PendingReceipt {
    type Output = Result<Receipt, ReceiptError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context.waker())
    }
}

impl fmt::Debug for PendingReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReceipt").finish_non_exhaustive()
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
