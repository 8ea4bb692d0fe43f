//! The service of the suite: records what it is told and panics when the contract is broken.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use throng_transport::{Peer, Secured, Service, Socket, SocketKey, Waker};

/// What is written over received bytes: they are the service's to change.
const SCRIBBLE: u8 = 0xEE;

/// What the service knows of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// All bytes delivered.
    pub received: Vec<u8>,
    /// Bytes delivered by the wait that is under way or was the last.
    pub in_this_wait: usize,
    /// The peer has ended its side.
    pub ended: bool,
    /// Why the connection was lost.
    pub failed: Option<io::Error>,
    /// Pending sends reported as done.
    pub sent: usize,
    /// A send is under way.
    pub pending: bool,
    /// The driver was asked not to deliver.
    pub paused: bool,
    /// The service gave the socket up.
    pub released: bool,
}

impl Connection {
    /// Whether the driver still holds the socket.
    pub fn is_open(&self) -> bool {
        !self.released && self.failed.is_none()
    }
}

/// A [`Service`] that fails at the callback which breaks a promise.
#[derive(Debug, Default)]
pub struct Record {
    /// Every connection that ever was, by its key.
    pub connections: HashMap<SocketKey, Connection>,
    /// Connections accepted and not taken yet, in order.
    pub accepted: Vec<(Socket, Peer)>,
    /// What accepting failed with.
    pub accept_failed: Vec<io::Error>,
    /// Connections whose peers were told of, in order.
    pub secured: Vec<(SocketKey, Secured)>,
    /// Calls of `woken`.
    pub woken: u64,
    /// Calls of `begin`: waits that returned.
    pub waits: u64,
    /// What other threads count up before they wake the driver.
    pub mailbox: Arc<AtomicU64>,
    /// What the mailbox held at the last call of `woken`.
    pub mail_seen: u64,
    /// Used by the next call of `woken`, after it has looked at the mailbox.
    pub wake_when_woken: Option<Waker>,
    woken_in_wait: bool,
    in_wait: bool,
    receive_buffer: usize,
    now: Duration,
}

impl Record {
    /// A record for a driver with such a receive buffer.
    pub fn new(receive_buffer: usize) -> Record {
        Record {
            receive_buffer,
            ..Record::default()
        }
    }

    /// Prepares for the callbacks of one wait.
    pub fn before_wait(&mut self) {
        self.woken_in_wait = false;
        self.in_wait = false;
        for connection in self.connections.values_mut() {
            connection.in_this_wait = 0;
        }
    }

    /// Expects a driver whose time is another.
    pub fn forget_time(&mut self) {
        self.now = Duration::ZERO;
    }

    /// Checks that the wait has begun with the time.
    pub fn after_wait(&self) {
        assert!(self.in_wait, "a wait ended without telling the time");
    }

    /// Whether sends of open connections are under way.
    pub fn any_pending(&self) -> bool {
        let mut connections = self.connections.values();
        connections.any(|connection| connection.pending && connection.is_open())
    }

    fn open(&mut self, key: SocketKey, callback: &str) -> &mut Connection {
        assert!(self.in_wait, "{callback} came before begin");
        let connection = self.connections.get_mut(&key);
        let connection = connection.unwrap_or_else(|| panic!("{callback} of unknown {key:?}"));
        assert!(
            connection.is_open(),
            "{callback} of {key:?}, which names no open socket: {:?}",
            connection.failed
        );
        connection
    }
}

impl Service for Record {
    fn begin(&mut self, now: Duration) {
        assert!(!self.in_wait, "begin twice in one wait");
        assert!(now >= self.now, "time ran backwards");
        self.in_wait = true;
        self.now = now;
        self.waits += 1;
    }

    fn accepted(&mut self, socket: Socket, peer: Peer) {
        assert!(self.in_wait, "accepted came before begin");
        self.accepted.push((socket, peer));
    }

    fn accept_failed(&mut self, error: &io::Error) {
        let copy = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        };
        self.accept_failed.push(copy);
    }

    fn received(&mut self, key: SocketKey, bytes: &mut [u8]) {
        let most = self.receive_buffer;
        let connection = self.open(key, "received");
        assert!(!bytes.is_empty(), "received nothing");
        assert!(!connection.paused, "{key:?} is paused and was given bytes");
        assert!(!connection.ended, "{key:?} was given bytes after its end");
        connection.in_this_wait += bytes.len();
        assert!(
            connection.in_this_wait <= most,
            "{key:?} was given {} bytes in one wait, the buffer holds {most}",
            connection.in_this_wait
        );
        connection.received.extend_from_slice(bytes);
        bytes.fill(SCRIBBLE);
    }

    fn ended(&mut self, key: SocketKey) {
        let connection = self.open(key, "ended");
        assert!(!connection.ended, "{key:?} ended twice");
        connection.ended = true;
    }

    fn stalled(&mut self, key: SocketKey, unsent: usize) {
        let connection = self.open(key, "stalled");
        assert!(!connection.pending, "{key:?} is pending and stalled");
        assert!(unsent > 0, "{key:?} stalled over nothing");
        connection.pending = true;
    }

    fn sent(&mut self, key: SocketKey) {
        let connection = self.open(key, "sent");
        assert!(connection.pending, "{key:?} sent what was not pending");
        connection.pending = false;
        connection.sent += 1;
    }

    fn failed(&mut self, key: SocketKey, error: io::Error) {
        let connection = self.open(key, "failed");
        connection.failed = Some(error);
        connection.pending = false;
    }

    fn secured(&mut self, key: SocketKey, secured: Secured) {
        assert!(self.in_wait, "secured came before begin");
        let twice = self.secured.iter().any(|(before, _)| *before == key);
        assert!(!twice, "{key:?} was secured twice");
        let connection = self.connections.get(&key);
        let is_first = connection.is_none_or(|connection| connection.received.is_empty());
        assert!(is_first, "{key:?} was given bytes before it was secured");
        self.secured.push((key, secured));
    }

    fn woken(&mut self) {
        assert!(self.in_wait, "woken came before begin");
        assert!(!self.woken_in_wait, "woken twice in one wait");
        self.woken_in_wait = true;
        self.woken += 1;
        self.mail_seen = self.mailbox.load(Ordering::Relaxed);
        if let Some(waker) = self.wake_when_woken.take() {
            waker.wake();
        }
    }
}
