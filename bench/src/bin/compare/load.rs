//! The load, in a process of its own: the one place that knows the load generator.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throng_loadtest::{Job, Pace, ProcessCpu, ProcessMemory, Progress, Report, Scenario, machine};

use crate::Error;
use crate::bystanders::{self, Beside};
use crate::delay::Delay;

/// The same load before the measured window.
const WARM_UP: Duration = Duration::from_secs(1);

/// How the connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Not at all.
    Idle,
    /// Each sends a batch of `depth` messages and waits until all have come back.
    Echo { depth: u32 },
    /// The first sends a batch of `in_flight` messages and waits until all have come to
    /// everyone.
    Room { in_flight: u32 },
    /// All together send `rate` messages a second, whatever the server does.
    EchoAt { rate: u32 },
    /// The first sends `rate` messages a second to everyone, whatever the server does.
    RoomAt { rate: u32 },
    /// As [`Load::EchoAt`], while `room_rate` messages a second go to a room of `members` others.
    Bystanders {
        rate: u32,
        members: u32,
        room_rate: u32,
    },
}

/// A load for one server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) server: SocketAddr,
    pub(crate) server_pid: u32,
    pub(crate) load: Load,
    pub(crate) connections: u32,
    /// Payload bytes of a message.
    pub(crate) size: usize,
    /// Length of the measured window.
    pub(crate) seconds: f64,
    /// The core to put the load from.
    pub(crate) cpu: usize,
}

/// What came out of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Connections that were opened.
    pub(crate) connections: u32,
    /// Messages (in rooms, deliveries; beside a room, echoes) received in the window.
    pub(crate) messages: u64,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// CPU seconds (user and system) of the server in the window.
    pub(crate) server_cpu: f64,
    /// CPU seconds of the client in the window.
    pub(crate) client_cpu: f64,
    /// Resident bytes of the server's heap and stacks before the first connection.
    pub(crate) memory_before: u64,
    /// The same at the start of the window.
    pub(crate) memory_open: u64,
    /// How long they took; in the open loop, from the moment they should have been sent.
    pub(crate) delay: Option<Delay>,
    /// What there is to compare that with, where they were those of bystanders.
    pub(crate) beside: Option<Beside>,
    /// What went wrong; empty if the measurement counts.
    pub(crate) failures: Vec<String>,
}

impl Measured {
    /// Microseconds of server CPU per message; `None` if there were no messages.
    pub(crate) fn server_us(&self) -> Option<f64> {
        self.per_message(self.server_cpu)
    }

    /// Microseconds of client CPU per message; `None` if there were no messages.
    pub(crate) fn client_us(&self) -> Option<f64> {
        self.per_message(self.client_cpu)
    }

    /// Messages per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// The part of the window the server was busy; more than 1 on several cores.
    pub(crate) fn server_busy(&self) -> f64 {
        self.server_cpu / self.seconds
    }

    /// The part of the window the client was busy, on the one core that it has.
    pub(crate) fn client_busy(&self) -> f64 {
        self.client_cpu / self.seconds
    }

    /// Resident bytes of heap and stacks that came with each connection.
    pub(crate) fn bytes_per_connection(&self) -> f64 {
        (self.memory_open as f64 - self.memory_before as f64) / f64::from(self.connections)
    }

    fn per_message(&self, seconds: f64) -> Option<f64> {
        (self.messages > 0).then(|| seconds * 1e6 / self.messages as f64)
    }
}

/// Puts the load on the server, in the calling thread.
pub(crate) fn put(order: &Order) -> Result<Measured, Error> {
    machine::raise_open_files();
    machine::pin("load-cpu", order.cpu)?;
    let before = ProcessMemory::of(order.server_pid)?;
    let mut window = Window {
        pid: order.server_pid,
        began: None,
        ended: None,
        open: None,
    };
    let echoes = job(order);
    let Some(room) = room(order) else {
        let report = throng_loadtest::run(&echoes, &mut window)?;
        return window.close(before, &report);
    };
    let outcome = bystanders::measure(&echoes, &room, &mut window)?;
    let mut measured = window.close(before, &outcome.busy)?;
    measured.client_cpu += outcome.room.client.cpu_seconds;
    measured.beside = Some(outcome.beside());
    measured.failures = outcome.failures();
    Ok(measured)
}

fn job(order: &Order) -> Job {
    let at = |rate| Pace::Rate(f64::from(rate));
    let (path, scenario, pace) = match order.load {
        Load::Idle => ("/", Scenario::Idle, Pace::Depth(1)),
        Load::Echo { depth } => ("/", Scenario::Echo, Pace::Depth(depth)),
        Load::Room { in_flight } => ("/", Scenario::Broadcast, Pace::Depth(in_flight)),
        Load::EchoAt { rate } => ("/", Scenario::Echo, at(rate)),
        Load::RoomAt { rate } => ("/", Scenario::Broadcast, at(rate)),
        Load::Bystanders { rate, .. } => ("/echo", Scenario::Echo, at(rate)),
    };
    let mut job = Job::new(order.server, path, scenario);
    job.connections = order.connections;
    job.size = order.size;
    // For all engines alike: the floor cannot return what it does not read.
    job.contents = false;
    job.pace = pace;
    job.warmup = WARM_UP;
    job.duration = Duration::from_secs_f64(order.seconds);
    job
}

/// The room that bystanders stand beside.
fn room(order: &Order) -> Option<Job> {
    let Load::Bystanders {
        members, room_rate, ..
    } = order.load
    else {
        return None;
    };
    let echoes = job(order);
    let mut room = Job::new(order.server, "/room", Scenario::Broadcast);
    room.connections = members;
    room.contents = echoes.contents;
    room.pace = Pace::Rate(f64::from(room_rate));
    (room.warmup, room.duration) = (echoes.warmup, echoes.duration);
    Some(room)
}

/// Reads the server's clocks at both ends of the measured window.
struct Window {
    pid: u32,
    began: Option<ProcessCpu>,
    ended: Option<ProcessCpu>,
    open: Option<ProcessMemory>,
}

impl Progress for Window {
    fn window_started(&mut self) {
        self.open = ProcessMemory::of(self.pid).ok();
        self.began = ProcessCpu::of(self.pid).ok();
    }

    fn window_ended(&mut self) {
        self.ended = ProcessCpu::of(self.pid).ok();
    }
}

impl Window {
    fn close(self, before: ProcessMemory, report: &Report) -> Result<Measured, Error> {
        let (Some(began), Some(ended), Some(open)) = (self.began, self.ended, self.open) else {
            return Err(Error::child(
                "the server",
                "ended within the measured window",
            ));
        };
        Ok(Measured {
            connections: report.connections.opened,
            messages: report.messages.received_in_window,
            seconds: report.messages.window_seconds,
            server_cpu: ended.since(began).as_secs_f64(),
            client_cpu: report.client.cpu_seconds,
            memory_before: before.anon_bytes,
            memory_open: open.anon_bytes,
            delay: Delay::of(&report.latency),
            beside: None,
            failures: report.failures(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use throng_bench::floor::{Audience, Driver, Floor};

    use super::*;

    fn order(audience: Audience, load: Load, size: usize) -> Order {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut floor = Floor::bind(Driver::Readiness, any, audience, size).unwrap();
        let server = floor.local_addr().unwrap();
        // Ends with the test's process.
        std::thread::spawn(move || -> io::Result<Infallible> { floor.run() });
        let server_pid = std::process::id();
        Order {
            server,
            server_pid,
            load,
            connections: 20,
            size,
            seconds: 0.1,
            cpu: 0,
        }
    }

    fn run(job: &Job) -> Report {
        let mut job = job.clone();
        job.warmup = Duration::ZERO;
        throng_loadtest::run(&job, &mut ()).unwrap()
    }

    #[test]
    fn the_floor_answers_what_the_load_expects() {
        let echo = order(Audience::Sender, Load::Echo { depth: 16 }, 20);
        let report = run(&job(&echo));
        assert_eq!(report.failures(), [""; 0]);
        assert!(report.messages.received > 20 * 16);
        let room = order(Audience::Everyone, Load::Room { in_flight: 8 }, 64);
        let report = run(&job(&room));
        assert_eq!(report.failures(), [""; 0]);
        assert_eq!(report.messages.received, 20 * report.messages.sent);
    }

    #[test]
    fn lengths_are_checked() {
        for (audience, load) in [
            (Audience::Sender, Load::Echo { depth: 1 }),
            (Audience::Everyone, Load::Room { in_flight: 1 }),
        ] {
            let mut job = job(&order(audience, load, 64));
            // As many bytes as three messages of the floor's size, which is how it counts.
            job.size = 64 * 3 + 6 * 2 - 2;
            job.patience = Duration::from_millis(200);
            assert!(run(&job).faults.corrupt > 0);
        }
    }

    #[test]
    fn costs_are_per_message_of_the_window() {
        let measured = Measured {
            connections: 4,
            messages: 1000,
            seconds: 0.5,
            server_cpu: 0.002,
            client_cpu: 0.25,
            memory_before: 1000,
            memory_open: 3000,
            ..Measured::default()
        };
        assert_eq!(measured.server_us(), Some(2.0));
        assert_eq!(measured.client_us(), Some(250.0));
        assert!((measured.per_second() - 2000.0).abs() < 1e-9);
        assert!((measured.client_busy() - 0.5).abs() < 1e-9);
        assert!((measured.bytes_per_connection() - 500.0).abs() < 1e-9);
        assert_eq!(Measured::default().server_us(), None);
    }
}
