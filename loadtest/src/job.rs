//! What a run is to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::payload::Payloads;

/// Connections from one source address to one port, at most: what the usual range of
/// ephemeral ports (32768–60999) allows, rounded down.
pub const CONNECTIONS_PER_SOURCE: u32 = 28_000;

/// Handshakes in flight, unless a job says otherwise: as many as the backlog of a listener
/// usually holds at least. A server whose backlog overflows makes clients wait for a second.
pub const HANDSHAKES: u32 = 128;

/// The largest payload: 64 MiB.
pub const MAX_SIZE: usize = 64 << 20;

/// The largest product of receivers and senders of a broadcast: one counter each, 1 GiB.
pub const MAX_STREAMS: u64 = 1 << 27;

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
    /// Payload bytes of a message: 0 to [`MAX_SIZE`]; broadcast needs 20, as text 28.
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
    /// Longest time for a handshake, and longest wait without progress for what is still
    /// outstanding when sending has ended.
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

    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first one that is out of them.
    pub fn check(&self) -> Result<(), Error> {
        let require = |holds: bool, setting, reason: &str| {
            holds
                .then_some(())
                .ok_or_else(|| Error::setting(setting, reason))
        };
        let broadcast = self.scenario == Scenario::Broadcast;
        let positive = |rate: f64| rate.is_finite() && rate > 0.0;
        require(self.connections > 0, "connections", "must be at least 1")?;
        require(
            self.path.starts_with('/'),
            "url",
            "the path must begin with /",
        )?;
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        require(
            printable(&self.path) && printable(&self.host),
            "url",
            "host and path must be printable ASCII; percent-encode the rest",
        )?;
        require(
            self.size <= MAX_SIZE,
            "size",
            "must be at most 67108864 bytes (64 MiB)",
        )?;
        let least = if broadcast {
            Payloads::header_size(true, self.text)
        } else {
            0
        };
        if self.size < least {
            let reason = format!("a broadcast message needs at least {least} bytes");
            return Err(Error::setting("size", reason));
        }
        match self.pace {
            Pace::Depth(depth) => require(depth > 0, "depth", "must be at least 1")?,
            Pace::Rate(rate) => require(positive(rate), "rate", "must be above 0")?,
        }
        require(self.handshakes > 0, "handshakes", "must be at least 1")?;
        require(self.ramp.is_none_or(positive), "ramp", "must be above 0")?;
        require(!self.duration.is_zero(), "duration", "must be above 0")?;
        if broadcast {
            require(self.senders > 0, "senders", "must be at least 1")?;
            require(
                self.contents || self.senders == 1,
                "senders",
                "must be 1 where contents are not checked",
            )?;
            require(
                !self.sends || self.senders <= self.connections,
                "senders",
                "must not exceed the connections of one process",
            )?;
            require(
                u64::from(self.connections) * u64::from(self.senders) <= MAX_STREAMS,
                "senders",
                "connections × senders must not exceed 134217728",
            )?;
        }
        self.check_sources()
    }

    fn check_sources(&self) -> Result<(), Error> {
        let wrong = |ip: &&IpAddr| ip.is_ipv4() != self.addr.is_ipv4();
        if let Some(ip) = self.sources.iter().find(wrong) {
            let reason = format!("{ip} is not of the family of the target {}", self.addr);
            return Err(Error::setting("source", reason));
        }
        Ok(())
    }

    /// Spreads the connections over as many source addresses as they need, unless some are
    /// given: 127.0.0.1, 127.0.0.2, … for a loopback target.
    ///
    /// # Errors
    /// [`Error::Setting`] when more than one is needed and the target is not on IPv4
    /// loopback, or the given ones are too few.
    pub fn spread_sources(&mut self) -> Result<(), Error> {
        let needed = self.connections.div_ceil(CONNECTIONS_PER_SOURCE);
        let given = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        if given >= needed || (needed == 1 && given == 0) {
            return Ok(());
        }
        let loopback = matches!(self.addr.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if given > 0 || !loopback {
            let reason = format!(
                "{} connections to one port need {needed} local addresses \
                 ({CONNECTIONS_PER_SOURCE} from each), given {given}",
                self.connections
            );
            return Err(Error::setting("source", reason));
        }
        let first = u32::from(Ipv4Addr::LOCALHOST);
        self.sources = (0..needed)
            .map(|n| Ipv4Addr::from(first + n).into())
            .collect();
        Ok(())
    }

    /// Deals the connections out to `workers` processes as evenly as possible. The open
    /// loop's rate, the ramp and the handshakes in flight are dealt out with them; the senders of a broadcast stay
    /// in the first.
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

/// A parsed `ws://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The first address the host resolves to, with the port.
    pub addr: SocketAddr,
    /// Host and port as written.
    pub host: String,
    /// Path and query; `/` if there is none.
    pub path: String,
}

impl Target {
    /// Parses `ws://host[:port][/path]` and resolves the host. The port is 80 if there is
    /// none (RFC 6455 §3).
    ///
    /// # Errors
    /// [`Error::Setting`] when it is no such address or the host does not resolve.
    pub fn resolve(url: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::setting("url", format!("{url}: {reason}"));
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| wrong("must begin with ws://".into()))?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if path.contains('#') || host.contains(['#', '@']) {
            return Err(wrong(
                "must have no fragment and no user (RFC 6455 §3)".into(),
            ));
        }
        let has_port = host.rfind(':') > host.rfind(']');
        let full = if has_port {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut addrs = full
            .to_socket_addrs()
            .map_err(|error| wrong(error.to_string()))?;
        let addr = addrs
            .next()
            .ok_or_else(|| wrong("the host has no address".into()))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            addr,
            host: host.to_owned(),
            path: format!("{slash}{path}"),
        })
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
    fn targets_resolve() {
        let target = Target::resolve("ws://127.0.0.1:9001/room?name=a").unwrap();
        assert_eq!(target.addr, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:9001", "/room?name=a")
        );
        assert_eq!(
            Target::resolve("ws://[::1]").unwrap().addr,
            "[::1]:80".parse().unwrap()
        );
        assert_eq!(
            Target::resolve("ws://[::1]:7").unwrap().addr,
            "[::1]:7".parse().unwrap()
        );
        assert_eq!(Target::resolve("ws://127.0.0.1?x").unwrap().path, "/?x");
    }

    #[test]
    fn wrong_targets_are_refused_by_name() {
        for url in [
            "wss://127.0.0.1",
            "127.0.0.1:1",
            "ws://127.0.0.1:x",
            "ws://127.0.0.1/#a",
        ] {
            let error = Target::resolve(url).unwrap_err().to_string();
            assert!(error.starts_with("url: ") && error.contains(url), "{error}");
        }
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

    #[test]
    fn many_connections_get_several_loopback_sources() {
        let mut many = job(60_000);
        many.spread_sources().unwrap();
        let expected: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            .map(|ip| ip.parse().unwrap())
            .to_vec();
        assert_eq!(many.sources, expected);
        let mut few = job(28_000);
        few.spread_sources().unwrap();
        assert!(few.sources.is_empty());
        let mut far = job(28_001);
        far.addr = "192.0.2.1:80".parse().unwrap();
        assert!(
            far.spread_sources()
                .unwrap_err()
                .to_string()
                .starts_with("source: ")
        );
    }

    #[test]
    fn settings_out_of_bounds_are_named() {
        let refused = |change: fn(&mut Job)| {
            let mut job = job(5);
            change(&mut job);
            job.check().unwrap_err().to_string()
        };
        assert!(job(5).check().is_ok());
        assert!(refused(|job| job.connections = 0).starts_with("connections: "));
        assert!(refused(|job| job.path = "x".into()).starts_with("url: "));
        assert!(refused(|job| job.path = "/a b".into()).starts_with("url: "));
        assert!(refused(|job| job.size = MAX_SIZE + 1).starts_with("size: "));
        assert!(refused(|job| job.pace = Pace::Depth(0)).starts_with("depth: "));
        assert!(refused(|job| job.pace = Pace::Rate(f64::NAN)).starts_with("rate: "));
        assert!(refused(|job| job.ramp = Some(0.0)).starts_with("ramp: "));
        assert!(refused(|job| job.sources = vec!["::1".parse().unwrap()]).starts_with("source: "));
        assert!(
            refused(|job| {
                job.scenario = Scenario::Broadcast;
                job.size = 19;
            })
            .starts_with("size: ")
        );
        assert!(
            refused(|job| {
                job.scenario = Scenario::Broadcast;
                job.size = 20;
                job.senders = 6;
            })
            .starts_with("senders: ")
        );
        assert!(
            refused(|job| {
                job.scenario = Scenario::Broadcast;
                job.size = 20;
                job.senders = 2;
                job.contents = false;
            })
            .starts_with("senders: ")
        );
    }
}
