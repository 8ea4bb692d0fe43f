//! The bounds of a job's settings.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use crate::Error;
use crate::job::{Job, Pace, Scenario};
use crate::payload::Payloads;

/// Connections from one source address to one port, at most: what the usual range of
/// ephemeral ports (32768–60999) allows, rounded down.
pub const CONNECTIONS_PER_SOURCE: u32 = 28_000;

/// The largest payload: 64 MiB.
pub const MAX_SIZE: usize = 64 << 20;

/// The highest rate of an open loop, per second: beyond, keeping the schedule would take
/// the time needed for sending.
pub const MAX_RATE: f64 = 1e7;

/// The largest product of receivers and senders of a broadcast: one counter each, 1 GiB.
pub const MAX_STREAMS: u64 = 1 << 27;

impl Job {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first one that is out of them.
    pub fn check(&self) -> Result<(), Error> {
        let ascii = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.path.starts_with('/') || !ascii(&self.path) || !ascii(&self.host) {
            let value = format!("ws://{}{}", self.host, self.path);
            let reason = "host and path must be printable ASCII, the path beginning with /; \
                          percent-encode the rest";
            return Err(Error::setting("url", &value, reason));
        }
        at_least("connections", self.connections, 1, "")?;
        at_least("handshakes", self.handshakes, 1, "")?;
        at_most("size", self.size, MAX_SIZE, "bytes, 64 MiB")?;
        match self.pace {
            Pace::Depth(depth) => at_least("depth", depth, 1, "")?,
            Pace::Rate(rate) => {
                above_zero("rate", rate)?;
                at_most("rate", rate, MAX_RATE, "per second")?;
            }
        }
        self.ramp.map_or(Ok(()), |ramp| above_zero("ramp", ramp))?;
        above_zero("duration", self.duration.as_secs_f64())?;
        above_zero("patience", self.patience.as_secs_f64())?;
        if self.scenario == Scenario::Broadcast {
            self.check_broadcast()?;
        }
        self.check_sources()
    }

    /// Spreads the connections over as many source addresses as they need with `each` from
    /// one, unless some are given: 127.0.0.1, 127.0.0.2, … for a loopback target.
    ///
    /// # Errors
    /// [`Error::Setting`] when more than one is needed and the target is not on IPv4
    /// loopback, or the given ones are too few.
    pub fn spread_sources(&mut self, each: u32) -> Result<(), Error> {
        let needed = self.connections.div_ceil(each.max(1));
        let given = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        if given >= needed || (needed == 1 && given == 0) {
            return Ok(());
        }
        let loopback = matches!(self.addr.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if given > 0 || !loopback {
            let reason = format!(
                "{} connections need at least {needed} local addresses, {each} from each",
                self.connections
            );
            return Err(Error::setting(
                "source",
                &format!("with {given} of them"),
                reason,
            ));
        }
        let first = u32::from(Ipv4Addr::LOCALHOST);
        self.sources = (0..needed)
            .map(|n| Ipv4Addr::from(first + n).into())
            .collect();
        Ok(())
    }

    fn check_broadcast(&self) -> Result<(), Error> {
        let header = Payloads::header_size(true, self.text);
        at_least("size", self.size, header, "bytes in a broadcast")?;
        at_least("senders", self.senders, 1, "")?;
        if !self.contents {
            let why = "where contents are not checked";
            at_most("senders", self.senders, 1, why)?;
        }
        if self.sends {
            let why = "the connections of the process that sends";
            at_most("senders", self.senders, self.connections, why)?;
        }
        let bound = MAX_STREAMS / u64::from(self.connections);
        let why = format!("with {} connections", self.connections);
        at_most("senders", u64::from(self.senders), bound, &why)
    }

    fn check_sources(&self) -> Result<(), Error> {
        let wrong = |ip: &&IpAddr| ip.is_ipv4() != self.addr.is_ipv4();
        if let Some(ip) = self.sources.iter().find(wrong) {
            let reason = format!(
                "must be of the family of the server's address {}",
                self.addr
            );
            return Err(Error::setting("source", &ip, reason));
        }
        Ok(())
    }
}

fn at_least<T>(setting: &'static str, value: T, bound: T, why: &str) -> Result<(), Error>
where
    T: PartialOrd + Display + Copy,
{
    let reason = format!("must be at least {bound} {why}");
    require(value >= bound, setting, value, reason.trim_end())
}

fn at_most<T>(setting: &'static str, value: T, bound: T, why: &str) -> Result<(), Error>
where
    T: PartialOrd + Display + Copy,
{
    let reason = format!("must be at most {bound} {why}");
    require(value <= bound, setting, value, reason.trim_end())
}

fn above_zero(setting: &'static str, value: f64) -> Result<(), Error> {
    let holds = value.is_finite() && value > 0.0;
    require(holds, setting, value, "must be a number above 0")
}

fn require(
    holds: bool,
    setting: &'static str,
    value: impl Display,
    reason: &str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::setting(setting, &value, reason))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(connections: u32) -> Job {
        let mut job = Job::new("127.0.0.1:9001".parse().unwrap(), "/", Scenario::Echo);
        job.connections = connections;
        job
    }

    #[test]
    fn many_connections_get_several_loopback_sources() {
        let sources = |connections, each| {
            let mut job = job(connections);
            job.spread_sources(each).unwrap();
            job.sources
        };
        let expected: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            .map(|ip| ip.parse().unwrap())
            .to_vec();
        assert_eq!(sources(60_000, CONNECTIONS_PER_SOURCE), expected);
        assert_eq!(sources(25, 10), expected);
        assert!(sources(28_000, CONNECTIONS_PER_SOURCE).is_empty());
    }

    #[test]
    fn too_few_sources_are_refused() {
        let refused = |change: fn(&mut Job)| {
            let mut job = job(21);
            change(&mut job);
            job.spread_sources(10).unwrap_err().to_string()
        };
        let far = refused(|job| job.addr = "192.0.2.1:80".parse().unwrap());
        assert!(
            far.starts_with("source with 0 of them: 21 connections"),
            "{far}"
        );
        let few = refused(|job| job.sources = vec![Ipv4Addr::LOCALHOST.into()]);
        assert!(few.contains("at least 3 local addresses"), "{few}");
    }

    #[test]
    fn settings_out_of_bounds_are_named_with_value_and_bound() {
        let assert_refused = |expected: &str, change: fn(&mut Job)| {
            let mut job = job(5);
            change(&mut job);
            let said = job.check().unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        };
        assert!(job(5).check().is_ok());
        assert_refused("connections 0: must be at least 1", |job| {
            job.connections = 0;
        });
        assert_refused("url ws://127.0.0.1:9001x:", |job| job.path = "x".into());
        assert_refused("url ws://127.0.0.1:9001/a b:", |job| {
            job.path = "/a b".into();
        });
        assert_refused("size 67108865: must be at most 67108864", |job| {
            job.size = MAX_SIZE + 1;
        });
        assert_refused("depth 0: must be at least 1", |job| {
            job.pace = Pace::Depth(0);
        });
        assert_refused("rate NaN: must be", |job| job.pace = Pace::Rate(f64::NAN));
        assert_refused("rate 20000000: must be at most 10000000", |job| {
            job.pace = Pace::Rate(2e7);
        });
        assert_refused("ramp 0: must be", |job| job.ramp = Some(0.0));
        assert_refused("duration 0: must be", |job| job.duration = Duration::ZERO);
        assert_refused("patience 0: must be", |job| job.patience = Duration::ZERO);
        assert_refused("source ::1: must be of the family", |job| {
            job.sources = vec!["::1".parse().unwrap()];
        });
    }

    #[test]
    fn a_broadcast_has_bounds_of_its_own() {
        let assert_refused = |expected: &str, change: fn(&mut Job)| {
            let mut job = job(5);
            (job.scenario, job.size) = (Scenario::Broadcast, 64);
            assert!(job.check().is_ok());
            change(&mut job);
            let said = job.check().unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        };
        assert_refused("size 19: must be at least 20", |job| job.size = 19);
        assert_refused("size 27: must be at least 28", |job| {
            (job.size, job.text) = (27, true);
        });
        assert_refused("senders 0: must be at least 1", |job| job.senders = 0);
        assert_refused("senders 6: must be at most 5", |job| job.senders = 6);
        assert_refused("senders 2: must be at most 1", |job| {
            (job.senders, job.contents) = (2, false);
        });
        assert_refused("senders 20000: must be at most 6710", |job| {
            (job.senders, job.connections) = (20_000, 20_000);
        });
    }
}
