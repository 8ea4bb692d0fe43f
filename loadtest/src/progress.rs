//! How a run tells its caller where it is, and is told what to do.

use crate::clock;

/// What a run calls while it goes on, in the thread that runs it: what it does here delays
/// the load. `()` runs in silence.
pub trait Progress {
    /// Called about ten times a second.
    fn tick(&mut self, _now: &Snapshot) {}

    /// Called once, when all connections are open or have failed and none has sent a
    /// message: the moment to measure the server's memory.
    fn opened(&mut self, _now: &Snapshot) {}

    /// When to start the load, on the clock of [`now`](crate::now()). Asked again every few
    /// milliseconds while it is `None`; pings are answered meanwhile.
    fn start(&mut self) -> Option<u64> {
        Some(clock::now())
    }

    /// Called at the exact start of the measured window: the moment to read the server's
    /// CPU clock.
    fn window_started(&mut self) {}

    /// Called at the exact end of the measured window.
    fn window_ended(&mut self) {}

    /// Called once the last message is sent, with how many each sender of a broadcast has
    /// sent.
    fn sending_ended(&mut self, _sent: &[u64]) {}

    /// What each sender of a broadcast has sent, if the senders are in another process.
    /// Asked again every few milliseconds once the window has ended, until it is known.
    fn sent_elsewhere(&mut self) -> Option<Vec<u64>> {
        None
    }

    /// Whether to give up. Asked about ten times a second.
    fn cancelled(&mut self) -> bool {
        false
    }
}

impl Progress for () {}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// What it is doing.
    pub stage: Stage,
    /// Seconds since the stage began.
    pub seconds: f64,
    /// Connections open now.
    pub open: u32,
    /// Connections that failed to open or were dropped.
    pub failed: u32,
    /// Messages sent so far.
    pub sent: u64,
    /// Messages received so far.
    pub received: u64,
}

/// The stages of a run, in their order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Connections are being opened.
    Connecting,
    /// All are open; waiting for [`Progress::start`].
    Waiting,
    /// Load before the measured window.
    WarmUp,
    /// The measured window.
    Measuring,
    /// No more is sent; what is outstanding comes in.
    Draining,
    /// Closing handshakes.
    Closing,
}
