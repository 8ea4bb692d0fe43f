//! What a person sees while a run goes on, and the samples of the server it takes.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use throng_loadtest::{Error, Job, ProcessCpu, ProcessMemory, Progress, Snapshot, Stage};

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// How often the bar is drawn, for drawing takes time from the load.
const DRAW_EVERY: Duration = Duration::from_millis(300);

/// Shows progress and samples the server.
#[derive(Debug)]
pub(crate) struct Console {
    bar: Option<ProgressBar>,
    shown: Instant,
    connections: u64,
    warmup: Duration,
    duration: Duration,
    pid: Option<u32>,
    memory: Option<Result<ProcessMemory, Error>>,
    cpu_started: Option<Result<ProcessCpu, Error>>,
    cpu_ended: Option<Result<ProcessCpu, Error>>,
}

impl Console {
    /// A console for `job` that samples process `pid`.
    pub(crate) fn new(job: &Job, pid: Option<u32>) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {msg}");
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1000);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            shown: Instant::now(),
            connections: u64::from(job.connections),
            warmup: job.warmup,
            duration: job.duration,
            pid,
            memory: None,
            cpu_started: None,
            cpu_ended: None,
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The server's CPU time in the measured window and its memory before it.
    ///
    /// # Errors
    /// When it could not be sampled, as when the process has ended.
    pub(crate) fn server(self) -> Result<(Duration, ProcessMemory), Error> {
        let missing = || Error::Process {
            process: "server".into(),
            reason: "was not sampled".into(),
        };
        let started = self.cpu_started.ok_or_else(missing)??;
        let ended = self.cpu_ended.ok_or_else(missing)??;
        let memory = self.memory.ok_or_else(missing)??;
        Ok((ended.since(started), memory))
    }

    /// The stage in words, and its progress in thousandths.
    fn describe(&self, now: &Snapshot) -> (String, u64) {
        let Snapshot {
            seconds,
            open,
            failed,
            sent,
            received,
            ..
        } = *now;
        let part = |of: Duration| (seconds / of.as_secs_f64().max(1e-9)).min(1.0);
        let messages = format!("{sent} sent, {received} received");
        let (words, part) = match now.stage {
            Stage::Connecting | Stage::Waiting => {
                let done = f64::from(open + failed) / self.connections.max(1) as f64;
                (format!("connecting: {open} open, {failed} failed"), done)
            }
            Stage::WarmUp => (format!("warming up: {messages}"), part(self.warmup)),
            Stage::Measuring => (format!("measuring: {messages}"), part(self.duration)),
            Stage::Draining => (format!("waiting for the rest: {messages}"), 1.0),
            Stage::Closing => (format!("closing: {open} open"), 1.0),
        };
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
        #[expect(clippy::cast_sign_loss, reason = "0 to 1000")]
        let thousandths = (part * 1000.0) as u64;
        (words, thousandths)
    }
}

impl Progress for Console {
    fn tick(&mut self, now: &Snapshot) {
        let every = if self.bar.is_some() {
            DRAW_EVERY
        } else {
            LINE_EVERY
        };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (words, thousandths) = self.describe(now);
        match &self.bar {
            Some(bar) => {
                bar.set_message(words);
                bar.set_position(thousandths);
            }
            // Progress that nobody can read is no reason to stop.
            None => drop(writeln!(stderr(), "{words} ({:.0} s)", now.seconds)),
        }
    }

    fn opened(&mut self, _: &Snapshot) {
        self.memory = self.pid.map(ProcessMemory::of);
    }

    fn window_started(&mut self) {
        self.cpu_started = self.pid.map(ProcessCpu::of);
    }

    fn window_ended(&mut self) {
        self.cpu_ended = self.pid.map(ProcessCpu::of);
    }
}
