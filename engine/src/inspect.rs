//! What is known of open connections, for who looks after a service.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use throng_transport::Peer;

use crate::error::MembersError;
use crate::event::Counts;
use crate::handle::EngineHandle;
use crate::id::ConnectionId;
use crate::limits::MAX_INSPECTED;
use crate::shard::{Mail, PostError};

/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// An open connection, as it was when its shard was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name.
    pub id: ConnectionId,
    /// Who is at the other end of the socket.
    pub peer: Peer,
    /// The client's address ([`Conn::client_addr`](crate::Conn::client_addr)).
    pub client: Option<IpAddr>,
    /// Whose it is ([`Conn::user_id`](crate::Conn::user_id)).
    pub user_id: Option<String>,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<String>,
    /// How long it has been open, to within 10 ms.
    pub open_for: Duration,
    /// How long ago its last message arrived, to within 10 ms.
    pub idle_for: Duration,
    /// How many rooms it is in.
    pub rooms: usize,
    /// What went over it so far.
    pub counts: Counts,
    /// What waits to be sent to it.
    pub waiting: Waiting,
    /// Whether it does not take what it is sent at once.
    pub is_behind: bool,
}

/// What waits to be sent to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Waiting {
    /// Bytes, frame headers included.
    pub bytes: usize,
    /// Messages.
    pub messages: usize,
}

/// Which connections a shard is asked about.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Those in this slot and the ones behind it.
    From(u32),
    /// Those that are behind, most waiting first.
    Behind,
    /// The one of that id.
    One(ConnectionId),
}

/// What a shard is asked about its connections.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) wanted: Wanted,
    pub(crate) limit: usize,
    pub(crate) answer: Sender<Vec<ConnectionInfo>>,
}

/// Looking at connections. These wait for shards to answer, a turn each, and a shard that is asked looks at what it has:
/// they are for people who look, not for every message. None of them may be asked where [`EngineHandle::members`] may not,
/// and all are refused ([`MembersError::Busy`]) where a shard does not answer within 2 s, or has a full mailbox. Shards
/// that a drain has emptied have no connections.
impl EngineHandle {
    /// A connection, if it is open.
    ///
    /// # Errors
    /// On a shard's own thread, where a shard is too busy, and when the engine has stopped.
    pub fn inspect(&self, id: ConnectionId) -> Result<Option<ConnectionInfo>, MembersError> {
        let mut found = self.ask(|| self.ask_shard(id.shard(), Wanted::One(id), 1))?;
        Ok(found.pop())
    }

    /// At most `limit` connections, 1,000 at the most, in an order that stays; the next ones are those `after` the last
    /// of these. One that opens meanwhile may be missed.
    ///
    /// ```no_run
    /// # fn example(engine: &throng::EngineHandle) -> Result<(), throng::MembersError> {
    /// let mut after = None;
    /// loop {
    ///     let page = engine.connections_after(after, 100)?;
    ///     let Some(last) = page.last() else {
    ///         break;
    ///     };
    ///     after = Some(last.id);
    ///     for connection in page {
    ///         println!("{} {:?}", connection.id, connection.user_id);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// On a shard's own thread, where a shard is too busy, and when the engine has stopped.
    pub fn connections_after(
        &self,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Vec<ConnectionInfo>, MembersError> {
        let limit = limit.min(MAX_INSPECTED);
        let (first, mut slot) = match after {
            Some(id) => (id.shard(), id.key().slot + 1),
            None => (0, 0),
        };
        self.ask(|| {
            let (mut found, mut answers) = (Vec::new(), Answers::default());
            for shard in self.shards_from(first) {
                let room = limit - found.len();
                if room == 0 {
                    break;
                }
                let wanted = Wanted::From(slot);
                found.extend(answers.take(self.ask_shard(shard, wanted, room))?);
                slot = 0;
            }
            answers.check()?;
            Ok(found)
        })
    }

    /// The connections that do not take what they are sent at once, those with the most bytes waiting first; at most
    /// `limit`, and 1,000.
    ///
    /// # Errors
    /// On a shard's own thread, where a shard is too busy, and when the engine has stopped.
    pub fn slow_consumers(&self, limit: usize) -> Result<Vec<ConnectionInfo>, MembersError> {
        let limit = limit.min(MAX_INSPECTED);
        self.ask(|| {
            let (mut found, mut answers) = (Vec::new(), Answers::default());
            for shard in self.shards_from(0) {
                found.extend(answers.take(self.ask_shard(shard, Wanted::Behind, limit))?);
            }
            answers.check()?;
            found.sort_unstable_by_key(|it| Reverse(it.waiting));
            found.truncate(limit);
            Ok(found)
        })
    }

    /// That shard, if there is one, and those behind it.
    fn shards_from(&self, first: u8) -> impl Iterator<Item = u8> {
        let count = self.shared().mail.len();
        (first..=u8::MAX).take_while(move |shard| usize::from(*shard) < count)
    }

    fn ask_shard(
        &self,
        shard: u8,
        wanted: Wanted,
        limit: usize,
    ) -> Result<Vec<ConnectionInfo>, MembersError> {
        let Some(mailbox) = self.shared().mail.get(usize::from(shard)) else {
            return Ok(Vec::new());
        };
        let (answer, answers) = bounded(1);
        let inspection = Inspection {
            wanted,
            limit,
            answer,
        };
        match mailbox.try_post(Mail::Inspect(Box::new(inspection))) {
            Ok(()) => {}
            Err(PostError::Full(_)) => return Err(MembersError::Busy),
            Err(PostError::Stopped) => return Err(MembersError::Stopped),
        }
        answers.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => MembersError::Busy,
            RecvTimeoutError::Disconnected => MembersError::Stopped,
        })
    }
}

/// Which of the shards that were asked have answered.
#[derive(Debug, Default)]
struct Answers {
    some: bool,
    stopped: bool,
}

impl Answers {
    /// What one has found; one that has stopped has no connections.
    fn take(
        &mut self,
        answer: Result<Vec<ConnectionInfo>, MembersError>,
    ) -> Result<Vec<ConnectionInfo>, MembersError> {
        match answer {
            Ok(found) => {
                self.some = true;
                Ok(found)
            }
            Err(MembersError::Stopped) => {
                self.stopped = true;
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The engine has stopped where all of them have.
    fn check(&self) -> Result<(), MembersError> {
        if self.stopped && !self.some {
            return Err(MembersError::Stopped);
        }
        Ok(())
    }
}
