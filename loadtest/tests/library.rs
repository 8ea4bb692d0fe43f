//! Runs through the library, against a server that does as it should.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::time::Duration;

use server::{Fault, Kind, Manner, STALL, start};
#[cfg(target_os = "linux")]
use throng_loadtest::ProcessCpu;
use throng_loadtest::{Error, Job, Pace, Progress, Report, Scenario, Snapshot, run};

const CONNECTIONS: u32 = 100;

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn job(kind: Kind, manner: Manner) -> Job {
    let scenario = match kind {
        Kind::Echo => Scenario::Echo,
        Kind::Broadcast => Scenario::Broadcast,
    };
    let mut job = Job::new(start(kind, Fault::None, manner), "/", scenario);
    job.connections = CONNECTIONS;
    job.warmup = Duration::ZERO;
    job.duration = Duration::from_millis(250);
    job.seed = 7;
    job
}

/// Runs the job and checks what holds of every clean run.
fn clean(job: &Job) -> Report {
    let report = run(job, &mut ()).unwrap();
    assert_eq!(report.failures(), Vec::<String>::new());
    assert_eq!(report.connections.opened, job.connections);
    assert!(report.latency.samples > 0);
    assert!(report.latency.min_ns > 0 && report.latency.p50_ns <= report.latency.max_ns);
    let copies = if job.scenario == Scenario::Broadcast {
        u64::from(job.connections)
    } else {
        1
    };
    assert_eq!(report.messages.received, report.messages.sent * copies);
    report
}

#[test]
fn echoes_of_every_size_are_clean() {
    let manner = Manner {
        dribbles: true,
        ..Manner::default()
    };
    for (size, depth, text) in [
        (0, 1, false),
        (1, 3, false),
        (11, 1, true),
        (20, 1, false),
        (20, 16, true),
        (126, 2, false),
        (70_000, 3, false),
    ] {
        let mut job = job(Kind::Echo, manner);
        (job.size, job.pace, job.text) = (size, Pace::Depth(depth), text);
        job.connections = 20;
        let report = clean(&job);
        assert_eq!(
            report.messages.sent % u64::from(depth),
            0,
            "batches stay intact"
        );
    }
}

#[test]
fn a_message_larger_than_every_buffer_comes_back() {
    let mut job = job(Kind::Echo, Manner::default());
    (job.size, job.connections) = (3 << 20, 2);
    job.duration = Duration::from_secs(1);
    clean(&job);
}

#[test]
fn the_open_loop_sends_what_its_rate_says() {
    let mut job = job(Kind::Echo, Manner::default());
    (job.pace, job.warmup) = (Pace::Rate(2000.0), Duration::from_millis(50));
    let report = clean(&job);
    assert!(report.messages.received_in_window > 0, "{report:?}");
    assert!(report.client.cpu_us_per_message > Some(0.0));
    // 300 ms at 2,000 per second, the first at once.
    assert_eq!(report.messages.sent, 601);
    assert!(
        report.latency.samples.abs_diff(500) <= 1,
        "{}",
        report.latency.samples
    );
}

#[test]
fn broadcasts_reach_everyone() {
    for (senders, pace, text) in [
        (1, Pace::Depth(1), false),
        (1, Pace::Depth(16), true),
        (10, Pace::Depth(25), false),
        (CONNECTIONS, Pace::Rate(300.0), false),
    ] {
        let mut job = job(Kind::Broadcast, Manner::default());
        (job.senders, job.pace, job.text) = (senders, pace, text);
        let report = clean(&job);
        if let Pace::Depth(depth) = pace {
            assert_eq!(
                report.messages.sent % u64::from(depth),
                0,
                "batches stay intact"
            );
        }
    }
}

#[test]
fn pings_are_answered_and_greetings_ignored() {
    let manner = Manner {
        greets: true,
        pings: true,
        ..Manner::default()
    };
    for kind in [Kind::Echo, Kind::Broadcast] {
        let report = clean(&job(kind, manner));
        assert_eq!(report.connections.pings, u64::from(CONNECTIONS));
    }
}

#[test]
fn idle_connections_stay_open() {
    let mut job = job(
        Kind::Echo,
        Manner {
            pings: true,
            ..Manner::default()
        },
    );
    job.scenario = Scenario::Idle;
    let report = run(&job, &mut ()).unwrap();
    assert_eq!(report.failures(), Vec::<String>::new());
    assert_eq!(
        (report.connections.opened, report.messages.received),
        (CONNECTIONS, 0)
    );
}

#[test]
fn the_ramp_is_kept() {
    let mut job = job(Kind::Echo, Manner::default());
    (job.connections, job.ramp) = (30, Some(100.0));
    let report = clean(&job);
    assert!(report.connections.connect_seconds >= 0.29, "{report:?}");
}

/// A job for a server that stalls once.
fn stalling(kind: Kind, pace: Pace, contents: bool) -> Job {
    let mut job = job(kind, Manner::default());
    job.addr = start(kind, Fault::Stall, Manner::default());
    (job.connections, job.pace, job.contents) = (4, pace, contents);
    job.duration = Duration::from_secs(1);
    job
}

/// The messages that took so long at least.
fn slower_than(report: &Report, least: Duration) -> u64 {
    let buckets = report.latency.buckets.iter();
    let slow = buckets.filter(|(latency, _)| u128::from(*latency) >= least.as_nanos());
    slow.map(|(_, count)| count).sum()
}

/// A server that stalls is not asked less often: what should have been sent meanwhile counts
/// with all the time it had to wait.
#[test]
fn the_open_loop_omits_nothing_that_a_stall_delays() {
    for contents in [true, false] {
        // One connection in four stalls for 400 ms: of its 250 messages per second, those due in
        // the first 200 ms of the stall wait for 200 ms and more. In the room all are delayed,
        // and each of a thousand per second for everybody.
        for (kind, delayed) in [(Kind::Echo, 45), (Kind::Broadcast, 4 * 180)] {
            let report = clean(&stalling(kind, Pace::Rate(1000.0), contents));
            let latency = &report.latency;
            assert!(slower_than(&report, STALL) >= 1, "{kind:?}: {latency:?}");
            let slow = slower_than(&report, STALL / 2);
            assert!(slow >= delayed, "{kind:?}: {slow} of {latency:?}");
            assert_eq!(report.messages.sent, 1001);
        }
    }
}

/// Where messages are not told apart, a batch counts from its first write, however many it takes.
#[test]
fn the_closed_loop_sees_a_stall_too() {
    for kind in [Kind::Echo, Kind::Broadcast] {
        let mut job = stalling(kind, Pace::Depth(12), false);
        // More than the buffers of a connection hold: the rest is written after the stall.
        job.size = 3 << 20;
        let report = clean(&job);
        let latency = &report.latency;
        // The sixth message of twelve and those behind it.
        let slow = slower_than(&report, STALL);
        assert!(slow >= 7, "{kind:?}: {slow} of {latency:?}");
    }
}

/// Calls a run off once so many messages were sent.
struct Until(u64, bool);

impl Progress for Until {
    fn tick(&mut self, now: &Snapshot) {
        self.1 = now.sent >= self.0;
    }

    fn cancelled(&mut self) -> bool {
        self.1
    }
}

#[test]
fn the_turn_of_a_sender_that_is_gone_goes_to_the_others() {
    for pace in [Pace::Depth(1), Pace::Depth(7), Pace::Rate(1000.0)] {
        let mut job = job(Kind::Broadcast, Manner::default());
        job.addr = start(Kind::Broadcast, Fault::HangUp, Manner::default());
        (job.connections, job.senders, job.pace) = (10, 10, pace);
        (job.duration, job.patience) = (PATIENCE, Duration::from_secs(2));
        let error = run(&job, &mut Until(100, false)).map(|report| report.failures());
        assert!(
            matches!(error, Err(Error::Cancelled)),
            "{pace:?}: {error:?}"
        );
    }
}

#[test]
fn a_broadcast_without_senders_is_over() {
    let everywhere = Manner {
        everywhere: true,
        ..Manner::default()
    };
    for pace in [Pace::Depth(2), Pace::Rate(1000.0)] {
        let mut job = job(Kind::Broadcast, Manner::default());
        job.addr = start(Kind::Broadcast, Fault::HangUp, everywhere);
        (job.connections, job.senders, job.pace) = (10, 2, pace);
        job.duration = PATIENCE;
        let error = run(&job, &mut ()).unwrap_err();
        assert!(matches!(error, Error::NoSenders { .. }), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[derive(Default)]
struct Hooks {
    called: Vec<&'static str>,
    cpu: Vec<ProcessCpu>,
    open: u32,
}

#[cfg(target_os = "linux")]
impl Progress for Hooks {
    fn opened(&mut self, now: &Snapshot) {
        self.open = now.open;
        self.called.push("opened");
    }

    fn window_started(&mut self) {
        self.cpu.push(ProcessCpu::of(std::process::id()).unwrap());
        self.called.push("started");
    }

    fn window_ended(&mut self) {
        self.cpu.push(ProcessCpu::of(std::process::id()).unwrap());
        self.called.push("ended");
    }

    fn sending_ended(&mut self, sent: &[u64]) {
        assert!(sent.iter().all(|&sent| sent > 0));
        self.called.push("sent");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn hooks_frame_the_window() {
    let mut hooks = Hooks::default();
    let mut job = job(Kind::Broadcast, Manner::default());
    job.senders = 2;
    job.pace = Pace::Depth(2);
    let report = run(&job, &mut hooks).unwrap();
    assert_eq!(hooks.called, ["opened", "started", "ended", "sent"]);
    assert_eq!(hooks.open, CONNECTIONS);
    // This process is client and server at once.
    let cpu = hooks.cpu[1].since(hooks.cpu[0]);
    assert!(
        cpu.as_secs_f64() > report.client.cpu_seconds,
        "{cpu:?} {report:?}"
    );
}

struct Impatient;

impl Progress for Impatient {
    fn cancelled(&mut self) -> bool {
        true
    }
}

#[test]
fn a_run_can_be_called_off() {
    let mut job = job(Kind::Echo, Manner::default());
    job.duration = Duration::from_secs(600);
    let error = run(&job, &mut Impatient).unwrap_err();
    assert_eq!(error.to_string(), "called off");
}

#[test]
fn reports_survive_json() {
    let report = clean(&job(Kind::Echo, Manner::default()));
    let text = serde_json::to_string(&report).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(read.messages.received, report.messages.received);
    assert_eq!((read.pace, read.faults), (report.pace, report.faults));
    assert_eq!(read.latency.buckets, report.latency.buckets);
    let drift = read.messages.sent_per_second / report.messages.sent_per_second - 1.0;
    assert!(drift.abs() < 1e-9, "{drift}");
}
