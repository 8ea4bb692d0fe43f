//! A simulated network: seeded, in memory, with a clock of its own.
//!
//! A [`Network`] holds connections, what is on its way between their ends, and the time. Servers are
//! [`SimDriver`]s, several of them in one network; clients hold [`SimFar`]s. Nothing here blocks,
//! starts a thread, or asks the system for anything. The time is what [`Network::step`] and
//! [`Network::advance`] make it, and within [`Driver::wait`](crate::Driver::wait) whatever the wait
//! waits for. Given the same seed and the same calls, everything happens as it did before, which
//! [`Network::digest`] can be compared by.
//!
//! What goes wrong is decided by [`Faults`], for each connection apart.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//! use throng_transport::sim::{Faults, Network};
//!
//! let network = Network::new(7, |_| Faults::calm());
//! let (near, mut far) = network.pair(None);
//! far.write_all(b"hello")?;
//! drop(near);
//! assert!(far.read(&mut [0; 8]).is_err(), "the end is still on its way");
//! while network.next_event().is_some() {
//!     network.step();
//! }
//! assert!(network.now() > Duration::ZERO);
//! assert_eq!(far.read(&mut [0; 8])?, 0);
//! # Ok::<(), std::io::Error>(())
//! ```

mod accepting;
mod driver;
mod far;
mod faults;
mod pipe;
mod state;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::listener::Listener;
use crate::socket::Socket;
use accepting::SimListener;
pub use driver::SimDriver;
pub use far::SimFar;
use far::SimSocket;
pub use faults::{CHANCES, Faults};
use state::State;

/// A network and its clock. Clones are the same network.
///
/// It may be sent to another thread, since sockets and listeners may; it is meant for one at a time.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

impl Network {
    /// A network whose connections each have the faults that `faults` makes of a number drawn for
    /// them: [`Faults::drawn`], for instance.
    pub fn new(seed: u64, faults: impl FnMut(u64) -> Faults + Send + 'static) -> Network {
        Network(Arc::new(Mutex::new(State::new(seed, Box::new(faults)))))
    }

    /// The time, from 0.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// When something happens next; `None` when nothing is on its way.
    pub fn next_event(&self) -> Option<Duration> {
        self.state().next_event()
    }

    /// Lets the next event happen, at its time. Does nothing when there is none.
    pub fn step(&self) {
        self.state().step();
    }

    /// Lets everything happen until `time`, and makes that the time. One that is past changes nothing.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        while state.next_event().is_some_and(|next| next <= time) {
            state.step();
        }
        state.now = state.now.max(time);
    }

    /// A driver that delivers up to `receive_buffer` bytes of a socket at once.
    pub fn driver(&self, receive_buffer: usize) -> SimDriver {
        SimDriver::new(self, receive_buffer)
    }

    /// A listener, for a [`SimDriver`] of this network. Several of one port share what comes.
    pub fn listen(&self, port: u16) -> Listener {
        let number = self.state().add_listener(port);
        Listener::foreign(SimListener::new(self, number))
    }

    /// Shuts down the listeners of a port from outside.
    pub fn shut_down(&self, port: u16) {
        self.state().shut_down(port);
    }

    /// Connects to whoever listens on the port, without waiting to be accepted.
    ///
    /// # Errors
    /// When nobody listens ([`io::ErrorKind::ConnectionRefused`]).
    pub fn connect(&self, port: u16) -> io::Result<SimFar> {
        let end = self.state().connect(port)?;
        Ok(SimFar::new(SimSocket::new(self, end)))
    }

    /// The two ends of a connection, with `faults` in place of those that were drawn for it.
    pub fn pair(&self, faults: Option<Faults>) -> (Socket, SimFar) {
        let near = self.state().pair(faults);
        let far = SimFar::new(SimSocket::new(self, near.peer()));
        (Socket::foreign(SimSocket::new(self, near)), far)
    }

    /// The [number](SimFar::number) of a connection at whose far end something happened: bytes, room,
    /// an end, a reset. Whoever takes it looks at all of these.
    pub fn next_far(&self) -> Option<usize> {
        let (end, _) = self.state().next_queued(state::FARS)?;
        Some(end.connection())
    }

    /// Connections whose accepting side has not released them, accepted or not.
    pub fn open_near_ends(&self) -> usize {
        self.state().open_near_ends()
    }

    /// Events that have happened.
    pub fn happened(&self) -> u64 {
        self.state().happened
    }

    /// A number that follows from all events and all bytes written: two runs that differ in any of them
    /// differ in this, but by a chance of one in 2⁶⁴.
    pub fn digest(&self) -> u64 {
        self.state().digest
    }

    /// Has the digest depend on something of the caller's, too.
    pub fn note(&self, what: u64) {
        self.state().note(what);
    }

    // Nothing panics between two statements that leave the state half-changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_same(&self, other: &Network) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Network")
            .field("now", &state.now)
            .field("happened", &state.happened)
            .finish_non_exhaustive()
    }
}
