//! A driver, the service that watches it, and the test between them.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use throng_transport::{Detached, Driver, SendQueue, Sent, Slice, Socket, SocketKey};

use super::{Buffers, Bytes, Connection, Far, Fixture, Record};

/// How long anything may take before the suite gives it up: for a machine under heavy load.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long one wait of a loop parks at most.
pub const TICK: Duration = Duration::from_millis(2);
/// The receive buffer of a rig that was not asked for another: small and odd, so that streams
/// are cut often and never at round numbers.
const RECEIVE_BUFFER: usize = 4099;
/// Waits within which something that should not happen would have.
const QUIET_WAITS: usize = 25;

/// A driver whose calls are noted, so that [`Record`] knows what to expect.
pub struct Rig<F: Fixture> {
    /// Where pairs come from.
    pub fixture: F,
    /// The driver, for calls that the record must not know of.
    pub driver: F::Driver,
    /// What the driver has told.
    pub record: Record,
    /// Bytes of the receive buffer.
    pub receive_buffer: usize,
    next_slot: u32,
}

impl<F: Fixture> Default for Rig<F> {
    fn default() -> Self {
        Rig::new()
    }
}

impl<F: Fixture> Rig<F> {
    /// A rig without connections.
    pub fn new() -> Rig<F> {
        Rig::with_receive_buffer(RECEIVE_BUFFER)
    }

    /// A rig whose driver has such a receive buffer.
    pub fn with_receive_buffer(receive_buffer: usize) -> Rig<F> {
        let mut fixture = F::default();
        Rig {
            driver: fixture.driver(receive_buffer),
            fixture,
            record: Record::new(receive_buffer),
            receive_buffer,
            next_slot: 0,
        }
    }

    /// Puts another driver in the place of this one.
    pub fn replace_driver(&mut self) -> F::Driver {
        self.record.forget_time();
        let fresh = self.fixture.driver(self.receive_buffer);
        std::mem::replace(&mut self.driver, fresh)
    }

    /// Opens a connection in a slot of its own.
    pub fn open(&mut self) -> (SocketKey, F::Far) {
        self.open_with(Buffers::Default)
    }

    /// Opens a connection in a slot of its own.
    pub fn open_with(&mut self, buffers: Buffers) -> (SocketKey, F::Far) {
        let key = self.fresh_key();
        (key, self.open_as(key, buffers))
    }

    /// Opens a connection under `key`.
    pub fn open_as(&mut self, key: SocketKey, buffers: Buffers) -> F::Far {
        let (socket, far) = self.fixture.pair(buffers);
        self.adopt(key, socket);
        far
    }

    /// The first key of a slot never used.
    pub fn fresh_key(&mut self) -> SocketKey {
        let slot = self.next_slot;
        self.next_slot += 1;
        SocketKey {
            slot,
            generation: 1,
        }
    }

    /// Gives a socket to the driver.
    pub fn adopt(&mut self, key: SocketKey, socket: Socket) {
        let before = self.record.connections.insert(key, Connection::default());
        assert!(before.is_none(), "{key:?} was used before");
        self.driver.adopt(key, socket).expect("adopt");
    }

    /// What is known of a connection.
    pub fn connection(&self, key: SocketKey) -> &Connection {
        &self.record.connections[&key]
    }

    fn connection_mut(&mut self, key: SocketKey) -> &mut Connection {
        self.record.connections.get_mut(&key).expect("a key in use")
    }

    /// Sends a queue on an open connection.
    pub fn send_queue(&mut self, key: SocketKey, mut queue: SendQueue) -> Sent {
        assert!(!self.connection(key).pending, "the test sends twice");
        let sent = self.driver.send(key, &mut queue);
        assert!(queue.is_empty(), "a send leaves its queue empty");
        assert_eq!(queue.bytes(), 0, "a send leaves its queue empty");
        self.connection_mut(key).pending = sent == Sent::Pending;
        sent
    }

    /// Sends a copy of the bytes, as one slice.
    pub fn send(&mut self, key: SocketKey, bytes: &[u8]) -> Sent {
        self.send_queue(key, queue_of(bytes))
    }

    /// Pauses delivery.
    pub fn pause(&mut self, key: SocketKey) {
        self.driver.pause(key);
        self.connection_mut(key).paused = true;
    }

    /// Resumes delivery.
    pub fn resume(&mut self, key: SocketKey) {
        self.driver.resume(key);
        self.connection_mut(key).paused = false;
    }

    /// Closes a connection: no callback may name it from now on.
    pub fn close(&mut self, key: SocketKey) {
        self.driver.close(key);
        self.connection_mut(key).released = true;
    }

    /// Aborts a connection: no callback may name it from now on.
    pub fn abort(&mut self, key: SocketKey) {
        self.driver.abort(key);
        self.connection_mut(key).released = true;
    }

    /// Takes a socket back, if the driver gives it.
    pub fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        let detached = self.driver.detach(key)?;
        self.connection_mut(key).released = true;
        Some(detached)
    }

    /// One wait.
    pub fn wait(&mut self, timeout: Duration) {
        self.record.before_wait();
        let waited = self.driver.wait(Some(timeout), &mut self.record);
        waited.expect("the driver became unusable");
        self.record.after_wait();
    }

    /// One wait; returns how long it parked, by the driver's time.
    pub fn park(&mut self, timeout: Duration) -> Duration {
        let begun = self.fixture.now();
        self.wait(timeout);
        self.fixture.now() - begun
    }

    /// Waits until something is so.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            self.wait(TICK);
        }
    }

    /// Waits a little for what should not come: the record panics if it does.
    pub fn quiet(&mut self) {
        for _ in 0..QUIET_WAITS {
            self.wait(TICK);
        }
    }

    /// Waits until a connection has been given `count` bytes in all.
    pub fn until_received(&mut self, key: SocketKey, count: usize) {
        self.until("bytes from the far end", |rig| {
            rig.connection(key).received.len() >= count
        });
    }

    /// Writes all of `bytes` at the far end, waiting while there is no room.
    pub fn far_writes(&mut self, far: &mut F::Far, bytes: &[u8]) {
        let mut written = 0;
        self.until("room at the far end", |_| {
            written += write_some(far, &bytes[written..]);
            written == bytes.len()
        });
    }

    /// Reads exactly `count` bytes at the far end.
    pub fn far_reads(&mut self, far: &mut F::Far, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut read = 0;
        self.until("bytes at the far end", |_| {
            let (more, end) = read_some(far, &mut bytes[read..]);
            read += more;
            assert!(
                end.is_none() || read == count,
                "the far end met its end early: {end:?}"
            );
            read == count
        });
        bytes
    }

    /// Reads what comes at the far end until there is no more, and how it ended.
    pub fn far_reads_to_end(&mut self, far: &mut F::Far) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let mut ended = None;
        let mut part = vec![0; 64 * 1024];
        self.until("the end at the far end", |_| {
            let (count, end) = read_some(far, &mut part);
            bytes.extend_from_slice(&part[..count]);
            ended = end;
            ended.is_some()
        });
        (bytes, ended.expect("the loop above waits for it"))
    }

    /// Exchanges a few bytes in both directions: the connection is alive and undisturbed.
    pub fn assert_alive(&mut self, key: SocketKey, far: &mut F::Far, seed: u64) {
        let before = self.connection(key).received.len();
        let question = Bytes::of(seed, 64);
        self.far_writes(far, &question);
        self.until_received(key, before + question.len());
        let received = &self.connection(key).received[before..];
        Bytes::assert_same(received, &question, "the question");
        let answer = Bytes::of(seed + 1, 64);
        let _ = self.send(key, &answer);
        let read = self.far_reads(far, answer.len());
        Bytes::assert_same(&read, &answer, "the answer");
        self.until("the answer is sent", |rig| !rig.connection(key).pending);
    }

    /// Sends a queue that the system cannot take at once, until the send is pending.
    pub fn send_more_than_fits(&mut self, key: SocketKey, queue: SendQueue) {
        let sent = self.send_queue(key, queue);
        if sent == Sent::Done {
            self.until("the send stalls", |rig| rig.connection(key).pending);
        }
    }

    /// Sends until the system takes no more and a send is pending. All bytes handed over, of
    /// which `done` are with the system.
    pub fn send_until_pending(&mut self, key: SocketKey, seed: u64, part: usize) -> Stuck {
        let mut stuck = Stuck::default();
        loop {
            let bytes = Bytes::of(seed + stuck.bytes.len() as u64, part);
            stuck.bytes.extend_from_slice(&bytes);
            match self.send(key, &bytes) {
                Sent::Pending => {
                    stuck.done = stuck.bytes.len() - self.driver.unsent(key);
                    return stuck;
                }
                Sent::Done => {}
            }
            assert!(
                stuck.bytes.len() < 256 << 20,
                "the system takes without limit"
            );
        }
    }
}

/// What was sent to a peer that does not read.
#[derive(Debug, Default)]
pub struct Stuck {
    /// All bytes, in order.
    pub bytes: Vec<u8>,
    /// How many of them the system had taken.
    pub done: usize,
}

/// A queue of one slice, a copy of the bytes.
pub(super) fn queue_of(bytes: &[u8]) -> SendQueue {
    let mut queue = SendQueue::new();
    queue.push(Slice::with_len(bytes.len(), |out| {
        out.copy_from_slice(bytes);
    }));
    queue
}

/// How a stream stopped at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The driver's side has ended.
    Ended,
    /// The connection was reset.
    Reset,
}

/// Writes what there is room for.
pub(super) fn write_some(far: &mut impl Far, bytes: &[u8]) -> usize {
    match far.write(bytes) {
        Ok(count) => count,
        Err(error) if is_passing(&error) => 0,
        Err(error) => panic!("the far end could not write: {error}"),
    }
}

/// Reads what there is, and whether the stream stopped.
pub(super) fn read_some(far: &mut impl Far, bytes: &mut [u8]) -> (usize, Option<End>) {
    match far.read(bytes) {
        Ok(0) if !bytes.is_empty() => (0, Some(End::Ended)),
        Ok(count) => (count, None),
        Err(error) if is_passing(&error) => (0, None),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (0, Some(End::Reset)),
        Err(error) => panic!("the far end could not read: {error}"),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
