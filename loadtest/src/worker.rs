//! A worker: a process that carries a part of a larger run and speaks JSON lines with the
//! one that started it.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use serde::{Deserialize, Serialize};
use throng_loadtest::{Error, Job, Progress, Report, Snapshot, machine, run};

/// The first line a worker reads: its task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) job: Job,
    /// Core to pin itself to.
    pub(crate) cpu: Option<usize>,
}

/// The further lines a worker reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Begin the load at this time of the machine's monotonic clock.
    Start(u64),
    /// What each sender has sent in all.
    Sent(Vec<u64>),
}

/// The lines a worker writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Tick(Snapshot),
    Opened(Snapshot),
    WindowStarted,
    WindowEnded,
    SendingEnded(Vec<u64>),
    Done(Box<Report>),
    Failed(String),
}

/// Reads a task from standard input, carries it out and writes how it goes to standard
/// output. Ends early when standard input does.
pub(crate) fn work() -> Result<Vec<String>, Error> {
    let mut line = String::new();
    stdin()
        .read_line(&mut line)
        .map_err(Error::io("reading the task"))?;
    let task: Task = serde_json::from_str(&line).map_err(|error| Error::Process {
        process: "the starting process".into(),
        reason: format!("gave no task: {error}"),
    })?;
    let mut line = Line {
        orders: orders(),
        start: None,
        sent: None,
        broken: false,
    };
    let outcome = task
        .cpu
        .map_or(Ok(()), |core| machine::pin("cpu", core))
        .and_then(|()| run(&task.job, &mut line));
    line.say(&match outcome {
        Ok(report) => Word::Done(Box::new(report)),
        Err(error) => Word::Failed(error.to_string()),
    });
    Ok(Vec::new())
}

/// The orders from standard input, read by a thread of their own so that the load never
/// waits for them.
fn orders() -> Receiver<Order> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = stdin().lock().lines().map_while(Result::ok);
        for order in lines.map_while(|line| serde_json::from_str(&line).ok()) {
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The line to the starting process.
struct Line {
    orders: Receiver<Order>,
    start: Option<u64>,
    sent: Option<Vec<u64>>,
    broken: bool,
}

impl Line {
    fn say(&mut self, word: &Word) {
        let mut out = stdout().lock();
        let text = serde_json::to_string(word).unwrap_or_default();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        self.broken |= written.is_err();
    }

    fn listen(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Start(at)) => self.start = Some(at),
                Ok(Order::Sent(sent)) => self.sent = Some(sent),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}

impl Progress for Line {
    fn tick(&mut self, now: &Snapshot) {
        self.say(&Word::Tick(*now));
    }

    fn opened(&mut self, now: &Snapshot) {
        self.say(&Word::Opened(*now));
    }

    fn start(&mut self) -> Option<u64> {
        self.listen();
        self.start
    }

    fn window_started(&mut self) {
        self.say(&Word::WindowStarted);
    }

    fn window_ended(&mut self) {
        self.say(&Word::WindowEnded);
    }

    fn sending_ended(&mut self, sent: &[u64]) {
        self.say(&Word::SendingEnded(sent.to_vec()));
    }

    fn sent_elsewhere(&mut self) -> Option<Vec<u64>> {
        self.listen();
        self.sent.take()
    }

    fn cancelled(&mut self) -> bool {
        self.listen();
        self.broken
    }
}
