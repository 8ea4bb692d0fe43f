//! The whole receipt of a publication, summed over the shards that take part in it.
//!
//! Whoever may still have something to add holds a [`TallyShare`]. The last one to end tells the sum. A
//! share that ends without a report counts as a shard that refused, so that the sum is told whatever
//! becomes of a mailbox, a shard or the engine.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::guard;
use super::publish::Receipt;
use crate::error::ReceiptError;

/// What is told in the end.
pub(crate) type Outcome = Result<Receipt, ReceiptError>;

/// The sum so far. Locked for a few instructions at a time: nothing of the service's runs meanwhile.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<State>);

#[derive(Debug)]
struct State {
    receipt: Receipt,
    error: Option<ReceiptError>,
    /// Shares that have not ended.
    open: usize,
    teller: Teller,
}

/// How the outcome is told.
enum Teller {
    /// It waits to be fetched; this task is waiting for it.
    Fetched(Option<Waker>),
    Called(Box<dyn FnOnce(Outcome) + Send>),
    /// It was told.
    Told,
}

impl Tally {
    /// The outcome, once every share has ended; until then `waker` is kept to be woken. It is given
    /// out once.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        let waker = waker.clone();
        let mut state = self.lock();
        if state.open == 0
            && let Teller::Fetched(_) = state.teller
        {
            state.teller = Teller::Told;
            return Poll::Ready(state.outcome());
        }
        let mut former = None;
        if let Teller::Fetched(waiting) = &mut state.teller {
            former = waiting.replace(waker);
        }
        // A waker's `Drop` is somebody else's code.
        drop(state);
        drop(former);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a share, with what it has to add.
    fn end(&self, add: impl FnOnce(&mut Receipt)) {
        let mut state = self.lock();
        add(&mut state.receipt);
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        match &mut state.teller {
            Teller::Fetched(waker) => {
                let waker = waker.take();
                drop(state);
                // Somebody else's code too.
                waker.into_iter().for_each(|waker| {
                    guard(|| waker.wake());
                });
            }
            Teller::Called(_) | Teller::Told => {
                let teller = mem::replace(&mut state.teller, Teller::Told);
                let outcome = state.outcome();
                drop(state);
                teller.call(outcome);
            }
        }
    }
}

impl State {
    fn outcome(&mut self) -> Outcome {
        self.error.take().map_or(Ok(self.receipt), Err)
    }
}

impl Teller {
    fn call(self, outcome: Outcome) {
        let Teller::Called(then) = self else {
            return;
        };
        if guard(|| then(outcome)).is_none() {
            tracing::error!("what was to be done with a receipt panicked");
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Teller::Fetched(_) => "Fetched",
            Teller::Called(_) => "Called",
            Teller::Told => "Told",
        })
    }
}

/// A part of a tally that may still be added to. A clone is a further part.
#[derive(Debug)]
pub struct TallyShare {
    tally: Arc<Tally>,
    is_reported: bool,
}

impl TallyShare {
    /// The first share of a tally whose outcome is fetched by [`Tally::poll`].
    pub(crate) fn fetched() -> (TallyShare, Arc<Tally>) {
        let share = TallyShare::of(Teller::Fetched(None));
        let tally = Arc::clone(&share.tally);
        (share, tally)
    }

    /// The first share of a tally whose outcome `then` is called with, by whichever thread ends the last
    /// share. A panic in it ends there.
    pub(crate) fn calling(then: impl FnOnce(Outcome) + Send + 'static) -> TallyShare {
        TallyShare::of(Teller::Called(Box::new(then)))
    }

    fn of(teller: Teller) -> TallyShare {
        let state = State {
            receipt: Receipt::default(),
            error: None,
            open: 1,
            teller,
        };
        TallyShare {
            tally: Arc::new(Tally(Mutex::new(state))),
            is_reported: false,
        }
    }

    /// Adds what became of the message in this part and ends the share. Shards that it was handed on
    /// to, or that refused it, have shares of their own.
    pub(crate) fn report(mut self, receipt: &Receipt) {
        self.is_reported = true;
        self.tally.end(|sum| sum.add(receipt));
    }

    /// Ends the share of one who has only handed the message on.
    pub(crate) fn end(self) {
        self.report(&Receipt::default());
    }

    /// Nobody was sent the message: instead of a receipt, this is told. Of several, the first.
    pub(crate) fn fail(&self, error: ReceiptError) {
        self.tally.lock().error.get_or_insert(error);
    }
}

impl Clone for TallyShare {
    fn clone(&self) -> TallyShare {
        self.tally.lock().open += 1;
        TallyShare {
            tally: Arc::clone(&self.tally),
            is_reported: false,
        }
    }
}

impl Drop for TallyShare {
    fn drop(&mut self) {
        if !self.is_reported {
            self.tally.end(|sum| sum.refused += 1);
        }
    }
}

impl Receipt {
    /// Adds the counts of connections and of displaced messages, and the position if it tells one.
    fn add(&mut self, part: &Receipt) {
        self.queued += part.queued;
        self.conflated += part.conflated;
        self.dropped += part.dropped;
        self.evicted += part.evicted;
        self.displaced += part.displaced;
        self.position = self.position.or(part.position);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn queued(queued: usize) -> Receipt {
        Receipt {
            queued,
            ..Receipt::default()
        }
    }

    #[test]
    fn the_last_share_tells_the_sum() {
        let (tell, told) = channel();
        let share = TallyShare::calling(move |outcome| tell.send(outcome).unwrap());
        let others: Vec<TallyShare> = (0..8).map(|_| share.clone()).collect();
        let reporting = others.into_iter().zip(1..).map(|(share, count)| {
            thread::spawn(move || match count {
                8 => drop(share),
                _ => share.report(&queued(count)),
            })
        });
        for thread in reporting.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        assert!(told.try_recv().is_err(), "one share is left");
        share.report(&queued(100));
        let receipt = told.recv().unwrap().unwrap();
        assert_eq!((receipt.queued, receipt.refused), (128, 1));
        assert!(told.recv().is_err(), "it is told once");
    }

    #[test]
    fn what_fails_has_no_receipt() {
        let (share, tally) = TallyShare::fetched();
        share.fail(ReceiptError::Panicked);
        share.fail(ReceiptError::OnShard);
        assert!(tally.poll(Waker::noop()).is_pending());
        share.report(&queued(1));
        let outcome = tally.poll(Waker::noop());
        assert!(matches!(outcome, Poll::Ready(Err(ReceiptError::Panicked))));
        assert!(
            tally.poll(Waker::noop()).is_pending(),
            "it is given out once"
        );
    }

    #[test]
    fn a_panic_in_what_is_called_ends_there() {
        let share = TallyShare::calling(|_| panic!("as told"));
        share.clone().report(&queued(1));
        drop(share);
    }
}
