//! The suite that every driver must pass: the promises of [`throng_transport::driver`], tried by
//! a service that trusts none of them.
//!
//! A driver is tested by describing how it is made and how a connected pair comes about
//! ([`Fixture`]) and by naming the groups of cases that apply to it:
//!
//! ```text
//! throng_tests::driver_suite!(MyFixture; streams, resets, listening, descriptors);
//! ```
//!
//! | group | asks for | what it adds |
//! |---|---|---|
//! | `streams` | [`Fixture`] | everything between two connected ends |
//! | `resets` | [`Far`]: [`Reset`] | connections that break rather than end |
//! | `urgency` | [`Far`]: [`Urge`] | data that the system treats out of order |
//! | `listening` | [`Listens`] | accepting |
//! | `descriptors` | [`Listens`], sockets that are descriptors of this process | running out of them |
//!
//! A driver over the system's sockets needs no fixture of its own: [`OverTcp`] and [`OverUnix`]
//! are fixtures for anything that implements [`Build`]; so is [`OverDuplex`], for a driver that serves
//! streams of tokio's. [`OverTls`] puts TLS above any fixture's driver.
//!
//! Most promises are checked not by a case but in every one: the service of the suite
//! ([`Record`]) fails at the callback that breaks the contract, and scribbles over whatever
//! it was lent. The far end is non-blocking and driven by the same thread between two waits, so
//! that a simulated network can run the suite in simulated time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a suite fails by panicking"
)]

pub mod accepting;
pub mod back_pressure;
pub mod builders;
pub mod closing;
pub mod detaching;
#[cfg(unix)]
mod duplex;
#[cfg(unix)]
pub mod exhaustion;
pub mod fairness;
pub mod names;
pub mod order;
mod pattern;
pub mod receiving;
mod record;
pub mod resets;
mod rig;
pub mod sending;
mod simulated;
mod suite;
mod system;
mod tls;
pub mod urgency;
pub mod waking;

use std::io::{self, Read, Write};
use std::time::Instant;

use throng_transport::{Driver, Listener, Socket};

#[cfg(unix)]
pub use duplex::{OverBuffered, OverDuplex};
pub use pattern::{Bytes, Random};
pub use record::{Connection, Record};
pub use rig::{PATIENCE, Rig, TICK};
pub use simulated::{Calm, Rough, SimEnd, Simulated, Weather};
#[cfg(unix)]
pub use system::OverUnix;
pub use system::{Build, OverTcp};
pub use tls::{OverTls, Pumping, TlsFar};

/// How much the system between the two ends of a pair may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// What the system gives by itself.
    Default,
    /// A few KiB per direction, so that a slow reader is soon felt.
    Small,
}

/// A driver under test and the network it lives in.
pub trait Fixture: Default {
    /// The driver.
    type Driver: Driver;
    /// The other end of a pair.
    type Far: Far;

    /// Bytes that come together or not at all, however little a wait delivers of them.
    const GRAIN: usize = 1;

    /// A driver whose waits deliver at most `receive_buffer` bytes per socket.
    fn driver(&mut self, receive_buffer: usize) -> Self::Driver;

    /// Two connected ends: one for the driver, one for the test.
    fn pair(&mut self, buffers: Buffers) -> (Socket, Self::Far);

    /// The time that the driver's timeouts are measured by.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// The end of a pair that the test holds: a pipe of bytes. Dropping it closes it.
///
/// Reading and writing never block: `WouldBlock` says that there is nothing (or no room) now.
pub trait Far: Read + Write {
    /// Ends this side of the stream; reading goes on.
    fn finish(&mut self);
}

/// A far end that can break the connection.
pub trait Reset: Far {
    /// Resets the connection, dropping what was not delivered.
    fn reset(self);
}

/// A far end that can send urgent data.
pub trait Urge: Far {
    /// Sends one byte as urgent. Whether it is part of the stream is up to the system.
    fn urge(&mut self, byte: u8);
}

/// A fixture whose driver accepts connections.
pub trait Listens: Fixture {
    /// Where a listener is reached.
    type Address;

    /// A new listener and its address.
    fn listener(&mut self) -> (Listener, Self::Address);

    /// A new listener made elsewhere and inherited, and its address.
    fn inherited(&mut self) -> (Listener, Self::Address);

    /// A new listener that somebody else holds, too, its address, and how they shut it
    /// down; they hold it as long as the test holds that.
    fn held_elsewhere(&mut self) -> (Listener, Self::Address, Box<dyn Fn()>);

    /// Connects without waiting to be accepted. Takes one descriptor where descriptors are real.
    ///
    /// # Errors
    /// When nobody listens there.
    fn connect(&mut self, address: &Self::Address) -> io::Result<Self::Far>;
}
