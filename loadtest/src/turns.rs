//! The loop: one thread, every connection, a turn at a time.
//!
//! A turn flushes what is due, each connection once, waits for readiness, and takes in
//! what has come. Everything is read before anything is written: that is what lets the
//! server, too, take in many messages in one of its turns.

use std::fmt::Display;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use crate::Error;
use crate::clock::{self, ALARM, Alarm, as_nanos};
use crate::connection::{Connection, End, Phase, WRITE_BYTES};
use crate::frames::{Frame, Opcode};
use crate::job::Job;
use crate::opening::{Opening, connect};
use crate::traffic::{Due, Traffic};

/// Events taken in a turn, at most.
const EVENTS: usize = 1024;

/// The receive buffer all connections share. A read that does not fill it is the last of
/// its turn.
const RECEIVE_BYTES: usize = 256 * 1024;

/// The largest message taken from a server that sends others than it was sent.
const FOREIGN_SIZE: usize = 1 << 20;

/// All connections of a process and the traffic on them.
#[derive(Debug)]
pub(crate) struct Turns<'a, T> {
    pub(crate) job: &'a Job,
    pub(crate) traffic: T,
    pub(crate) counts: Counts,
    connections: Vec<Connection>,
    opening: Opening,
    due: Due,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    list: Vec<usize>,
    random: fastrand::Rng,
    /// Load has begun; before, messages are greetings and not looked at.
    loaded: bool,
    /// The end has begun; connections may go.
    closing: bool,
}

/// What has become of the connections.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Open now.
    pub(crate) open: u32,
    /// Completed their handshake.
    pub(crate) opened: u32,
    /// Did not.
    pub(crate) failed: u32,
    /// Ended before the run did.
    pub(crate) dropped: u32,
    /// Ended with the run, but without the server's answer to the closing handshake.
    pub(crate) unclosed: u32,
    pub(crate) pings: u64,
    pub(crate) first_failure: Option<String>,
    /// When the last handshake was over.
    pub(crate) settled_at: u64,
}

impl<'a, T: Traffic> Turns<'a, T> {
    pub(crate) fn new(job: &'a Job, traffic: T) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::io("opening a poll"))?;
        let alarm = Alarm::new(&poll).map_err(Error::io("opening a timer"))?;
        let connections = job.connections as usize;
        Ok(Self {
            job,
            traffic,
            counts: Counts::default(),
            connections: Vec::with_capacity(connections),
            opening: Opening::new(job, clock::now()),
            due: Due::new(connections),
            poll,
            events: Events::with_capacity(EVENTS),
            alarm,
            buffer: vec![0; RECEIVE_BYTES],
            scratch: Vec::with_capacity(WRITE_BYTES),
            list: Vec::with_capacity(connections),
            random: fastrand::Rng::with_seed(job.seed ^ u64::from(job.first_connection)),
            loaded: false,
            closing: false,
        })
    }

    /// Starts as many connections as may be started now, and gives up those whose
    /// handshake takes too long. Tells whether all handshakes are over.
    pub(crate) fn open_more(&mut self) -> bool {
        let now = clock::now();
        while let Some(at) = self.opening.poll_late(now) {
            let phase = self.connections.get(at).map(Connection::phase);
            if matches!(phase, Some(Phase::Connecting | Phase::Shaking)) {
                self.end(at, &End::Late);
            }
        }
        while self.opening.start_next(now) {
            let at = self.connections.len();
            let sources = &self.job.sources;
            let number = self.job.first_connection as usize + at;
            let source = number
                .checked_rem(sources.len())
                .and_then(|place| sources.get(place));
            let registry = self.poll.registry();
            let both = Interest::READABLE | Interest::WRITABLE;
            let socket = connect(self.job.addr, source.copied()).and_then(|mut socket| {
                registry.register(&mut socket, Token(at), both)?;
                Ok(socket)
            });
            match socket {
                Ok(socket) => self
                    .connections
                    .push(Connection::new(socket, &mut self.random)),
                Err(error) => {
                    self.connections.push(Connection::stillborn());
                    self.opening.handle_over();
                    self.fail(at, &error.into());
                }
            }
        }
        self.opening.is_complete()
    }

    /// Begins the load.
    pub(crate) fn start(&mut self, start: u64) {
        let open = self
            .connections
            .iter()
            .enumerate()
            .filter(|(_, one)| one.is_open());
        let live: Vec<usize> = open.map(|(at, _)| at).collect();
        self.traffic.start(&live, start);
        self.loaded = true;
    }

    /// Ends the load: what falls due by `end` is still sent.
    pub(crate) fn stop(&mut self, end: u64) {
        self.traffic.poll_due(end, &mut self.due);
        self.traffic.flow_mut().stopped = true;
    }

    /// Begins the closing handshake of every open connection.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        for (at, connection) in self.connections.iter_mut().enumerate() {
            if connection.is_open() {
                connection.close();
                self.due.add(at);
            }
        }
    }

    /// Ends the connections that the server has not closed.
    pub(crate) fn give_up(&mut self) {
        for at in 0..self.connections.len() {
            self.end(at, &End::Unclosed);
        }
    }

    /// One turn, which waits for readiness until `until` at most, sooner if more falls due.
    pub(crate) fn turn(&mut self, until: u64) -> Result<(), Error> {
        let now = clock::now();
        let next = if self.loaded {
            self.traffic.poll_due(now.min(until), &mut self.due)
        } else {
            u64::MAX
        };
        self.flush();
        let waited = if !self.due.is_empty() {
            clock::poll_for(&mut self.poll, &mut self.events, Some(Duration::ZERO))
        } else if next < until {
            self.alarm
                .poll_until(&mut self.poll, &mut self.events, next)
        } else {
            let left = Duration::from_nanos(until.saturating_sub(now));
            clock::poll_for(&mut self.poll, &mut self.events, Some(left))
        };
        waited.map_err(Error::io("waiting for readiness"))?;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() != ALARM {
                self.handle_ready(event);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Nanoseconds a handshake or an outstanding message is waited for.
    pub(crate) fn patience(&self) -> u64 {
        as_nanos(self.job.patience)
    }

    fn handle_ready(&mut self, event: &Event) {
        let at = event.token().0;
        let to_the_end = event.is_read_closed() || event.is_error();
        let readable = to_the_end || event.is_readable();
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        let mut result = Ok(());
        if connection.phase() == Phase::Connecting {
            result = connection.handle_connected(&self.job.host, &self.job.path);
        }
        if event.is_writable() && connection.unblock() {
            self.due.add(at);
        }
        if result.is_ok() && readable {
            result = match connection.phase() {
                Phase::Shaking => self.receive_answer(at, to_the_end),
                Phase::Open => self.receive(at, to_the_end),
                Phase::Connecting | Phase::Gone => Ok(()),
            };
        }
        if let Err(end) = result {
            self.end(at, &end);
        }
    }

    fn receive_answer(&mut self, at: usize, to_the_end: bool) -> Result<(), End> {
        let Some(connection) = self.connections.get_mut(at) else {
            return Ok(());
        };
        let limit = FOREIGN_SIZE.max(self.job.size);
        let counts = &mut self.counts;
        let result = connection.receive_answer(&mut self.buffer, limit, |frame, _| {
            counts.pings += u64::from(frame.opcode == Opcode::Ping);
        });
        let phase = connection.phase();
        if connection.is_open() {
            counts.open += 1;
            counts.opened += 1;
            counts.settled_at = clock::now();
            self.opening.handle_over();
        }
        if connection.has_pending() {
            self.due.add(at);
        }
        match (result?, phase) {
            (true, Phase::Shaking) if to_the_end => self.receive_answer(at, true),
            (true, Phase::Open) if to_the_end => self.receive(at, true),
            _ => Ok(()),
        }
    }

    #[inline]
    fn receive(&mut self, at: usize, to_the_end: bool) -> Result<(), End> {
        let Self {
            connections,
            traffic,
            due,
            counts,
            buffer,
            job,
            loaded,
            ..
        } = self;
        let Some(connection) = connections.get_mut(at) else {
            return Ok(());
        };
        let limit = FOREIGN_SIZE.max(job.size);
        let result =
            connection.receive(
                to_the_end,
                buffer,
                limit,
                |frame: Frame<'_>, now| match frame.opcode {
                    Opcode::Text | Opcode::Binary if *loaded => {
                        traffic.handle_message(at, &frame, now, due);
                    }
                    Opcode::Ping => counts.pings += 1,
                    _ => {}
                },
            );
        if connection.has_pending() {
            due.add(at);
        }
        result
    }

    fn flush(&mut self) {
        let mut list = std::mem::take(&mut self.list);
        self.due.take(&mut list);
        for at in list.drain(..) {
            let Self {
                connections,
                traffic,
                scratch,
                loaded,
                closing,
                ..
            } = self;
            let Some(connection) = connections.get_mut(at) else {
                continue;
            };
            let mut more = false;
            let flushed = connection.flush(scratch, |out, keys| {
                if *loaded && !*closing {
                    more = traffic.encode(at, keys, WRITE_BYTES, out);
                }
            });
            match flushed {
                Ok(true) if more => self.due.add(at),
                Ok(_) => {}
                Err(end) => self.end(at, &end),
            }
        }
        self.list = list;
    }

    /// Ends a connection in whatever phase it is.
    #[cold]
    fn end(&mut self, at: usize, end: &End) {
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        let phase = connection.phase();
        connection.end();
        match phase {
            Phase::Connecting | Phase::Shaking => {
                self.opening.handle_over();
                self.fail(at, end);
            }
            Phase::Open => {
                self.counts.open -= 1;
                if !self.closing {
                    self.counts.dropped += 1;
                    self.note(at, end);
                    self.traffic.handle_gone(at, &mut self.due);
                } else if !end.is_close() {
                    self.counts.unclosed += 1;
                    self.note(at, &format_args!("closing: {end}"));
                }
            }
            Phase::Gone => {}
        }
    }

    fn fail(&mut self, at: usize, end: &End) {
        self.counts.failed += 1;
        self.counts.settled_at = clock::now();
        self.note(at, end);
    }

    fn note(&mut self, at: usize, end: &dyn Display) {
        let number = self.job.first_connection as usize + at;
        let first = &mut self.counts.first_failure;
        first.get_or_insert_with(|| format!("connection {number}: {end}"));
    }
}
