//! What a process costs: its CPU time and its memory, from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The unit of the times in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux platform.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time (user and system) all threads of a process have used so far.
///
/// Sample it at both ends of a window and subtract. Threads that end in between take
/// their time with them, unless only ticks can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessCpu {
    /// Nanoseconds.
    pub nanoseconds: u64,
}

impl ProcessCpu {
    /// Reads the CPU time of process `pid`: from the scheduler's statistics of its
    /// threads, or where the kernel keeps none, from its clock ticks of 10 ms.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such process or no `/proc`.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let nanoseconds = match scheduled(pid) {
            Some(nanoseconds) if nanoseconds > 0 => nanoseconds,
            _ => ticks(pid)?.saturating_mul(1_000_000_000 / TICKS_PER_SECOND),
        };
        Ok(Self { nanoseconds })
    }

    /// CPU time used since an `earlier` sample.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
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

fn scheduled(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(PathBuf::from(format!("/proc/{pid}/task"))).ok()?;
    let mut sum = 0_u64;
    for thread in threads.flatten() {
        // A thread may end between the listing and the reading.
        let Ok(line) = fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let running: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        sum = sum.saturating_add(running);
    }
    Some(sum)
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
mod tests {
    use super::*;

    #[test]
    fn cpu_grows_with_work_and_both_sources_agree() {
        let pid = std::process::id();
        let before = ProcessCpu::of(pid).unwrap();
        let mut sum = 0_u64;
        while ticks(pid).unwrap() < 30 {
            for value in 0..100_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(value));
            }
        }
        let used = ProcessCpu::of(pid).unwrap();
        assert!(used > before);
        if let Some(precise) = scheduled(pid).filter(|&nanoseconds| nanoseconds > 0) {
            let coarse = ticks(pid).unwrap() * 10_000_000;
            assert!(
                precise.abs_diff(coarse) < coarse / 2,
                "{precise} against {coarse}"
            );
        }
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
