//! The fan-out pool: threads that serialise and compress, so that neither a shard nor a publisher stalls
//! for it, and then hand publications to the shards.
//!
//! The work is done by any worker, side by side. Publications **leave in the order in which they came**,
//! all of them ([`Line`]): one that is done waits for those before it. So nothing overtakes, whatever
//! rooms, connections and threads it concerns, and one room may keep all workers busy.
//!
//! What is not heavy goes through the pool only while something is in it. Otherwise whoever publishes
//! hands to the shards what nothing is left to overtake ([`Refusal::Idle`]).
//!
//! A shard counts what it has in the pool until word comes back that it has left ([`Mail::FannedOut`]),
//! which is posted behind the shard's own copy. As long as the count is not zero, all it publishes to
//! rooms goes this way.
//!
//! [`Mail::FannedOut`]: crate::shard::Mail::FannedOut

mod job;
mod line;
mod outside;
mod worker;

pub(crate) use job::{Job, Later, Parcel, Unmade, fail};
pub(crate) use worker::start;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::config::Config;
use crate::limits::MAX_FANOUT_TASKS;
use job::Task;
use line::Line;

/// The way into the pool. The workers hold its other end.
#[derive(Debug)]
pub(crate) struct Fanout {
    queue: Mutex<Queue>,
    /// Publications in line or being handed out. No lock is taken to find that there are none.
    outstanding: AtomicUsize,
    tasks: Receiver<Task>,
    /// Bytes from which a message to be compressed is heavy.
    threshold: usize,
    /// Publications in line beyond which threads outside are refused.
    capacity: usize,
    workers: usize,
}

#[derive(Debug)]
struct Queue {
    line: Line<Parcel>,
    /// None once the pool is closed.
    tasks: Option<Sender<Task>>,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is nothing to be done for it and nothing it could overtake.
    Idle,
    /// The workers have enough to do: whoever publishes should serialise by himself.
    Busy,
    /// Too many publications are in line.
    Full,
    /// The pool is closed.
    Closed,
}

impl Fanout {
    /// The pool of an engine, if it has one. Nothing moves before [`start`].
    pub(crate) fn new(config: &Config) -> Option<Fanout> {
        let (sender, receiver) = bounded(MAX_FANOUT_TASKS);
        (config.fanout_workers > 0).then(|| Fanout {
            queue: Mutex::new(Queue {
                line: Line::new(),
                tasks: Some(sender),
            }),
            outstanding: AtomicUsize::new(0),
            tasks: receiver,
            threshold: config.fanout_threshold,
            capacity: config.mailbox_capacity,
            workers: config.fanout_workers,
        })
    }

    /// Whether compressing so many bytes is work for the pool.
    #[inline]
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        bytes >= self.threshold
    }

    /// Whether nothing is in the pool. To a thread that has put something in it is not before that has
    /// been handed to every shard.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// Publications in line or being handed out.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Those of them that wait for a worker.
    pub(crate) fn waiting(&self) -> usize {
        self.tasks.len()
    }

    /// Takes a job from a thread outside. Never blocks for long.
    pub(crate) fn offer(&self, job: Job) -> Result<(), (Job, Refusal)> {
        let mut queue = self.lock();
        if queue.tasks.is_none() {
            return Err((job, Refusal::Closed));
        }
        if queue.line.is_idle() && matches!(job, Job::Ready(_)) {
            return Err((job, Refusal::Idle));
        }
        if queue.line.len() >= self.capacity {
            return Err((job, Refusal::Full));
        }
        self.line_up(&mut queue, job)
    }

    /// Takes a job from a shard, which sees to it that these do not grow too many. It is never
    /// [`Idle`](Refusal::Idle) or [`Full`](Refusal::Full).
    pub(crate) fn push(&self, job: Job) -> Result<(), (Job, Refusal)> {
        self.line_up(&mut self.lock(), job)
    }

    /// Waits until what is in the pool now has been handed to the shards.
    pub(crate) fn flush(&self) {
        let (barrier, reached) = bounded(0);
        let parcel = Parcel::Barrier(barrier);
        let lined_up = {
            let mut queue = self.lock();
            !queue.line.is_idle() && self.line_up(&mut queue, Job::Ready(parcel)).is_ok()
        };
        if lined_up {
            // Nothing is sent: the barrier is dropped.
            let _ = reached.recv();
        }
    }

    /// Takes no more. The workers end when they have done what is left.
    pub(crate) fn close(&self) {
        self.lock().tasks = None;
    }

    fn line_up(&self, queue: &mut Queue, job: Job) -> Result<(), (Job, Refusal)> {
        let Some(tasks) = &queue.tasks else {
            return Err((job, Refusal::Closed));
        };
        let place = match job {
            Job::Ready(parcel) if !queue.line.is_idle() => Some(parcel),
            job => {
                let ticket = queue.line.next_ticket();
                match tasks.try_send(Task { ticket, job }) {
                    Ok(()) => None,
                    // Those tasks have places, so that somebody will come by.
                    Err(TrySendError::Full(task)) => match task.job {
                        Job::Ready(parcel) | Job::Compress(parcel) => Some(parcel),
                        job @ Job::Serialise(_) => return Err((job, Refusal::Busy)),
                    },
                    Err(TrySendError::Disconnected(task)) => {
                        return Err((task.job, Refusal::Closed));
                    }
                }
            }
        };
        queue.line.line_up(place);
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts what a worker has made in its place, and hands out what is first in line and ready, unless
    /// another worker is at it.
    fn finish(&self, ticket: u64, parcel: Parcel, mut hand_out: impl FnMut(Parcel)) {
        let mut queue = self.lock();
        queue.line.fill(ticket, parcel);
        if !queue.line.begin_serving() {
            return;
        }
        while let Some(parcel) = queue.line.serve() {
            drop(queue);
            hand_out(parcel);
            self.outstanding.fetch_sub(1, Ordering::Release);
            queue = self.lock();
        }
    }

    // Between any two statements the queue is whole, so a panic elsewhere cannot harm it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
