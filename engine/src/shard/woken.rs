//! Which jobs were woken: a queue that any thread adds to, and that their shard looks at in every turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Wake;

use crossbeam_channel::{Receiver, Sender, unbounded};
use throng_transport::Waker;

use super::jobs::JobId;

/// The shard's side. Each job is in it once at most, but for those that have ended.
pub(super) struct Woken {
    ids: Receiver<JobId>,
    bell: Arc<Bell>,
}

/// What all alarms of a shard have in common.
struct Bell {
    ids: Sender<JobId>,
    /// The shard looks at the queue before it sleeps, so that nobody need wake it.
    looks_again: AtomicBool,
    waker: Waker,
}

impl Woken {
    /// Nothing was woken in the shard that `waker` wakes.
    pub(super) fn new(waker: Waker) -> Woken {
        let (sender, ids) = unbounded();
        let bell = Arc::new(Bell {
            ids: sender,
            looks_again: AtomicBool::new(false),
            waker,
        });
        Woken { ids, bell }
    }

    /// What wakes a job.
    pub(super) fn alarm(&self, id: JobId) -> Arc<Alarm> {
        Arc::new(Alarm {
            id,
            is_rung: AtomicBool::new(false),
            bell: Arc::clone(&self.bell),
        })
    }

    /// The shard has woken, and looks here before it sleeps.
    #[inline]
    pub(super) fn begin_turn(&self) {
        self.bell.looks_again.store(true, Ordering::Relaxed);
    }

    /// The shard is about to sleep; returns whether it must not.
    ///
    /// What `Alarm` does has the two steps in the other order. Of two threads that do so with a fence between them
    /// at least one sees what the other did first: either the alarm wakes the shard, or its id is seen here.
    pub(super) fn end_turn(&self) -> bool {
        self.bell.looks_again.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !self.ids.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The one that was woken first.
    pub(super) fn take(&self) -> Option<JobId> {
        self.ids.try_recv().ok()
    }
}

/// Wakes a job.
pub(super) struct Alarm {
    id: JobId,
    /// It is among those woken, and has not been polled since.
    is_rung: AtomicBool,
    bell: Arc<Bell>,
}

impl Alarm {
    /// The job is about to be polled. What wakes it from now on is not seen by this poll for sure. A
    /// read-modify-write, so that it either sees a concurrent `wake` and what came before it, or is seen by it and
    /// leads to another poll.
    pub(super) fn reset(&self) {
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // Where the shard is gone there is nothing to wake.
        let _ = self.bell.ids.send(self.id);
        fence(Ordering::SeqCst);
        if !self.bell.looks_again.load(Ordering::Relaxed) {
            self.bell.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Condvar, Mutex};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Nothing here takes this long unless a wake-up was lost.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a shard sleeps on, and how often it was woken.
    #[derive(Default)]
    struct Bed {
        is_woken: Mutex<bool>,
        bell: Condvar,
        wakes: AtomicUsize,
    }

    impl Bed {
        fn waker(self: &Arc<Bed>) -> Waker {
            let bed = Arc::clone(self);
            Waker::new(move || {
                bed.wakes.fetch_add(1, Ordering::Relaxed);
                *bed.is_woken.lock().unwrap() = true;
                bed.bell.notify_one();
                true
            })
        }

        /// Sleeps until it is woken, as a driver does; false when nobody has in all that time.
        fn sleep(&self, waker: &Waker) -> bool {
            let woken = self.is_woken.lock().unwrap();
            let (mut woken, timeout) = self
                .bell
                .wait_timeout_while(woken, PATIENCE, |woken| !*woken)
                .unwrap();
            *woken = false;
            waker.take();
            !timeout.timed_out()
        }
    }

    fn id(number: u64) -> JobId {
        JobId {
            number,
            place: usize::try_from(number).unwrap(),
        }
    }

    #[test]
    fn a_shard_that_looks_again_is_not_woken() {
        let bed = Arc::new(Bed::default());
        let woken = Woken::new(bed.waker());
        let (one, other) = (woken.alarm(id(1)), woken.alarm(id(2)));
        woken.begin_turn();
        one.wake_by_ref();
        one.wake_by_ref();
        assert_eq!(bed.wakes.load(Ordering::Relaxed), 0);
        assert!(woken.end_turn(), "it looks before it sleeps");
        assert_eq!((woken.take(), woken.take()), (Some(id(1)), None));
        assert!(!woken.end_turn());
        other.wake_by_ref();
        assert_eq!(bed.wakes.load(Ordering::Relaxed), 1, "it sleeps");
        one.wake_by_ref();
        assert_eq!(woken.len(), 1, "that one has not been polled since");
    }

    /// Several threads each hand a shard something and wake its job, and wait until the job has seen it, so that the
    /// shard goes to sleep all the time. A wake-up that was lost would have it sleep for ever.
    #[test]
    fn no_wake_up_is_lost_between_a_poll_and_a_sleep() {
        const ROUNDS: usize = 20_000;
        const JOBS: usize = 3;
        let bed = Arc::new(Bed::default());
        let waker = bed.waker();
        let woken = Woken::new(waker.clone());
        let alarms: Vec<_> = (0..JOBS as u64).map(|job| woken.alarm(id(job))).collect();
        let given: Arc<[AtomicUsize; JOBS]> = Arc::default();
        let seen: Arc<[AtomicUsize; JOBS]> = Arc::default();
        let threads: Vec<_> = (0..JOBS)
            .map(|job| {
                let alarm = Arc::clone(&alarms[job]);
                let (given, seen) = (Arc::clone(&given), Arc::clone(&seen));
                thread::spawn(move || {
                    for round in 1..=ROUNDS {
                        given[job].store(round, Ordering::Relaxed);
                        alarm.wake_by_ref();
                        while seen[job].load(Ordering::Relaxed) < round {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let is_over = || seen.iter().all(|it| it.load(Ordering::Relaxed) == ROUNDS);
        while !is_over() {
            woken.begin_turn();
            while let Some(JobId { place, .. }) = woken.take() {
                alarms[place].reset();
                let now = given[place].load(Ordering::Relaxed);
                seen[place].store(now, Ordering::Relaxed);
            }
            if !is_over() && !woken.end_turn() {
                assert!(bed.sleep(&waker), "a wake-up was lost");
            }
        }
        threads.into_iter().for_each(|it| it.join().unwrap());
    }
}
