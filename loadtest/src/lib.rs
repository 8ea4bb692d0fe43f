//! A load-test client for any WebSocket server.
mod broadcast;
mod check;
mod clock;
mod connection;
mod echo;
mod error;
mod frames;
mod handshake;
mod job;
mod latency;
mod opening;
mod payload;
mod progress;
mod report;
mod run;
mod traffic;
mod turns;
mod usage;

pub use clock::now;
pub use error::Error;
pub use job::{CONNECTIONS_PER_SOURCE, Job, MAX_SIZE, MAX_STREAMS, Pace, Scenario, Target};
pub use latency::Latency;
pub use progress::{Progress, Snapshot, Stage};
pub use report::{Client, Connections, Faults, Messages, Offence, Report, Server};
pub use run::run;
pub use usage::{ProcessCpu, ProcessMemory};
