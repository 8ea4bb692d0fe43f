//! A run shared by several worker processes: they connect, begin together, and their
//! reports become one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use throng_loadtest::{Error, Job, Progress, Report, Scenario, Snapshot, Stage, now};

use crate::worker::{Order, Task, Word};

/// How far ahead the common start is set, so that every worker knows of it in time.
const LEAD: Duration = Duration::from_millis(100);

/// Carries out `jobs` in a worker each, pinned to `cores` in turn if there are any.
pub(crate) fn run(
    jobs: &[Job],
    cores: &[usize],
    progress: &mut dyn Progress,
) -> Result<Report, Error> {
    let (sender, words) = channel();
    let mut workers = Vec::with_capacity(jobs.len());
    for (number, job) in jobs.iter().enumerate() {
        let core = number
            .checked_rem(cores.len())
            .and_then(|place| cores.get(place));
        let task = Task {
            job: job.clone(),
            cpu: core.copied(),
        };
        workers.push(Worker::start(number, &task, sender.clone())?);
    }
    drop(sender);
    Conductor {
        workers,
        progress,
        words,
        scenario: jobs.first().map(|job| job.scenario),
    }
    .conduct()
}

struct Conductor<'a> {
    workers: Vec<Worker>,
    progress: &'a mut dyn Progress,
    /// What the workers say; nothing more when one has ended.
    words: Receiver<(usize, Option<Word>)>,
    scenario: Option<Scenario>,
}

/// A worker process, ended when dropped.
struct Worker {
    child: Child,
    input: ChildStdin,
    snapshot: Option<Snapshot>,
    opened: bool,
    report: Option<Report>,
}

impl Conductor<'_> {
    fn conduct(mut self) -> Result<Report, Error> {
        while self.workers.iter().any(|worker| worker.report.is_none()) {
            let gone = |_| Error::Process {
                process: "workers".into(),
                reason: "ended without a report".into(),
            };
            let (number, word) = self.words.recv().map_err(gone)?;
            self.handle(number, word)?;
        }
        let reports: Vec<Report> = self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.report.take())
            .collect();
        Report::merge(&reports).ok_or_else(|| Error::setting("workers", &0, "must be at least 1"))
    }

    fn handle(&mut self, number: usize, word: Option<Word>) -> Result<(), Error> {
        let Some(worker) = self.workers.get_mut(number) else {
            return Ok(());
        };
        let failed = |reason: String| Error::Process {
            process: format!("worker {number}"),
            reason,
        };
        match word {
            Some(Word::Tick(snapshot)) => {
                worker.snapshot = Some(snapshot);
                if number == 0 {
                    let sum = self.sum();
                    self.progress.tick(&sum);
                }
            }
            Some(Word::Opened(snapshot)) => {
                worker.snapshot = Some(snapshot);
                worker.opened = true;
                if self.workers.iter().all(|worker| worker.opened) {
                    self.begin()?;
                }
            }
            Some(Word::WindowStarted) if number == 0 => self.progress.window_started(),
            Some(Word::WindowEnded) if number == 0 => self.progress.window_ended(),
            Some(Word::WindowStarted | Word::WindowEnded) => {}
            Some(Word::SendingEnded(sent)) if self.scenario == Some(Scenario::Broadcast) => {
                self.order_others(number, &Order::Sent(sent))?;
            }
            Some(Word::SendingEnded(_)) => {}
            Some(Word::Done(report)) => worker.report = Some(*report),
            Some(Word::Failed(reason)) => return Err(failed(reason)),
            None if worker.report.is_none() => {
                return Err(failed("ended without a report".into()));
            }
            None => {}
        }
        Ok(())
    }

    /// All connections are open: has the load begin everywhere at once.
    fn begin(&mut self) -> Result<(), Error> {
        let sum = self.sum();
        self.progress.opened(&sum);
        let lead = u64::try_from(LEAD.as_nanos()).unwrap_or_default();
        self.order_others(usize::MAX, &Order::Start(now() + lead))
    }

    fn order_others(&mut self, but: usize, order: &Order) -> Result<(), Error> {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if number != but && worker.report.is_none() {
                tell(number, &mut worker.input, order)?;
            }
        }
        Ok(())
    }

    fn sum(&self) -> Snapshot {
        let none = Snapshot {
            stage: Stage::Closing,
            seconds: 0.0,
            open: 0,
            failed: 0,
            sent: 0,
            received: 0,
        };
        let known = self
            .workers
            .iter()
            .filter_map(|worker| worker.snapshot.as_ref());
        known.fold(none, |sum, one| Snapshot {
            stage: sum.stage.min(one.stage),
            seconds: sum.seconds.max(one.seconds),
            open: sum.open + one.open,
            failed: sum.failed + one.failed,
            sent: sum.sent + one.sent,
            received: sum.received + one.received,
        })
    }
}

impl Worker {
    fn start(
        number: usize,
        task: &Task,
        words: Sender<(usize, Option<Word>)>,
    ) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting a worker"))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Process {
                process: format!("worker {number}"),
                reason: "has no pipes".into(),
            });
        };
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for word in lines.map_while(|line| serde_json::from_str(&line).ok()) {
                if words.send((number, Some(word))).is_err() {
                    return;
                }
            }
            // Nobody listens any more if this fails.
            let _ = words.send((number, None));
        });
        let told = tell(number, &mut input, task);
        let worker = Self {
            child,
            input,
            snapshot: None,
            opened: false,
            report: None,
        };
        told.map(|()| worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(number: usize, input: &mut ChildStdin, what: &impl Serialize) -> Result<(), Error> {
    let action = || format!("writing to worker {number}");
    let mut line = serde_json::to_vec(what).map_err(|error| Error::io(action())(error.into()))?;
    line.push(b'\n');
    input.write_all(&line).map_err(Error::io(action()))
}
