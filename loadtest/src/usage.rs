//! What a process costs: its CPU time and its memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The unit of the times in `/proc/PID/stat` in nanoseconds: `USER_HZ` is 100 on every Linux
/// platform.
const TICK: u64 = 10_000_000;

/// CPU time (user and system) all threads of a process have used so far. Sample it at both
/// ends of a window and subtract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCpu {
    /// Nanoseconds of the threads that live, by the scheduler's statistics; zero where the
    /// kernel keeps none.
    running: u64,
    /// Nanoseconds of all threads ever, in clock ticks.
    ticking: u64,
}

impl ProcessCpu {
    /// Whether this system tells of processes as Linux does, in `/proc`.
    pub fn is_available() -> bool {
        let own = Path::new("/proc/self");
        ["stat", "status", "task"]
            .iter()
            .all(|name| own.join(name).exists())
    }

    /// Reads the CPU time of process `pid`.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such process or no `/proc`.
    pub fn of(pid: u32) -> Result<Self, Error> {
        Ok(Self {
            running: ThreadsCpu::of(pid)?.sum(),
            ticking: ticks(pid)?.saturating_mul(TICK),
        })
    }

    /// CPU time used since an `earlier` sample: to the nanosecond, or to the clock tick of
    /// 10 ms where the scheduler keeps no statistics or threads have ended meanwhile.
    pub fn since(self, earlier: Self) -> Duration {
        let running = self.running.saturating_sub(earlier.running);
        let ticking = self.ticking.saturating_sub(earlier.ticking);
        // Ticks are rounded at both ends; what exceeds that was used by threads that are gone.
        let gone = ticking > running.saturating_add(2 * TICK);
        let unknown = self.running == 0;
        Duration::from_nanos(if gone || unknown { ticking } else { running })
    }
}

/// CPU time each thread of a process has used so far, by the scheduler's statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadsCpu {
    /// Nanoseconds by the thread's id.
    nanoseconds: BTreeMap<u32, u64>,
}

impl ThreadsCpu {
    /// Reads the CPU times of process `pid`'s threads; all zero where the kernel keeps none.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such process or no `/proc`.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/task");
        let threads = fs::read_dir(&path).map_err(Error::io(format!("reading {path}")))?;
        let running = threads.flatten().filter_map(|thread| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            // A thread may end between the listing and the reading.
            let line = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanoseconds = line.split_ascii_whitespace().next()?.parse().ok()?;
            Some((id, nanoseconds))
        });
        Ok(Self {
            nanoseconds: running.collect(),
        })
    }

    /// CPU time that the busiest thread has used since an `earlier` sample.
    pub fn busiest_since(&self, earlier: &Self) -> Duration {
        let used = self.nanoseconds.iter().map(|(id, now)| {
            let before = earlier.nanoseconds.get(id).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        Duration::from_nanos(used.max().unwrap_or_default())
    }

    fn sum(&self) -> u64 {
        self.nanoseconds.values().sum()
    }
}

/// Memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Resident bytes (`VmRSS`).
    pub rss_bytes: u64,
    /// The part of them that is not backed by files (`RssAnon`): heap and stacks.
    pub anon_bytes: u64,
}

impl ProcessMemory {
    /// Reads the memory of process `pid`.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such process or no `/proc`.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let status = read(pid, "status")?;
        Ok(Self {
            rss_bytes: kibibytes(&status, "VmRSS:"),
            anon_bytes: kibibytes(&status, "RssAnon:"),
        })
    }
}

fn read(pid: u32, name: &str) -> Result<String, Error> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))
}

/// User and system time from `/proc/PID/stat`. The second field, the program's name, may
/// hold spaces and brackets: counting starts after its last bracket.
fn ticks(pid: u32) -> Result<u64, Error> {
    let stat = read(pid, "stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    Ok(times.filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn kibibytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |number| number.saturating_mul(1024))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Keeps a core busy for so many clock ticks.
    fn work(pid: u32, length: u64) {
        let until = ticks(pid).unwrap() + length;
        let mut sum = 0_u64;
        while ticks(pid).unwrap() < until {
            for value in 0..100_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(value));
            }
        }
    }

    #[test]
    fn cpu_grows_with_work_and_both_sources_agree() {
        let pid = std::process::id();
        let before = ProcessCpu::of(pid).unwrap();
        work(pid, 30);
        let after = ProcessCpu::of(pid).unwrap();
        let ticking = after.ticking - before.ticking;
        let used = after.since(before).as_nanos();
        assert!(
            used.abs_diff(u128::from(ticking)) <= u128::from(2 * TICK),
            "{used}"
        );
    }

    #[test]
    fn threads_that_ended_are_not_forgotten() {
        let sample = |running, ticking| ProcessCpu { running, ticking };
        let earlier = sample(900_000_000, 900_000_000);
        // A thread of 700 ms has ended, others have used 200 ms since.
        let later = sample(400_000_000, 1_100_000_000);
        assert_eq!(later.since(earlier), Duration::from_millis(200));
        // Rounding alone is no reason to mistrust the precise source.
        let later = sample(901_234_567, 920_000_000);
        assert_eq!(later.since(earlier), Duration::from_nanos(1_234_567));
        assert_eq!(
            sample(0, TICK).since(sample(0, 0)),
            Duration::from_nanos(TICK)
        );
    }

    #[test]
    fn the_busiest_thread_is_found() {
        let sample = |times: &[(u32, u64)]| ThreadsCpu {
            nanoseconds: times.iter().copied().collect(),
        };
        let earlier = sample(&[(1, 900), (2, 100), (3, 50)]);
        let later = sample(&[(1, 1000), (2, 700), (4, 300)]);
        assert_eq!(later.busiest_since(&earlier), Duration::from_nanos(600));
    }

    #[test]
    fn memory_of_this_process_is_plausible() {
        let memory = ProcessMemory::of(std::process::id()).unwrap();
        assert!(memory.anon_bytes > 0);
        assert!(memory.rss_bytes > memory.anon_bytes);
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = ProcessMemory::of(u32::MAX).unwrap_err();
        assert!(error.to_string().contains(&u32::MAX.to_string()));
        assert!(ProcessCpu::of(u32::MAX).is_err());
    }
}
