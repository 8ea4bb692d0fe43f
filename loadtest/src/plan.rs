//! A run as the command line asks for it, from the server's start to the report.

use std::fs;
use std::path::Path;

use throng_loadtest::{Error, Job, ProcessCpu, ProcessMemory, Report, machine, run};

use crate::args::Common;
use crate::console::Console;
use crate::load::Load;
use crate::server::Spawned;
use crate::{descriptors, table, workers};

/// Makes the run, prints the report, and returns what went wrong, a line each.
pub(crate) fn execute<L: Load>(load: &L) -> Result<Vec<String>, Error> {
    let common = load.common();
    let mut job = load.job()?;
    let each = descriptors::connections_per_process();
    let workers = descriptors::workers(job.connections, each, common.workers)?;
    machine::check_cores("cpu", &common.cpu)?;
    machine::check_cores("server-cpu", &common.server_cpu)?;
    if common.spawn && job.connections > each {
        let reason = format!("must be at most {each} with --spawn, whose server is one process");
        return Err(Error::setting("connections", &job.connections, reason));
    }
    for job in job.split(workers) {
        job.check()?;
    }
    let spawned = common
        .spawn
        .then(|| Spawned::start(L::SCENARIO.into(), common.shards, common.server_cpu))
        .transpose()?;
    if let Some(server) = &spawned {
        (job.addr, job.host) = (server.addr(), server.addr().to_string());
    }
    let known = common.server_pid.or(spawned.as_ref().map(Spawned::pid));
    let pid = known.filter(|_| ProcessCpu::is_available());
    let (report, sampled) = measure(&job, workers, common, pid)?;
    let untold = known.is_some() && pid.is_none();
    table::print(&report, untold).map_err(Error::io("writing the report"))?;
    if let Some(path) = &common.json {
        write_json(path, &report)?;
    }
    let mut failures = report.failures();
    failures.extend(sampled.err().map(|error| format!("server: {error}")));
    Ok(failures)
}

/// Puts the load on the server: in this process, or in workers if it takes several. The report
/// is there, too, if only the server could not be sampled to the end.
fn measure(
    job: &Job,
    workers: u32,
    common: &Common,
    pid: Option<u32>,
) -> Result<(Report, Result<(), Error>), Error> {
    let before = pid
        .map(|pid| ProcessCpu::of(pid).and(ProcessMemory::of(pid)))
        .transpose()?;
    let mut console = Console::new(job, pid);
    let outcome = if workers > 1 {
        workers::run(&job.split(workers), &common.cpu, &mut console)
    } else {
        let pinned = common.cpu.first();
        pinned
            .map_or(Ok(()), |&core| machine::pin("cpu", core))
            .and_then(|()| run(job, &mut console))
    };
    console.clear();
    let mut report = outcome?;
    let sampled = match (pid, before) {
        (Some(pid), Some(before)) => console
            .server(pid, before)
            .map(|used| report.add_server(used)),
        _ => Ok(()),
    };
    Ok((report, sampled))
}

fn write_json(path: &Path, report: &Report) -> Result<(), Error> {
    let action = || format!("writing {}", path.display());
    let text =
        serde_json::to_string_pretty(report).map_err(|error| Error::io(action())(error.into()))?;
    fs::write(path, text + "\n").map_err(Error::io(action()))
}
