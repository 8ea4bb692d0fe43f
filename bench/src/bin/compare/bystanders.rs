//! Two loads on one server at once: a room that receives, and bystanders whose echoes are timed.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throng_loadtest::{Job, Progress, Report, Snapshot, machine, now, run};

use crate::Error;
use crate::delay::Delay;

/// From telling the room when to begin until it does: it asks every few milliseconds.
const HEAD_START: Duration = Duration::from_millis(100);

/// What else went on while bystanders were measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// The same echoes on the same server, with as many members in the room and nothing sent to it.
    pub(crate) silent: Option<Delay>,
    /// The deliveries to the room.
    pub(crate) room: Option<Delay>,
}

/// What came out of both loads.
pub(crate) struct Outcome {
    /// The echoes while the room was silent.
    pub(crate) silent: Report,
    /// The echoes while the room received.
    pub(crate) busy: Report,
    pub(crate) room: Report,
}

impl Outcome {
    pub(crate) fn beside(&self) -> Beside {
        Beside {
            silent: Delay::of(&self.silent.latency),
            room: Delay::of(&self.room.latency),
        }
    }

    /// What went wrong in any of them.
    pub(crate) fn failures(&self) -> Vec<String> {
        let parts = [
            ("echo beside the silent room", &self.silent),
            ("echo beside the room", &self.busy),
            ("the room", &self.room),
        ];
        parts
            .iter()
            .flat_map(|(name, part)| {
                let lines = part.failures().into_iter();
                lines.map(move |line| format!("{name}: {line}"))
            })
            .collect()
    }
}

/// Fills the room, makes the run `echo` while it is silent, then again while `room` runs; `window`
/// sees the second one. Both must have the same warm-up and duration: their measured windows are
/// the same then.
///
/// The room's load is a thread of its own on the same core, and gives way to the echoes': their
/// latency is the server's, not that of a client which has ten thousand deliveries to read.
pub(crate) fn measure(echo: &Job, room: &Job, window: &mut dyn Progress) -> Result<Outcome, Error> {
    let (opened, filled) = channel();
    let (begin, told) = channel();
    thread::scope(|scope| {
        let members = scope.spawn(move || {
            machine::give_way();
            let mut members = Members {
                opened,
                told,
                started: false,
                deserted: false,
            };
            run(room, &mut members)
        });
        // Without an answer the room has ended, and says itself why.
        let echoes = filled.recv().map(|()| {
            let silent = run(echo, &mut ())?;
            let mut bystanders = Bystanders { begin, window };
            Ok((silent, run(echo, &mut bystanders)?))
        });
        let room = members
            .join()
            .map_err(|_| Error::child("the room's load", "panicked"))?;
        match echoes {
            Ok(echoes) => {
                let (silent, busy) = echoes.map_err(Error::Load)?;
                let room = room?;
                Ok(Outcome { silent, busy, room })
            }
            Err(_) => Err(room.map_or_else(Error::Load, |_| {
                Error::child("the room's load", "ended before it began")
            })),
        }
    })
}

/// The room's side: filled first, begun when told to, called off if nobody will tell.
struct Members {
    opened: Sender<()>,
    told: Receiver<u64>,
    started: bool,
    deserted: bool,
}

impl Progress for Members {
    fn opened(&mut self, _: &Snapshot) {
        // Who no longer waits for it has hung up the other line as well.
        let _ = self.opened.send(());
    }

    fn start(&mut self) -> Option<u64> {
        match self.told.try_recv() {
            Ok(moment) => {
                self.started = true;
                Some(moment)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.deserted = true;
                None
            }
        }
    }

    fn cancelled(&mut self) -> bool {
        self.deserted && !self.started
    }
}

/// The bystanders' side, which begins both.
struct Bystanders<'a> {
    begin: Sender<u64>,
    window: &'a mut dyn Progress,
}

impl Progress for Bystanders<'_> {
    fn start(&mut self) -> Option<u64> {
        let head_start = u64::try_from(HEAD_START.as_nanos()).unwrap_or(u64::MAX);
        let moment = now().saturating_add(head_start);
        // If the room has ended, its outcome tells.
        let _ = self.begin.send(moment);
        Some(moment)
    }

    fn window_started(&mut self) {
        self.window.window_started();
    }

    fn window_ended(&mut self) {
        self.window.window_ended();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use throng::{Config, Engine};
    use throng_loadtest::embedded::{Service, start};
    use throng_loadtest::{Pace, Scenario};

    use super::*;

    fn mixed() -> (Engine, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let engine = start(Service::Mixed, any, Config::default().shards(1)).unwrap();
        let address = engine.local_addr().unwrap();
        (engine, address)
    }

    fn jobs(address: SocketAddr, room_path: &str) -> (Job, Job) {
        let mut echo = Job::new(address, "/echo", Scenario::Echo);
        echo.connections = 10;
        echo.pace = Pace::Rate(1000.0);
        echo.warmup = Duration::ZERO;
        echo.duration = Duration::from_millis(300);
        let mut room = Job::new(address, room_path, Scenario::Broadcast);
        room.connections = 50;
        room.pace = Pace::Rate(50.0);
        (room.warmup, room.duration) = (echo.warmup, echo.duration);
        (echo, room)
    }

    #[derive(Default)]
    struct Windows {
        started: u32,
        ended: u32,
    }

    impl Progress for Windows {
        fn window_started(&mut self) {
            self.started += 1;
        }

        fn window_ended(&mut self) {
            self.ended += 1;
        }
    }

    #[test]
    fn both_loads_are_put_and_checked() {
        let (_engine, address) = mixed();
        let (echo, room) = jobs(address, "/room");
        let mut windows = Windows::default();
        let outcome = measure(&echo, &room, &mut windows).unwrap();
        assert_eq!(outcome.failures(), [""; 0]);
        assert_eq!((windows.started, windows.ended), (1, 1));
        for echoes in [&outcome.silent, &outcome.busy] {
            assert_eq!(echoes.messages.received, echoes.messages.sent);
            assert!(echoes.messages.sent > 0);
        }
        // Bystanders are not in the room: all its members got everything, and no one else.
        let room = &outcome.room.messages;
        assert!(room.sent > 0);
        assert_eq!(room.received, 50 * room.sent);
        let beside = outcome.beside();
        assert!(beside.silent.is_some() && beside.room.is_some());
    }

    #[test]
    fn a_room_that_cannot_be_filled_is_told() {
        let (_engine, address) = mixed();
        let (echo, room) = jobs(address, "/nowhere");
        let error = measure(&echo, &room, &mut ()).map(drop).unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }

    #[test]
    fn a_room_is_called_off_when_the_echoes_fail() {
        let (_engine, address) = mixed();
        let (mut echo, room) = jobs(address, "/room");
        echo.path = "/nowhere".to_owned();
        // Ends only because the room, which waits to be told, is called off.
        let error = measure(&echo, &room, &mut ()).map(drop).unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }
}
