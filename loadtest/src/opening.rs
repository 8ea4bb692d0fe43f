//! Starting connections: how fast, how many at once, from which address.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::as_nanos;
use crate::job::Job;

/// Decides which connection to start when.
#[derive(Debug)]
pub(crate) struct Opening {
    total: usize,
    started: usize,
    ramp: Option<f64>,
    handshakes: usize,
    began: u64,
    patience: u64,
    /// Handshakes in flight and when they began, oldest first; some may be over by now.
    shaking: VecDeque<(usize, u64)>,
    in_flight: usize,
}

impl Opening {
    pub(crate) fn new(job: &Job, now: u64) -> Self {
        Self {
            total: job.connections as usize,
            started: 0,
            ramp: job.ramp,
            handshakes: job.handshakes as usize,
            began: now,
            patience: as_nanos(job.patience),
            shaking: VecDeque::new(),
            in_flight: 0,
        }
    }

    /// Whether every handshake is over.
    pub(crate) fn is_complete(&self) -> bool {
        self.started == self.total && self.in_flight == 0
    }

    /// Whether another connection may be started by `now`; if so it counts as started.
    pub(crate) fn start_next(&mut self, now: u64) -> bool {
        let elapsed = now.saturating_sub(self.began) as f64 / 1e9;
        let allowed = self
            .ramp
            .is_none_or(|ramp| (self.started as f64) <= elapsed * ramp);
        let starts = self.started < self.total && self.in_flight < self.handshakes && allowed;
        if starts {
            self.shaking.push_back((self.started, now));
            self.started += 1;
            self.in_flight += 1;
        }
        starts
    }

    /// Takes in that a handshake is over, well or not.
    pub(crate) fn handle_over(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The oldest connection, if its handshake should be over by now; it may well be.
    pub(crate) fn poll_late(&mut self, now: u64) -> Option<usize> {
        let (at, _) = self
            .shaking
            .pop_front_if(|(_, began)| now.saturating_sub(*began) > self.patience)?;
        Some(at)
    }
}

/// Begins to connect to `addr`, from `source` if given.
pub(crate) fn connect(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // Lets ports that linger after an earlier run be taken again.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if is_under_way(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn is_under_way(error: &io::Error) -> bool {
    let started = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.raw_os_error() == Some(started) || error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{HANDSHAKES, Scenario};

    fn opening(connections: u32, ramp: Option<f64>) -> Opening {
        let mut job = Job::new("127.0.0.1:1".parse().unwrap(), "/", Scenario::Idle);
        (job.connections, job.ramp) = (connections, ramp);
        Opening::new(&job, 0)
    }

    #[test]
    fn handshakes_in_flight_are_bounded() {
        let mut opening = opening(1000, None);
        let started = (0..1000).filter(|_| opening.start_next(0)).count();
        assert_eq!(started, HANDSHAKES as usize);
        opening.handle_over();
        assert!(opening.start_next(0) && !opening.start_next(0));
    }

    #[test]
    fn the_ramp_is_kept() {
        let mut opening = opening(1000, Some(10.0));
        let mut by = |now| (0..1000).filter(|_| opening.start_next(now)).count();
        assert_eq!([by(0), by(500_000_000), by(1_000_000_000)], [1, 5, 5]);
    }

    #[test]
    fn late_handshakes_are_told_once() {
        let mut opening = opening(1, None);
        assert!(opening.start_next(0));
        assert_eq!(opening.poll_late(10_000_000_000), None);
        assert_eq!(opening.poll_late(10_000_000_001), Some(0));
        assert_eq!(opening.poll_late(10_000_000_001), None);
        opening.handle_over();
        assert!(opening.is_complete());
    }
}
