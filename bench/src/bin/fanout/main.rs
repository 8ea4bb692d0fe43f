//! What the fan-out pool costs and saves, from which its defaults follow: compressing by size, handing a
//! publication over, and, with a room whose members compress, processor time for each publication and how
//! long bystanders on the same shard wait for an echo.
//!
//! All in one process: processor time is that of the threads which publish and serve, not of the clients.

mod clients;
mod scene;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use throng::protocol::deflate::{Deflater, Strength};

use scene::{Publisher, Scene};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the fan-out pool.
#[derive(Debug, Parser)]
struct Settings {
    /// Members of the room
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 1000])]
    members: Vec<usize>,
    /// Payload bytes of a publication
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [16 * 1024, 256 * 1024])]
    sizes: Vec<usize>,
    /// Workers of the pool
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [0, 1, 2])]
    workers: Vec<usize>,
    /// Publications a second
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: u32,
    /// How long each scene lasts
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u32,
    /// How often all scenes are played, one after the other; medians are shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

fn main() -> ExitCode {
    match measure(&Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(settings: &Settings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| JSON, bytes | compressed to | compressing, µs |\n|---|---|---|"
    )?;
    for size in [256, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144] {
        let (length, time) = compressing(size);
        writeln!(out, "| {size} | {length} | {} |", micros(time))?;
    }
    writeln!(
        out,
        "\n| a small publication | until its receipt, µs | processor, µs |\n|---|---|---|"
    )?;
    for (name, workers) in [("handed to the shard", 0), ("through the pool", 1)] {
        let (time, cpu) = scene::handing_over(workers)?;
        writeln!(out, "| {name} | {} | {} |", micros(time), micros(cpu))?;
    }
    writeln!(
        out,
        "\n| published by | members | bytes | workers | processor, µs per publication with echoes | echo p50, µs | p99, µs |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for publisher in [Publisher::Thread, Publisher::Handler] {
        for &members in &settings.members {
            for &size in &settings.sizes {
                let scenes = settings.workers.iter().map(|&workers| Scene {
                    publisher,
                    members,
                    size,
                    workers,
                    rate: settings.rate,
                    duration: Duration::from_secs(settings.seconds.into()),
                });
                play(&mut out, &scenes.collect::<Vec<_>>(), settings.rounds)?;
            }
        }
    }
    Ok(())
}

/// Plays scenes in turn, several times, so that what else the machine does disturbs all alike.
fn play(out: &mut impl Write, scenes: &[Scene], rounds: u16) -> io::Result<()> {
    let mut outcomes = vec![Vec::new(); scenes.len()];
    for _ in 0..rounds {
        for (scene, outcomes) in scenes.iter().zip(&mut outcomes) {
            outcomes.push(scene.play()?);
        }
    }
    for (scene, outcomes) in scenes.iter().zip(outcomes) {
        let median = |of: fn(&scene::Outcome) -> Duration| {
            let mut times: Vec<Duration> = outcomes.iter().map(of).collect();
            times.sort_unstable();
            micros(times[times.len() / 2])
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            scene.publisher,
            scene.members,
            scene.size,
            scene.workers,
            median(|outcome| outcome.processor),
            median(|outcome| outcome.echo_p50),
            median(|outcome| outcome.echo_p99),
        )?;
        out.flush()?;
    }
    Ok(())
}

/// What a sample of so many bytes shrinks to, and the time that takes: the median of many.
fn compressing(size: usize) -> (usize, Duration) {
    const TIMES: usize = 201;
    let strength = Strength {
        level: 3,
        memory_level: 8,
    };
    let mut deflater = Deflater::new(strength, 15, true);
    let (sample, mut out) = (scene::sample(size), Vec::new());
    let mut times = [(); TIMES].map(|()| {
        let begun = Instant::now();
        out.clear();
        deflater.deflate(sample.as_bytes(), &mut out);
        begun.elapsed()
    });
    times.sort_unstable();
    (out.len(), times[TIMES / 2])
}

fn micros(time: Duration) -> impl Display {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
