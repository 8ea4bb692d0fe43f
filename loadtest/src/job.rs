//! What a run is to do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Handshakes in flight, unless a job says otherwise: as many as the backlog of a listener
/// usually holds at least. A server whose backlog overflows makes clients wait for a second.
pub const HANDSHAKES: u32 = 128;

/// What the connections do once they are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Nothing: they stay open and answer pings.
    Idle,
    /// Each sends messages and expects each of them back.
    Echo,
    /// Some send messages, and each message is expected at every connection, the sender's
    /// own included.
    Broadcast,
}

/// When messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Closed loop with so many messages in flight. Batches stay intact: the whole batch is
    /// sent at once, and the next one when all of it has been answered. In echo the batch
    /// is a connection's own. In broadcast there is one batch for the whole run, dealt out
    /// to the senders in turn, and it has been answered when every connection of the
    /// process has received all of it.
    Depth(u32),
    /// Open loop: so many messages per second in total, evenly spaced and dealt out to the
    /// sending connections in turn, whatever the server does. Latency counts from the
    /// moment a message should have been sent.
    Rate(f64),
}

/// A load for one process to put on a server, see [`run`](crate::run()).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The server.
    pub addr: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// The path and query to ask for, beginning with `/`.
    pub path: String,
    /// What the connections do.
    pub scenario: Scenario,
    /// Connections of this process.
    pub connections: u32,
    /// Number of the first of them in the whole run, other processes included.
    pub first_connection: u32,
    /// Payload bytes of a message: 0 to [`MAX_SIZE`](crate::MAX_SIZE); broadcast needs 20, as text 28.
    pub size: usize,
    /// Sends text messages rather than binary ones.
    pub text: bool,
    /// Whether the contents of messages are checked, or only their number, lengths and
    /// opcodes: for a server that answers with something else of the same size. A broadcast
    /// can then have one sender only, as nothing tells senders apart.
    pub contents: bool,
    /// When messages are sent.
    pub pace: Pace,
    /// Sending connections of a broadcast in the whole run. The first ones send.
    pub senders: u32,
    /// Whether the senders of a broadcast are in this process. If not, what they sent is
    /// told by [`Progress::sent_elsewhere`](crate::Progress::sent_elsewhere).
    pub sends: bool,
    /// Load before the measured window.
    pub warmup: Duration,
    /// Length of the measured window.
    pub duration: Duration,
    /// Longest time for a handshake and for closing, and longest wait without progress for
    /// what is still outstanding when sending has ended.
    pub patience: Duration,
    /// Connections started per second; without, as fast as the bound on handshakes in
    /// flight allows.
    pub ramp: Option<f64>,
    /// Handshakes in flight at once, at most.
    pub handshakes: u32,
    /// Local addresses to connect from, in turn; empty leaves it to the system.
    pub sources: Vec<IpAddr>,
    /// Determines masking keys and the filler of payloads; the same in all processes of a
    /// run.
    pub seed: u64,
}

impl Job {
    /// A job of 1,000 connections with the scenario's usual size, one message in flight
    /// (per connection in echo), 1 s of warm-up and a window of 10 s.
    pub fn new(addr: SocketAddr, path: impl Into<String>, scenario: Scenario) -> Self {
        Self {
            addr,
            host: addr.to_string(),
            path: path.into(),
            scenario,
            connections: 1000,
            first_connection: 0,
            size: if scenario == Scenario::Broadcast {
                64
            } else {
                20
            },
            text: false,
            contents: true,
            pace: Pace::Depth(1),
            senders: 1,
            sends: true,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            ramp: None,
            handshakes: HANDSHAKES,
            sources: Vec::new(),
            seed: 0,
        }
    }

    /// Deals the connections out to `workers` processes as evenly as possible. The open
    /// loop's rate, the ramp and the handshakes in flight are dealt out with them; the
    /// senders of a broadcast stay in the first.
    pub fn split(&self, workers: u32) -> Vec<Self> {
        let workers = workers.clamp(1, self.connections.max(1));
        let (each, more) = (self.connections / workers, self.connections % workers);
        let mut first_connection = self.first_connection;
        let share = |worker: u32| {
            let connections = each + u32::from(worker < more);
            let part = f64::from(connections) / f64::from(self.connections.max(1));
            let mut job = Self {
                connections,
                first_connection,
                ramp: self.ramp.map(|ramp| ramp * part),
                handshakes: (self.handshakes / workers).max(1),
                sends: self.sends && (worker == 0 || self.scenario != Scenario::Broadcast),
                ..self.clone()
            };
            if let (Pace::Rate(rate), Scenario::Echo) = (self.pace, self.scenario) {
                job.pace = Pace::Rate(rate * part);
            }
            first_connection += connections;
            job
        };
        (0..workers).map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(connections: u32) -> Job {
        let mut job = Job::new("127.0.0.1:9001".parse().unwrap(), "/", Scenario::Echo);
        job.connections = connections;
        job
    }

    #[test]
    fn shares_cover_all_connections_once() {
        let mut whole = job(10);
        whole.pace = Pace::Rate(100.0);
        let shares = whole.split(3);
        let spans: Vec<_> = shares
            .iter()
            .map(|j| (j.first_connection, j.connections))
            .collect();
        assert_eq!(spans, [(0, 4), (4, 3), (7, 3)]);
        assert_eq!(shares[0].pace, Pace::Rate(40.0));
        assert_eq!(shares[0].handshakes, HANDSHAKES / 3);
        assert_eq!(whole.split(99).len(), 10);
    }

    #[test]
    fn broadcasts_send_from_the_first_share_only() {
        let mut whole = job(4);
        whole.scenario = Scenario::Broadcast;
        whole.pace = Pace::Rate(100.0);
        let shares = whole.split(2);
        assert_eq!((shares[0].sends, shares[1].sends), (true, false));
        assert_eq!(shares[0].pace, Pace::Rate(100.0));
    }
}
