//! What measuring asks of the machine: cores to itself, and open files.

#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};

use core_affinity::{CoreId, get_core_ids, set_for_current};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Error;

/// A core busier than this part of a window has no more to give.
pub const SATURATED: f64 = 0.95;

/// The nice value of a thread that every other goes before.
#[cfg(target_os = "linux")]
const LEAST_PRIORITY: i32 = 19;

/// The cores this process may run on; none where the system does not tell.
pub fn cores() -> Vec<usize> {
    let ids = get_core_ids().unwrap_or_default();
    ids.into_iter().map(|core| core.id).collect()
}

/// Confines the calling thread, and those it starts later, to a core that `setting` names.
///
/// # Errors
/// [`Error::Setting`] when it is none of [`cores`], or the system refuses.
pub fn pin(setting: &'static str, core: usize) -> Result<(), Error> {
    check_cores(setting, [&core])?;
    if set_for_current(CoreId { id: core }) {
        return Ok(());
    }
    Err(Error::setting(
        setting,
        &core,
        "may not be used by this process",
    ))
}

/// Lets every other thread on its core go before the calling one, and those it starts later, for
/// good: where two loads share a core, the one whose latency counts must not wait for the other.
/// Does nothing but on Linux, where a thread has a priority of its own.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        // Of no process, which is the calling thread's. Giving way is always allowed.
        let _ = rustix::process::setpriority_process(None, LEAST_PRIORITY);
        // By that alone it is not always interrupted when another wakes up, for milliseconds; in the
        // scheduler's class for idle times it is. Without the program, which is part of util-linux, the
        // priority has to do.
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        let idle = ["--idle", "--pid", "0", &thread];
        let _ = Command::new("chrt")
            .args(idle)
            .stderr(Stdio::null())
            .status();
    }
}

/// Checks that this process may run on these cores.
///
/// # Errors
/// [`Error::Setting`] naming the first one it may not.
pub fn check_cores<'a>(
    setting: &'static str,
    wanted: impl IntoIterator<Item = &'a usize>,
) -> Result<(), Error> {
    let known = cores();
    let Some(unknown) = wanted.into_iter().find(|core| !known.contains(core)) else {
        return Ok(());
    };
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    let reason = format!("must be a core of this machine: {}", known.join(", "));
    Err(Error::setting(setting, unknown, reason))
}

/// Raises the limit on open files as far as the system lets this process, and returns it: ten
/// thousand connections need as many descriptors, and the usual limit is a tenth of that.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not be raised, the soft limit holds.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_is_confined_to_its_core() {
        std::thread::spawn(|| {
            let core = *cores().last().unwrap();
            pin("cpu", core).unwrap();
            assert_eq!(cores(), [core]);
        })
        .join()
        .unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_thread_that_says_so_gives_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let other = std::thread::spawn(move || {
            give_way();
            priority()
        });
        assert_eq!(other.join().unwrap(), LEAST_PRIORITY);
        assert_eq!(priority(), before);
    }

    #[test]
    fn a_missing_core_is_named() {
        let error = pin("cpu", 99_999).unwrap_err().to_string();
        assert!(error.starts_with("cpu 99999: must be a core"), "{error}");
    }

    #[test]
    fn the_limit_on_open_files_ends_up_at_its_maximum() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(u64::MAX), raised);
    }
}
