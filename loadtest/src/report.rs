//! What came out of a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Pace, Scenario};
use crate::latency::Latency;
use crate::machine::SATURATED;
use crate::usage::ProcessMemory;

/// What came out of a run; as JSON, what `--json` writes (see the crate's documentation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the connections did.
    pub scenario: Scenario,
    /// Payload bytes of a message.
    pub size: usize,
    /// Whether messages were text.
    pub text: bool,
    /// When messages were sent.
    pub pace: Pace,
    /// The seed of masking keys and fillers.
    pub seed: u64,
    /// Connections opened and lost.
    pub connections: Connections,
    /// Messages counted.
    pub messages: Messages,
    /// How long they took.
    pub latency: Latency,
    /// What was wrong with them.
    pub faults: Faults,
    /// What the load cost the client.
    pub client: Client,
    /// What it cost the server, if its process is known.
    pub server: Option<Server>,
}

/// Connections opened and lost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// How many were asked for.
    pub asked: u32,
    /// How many completed their handshake.
    pub opened: u32,
    /// How many did not.
    pub failed: u32,
    /// How many were open and ended before the run did.
    pub dropped: u32,
    /// How many lasted as long as the run, but whose closing handshake the server did not complete.
    pub unclosed: u32,
    /// Seconds from the first connect to the last answer.
    pub connect_seconds: f64,
    /// What was wrong with the first of those.
    pub first_failure: Option<String>,
    /// Pings answered.
    pub pings: u64,
}

/// Messages counted. In broadcast, each receiver's copy counts as received.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// Seconds from the start of the measured window to its end.
    pub window_seconds: f64,
    /// Sent in the whole run, warm-up included.
    pub sent: u64,
    /// Received in the whole run.
    pub received: u64,
    /// Sent in the measured window.
    pub sent_in_window: u64,
    /// Received in the measured window.
    pub received_in_window: u64,
    /// Sent per second of the window.
    pub sent_per_second: f64,
    /// Received per second of the window.
    pub received_per_second: f64,
}

/// What was wrong with the messages of connections that stayed open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Came with another content, length or opcode, or unasked.
    pub corrupt: u64,
    /// The first of them.
    pub first: Option<Offence>,
}

/// A message that did not come as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offence {
    /// The connection's number.
    pub connection: u32,
    /// What kind of fault.
    pub kind: String,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// What the load cost the client in the measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Processes that shared the load.
    pub workers: u32,
    /// CPU time of all of them.
    pub cpu_seconds: f64,
    /// CPU time per message received.
    pub cpu_us_per_message: Option<f64>,
    /// The part of the window its core was busy, 0 to 1; of the busiest worker.
    pub busy: f64,
    /// Whether the client was the bottleneck: it was busy for more than 95 % of the window
    /// and no thread of the server, as far as known, was.
    pub saturated: bool,
}

/// What the load cost the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// CPU time (user and system) in the measured window.
    pub cpu_seconds: f64,
    /// CPU time per message received by the client.
    pub cpu_us_per_message: Option<f64>,
    /// CPU time over the window's length; above 1 with several cores.
    pub busy: f64,
    /// The part of the window its busiest thread was running, 0 to 1.
    pub busiest_thread: f64,
    /// Memory before the first connection.
    pub memory_before: ProcessMemory,
    /// Memory with all connections open, before the first message.
    pub memory_open: ProcessMemory,
    /// Resident bytes per connection.
    pub rss_bytes_per_connection: f64,
    /// Anonymous bytes per connection.
    pub anon_bytes_per_connection: f64,
}

/// What was sampled of a server, for [`Report::add_server`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// CPU time in the measured window.
    pub cpu: Duration,
    /// The part of it that its busiest thread used.
    pub busiest_thread: Duration,
    /// Memory before the first connection.
    pub memory_before: ProcessMemory,
    /// Memory with all connections open, before the first message.
    pub memory_open: ProcessMemory,
}

impl Report {
    /// Adds what the load cost the server.
    pub fn add_server(&mut self, used: ServerUse) {
        let ServerUse {
            pid,
            cpu,
            busiest_thread,
            memory_before,
            memory_open,
        } = used;
        let each = |before: u64, open: u64| {
            (open as f64 - before as f64) / f64::from(self.connections.opened.max(1))
        };
        let busy = |cpu: Duration| over(cpu.as_secs_f64(), self.messages.window_seconds);
        let server = Server {
            pid,
            cpu_seconds: cpu.as_secs_f64(),
            cpu_us_per_message: self.messages.share(cpu.as_secs_f64()),
            busy: busy(cpu),
            busiest_thread: busy(busiest_thread),
            memory_before,
            memory_open,
            rss_bytes_per_connection: each(memory_before.rss_bytes, memory_open.rss_bytes),
            anon_bytes_per_connection: each(memory_before.anon_bytes, memory_open.anon_bytes),
        };
        self.client.judge(Some(server.busiest_thread));
        self.server = Some(server);
    }

    /// What went wrong, a line each; empty if nothing did.
    pub fn failures(&self) -> Vec<String> {
        let Connections {
            asked,
            failed,
            dropped,
            unclosed,
            first_failure,
            ..
        } = &self.connections;
        let mut lines = Vec::new();
        if failed + dropped + unclosed > 0 {
            let first = first_failure.as_deref().unwrap_or("unknown");
            lines.push(format!(
                "of {asked} connections {failed} failed to open, {dropped} were dropped and \
                 {unclosed} were not closed as they should be, the first: {first}"
            ));
        }
        let Faults {
            lost,
            duplicated,
            reordered,
            corrupt,
            first,
        } = &self.faults;
        if lost + duplicated + reordered + corrupt > 0 {
            lines.push(format!(
                "messages: {lost} lost, {duplicated} duplicated, {reordered} reordered, \
                 {corrupt} corrupt"
            ));
        }
        if let Some(Offence {
            connection,
            kind,
            expected,
            got,
        }) = first
        {
            lines.push(format!(
                "first offence ({kind}): connection {connection} expected {expected}, got {got}"
            ));
        }
        lines
    }

    /// The reports of a run's processes as one; `None` of none.
    pub fn merge(parts: &[Self]) -> Option<Self> {
        let mut whole = parts.first()?.clone();
        for part in parts.iter().skip(1) {
            whole.connections.add(&part.connections);
            whole.messages.add(&part.messages);
            whole.faults.add(&part.faults);
            whole.client.workers += part.client.workers;
            whole.client.cpu_seconds += part.client.cpu_seconds;
            whole.client.busy = whole.client.busy.max(part.client.busy);
            if whole.scenario == Scenario::Echo
                && let (Pace::Rate(sum), Pace::Rate(rate)) = (&mut whole.pace, part.pace)
            {
                *sum += rate;
            }
        }
        whole.latency = Latency::merge(parts.iter().map(|part| &part.latency));
        whole.finish();
        Some(whole)
    }

    /// Derives what follows from the counts.
    pub(crate) fn finish(&mut self) {
        let Messages {
            window_seconds,
            sent_in_window,
            received_in_window,
            ..
        } = self.messages;
        self.messages.sent_per_second = over(sent_in_window as f64, window_seconds);
        self.messages.received_per_second = over(received_in_window as f64, window_seconds);
        self.client.cpu_us_per_message = self.messages.share(self.client.cpu_seconds);
        self.client.judge(None);
    }
}

impl Client {
    /// Whether its core, or the busiest worker's, had no more to give.
    pub fn is_at_its_limit(&self) -> bool {
        self.busy > SATURATED
    }

    fn judge(&mut self, server: Option<f64>) {
        self.saturated = self.is_at_its_limit() && server.is_none_or(|busy| busy <= SATURATED);
    }
}

impl Messages {
    /// Seconds shared out to the messages received in the window, in microseconds each.
    fn share(&self, seconds: f64) -> Option<f64> {
        (self.received_in_window > 0).then(|| seconds * 1e6 / self.received_in_window as f64)
    }

    fn add(&mut self, other: &Self) {
        self.window_seconds = self.window_seconds.max(other.window_seconds);
        self.sent += other.sent;
        self.received += other.received;
        self.sent_in_window += other.sent_in_window;
        self.received_in_window += other.received_in_window;
    }
}

impl Connections {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.opened += other.opened;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.unclosed += other.unclosed;
        self.pings += other.pings;
        self.connect_seconds = self.connect_seconds.max(other.connect_seconds);
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
    }
}

impl Faults {
    fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

fn over(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(busy: f64, received: u64) -> Report {
        let mut report = Report {
            scenario: Scenario::Echo,
            size: 20,
            text: false,
            pace: Pace::Rate(100.0),
            seed: 0,
            connections: Connections {
                asked: 10,
                opened: 10,
                ..Connections::default()
            },
            messages: Messages {
                window_seconds: 2.0,
                sent_in_window: received,
                received_in_window: received,
                ..Messages::default()
            },
            latency: Latency::default(),
            faults: Faults::default(),
            client: Client {
                workers: 1,
                cpu_seconds: 2.0 * busy,
                busy,
                ..Client::default()
            },
            server: None,
        };
        report.finish();
        report
    }

    const USED: ServerUse = ServerUse {
        pid: 1,
        cpu: Duration::from_millis(3),
        busiest_thread: Duration::from_millis(2),
        memory_before: ProcessMemory {
            rss_bytes: 5000,
            anon_bytes: 1000,
        },
        memory_open: ProcessMemory {
            rss_bytes: 9000,
            anon_bytes: 500,
        },
    };

    #[test]
    fn only_a_client_busier_than_its_server_was_the_bottleneck() {
        let judged = |client: f64, busiest: f64| {
            let mut report = report(client, 1000);
            // Of two equally busy threads, in a window of two seconds.
            report.add_server(ServerUse {
                cpu: Duration::from_secs_f64(4.0 * busiest),
                busiest_thread: Duration::from_secs_f64(2.0 * busiest),
                ..USED
            });
            report.client.saturated
        };
        assert!(report(0.96, 1000).client.saturated && !report(0.95, 1000).client.saturated);
        assert!(judged(0.99, 0.8));
        assert!(!judged(0.99, 0.99) && !judged(0.8, 0.8));
    }

    #[test]
    fn costs_are_shared_out() {
        let mut report = report(0.5, 1000);
        report.add_server(USED);
        let server = report.server.unwrap();
        assert_eq!(report.client.cpu_us_per_message, Some(1000.0));
        assert_eq!(server.cpu_us_per_message, Some(3.0));
        assert_eq!(server.rss_bytes_per_connection.to_bits(), 400_f64.to_bits());
        assert_eq!(
            server.anon_bytes_per_connection.to_bits(),
            (-50_f64).to_bits()
        );
    }

    #[test]
    fn merged_reports_add_up() {
        let mut second = report(0.9, 3000);
        second.faults.lost = 2;
        second.connections.failed = 1;
        second.connections.first_failure = Some("why".into());
        let whole = Report::merge(&[report(0.5, 1000), second]).unwrap();
        assert_eq!((whole.connections.opened, whole.client.workers), (20, 2));
        assert_eq!(whole.pace, Pace::Rate(200.0));
        assert_eq!(whole.client.cpu_us_per_message, Some(700.0));
        assert_eq!(
            whole.messages.received_per_second.to_bits(),
            2000_f64.to_bits()
        );
        let failures = whole.failures();
        assert!(failures[0].contains("1 failed") && failures[0].contains("why"));
        assert!(failures[1].contains("2 lost"));
        assert!(Report::merge(&[]).is_none());
    }
}
