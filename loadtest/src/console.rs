//! What a person sees while a run goes on, and the samples of the server it takes.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use throng_loadtest::{
    Error, Job, ProcessCpu, ProcessMemory, Progress, ServerUse, Snapshot, Stage, ThreadsCpu,
};

/// How often the bar is drawn, for drawing takes time from the load.
const DRAW_EVERY: Duration = Duration::from_millis(300);

/// Shows progress, if standard error is a terminal, and samples the server.
#[derive(Debug)]
pub(crate) struct Console {
    bar: Option<ProgressBar>,
    drawn: Instant,
    connections: u32,
    warmup: Duration,
    duration: Duration,
    pid: Option<u32>,
    memory: Option<Result<ProcessMemory, Error>>,
    started: Option<Result<Sample, Error>>,
    ended: Option<Result<Sample, Error>>,
}

/// CPU times of the server: of the process, and of its threads.
type Sample = (ProcessCpu, ThreadsCpu);

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
            drawn: Instant::now(),
            connections: job.connections,
            warmup: job.warmup,
            duration: job.duration,
            pid,
            memory: None,
            started: None,
            ended: None,
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// What the server, process `pid`, used; `memory_before` is from before the run.
    ///
    /// # Errors
    /// When it could not be sampled, as when the process has ended.
    pub(crate) fn server(self, pid: u32, memory_before: ProcessMemory) -> Result<ServerUse, Error> {
        let missing = || Error::Process {
            process: format!("process {pid}"),
            reason: "was not sampled".into(),
        };
        let (cpu_started, threads_started) = self.started.ok_or_else(missing)??;
        let (cpu_ended, threads_ended) = self.ended.ok_or_else(missing)??;
        Ok(ServerUse {
            pid,
            cpu: cpu_ended.since(cpu_started),
            busiest_thread: threads_ended.busiest_since(&threads_started),
            memory_before,
            memory_open: self.memory.ok_or_else(missing)??,
        })
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
                let done = f64::from(open + failed) / f64::from(self.connections.max(1));
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

fn sample(pid: u32) -> Result<Sample, Error> {
    Ok((ProcessCpu::of(pid)?, ThreadsCpu::of(pid)?))
}

impl Progress for Console {
    fn tick(&mut self, now: &Snapshot) {
        if let Some(bar) = &self.bar
            && self.drawn.elapsed() >= DRAW_EVERY
        {
            self.drawn = Instant::now();
            let (words, thousandths) = self.describe(now);
            bar.set_message(words);
            bar.set_position(thousandths);
        }
    }

    fn opened(&mut self, _: &Snapshot) {
        self.memory = self.pid.map(ProcessMemory::of);
    }

    fn window_started(&mut self) {
        self.started = self.pid.map(sample);
    }

    fn window_ended(&mut self) {
        self.ended = self.pid.map(sample);
    }
}
