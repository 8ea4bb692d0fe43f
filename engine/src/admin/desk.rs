//! The thread behind the page: it takes a sample each second, and asks what shards must be waited for for.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use throng_transport::runtime::spawn;
use tokio::sync::oneshot;

use super::sample::{Report, RoomRow, Row, Sample};
use crate::error::MembersError;
use crate::handle::EngineHandle;
use crate::id::ConnectionId;
use crate::inspect::ConnectionInfo;
use crate::metrics::MetricsSnapshot;

/// How often a sample is taken.
const PERIOD: Duration = Duration::from_secs(1);
/// Samples kept for the plots: five minutes.
const SAMPLES: usize = 300;
/// Slow consumers that are told each second.
const SLOW: usize = 20;
/// Connections that one question is answered with.
const LISTED: usize = 50;
/// Rooms that are listed.
const ROOMS: usize = 100;
/// Orders that may wait.
const ORDERS: usize = 64;
/// The room of those who have a page open.
pub(super) const WATCHERS: &str = "watchers";

/// Something that must not be done on a shard's thread.
pub(super) enum Order {
    Find(Find, oneshot::Sender<Result<Vec<Row>, MembersError>>),
    Rooms(oneshot::Sender<Vec<RoomRow>>),
    Stop,
}

/// Which connections are asked for.
#[derive(Debug)]
pub(super) enum Find {
    After(Option<ConnectionId>),
    One(ConnectionId),
    OfUser(String),
}

/// To the thread, and what it takes from there.
pub(super) fn orders() -> (Sender<Order>, Receiver<Order>) {
    bounded(ORDERS)
}

/// What a page is shown when it is opened.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<VecDeque<Sample>>);

impl Desk {
    /// The last samples, oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.kept().iter().cloned().collect()
    }

    fn keep(&self, sample: Sample) {
        let mut kept = self.kept();
        if kept.len() == SAMPLES {
            kept.pop_front();
        }
        kept.push_back(sample);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn open(
        self: Arc<Desk>,
        watched: EngineHandle,
        pages: EngineHandle,
        orders: Receiver<Order>,
    ) -> io::Result<JoinHandle<()>> {
        let clerk = Clerk {
            desk: self,
            before: watched.metrics(),
            since: Instant::now(),
            watched,
            pages,
        };
        spawn("throng-admin".to_owned(), None, move || clerk.work(&orders))
    }
}

struct Clerk {
    desk: Arc<Desk>,
    watched: EngineHandle,
    /// The engine that the pages are connected to.
    pages: EngineHandle,
    /// What had been counted then.
    before: MetricsSnapshot,
    since: Instant,
}

impl Clerk {
    fn work(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_deadline(self.since + PERIOD) {
                Ok(Order::Find(find, answer)) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.find(find));
                }
                Ok(Order::Rooms(answer)) => drop(answer.send(self.rooms())),
                Err(RecvTimeoutError::Timeout) => self.take_sample(),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take_sample(&mut self) {
        let now = self.watched.metrics();
        let passed = self.since.elapsed();
        self.since += passed;
        let is_watched = self.pages.room_len(WATCHERS) > 0;
        let slow = is_watched.then(|| self.watched.slow_consumers(SLOW));
        // Shards that do not answer have told nothing; the numbers go on without.
        let slow = slow.and_then(Result::ok).unwrap_or_default();
        let report = Report::new(&self.watched, &self.before, &now, passed, slow);
        self.before = now;
        if is_watched {
            // A page that is behind needs the last one only.
            let told = self.pages.to(WATCHERS).key("report");
            match told.notify("report", &report) {
                Ok(publication) => drop(publication.publish()),
                Err(error) => tracing::error!(%error, "a report is no JSON"),
            }
        }
        self.desk.keep(report.sample);
    }

    fn find(&self, find: Find) -> Result<Vec<Row>, MembersError> {
        let watched = &self.watched;
        let found: Vec<ConnectionInfo> = match find {
            Find::After(after) => watched.connections_after(after, LISTED)?,
            Find::One(id) => watched.inspect(id)?.into_iter().collect(),
            Find::OfUser(user) => {
                let ids = watched.connections_of_user(&user)?.into_iter().take(LISTED);
                let found: Result<Vec<_>, _> = ids.map(|id| watched.inspect(id)).collect();
                found?.into_iter().flatten().collect()
            }
        };
        Ok(found.into_iter().map(Row::from).collect())
    }

    /// The largest rooms.
    fn rooms(&self) -> Vec<RoomRow> {
        let mut rooms = self.watched.rooms();
        rooms.sort_unstable_by(|a, b| b.members.cmp(&a.members).then(a.name.cmp(&b.name)));
        rooms.truncate(ROOMS);
        rooms.into_iter().map(RoomRow::from).collect()
    }
}
