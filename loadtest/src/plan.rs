//! A run as the command line asks for it, from the server's start to the report.

use std::fs;

use rustix::process::{Resource, getrlimit};
use throng_loadtest::{Error, Job, ProcessCpu, ProcessMemory, Report, run};

use crate::args::{Common, Load};
use crate::console::Console;
use crate::server::{self, Spawned};
use crate::{table, workers};

/// Descriptors a process keeps for other things than connections.
const RESERVED: u64 = 64;

/// Makes the run, prints the report, and returns what went wrong, a line each.
pub(crate) fn execute<L: Load>(load: &L) -> Result<Vec<String>, Error> {
    let common = load.common();
    let spawned = common
        .spawn
        .then(|| Spawned::start(L::SCENARIO.into(), common.shards, common.server_cpu))
        .transpose()?;
    let job = load.job(spawned.as_ref().map(Spawned::addr))?;
    job.check()?;
    let pid = common.server_pid.or(spawned.as_ref().map(Spawned::pid));
    let before = pid
        .map(|pid| ProcessCpu::of(pid).and(ProcessMemory::of(pid)))
        .transpose()?;
    let mut console = Console::new(&job, pid);
    let mut report = load_with(&job, common, &mut console)?;
    console.finish();
    if let (Some(pid), Some(before)) = (pid, before) {
        let (cpu, open) = console.server()?;
        report.add_server(pid, cpu, before, open);
    }
    table::print(&report).map_err(Error::io("writing the report"))?;
    if let Some(path) = &common.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::io("writing the report")(error.into()))?;
        fs::write(path, text + "\n").map_err(Error::io(format!("writing {}", path.display())))?;
    }
    Ok(report.failures())
}

/// Puts the load on the server: in this process, or in workers if it takes several.
fn load_with(job: &Job, common: &Common, console: &mut Console) -> Result<Report, Error> {
    let workers = common
        .workers
        .unwrap_or_else(|| workers_needed(job.connections));
    if workers == 0 {
        return Err(Error::setting("workers", "must be at least 1"));
    }
    let jobs = job.split(workers);
    for job in &jobs {
        job.check()?;
    }
    if jobs.len() > 1 {
        return workers::run(&jobs, &common.cpu, console);
    }
    if let Some(&core) = common.cpu.first() {
        server::pin(core)?;
    }
    run(job, console)
}

fn workers_needed(connections: u32) -> u32 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = limit.saturating_sub(RESERVED).max(1);
    u32::try_from(u64::from(connections).div_ceil(each)).unwrap_or(u32::MAX)
}
