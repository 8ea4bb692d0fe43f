//! Runs seeds of the simulation and reports the first that breaks a rule.
//!
//! ```sh
//! cargo run --release -p throng-tests --bin sim -- --seeds 0..100000
//! cargo run --release -p throng-tests --bin sim -- --seed 42 --trace
//! ```

use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use throng_tests::sim::{Outcome, run};
use throng_transport::memory::charged;

/// Seeds after which all threads stop, so that what the process still holds for connections can be
/// looked at: it must be nothing.
const BETWEEN_LOOKS: u64 = 256;

/// Whole engines on a simulated network, one per seed, checked against a model.
#[derive(Debug, Parser)]
struct Args {
    /// Seeds to run, the last one not included.
    #[arg(long, value_parser = seeds, default_value = "0..2000")]
    seeds: Range<u64>,
    /// The only seed to run.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Tell what was done to the engine.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads that run seeds.
    #[arg(long, default_value_t = cores())]
    jobs: NonZero<u32>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("seeds are given as 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err("there are no seeds in this range".to_owned());
    }
    Ok(range)
}

fn cores() -> NonZero<u32> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores)
        .ok()
        .and_then(NonZero::new)
        .unwrap_or(NonZero::<u32>::MIN)
}

/// What the seeds came to.
#[derive(Debug, Default)]
struct Sum {
    events: AtomicU64,
    heard: AtomicU64,
}

impl Sum {
    fn add(&self, outcome: &Outcome) {
        self.events.fetch_add(outcome.events, Ordering::Relaxed);
        self.heard.fetch_add(outcome.heard, Ordering::Relaxed);
    }
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.seeds, |seed| seed..seed + 1);
    let mut out = io::stdout().lock();
    let begun = Instant::now();
    if args.trace {
        let outcome = run(seeds.start, true);
        for line in &outcome.trace {
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "digest {:016x}, {} events",
            outcome.digest, outcome.events
        )?;
    }
    let sum = Sum::default();
    let progress = progress(seeds.end - seeds.start);
    let violation = run_all(&seeds, args.jobs, &sum, &progress);
    progress.finish_and_clear();
    if let Some((seed, violation)) = violation {
        writeln!(out, "seed {seed}: {violation}")?;
        writeln!(
            out,
            "replay: cargo run --release -p throng-tests --bin sim -- --seed {seed} --trace"
        )?;
        return Ok(ExitCode::FAILURE);
    }
    report(&mut out, seeds.end - seeds.start, &sum, begun.elapsed())?;
    Ok(ExitCode::SUCCESS)
}

fn progress(seeds: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left");
    ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The smallest seed found that breaks a rule, and the rule.
fn run_all(
    seeds: &Range<u64>,
    jobs: NonZero<u32>,
    sum: &Sum,
    progress: &ProgressBar,
) -> Option<(u64, String)> {
    let mut from = seeds.start;
    while from < seeds.end {
        let to = seeds.end.min(from.saturating_add(BETWEEN_LOOKS));
        let next = AtomicU64::new(from);
        let work = || {
            let mut first = None;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= to || first.is_some() {
                    return first;
                }
                let outcome = run(seed, false);
                sum.add(&outcome);
                progress.inc(1);
                first = outcome.violation.map(|violation| (seed, violation));
            }
        };
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs.get()).map(|_| scope.spawn(work)).collect();
            let died = || Some((from, format!("a panic, of a seed below {to}")));
            let ends = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| died()));
            ends.flatten().min()
        });
        if found.is_some() {
            return found;
        }
        if charged() > 0 {
            return Some(leak(from..to));
        }
        from = to;
    }
    None
}

/// The seed that leaves memory behind, found by running them one by one.
fn leak(mut seeds: Range<u64>) -> (u64, String) {
    let first = seeds.start;
    let leaks = |seed: &u64| {
        let before = charged();
        drop(run(*seed, false));
        charged() > before
    };
    let wrong = "bytes are still charged for connections".to_owned();
    (seeds.find(leaks).unwrap_or(first), wrong)
}

#[expect(clippy::cast_precision_loss, reason = "rates")]
fn report(out: &mut impl Write, seeds: u64, sum: &Sum, took: Duration) -> io::Result<()> {
    let seconds = took.as_secs_f64();
    let (events, heard) = (
        sum.events.load(Ordering::Relaxed),
        sum.heard.load(Ordering::Relaxed),
    );
    writeln!(
        out,
        "{seeds} seeds without a violation in {seconds:.1} s ({:.0} a second): {events} events, \
         {heard} messages heard",
        seeds as f64 / seconds
    )
}
