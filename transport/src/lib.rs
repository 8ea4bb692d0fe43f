//! Byte streams on one thread per core, for a service that is told what arrived and hands over
//! what to send.
//!
//! This crate moves bytes and knows nothing of what they mean. [`driver`] holds the contract
//! between a [`Driver`] (who owns the sockets) and a [`Service`] (who owns the connections);
//! [`poll`] is the driver over readiness (epoll, kqueue, Windows), `uring` the one over completions
//! (io_uring, Linux), `tokio` (with the feature of that name) the one inside a tokio runtime, `tokio_uring`
//! (with its feature, Linux) the one inside a tokio-uring runtime; `sim`, behind a feature of its name as well, is a network in
//! memory. [`buffer`] holds the shared
//! buffers that are sent, [`memory`] tells how much all this takes, [`runtime`] has the threads that turn the
//! wheel.

mod acceptors;
pub mod buffer;
pub mod driver;
mod listener;
pub mod memory;
pub mod poll;
mod readiness;
pub mod runtime;
mod secured;
#[cfg(feature = "sim")]
pub mod sim;
mod socket;
mod table;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(all(unix, feature = "tokio"))]
pub mod tokio;
#[cfg(all(target_os = "linux", feature = "tokio-uring"))]
pub mod tokio_uring;
#[cfg(target_os = "linux")]
pub mod uring;

pub use buffer::{ChunkPool, SendQueue, Slice};
pub use driver::{Detached, Driver, Sent, Service, SocketKey};
pub use listener::{BindAddress, ListenOptions, Listener};
pub use runtime::{Next, Turn, Waker};
pub use secured::Secured;
pub use socket::{Peer, Socket, SocketOptions, StdStream};
