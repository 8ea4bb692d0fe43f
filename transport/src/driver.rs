//! The contract between a driver and its service.
//!
//! A **driver** owns sockets and moves their bytes; a **service** owns what the bytes mean. Both
//! live on one thread. The contract is shaped by completion: the service is handed bytes that
//! have arrived and hands over buffers to be sent. It never learns whether a socket is "ready",
//! so a driver may be built on readiness, on completions, on another runtime or on a simulation.
//!
//! # The turn
//!
//! [`Driver::wait`] parks until something happened, then calls the service: first
//! [`Service::begin`] with the time, then the other callbacks in any order. The service has no
//! access to the driver meanwhile, so nothing is sent from within a callback; it acts on the
//! driver after `wait` has returned. [`runtime::run`](crate::runtime::run) is that loop.
//!
//! # What every driver promises
//!
//! 1. **Names.** The service names each socket by a [`SocketKey`] of its own choosing; no two
//!    open sockets of a driver share a slot. Calls with a key that names no open socket do
//!    nothing, and no callback carries such a key.
//! 2. **Order.** Bytes of a socket are delivered in order, each once, until the end of the
//!    stream ([`Service::ended`]) or a failure ([`Service::failed`]), each of which is
//!    reported at most once and after all bytes before it. After `failed` the socket is
//!    released; after `ended` it can still send and must be released by the service. While a
//!    socket is paused, an end may be reported, and a failure is at once: what was not delivered
//!    is then lost.
//! 3. **Receiving.** Delivered bytes are the service's to change in place and are valid only
//!    during the callback. A socket without undelivered bytes costs the driver no buffer.
//! 4. **Sending.** One send per socket may be under way. [`Sent::Pending`] says that the driver took
//!    over what the operating system had no room for and will call [`Service::sent`] (or `failed`)
//!    exactly once; [`Sent::Done`] that another send may follow at once: the bytes are with the
//!    system, or will be before the driver parks. Should the system then not take all of them, the
//!    following `wait` says so ([`Service::stalled`]): from then on that send is pending. No buffer
//!    is reused before its send is done, whatever becomes of the socket.
//! 5. **Back-pressure.** A paused socket delivers no bytes from the following `wait` on. What the
//!    peer sends stays in the operating system, but for a bounded amount that a driver may hold; a
//!    pending send waits for the peer.
//! 6. **Fairness.** One `wait` delivers at most one receive buffer full per socket, at most
//!    [`RECEIVED_PER_WAIT`] bytes and one buffer in all, and accepts a bounded number of
//!    connections. What is left over is delivered by the following ones without a new event being
//!    needed, first to those who have waited longest.
//! 7. **Wake-ups** are never lost: after [`Waker::wake`](crate::Waker::wake) returned,
//!    a `wait` that is under way or follows calls [`Service::woken`]. They coalesce.
//! 8. **Closing.** [`Driver::close`] releases the socket and lets the operating system deliver
//!    what it was given; [`Driver::abort`] drops that and resets the connection;
//!    [`Driver::finish`] sends what is pending, then ends our side only. Bytes that the peer sends
//!    after a `close` may make its system drop what it has not read: who wants the last words to
//!    arrive finishes, receives until `ended`, and closes then.
//! 9. **Accepting** survives a lack of descriptors, or whatever else keeps it from succeeding: it
//!    backs off without spinning, open sockets are served meanwhile, and the service is told
//!    ([`Service::accept_failed`]). A listener that was shut down by somebody else who holds it
//!    is reported once and let go of.

use std::io;
use std::time::Duration;

use crate::buffer::SendQueue;
use crate::listener::Listener;
use crate::runtime::Waker;
use crate::secured::Secured;
use crate::socket::{Peer, Socket};

/// Bytes after which a wait delivers no more: enough to make good use of a turn, little enough that
/// what a turn touches stays in the processor's cache and that everyone is answered soon.
pub const RECEIVED_PER_WAIT: usize = 256 * 1024;
/// Sockets that a wait delivers from, of those that the system tells of at once. What a turn touches
/// in the kernel for as many still fits in a core's cache when the turn writes to them: at 10,000
/// connections this costs a tenth less than four times as many.
pub const EVENTS_PER_WAIT: usize = 256;
/// Connections that a wait accepts from one listener: setting one up takes longer than a message does,
/// and others are not to wait for many.
pub const ACCEPTS_PER_WAIT: usize = 64;

/// Generations of keys are below this: drivers pass keys through the system as numbers of 64 bits and
/// need some for themselves.
pub const GENERATIONS: u32 = 1 << 31;

/// The service's name for a socket: a slot of the service's table and that slot's generation.
///
/// Slots should be small numbers: drivers keep a table indexed by them. Generations are below
/// [`GENERATIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// Index in the service's table of connections.
    pub slot: u32,
    /// Differs for each connection that the slot has held.
    pub generation: u32,
}

/// What became of the buffers given to [`Driver::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// Another send may follow at once: nothing is known to keep the operating system from taking
    /// all bytes.
    Done,
    /// The driver keeps the rest; [`Service::sent`] or [`Service::failed`] will follow.
    Pending,
}

/// A socket that a driver has given away.
#[derive(Debug)]
pub struct Detached {
    /// The socket.
    pub socket: Socket,
    /// What was received and not delivered; more of the stream may follow on the socket.
    pub undelivered: Vec<u8>,
}

/// Moves bytes between sockets and a [`Service`]. The [module](self) states the promises.
pub trait Driver {
    /// Begins to accept connections from `listener`.
    ///
    /// # Errors
    /// What the operating system said when the listener could not be watched, and
    /// [`io::ErrorKind::Unsupported`] for a [foreign](Listener::foreign) one that this driver does
    /// not know.
    fn listen(&mut self, listener: Listener) -> io::Result<()>;

    /// Closes every listener. Connections in their backlogs are refused by the system.
    fn stop_listening(&mut self);

    /// Takes over a connected socket under `key`, reading from it at once.
    ///
    /// # Errors
    /// What the operating system said when the socket could not be watched, and
    /// [`io::ErrorKind::InvalidInput`] for a key whose slot is taken or whose generation is out of
    /// bounds, and [`io::ErrorKind::Unsupported`] for a [foreign](Socket::foreign) socket of a kind
    /// that this driver does not know. The socket is closed.
    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()>;

    /// Begins to secure a socket that was adopted [in clear](Socket::in_clear); `received` is what has been
    /// delivered of it and was not the service's. Drivers that secure nothing refuse.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] from such a driver, [`io::ErrorKind::InvalidInput`] where it is secured
    /// already, and what kept the layer from beginning. The socket is as it was.
    fn secure(&mut self, key: SocketKey, received: Vec<u8>) -> io::Result<()> {
        let _ = (key, received);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives the socket away, with neither a pending send nor undelivered bytes lost: what was not
    /// delivered comes along, or is still in the operating system. `None` when `key` is stale or a
    /// send is pending.
    fn detach(&mut self, key: SocketKey) -> Option<Detached>;

    /// Parks for at most `timeout` (forever when `None`), then reports what happened.
    ///
    /// # Errors
    /// Only what makes the driver itself unusable; failures of sockets are reported to the
    /// service.
    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()>;

    /// Sends what `queue` holds, in order, as one gathered write where possible.
    ///
    /// `queue` is empty afterwards. Must not be called while a send of this socket is pending.
    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent;

    /// Bytes of the pending send that the operating system has not taken; 0 when none is pending.
    /// A send that was said to be done counts once the driver knows that it stalls, and being asked it
    /// finds out if it can.
    /// It falls as the peer takes what was sent, which tells a slow peer from one that is gone.
    ///
    /// A driver that hears of room only once there is plenty offers the system the rest again
    /// before it answers, at most once per wait. When that completes the send, or finds it
    /// failed, the answer is 0, and the following `wait` tells.
    fn unsent(&mut self, key: SocketKey) -> usize;

    /// Whether nothing can be said to the peer yet, as long as a layer of the driver (TLS) comes to terms
    /// with it. What is sent waits for that.
    fn is_mute(&mut self, key: SocketKey) -> bool {
        let _ = key;
        false
    }

    /// Stops delivering received bytes.
    fn pause(&mut self, key: SocketKey);

    /// Delivers received bytes again.
    fn resume(&mut self, key: SocketKey);

    /// Ends our side of the stream once a pending send is done; receiving goes on. Once is enough, and
    /// more do nothing.
    fn finish(&mut self, key: SocketKey);

    /// Releases the socket; what the operating system was given is still delivered.
    fn close(&mut self, key: SocketKey);

    /// Releases the socket and resets the connection.
    fn abort(&mut self, key: SocketKey);

    /// A handle with which any thread ends this driver's parking.
    fn waker(&self) -> Waker;
}

/// Is told by a [`Driver`] what happened. See the [module](self) for what may be relied on.
pub trait Service {
    /// A `wait` has woken up at `now`, measured from the epoch the driver was given.
    fn begin(&mut self, now: Duration);

    /// A connection was accepted. It is the service's to adopt, hand on or drop.
    fn accepted(&mut self, socket: Socket, peer: Peer);

    /// Connections could not be accepted; the driver tries again by itself, unless the listener is
    /// one no more.
    fn accept_failed(&mut self, error: &io::Error);

    /// Bytes have arrived. Never empty; the service may change them in place.
    fn received(&mut self, key: SocketKey, bytes: &mut [u8]);

    /// The peer has ended its side of the stream.
    fn ended(&mut self, key: SocketKey);

    /// The operating system did not take all bytes of a send that was said to be done: it is
    /// pending. [`Service::sent`] or [`Service::failed`] will follow, in a later wait.
    fn stalled(&mut self, key: SocketKey, unsent: usize);

    /// A pending send is done.
    fn sent(&mut self, key: SocketKey);

    /// The connection is lost; the driver has released the socket.
    fn failed(&mut self, key: SocketKey, error: io::Error);

    /// The waker was used since the last call.
    fn woken(&mut self);

    /// The peer has proved what `secured` says, and nobody else hears what is said from now on. Comes
    /// before the first bytes, from drivers with such a layer (TLS) only.
    fn secured(&mut self, key: SocketKey, secured: Secured) {
        let _ = (key, secured);
    }
}
