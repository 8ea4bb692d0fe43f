//! A run from the first connect to the last close.

use crate::Error;
use crate::broadcast::Broadcast;
use crate::clock::{self, as_nanos, now};
use crate::echo::Echo;
use crate::job::{Job, Scenario};
use crate::progress::{Progress, Snapshot, Stage};
use crate::report::{Client, Connections, Messages, Report};
use crate::traffic::{Idle, Traffic};
use crate::turns::Turns;

/// How often [`Progress::tick`] is called.
const TICK: u64 = 100_000_000;

/// How often a run that waits asks whether to go on.
const ASK: u64 = 5_000_000;

/// How long after the last handshake greetings are waited for.
const SETTLE: u64 = 100_000_000;

/// Puts the load of `job` on its server, in the calling thread, and returns what came out
/// once everything that was sent has been accounted for.
///
/// # Errors
/// When the job is refused ([`Job::check`]), nothing could be opened, the system refuses a
/// resource, or `progress` called the run off. What the server did wrong is no error but
/// in [`Report::failures`].
pub fn run(job: &Job, progress: &mut dyn Progress) -> Result<Report, Error> {
    job.check()?;
    match job.scenario {
        Scenario::Idle => Run::new(job, Idle::new(job), progress)?.complete(),
        Scenario::Echo => Run::new(job, Echo::new(job), progress)?.complete(),
        Scenario::Broadcast => Run::new(job, Broadcast::new(job), progress)?.complete(),
    }
}

struct Run<'a, T> {
    turns: Turns<'a, T>,
    progress: &'a mut dyn Progress,
    stage: Stage,
    stage_began: u64,
    next_tick: u64,
    /// Messages sent and received at the last tick, and when they last became more.
    seen: (u64, u64),
    /// Something is outstanding and nothing has moved for too long.
    stalled: bool,
    /// What all senders have sent is known to those who have to know.
    told: bool,
    connect_nanos: u64,
    messages: Messages,
    client: Client,
}

impl<'a, T: Traffic> Run<'a, T> {
    fn new(job: &'a Job, traffic: T, progress: &'a mut dyn Progress) -> Result<Self, Error> {
        let began = now();
        Ok(Self {
            turns: Turns::new(job, traffic)?,
            progress,
            stage: Stage::Connecting,
            stage_began: began,
            next_tick: began + TICK,
            seen: (0, began),
            stalled: false,
            told: false,
            connect_nanos: 0,
            messages: Messages::default(),
            client: Client {
                workers: 1,
                ..Client::default()
            },
        })
    }

    fn complete(mut self) -> Result<Report, Error> {
        self.connect()?;
        let start = self.wait()?;
        self.load(start)?;
        self.drain()?;
        self.close()?;
        Ok(self.report())
    }

    fn connect(&mut self) -> Result<(), Error> {
        while !self.turns.open_more() {
            self.turn(now() + ASK)?;
        }
        let counts = &self.turns.counts;
        self.connect_nanos = counts.settled_at.saturating_sub(self.stage_began);
        if counts.opened == 0 {
            let first = counts.first_failure.clone().unwrap_or_default();
            let addr = self.turns.job.addr;
            return Err(Error::NothingOpened { addr, first });
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<u64, Error> {
        self.enter(Stage::Waiting);
        let settled = now() + SETTLE;
        while now() < settled {
            self.turn(settled)?;
        }
        if !self.turns.job.sends {
            // The senders begin once every process has said that it is ready.
            self.turns.start(settled);
        }
        let snapshot = self.snapshot();
        self.progress.opened(&snapshot);
        let start = loop {
            match self.progress.start() {
                Some(start) => break start,
                None => self.turn(now() + ASK)?,
            }
        };
        while now() < start {
            self.turn(start)?;
        }
        Ok(start)
    }

    fn load(&mut self, start: u64) -> Result<(), Error> {
        let from = start.saturating_add(as_nanos(self.turns.job.warmup));
        let to = from.saturating_add(as_nanos(self.turns.job.duration));
        self.turns.traffic.flow_mut().recorder.open(from, to);
        if self.turns.job.sends {
            self.turns.start(start);
        } else {
            // They began with their connections; the schedule begins for all at once.
            self.turns.traffic.flow_mut().start(start);
        }
        self.seen.1 = start;
        self.enter(Stage::WarmUp);
        self.turns_until(from)?;

        self.enter(Stage::Measuring);
        self.progress.window_started();
        let (sent, received) = self.totals();
        let (began, cpu) = (now(), clock::thread_cpu());
        self.turns_until(to)?;
        let elapsed = now().saturating_sub(began) as f64 / 1e9;
        self.client.cpu_seconds = clock::thread_cpu().saturating_sub(cpu) as f64 / 1e9;
        let totals = self.totals();
        self.progress.window_ended();
        self.messages.window_seconds = elapsed;
        self.messages.sent_in_window = totals.0 - sent;
        self.messages.received_in_window = totals.1 - received;
        self.turns.stop(to);
        self.client.busy = self.client.cpu_seconds / elapsed.max(f64::MIN_POSITIVE);
        Ok(())
    }

    /// Turns until the moment, or until nothing has come for too long though something
    /// should have, or no connection is left.
    ///
    /// # Errors
    /// Those of a turn, and when only connections are left that do not send.
    fn turns_until(&mut self, moment: u64) -> Result<(), Error> {
        while now() < moment && !self.stalled && self.turns.counts.open > 0 {
            self.turn(moment)?;
            if self.turns.job.sends && !self.turns.traffic.can_send() {
                let first = self.turns.counts.first_failure.clone();
                let first = first.unwrap_or_default();
                return Err(Error::NoSenders { first });
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Error> {
        self.enter(Stage::Draining);
        self.seen.1 = now();
        while !self.stalled {
            if !self.told {
                self.tell();
            } else if self.turns.traffic.is_complete() {
                break;
            }
            self.turn(now() + ASK)?;
        }
        if self.turns.job.sends && !self.told {
            self.progress.sending_ended(&self.turns.traffic.sent_each());
        }
        Ok(())
    }

    /// Tells what was sent once all is sent, or asks for it.
    fn tell(&mut self) {
        let traffic = &mut self.turns.traffic;
        if !self.turns.job.sends {
            if let Some(sent) = self.progress.sent_elsewhere() {
                traffic.sent_elsewhere(&sent);
                self.told = true;
                self.seen.1 = now();
            }
        } else if traffic.has_sent_all() {
            self.progress.sending_ended(&traffic.sent_each());
            self.told = true;
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        self.enter(Stage::Closing);
        self.turns.close();
        let until = now().saturating_add(self.turns.patience());
        while self.turns.counts.open > 0 && now() < until {
            self.turn(until)?;
        }
        self.turns.give_up();
        Ok(())
    }

    fn turn(&mut self, until: u64) -> Result<(), Error> {
        self.turns.turn(until.min(self.next_tick))?;
        let now = now();
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let (sent, received) = self.totals();
            if sent + received != self.seen.0 {
                self.seen = (sent + received, now);
            }
            let waited = now.saturating_sub(self.seen.1);
            // Without the senders nobody knows whether anything is outstanding.
            let knows = self.turns.job.sends || self.told;
            self.stalled = knows
                && self.stage >= Stage::WarmUp
                && waited > self.turns.patience()
                && !self.turns.traffic.is_complete();
            let snapshot = self.snapshot();
            self.progress.tick(&snapshot);
            if self.progress.cancelled() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.stage_began = now();
    }

    fn totals(&self) -> (u64, u64) {
        let flow = self.turns.traffic.flow();
        (flow.sent, flow.received)
    }

    fn snapshot(&self) -> Snapshot {
        let counts = &self.turns.counts;
        let (sent, received) = self.totals();
        Snapshot {
            stage: self.stage,
            seconds: now().saturating_sub(self.stage_began) as f64 / 1e9,
            open: counts.open,
            failed: counts.failed + counts.dropped,
            sent,
            received,
        }
    }

    fn report(mut self) -> Report {
        (self.messages.sent, self.messages.received) = self.totals();
        let Turns {
            job,
            traffic,
            counts,
            ..
        } = self.turns;
        let (faults, latency) = traffic.settle();
        let mut report = Report {
            scenario: job.scenario,
            size: job.size,
            text: job.text,
            pace: job.pace,
            seed: job.seed,
            connections: Connections {
                asked: job.connections,
                opened: counts.opened,
                failed: counts.failed,
                dropped: counts.dropped,
                unclosed: counts.unclosed,
                connect_seconds: self.connect_nanos as f64 / 1e9,
                first_failure: counts.first_failure,
                pings: counts.pings,
            },
            messages: self.messages,
            latency,
            faults,
            client: self.client,
            server: None,
        };
        report.finish();
        report
    }
}
