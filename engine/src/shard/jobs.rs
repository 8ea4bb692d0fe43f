//! What goes on for a connection between its messages: futures beside the shard, and calls at a later
//! moment.
//!
//! A future is polled on its connection's shard, in a step of the turn of its own, when it was woken; what it makes is
//! handed to a function that has the connection in hand. All of a connection's jobs end with it.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use slab::Slab;
use smallvec::SmallVec;
use thiserror::Error;
use throng_transport::{SocketKey, Waker};

use super::connection::Connection;
use super::core::Core;
use super::guard::Foreign;
use super::woken::{Alarm, Woken};
use super::{Shard, guard};
use crate::handler::Handler;
use crate::limits::{JOBS_PER_TURN, LONGEST_WAIT};
use crate::shared::Seat;

/// A connection's job that has not ended: [`Conn::spawn`](crate::Conn::spawn), [`Conn::after`](crate::Conn::after).
///
/// Dropping it changes nothing; [`Conn::cancel`](crate::Conn::cancel) ends the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Job(JobId);

/// Why a job was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The connection has as many jobs as `max_jobs_per_connection` allows.
    #[error("the connection has {max} jobs, the most allowed (max_jobs_per_connection)")]
    TooManyJobs {
        /// The bound.
        max: usize,
    },
    /// The connection is closing or gone.
    #[error("the connection is not open")]
    NotOpen,
}

/// Called with the shard, the connection and its state, of the type that the job was begun with.
pub(crate) type Call = Box<dyn FnOnce(&mut Core, SocketKey, &mut dyn Any) + Send>;

/// A future and what follows it.
pub(crate) type Work = Pin<Box<dyn Future<Output = Call> + Send>>;

/// The jobs of one connection.
pub(crate) type JobList = SmallVec<[JobId; 2]>;

/// A place in the slab, and the number of the job that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobId {
    /// First, so that of calls due at the same time the one begun first is made first.
    pub(super) number: u64,
    pub(super) place: usize,
}

/// All jobs of a shard.
pub(crate) struct Jobs {
    slots: Slab<Slot>,
    /// When calls are due, the earliest first. Those of jobs that have ended stay until their time.
    due: BinaryHeap<Reverse<(Duration, JobId)>>,
    /// Futures that were woken.
    woken: Woken,
    begun: u64,
    /// Connections whose futures want something done that could not be yet.
    pub(super) revisit: Vec<SocketKey>,
}

struct Slot {
    number: u64,
    key: SocketKey,
    kind: Kind,
}

enum Kind {
    Work {
        /// `None` while it is polled.
        work: Option<Work>,
        alarm: Arc<Alarm>,
        /// Called if its time is over first.
        overdue: Foreign<Call>,
        /// It goes on when its connection ends.
        outlives: bool,
        /// That of its connection, which is gone.
        seat: Option<Seat>,
    },
    Call(Foreign<Call>),
}

impl Kind {
    fn outlives(&self) -> bool {
        matches!(self, Kind::Work { outlives: true, .. })
    }
}

impl Jobs {
    /// No jobs, of the shard that `waker` wakes.
    pub(crate) fn new(waker: Waker) -> Jobs {
        Jobs {
            slots: Slab::new(),
            due: BinaryHeap::new(),
            woken: Woken::new(waker),
            begun: 0,
            revisit: Vec::new(),
        }
    }

    fn insert(&mut self, key: SocketKey, kind: impl FnOnce(&Jobs, JobId) -> Kind) -> JobId {
        self.begun += 1;
        let id = JobId {
            place: self.slots.vacant_key(),
            number: self.begun,
        };
        let kind = kind(self, id);
        self.slots.insert(Slot {
            number: id.number,
            key,
            kind,
        });
        id
    }

    fn get(&mut self, id: JobId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.place);
        slot.filter(|slot| slot.number == id.number)
    }

    fn remove(&mut self, id: JobId) -> Option<Slot> {
        self.get(id)?;
        let slot = self.slots.remove(id.place);
        // Calls that were cancelled must not pile up.
        if self.due.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            let is_there =
                |id: &JobId| slots.get(id.place).is_some_and(|it| it.number == id.number);
            self.due.retain(|Reverse((_, id))| is_there(id));
        }
        Some(slot)
    }

    /// The shard has woken.
    #[inline]
    pub(super) fn begin_turn(&self) {
        self.woken.begin_turn();
    }

    /// How long the shard may sleep until the next call is due; not at all when there is something to do at
    /// once. Asked last.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        if self.woken.end_turn() || !self.revisit.is_empty() {
            return Some(Duration::ZERO);
        }
        let Reverse((due, _)) = self.due.peek()?;
        // Drivers need not know times that are never reached.
        Some(due.saturating_sub(now).min(LONGEST_WAIT))
    }

    /// Whether something was woken or is due.
    #[inline]
    fn have_work(&self, now: Duration) -> bool {
        let is_due = |Reverse((due, _)): &Reverse<(Duration, JobId)>| *due <= now;
        !self.woken.is_empty() || !self.revisit.is_empty() || self.due.peek().is_some_and(is_due)
    }

    /// Jobs that have not ended.
    #[cfg(feature = "internals")]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether any goes on whose connection is gone.
    pub(super) fn have_lasting(&self) -> bool {
        let is_lasting = |slot: &Slot| matches!(slot.kind, Kind::Work { seat: Some(_), .. });
        self.slots.iter().any(|(_, slot)| is_lasting(slot))
    }

    /// The next of the first `left` that were woken, and have not ended since.
    fn next_woken(&mut self, left: &mut usize) -> Option<JobId> {
        while *left > 0 {
            *left -= 1;
            let id = self.woken.take()?;
            if self.get(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// The next that is due, and has not ended before.
    fn next_due(&mut self, now: Duration) -> Option<JobId> {
        while let Reverse((due, id)) = *self.due.peek()?
            && due <= now
        {
            self.due.pop();
            if self.get(id).is_some() {
                return Some(id);
            }
        }
        None
    }
}

impl Core {
    /// Begins a job of an open connection that is polled, for the first time in this turn or the next.
    /// Where it has a limit, it is dropped when that time is over, and what goes with the limit is called.
    pub(crate) fn spawn(
        &mut self,
        key: SocketKey,
        work: Work,
        limit: Option<(Duration, Call)>,
        outlives: bool,
    ) -> Result<Job, SpawnError> {
        self.check_room_for_job(key)?;
        let id = self.jobs.insert(key, |jobs, id| {
            let alarm = jobs.woken.alarm(id);
            alarm.wake_by_ref();
            Kind::Work {
                work: Some(work),
                alarm,
                overdue: Foreign::default(),
                outlives,
                seat: None,
            }
        });
        if let Some((limit, call)) = limit {
            if let Some(Slot {
                kind: Kind::Work { overdue, .. },
                ..
            }) = self.jobs.get(id)
            {
                *overdue = Foreign::new(call);
            }
            self.jobs
                .due
                .push(Reverse((self.now.saturating_add(limit), id)));
        }
        self.list_job(key, id);
        Ok(Job(id))
    }

    /// Has an open connection's `call` called when so much time has passed.
    pub(crate) fn call_after(
        &mut self,
        key: SocketKey,
        delay: Duration,
        call: Call,
    ) -> Result<Job, SpawnError> {
        self.check_room_for_job(key)?;
        let due = self.now.saturating_add(delay);
        let id = self.jobs.insert(key, |_, _| Kind::Call(Foreign::new(call)));
        self.jobs.due.push(Reverse((due, id)));
        self.list_job(key, id);
        Ok(Job(id))
    }

    /// Ends a job of a connection; returns whether it had not ended. A future is dropped.
    pub(crate) fn cancel(&mut self, key: SocketKey, job: Job) -> bool {
        if self.jobs.get(job.0).is_none_or(|slot| slot.key != key) {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let _entered = shared.runtime.enter();
        self.end_job(job.0);
        true
    }

    /// Ends all jobs of a connection but those that go on.
    pub(super) fn cancel_jobs(&mut self, key: SocketKey) {
        let particulars = self.connections.get(key).map(|it| &mut it.particulars);
        let Some(Some(particulars)) = particulars else {
            return;
        };
        if particulars.jobs.is_empty() {
            return;
        }
        let jobs = &mut self.jobs;
        let mut ending = std::mem::take(&mut particulars.jobs);
        ending.retain(|id| {
            let goes_on = jobs.get(*id).is_some_and(|slot| slot.kind.outlives());
            if goes_on {
                particulars.jobs.push(*id);
            }
            !goes_on
        });
        // What is dropped is the service's, and may use the runtime.
        let shared = Arc::clone(&self.shared);
        let _entered = shared.runtime.enter();
        let ended = ending.into_iter().filter_map(|id| jobs.remove(id));
        ended.for_each(|slot| drop_kind(slot.kind));
    }

    /// Gives up the seat of a connection that is gone, or leaves it to the job that goes on, if there is one.
    pub(super) fn discharge(&mut self, connection: &Connection) {
        let jobs = connection.particulars.as_ref().map(|it| &it.jobs);
        for id in jobs.into_iter().flatten() {
            if let Some(slot) = self.jobs.get(*id)
                && let Kind::Work { seat, .. } = &mut slot.kind
            {
                *seat = Some(connection.seat);
                self.shared.count_lasting();
                return;
            }
        }
        self.shared.discharge(connection.seat);
    }

    fn check_room_for_job(&mut self, key: SocketKey) -> Result<(), SpawnError> {
        let max = self.shared.config.max_jobs_per_connection;
        let Some(connection) = self.connections.open(key) else {
            return Err(SpawnError::NotOpen);
        };
        let particulars = connection.particulars.as_ref();
        if particulars.map_or(0, |it| it.jobs.len()) >= max {
            return Err(SpawnError::TooManyJobs { max });
        }
        Ok(())
    }

    fn list_job(&mut self, key: SocketKey, id: JobId) {
        let particulars = &mut self.connections[key.slot].particulars;
        particulars.get_or_insert_default().jobs.push(id);
    }

    fn end_job(&mut self, id: JobId) {
        let Some(slot) = self.jobs.remove(id) else {
            return;
        };
        if let Some(connection) = self.connections.get(slot.key)
            && let Some(particulars) = &mut connection.particulars
        {
            particulars.jobs.retain(|listed| *listed != id);
        }
        if let Kind::Work {
            seat: Some(seat), ..
        } = slot.kind
        {
            self.shared.discharge_lasting(seat);
        }
        drop_kind(slot.kind);
    }
}

impl<H: Handler> Shard<H> {
    /// Polls futures that were woken, and makes the calls that are due.
    pub(super) fn work(&mut self) {
        let now = self.core.now;
        if !self.core.jobs.have_work(now) {
            return;
        }
        let shared = Arc::clone(&self.core.shared);
        let _entered = shared.runtime.enter();
        for key in std::mem::take(&mut self.core.jobs.revisit) {
            if let Some(connection) = self.core.connections.get(key) {
                connection.marks.set_revisited(false);
            }
            self.serve_link(key);
        }
        // What these wake, themselves included, is polled in the next turn: in between is the flush.
        let mut woken = self.core.jobs.woken.len();
        for _ in 0..JOBS_PER_TURN {
            if self.core.has_done_enough() {
                break;
            }
            let Some(id) = self.core.jobs.next_woken(&mut woken) else {
                break;
            };
            self.poll_job(id);
        }
        for _ in 0..JOBS_PER_TURN {
            let Some(id) = self.core.jobs.next_due(now) else {
                break;
            };
            self.make_call(id);
        }
    }

    fn poll_job(&mut self, id: JobId) {
        let Some(slot) = self.core.jobs.get(id) else {
            return;
        };
        let key = slot.key;
        let Kind::Work { work, alarm, .. } = &mut slot.kind else {
            return;
        };
        let Some(mut polled) = work.take() else {
            return;
        };
        let alarm = Arc::clone(alarm);
        alarm.reset();
        let waker = alarm.into();
        let outcome = guard(|| polled.as_mut().poll(&mut Context::from_waker(&waker)));
        match outcome {
            Some(Poll::Pending) => {
                if let Some(slot) = self.core.jobs.get(id)
                    && let Kind::Work { work, .. } = &mut slot.kind
                {
                    *work = Some(polled);
                }
                self.serve_link(key);
            }
            Some(Poll::Ready(call)) => {
                drop(Foreign::new(polled));
                self.core.end_job(id);
                self.call_back(key, Foreign::new(call));
                self.serve_link(key);
            }
            None => {
                drop(Foreign::new(polled));
                self.core.end_job(id);
                if self.core.connections.open(key).is_some() {
                    self.handle_panic(key);
                }
            }
        }
    }

    fn make_call(&mut self, id: JobId) {
        let Some(slot) = self.core.jobs.get(id) else {
            return;
        };
        let key = slot.key;
        let call = match &mut slot.kind {
            Kind::Call(call) | Kind::Work { overdue: call, .. } => std::mem::take(call),
        };
        self.core.end_job(id);
        self.call_back(key, call);
    }

    /// Hands the connection to what a job has left to be called, if it is still open.
    fn call_back(&mut self, key: SocketKey, call: Foreign<Call>) {
        if self.core.connections.open(key).is_none() {
            return;
        }
        let Some(Some(state)) = self.states.get_mut(key.slot as usize) else {
            return;
        };
        let core = &mut self.core;
        if call.call(|call| call(core, key, state)).is_none() {
            self.handle_panic(key);
        }
    }
}

/// A future is the service's, and so is its `Drop`.
fn drop_kind(kind: Kind) {
    match kind {
        Kind::Work { work, .. } => drop(Foreign::new(work)),
        Kind::Call(call) => drop(call),
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.slots.drain().for_each(|slot| drop_kind(slot.kind));
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("len", &self.slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
